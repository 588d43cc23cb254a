//! The end of connections (section 7.6), and of the transport (section 20).

use super::frames::On;
use super::tx::TxState;
use super::{Arrival, Transport};
use crate::nodes::NodeState;
use crate::sessions::{NodeNr, RxId, SessionEvent};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::{Header, Kind};

impl Transport {
    /// TCS_DOWN or TCS_REM_DOWN. Either is taken for either role if the ids match (section 28, row 19).
    pub(crate) fn on_down(&mut self, arrival: Arrival, header: &Header) {
        let id = header.dst_conn_id;
        let src = header.src_conn_id;
        if header.kind == Kind::TcsDown && self.rx_owner(id, arrival, header).is_some() {
            return self.peer_closed(id, arrival, header);
        }
        let tx = self.tx.get(id).filter(|tx| self.is_from(tx.node, arrival));
        // Who does not know the connection has no id for it.
        let tx = tx.filter(|tx| src == tx.remote || src == 0 && header.kind == Kind::TcsRemDown);
        if let Some((node, state, in_flight)) = tx.map(|tx| (tx.node, tx.state, tx.in_flight)) {
            self.heard(node, header);
            match state {
                TxState::Resolving => {}
                TxState::InitSent { .. } => self.init_refused(id),
                TxState::Up => {
                    if in_flight > 1
                        && let Some(entry) = self.nodes.get_mut(node.0)
                    {
                        entry.profile.halve_window();
                    }
                    self.tx_down(id, Errno::ESRCH);
                }
            }
            return;
        }
        match self.rx_owner(id, arrival, header) {
            Some(_) => self.peer_closed(id, arrival, header),
            None => self.counters.pkts_rxd_no_l4 += 1,
        }
    }

    /// The opener closed its connection. What was whole and next has been delivered and acknowledged.
    fn peer_closed(&mut self, id: u32, arrival: Arrival, header: &Header) {
        let Some(node) = self.rx.get(id).map(|rx| rx.node) else { return };
        self.heard(node, header);
        if let Some(rx) = self.rx.get_mut(id) {
            (rx.link, rx.address) = (arrival.link, arrival.from);
        }
        self.refuse_rx(id);
        self.rx_down(id);
    }

    /// Sends TCS_REM_DOWN for a connection that exists.
    pub(crate) fn refuse_rx(&mut self, id: u32) {
        // What came is not to be taken for lost.
        self.acknowledge_owed(id);
        let Some(rx) = self.rx.get(id) else { return };
        let (link, to) = (rx.link, rx.address);
        let on = On { src: id, dst: rx.remote, seq: 0, qos_type: rx.qos_type, qos_idx: rx.qos_idx };
        let header = self.header(Kind::TcsRemDown, rx.node.0, on);
        self.send_control(link, Some(to), header, &[]);
    }

    /// Ends a connection from a peer, of which the peer is told.
    pub fn close_rx(&mut self, now: Instant, rx: RxId) {
        self.now = now;
        let id = (rx.0 & u64::from(u32::MAX)) as u32;
        if self.rx.get(id).is_some_and(|known| known.uid == rx) {
            self.refuse_rx(id);
            self.rx_down(id);
        }
    }

    /// Closes a connection that nobody uses.
    pub(crate) fn close(&mut self, id: u32) {
        self.send_down(id);
        self.tx_down(id, Errno::EOK);
    }

    fn send_down(&mut self, id: u32) {
        let Some(tx) = self.tx.get(id).filter(|tx| tx.state == TxState::Up) else { return };
        let Some(link) = self.choose(id) else { return };
        let to = self.nodes.get(tx.node.0).and_then(|entry| entry.address(link));
        let seq = tx.base.wrapping_add(tx.queue.len() as u32);
        let (qos_type, qos_idx) = (tx.qos.policy.to_wire(), tx.qos.index);
        let header =
            self.header(Kind::TcsDown, tx.node.0, On { src: id, dst: tx.remote, seq, qos_type, qos_idx });
        if to.is_some() {
            self.send_control(link, to, header, &[]);
        }
    }

    /// A connection to a peer ends, with everything on it.
    pub(crate) fn tx_down(&mut self, id: u32, errno: Errno) {
        let Some(tx) = self.tx.remove(id) else { return };
        self.timers.clear(self.tx_key(id));
        self.counters.tx_conn_deleted += 1;
        self.counters.tx_failed += tx.queue.len() as u64;
        if let Some(entry) = self.nodes.get_mut(tx.node.0) {
            entry.tx.retain(|known| *known != id);
        }
        self.leave_node(tx.node);
        self.events.push_back(SessionEvent::TxDown { node: tx.node, tx: tx.uid, errno });
        if errno != Errno::EOK {
            self.query_failed(tx.node, errno);
            let verified = if errno == Errno::ENETDOWN { errno } else { Errno::EHOSTDOWN };
            self.verified(tx.node, Err(verified));
        }
    }

    /// A connection from a peer ends, with everything that came on it and was not delivered.
    pub(crate) fn rx_down(&mut self, id: u32) {
        let Some(rx) = self.rx.remove(id) else { return };
        self.timers.clear(self.rx_key(id));
        self.counters.rx_conn_deleted += 1;
        self.discharge_all(&rx);
        if let Some(entry) = self.nodes.get_mut(rx.node.0) {
            entry.rx.retain(|known| *known != id);
        }
        self.leave_node(rx.node);
        self.events.push_back(SessionEvent::RxDown { node: rx.node, rx: rx.uid });
    }

    /// The last connection of a node is gone.
    fn leave_node(&mut self, node: NodeNr) {
        let Some(entry) = self.nodes.get_mut(node.0) else { return };
        if entry.tx.is_empty() && entry.rx.is_empty() && entry.state == NodeState::Up {
            entry.state = NodeState::Learned;
        }
        if !entry.listed {
            // Nothing holds its addresses any more.
            self.nodes.unlist(node.0);
        }
    }

    /// A node does not answer. It leaves `/net`, unless something was heard from it `since`.
    pub(crate) fn node_failed(&mut self, node: u16, since: Instant) {
        let hold_until = self.now + self.options.tick;
        let Some(entry) = self.nodes.get_mut(node) else { return };
        entry.hold_until = hold_until;
        if entry.last_heard > since {
            return;
        }
        if entry.state == NodeState::Up {
            self.counters.nd_down += 1;
        }
        entry.state = NodeState::Failed;
        self.nodes.unlist(node);
        self.queries.forget_node(node);
    }

    /// Says goodbye on every connection (unmounting Qnet). Nothing is taken in or sent afterwards.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = now;
        for id in self.tx_ids() {
            self.send_down(id);
            self.tx_down(id, Errno::ENOREMOTE);
        }
        for id in self.rx_ids() {
            self.refuse_rx(id);
            self.rx_down(id);
        }
        self.fail_requests(Errno::ENOREMOTE);
        self.claims = Default::default();
        self.poll(now);
        self.stopped = true;
    }

    /// Time after which a node that is asked for and does not answer is known to be down, at most.
    pub fn longest_silence(&self) -> Duration {
        self.options.ticks(self.options.conn_up_idle) + self.options.patience()
    }
}
