//! What belongs to the connection itself: BYE, PING, PONG.

use alloc::string::String;

use super::Message;
use crate::bytes::{Malformed, Reader, Writer};
use crate::frame::FrameType;

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ByeReason {
    /// Nothing more to say.
    Done = 0,
    /// No common version (EVERSION).
    Version = 1,
    /// The key is wrong, or its role does not allow this.
    Auth = 2,
    /// Protocol violation (EPROTO).
    Protocol = 3,
    /// Too many sessions or requests.
    Busy = 4,
    /// The ticket is unknown, used or too old.
    Ticket = 5,
    /// The node goes down.
    Shutdown = 6,
    /// The other side did not answer in time.
    Timeout = 7,
}

impl ByeReason {
    fn from_raw(raw: u32) -> Option<ByeReason> {
        use ByeReason::*;
        [Done, Version, Auth, Protocol, Busy, Ticket, Shutdown, Timeout]
            .into_iter()
            .find(|reason| *reason as u32 == raw)
    }
}

/// The last frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// For people.
    pub text: String,
}

impl Message<'_> for Bye {
    const KIND: FrameType = FrameType::Bye;

    fn read(from: &mut Reader<'_>) -> Result<Bye, Malformed> {
        let reason = ByeReason::from_raw(from.u32()?).ok_or(Malformed::Value)?;
        Ok(Bye { reason, text: from.string(1024)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u32(self.reason as u32).text(&self.text);
    }
}

/// How much waits at the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueDepths {
    /// Requests unanswered.
    pub requests: u32,
    /// Of those, waiting for a worker or a core.
    pub waiting: u32,
    /// Bytes waiting to be sent.
    pub bytes: u64,
}

/// Asks for a [`Pong`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ping {
    /// The sender's monotonic clock, nanoseconds.
    pub monotonic: u64,
    /// The sender's wall clock, nanoseconds since 1970.
    pub wall: u64,
    /// Queues.
    pub queues: QueueDepths,
}

/// Answers a [`Ping`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pong {
    /// `monotonic` of the ping.
    pub echo: u64,
    /// The sender's own state.
    pub own: Ping,
}

impl Message<'_> for Ping {
    const KIND: FrameType = FrameType::Ping;

    fn read(from: &mut Reader<'_>) -> Result<Ping, Malformed> {
        let (monotonic, wall) = (from.u64()?, from.u64()?);
        let queues = QueueDepths { requests: from.u32()?, waiting: from.u32()?, bytes: from.u64()? };
        Ok(Ping { monotonic, wall, queues })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.monotonic).u64(self.wall);
        to.u32(self.queues.requests).u32(self.queues.waiting).u64(self.queues.bytes);
    }
}

impl Message<'_> for Pong {
    const KIND: FrameType = FrameType::Pong;

    fn read(from: &mut Reader<'_>) -> Result<Pong, Malformed> {
        Ok(Pong { echo: from.u64()?, own: Ping::read(from)? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.echo);
        self.own.write(to);
    }
}
