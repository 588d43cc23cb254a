//! Readiness of handles, and their end (sections 5.8 and 5.9).

use alloc::vec::Vec;

use super::Message;
use crate::bytes::{Malformed, Reader, Writer};
use crate::frame::FrameType;

/// Handles in one CLOSE_BATCH.
const MAX_BATCH: usize = 65_536;

/// Tell me about this handle. Replaces an earlier subscription of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe {
    /// Handle.
    pub handle: u64,
    /// Events of interest, as in poll(2): POLLIN, POLLPRI, POLLOUT, POLLRDHUP. POLLERR and POLLHUP always.
    pub events: u32,
    /// Comes back in READY, so that the node knows which subscription it answers.
    pub generation: u32,
}

impl Message<'_> for Subscribe {
    const KIND: FrameType = FrameType::Subscribe;

    fn read(from: &mut Reader<'_>) -> Result<Subscribe, Malformed> {
        Ok(Subscribe { handle: from.u64()?, events: from.u32()?, generation: from.u32()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.handle).u32(self.events).u32(self.generation);
    }
}

/// No longer about this handle. A READY may still be on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe {
    /// Handle.
    pub handle: u64,
}

impl Message<'_> for Unsubscribe {
    const KIND: FrameType = FrameType::Unsubscribe;

    fn read(from: &mut Reader<'_>) -> Result<Unsubscribe, Malformed> {
        Ok(Unsubscribe { handle: from.u64()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.handle);
    }
}

/// A handle's readiness as it is now; sent at SUBSCRIBE and whenever something new happened to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// Handle.
    pub handle: u64,
    /// What is possible now, as in poll(2); 0 is an answer too.
    pub revents: u32,
    /// Of the subscription.
    pub generation: u32,
}

impl Message<'_> for Ready {
    const KIND: FrameType = FrameType::Ready;

    fn read(from: &mut Reader<'_>) -> Result<Ready, Malformed> {
        Ok(Ready { handle: from.u64()?, revents: from.u32()?, generation: from.u32()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.handle).u32(self.revents).u32(self.generation);
    }
}

/// Handles that no process of the session has any more. Not answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CloseBatch {
    /// Handles.
    pub handles: Vec<u64>,
}

impl Message<'_> for CloseBatch {
    const KIND: FrameType = FrameType::CloseBatch;

    fn read(from: &mut Reader<'_>) -> Result<CloseBatch, Malformed> {
        let count = from.count(MAX_BATCH, 8)?;
        Ok(CloseBatch { handles: (0..count).map(|_| from.u64()).collect::<Result<_, _>>()? })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.count(self.handles.len());
        for handle in &self.handles {
            to.u64(*handle);
        }
    }
}
