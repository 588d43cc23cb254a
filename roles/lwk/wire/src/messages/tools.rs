//! What the tools of section 6 say to a node, and what it tells them.

use alloc::string::String;
use alloc::vec::Vec;

use super::Message;
use crate::bytes::{Malformed, Reader, Writer};
use crate::errno::Errno;
use crate::frame::FrameType;

/// Bytes of an answer to a verb.
const MAX_ANSWER: usize = 512 << 10;

/// A verb with its arguments, as in `ihkosctl 0 query status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ctrl {
    /// The verb.
    pub verb: String,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Message<'_> for Ctrl {
    const KIND: FrameType = FrameType::Ctrl;

    fn read(from: &mut Reader<'_>) -> Result<Ctrl, Malformed> {
        let verb = from.string(64)?;
        let count = from.count(64, 4)?;
        Ok(Ctrl { verb, args: (0..count).map(|_| from.string(64 << 10)).collect::<Result<_, _>>()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.text(&self.verb).count(self.args.len());
        for arg in &self.args {
            to.text(arg);
        }
    }
}

/// The answer to a verb.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CtrlAnswer {
    /// Text for people, or JSON where that was asked for.
    Text(String),
    /// Bytes: memory, for example.
    Binary(Vec<u8>),
    /// It was not done.
    Failed {
        /// Why.
        error: Errno,
        /// For people.
        text: String,
    },
}

/// The answer frame. More answers to the same id follow when the frame has [`Flags::MORE`](crate::frame::Flags::MORE).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CtrlReply {
    /// The answer.
    pub answer: CtrlAnswer,
}

impl Message<'_> for CtrlReply {
    const KIND: FrameType = FrameType::CtrlReply;

    fn read(from: &mut Reader<'_>) -> Result<CtrlReply, Malformed> {
        let answer = match from.u8()? {
            0 => CtrlAnswer::Text(from.string(MAX_ANSWER)?),
            1 => CtrlAnswer::Binary(from.blob(MAX_ANSWER)?.to_vec()),
            2 => CtrlAnswer::Failed {
                error: Errno::from_raw(from.i32()?).ok_or(Malformed::Value)?,
                text: from.string(4096)?,
            },
            _ => return Err(Malformed::Value),
        };
        Ok(CtrlReply { answer })
    }

    fn write(&self, to: &mut Writer<'_>) {
        match &self.answer {
            CtrlAnswer::Text(text) => to.u8(0).text(text),
            CtrlAnswer::Binary(bytes) => to.u8(1).blob(bytes),
            CtrlAnswer::Failed { error, text } => to.u8(2).i32(error.raw()).text(text),
        };
    }
}

/// What happened. The first three have the numbers of IHK's eventfd types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum EventKind {
    /// Memory of the partition is nearly used up.
    Oom = 0,
    /// A core hangs.
    Hungup = 1,
    /// The log is half full.
    KmsgFull = 2,
    /// The kernel gave up.
    Panic = 101,
    /// A delegated call has been waiting for longer than `stall_timeout`.
    Stalled = 102,
}

/// Something happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// For people.
    pub text: String,
}

impl Message<'_> for Event {
    const KIND: FrameType = FrameType::Event;

    fn read(from: &mut Reader<'_>) -> Result<Event, Malformed> {
        use EventKind::*;
        let raw = from.u32()?;
        let kind = [Oom, Hungup, KmsgFull, Panic, Stalled].into_iter().find(|kind| *kind as u32 == raw);
        Ok(Event { kind: kind.ok_or(Malformed::Value)?, text: from.string(16 << 10)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.kind as u32).text(&self.text);
    }
}

/// A line of the node's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KmsgLine {
    /// Where the line begins in the log, in bytes since boot: rises from line to line.
    pub sequence: u64,
    /// Since boot, nanoseconds.
    pub time: u64,
    /// Severity of syslog(3), 0..=7.
    pub severity: u8,
    /// The core it comes from.
    pub core: u32,
    /// The line, without its end.
    pub text: String,
}

/// Lines of the node's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kmsg {
    /// In their order.
    pub lines: Vec<KmsgLine>,
}

impl Message<'_> for Kmsg {
    const KIND: FrameType = FrameType::Kmsg;

    fn read(from: &mut Reader<'_>) -> Result<Kmsg, Malformed> {
        let count = from.count(4096, 25)?;
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            let line = KmsgLine {
                sequence: from.u64()?,
                time: from.u64()?,
                severity: from.u8()?,
                core: from.u32()?,
                text: from.string(4096)?,
            };
            if line.severity > 7 {
                return Err(Malformed::Value);
            }
            lines.push(line);
        }
        Ok(Kmsg { lines })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.count(self.lines.len());
        for line in &self.lines {
            to.u64(line.sequence).u64(line.time).u8(line.severity).u32(line.core).text(&line.text);
        }
    }
}

/// What is dumped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DumpKind {
    /// The kernel's memory.
    Kernel = 0,
    /// A process: an ELF core file, on the session of its proxy.
    Core = 1,
}

/// A dump follows, in [`DumpData`]; [`Flags::LAST`](crate::frame::Flags::LAST) ends it.
///
/// For a core file, header and parts are requests with ids of their own. Each is answered by a [`SideReply`](super::SideReply)
/// when it is done, which keeps the node from sending faster than the host writes; a negative one says that no more is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DumpHeader {
    /// What.
    pub kind: DumpKind,
    /// `dump_level`; 0 for a process.
    pub level: u8,
    /// Size of the file, bytes. What is not sent is zeros.
    pub size: u64,
    /// For people: node, time, reason.
    pub text: String,
}

impl Message<'_> for DumpHeader {
    const KIND: FrameType = FrameType::DumpHeader;

    fn read(from: &mut Reader<'_>) -> Result<DumpHeader, Malformed> {
        let kind = match from.u8()? {
            0 => DumpKind::Kernel,
            1 => DumpKind::Core,
            _ => return Err(Malformed::Value),
        };
        Ok(DumpHeader { kind, level: from.u8()?, size: from.u64()?, text: from.string(4096)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u8(self.kind as u8).u8(self.level).u64(self.size).text(&self.text);
    }
}

/// A part of a dump.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DumpData<'a> {
    /// Where in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> for DumpData<'a> {
    const KIND: FrameType = FrameType::DumpData;

    fn read(from: &mut Reader<'a>) -> Result<DumpData<'a>, Malformed> {
        Ok(DumpData { offset: from.u64()?, bytes: from.rest() })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.offset).bytes(self.bytes);
    }
}
