//! The client half: connections of clients here to channels anywhere, from CONNECT to DISCONNECT.
//!
//! ```text
//!                 CONNECT_SUCCESS              detach: DISCONNECT
//!   Connecting ----------------------> Up -----------------------> (none)
//!     |    | owner gone: abandoned,    |                             ^
//!     |    | DISCONNECT when it is up  | TxDown, CONNECT_DEATH, ...  |
//!     v                                v                             |
//!   Failed ---> (none)               Dead ---------------------------+
//! ```

use super::channel::{DEFAULT_PRIORITY, Item, Pulse};
use super::outbox::{Epoch, Route, Unsent};
use super::state::{Arrival, State};
use super::table::Key;
use crate::sessions::{Body, NodeNr, Qos, RxId, TxId};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use keelson_exec::sync::Notify;
use keelson_qnet_wire::kif::{Connect, Cred, Disconnect, KifMessage};
use keelson_qnet_wire::{Errno, Nd};

mod answers;
mod ending;
mod send;

pub(crate) use send::{Sending, TRANSFER, Thread};

/// Our client ids are these and the 20 bits below (section 12.4).
const CLIENT_IDS: u32 = 0x0c1;
const CLIENT_ID_BITS: u32 = 20;

/// Bit of connection ids that are not file descriptors.
const SIDE_CHANNEL: u32 = 0x4000_0000;

/// A connection.
pub(crate) struct Client {
    pub nd: Nd,
    pub node: NodeNr,
    qos: Qos,
    /// Epochs that it lives in: ours with the peer, and the peer's with us once that has answered.
    tx: TxId,
    rx: Option<RxId>,
    pub server_pid: u32,
    pub server_chid: u32,
    pub cred: Cred,
    /// What the client calls it.
    pub coid: i32,
    /// Priority of its sends.
    pub priority: u8,
    phase: Phase,
    /// Nobody waits for the attachment any more.
    abandoned: bool,
    /// The server does not know the credentials yet.
    cred_changed: bool,
    /// CONNECTs that may still be answered.
    unanswered: u32,
    /// The other version of the protocol has been tried.
    retried: bool,
    /// A send travels with the CONNECT, which therefore is not repeated.
    combined: bool,
    /// CONNECT has to be sent again.
    resend: bool,
    waker: Option<Waker>,
    /// Notified at its death.
    pub death: Rc<Notify>,
    /// Its handles, and those of them that are idle.
    threads: Vec<Key>,
    idle: Vec<Key>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Connecting,
    Up { server_id: u32, scoid: u32, nbytes: u32 },
    Failed(Errno),
    Dead,
}

/// Where to attach, and as whom.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub nd: Nd,
    pub pid: u32,
    pub chid: u32,
    pub who: &'a Cred,
}

impl Client {
    fn route(&self) -> Route {
        Route { node: self.node, qos: self.qos, priority: self.priority }
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Up { .. })
    }

    /// Whether a message from there can be for this connection.
    fn is_peer(&self, arrival: &Arrival) -> bool {
        self.node == arrival.from && self.rx.is_none_or(|rx| rx == arrival.rx)
    }
}

fn client_id(key: Key) -> u32 {
    CLIENT_IDS << CLIENT_ID_BITS | key.number()
}

fn client_key(id: u32) -> Option<Key> {
    (id >> CLIENT_ID_BITS == CLIENT_IDS).then(|| Key::from_number(id & ((1 << CLIENT_ID_BITS) - 1)))
}

/// What a caller of the API does.
impl State {
    /// Where a node descriptor leads.
    pub fn resolve(&self, nd: Nd) -> Result<(NodeNr, Qos), Errno> {
        if nd.node() == 0 {
            return Ok((NodeNr::LOCAL, Qos::default()));
        }
        let sessions = self.sessions.as_ref().ok_or(Errno::ENOREMOTE)?;
        Ok((NodeNr(nd.node()), sessions.qos(nd)?))
    }

    /// Begins to attach: sends CONNECT.
    pub fn attach(&mut self, target: Target<'_>) -> Result<Key, Unsent> {
        let key = self.new_client(target)?;
        if let Err(unsent) = self.send_connect(key) {
            self.clients.remove(key);
            return Err(unsent);
        }
        self.count_client(key);
        Ok(key)
    }

    fn new_client(&mut self, target: Target<'_>) -> Result<Key, Unsent> {
        let (node, qos) = self.resolve(target.nd).map_err(Unsent::Failed)?;
        let client = Client {
            nd: target.nd,
            node,
            qos,
            tx: TxId(0),
            rx: None,
            server_pid: target.pid,
            server_chid: target.chid,
            cred: *target.who,
            coid: 0,
            priority: DEFAULT_PRIORITY,
            phase: Phase::Connecting,
            abandoned: false,
            cred_changed: false,
            unanswered: 0,
            retried: false,
            combined: false,
            resend: false,
            waker: None,
            death: Rc::new(Notify::new()),
            threads: Vec::new(),
            idle: Vec::new(),
        };
        let Some(key) = self.clients.insert(client) else {
            self.counters.refused += 1;
            return Err(Unsent::Failed(Errno::EAGAIN));
        };
        if let Some(client) = self.clients.get_mut(key) {
            client.coid = (SIDE_CHANNEL | key.number()) as i32;
        }
        Ok(key)
    }

    /// From now on it is one of the node's clients.
    fn count_client(&mut self, key: Key) {
        let Some(node) = self.clients.get(key).map(|client| client.node) else { return };
        if node != NodeNr::LOCAL {
            self.counters.net_client.add();
            self.counters.waiting.add();
        }
        self.with_peer(node, |peer| {
            peer.clients += 1;
            peer.waiting += 1;
        });
    }

    /// CONNECT and the credentials that go with it.
    fn connect_message(&self, key: Key) -> Option<(Connect, Cred)> {
        let client = self.clients.get(key)?;
        let remote = self.sessions.as_ref().filter(|_| client.node != NodeNr::LOCAL);
        let nd = remote.map_or(Nd::LOCAL, |sessions| sessions.remote_nd_for_us(client.node));
        let profile = self.peers.get(&client.node).map(|peer| peer.profile).unwrap_or_default();
        let connect = Connect {
            version: profile.version,
            server_pid: client.server_pid as i32,
            server_chid: client.server_chid,
            client_id: client_id(key),
            client_pid: client.cred.pid,
        };
        Some((connect, Cred { nd, ..client.cred }))
    }

    /// Sends CONNECT: the first, again, or with other credentials.
    fn send_connect(&mut self, key: Key) -> Result<(), Unsent> {
        let gone = Unsent::Failed(Errno::EBADF);
        let (connect, cred) = self.connect_message(key).ok_or(gone)?;
        let route = self.clients.get(key).ok_or(gone)?.route();
        let tx = self.transmit(route, &KifMessage::Connect(connect, Some(cred)), Body::EMPTY)?;
        let client = self.clients.get_mut(key).ok_or(gone)?;
        client.unanswered = client.unanswered.saturating_add(1);
        if client.phase == Phase::Connecting {
            client.tx = tx;
        } else if client.tx != tx {
            self.client_dies(key, Errno::ESRCH);
            return Err(Unsent::Failed(Errno::ESRCH));
        }
        Ok(())
    }

    /// Whether an attachment has been answered.
    pub fn poll_attach(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        let Some(client) = self.clients.get_mut(key) else { return Poll::Ready(Err(Errno::EBADF)) };
        let errno = match client.phase {
            Phase::Connecting => {
                set_waker(&mut client.waker, cx);
                return Poll::Pending;
            }
            Phase::Up { .. } => return Poll::Ready(Ok(())),
            Phase::Failed(errno) => errno,
            Phase::Dead => Errno::ESRCH,
        };
        self.forget_client(key);
        Poll::Ready(Err(errno))
    }

    /// The owner of a connection is gone. One that is not up yet stays until it is answered.
    pub fn detach(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (route, epoch, death) = (client.route(), Epoch::Tx(client.tx), client.death.clone());
        match client.phase {
            Phase::Connecting => {
                client.abandoned = true;
                client.waker = None;
                return;
            }
            Phase::Up { server_id, .. } => {
                self.client_leaves(key);
                let message = KifMessage::Disconnect(Disconnect { server_id });
                self.transmit_surely(route, epoch, &message, Body::EMPTY);
            }
            Phase::Failed(_) | Phase::Dead => {}
        }
        self.forget_client(key);
        death.notify();
    }

    /// The server is told before the next message.
    pub fn change_credentials(&mut self, key: Key, who: &Cred) {
        if let Some(client) = self.clients.get_mut(key) {
            client.cred_changed |= client.cred != *who;
            client.cred = *who;
        }
    }

    /// The same for all connections of a process.
    pub fn change_process_credentials(&mut self, who: &Cred) {
        let mut from = 0;
        while let Some(key) = self.clients.next(&mut from, |client| client.cred.pid == who.pid) {
            self.change_credentials(key, who);
        }
    }

    /// Whether the server's node would not attach it.
    pub fn is_refused(&self, key: Key) -> bool {
        self.clients.get(key).is_some_and(|client| matches!(client.phase, Phase::Failed(_)))
    }

    /// The server's name for the connection, as long as it lives.
    pub fn scoid(&self, key: Key) -> Option<u32> {
        match self.clients.get(key)?.phase {
            Phase::Up { scoid, .. } => Some(scoid),
            _ => None,
        }
    }
}

/// A channel of the process itself, by the id that its events name.
impl State {
    pub(super) fn pulse_own_channel(&mut self, pid: i32, coid: i32, pulse: Pulse) -> bool {
        let channel = u32::try_from(coid).ok().and_then(|coid| self.channels.get_mut(Key::from_number(coid)));
        match channel {
            Some(channel) if i32::try_from(channel.pid) == Ok(pid) => {
                channel.push_pulse(pulse, self.config.limits.pulses)
            }
            _ => false,
        }
    }

    /// Queues for a channel that may be gone.
    pub(super) fn queue(&mut self, channel: Key, priority: u8, item: Item) -> bool {
        let channel = self.channels.get_mut(channel);
        channel.map(|channel| channel.push(priority, item)).is_some()
    }
}

/// An error number from a peer. One that is no error does not turn a failure into success.
fn error_number(status: u32) -> Errno {
    match i32::try_from(status) {
        Ok(number) if number > 0 => Errno(number),
        _ => Errno::ESRVRFAULT,
    }
}

/// Remembers who is to be woken.
pub(in crate::kif) fn set_waker(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

pub(in crate::kif) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
