//! The server half: connections of clients anywhere to channels here (section 12.6).
//!
//! A connection whose client is gone keeps its place until the server has been told, and a transaction whose client is
//! gone keeps its place until the server lets go of the message: a peer cannot make servers here hold more than the
//! tables do.

use super::channel::{self, DEFAULT_PRIORITY, Item, Pulse};
use super::outbox::{Epoch, Route};
use super::state::{Arrival, State};
use super::table::Key;
use crate::sessions::{Body, NodeNr, Qos, RxId, TxId};
use alloc::vec::Vec;
use keelson_qnet_wire::kif::{
    self, Connect, ConnectDeath, ConnectFail, ConnectSuccess, Cred, Disconnect, FIRST_SEND, KifMessage,
};
use keelson_qnet_wire::{Errno, Nd};

mod pull;
mod transaction;

pub(crate) use pull::Read;
pub(crate) use transaction::{Delivery, Transaction};

/// Mark of server handles and server connection ids.
const SERVER_IDS: u32 = 0x4000_0000;

/// A server connection.
pub(crate) struct Server {
    node: NodeNr,
    /// Epoch of the client's node.
    rx: RxId,
    client_id: u32,
    client_pid: i32,
    channel: Key,
    pid: i32,
    chid: u32,
    /// What the client may do: its credentials after `maproot` and `mapany`.
    cred: Cred,
    transactions: Vec<Key>,
    /// Version of the protocol that the client has.
    version: u32,
    /// The client has used its handle: it knows that it is attached.
    used: bool,
    /// The client is gone; the server does not know yet.
    closing: bool,
}

/// How a CONNECT names a client: its node, that node's epoch, and its own number for the connection.
pub(crate) type ClientName = (NodeNr, RxId, u32);

impl Server {
    fn client(&self) -> ClientName {
        (self.node, self.rx, self.client_id)
    }

    /// To the client.
    fn route(&self, priority: u8) -> Route {
        Route { node: self.node, qos: Qos::default(), priority }
    }

    fn epoch(&self) -> Epoch {
        Epoch::Rx(self.rx)
    }
}

fn server_id(key: Key) -> u32 {
    SERVER_IDS | key.number()
}

/// Server connection id of a connection.
pub(super) fn scoid(key: Key) -> u32 {
    SERVER_IDS | (key.number() + 1)
}

fn server_key(id: u32) -> Option<Key> {
    (id & SERVER_IDS != 0).then(|| Key::from_number(id & (SERVER_IDS - 1)))
}

impl State {
    /// Takes in a client, or the changed credentials of one. Its server handle, if that succeeded.
    pub(super) fn on_connect(
        &mut self,
        connect: Connect,
        cred: Option<Cred>,
        arrival: &Arrival,
    ) -> Option<u32> {
        let node = arrival.from;
        if node != NodeNr::LOCAL {
            self.peers.entry(node).or_default().profile.version = connect.version;
        }
        if cred.is_some_and(|cred| cred.flags & Cred::BIG_ENDIAN != 0) {
            self.refuse(arrival, &connect, Errno::EENDIAN);
            return None;
        }
        let cred = self.mapped(cred, node);
        let key = match self.known_client(&connect, arrival) {
            Some(key) => key,
            None => match self.new_server(&connect, cred, arrival) {
                Ok(key) => key,
                Err(errno) => {
                    self.refuse(arrival, &connect, errno);
                    return None;
                }
            },
        };
        let server = self.servers.get_mut(key)?;
        (server.cred, server.version) = (cred, connect.version);
        let (route, epoch) = (server.route(DEFAULT_PRIORITY), server.epoch());
        let success = self.success(key)?;
        self.transmit_surely(route, epoch, &success, Body::EMPTY);
        Some(server_id(key))
    }

    /// CONNECT_SUCCESS.
    fn success(&self, key: Key) -> Option<KifMessage> {
        let server = self.servers.get(key)?;
        let success = ConnectSuccess {
            version: server.version,
            server_id: server_id(key),
            client_id: server.client_id,
            scoid: scoid(key),
            nbytes: FIRST_SEND,
        };
        let swapped = self.peers.get(&server.node).is_some_and(|peer| peer.profile.cs_swapped);
        Some(KifMessage::ConnectSuccess(if swapped { success.swapped() } else { success }))
    }

    /// Credentials as decisions are made by them: those of other nodes are believed, and mapped.
    pub(super) fn mapped(&self, cred: Option<Cred>, node: NodeNr) -> Cred {
        match cred {
            Some(cred) if node == NodeNr::LOCAL => cred,
            _ => Cred { nd: Nd::new(node.0, 0), ..self.config.credentials.map(cred) },
        }
    }

    /// The connection that a CONNECT names again. One with the same name to another channel has ended.
    fn known_client(&mut self, connect: &Connect, arrival: &Arrival) -> Option<Key> {
        let key = *self.by_client.get(&(arrival.from, arrival.rx, connect.client_id))?;
        let server = self.servers.get(key)?;
        if (server.pid, server.chid) == (connect.server_pid, connect.server_chid) {
            return Some(key);
        }
        self.close_server(key);
        None
    }

    fn new_server(&mut self, connect: &Connect, cred: Cred, arrival: &Arrival) -> Result<Key, Errno> {
        let channel = self.processes.channel(connect.server_pid, connect.server_chid);
        let channel = channel.ok_or(Errno::ESRCH)?;
        let limits = self.config.limits;
        let remote = self.counters.net_server.now;
        let is_full = match arrival.from {
            NodeNr::LOCAL => self.servers.len().saturating_sub(remote) >= limits.server_connections,
            node => {
                let of_node = self.peers.get(&node).map_or(0, |peer| peer.servers);
                remote >= limits.server_connections || of_node >= limits.server_connections_per_node
            }
        };
        let server = Server {
            node: arrival.from,
            rx: arrival.rx,
            client_id: connect.client_id,
            client_pid: connect.client_pid,
            channel,
            pid: connect.server_pid,
            chid: connect.server_chid,
            cred,
            transactions: Vec::new(),
            version: connect.version,
            used: false,
            closing: false,
        };
        let client = server.client();
        let key = if is_full { None } else { self.servers.insert(server) };
        let Some(key) = key else {
            self.counters.refused += 1;
            return Err(Errno::EAGAIN);
        };
        self.by_client.insert(client, key);
        if arrival.from != NodeNr::LOCAL {
            self.counters.net_server.add();
        }
        self.with_peer(arrival.from, |peer| peer.servers += 1);
        Ok(key)
    }

    /// CONNECT_FAIL.
    pub(super) fn refuse(&mut self, arrival: &Arrival, connect: &Connect, errno: Errno) {
        let Connect { version, client_id, .. } = *connect;
        let route = Route { node: arrival.from, qos: Qos::default(), priority: DEFAULT_PRIORITY };
        let message = KifMessage::ConnectFail(ConnectFail { version, client_id, status: errno.0 });
        self.transmit_surely(route, Epoch::Rx(arrival.rx), &message, Body::EMPTY);
    }

    /// The connection that a message names, if it is the sender's.
    fn server_of(&mut self, id: u32, arrival: &Arrival) -> Option<Key> {
        let key = server_key(id);
        let found = key.filter(|key| {
            let server = self.servers.get(*key);
            server.is_some_and(|server| {
                (server.node, server.rx) == (arrival.from, arrival.rx) && !server.closing
            })
        });
        self.counters.inval_server_id += u64::from(found.is_none());
        if let Some(server) = found.and_then(|key| self.servers.get_mut(key)) {
            server.used = true;
        }
        found
    }

    pub(super) fn on_disconnect(&mut self, disconnect: Disconnect, arrival: &Arrival) {
        if let Some(key) = self.server_of(disconnect.server_id, arrival) {
            self.close_server(key);
        }
    }

    pub(super) fn on_pulse(&mut self, pulse: kif::Pulse, cred: Option<Cred>, arrival: &Arrival) {
        let Some(key) = self.server_of(pulse.server_id, arrival) else { return };
        if cred.is_some() {
            let cred = self.mapped(cred, arrival.from);
            self.servers.get_mut(key).into_iter().for_each(|server| server.cred = cred);
        }
        let Some(channel) = self.servers.get(key).map(|server| server.channel) else { return };
        let pulse = Pulse {
            code: pulse.code,
            value: pulse.value as i32,
            scoid: scoid(key),
            priority: channel::priority(pulse.priority),
        };
        let limit = self.config.limits.pulses;
        let queued = self.channels.get_mut(channel).is_some_and(|channel| channel.push_pulse(pulse, limit));
        self.counters.pulse_lost += u64::from(!queued);
    }

    /// The client is gone: its transactions end, and the server is told.
    fn close_server(&mut self, key: Key) {
        self.end_transactions(key);
        let Some(server) = self.servers.get_mut(key) else { return };
        server.closing = true;
        let (channel, client) = (server.channel, server.client());
        // Its number may be given to another connection at once.
        self.by_client.remove(&client);
        // Behind the pulses that the client has sent before.
        if !self.queue(channel, 0, Item::Disconnect(key)) {
            self.forget_server(key);
        }
    }

    /// Frees the place of a connection.
    fn forget_server(&mut self, key: Key) {
        let Some(server) = self.servers.remove(key) else { return };
        if !server.closing {
            self.by_client.remove(&server.client());
        }
        if server.node != NodeNr::LOCAL {
            self.counters.net_server.sub();
        }
        self.with_peer(server.node, |peer| peer.servers = peer.servers.saturating_sub(1));
    }

    /// What was said to the clients of a node may be lost, though they are still there. Those that do not know yet
    /// that they are attached are told again; the others must not wait for what does not come.
    pub(super) fn servers_of_tx_down(&mut self, node: NodeNr, tx: TxId) {
        match self.peers.get_mut(&node) {
            Some(peer) if peer.answers == Some(tx) => peer.answers = None,
            _ => return,
        }
        let mut from = 0;
        while let Some(key) = self.servers.next(&mut from, |server| server.node == node && !server.closing) {
            let Some(server) = self.servers.get(key) else { continue };
            let (route, epoch) = (server.route(DEFAULT_PRIORITY), server.epoch());
            let message = match server.used {
                true => Some(KifMessage::ConnectDeath(ConnectDeath { client_id: server.client_id })),
                false => self.success(key),
            };
            if self.servers.get(key).is_some_and(|server| server.used) {
                self.close_server(key);
            }
            if let Some(message) = message {
                // Not at once: the client's node may turn out to be gone as well.
                self.hold(route, epoch, &message, Body::EMPTY);
            }
        }
    }

    /// A peer's epoch has ended, and everything that its clients had here (section 7.6).
    pub(super) fn servers_of_rx_down(&mut self, node: NodeNr, rx: RxId) {
        let mut from = 0;
        let fits = |server: &Server| (server.node, server.rx) == (node, rx) && !server.closing;
        while let Some(key) = self.servers.next(&mut from, fits) {
            self.close_server(key);
        }
    }

    pub(super) fn all_remote_servers_down(&mut self) {
        let mut from = 0;
        let fits = |server: &Server| server.node != NodeNr::LOCAL && !server.closing;
        while let Some(key) = self.servers.next(&mut from, fits) {
            self.close_server(key);
        }
    }

    /// A channel is gone, and its clients are told (section 12.5).
    pub fn destroy_channel(&mut self, channel: Key) {
        let Some(state) = self.channels.remove(channel) else { return };
        if let Some(process) = self.processes.get_mut(state.pid) {
            process.channels.retain(|(_, key)| *key != channel);
        }
        state.arrived.notify();
        let mut from = 0;
        while let Some(key) = self.servers.next(&mut from, |server| server.channel == channel) {
            self.fail_transactions(key, Errno::ESRCH);
            let Some(server) = self.servers.get(key) else { continue };
            let (route, epoch) = (server.route(DEFAULT_PRIORITY), server.epoch());
            let (client_id, closing) = (server.client_id, server.closing);
            self.forget_server(key);
            if !closing {
                let death = KifMessage::ConnectDeath(ConnectDeath { client_id });
                self.transmit_surely(route, epoch, &death, Body::EMPTY);
            }
        }
    }
}
