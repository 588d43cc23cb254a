//! `_IO_READ` and `_IO_WRITE` with their extended types (section 13.2).

use super::IoError;
use crate::endian::Endian;
use crate::layout::{Short, layout, slice};
use crate::out::Out;

layout! {
    body struct Fixed: 16, "_IO_READ or _IO_WRITE" {
        4 nbytes: i32,
        8 xtype: u32,
    }
}

layout! {
    struct Condition: 12, "read condition" {
        0 min: i32,
        4 time: i32,
        8 timeout: i32,
    }
}

/// What a read or write has beyond a number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Xtype {
    /// Nothing.
    #[default]
    None,
    /// When a terminal's read returns.
    ReadCond {
        /// Bytes to wait for.
        min: i32,
        /// Tenths of a second between bytes.
        time: i32,
        /// Tenths of a second in all.
        timeout: i32,
    },
    /// At this position instead of the current one.
    Offset(i64),
}

/// Bits beside the extended type.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct XtypeFlags(pub u32);

impl XtypeFlags {
    /// Reading a directory: return more if that is easy.
    pub const DIR_EXTRA_HINT: XtypeFlags = XtypeFlags(0x100);
    /// Do not wait.
    pub const NONBLOCK: XtypeFlags = XtypeFlags(0x4000);
    /// Wait, whatever the open flags say.
    pub const BLOCK: XtypeFlags = XtypeFlags(0x8000);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: XtypeFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which bits of the word are the type.
const TYPE_MASK: u32 = 0xff;

/// `_IO_READ` or `_IO_WRITE`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IoReadWrite {
    /// Bytes wanted, or bytes of data; those of a write may follow in part and be fetched for the rest.
    pub nbytes: i32,
    /// Extended type.
    pub xtype: Xtype,
    /// Bits above the low eight; the low eight are not kept.
    pub flags: XtypeFlags,
}

impl IoReadWrite {
    /// Reads the message; also returns what follows.
    pub(super) fn decode(part: &[u8], endian: Endian) -> Result<(IoReadWrite, &[u8]), IoError> {
        let fixed = Fixed::decode(part, endian).map_err(IoError::Short)?;
        let block = |len| slice("extended type", part, Fixed::LEN, Fixed::LEN + len).map_err(IoError::Short);
        let (xtype, len) = match fixed.xtype & TYPE_MASK {
            0 => (Xtype::None, 0),
            1 => {
                let condition = Condition::decode(block(Condition::LEN)?, endian).map_err(IoError::Short)?;
                let Condition { min, time, timeout } = condition;
                (Xtype::ReadCond { min, time, timeout }, Condition::LEN)
            }
            5 => {
                let short = IoError::Short(Short { what: "file offset", need: 24, have: part.len() });
                let offset = block(8)?.first_chunk().ok_or(short)?;
                (Xtype::Offset(endian.read_i64(*offset)), 8)
            }
            _ => return Err(IoError::Xtype(fixed.xtype)),
        };
        let data = part.get(Fixed::LEN + len..).unwrap_or_default();
        let flags = XtypeFlags(fixed.xtype & !TYPE_MASK);
        Ok((IoReadWrite { nbytes: fixed.nbytes, xtype, flags }, data))
    }

    /// Length without data.
    pub fn encoded_len(&self) -> usize {
        Fixed::LEN
            + match self.xtype {
                Xtype::None => 0,
                Xtype::ReadCond { .. } => Condition::LEN,
                Xtype::Offset(_) => 8,
            }
    }

    pub(super) fn put(&self, header: &super::IoHeader, out: &mut Out<'_>) {
        let number = match self.xtype {
            Xtype::None => 0,
            Xtype::ReadCond { .. } => 1,
            Xtype::Offset(_) => 5,
        };
        let xtype = self.flags.0 & !TYPE_MASK | number;
        out.structure(header, &Fixed { nbytes: self.nbytes, xtype });
        match self.xtype {
            Xtype::None => out,
            Xtype::ReadCond { min, time, timeout } => out.put(&Condition { min, time, timeout }),
            Xtype::Offset(offset) => out.put(&offset),
        };
    }
}
