//! The opener's half of the handshake (section 6.3, first table).

use super::frames::On;
use super::links::MAX_CONTROL;
use super::tx::{Path, Tx, TxState};
use super::{Arrival, Transport};
use crate::link::LinkId;
use crate::nodes::{NodeState, Waiter};
use crate::sessions::{NodeNr, Qos, SessionEvent, TxId};
use keelson_qnet_wire::l4::{Header, Kind};
use keelson_qnet_wire::names::Policy;
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, Errno};

/// Number in our TCS_INITs; the first message has the next one (section 6.4).
const ISN: u32 = 0;

impl Transport {
    /// Makes a name that no connection had before.
    pub(crate) fn unique(&mut self, id: u32) -> u64 {
        self.made = self.made.wrapping_add(1);
        u64::from(self.made) << 32 | u64::from(id)
    }

    /// The connection to a node under a QoS, if there is one.
    pub(crate) fn find_tx(&self, node: NodeNr, qos: Qos) -> Option<u32> {
        let entry = self.nodes.get(node.0)?;
        entry.tx.iter().copied().find(|id| self.tx.get(*id).is_some_and(|tx| tx.qos == qos))
    }

    /// Begins a connection. What fails later is told by an event.
    pub(crate) fn open(&mut self, node: NodeNr, qos: Qos) -> Result<u32, Errno> {
        let entry = self.nodes.get(node.0).ok_or(Errno::ESRCH)?;
        if self.stopped || !self.links.iter().any(|link| link.is_up()) {
            return Err(Errno::ENETDOWN);
        }
        if self.now < entry.hold_until {
            return Err(Errno::EHOSTDOWN);
        }
        let link = self.policy_link(qos)?;
        if entry.tx.len() >= self.options.max_per_node && !self.close_unused(Some(node)) {
            return Err(Errno::EAGAIN);
        }
        if self.tx.is_full() && !self.close_unused(None) {
            return Err(Errno::EAGAIN);
        }
        let now = self.now;
        let id = self.tx.insert(|_| Tx::new(TxId(0), node, qos, link, now)).ok_or(Errno::EAGAIN)?;
        let uid = TxId(self.unique(id));
        if let Some(tx) = self.tx.get_mut(id) {
            tx.uid = uid;
        }
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.tx.push(id);
        }
        self.counters.tx_conn_created += 1;
        self.start(id);
        Ok(id)
    }

    /// The link that a QoS names. ENETDOWN when an exclusive one is not there.
    fn policy_link(&self, qos: Qos) -> Result<Option<LinkId>, Errno> {
        let interface = self.qos.interface(qos.index);
        let link = interface.and_then(|name| self.links.named(name));
        let up = link.and_then(|id| self.links.get(id)).is_some_and(|link| link.is_up());
        if qos.policy == Policy::Exclusive && interface.is_some() && !up {
            return Err(Errno::ENETDOWN);
        }
        Ok(link)
    }

    /// Sends the first TCS_INIT, or asks for the address first.
    pub(crate) fn start(&mut self, id: u32) {
        let Some(link) = self.candidates(id).next() else {
            return self.ask_address(id);
        };
        if let Some(tx) = self.tx.get_mut(id)
            && tx.qos.policy == Policy::Exclusive
        {
            // Without a name it is exclusive to the link that it began with.
            tx.link = tx.link.or(Some(link));
        }
        self.send_first_init(id, link);
    }

    fn ask_address(&mut self, id: u32) {
        let Some(tx) = self.tx.get_mut(id) else { return };
        tx.state = TxState::Resolving;
        let node = tx.node.0;
        if let Some(entry) = self.nodes.get_mut(node)
            && entry.state != NodeState::Up
        {
            entry.state = NodeState::Resolving;
        }
        self.look_up_node(node, Waiter::Tx(id));
    }

    /// The address was found, or not.
    pub(crate) fn address_found(&mut self, id: u32, result: Result<u16, Errno>) {
        let Some(tx) = self.tx.get(id).filter(|tx| tx.state == TxState::Resolving) else { return };
        let node = tx.node.0;
        match result {
            Ok(found) if found == node && self.candidates(id).next().is_some() => self.start(id),
            // The name belongs to a node whose address is on no link that the policy allows.
            Ok(_) => self.tx_down(id, Errno::EHOSTUNREACH),
            Err(_) => {
                self.node_failed(node, self.now);
                self.tx_down(id, Errno::EHOSTDOWN);
            }
        }
    }

    fn send_first_init(&mut self, id: u32, link: LinkId) {
        let until = self.now + self.options.ticks(self.options.conn_est_timeout.max(1));
        if let Some(tx) = self.tx.get_mut(id) {
            tx.state = TxState::InitSent { link, tries: 0, until };
        }
        self.timers.bring_forward(self.tx_key(id), until);
        self.send_init(id, link);
    }

    /// Sends a TCS_INIT: to open the connection, or to see whether a link works.
    pub(crate) fn send_init(&mut self, id: u32, link: LinkId) {
        let Some(tx) = self.tx.get(id) else { return };
        let Some(entry) = self.nodes.get(tx.node.0) else { return };
        let Some(to) = entry.address(link) else { return };
        let init = Init {
            src_name: self.identity.name(),
            src_domain: self.identity.domain(),
            dst_name: &entry.name,
            dst_domain: &entry.domain,
            shares_acks: true,
        };
        let mut payload = [0; MAX_CONTROL];
        // Four names of at most 63 and 127 bytes fit, and what follows them.
        let Ok(len) = init.emit(&mut payload, Endian::Little) else { return };
        let on = On { src: id, dst: 0, seq: ISN, qos_type: tx.qos.policy.to_wire(), qos_idx: tx.qos.index };
        let header = self.header(Kind::TcsInit, tx.node.0, on);
        self.send_control(link, Some(to), header, payload.get(..len).unwrap_or_default());
    }

    /// TCS_INIT was not answered in time: again, then on the next link, then no more.
    pub(crate) fn init_overdue(&mut self, id: u32, link: LinkId, tries: u32) {
        let until = self.now + self.options.ticks(self.options.conn_est_timeout.max(1));
        if tries < self.options.conn_est_retries && self.candidates(id).any(|candidate| candidate == link) {
            if let Some(tx) = self.tx.get_mut(id) {
                tx.state = TxState::InitSent { link, tries: tries + 1, until };
            }
            self.timers.set(self.tx_key(id), until);
            return self.send_init(id, link);
        }
        if let Some(next) = self.candidates(id).skip_while(|candidate| *candidate != link).nth(1) {
            return self.send_first_init(id, next);
        }
        let Some(tx) = self.tx.get(id) else { return };
        // Anything heard since the first TCS_INIT proves it alive, if not willing.
        let (node, since) = (tx.node.0, tx.heard);
        self.node_failed(node, since);
        self.tx_down(id, Errno::EHOSTDOWN);
    }

    /// TCS_REM_UP: the acceptor is ready.
    pub(crate) fn on_rem_up(&mut self, arrival: Arrival, header: &Header) {
        let id = header.dst_conn_id;
        let Some(tx) = self.tx.get(id).filter(|tx| self.is_from(tx.node, arrival)) else {
            self.counters.pkts_rxd_no_l4 += 1;
            return;
        };
        let node = tx.node;
        match tx.state {
            TxState::InitSent { .. } if header.src_conn_id != 0 => {
                self.heard(node, header);
                self.rem_up_first(id, arrival, header);
            }
            TxState::Up if tx.remote == header.src_conn_id => {
                self.heard(node, header);
                self.path_up(id, arrival.link);
                self.send_up(id, arrival.link);
            }
            // The node was started anew and took our TCS_INIT for that of a new connection.
            TxState::Up => self.tx_down(id, Errno::ESRCH),
            _ => {}
        }
    }

    fn rem_up_first(&mut self, id: u32, arrival: Arrival, header: &Header) {
        let now = self.now;
        let Some(tx) = self.tx.get_mut(id) else { return };
        tx.remote = header.src_conn_id;
        tx.state = TxState::Up;
        tx.heard = now;
        tx.used = now;
        tx.last_link = arrival.link;
        tx.set_path(arrival.link, Path::Up { timeouts: 0 });
        let (node, uid) = (tx.node, tx.uid);
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.profile.saw_tcs(header.flags, header.layer);
            let known = entry.address(arrival.link);
            if entry.state != NodeState::Up && known != Some(arrival.from) {
                // Another node of this name was heard meanwhile; the connection is with the one that was asked.
                entry.other = known.map(|known| (arrival.link, known));
                entry.set_address(arrival.link, arrival.from);
            }
        }
        self.node_up(node);
        self.events.push_back(SessionEvent::TxUp { node, tx: uid });
        self.send_up(id, arrival.link);
        self.probe_soon(id);
        self.timers.set(self.tx_key(id), now + self.idle_limit(node));
        self.enqueue(id);
        self.verified(node, Ok(()));
    }

    fn send_up(&mut self, id: u32, link: LinkId) {
        let Some(tx) = self.tx.get(id) else { return };
        let Some(to) = self.nodes.get(tx.node.0).and_then(|entry| entry.address(link)) else { return };
        let (qos_type, qos_idx) = (tx.qos.policy.to_wire(), tx.qos.index);
        let on = On { src: id, dst: tx.remote, seq: 0, qos_type, qos_idx };
        let header = self.header(Kind::TcsUp, tx.node.0, on);
        self.send_control(link, Some(to), header, &[]);
    }

    /// Our TCS_INIT was refused. When two nodes have the name, the other one may be meant.
    pub(crate) fn init_refused(&mut self, id: u32) {
        let Some(tx) = self.tx.get_mut(id) else { return };
        let TxState::InitSent { link, tries, until } = tx.state else { return };
        let node = tx.node;
        let last = self.options.conn_est_retries + 1;
        let other = self.nodes.get_mut(node.0).filter(|entry| entry.dup && tries < last);
        if other.is_some_and(|entry| entry.swap_address()) {
            tx.state = TxState::InitSent { link, tries: last, until };
            return self.send_init(id, link);
        }
        self.node_failed(node.0, self.now);
        self.tx_down(id, Errno::EHOSTDOWN);
    }

    /// Whether a frame came from an address of a node: ids alone prove nothing.
    #[inline]
    pub(crate) fn is_from(&self, node: NodeNr, arrival: Arrival) -> bool {
        self.nodes.get(node.0).is_some_and(|entry| entry.has_address(arrival.link, arrival.from))
    }

    /// A valid frame of a connection came: the node is alive, and says its number for us.
    #[inline]
    pub(crate) fn heard(&mut self, node: NodeNr, header: &Header) {
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.last_heard = self.now;
            entry.remote_nd = header.src_nd_for_dst;
            entry.profile.endian = header.endian;
            if !entry.listed {
                // It had been forgotten, and is there.
                self.nodes.list(node.0);
            }
        }
    }

    /// A connection works: the node is up.
    pub(crate) fn node_up(&mut self, node: NodeNr) {
        self.nodes.list(node.0);
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.hold_until = self.now;
            if core::mem::replace(&mut entry.state, NodeState::Up) != NodeState::Up {
                self.counters.nd_up += 1;
            }
        }
    }
}
