//! The node's side of connections: who may come in, for what, and which task serves them (section 5.3).

use super::{Message, Session, Tool};
use super::{connection, serial};
use crate::Errno;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_exec::Handle;
use keelson_hal::Entropy;
use keelson_lwk_wire::channel::{Identity, KeyRing};
use keelson_lwk_wire::frame::MAX_SESSIONS;
use keelson_lwk_wire::handshake::{Features, Modes};
use keelson_lwk_wire::layout::SigInfo;
use keelson_lwk_wire::messages::{ByeReason, Ctrl, Launch, LaunchAck, Ticket};
use spin::Mutex;

/// How long a ticket of FORK is good for.
pub const TICKET_LIFE: Duration = Duration::from_secs(10);
/// How long a stranger may take to prove itself.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Something that will be answered.
pub type Answer<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the sessions need of the node that runs the programs.
pub trait Programs {
    /// Starts a program whose host is at the other end of `session`.
    fn launch(&self, launch: Launch, session: Arc<Session>) -> Answer<LaunchAck>;

    /// The proxy of process `pid` got a signal; `tid` 0 means the process.
    fn signal(&self, pid: u32, tid: u32, info: SigInfo);

    /// The host of `pid` is gone.
    fn lost(&self, pid: u32);

    /// A tool asks; it is answered through `tool`, for as long as the answer takes.
    fn control(&self, tool: Tool, ctrl: Ctrl) -> Answer<()>;
}

/// The sessions that were announced by FORK and have not connected yet. Shared by all sessions of the node.
#[derive(Default)]
pub struct Tickets(Mutex<BTreeMap<Ticket, Arc<Session>>>);

impl Tickets {
    /// Announces a session.
    pub fn announce(&self, ticket: Ticket, session: Arc<Session>) {
        self.0.lock().insert(ticket, session);
    }

    /// The ticket is good once.
    pub fn take(&self, ticket: &Ticket) -> Option<Arc<Session>> {
        self.0.lock().remove(ticket)
    }
}

/// Connections beside those of sessions: of tools, and of who has not said yet what it came for.
const TOOLS: usize = 64;

/// What connections were made for, counted since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerCounters {
    /// Connections that came.
    pub connections: u64,
    /// Those refused because the key was not proven, or is not for the protection that they want.
    pub auth_refused: u64,
    /// Those that were ended because they broke the protocol.
    pub violations: u64,
    /// Those refused for want of room.
    pub busy: u64,
    /// Those that came for a fork that was given up, or as the second of a session that had ended.
    pub late: u64,
    /// Bytes on serial ports that belonged to no connection.
    pub skipped: u64,
}

/// Who is at the other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A host of the network, by its address and port.
    Tcp(String),
    /// Whoever has the other end of a serial port of this name: somebody of the machine that this one runs on.
    Serial(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => f.write_str(address),
            Peer::Serial(port) => write!(f, "serial port {port}"),
        }
    }
}

/// The node's end of all connections.
pub struct Server {
    pub(super) handle: Handle,
    pub(super) entropy: Arc<dyn Entropy + Send + Sync>,
    identity: Identity,
    pub(super) keys: Arc<dyn KeyRing>,
    pub(super) programs: Rc<dyn Programs>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) counters: Cell<ServerCounters>,
    /// Sessions whose second stream may come, as long as they last: it does when a host has the first long answer.
    pub(super) bulk: RefCell<BTreeMap<Ticket, Arc<Session>>>,
    open: Cell<usize>,
    sessions: Cell<usize>,
    next: Cell<u64>,
}

impl Server {
    /// A server without connections.
    pub fn new(
        handle: Handle,
        entropy: Arc<dyn Entropy + Send + Sync>,
        identity: Identity,
        keys: Arc<dyn KeyRing>,
        programs: Rc<dyn Programs>,
        tickets: Arc<Tickets>,
    ) -> Rc<Server> {
        let counters = Cell::default();
        let (open, sessions, next) = (Cell::new(0), Cell::new(0), Cell::new(1));
        let bulk = RefCell::default();
        Rc::new(Server {
            handle,
            entropy,
            identity,
            keys,
            programs,
            tickets,
            counters,
            bulk,
            open,
            sessions,
            next,
        })
    }

    /// What happened so far.
    pub fn counters(&self) -> ServerCounters {
        self.counters.get()
    }

    /// Serves a connection to its end; on a serial port from where it begins.
    pub async fn serve<R, W>(self: Rc<Self>, mut reader: R, mut writer: W, peer: Peer)
    where
        R: Read + 'static,
        W: Write + 'static,
    {
        if matches!(peer, Peer::Serial(_)) {
            let skipped = |bytes| self.count(|counters| counters.skipped += bytes);
            if !serial::meet(&mut reader, &mut writer, skipped).await {
                return;
            }
        }
        self.count(|counters| counters.connections += 1);
        // A session has up to two streams; which of them this is it says later.
        if self.open.get() >= 2 * MAX_SESSIONS + TOOLS {
            self.count(|counters| counters.busy += 1);
            log::warn!(target: "lwk", "a connection from {peer} is one too many: there are {}", self.open.get());
            return;
        }
        self.open.set(self.open.get() + 1);
        let ended = connection::run(&self, reader, writer, self.identity(&peer)).await;
        self.open.set(self.open.get() - 1);
        match ended {
            Ok(()) => {}
            Err(connection::Ended::NotProven) => {
                self.count(|counters| counters.auth_refused += 1);
                log::warn!(target: "lwk", "{peer} was refused: it did not prove that it knows the key");
            }
            Err(connection::Ended::NoProtection(why)) => {
                self.count(|counters| counters.auth_refused += 1);
                log::warn!(target: "lwk", "{peer} was refused: {why}");
            }
            Err(connection::Ended::Busy(why)) => {
                self.count(|counters| counters.busy += 1);
                log::warn!(target: "lwk", "{peer} was refused: {why}");
            }
            Err(connection::Ended::Late) => {
                self.count(|counters| counters.late += 1);
                log::debug!(target: "lwk", "{peer} came for what was over");
            }
            Err(connection::Ended::Violation(what)) => {
                self.count(|counters| counters.violations += 1);
                log::warn!(target: "lwk", "the connection from {peer} was ended: {what}");
            }
            Err(connection::Ended::Gone) => log::debug!(target: "lwk", "{peer} is gone"),
        }
    }

    /// What is said to a peer. A serial port has no checksum of its own; and who holds its other end runs this machine, and may do
    /// without a key.
    fn identity(&self, peer: &Peer) -> Identity {
        let mut identity = self.identity.clone();
        if matches!(peer, Peer::Serial(_)) {
            identity.features -= Features::NOCRC;
            identity.modes |= Modes::NONE;
        }
        identity
    }

    /// Room for one more session, as long as it is kept.
    pub(super) fn place(self: &Rc<Self>) -> Option<Place> {
        let open = self.sessions.get();
        (open < MAX_SESSIONS).then(|| {
            self.sessions.set(open + 1);
            Place(self.clone())
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut ServerCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// A number that nobody can guess.
    pub(super) fn ticket(&self) -> Ticket {
        let mut ticket = Ticket::default();
        self.entropy.fill(&mut ticket);
        ticket
    }
}

/// A session's place among those there may be.
pub(super) struct Place(Rc<Server>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.set(self.0.sessions.get() - 1);
    }
}

/// Has the host make a proxy for a child: its process id and its session, once both are there.
pub async fn fork(
    parent: &Arc<Session>,
    tickets: &Arc<Tickets>,
    ticket: Ticket,
    tid: u32,
    deadline: impl Future<Output = ()>,
) -> Result<(u32, Arc<Session>), Errno> {
    let child = Arc::new(Session::default());
    tickets.announce(ticket, child.clone());
    let forked = async {
        let pid = parent.ask_fork(tid, ticket)?.await?;
        child.attached().await;
        Ok(pid)
    };
    let result = match keelson_exec::select(forked, deadline).await {
        keelson_exec::Either::First(result) => result,
        keelson_exec::Either::Second(()) => Err(Errno::EAGAIN),
    };
    if result.is_err() {
        // Whoever comes with the ticket now comes too late.
        tickets.take(&ticket);
        child.send(Message::Bye(super::bye(ByeReason::Ticket, "the fork was given up")));
        child.lost();
    }
    result.map(|pid| (pid, child))
}
