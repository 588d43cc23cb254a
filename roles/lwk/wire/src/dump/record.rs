//! What a node answers to `dump`: a stream of records, each a [`CtrlAnswer::Binary`](crate::messages::CtrlAnswer) of its own.
//!
//! They come in this order: one `Begin`, one `Info`, `Text`s, `Memory` and `Zero` with rising addresses, one `End`. A stream
//! without `End` is not a dump; a [`CtrlAnswer::Failed`](crate::messages::CtrlAnswer) in its place says why.

use alloc::string::String;

use super::Level;
use crate::bytes::{Malformed, Reader, Writer};

/// Version of the stream.
pub const STREAM_VERSION: u32 = 1;
/// Addresses and lengths of memory are multiples of this.
pub const PAGE: u64 = 4096;
/// Bytes of memory in one record.
pub const MAX_MEMORY: usize = 256 << 10;
/// Bytes of text in one record; a longer report goes on in another with the same name.
pub const MAX_TEXT: usize = 256 << 10;
/// Bytes of the name of a report.
pub const MAX_NAME: usize = 32;

/// A part of a dump.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpRecord<'a> {
    /// It begins.
    Begin {
        /// What it holds.
        level: Level,
        /// [`STREAM_VERSION`].
        version: u32,
    },
    /// The block [`Info`](super::Info), with the registers that cores were stopped with.
    Info(&'a [u8]),
    /// A report of that moment: `ps`, `cores`, `maps.<pid>`, `requests`, `mem`, `kargs`, `kmsg`.
    Text {
        /// Its name.
        name: String,
        /// What it says; goes on where the last one of this name ended.
        text: String,
    },
    /// Memory.
    Memory {
        /// Physical address.
        physical: u64,
        /// What is there, at most [`MAX_MEMORY`] bytes.
        bytes: &'a [u8],
    },
    /// Memory that is zero.
    Zero {
        /// Physical address.
        physical: u64,
        /// Bytes, without limit.
        len: u64,
    },
    /// Nothing more follows.
    End {
        /// Pages in all `Memory` and `Zero`.
        pages: u64,
    },
}

impl<'a> DumpRecord<'a> {
    /// Reads a whole answer.
    pub fn decode(bytes: &'a [u8]) -> Result<DumpRecord<'a>, Malformed> {
        let from = &mut Reader::new(bytes);
        let record = match from.u8()? {
            0 => {
                let level = Level::from_raw(from.u8()?.into()).ok_or(Malformed::Value)?;
                DumpRecord::Begin { level, version: from.u32()? }
            }
            1 => DumpRecord::Info(from.rest()),
            2 => DumpRecord::Text { name: from.string(MAX_NAME)?, text: from.string(MAX_TEXT)? },
            3 => {
                let (physical, bytes) = (from.u64()?, from.rest());
                if bytes.len() > MAX_MEMORY {
                    return Err(Malformed::Limit);
                }
                check(physical, bytes.len() as u64)?;
                DumpRecord::Memory { physical, bytes }
            }
            4 => {
                let (physical, len) = (from.u64()?, from.u64()?);
                check(physical, len)?;
                DumpRecord::Zero { physical, len }
            }
            5 => DumpRecord::End { pages: from.u64()? },
            _ => return Err(Malformed::Value),
        };
        from.end()?;
        Ok(record)
    }

    /// Writes an answer.
    pub fn write(&self, to: &mut Writer<'_>) {
        match self {
            DumpRecord::Begin { level, version } => to.u8(0).u8(*level as u8).u32(*version),
            DumpRecord::Info(bytes) => to.u8(1).bytes(bytes),
            DumpRecord::Text { name, text } => to.u8(2).text(name).text(text),
            DumpRecord::Memory { physical, bytes } => to.u8(3).u64(*physical).bytes(bytes),
            DumpRecord::Zero { physical, len } => to.u8(4).u64(*physical).u64(*len),
            DumpRecord::End { pages } => to.u8(5).u64(*pages),
        };
    }
}

/// Whole pages, at least one, that do not go round the end of the address space.
fn check(physical: u64, len: u64) -> Result<(), Malformed> {
    let aligned = physical.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
    if aligned && len > 0 && physical.checked_add(len).is_some() { Ok(()) } else { Err(Malformed::Value) }
}
