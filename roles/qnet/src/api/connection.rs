//! What a client does: send to a channel it is attached to.

use super::kernel::{Credentials, Kernel};
use crate::kif::{Key, Sending, SignalRequest};
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::Poll;
use keelson_qnet_wire::{Errno, Nd};

/// A connection to a channel. Dropping it detaches. Sends of several tasks may be under way at once.
///
/// When the server's node or channel goes, what waits fails with `ESRCH`, and what is tried later with `EBADF`.
pub struct Connection {
    kernel: Kernel,
    key: Key,
    nd: Nd,
    pid: u32,
    chid: u32,
}

impl Connection {
    pub(super) fn new(kernel: &Kernel, key: Key, nd: Nd, pid: u32, chid: u32) -> Connection {
        Connection { kernel: kernel.clone(), key, nd, pid, chid }
    }

    /// Node of the server, as it was given.
    pub fn nd(&self) -> Nd {
        self.nd
    }

    /// Process of the server.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Channel of the server.
    pub fn chid(&self) -> u32 {
        self.chid
    }

    /// The server's name for it. `EBADF` when it is dead.
    pub fn scoid(&self) -> Result<u32, Errno> {
        self.kernel.enter(|state| state.scoid(self.key)).ok_or(Errno::EBADF)
    }

    /// What servers see as its name here: a file descriptor, or a side channel id if none was set.
    pub fn coid(&self) -> i32 {
        self.kernel.enter(|state| state.clients.get(self.key).map_or(0, |client| client.coid))
    }

    /// Says which file descriptor it is.
    pub fn set_coid(&self, coid: i32) {
        self.kernel.enter(|state| {
            state.clients.get_mut(self.key).into_iter().for_each(|client| client.coid = coid);
        });
    }

    /// Priority of its sends from now on: 0 to 63, 10 if none was set. A server that works for a client takes that of
    /// the client's message.
    pub fn set_priority(&self, priority: u8) {
        let priority = priority.min(crate::kif::MAX_PRIORITY);
        self.kernel.enter(|state| {
            state.clients.get_mut(self.key).into_iter().for_each(|client| client.priority = priority);
        });
    }

    /// Changes who the client is: the server sees it with the next message.
    pub fn set_credentials(&self, who: &Credentials) {
        self.kernel.enter(|state| state.change_credentials(self.key, who));
    }

    /// Sends a message and waits for the reply (`MsgSend`): its status, and how many bytes of it there are.
    ///
    /// Dropping the future stops waiting: the server is told to stop working for it.
    pub async fn send(&self, parts: &[&[u8]], reply: &mut [u8]) -> Result<(i32, usize), Errno> {
        self.send_until(parts, reply, pending()).await
    }

    /// The same, but when `interrupted` is over the server is asked to stop. Its answer is waited for all the same: a
    /// reply, or an error of its choice, `EINTR` usually and after five seconds at most.
    pub async fn send_until(
        &self,
        parts: &[&[u8]],
        reply: &mut [u8],
        interrupted: impl Future<Output = ()>,
    ) -> Result<(i32, usize), Errno> {
        let sending = Sending { parts, reply_len: reply.len() };
        let thread = self.kernel.when_room(|state| state.begin_send(self.key, &sending)).await?;
        let waiting = Waiting { kernel: &self.kernel, thread };
        let mut interrupted = pin!(interrupted);
        let mut asked = false;
        poll_fn(|cx| {
            if !asked && interrupted.as_mut().poll(cx).is_ready() {
                asked = true;
                self.kernel.enter(|state| state.unblock(waiting.thread));
            }
            self.kernel.enter(|state| state.poll_send(waiting.thread, parts, reply, cx))
        })
        .await
    }

    /// Sends a pulse (`MsgSendPulse`). Does not wait: `EAGAIN` when it cannot be sent now. Negative codes are the
    /// kernel's.
    pub fn pulse(&self, priority: u8, code: i8, value: i32) -> Result<(), Errno> {
        self.kernel.enter(|state| state.send_pulse(self.key, priority, code, value)).map_err(Errno::from)
    }

    /// Sends a signal to a process of the server's node.
    pub fn signal(&self, request: SignalRequest) -> Result<(), Errno> {
        self.kernel.enter(|state| {
            let who = state.clients.get(self.key).ok_or(Errno::EBADF)?.cred;
            state.send_signal(self.nd, &who, request).map_err(Errno::from)
        })
    }

    /// Whether it can be used.
    pub fn is_alive(&self) -> bool {
        self.scoid().is_ok()
    }

    /// Waits until it has died.
    pub async fn died(&self) {
        let death = self.kernel.enter(|state| state.clients.get(self.key).map(|client| client.death.clone()));
        let Some(death) = death else { return };
        loop {
            let changed = death.notified();
            if !self.is_alive() {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.kernel.enter(|state| state.detach(self.key));
    }
}

/// Waits for a transaction that has begun.
pub(super) async fn finish(
    kernel: &Kernel,
    thread: Key,
    parts: &[&[u8]],
    reply: &mut [u8],
) -> Result<(i32, usize), Errno> {
    let waiting = Waiting { kernel, thread };
    poll_fn(|cx| -> Poll<_> { kernel.enter(|state| state.poll_send(waiting.thread, parts, reply, cx)) }).await
}

/// Whoever stops waiting tells the server.
struct Waiting<'a> {
    kernel: &'a Kernel,
    thread: Key,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.kernel.enter(|state| state.abandon_send(self.thread));
    }
}
