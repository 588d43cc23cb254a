//! What was sent to a socket and not received yet.

use crate::Errno;
use crate::files::pipe::give;
use crate::files::{Description, Target, moved};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes that an inbox takes before senders wait (Linux: `net.core.wmem_default`).
pub const CAPACITY: usize = 212_992;

/// Bytes that a message counts for besides its own: as many as on Linux, where an inbox takes some 278 messages, however short
/// they are.
const OVERHEAD: usize = 768;

/// Who sent something: `struct ucred`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Credentials {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What goes with the bytes of sendmsg(2).
#[derive(Default)]
pub struct Outgoing {
    /// SCM_RIGHTS.
    pub rights: Vec<Arc<Description>>,
    /// SCM_CREDENTIALS.
    pub credentials: Option<Credentials>,
}

/// What recvmsg(2) got besides bytes.
#[derive(Default)]
pub struct Received {
    /// Bytes stored.
    pub len: usize,
    /// Bytes of the message, which may be more.
    pub whole: usize,
    /// A part of the message did not fit and is lost (MSG_TRUNC).
    pub truncated: bool,
    /// The end of a message.
    pub record: bool,
    /// Files that came with it.
    pub rights: Vec<Arc<Description>>,
    /// Who sent it.
    pub credentials: Option<Credentials>,
    /// Name of the sender.
    pub from: Option<Vec<u8>>,
}

/// How to receive.
#[derive(Clone, Copy, Default)]
pub struct ReceiveFlags {
    /// MSG_PEEK.
    pub peek: bool,
    /// MSG_WAITALL.
    pub wait_all: bool,
}

/// Something sent.
pub(super) struct Message {
    pub bytes: VecDeque<u8>,
    pub rights: Vec<Arc<Description>>,
    pub credentials: Credentials,
    pub from: Option<Vec<u8>>,
}

/// Messages in their order.
#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    /// Bytes in all of them, and what they count for.
    bytes: usize,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.bytes)
    }

    /// Enough fits for senders to be told that they can send.
    pub fn is_roomy(&self) -> bool {
        self.room() >= CAPACITY / 2
    }

    /// Bytes of the next message, or of all when they are a stream.
    pub fn next_len(&self, stream: bool) -> usize {
        let count = if stream { self.messages.len() } else { 1 };
        self.messages.iter().take(count).map(|message| message.bytes.len()).sum()
    }

    /// Adds a message. Bytes of a stream are joined, unless something goes with them or they are somebody else's. ENOBUFS.
    pub fn push(&mut self, message: Message, stream: bool) -> Result<(), Errno> {
        if stream
            && message.rights.is_empty()
            && let Some(last) = self.messages.back_mut()
            && last.credentials == message.credentials
            && last.rights.is_empty()
        {
            last.bytes.try_reserve(message.bytes.len()).map_err(|_| Errno::ENOBUFS)?;
            self.bytes += message.bytes.len();
            last.bytes.extend(message.bytes);
            return Ok(());
        }
        self.messages.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        self.bytes += message.bytes.len() + OVERHEAD;
        self.messages.push_back(message);
        Ok(())
    }

    /// Moves what is next. A stream goes on through messages until something comes with one.
    pub fn receive(
        &mut self,
        into: &mut dyn Target,
        flags: super::ReceiveFlags,
        stream: bool,
    ) -> Result<Received, Errno> {
        let wanted = into.left();
        let mut received = Received::default();
        let mut index = 0;
        while let Some(message) = self.messages.get_mut(index) {
            let first = received.credentials.is_none();
            if !first {
                let other = received.credentials != Some(message.credentials);
                if !message.rights.is_empty() || other || into.left() == 0 {
                    break;
                }
            }
            if first {
                received.credentials = Some(message.credentials);
                received.from = message.from.clone();
                received.rights =
                    if flags.peek { message.rights.clone() } else { core::mem::take(&mut message.rights) };
            }
            let whole = message.bytes.len();
            let len = whole.min(into.left());
            let put = give(&message.bytes, len, into);
            if put < len && first && into.may_come() {
                // It stays as it was.
                message.rights = received.rights;
                return Err(Errno::EFAULT);
            }
            received.len += put;
            received.whole += whole;
            received.truncated = !stream && len < whole;
            received.record = !stream;
            if flags.peek {
                index += 1;
            } else if put == whole || !stream {
                self.bytes -= whole + OVERHEAD;
                self.messages.pop_front();
            } else {
                self.bytes -= put;
                message.bytes.drain(..put);
            }
            if put < len {
                return moved(received.len, wanted).map(|_| received);
            }
            if !stream || into.left() == 0 || !received.rights.is_empty() {
                break;
            }
        }
        Ok(received)
    }
}
