//! What was sent to a socket and not received yet.

use super::flight::{Aboard, Flight};
use super::rights::{List, Rights};
use crate::files::pipe::give;
use crate::files::{Description, Target, moved};
use crate::{Errno, room};
use alloc::boxed::Box;
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
    pub rights: Option<Box<Rights>>,
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
    pub rights: Option<Box<Rights>>,
    pub credentials: Credentials,
    pub from: Option<Vec<u8>>,
}

/// Messages in their order.
#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    /// Bytes in all of them, and what they count for.
    bytes: usize,
    /// Messages with files.
    with_rights: usize,
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

    /// Files come with some message.
    pub fn has_rights(&self) -> bool {
        self.with_rights > 0
    }

    /// Files come with the next message.
    pub fn next_has_rights(&self) -> bool {
        self.messages.front().is_some_and(|message| message.rights.is_some())
    }

    /// Files of all messages.
    pub fn rights(&self) -> impl Iterator<Item = &Rights> {
        let messages = if self.has_rights() { self.messages.len() } else { 0 };
        self.messages.iter().take(messages).filter_map(|message| message.rights.as_deref())
    }

    /// Takes the files out of all messages.
    pub fn unload(&mut self, onto: &mut List) {
        if core::mem::take(&mut self.with_rights) > 0 {
            self.messages
                .iter_mut()
                .filter_map(|message| message.rights.take())
                .for_each(|rights| onto.push(rights));
        }
    }

    /// The message that takes the bytes of another one: those of a stream are joined, unless something goes with them or they are
    /// somebody else's.
    fn joined(&mut self, message: &Message, stream: bool) -> Option<&mut Message> {
        let last = self.messages.back_mut()?;
        let joins = stream && message.rights.is_none() && last.rights.is_none();
        (joins && last.credentials == message.credentials).then_some(last)
    }

    /// Makes room to add a message. ENOBUFS.
    pub fn make_room(&mut self, message: &Message, stream: bool) -> Result<(), Errno> {
        match self.joined(message, stream) {
            Some(last) => last.bytes.try_reserve(message.bytes.len()),
            None => self.messages.try_reserve(1),
        }
        .map_err(|_| Errno::ENOBUFS)
    }

    /// Adds a message for which room was made.
    pub fn push(&mut self, message: Message, stream: bool) {
        self.bytes += message.bytes.len();
        match self.joined(&message, stream) {
            Some(last) => last.bytes.extend(message.bytes),
            None => {
                self.bytes += OVERHEAD;
                self.with_rights += usize::from(message.rights.is_some());
                self.messages.push_back(message);
            }
        }
    }

    /// Moves what is next. A stream goes on through messages until something comes with one. Files leave from `aboard`, which must
    /// be there when some come with the next message; they are in `received` after an error as well, because here they must not
    /// be dropped.
    pub fn receive(
        &mut self,
        into: &mut dyn Target,
        flags: super::ReceiveFlags,
        stream: bool,
        received: &mut Received,
        mut aboard: Option<(&Flight, &mut Aboard)>,
    ) -> Result<(), Errno> {
        let wanted = into.left();
        let mut index = 0;
        while let Some(message) = self.messages.get_mut(index) {
            let first = received.credentials.is_none();
            if !first {
                let other = received.credentials != Some(message.credentials);
                if message.rights.is_some() || other || into.left() == 0 {
                    break;
                }
            }
            if first
                && flags.peek
                && let Some(rights) = &message.rights
            {
                received.rights = room::with_room(rights.files().len())?;
                received.rights.extend_from_slice(rights.files());
            }
            let whole = message.bytes.len();
            let len = whole.min(into.left());
            let put = give(&message.bytes, len, into);
            if put < len && first && into.may_come() {
                // It stays as it was.
                return Err(Errno::EFAULT);
            }
            if first {
                received.credentials = Some(message.credentials);
                received.from = message.from.clone();
            }
            if !flags.peek
                && let Some((flight, aboard)) = &mut aboard
                && let Some(rights) = message.rights.take()
            {
                flight.leave(aboard, &rights);
                self.with_rights -= 1;
                received.rights = rights.into_files();
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
                return moved(received.len, wanted).map(drop);
            }
            if !stream || into.left() == 0 || !received.rights.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
