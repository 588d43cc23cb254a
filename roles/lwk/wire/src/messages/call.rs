//! System calls under way: SYSCALL, SYSRET, DATA, CREDIT, CANCEL, and access to memory in the meantime.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::{FdKind, Message};
use crate::bytes::{Malformed, Reader, Writer};
use crate::errno::Errno;
use crate::frame::{DATA_PIECE, FrameType, MAX_INLINE, MAX_INLINE_TOTAL};
use crate::layout::Stat;

/// Descriptors of one call.
pub const MAX_DESCS: usize = 16;

/// Which way the bytes of a descriptor go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Direction {
    /// From the program: in the request.
    In = 0,
    /// To the program: in the answer.
    Out = 1,
    /// Both.
    InOut = 2,
}

impl Direction {
    /// The request has its bytes.
    pub fn is_in(self) -> bool {
        self != Direction::Out
    }

    /// The answer has its bytes.
    pub fn is_out(self) -> bool {
        self != Direction::In
    }
}

/// What a descriptor is within its argument: a msghdr has several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Part {
    /// The argument itself.
    Whole = 0,
    /// The bytes of an I/O vector or a buffer: what may be too much for the frame, and travels in DATA then.
    Data = 1,
    /// Address in a msghdr.
    Name = 2,
    /// Control data in a msghdr.
    Control = 3,
    /// Answer only: length of the address u32, of the control data u32, msg_flags u32.
    Lengths = 4,
    /// What a structure points to: the buffer of SIOCGIFCONF, the command of SIOCETHTOOL.
    Nested = 5,
}

impl Part {
    fn from_raw(raw: u8) -> Option<Part> {
        use Part::*;
        [Whole, Data, Name, Control, Lengths, Nested].into_iter().find(|part| *part as u8 == raw)
    }
}

/// One range of the program's memory that takes part in a call. On the wire: `addr u64, len u32, dir u8, arg u8`, where the
/// low 3 bits of `arg` are the argument and the others are the [`Part`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Desc {
    /// Address on the node; the host never uses it but to name the range in MEMRD and MEMWR. Of an I/O vector: of the vector.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// Which way.
    pub direction: Direction,
    /// Argument, 0..=5.
    pub arg: u8,
    /// Part of it.
    pub part: Part,
}

/// Perform a call. The number is in the header's `code`.
///
/// The bytes of the `In` and `InOut` descriptors follow in their order. With [`Flags::MORE`](crate::frame::Flags::MORE) those of the
/// [`Part::Data`] descriptor do not: they come in DATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Syscall<'a> {
    /// Arguments; handles in place of file descriptors.
    pub args: [u64; 6],
    /// Ranges, by argument.
    pub descs: Cow<'a, [Desc]>,
    /// Bytes from the program.
    pub inline: &'a [u8],
}

impl<'a> Message<'a> for Syscall<'a> {
    const KIND: FrameType = FrameType::Syscall;

    fn read(from: &mut Reader<'a>) -> Result<Syscall<'a>, Malformed> {
        let argc = from.u8()?;
        if argc > 6 {
            return Err(Malformed::Limit);
        }
        let mut args = [0; 6];
        for arg in args.iter_mut().take(argc.into()) {
            *arg = from.u64()?;
        }
        let count = usize::from(from.u8()?);
        if count > MAX_DESCS {
            return Err(Malformed::Limit);
        }
        let mut descs = Vec::with_capacity(count);
        for _ in 0..count {
            let (addr, len, dir, arg) = (from.u64()?, from.u32()?, from.u8()?, from.u8()?);
            let direction = match dir {
                0 => Direction::In,
                1 => Direction::Out,
                2 => Direction::InOut,
                _ => return Err(Malformed::Value),
            };
            let part = Part::from_raw(arg >> 3).ok_or(Malformed::Value)?;
            if arg & 7 > 5 {
                return Err(Malformed::Value);
            }
            descs.push(Desc { addr, len, direction, arg: arg & 7, part });
        }
        let inline = from.rest();
        if inline.len() > MAX_INLINE_TOTAL {
            return Err(Malformed::Limit);
        }
        Ok(Syscall { args, descs: descs.into(), inline })
    }

    fn write(&self, to: &mut Writer<'_>) {
        let used = self.args.iter().rposition(|arg| *arg != 0).map_or(0, |last| last + 1);
        to.u8(used as u8);
        for arg in self.args.iter().take(used) {
            to.u64(*arg);
        }
        to.u8(self.descs.len().min(usize::from(u8::MAX)) as u8);
        for desc in &*self.descs {
            to.u64(desc.addr).u32(desc.len).u8(desc.direction as u8).u8(desc.arg | (desc.part as u8) << 3);
        }
        to.bytes(self.inline);
    }
}

/// What the host knows about a handle it just made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hint {
    /// Kind.
    pub kind: FdKind,
    /// Status flags, as F_GETFL gives them.
    pub flags: u32,
    /// What fstat tells: programs ask for it at once.
    pub stat: Stat,
    /// lseek works.
    pub seekable: bool,
    /// isatty is true.
    pub tty: bool,
}

/// Bytes of the answer that belong to one descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutPart {
    /// Index of the descriptor in the request.
    pub desc: u8,
    /// Bytes, at most the descriptor's `len`.
    pub len: u32,
}

/// The result of a call. With [`Flags::MORE`](crate::frame::Flags::MORE) the bytes of the [`Part::Data`] descriptor came in
/// DATA before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sysret<'a> {
    /// What the call returns; a handle where it returns a file descriptor.
    pub result: i64,
    /// Readiness of the handle after the call, for one that is subscribed or with NEED_RDY: bits of poll(2).
    pub revents: u32,
    /// Of a handle that the call made.
    pub hint: Option<Hint>,
    /// Whose bytes follow.
    pub outs: Vec<OutPart>,
    /// Bytes for the program.
    pub bytes: &'a [u8],
}

impl Sysret<'_> {
    /// An answer without bytes.
    pub fn plain(result: i64) -> Sysret<'static> {
        Sysret { result, revents: 0, hint: None, outs: Vec::new(), bytes: &[] }
    }
}

impl Hint {
    fn read(from: &mut Reader<'_>) -> Result<Hint, Malformed> {
        Ok(Hint {
            kind: FdKind::from_raw(from.u8()?).ok_or(Malformed::Value)?,
            flags: from.u32()?,
            stat: Stat::from_bytes(&from.array()?),
            seekable: from.flag()?,
            tty: from.flag()?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u8(self.kind as u8).u32(self.flags);
        to.bytes(&self.stat.to_bytes());
        to.flag(self.seekable).flag(self.tty);
    }
}

impl<'a> Message<'a> for Sysret<'a> {
    const KIND: FrameType = FrameType::Sysret;

    fn read(from: &mut Reader<'a>) -> Result<Sysret<'a>, Malformed> {
        let (result, revents) = (from.i64()?, from.u32()?);
        let hint = if from.flag()? { Some(Hint::read(from)?) } else { None };
        let count = usize::from(from.u8()?);
        if count > MAX_DESCS {
            return Err(Malformed::Limit);
        }
        let mut outs = Vec::with_capacity(count);
        let mut total = 0usize;
        for _ in 0..count {
            let out = OutPart { desc: from.u8()?, len: from.u32()? };
            total = total.saturating_add(out.len as usize);
            outs.push(out);
        }
        let bytes = from.rest();
        if bytes.len() > MAX_INLINE_TOTAL {
            return Err(Malformed::Limit);
        }
        if total != bytes.len() {
            return Err(Malformed::Value);
        }
        Ok(Sysret { result, revents, hint, outs, bytes })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.i64(self.result).u32(self.revents).flag(self.hint.is_some());
        if let Some(hint) = &self.hint {
            hint.write(to);
        }
        to.u8(self.outs.len().min(usize::from(u8::MAX)) as u8);
        for out in &self.outs {
            to.u8(out.desc).u32(out.len);
        }
        to.bytes(self.bytes);
    }
}

/// Bytes of the request with the header's id. [`Flags::LAST`](crate::frame::Flags::LAST) ends a direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    /// Where they belong, from the start of the data; pieces come in order.
    pub offset: u64,
    /// The bytes, at most [`DATA_PIECE`].
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> for Data<'a> {
    const KIND: FrameType = FrameType::Data;

    fn read(from: &mut Reader<'a>) -> Result<Data<'a>, Malformed> {
        let offset = from.u64()?;
        let bytes = from.rest();
        if bytes.len() > DATA_PIECE { Err(Malformed::Limit) } else { Ok(Data { offset, bytes }) }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.offset).bytes(self.bytes);
    }
}

/// The receiver of DATA has room for more, for the request with the header's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// Bytes more.
    pub bytes: u32,
}

impl Message<'_> for Credit {
    const KIND: FrameType = FrameType::Credit;

    fn read(from: &mut Reader<'_>) -> Result<Credit, Malformed> {
        Ok(Credit { bytes: from.u32()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.bytes);
    }
}

/// End the request with the header's id early. It is answered all the same: with what it has done, or EINTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancel;

impl Message<'_> for Cancel {
    const KIND: FrameType = FrameType::Cancel;

    fn read(_from: &mut Reader<'_>) -> Result<Cancel, Malformed> {
        Ok(Cancel)
    }

    fn write(&self, _to: &mut Writer<'_>) {}
}

/// Read memory of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemRead {
    /// The SYSCALL whose descriptors allow it; 0 for a debugger with the `admin` role.
    pub call: u64,
    /// Address.
    pub addr: u64,
    /// Bytes, at most [`MAX_INLINE`].
    pub len: u32,
}

impl Message<'_> for MemRead {
    const KIND: FrameType = FrameType::MemRead;

    fn read(from: &mut Reader<'_>) -> Result<MemRead, Malformed> {
        let read = MemRead { call: from.u64()?, addr: from.u64()?, len: from.u32()? };
        if read.len as usize > MAX_INLINE { Err(Malformed::Limit) } else { Ok(read) }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.call).u64(self.addr).u32(self.len);
    }
}

/// The bytes, or why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemReadReply<'a> {
    /// Bytes from the start of the range.
    pub result: Result<&'a [u8], Errno>,
}

impl<'a> Message<'a> for MemReadReply<'a> {
    const KIND: FrameType = FrameType::MemReadReply;

    fn read(from: &mut Reader<'a>) -> Result<MemReadReply<'a>, Malformed> {
        let result = match from.i32()? {
            0 => Ok(from.rest()),
            raw => Err(Errno::from_raw(raw).ok_or(Malformed::Value)?),
        };
        Ok(MemReadReply { result })
    }

    fn write(&self, to: &mut Writer<'_>) {
        match self.result {
            Ok(bytes) => to.i32(0).bytes(bytes),
            Err(error) => to.i32(error.raw()),
        };
    }
}

/// Write memory of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemWrite<'a> {
    /// As in [`MemRead`].
    pub call: u64,
    /// Address.
    pub addr: u64,
    /// Bytes, at most [`MAX_INLINE`].
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> for MemWrite<'a> {
    const KIND: FrameType = FrameType::MemWrite;

    fn read(from: &mut Reader<'a>) -> Result<MemWrite<'a>, Malformed> {
        let write = MemWrite { call: from.u64()?, addr: from.u64()?, bytes: from.rest() };
        if write.bytes.len() > MAX_INLINE { Err(Malformed::Limit) } else { Ok(write) }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.call).u64(self.addr).bytes(self.bytes);
    }
}

/// Written, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemWriteReply {
    /// Bytes written.
    pub result: Result<u32, Errno>,
}

impl Message<'_> for MemWriteReply {
    const KIND: FrameType = FrameType::MemWriteReply;

    fn read(from: &mut Reader<'_>) -> Result<MemWriteReply, Malformed> {
        let (error, len) = (from.i32()?, from.u32()?);
        let result = if error == 0 { Ok(len) } else { Err(Errno::from_raw(error).ok_or(Malformed::Value)?) };
        Ok(MemWriteReply { result })
    }

    fn write(&self, to: &mut Writer<'_>) {
        let (error, len) = match self.result {
            Ok(len) => (0, len),
            Err(error) => (error.raw(), 0),
        };
        to.i32(error).u32(len);
    }
}
