//! The kernel of a node: processes, channels, connections, and the task that keeps message passing going.

use super::channel::Channel;
use super::connection::{self, Connection};
use super::names::Names;
use crate::kif::{
    Counters, CredentialRules, KernelConfig, Key, PeerProfile, Sending, SignalDelivery, SignalRequest, State,
    Target, Unsent,
};
use crate::sessions::{NodeNr, Sessions};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::{pending, poll_fn};
use keelson_exec::{Handle, TaskHandle, select, yield_now};
use keelson_hal::{Entropy, Instant};
use keelson_qnet_wire::kif::Cred;
use keelson_qnet_wire::proc::BlockedOn;
use keelson_qnet_wire::{Errno, Nd};

/// Who a client is: process, users, groups.
pub use keelson_qnet_wire::kif::Cred as Credentials;

/// The kernel of one node. Clones are the same kernel.
#[derive(Clone)]
pub struct Kernel(pub(super) Rc<Shared>);

pub(super) struct Shared {
    state: RefCell<State>,
    executor: Handle,
    signals: RefCell<Option<Rc<dyn SignalHandler>>>,
    pub names: RefCell<Names>,
    task: RefCell<Option<TaskHandle>>,
    stopped: Cell<bool>,
}

/// What the process manager does with signals that may be sent.
pub trait SignalHandler {
    /// A signal for a process. Nothing of the kernel is borrowed.
    fn signal(&self, signal: &SignalDelivery);
}

impl Kernel {
    /// A kernel with the process manager, without a network. It takes part in the executor until [`Kernel::stop`].
    pub fn new(executor: &Handle, config: KernelConfig, entropy: &dyn Entropy) -> Kernel {
        let state = State::new(executor.clock(), config, entropy);
        let kernel = Kernel(Rc::new(Shared {
            state: RefCell::new(state),
            executor: executor.clone(),
            signals: RefCell::new(None),
            names: RefCell::new(Names::default()),
            task: RefCell::new(None),
            stopped: Cell::new(false),
        }));
        let task = executor.spawn("kif", kernel.clone().run());
        *kernel.0.task.borrow_mut() = Some(task);
        kernel
    }

    /// Ends the kernel's task: the node is switched off. Connections get no more answers.
    pub fn stop(&self) {
        self.unmount();
        self.0.stopped.set(true);
        self.0.signals.borrow_mut().take();
        let task = self.0.task.borrow_mut().take();
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Other nodes can be reached by these sessions, and reach this one.
    pub fn mount(&self, sessions: Rc<dyn Sessions>) -> Result<(), Errno> {
        let wake = self.enter(|state| {
            if state.sessions.is_some() {
                return Err(Errno::EBUSY);
            }
            state.sessions = Some(sessions);
            Ok(state.wake.clone())
        })?;
        wake.notify();
        Ok(())
    }

    /// Other nodes cannot be reached any more: clients here that wait for them get `ENOREMOTE`, servers here are told
    /// that their remote clients are gone. Closing connections is left to the sessions.
    pub fn unmount(&self) {
        let wake = self.enter(|state| {
            state.unmount();
            state.wake.clone()
        });
        wake.notify();
    }

    /// Whether other nodes can be reached.
    pub fn is_mounted(&self) -> bool {
        self.0.state.borrow().sessions.is_some()
    }

    /// Changes who clients of other nodes are taken for (`maproot`, `mapany`), for connections made from now on.
    pub fn set_credential_rules(&self, rules: CredentialRules) {
        self.0.state.borrow_mut().config.credentials = rules;
    }

    /// Counters of `/proc/qnetstats`.
    pub fn counters(&self) -> Counters {
        self.0.state.borrow().counters
    }

    /// What is known of how a node speaks.
    pub fn peer_profile(&self, node: NodeNr) -> PeerProfile {
        self.0.state.borrow().peers.get(&node).map(|peer| peer.profile).unwrap_or_default()
    }

    /// Where time, sleep and tasks come from.
    pub fn executor(&self) -> &Handle {
        &self.0.executor
    }

    /// Changes the state, takes in what has happened, and delivers signals.
    pub(super) fn enter<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.state.borrow_mut();
        state.drain();
        let result = change(&mut state);
        state.drain_loopback();
        let has_signals = !state.signals.is_empty();
        drop(state);
        if has_signals {
            self.deliver_signals();
        }
        result
    }

    fn deliver_signals(&self) {
        let handler = self.0.signals.borrow().clone();
        loop {
            let mut state = self.0.state.borrow_mut();
            let Some(signal) = state.signals.pop_front() else { return };
            if handler.is_none() {
                state.counters.signal_lost += 1;
            }
            drop(state);
            if let Some(handler) = &handler {
                handler.signal(&signal);
            }
        }
    }

    /// Tries until the session has room.
    pub(super) async fn when_room<T>(
        &self,
        mut attempt: impl FnMut(&mut State) -> Result<T, Unsent>,
    ) -> Result<T, Errno> {
        let room = self.0.state.borrow().room.clone();
        loop {
            let changed = room.notified();
            match self.enter(&mut attempt) {
                Err(Unsent::Full) => changed.await,
                Err(Unsent::Failed(errno)) => return Err(errno),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// The kernel's task: events of sessions and deadlines.
    async fn run(self) {
        let (wake, room) = {
            let state = self.0.state.borrow();
            (state.wake.clone(), state.room.clone())
        };
        loop {
            let woken = wake.notified();
            let changed = self.0.state.borrow().sessions.as_ref().map(|sessions| sessions.changed());
            // Before events are taken, so that none is missed.
            let notified = changed.as_ref().map(|changed| changed.notified());
            let (more, deadline) = self.enter(|state| (state.drain(), state.expire()));
            room.notify();
            if more {
                yield_now().await;
                continue;
            }
            let session = async {
                match notified {
                    Some(notified) => notified.await,
                    None => pending().await,
                }
            };
            let time = self.0.executor.sleep_until(deadline.unwrap_or(Instant::FAR_FUTURE));
            select(woken, select(session, time)).await;
        }
    }
}

/// Processes.
impl Kernel {
    /// Adds a process; its id. `EAGAIN` when there are too many.
    pub fn create_process(&self, who: &Credentials) -> Result<u32, Errno> {
        self.enter(|state| state.processes.create(*who)).ok_or(Errno::EAGAIN)
    }

    /// Removes a process: its channels are destroyed, and its clients told. Its connections belong to whoever has them.
    pub fn end_process(&self, pid: u32) {
        self.enter(|state| {
            let Some(process) = state.processes.remove(pid) else { return };
            for (_, channel) in process.channels {
                state.destroy_channel(channel);
            }
        });
    }

    /// Credentials of a process.
    pub fn credentials(&self, pid: u32) -> Result<Credentials, Errno> {
        self.0.state.borrow().processes.get(pid).map(|process| process.cred).ok_or(Errno::ESRCH)
    }

    /// Changes them, as `setuid` does: servers see the new ones with the next message.
    pub fn set_credentials(&self, pid: u32, who: &Credentials) -> Result<(), Errno> {
        self.enter(|state| {
            let process = state.processes.get_mut(pid).ok_or(Errno::ESRCH)?;
            let cred = Cred { pid: process.cred.pid, ..*who };
            process.cred = cred;
            state.change_process_credentials(&cred);
            Ok(())
        })
    }

    /// Process group of a process.
    pub fn process_group(&self, pid: u32) -> Result<u32, Errno> {
        self.0.state.borrow().processes.get(pid).map(|process| process.group).ok_or(Errno::ESRCH)
    }

    /// Moves a process to a group.
    pub fn set_process_group(&self, pid: u32, group: u32) -> Result<(), Errno> {
        self.enter(|state| {
            let process = state.processes.get_mut(pid).ok_or(Errno::ESRCH)?;
            process.group = group;
            Ok(())
        })
    }

    /// The server, if a process waits for the reply of one; of several, any.
    pub fn waits_for(&self, pid: u32) -> Option<BlockedOn> {
        self.0.state.borrow().waits_for(i32::try_from(pid).ok()?)
    }

    /// Calls `visit` with every process: its id, its credentials, how many channels it has.
    pub fn for_each_process(&self, mut visit: impl FnMut(u32, &Credentials, usize)) {
        // Copied out, so that the caller may use the kernel.
        let list: alloc::vec::Vec<(u32, Cred, usize)> = {
            let state = self.0.state.borrow();
            let entry =
                |(pid, process): (u32, &crate::kif::Process)| (pid, process.cred, process.channels.len());
            state.processes.iter().map(entry).collect()
        };
        list.iter().for_each(|(pid, cred, channels)| visit(*pid, cred, *channels));
    }

    /// Who is told of signals.
    pub fn set_signal_handler(&self, handler: Rc<dyn SignalHandler>) {
        *self.0.signals.borrow_mut() = Some(handler);
    }

    /// Sends a signal to a process or a group of any node, as `SignalKill` does. That it is permitted and has a target
    /// is only known of this node.
    pub fn signal(&self, nd: Nd, who: &Credentials, request: SignalRequest) -> Result<(), Errno> {
        self.enter(|state| state.send_signal(nd, who, request)).map_err(Errno::from)
    }
}

/// Channels and connections.
impl Kernel {
    /// Makes a channel of a process (`ChannelCreate`). The first of a process has id 1.
    pub fn channel(&self, pid: u32) -> Result<Channel, Errno> {
        Channel::create(self, pid)
    }

    /// Attaches to a channel of a process of any node (`ConnectAttach`).
    pub async fn connect(&self, nd: Nd, pid: u32, chid: u32, who: &Credentials) -> Result<Connection, Errno> {
        let target = Target { nd, pid, chid, who };
        let key = self.when_room(|state| state.attach(target)).await?;
        // From here on, whoever stops waiting lets go of the attachment.
        let connection = Connection::new(self, key, nd, pid, chid);
        poll_fn(|cx| self.enter(|state| state.poll_attach(key, cx))).await?;
        Ok(connection)
    }

    /// Attaches and sends a first message, in one round trip where the server's node knows that form: what opening a
    /// file does. The connection, the status and the bytes of the reply. With an error there is no connection.
    pub async fn connect_and_send(
        &self,
        (nd, pid, chid): (Nd, u32, u32),
        who: &Credentials,
        parts: &[&[u8]],
        reply: &mut [u8],
    ) -> Result<(Connection, i32, usize), Errno> {
        if self.0.state.borrow().combines(nd) {
            let version = self.peer_profile(NodeNr(nd.node())).version;
            let target = Target { nd, pid, chid, who };
            let sending = Sending { parts, reply_len: reply.len() };
            let (key, thread) = self.when_room(|state| state.attach_and_send(target, &sending)).await?;
            let connection = Connection::new(self, key, nd, pid, chid);
            match connection::finish(self, thread, parts, reply).await {
                Ok((status, len)) => return Ok((connection, status, len)),
                Err(errno) if !self.is_refused(key) => return Err(errno),
                // Refused in another version of the protocol: once more, in that.
                Err(errno) if self.peer_profile(NodeNr(nd.node())).version == version => return Err(errno),
                Err(_) => {}
            }
        }
        let connection = self.connect(nd, pid, chid, who).await?;
        let (status, len) = connection.send(parts, reply).await?;
        Ok((connection, status, len))
    }

    /// The descriptor by which a node knows this one; 0 when it has not told yet, and of this node.
    pub fn remote_nd_for_us(&self, nd: Nd) -> Nd {
        let state = self.0.state.borrow();
        let sessions = state.sessions.as_ref().filter(|_| nd.node() != 0);
        sessions.map(|sessions| sessions.remote_nd_for_us(NodeNr(nd.node()))).unwrap_or_default()
    }

    /// Whether an attachment was refused, so that nothing that travelled with it was done.
    fn is_refused(&self, key: Key) -> bool {
        self.0.state.borrow().is_refused(key)
    }

    /// Connections of clients here to channels of any node, this one included.
    pub fn connections(&self) -> usize {
        self.0.state.borrow().clients.len()
    }

    /// Connections to servers here of clients of any node, this one included.
    pub fn server_connections(&self) -> usize {
        self.0.state.borrow().servers.len()
    }

    /// Transactions that servers here have not answered, from any node, and those that they have not let go of.
    pub fn transactions(&self) -> usize {
        self.0.state.borrow().transactions.len()
    }
}
