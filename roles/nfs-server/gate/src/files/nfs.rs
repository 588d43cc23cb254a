//! Calls of NFS version 3 (RFC 1813) with what they return, as far as the simulation looks at it.

use super::content::{CELL, Verifier, fill};
use crate::ledger::Ledger;
use crate::rpc::{Answer, Rpc, decoded, encoded};
use keelson_nfs_server::NFS_PROGRAM;
use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use std::rc::Rc;

/// `nfsstat3`.
pub mod status {
    #![allow(missing_docs)] // The names are those of RFC 1813 section 2.6, without their prefix.
    pub const OK: u32 = 0;
    pub const NOENT: u32 = 2;
    pub const EXIST: u32 = 17;
    pub const NOTDIR: u32 = 20;
    pub const ISDIR: u32 = 21;
    pub const NOTEMPTY: u32 = 66;
    pub const STALE: u32 = 70;
}

/// `stable_how`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stable {
    /// UNSTABLE.
    No,
    /// DATA_SYNC.
    Data,
    /// FILE_SYNC.
    File,
}

/// `createmode3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// UNCHECKED, and cut to nothing if it is there.
    Unchecked,
    /// GUARDED.
    Guarded,
    /// EXCLUSIVE with this verifier.
    Exclusive(Verifier),
}

/// A status, with a value if it is OK; and what the answer tells of the server.
pub struct Done<T> {
    /// How it ended.
    pub result: Result<T, u32>,
    /// Power cuts, if one server alone had to do with it.
    pub cuts: Option<u32>,
}

/// What a WRITE brought.
pub struct Written {
    /// `committed`.
    pub stable: Stable,
    /// `verf`.
    pub verifier: Verifier,
}

/// Calls of one process.
pub struct Nfs {
    rpc: Rpc,
    ledger: Rc<Ledger>,
}

type Read<T> = fn(&mut Decoder<'_>) -> Result<T, DecodeError>;

impl Nfs {
    /// Calls through this.
    pub fn new(rpc: Rpc, ledger: &Rc<Ledger>) -> Nfs {
        Nfs { rpc, ledger: ledger.clone() }
    }

    async fn call<T>(&mut self, procedure: u32, arguments: Vec<u8>, read: Read<T>) -> Done<T> {
        let answer = self.rpc.call([NFS_PROGRAM, 3, procedure], &arguments).await;
        let cuts = (!answer.spans_cut()).then_some(answer.answered);
        match self.split(&answer, read) {
            Some(result) => Done { result, cuts },
            None => std::future::pending().await,
        }
    }

    fn split<T>(&self, answer: &Answer, read: Read<T>) -> Option<Result<T, u32>> {
        decoded(&self.ledger, &answer.results, |input| match input.u32()? {
            status::OK => read(input).map(Ok),
            status => Ok(Err(status)),
        })
    }

    /// LOOKUP: the handle, and whether it is a directory's.
    pub async fn lookup(&mut self, dir: &[u8], name: &str) -> Done<(Vec<u8>, bool)> {
        let arguments = encoded(0, |out| at(out, dir, name));
        self.call(3, arguments, |input| {
            let handle = input.opaque(64)?.to_vec();
            let is_dir = attributes(input)?.is_some_and(|found| found.file_type == 2);
            Ok((handle, is_dir))
        })
        .await
    }

    /// CREATE: the handle.
    pub async fn create(&mut self, dir: &[u8], name: &str, how: How) -> Done<Vec<u8>> {
        let arguments = encoded(0, |out| {
            at(out, dir, name);
            match how {
                How::Unchecked => {
                    out.u32(0);
                    change(out, Some(0o644), Some(0));
                }
                How::Guarded => {
                    out.u32(1);
                    change(out, Some(0o644), None);
                }
                How::Exclusive(verifier) => {
                    out.u32(2);
                    out.fixed(&verifier);
                }
            }
        });
        self.call(8, arguments, made).await
    }

    /// MKDIR: the handle.
    pub async fn mkdir(&mut self, dir: &[u8], name: &str) -> Done<Vec<u8>> {
        let arguments = encoded(0, |out| {
            at(out, dir, name);
            change(out, Some(0o755), None);
        });
        self.call(9, arguments, made).await
    }

    /// REMOVE.
    pub async fn remove(&mut self, dir: &[u8], name: &str) -> Done<()> {
        self.call(12, encoded(0, |out| at(out, dir, name)), |_| Ok(())).await
    }

    /// RMDIR.
    pub async fn rmdir(&mut self, dir: &[u8], name: &str) -> Done<()> {
        self.call(13, encoded(0, |out| at(out, dir, name)), |_| Ok(())).await
    }

    /// RENAME.
    pub async fn rename(&mut self, from: (&[u8], &str), to: (&[u8], &str)) -> Done<()> {
        let arguments = encoded(0, |out| {
            at(out, from.0, from.1);
            at(out, to.0, to.1);
        });
        self.call(14, arguments, |_| Ok(())).await
    }

    /// LINK.
    pub async fn link(&mut self, file: &[u8], dir: &[u8], name: &str) -> Done<()> {
        let arguments = encoded(0, |out| {
            out.opaque(file);
            at(out, dir, name);
        });
        self.call(15, arguments, |_| Ok(())).await
    }

    /// GETATTR: the number of names and the length.
    pub async fn getattr(&mut self, file: &[u8]) -> Done<(u32, u64)> {
        let arguments = encoded(0, |out| out.opaque(file));
        self.call(1, arguments, |input| fattr(input).map(|found| (found.links, found.size))).await
    }

    /// SETATTR of the length in cells.
    pub async fn resize(&mut self, file: &[u8], cells: usize) -> Done<()> {
        let arguments = encoded(0, |out| {
            out.opaque(file);
            change(out, None, Some((cells * CELL) as u64));
            out.bool(false);
        });
        self.call(2, arguments, |_| Ok(())).await
    }

    /// SETATTR of the mode and of the times, as follows an exclusive CREATE.
    pub async fn set_mode(&mut self, file: &[u8]) -> Done<()> {
        let arguments = encoded(0, |out| {
            out.opaque(file);
            [1, 0o644, 0, 0, 0, 1, 1, 0].into_iter().for_each(|word| out.u32(word));
        });
        self.call(2, arguments, |_| Ok(())).await
    }

    /// READ of cells: the bytes.
    pub async fn read(&mut self, file: &[u8], first: usize, cells: usize) -> Done<Vec<u8>> {
        let arguments = encoded(0, |out| {
            out.opaque(file);
            out.u64((first * CELL) as u64);
            out.u32((cells * CELL) as u32);
        });
        self.call(6, arguments, |input| {
            attributes(input)?;
            let (count, _eof) = (input.u32()?, input.bool()?);
            let data = input.opaque(1 << 20)?;
            if data.len() == count as usize { Ok(data.to_vec()) } else { Err(DecodeError::BadValue(count)) }
        })
        .await
    }

    /// WRITE of cells.
    pub async fn write(
        &mut self,
        file: &[u8],
        first: usize,
        stamps: &[u32],
        stable: Stable,
    ) -> Done<Written> {
        let mut data = vec![0; stamps.len() * CELL];
        data.chunks_mut(CELL).zip(stamps).for_each(|(cell, stamp)| fill(*stamp, cell));
        let arguments = encoded(data.len(), |out| {
            out.opaque(file);
            out.u64((first * CELL) as u64);
            out.u32(data.len() as u32);
            out.u32(stable as u32);
            out.opaque(&data);
        });
        let count = data.len() as u32;
        let done = self.call(7, arguments, |input| {
            wcc(input)?;
            let count = input.u32()?;
            let stable = match input.u32()? {
                0 => Stable::No,
                1 => Stable::Data,
                2 => Stable::File,
                other => return Err(DecodeError::BadValue(other)),
            };
            Ok((count, Written { stable, verifier: input.array()? }))
        });
        let Done { result, cuts } = done.await;
        if let Ok((written, answer)) = &result {
            if *written != count {
                self.ledger.fail(format!("{written} of {count} bytes were written"));
            }
            if (answer.stable as u32) < stable as u32 {
                self.ledger.fail(format!("{stable:?} was asked for, and {:?} done", answer.stable));
            }
        }
        Done { result: result.map(|(_, written)| written), cuts }
    }

    /// COMMIT of everything.
    pub async fn commit(&mut self, file: &[u8]) -> Done<Verifier> {
        let arguments = encoded(0, |out| {
            out.opaque(file);
            out.u64(0);
            out.u32(0);
        });
        self.call(21, arguments, |input| {
            wcc(input)?;
            input.array()
        })
        .await
    }
}

fn at(out: &mut Encoder, dir: &[u8], name: &str) {
    out.opaque(dir);
    out.opaque(name.as_bytes());
}

/// `sattr3` with these.
fn change(out: &mut Encoder, mode: Option<u32>, size: Option<u64>) {
    out.bool(mode.is_some());
    mode.into_iter().for_each(|mode| out.u32(mode));
    out.u32(0);
    out.u32(0);
    out.bool(size.is_some());
    size.into_iter().for_each(|size| out.u64(size));
    out.u32(0);
    out.u32(0);
}

fn made(input: &mut Decoder<'_>) -> Result<Vec<u8>, DecodeError> {
    match input.bool()? {
        true => Ok(input.opaque(64)?.to_vec()),
        false => Err(DecodeError::BadValue(0)),
    }
}

struct Attributes {
    file_type: u32,
    links: u32,
    size: u64,
}

fn fattr(input: &mut Decoder<'_>) -> Result<Attributes, DecodeError> {
    let (file_type, _mode, links) = (input.u32()?, input.u32()?, input.u32()?);
    let (_uid, _gid, size) = (input.u32()?, input.u32()?, input.u64()?);
    input.fixed(84 - 28)?;
    Ok(Attributes { file_type, links, size })
}

fn attributes(input: &mut Decoder<'_>) -> Result<Option<Attributes>, DecodeError> {
    if input.bool()? { fattr(input).map(Some) } else { Ok(None) }
}

fn wcc(input: &mut Decoder<'_>) -> Result<(), DecodeError> {
    if input.bool()? {
        input.fixed(24)?;
    }
    attributes(input).map(|_| ())
}
