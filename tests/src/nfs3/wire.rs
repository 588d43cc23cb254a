//! The data types as XDR.

use keelson_oncrpc::{DecodeError, Decoder, Encoder};

use super::types::{Attributes, Entry, Page, Set, SetTime, Time, Wcc};

/// All of `reply`, or a panic that shows it.
pub fn parse<T>(reply: &[u8], parser: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>) -> T {
    let mut input = Decoder::new(reply);
    let parsed = parser(&mut input).and_then(|value| input.finish().map(|()| value));
    parsed.unwrap_or_else(|error| panic!("{error} in the {} bytes {reply:02x?}", reply.len()))
}

/// What our server is expected to send although the protocol lets it leave it out.
pub fn present<T>(value: Option<T>) -> T {
    value.expect("handle and attributes of an object created or found")
}

pub fn put_name(out: &mut Encoder, folder: &[u8], name: &[u8]) {
    out.opaque(folder);
    out.opaque(name);
}

pub fn put_time(out: &mut Encoder, (seconds, nanoseconds): Time) {
    out.u32(seconds);
    out.u32(nanoseconds);
}

pub fn put_set(out: &mut Encoder, set: Set) {
    for word in [set.mode, set.uid, set.gid] {
        out.bool(word.is_some());
        if let Some(word) = word {
            out.u32(word);
        }
    }
    out.bool(set.size.is_some());
    if let Some(size) = set.size {
        out.u64(size);
    }
    for when in [set.atime, set.mtime] {
        match when {
            None => out.u32(0),
            Some(SetTime::Server) => out.u32(1),
            Some(SetTime::Client(time)) => {
                out.u32(2);
                put_time(out, time);
            }
        }
    }
}

pub fn time(input: &mut Decoder<'_>) -> Result<Time, DecodeError> {
    let time = (input.u32()?, input.u32()?);
    assert!(time.1 < 1_000_000_000, "{} nanoseconds", time.1);
    Ok(time)
}

pub fn attributes(input: &mut Decoder<'_>) -> Result<Attributes, DecodeError> {
    Ok(Attributes {
        kind: input.u32()?,
        mode: input.u32()?,
        nlink: input.u32()?,
        uid: input.u32()?,
        gid: input.u32()?,
        size: input.u64()?,
        used: input.u64()?,
        device: (input.u32()?, input.u32()?),
        fsid: input.u64()?,
        fileid: input.u64()?,
        atime: time(input)?,
        mtime: time(input)?,
        ctime: time(input)?,
    })
}

pub fn post(input: &mut Decoder<'_>) -> Result<Option<Attributes>, DecodeError> {
    input.optional(attributes)
}

pub fn wcc(input: &mut Decoder<'_>) -> Result<Wcc, DecodeError> {
    let before = input.optional(|input| Ok((input.u64()?, time(input)?, time(input)?)))?;
    Ok(Wcc { before, after: post(input)? })
}

pub fn page(input: &mut Decoder<'_>, plus: bool) -> Result<Page, DecodeError> {
    let verifier = input.array()?;
    let mut entries = Vec::new();
    while input.bool()? {
        let (fileid, name, cookie) = (input.u64()?, input.opaque(255)?.to_vec(), input.u64()?);
        let (attributes, handle) = match plus {
            true => (post(input)?, input.optional(|input| Ok(input.opaque(64)?.to_vec()))?),
            false => (None, None),
        };
        entries.push(Entry { fileid, name, cookie, attributes, handle });
    }
    Ok(Page { verifier, entries, eof: input.bool()? })
}
