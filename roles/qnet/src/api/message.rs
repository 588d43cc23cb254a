//! A message as a server has it: its bytes, its client, and the ways to answer.

use super::kernel::{Credentials, Kernel};
use crate::kif::{Arrival, Key, TRANSFER};
use core::future::poll_fn;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::kif::Sigevent;

/// About a message and its client (`struct _msg_info`).
pub use keelson_qnet_wire::io::MsgInfo as MessageInfo;

/// Names a message that was received (`rcvid`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ReceiveId(pub(super) Key);

/// A message that waits for its reply. Its server should work at the priority of [`Message::info`], as replies and
/// reads travel at it.
///
/// Dropping it without a reply gives the client `EINTR` if it wanted to stop waiting, else `ESRCH`.
pub struct Message {
    kernel: Kernel,
    key: Key,
    /// Absent only while it is being dropped.
    arrival: Option<Arrival>,
    info: MessageInfo,
    credentials: Credentials,
}

impl Message {
    pub(super) fn new(
        kernel: &Kernel,
        key: Key,
        arrival: Arrival,
        info: MessageInfo,
        credentials: Credentials,
    ) -> Message {
        Message { kernel: kernel.clone(), key, arrival: Some(arrival), info, credentials }
    }

    /// Its name, by which [`super::Received::Unblock`] refers to it.
    pub fn id(&self) -> ReceiveId {
        ReceiveId(self.key)
    }

    /// About the message and its client.
    pub fn info(&self) -> &MessageInfo {
        &self.info
    }

    /// What its client may do. Of clients of other nodes: after `maproot` and `mapany`.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The first bytes of the message, which came with it: 8,192 at most.
    pub fn data(&self) -> &[u8] {
        self.arrival.as_ref().map(Arrival::data).unwrap_or_default()
    }

    /// Bytes that the client offers in all.
    pub fn len(&self) -> usize {
        usize::try_from(self.info.srcmsglen).unwrap_or(0)
    }

    /// Whether the client offers no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the message from `offset` (`MsgRead`), asking the client for what has not come. How many bytes there
    /// were: fewer than asked for at the end of the message.
    pub async fn read(&self, offset: usize, to: &mut [u8]) -> Result<usize, Errno> {
        let wanted = self.len().saturating_sub(offset).min(to.len());
        let here = self.data().get(offset..).unwrap_or_default();
        let mut done = here.len().min(wanted);
        if let (Some(to), Some(from)) = (to.get_mut(..done), here.get(..done)) {
            to.copy_from_slice(from);
        }
        while done < wanted {
            let piece = TRANSFER.min(wanted - done);
            let Some(room) = to.get_mut(done..done + piece) else { break };
            let len = self.pull(offset + done, room).await?;
            done += len;
            if len < piece {
                break;
            }
        }
        Ok(done)
    }

    /// One MSGREAD.
    async fn pull(&self, offset: usize, to: &mut [u8]) -> Result<usize, Errno> {
        let offset = u32::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let nbytes = to.len() as u32;
        let read = self.kernel.when_room(|state| state.begin_pull(self.key, offset, nbytes)).await?;
        let pull = Pull { kernel: &self.kernel, read };
        poll_fn(|cx| self.kernel.enter(|state| state.poll_pull(pull.read, to, cx))).await
    }

    /// Writes a part of the reply ahead of it (`MsgWrite`), at an offset in the client's buffer. How many bytes the
    /// client had room for.
    pub async fn write(&self, offset: usize, data: &[u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.checked_add(done).ok_or(Errno::EINVAL)?;
            let len = self.kernel.when_room(|state| state.write_reply(self.key, at, rest)).await?;
            done += len;
            if len == 0 {
                break;
            }
        }
        Ok(done)
    }

    /// Ends the transaction with a status and data (`MsgReply`).
    pub fn reply(self, status: i32, data: &[u8]) {
        self.reply_parts(status, &[data]);
    }

    /// The same with data in pieces.
    pub fn reply_parts(self, status: i32, parts: &[&[u8]]) {
        self.kernel.enter(|state| state.reply(self.key, status, parts));
    }

    /// Returns to the client what came with its message.
    pub fn reply_same(self, status: i32) {
        self.kernel.enter(|state| state.reply(self.key, status, &[self.data()]));
    }

    /// Ends the transaction with an error (`MsgError`).
    pub fn error(self, errno: Errno) {
        self.kernel.enter(|state| state.fail(self.key, Some(errno)));
    }

    /// Waits until the client wants to stop waiting, or is gone. What blocks for a client should stop then.
    pub async fn unblocked(&self) {
        poll_fn(|cx| self.kernel.enter(|state| state.poll_unblocked(self.key, cx))).await;
    }

    /// Whether the client wants to stop waiting, or is gone.
    pub fn is_unblocked(&self) -> bool {
        self.kernel.enter(|state| state.is_unblocked(self.key))
    }

    /// Where events for the client go, also after the reply and until it detaches. `None` when it is gone.
    pub fn event_target(&self) -> Option<EventTarget> {
        let found = self.kernel.enter(|state| state.event_target(self.key));
        found.map(|(server, handle)| EventTarget { kernel: self.kernel.clone(), server, handle })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let arrival = self.arrival.take();
        self.kernel.enter(|state| {
            // Does nothing after a reply.
            state.fail(self.key, None);
            if let Some(arrival) = arrival {
                state.discard(arrival);
            }
        });
    }
}

/// A read on its way: its place is freed when nobody waits any more.
struct Pull<'a> {
    kernel: &'a Kernel,
    read: Key,
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        self.kernel.enter(|state| state.end_pull(self.read));
    }
}

/// A client thread to which events can be delivered.
#[derive(Clone)]
pub struct EventTarget {
    kernel: Kernel,
    server: Key,
    handle: u32,
}

impl EventTarget {
    /// Delivers an event (`MsgDeliverEvent`). Success does not mean that it arrives. `ESRCH` when the client has
    /// detached.
    pub fn deliver(&self, event: &Sigevent) -> Result<(), Errno> {
        self.kernel.enter(|state| state.deliver(self.server, self.handle, *event))
    }
}
