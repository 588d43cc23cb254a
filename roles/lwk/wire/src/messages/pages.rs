//! Pages of mapped files (section 5.7).

use super::Message;
use crate::bytes::{Malformed, Reader, Writer};
use crate::errno::Errno;
use crate::frame::{DATA_PIECE, FrameType};

/// Read bytes of a file without regard to its offset pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageIn {
    /// Handle.
    pub handle: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes, at most [`PageIn::MOST`].
    pub len: u32,
}

impl PageIn {
    /// Bytes of one request. A fault that wants 2 MiB sends several.
    pub const MOST: usize = DATA_PIECE;
}

impl Message<'_> for PageIn {
    const KIND: FrameType = FrameType::PageIn;

    fn read(from: &mut Reader<'_>) -> Result<PageIn, Malformed> {
        let page = PageIn { handle: from.u64()?, offset: from.u64()?, len: from.u32()? };
        if page.len as usize > PageIn::MOST { Err(Malformed::Limit) } else { Ok(page) }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.handle).u64(self.offset).u32(self.len);
    }
}

/// The bytes. Fewer than asked: the file ends there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageInReply<'a> {
    /// Bytes, or why not.
    pub result: Result<&'a [u8], Errno>,
}

impl<'a> Message<'a> for PageInReply<'a> {
    const KIND: FrameType = FrameType::PageInReply;

    fn read(from: &mut Reader<'a>) -> Result<PageInReply<'a>, Malformed> {
        let error = from.i32()?;
        let bytes = from.rest();
        if bytes.len() > PageIn::MOST {
            return Err(Malformed::Limit);
        }
        match Errno::from_raw(error) {
            None if error == 0 => Ok(PageInReply { result: Ok(bytes) }),
            Some(error) if bytes.is_empty() => Ok(PageInReply { result: Err(error) }),
            _ => Err(Malformed::Value),
        }
    }

    fn write(&self, to: &mut Writer<'_>) {
        match self.result {
            Ok(bytes) => to.i32(0).bytes(bytes),
            Err(error) => to.i32(error.raw()),
        };
    }
}

/// Write bytes of a shared mapping back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageOut<'a> {
    /// Handle.
    pub handle: u64,
    /// First byte.
    pub offset: u64,
    /// Also wait until they are on stable storage (MS_SYNC).
    pub sync: bool,
    /// Bytes, at most [`PageIn::MOST`]; never beyond the end of the file.
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> for PageOut<'a> {
    const KIND: FrameType = FrameType::PageOut;

    fn read(from: &mut Reader<'a>) -> Result<PageOut<'a>, Malformed> {
        let page =
            PageOut { handle: from.u64()?, offset: from.u64()?, sync: from.flag()?, bytes: from.rest() };
        if page.bytes.len() > PageIn::MOST { Err(Malformed::Limit) } else { Ok(page) }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.handle).u64(self.offset).flag(self.sync).bytes(self.bytes);
    }
}

/// Written, or why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageOutReply {
    /// The result.
    pub result: Result<(), Errno>,
}

impl Message<'_> for PageOutReply {
    const KIND: FrameType = FrameType::PageOutReply;

    fn read(from: &mut Reader<'_>) -> Result<PageOutReply, Malformed> {
        let result = match from.i32()? {
            0 => Ok(()),
            raw => Err(Errno::from_raw(raw).ok_or(Malformed::Value)?),
        };
        Ok(PageOutReply { result })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.i32(self.result.err().map_or(0, Errno::raw));
    }
}
