//! The acceptor's half of the handshake (section 6.3, second table).

use super::frames::On;
use super::options::RX_WINDOW;
use super::rx::{Rx, RxState};
use super::{Arrival, Transport};
use crate::nodes::Learnt;
use crate::sessions::{NodeNr, Qos, RxId};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::{Header, Kind, Packet};
use keelson_qnet_wire::tcs::Init;

/// Ticks after which a connection that nobody uses is forgotten.
const HALF_TICKS: u32 = 5;

impl Transport {
    /// TCS_INIT: a peer opens a connection, or sees whether a link works.
    pub(crate) fn on_init(&mut self, arrival: Arrival, packet: &Packet) {
        let header = &packet.header;
        let Ok(init) = Init::decode(packet.payload, header.endian) else {
            self.counters.rxd_bad_l4 += 1;
            return;
        };
        if header.src_conn_id == 0 || arrival.broadcast {
            self.counters.rxd_bad_l4 += 1;
            return;
        }
        let for_us = self.identity.matches(init.dst_name, init.dst_domain);
        if self.identity.is_same(init.src_name, init.src_domain) {
            self.name_is_taken(arrival);
            return self.refuse(arrival, header);
        }
        if !for_us {
            return self.refuse(arrival, header);
        }
        if let Some(id) = self.known_opener(&init, header) {
            return self.opener_again(id, arrival, header);
        }
        let node = match self.learn(init.src_name, init.src_domain, arrival) {
            Some((node, Learnt::Address)) => NodeNr(node),
            // There is a connection under this name, with another address.
            Some((node, Learnt::Other)) => {
                return self.on_claim(NodeNr(node), arrival, header, init.shares_acks);
            }
            None => return,
        };
        self.claims.forget(node);
        self.admit(node, arrival, header, init.shares_acks);
    }

    /// Takes in a TCS_INIT of a node that is known under its address.
    pub(crate) fn admit(&mut self, node: NodeNr, arrival: Arrival, header: &Header, shares_acks: bool) {
        self.heard(node, header);
        if let Some(entry) = self.nodes.get_mut(node.0) {
            // It is alive, whatever our last attempt said.
            entry.hold_until = self.now;
            entry.profile.saw_tcs(header.flags, header.layer);
            entry.profile.isn = Some(header.seq);
        }
        if let Some(old) = self.find_rx(node, header) {
            self.new_epoch(node, old);
        }
        self.accept(node, arrival, header, shares_acks);
    }

    /// The connection that a TCS_INIT repeats: same names, same id of the opener.
    fn known_opener(&self, init: &Init, header: &Header) -> Option<u32> {
        let node = NodeNr(self.nodes.find(init.src_name, init.src_domain)?);
        let id = self.find_rx(node, header)?;
        self.rx.get(id).filter(|rx| rx.remote == header.src_conn_id).map(|_| id)
    }

    /// Our answer was lost, or the opener tries another link, perhaps with another adapter.
    fn opener_again(&mut self, id: u32, arrival: Arrival, header: &Header) {
        let Some(node) = self.rx.get(id).map(|rx| rx.node) else { return };
        if !self.is_from(node, arrival)
            && let Some(entry) = self.nodes.get_mut(node.0)
        {
            match entry.address(arrival.link) {
                None => entry.set_address(arrival.link, arrival.from),
                Some(_) => entry.other = Some((arrival.link, arrival.from)),
            }
        }
        self.heard(node, header);
        self.send_rem_up(id, arrival);
    }

    /// The connection from a node under a QoS.
    fn find_rx(&self, node: NodeNr, header: &Header) -> Option<u32> {
        let entry = self.nodes.get(node.0)?;
        let same = |rx: &Rx| rx.qos_type == header.qos_type && rx.qos_idx == header.src_qos_idx;
        entry.rx.iter().copied().find(|id| self.rx.get(*id).is_some_and(same))
    }

    /// The peer was started anew, or opened its connection again: what it had before is gone.
    fn new_epoch(&mut self, node: NodeNr, old: u32) {
        self.counters.nd_changed += 1;
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.epoch = entry.epoch.wrapping_add(1);
        }
        self.forget_answers(node);
        self.rx_down(old);
        // If it was started anew it will say that it knows nothing of our connections; then nobody need wait.
        let connections = self.nodes.get(node.0).map(|entry| entry.tx.len()).unwrap_or_default();
        for index in 0..connections {
            let id = self.nodes.get(node.0).and_then(|entry| entry.tx.get(index)).copied();
            if let Some(id) = id {
                self.send_heartbeat(id);
            }
        }
    }

    fn accept(&mut self, node: NodeNr, arrival: Arrival, header: &Header, shares_acks: bool) {
        let of_node = self.nodes.get(node.0).map_or(0, |entry| entry.rx.len());
        if of_node >= self.options.max_per_node || self.rx.is_full() && !self.evict_half() {
            // Silence: the peer tries again.
            return;
        }
        let now = self.now;
        let half_until = now + self.options.ticks(HALF_TICKS);
        let reorder = self.options.reorder_delay;
        let id = self.rx.insert(|_| Rx {
            uid: RxId(0),
            node,
            qos_type: header.qos_type,
            qos_idx: header.src_qos_idx,
            remote: header.src_conn_id,
            state: RxState::Half,
            half_until,
            isn: header.seq,
            expected: header.seq.wrapping_add(1),
            begun: false,
            slots: core::array::from_fn::<_, { RX_WINDOW as usize }, _>(|_| Default::default()).into(),
            span: 0,
            held: 0,
            untaken: 0,
            heard: now,
            link: arrival.link,
            address: arrival.from,
            shares_acks,
            owed: None,
            gap_at: None,
            gap_limit: 0,
            gap_limit_ended: false,
            reorder,
            since_early: 0,
            usual: 0,
        });
        let Some(id) = id else { return };
        let uid = RxId(self.unique(id));
        if let Some(rx) = self.rx.get_mut(id) {
            rx.uid = uid;
        }
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.rx.push(id);
        }
        self.counters.rx_conn_created += 1;
        self.timers.set(self.rx_key(id), half_until);
        self.send_rem_up(id, arrival);
        if self.options.eager_reverse {
            let qos = Qos { policy: self.options.policy, index: 0 };
            if self.find_tx(node, qos).is_none() {
                // Opened again when it is needed, should it fail now.
                let _: Result<u32, Errno> = self.open(node, qos);
            }
        }
    }

    fn send_rem_up(&mut self, id: u32, arrival: Arrival) {
        let Some(rx) = self.rx.get(id) else { return };
        let on = On { src: id, dst: rx.remote, seq: 0, qos_type: rx.qos_type, qos_idx: rx.qos_idx };
        let header = self.header(Kind::TcsRemUp, rx.node.0, on);
        self.send_control(arrival.link, Some(arrival.from), header, &[]);
    }

    /// TCS_UP: the opener is ready.
    pub(crate) fn on_up(&mut self, arrival: Arrival, header: &Header) {
        let id = header.dst_conn_id;
        let Some(node) = self.rx_owner(id, arrival, header) else {
            self.counters.pkts_rxd_no_l4 += 1;
            return;
        };
        self.heard(node, header);
        self.rx_up(id);
    }

    /// The node that a connection comes from, if it is the one that sent the frame.
    #[inline]
    pub(crate) fn rx_owner(&self, id: u32, arrival: Arrival, header: &Header) -> Option<NodeNr> {
        let rx = self.rx.get(id).filter(|rx| rx.remote == header.src_conn_id)?;
        self.is_from(rx.node, arrival).then_some(rx.node)
    }

    /// The opener knows that the connection is up.
    pub(crate) fn rx_up(&mut self, id: u32) {
        let now = self.now;
        let silence = self.silence_limit();
        let Some(rx) = self.rx.get_mut(id) else { return };
        rx.heard = now;
        if rx.state == RxState::Half {
            rx.state = RxState::Up;
            let node = rx.node;
            self.timers.set(self.rx_key(id), now + silence);
            self.node_up(node);
        }
    }

    /// How long a peer may be silent: it is its turn to ask us (section 7.5).
    pub(crate) fn silence_limit(&self) -> core::time::Duration {
        self.options.ticks(self.options.conn_up_idle).saturating_mul(3)
    }

    /// Makes room in the table: the oldest connection that was asked for and never used.
    fn evict_half(&mut self) -> bool {
        let half = self.rx.iter().filter(|(_, rx)| rx.state == RxState::Half);
        let oldest = half.min_by_key(|(_, rx)| rx.half_until).map(|(id, _)| id);
        if let Some(id) = oldest {
            self.rx_down(id);
        }
        oldest.is_some()
    }

    pub(crate) fn on_rx_timer(&mut self, id: u32) {
        let now = self.now;
        let silence = self.silence_limit();
        let Some(rx) = self.rx.get(id) else { return };
        let over = match rx.state {
            RxState::Half => rx.half_until,
            RxState::Up => rx.heard + silence,
        };
        if over <= now {
            if rx.state == RxState::Up {
                self.refuse_rx(id);
            }
            return self.rx_down(id);
        }
        if rx.gap_at.is_some_and(|at| at <= now) {
            self.ask_for_missing(id);
        }
        if self.rx.get(id).is_some_and(|rx| rx.owed.is_some_and(|owed| owed.due <= now)) {
            self.acknowledge_owed(id);
        }
        let Some(rx) = self.rx.get(id) else { return };
        let next =
            [Some(over), rx.gap_at, rx.owed.map(|owed| owed.due)].into_iter().flatten().min().unwrap_or(over);
        self.timers.bring_forward(self.rx_key(id), next);
    }
}
