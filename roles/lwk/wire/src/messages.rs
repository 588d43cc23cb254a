//! What is in frames (section 5.4): one struct for each type, with its codec.
//!
//! Decoders borrow from the payload where they can, check every count against its limit and against the bytes that are
//! there, and refuse what is left over.

mod call;
mod launch;
mod pages;
mod process;
mod ready;
mod session;
mod tools;

pub use call::{
    Cancel, Credit, Data, Desc, Direction, Hint, MAX_DESCS, MemRead, MemReadReply, MemWrite, MemWriteReply,
    OutPart, Part, Syscall, Sysret,
};
pub use launch::{
    ExportedFd, FdKind, Launch, LaunchAck, LaunchFlags, LaunchOptions, NetMode, Rank, StackOptions, limits,
};
pub use pages::{PageIn, PageInReply, PageOut, PageOutReply};
pub use process::{
    Chdir, CoreAudit, Exit, Fork, ForkErr, ForkOk, Rlimit, SetIds, SetPgid, SetSid, Show, Shown, SideReply,
    Signal, Ticket, Umask,
};
pub use ready::{CloseBatch, Ready, Subscribe, Unsubscribe};
pub use session::{Bye, ByeReason, Ping, Pong, QueueDepths};
pub use tools::{
    Ctrl, CtrlAnswer, CtrlReply, DumpData, DumpHeader, DumpKind, Event, EventKind, Kmsg, KmsgLine,
};

use crate::bytes::{Malformed, Reader, Writer};
use crate::frame::FrameType;

/// The payload of one type of frame.
pub trait Message<'a>: Sized {
    /// The type.
    const KIND: FrameType;

    /// Reads the fields.
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed>;

    /// Writes the fields.
    fn write(&self, to: &mut Writer<'_>);

    /// Reads a whole payload.
    fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let message = Self::read(&mut reader)?;
        reader.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
