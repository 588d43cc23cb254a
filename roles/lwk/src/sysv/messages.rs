//! Message queues (msgsnd(2), msgrcv(2), msgctl(2)).

use super::{Member, Permission, Sysv, User};
use crate::event::Event;
use crate::{Errno, room};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use spin::Mutex;

/// Most queues (`MSGMNI`).
pub const QUEUES_MOST: usize = 1_024;
/// Most bytes of a message (`MSGMAX`), as Linux has it.
pub const MESSAGE_MOST: usize = 8_192;
/// Bytes that a queue holds unless somebody says otherwise (`MSGMNB`).
pub const QUEUE_BYTES: u64 = 16_384;
/// Most messages of the node, and most bytes that root may let a queue hold: what bounds the memory that they take.
pub(super) const ALL_MOST: u64 = 65_536;
const QUEUE_BYTES_MOST: u64 = 1 << 20;

/// A queue.
pub struct Queue {
    permission: Mutex<Permission>,
    state: Mutex<QueueState>,
    changed: Event,
}

struct QueueState {
    messages: VecDeque<Message>,
    stat: QueueStat,
    gone: bool,
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// What it says.
    pub text: Vec<u8>,
}

/// What `IPC_STAT` tells beside the permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueStat {
    /// Last msgsnd, in seconds since 1970.
    pub sent_at: i64,
    /// Last msgrcv.
    pub received_at: i64,
    /// Creation or last change.
    pub changed_at: i64,
    /// Bytes in the queue.
    pub bytes: u64,
    /// Messages in it.
    pub messages: u64,
    /// Most bytes.
    pub most: u64,
    /// Process that sent last.
    pub sender: u32,
    /// Process that received last.
    pub receiver: u32,
}

/// Which message a receiver wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The first.
    Any,
    /// The first of a type.
    Kind(i64),
    /// The first of any other type.
    Except(i64),
    /// The first of the lowest type up to this one.
    Lowest(i64),
}

impl Member for Queue {
    fn permission(&self) -> &Mutex<Permission> {
        &self.permission
    }
}

impl Sysv {
    /// msgget(2).
    pub fn msgget(&self, key: u32, flags: u64, user: &User) -> Result<u32, Errno> {
        self.messages.get_or_make(
            key,
            flags,
            user,
            QUEUES_MOST,
            |_| Ok(()),
            |permission| {
                let stat = QueueStat { changed_at: user.now, most: QUEUE_BYTES, ..QueueStat::default() };
                let state = Mutex::new(QueueState { messages: VecDeque::new(), stat, gone: false });
                Ok(Queue { permission: Mutex::new(permission), state, changed: Event::default() })
            },
        )
    }

    /// `IPC_RMID`: whoever waits gets EIDRM.
    pub fn remove_queue(&self, id: u32, user: &User) -> Result<(), Errno> {
        let queue = self.messages.get(id)?;
        queue.permission.lock().check_owner(user)?;
        let lost = {
            let mut state = queue.state.lock();
            state.gone = true;
            core::mem::take(&mut state.messages)
        };
        self.messages.remove(id);
        self.messages_there.give_back(lost.len() as u64);
        queue.changed.notify();
        Ok(())
    }

    /// Puts a message into a queue; `None` when it has no room.
    pub fn send(&self, queue: &Queue, message: &Message, user: &User) -> Result<Option<()>, Errno> {
        let mut state = queue.state.lock();
        if state.gone {
            return Err(Errno::EIDRM);
        }
        let len = message.text.len() as u64;
        // Messages without text are bounded by the same number.
        if state.stat.bytes + len > state.stat.most || state.stat.messages + 1 > state.stat.most {
            return Ok(None);
        }
        let text = room::copy_of(&message.text)?;
        state.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if !self.messages_there.take(1) {
            return Err(Errno::ENOMEM);
        }
        state.messages.push_back(Message { kind: message.kind, text });
        state.stat.bytes += len;
        state.stat.messages += 1;
        (state.stat.sent_at, state.stat.sender) = (user.now, user.pid);
        drop(state);
        queue.changed.notify();
        Ok(Some(()))
    }

    /// Takes a message out; `None` when there is no such. One longer than `most` is cut with `cut`, else E2BIG.
    pub fn receive(
        &self,
        queue: &Queue,
        wanted: Wanted,
        most: u64,
        cut: bool,
        user: &User,
    ) -> Result<Option<Message>, Errno> {
        let mut state = queue.state.lock();
        if state.gone {
            return Err(Errno::EIDRM);
        }
        let Some(index) = state.find(wanted) else { return Ok(None) };
        if !cut && state.messages.get(index).is_some_and(|message| message.text.len() as u64 > most) {
            return Err(Errno::E2BIG);
        }
        let Some(mut message) = state.messages.remove(index) else { return Ok(None) };
        state.stat.bytes -= message.text.len() as u64;
        state.stat.messages -= 1;
        (state.stat.received_at, state.stat.receiver) = (user.now, user.pid);
        drop(state);
        self.messages_there.give_back(1);
        queue.changed.notify();
        message.text.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Some(message))
    }

    /// Messages in all queues.
    pub fn messages_in_use(&self) -> u64 {
        self.messages_there.used()
    }
}

impl Queue {
    /// What to await before the next attempt: ask first, attempt, then await.
    pub fn changed(&self) -> crate::event::Changed<'_> {
        self.changed.changed()
    }

    /// `IPC_STAT`.
    pub fn stat(&self) -> QueueStat {
        self.state.lock().stat
    }

    /// `IPC_SET`: most bytes, which only root may raise above what is usual.
    pub fn set_most(&self, most: u64, user: &User) -> Result<(), Errno> {
        if most > QUEUE_BYTES && user.uid != 0 {
            return Err(Errno::EPERM);
        }
        if most > QUEUE_BYTES_MOST {
            return Err(Errno::EINVAL);
        }
        {
            let mut state = self.state.lock();
            (state.stat.most, state.stat.changed_at) = (most, user.now);
        }
        self.changed.notify();
        Ok(())
    }
}

impl QueueState {
    fn find(&self, wanted: Wanted) -> Option<usize> {
        let mut kinds = self.messages.iter().map(|message| message.kind);
        match wanted {
            Wanted::Any => (!self.messages.is_empty()).then_some(0),
            Wanted::Kind(kind) => kinds.position(|its| its == kind),
            Wanted::Except(kind) => kinds.position(|its| its != kind),
            Wanted::Lowest(most) => {
                let fitting = kinds.enumerate().filter(|(_, kind)| *kind <= most);
                fitting.min_by_key(|(_, kind)| *kind).map(|(index, _)| index)
            }
        }
    }
}
