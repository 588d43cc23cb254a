//! Results of all programs, as their specifications have them: whatever a server answers must decode to the last byte.

use keelson_nfs_server::{
    MOUNT_PROGRAM, NFS_PROGRAM, NLM_PROGRAM, NSM_PROGRAM, RPCBIND_PROGRAM, RQUOTA_PROGRAM,
};
use keelson_oncrpc::{DecodeError, Decoder};

type Checked = Result<(), DecodeError>;

/// Longest string or opaque data in results: the data of a READ.
const LONGEST: usize = 1 << 20;

/// Decodes the results of a call.
pub fn check(program: u32, version: u32, procedure: u32, mut results: Decoder<'_>) -> Checked {
    let input = &mut results;
    match (program, procedure) {
        (_, 0) => {}
        (NFS_PROGRAM, _) => nfs3(procedure, input)?,
        (MOUNT_PROGRAM, _) => mount(procedure, input)?,
        (NLM_PROGRAM, _) => nlm(version, procedure, input)?,
        (NSM_PROGRAM, 1 | 2) => words(2, input)?,
        (NSM_PROGRAM, 3 | 4) => words(1, input)?,
        (NSM_PROGRAM, _) => {}
        (RQUOTA_PROGRAM, _) => match input.u32()? {
            1 => words(10, input)?,
            2 | 3 => {}
            other => return Err(DecodeError::BadValue(other)),
        },
        (RPCBIND_PROGRAM, _) => rpcbind(version, procedure, input)?,
        _ => return Err(DecodeError::BadValue(program)),
    }
    results.finish()
}

fn words(count: usize, input: &mut Decoder<'_>) -> Checked {
    (0..count).try_for_each(|_| input.u32().map(drop))
}

fn strings(count: usize, input: &mut Decoder<'_>) -> Checked {
    (0..count).try_for_each(|_| input.opaque(LONGEST).map(drop))
}

/// A list: each item behind a boolean, the end is false.
fn list(input: &mut Decoder<'_>, item: impl Fn(&mut Decoder<'_>) -> Checked) -> Checked {
    while input.bool()? {
        item(input)?;
    }
    Ok(())
}

/// `fattr3` (RFC 1813 section 2.5).
fn attributes(input: &mut Decoder<'_>) -> Checked {
    match input.u32()? {
        1..=7 => input.fixed(80).map(drop),
        other => Err(DecodeError::BadValue(other)),
    }
}

fn post_op(input: &mut Decoder<'_>) -> Checked {
    if input.bool()? { attributes(input) } else { Ok(()) }
}

/// `wcc_data`: size and two times before, attributes after.
fn wcc(input: &mut Decoder<'_>) -> Checked {
    if input.bool()? {
        input.fixed(24)?;
    }
    post_op(input)
}

fn post_op_handle(input: &mut Decoder<'_>) -> Checked {
    if input.bool()? { input.opaque(64).map(drop) } else { Ok(()) }
}

fn nfs3(procedure: u32, input: &mut Decoder<'_>) -> Checked {
    let ok = input.u32()? == 0;
    match (procedure, ok) {
        (1, true) => attributes(input),
        (1, false) => Ok(()),
        (2 | 12 | 13, _) | (7..=11 | 21, false) => wcc(input),
        (3, true) => {
            input.opaque(64)?;
            post_op(input)?;
            post_op(input)
        }
        (4, true) => post_op(input).and_then(|()| words(1, input)),
        (5, true) => post_op(input).and_then(|()| strings(1, input)),
        (6, true) => {
            post_op(input)?;
            let (count, _eof) = (input.u32()?, input.bool()?);
            let data = input.opaque(LONGEST)?;
            if data.len() == count as usize { Ok(()) } else { Err(DecodeError::BadValue(count)) }
        }
        (7, true) => wcc(input).and_then(|()| words(4, input)),
        (8..=11, true) => {
            post_op_handle(input)?;
            post_op(input)?;
            wcc(input)
        }
        (14, _) => wcc(input).and_then(|()| wcc(input)),
        (15, _) => post_op(input).and_then(|()| wcc(input)),
        (16 | 17, true) => {
            post_op(input)?;
            input.fixed(8)?;
            list(input, |input| {
                input.u64()?;
                input.opaque(255)?;
                input.u64()?;
                if procedure == 17 {
                    post_op(input)?;
                    post_op_handle(input)?;
                }
                Ok(())
            })?;
            input.bool().map(drop)
        }
        (18, true) => post_op(input).and_then(|()| words(13, input)),
        (19, true) => post_op(input).and_then(|()| words(12, input)),
        (20, true) => post_op(input).and_then(|()| words(6, input)),
        (21, true) => wcc(input).and_then(|()| words(2, input)),
        (3..=6 | 16..=20, false) => post_op(input),
        _ => Err(DecodeError::BadValue(procedure)),
    }
}

fn mount(procedure: u32, input: &mut Decoder<'_>) -> Checked {
    match procedure {
        1 if input.u32()? == 0 => {
            input.opaque(64)?;
            let flavors = input.u32()?;
            words(flavors as usize, input)
        }
        1 | 3 | 4 => Ok(()),
        2 => list(input, |input| strings(2, input)),
        5 | 6 => list(input, |input| {
            strings(1, input)?;
            list(input, |input| strings(1, input))
        }),
        _ => Err(DecodeError::BadValue(procedure)),
    }
}

fn nlm(version: u32, procedure: u32, input: &mut Decoder<'_>) -> Checked {
    let largest = if version == 4 { 9 } else { 4 };
    let status = |input: &mut Decoder<'_>| match input.u32()? {
        status if status <= largest => Ok(status),
        other => Err(DecodeError::BadValue(other)),
    };
    match procedure {
        1 => {
            input.opaque(1024)?;
            if status(input)? == 1 {
                let (_exclusive, _svid, _owner) = (input.bool()?, input.u32()?, input.opaque(1024)?);
                words(if version == 4 { 4 } else { 2 }, input)?;
            }
            Ok(())
        }
        2..=5 | 22 => {
            input.opaque(1024)?;
            status(input).map(drop)
        }
        20 | 21 => {
            input.opaque(1024)?;
            status(input)?;
            words(1, input)
        }
        // Messages, their results and FREE_ALL have none.
        6..=15 | 23 => Ok(()),
        _ => Err(DecodeError::BadValue(procedure)),
    }
}

fn rpcbind(version: u32, procedure: u32, input: &mut Decoder<'_>) -> Checked {
    match (version, procedure) {
        (_, 1 | 2) => input.bool().map(drop),
        (2, 3) => words(1, input),
        (2, 4) => list(input, |input| words(4, input)),
        (3 | 4, 3 | 7 | 8 | 9) => strings(1, input),
        (_, 4) => list(input, |input| {
            words(2, input)?;
            strings(3, input)
        }),
        (_, 6) => words(1, input),
        (4, 11) => list(input, |input| {
            strings(2, input)?;
            words(1, input)?;
            strings(2, input)
        }),
        (4, 12) => (0..3).try_for_each(|_| words(17, input)),
        _ => Err(DecodeError::BadValue(procedure)),
    }
}
