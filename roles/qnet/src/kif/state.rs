//! Everything that the kernel of one node knows of message passing, and how events of sessions change it.
//!
//! No code here waits: calls of the API and events of the sessions come in, messages go out by [`State::transmit`],
//! and futures that wait for something are woken.

use super::channel::ChannelState;
use super::client::{Client, Thread};
use super::counters::Counters;
use super::limits::KernelConfig;
use super::outbox::{Epoch, Outbox};
use super::peer::Peer;
use super::process::Processes;
use super::server::{ClientName, Read, Server, Transaction};
use super::signal::SignalDelivery;
use super::table::{Key, MAX_ENTRIES, Table};
use crate::sessions::{NodeNr, RxId, RxMessage, SessionEvent, Sessions};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_exec::sync::Notify;
use keelson_hal::{Clock, Entropy, Instant};
use keelson_net::hash::{self, KeyedMap};
use keelson_qnet_wire::kif::{Decoded, KifMessage};
use keelson_qnet_wire::{Endian, Errno};

/// Events handled before whoever called gets on with its own work.
const EVENTS_AT_ONCE: usize = 64;

/// Epoch of this node in its own eyes.
const LOCAL_EPOCH: RxId = RxId(0);

/// Bits of generations: a client's id has 20 bits (section 12.4), a server's 30 without its mark, of which one is kept
/// free as `scoid` is one more; handles are positive.
const CLIENT_GENERATIONS: u32 = 10;
const SERVER_GENERATIONS: u32 = 19;
const HANDLE_GENERATIONS: u32 = 20;

/// The state.
pub(crate) struct State {
    pub config: KernelConfig,
    pub counters: Counters,
    pub sessions: Option<Rc<dyn Sessions>>,
    pub clock: Rc<dyn Clock>,
    /// Wakes the task that looks after deadlines.
    pub wake: Rc<Notify>,
    /// Notified when a session may have room again.
    pub room: Rc<Notify>,
    /// What is known of other nodes. Their numbers come from our own node table, which is bounded.
    pub peers: BTreeMap<NodeNr, Peer>,
    pub processes: Processes,
    pub channels: Table<ChannelState>,
    /// Connections of clients here.
    pub clients: Table<Client>,
    /// Their handles: one for each send that may wait at once.
    pub threads: Table<Thread>,
    /// Connections of clients to servers here.
    pub servers: Table<Server>,
    /// Of these, those whose clients are there, by client. Peers choose the numbers: the hash is keyed.
    pub by_client: KeyedMap<ClientName, Key>,
    /// What servers here were sent.
    pub transactions: Table<Transaction>,
    /// Reads of messages that servers here wait for.
    pub reads: Table<Read>,
    /// Messages from this node to itself.
    pub loopback: VecDeque<(KifMessage, RxMessage)>,
    pub spare: Vec<Vec<u8>>,
    pub outbox: Outbox,
    /// Signals to deliver as soon as nothing is borrowed.
    pub signals: VecDeque<SignalDelivery>,
    /// Transactions with a deadline.
    pub deadlines: usize,
    /// Attachments to be asked for again: what was said before may be lost.
    pub resend: bool,
}

/// A message as it is being handled.
pub(crate) struct Arrival {
    pub from: NodeNr,
    pub rx: RxId,
    pub message: RxMessage,
    /// Where its data are.
    pub data: Range<usize>,
}

impl Arrival {
    pub fn data(&self) -> &[u8] {
        self.message.bytes().get(self.data.clone()).unwrap_or_default()
    }
}

impl State {
    pub fn new(clock: Rc<dyn Clock>, mut config: KernelConfig, entropy: &dyn Entropy) -> State {
        let seed = entropy.next_u64();
        let limits = &mut config.limits;
        // Other nodes and this one share a table, half each.
        limits.server_connections = limits.server_connections.min(MAX_ENTRIES / 2);
        limits.transactions = limits.transactions.min(MAX_ENTRIES / 2);
        let limits = config.limits;
        let seeds = [seed as u32, (seed >> 16) as u32, (seed >> 32) as u32];
        let [first, second, third] = seeds;
        State {
            counters: Counters::default(),
            sessions: None,
            clock,
            wake: Rc::new(Notify::new()),
            room: Rc::new(Notify::new()),
            peers: BTreeMap::new(),
            processes: Processes::new(limits.processes),
            channels: Table::new(limits.channels, HANDLE_GENERATIONS, 0),
            clients: Table::new(limits.client_connections, CLIENT_GENERATIONS, first),
            threads: Table::new(limits.handles, HANDLE_GENERATIONS, second),
            servers: Table::new(2 * limits.server_connections, SERVER_GENERATIONS, third),
            by_client: KeyedMap::with_hasher(hash::Key::new(entropy)),
            transactions: Table::new(2 * limits.transactions, HANDLE_GENERATIONS, 0),
            reads: Table::new(limits.reads, HANDLE_GENERATIONS, first ^ third),
            loopback: VecDeque::new(),
            spare: Vec::new(),
            outbox: Outbox::default(),
            signals: VecDeque::new(),
            deadlines: 0,
            resend: false,
            config,
        }
    }

    /// Takes in what has happened: messages to ourselves and events of the sessions. True when there may be more.
    pub fn drain(&mut self) -> bool {
        let mut more = true;
        for _ in 0..EVENTS_AT_ONCE {
            self.drain_loopback();
            let event = self.sessions.as_ref().and_then(|sessions| sessions.take_event());
            let Some(event) = event else {
                more = false;
                break;
            };
            self.event(event);
        }
        self.drain_loopback();
        if self.resend && !more {
            self.resend = false;
            self.connect_again();
        }
        if !self.outbox.is_empty() {
            self.flush_outbox();
        }
        more
    }

    /// Handles what this node sends to itself, until that sends nothing more.
    pub fn drain_loopback(&mut self) {
        while let Some((message, bytes)) = self.loopback.pop_front() {
            let data = 0..bytes.bytes().len();
            let arrival = Arrival { from: NodeNr::LOCAL, rx: LOCAL_EPOCH, message: bytes, data };
            self.dispatch(message, arrival);
        }
    }

    fn event(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Message { from, rx, message } => self.message(from, rx, message),
            SessionEvent::TxUp { .. } => self.counters.nd_up += 1,
            SessionEvent::TxDown { node, tx, errno } => {
                self.counters.nd_down += 1;
                self.purge_outbox(Epoch::Tx(tx));
                self.clients_of_tx_down(node, tx, errno);
                self.servers_of_tx_down(node, tx);
            }
            SessionEvent::RxDown { node, rx } => {
                let peer = self.peers.entry(node).or_default();
                if peer.epoch == Some(rx) {
                    peer.epoch = None;
                    peer.had_epoch = true;
                }
                self.purge_outbox(Epoch::Rx(rx));
                self.servers_of_rx_down(node, rx);
                self.clients_of_rx_down(node, rx);
            }
        }
    }

    /// A message from another node.
    fn message(&mut self, from: NodeNr, rx: RxId, message: RxMessage) {
        self.counters.buffer.add();
        let peer = self.peers.entry(from).or_default();
        if peer.epoch.is_none() {
            peer.epoch = Some(rx);
            self.counters.nd_changed += u64::from(peer.had_epoch);
        }
        let Ok(Decoded { endian, message: kif, data, truncated }) = KifMessage::decode(message.bytes())
        else {
            self.counters.malformed += 1;
            return self.release(from, rx, message);
        };
        self.counters.truncated += u64::from(truncated);
        let arrival = Arrival { from, rx, message, data };
        if endian == Endian::Big {
            return self.foreign_order(kif, arrival);
        }
        self.dispatch(kif, arrival);
    }

    /// Of nodes with the other byte order we take refusals, and refuse them ourselves (section 2.4).
    fn foreign_order(&mut self, kif: KifMessage, arrival: Arrival) {
        match kif {
            KifMessage::ConnectFail(_) => return self.dispatch(kif, arrival),
            KifMessage::Connect(connect, _)
            | KifMessage::ConnectMsgSend(connect, ..)
            | KifMessage::ConnectPulse(connect, ..) => self.refuse(&arrival, &connect, Errno::EENDIAN),
            _ => {}
        }
        self.counters.endian += 1;
        self.discard(arrival);
    }

    /// Every message, from wherever.
    fn dispatch(&mut self, kif: KifMessage, arrival: Arrival) {
        match kif {
            KifMessage::MsgSend(send, cred) => return self.on_send(send, cred, arrival),
            KifMessage::MsgReadXfer(xfer) => return self.on_read_xfer(xfer, arrival),
            KifMessage::MsgWrite(write) => return self.on_write(write, arrival),
            KifMessage::MsgReply(reply) => return self.on_reply(reply, arrival),
            KifMessage::ConnectMsgSend(connect, cred, send, send_cred) => {
                self.speaks_combined(arrival.from);
                if let Some(server_id) = self.on_connect(connect, cred, &arrival) {
                    let send = keelson_qnet_wire::kif::MsgSend { server_id, ..send };
                    return self.on_send(send, send_cred, arrival);
                }
            }
            KifMessage::ConnectPulse(connect, cred, pulse, pulse_cred) => {
                self.speaks_combined(arrival.from);
                if let Some(server_id) = self.on_connect(connect, cred, &arrival) {
                    let pulse = keelson_qnet_wire::kif::Pulse { server_id, ..pulse };
                    self.on_pulse(pulse, pulse_cred, &arrival);
                }
            }
            KifMessage::Connect(connect, cred) => {
                self.on_connect(connect, cred, &arrival);
            }
            KifMessage::Pulse(pulse, cred) => self.on_pulse(pulse, cred, &arrival),
            KifMessage::Unblock(unblock) => self.on_unblock(unblock, &arrival),
            KifMessage::Disconnect(disconnect) => self.on_disconnect(disconnect, &arrival),
            KifMessage::MsgReadError(error) => self.on_read_error(error, &arrival),
            KifMessage::Signal(signal, cred) => self.on_signal(signal, cred, &arrival),
            KifMessage::ConnectSuccess(success) => self.on_connect_success(success, &arrival),
            KifMessage::ConnectFail(fail) => self.on_connect_fail(fail, &arrival),
            KifMessage::ConnectDeath(death) => self.on_connect_death(death, &arrival),
            KifMessage::MsgRead(read) => self.on_read(read, &arrival),
            KifMessage::MsgError(error) => self.on_error(error, &arrival),
            KifMessage::Event(event) => self.on_event(event, &arrival),
        }
        self.discard(arrival);
    }

    /// Gives a message back.
    pub fn discard(&mut self, arrival: Arrival) {
        self.release(arrival.from, arrival.rx, arrival.message);
    }

    fn speaks_combined(&mut self, node: NodeNr) {
        if node != NodeNr::LOCAL {
            self.peers.entry(node).or_default().profile.combined = true;
        }
    }

    /// Changes what we have to do with a node, and tells the sessions if it matters to them.
    pub fn with_peer(&mut self, node: NodeNr, change: impl FnOnce(&mut Peer)) {
        if node == NodeNr::LOCAL {
            return;
        }
        let peer = self.peers.entry(node).or_default();
        change(peer);
        let interest = peer.interest();
        if interest != peer.told {
            peer.told = interest;
            if let Some(sessions) = &self.sessions {
                sessions.set_interest(node, interest);
            }
        }
    }

    /// Qnet is unloaded: nothing can be sent any more (section 20).
    pub fn unmount(&mut self) {
        let Some(sessions) = self.sessions.take() else { return };
        while let Some(event) = sessions.take_event() {
            if let SessionEvent::Message { rx, message, .. } = event {
                sessions.release(rx, message);
            }
        }
        self.clear_outbox();
        self.all_remote_servers_down();
        self.all_remote_clients_down();
        self.peers.clear();
        self.counters.buffer.now = 0;
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }
}
