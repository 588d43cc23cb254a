//! What becomes of messages that were sent: ACK, NACK, silence (sections 7.1, 7.3 and 7.5).

use super::body::Body;
use super::links::Again;
use super::tx::{Outgoing, Progress, Released, Tx, TxState};
use super::{Arrival, Transport};
use crate::nodes::Usage;
use crate::sessions::NodeNr;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::l4::{Header, Layer, SHARED_ACK};
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::{Endian, Errno};

/// How soon a message is probed for when a later one was acknowledged (section 7.3).
const GUARD: Duration = Duration::from_millis(10);
/// Probes answered only by ACKs of later messages after which a peer is known to acknowledge cumulatively.
const EVIDENCE: u8 = 3;
/// Messages acknowledged without trouble after which a halved window is doubled.
const RECOVERED: u32 = 256;

/// Whether an ACK says something new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acked {
    First,
    Again,
}

impl Transport {
    /// The connection that an ACK or a NACK is about.
    fn acked_connection(&mut self, arrival: Arrival, header: &Header) -> Option<u32> {
        let id = header.dst_conn_id;
        let owner = self.tx.get(id).filter(|tx| tx.state == TxState::Up && tx.remote == header.src_conn_id);
        let Some(node) = owner.map(|tx| tx.node).filter(|node| self.is_from(*node, arrival)) else {
            self.counters.pkts_rxd_no_l4 += 1;
            return None;
        };
        self.heard(node, header);
        let now = self.now;
        self.path_up(id, arrival.link);
        let tx = self.tx.get_mut(id)?;
        tx.heard = now;
        tx.silent = 0;
        Some(id)
    }

    /// ACK: a message has arrived.
    pub(crate) fn on_ack(&mut self, arrival: Arrival, header: &Header) {
        let now = self.now;
        let Some(id) = self.acked_connection(arrival, header) else { return };
        self.counters.acks_rx += 1;
        let Some(tx) = self.tx.get_mut(id) else { return };
        let node = tx.node;
        let released = match header.offset == SHARED_ACK {
            true => tx.release_before(header.seq),
            false => Released::default(),
        };
        let Some((index, message)) = tx.begun_message(header.seq) else { return };
        let layer = message.layer;
        match message.progress {
            Progress::Sent => {}
            // Answers the probe of an earlier message once more.
            Progress::Acked => return self.older_than(id, index, Acked::Again),
            Progress::Queued | Progress::Sending(_) => return,
        }
        let (round_trip, measured) = (now - message.sent_at, !message.again);
        let probed = message.guarded && message.again;
        tx.release(index);
        if measured {
            tx.sample(round_trip);
        }
        if probed {
            tx.evidence = 0;
        }
        let srtt = tx.srtt;
        if let Some(entry) = self.nodes.get_mut(node.0) {
            entry.profile.saw_ack(header.flags, header.layer, layer);
            entry.profile.acked(released.messages + 1, RECOVERED);
            entry.srtt = srtt;
        }
        if index > 0 {
            self.older_than(id, index, Acked::First);
        }
        self.enqueue(id);
        if layer == Layer::Nr || released.question {
            // It has a ping of ours, whether it answers it or not.
            self.verified(node, Ok(()));
        }
    }

    /// A message was acknowledged while older ones were not: they are probed for soon, or released when the peer is
    /// known to mean them too.
    fn older_than(&mut self, id: u32, index: usize, acked: Acked) {
        let at = self.now + GUARD;
        let Some(tx) = self.tx.get_mut(id) else { return };
        let node = tx.node;
        let mut cumulative = self.nodes.get(node.0).is_some_and(|entry| entry.profile.ack_cumulative);
        if !cumulative {
            // Older ones are still in front, so the index stands for the same message.
            for message in
                tx.queue.iter_mut().take(index).filter(|message| message.progress == Progress::Sent)
            {
                // Our own nodes acknowledge a later message again only when it came again itself.
                if acked == Acked::Again && core::mem::take(&mut message.probed) {
                    tx.evidence = tx.evidence.saturating_add(1);
                }
                message.guarded = true;
                message.deadline = message.deadline.min(at);
            }
            cumulative = tx.evidence >= EVIDENCE;
        }
        if cumulative {
            tx.release_before(tx.base.wrapping_add(index as u32));
            if let Some(entry) = self.nodes.get_mut(node.0) {
                entry.profile.ack_cumulative = true;
            }
            self.enqueue(id);
        } else {
            self.timers.bring_forward(self.tx_key(id), at);
        }
    }

    /// NACK: a part of a message is missing.
    pub(crate) fn on_nack(&mut self, arrival: Arrival, header: &Header) {
        let now = self.now;
        let Some(id) = self.acked_connection(arrival, header) else { return };
        self.counters.nacks_rx += 1;
        let Some(rto) = self.tx.get(id).map(|tx| self.base_rto(tx)) else { return };
        let Some((_, message)) = self.tx.get_mut(id).and_then(|tx| tx.begun_message(header.seq)) else {
            return;
        };
        if message.progress != Progress::Sent {
            return;
        }
        let total = message.len();
        let end = match header.length {
            0 => Some(total),
            length => header.offset.checked_add(length),
        };
        // A range that makes no sense is taken for the whole message (section 28, row 8).
        let range = end.filter(|end| header.offset <= *end && *end <= total).map(|end| header.offset..end);
        let range = range.unwrap_or(0..total);
        message.rto = rto;
        message.deadline = now + rto;
        message.again = true;
        let via = message.via;
        self.timers.bring_forward(self.tx_key(id), now + rto);
        if via != arrival.link {
            // What went over one link was missed, and that is known over another: as bad as a timeout.
            self.path_timeout(id, via);
        }
        let bytes = range.end - range.start;
        if self.may_send_again(id, bytes.max(1)) {
            let link = if self.choose(id).is_some() { arrival.link } else { return };
            self.send_again(id, header.seq, range, Some(link));
        }
    }

    /// A peer may have each byte of its window sent again twice in the time between two NACKs, and no more.
    fn may_send_again(&mut self, id: u32, bytes: u32) -> bool {
        let now = self.now;
        let budget = (2 * self.options.window_bytes) as u32;
        let until = now + self.options.nack_gap;
        let Some(tx) = self.tx.get_mut(id) else { return false };
        if tx.again_until <= now {
            (tx.again_until, tx.again_budget) = (until, budget);
        }
        let left = tx.again_budget.checked_sub(bytes);
        tx.again_budget = left.unwrap_or(tx.again_budget);
        left.is_some()
    }

    fn send_again(
        &mut self,
        id: u32,
        seq: u32,
        range: core::ops::Range<u32>,
        link: Option<crate::link::LinkId>,
    ) {
        let preferred = link.filter(|link| self.candidates(id).any(|candidate| candidate == *link));
        let Some(link) = preferred.or_else(|| self.choose(id)) else { return };
        if let Some(tx) = self.tx.get_mut(id) {
            tx.last_link = link;
        }
        if let Some(link) = self.links.get_mut(link)
            && !link.push_again(Again { tx: id, seq, range })
        {
            self.counters.tx_begin_errors += 1;
        }
    }

    pub(crate) fn on_tx_timer(&mut self, id: u32) {
        let now = self.now;
        let Some(tx) = self.tx.get(id) else { return };
        match tx.state {
            TxState::Resolving => return,
            TxState::InitSent { link, tries, until } => {
                return match until <= now {
                    true => self.init_overdue(id, link, tries),
                    false => self.timers.set(self.tx_key(id), until),
                };
            }
            TxState::Up => {}
        }
        for index in 0..tx.begun {
            let due = self.tx.get(id).and_then(|tx| tx.queue.get(index));
            if due.is_some_and(|message| message.progress == Progress::Sent && message.deadline <= now)
                && !self.expired(id, index)
            {
                return;
            }
        }
        let Some(tx) = self.tx.get(id) else { return };
        if tx.stalled.is_some_and(|since| since + self.options.patience() <= now) {
            return self.tx_down(id, Errno::ENETDOWN);
        }
        let (node, idle) = (tx.node, tx.queue.is_empty());
        if tx.probe_at <= now {
            self.probe(id);
        }
        if idle && self.is_unused(id) {
            return self.close(id);
        }
        let limit = self.idle_limit(node);
        if idle && self.tx.get(id).is_some_and(|tx| tx.heard + limit <= now) {
            self.send_heartbeat(id);
        }
        let Some(tx) = self.tx.get(id) else { return };
        let next = self.next_tx_deadline(tx);
        self.timers.bring_forward(self.tx_key(id), next.max(now + Duration::from_micros(1)));
    }

    fn next_tx_deadline(&self, tx: &Tx) -> Instant {
        let sent = tx.queue.iter().take(tx.begun).filter(|message| message.progress == Progress::Sent);
        let message = sent.map(|message| message.deadline).min();
        let idle = (tx.heard + self.idle_limit(tx.node)).max(self.now + self.options.tick);
        let stalled = tx.stalled.map(|since| since + self.options.patience());
        let close = self.is_free(tx.node).then(|| tx.used + self.options.idle_close);
        let close = close.map(|at| at.max(self.now + self.options.tick));
        let all = [message, stalled, close, Some(tx.probe_at), Some(idle)];
        all.into_iter().flatten().min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Nobody answered a message in time. False when its connection went down.
    fn expired(&mut self, id: u32, index: usize) -> bool {
        let now = self.now;
        let Some(tx) = self.tx.get_mut(id) else { return false };
        let (node, in_flight) = (tx.node, tx.in_flight);
        let seq = tx.base.wrapping_add(index as u32);
        let is_heartbeat = tx.heartbeat == Some(seq);
        let Some(message) = tx.queue.get_mut(index) else { return true };
        message.rto = message.rto.saturating_mul(2).min(self.options.rto_max);
        message.deadline = now + message.rto;
        message.again = true;
        message.probed |= message.guarded;
        let (via, total, sent_at) = (message.via, message.len(), message.sent_at);
        if index == 0 {
            if tx.silent == 0 {
                tx.silent_since = now;
            }
            tx.silent += 1;
            let alive = self.nodes.get(node.0).is_some_and(|entry| entry.last_heard > sent_at);
            if is_heartbeat && alive {
                // It answers, if not heartbeats.
                tx.silent = 0;
            }
            let (silent, since) = (tx.silent, tx.silent_since);
            if silent > self.options.tx_retries {
                if in_flight > 1
                    && let Some(entry) = self.nodes.get_mut(node.0)
                {
                    entry.profile.halve_window();
                }
                // Not since the message was sent: its reply may have come, and only the ACK that was still owed not.
                self.node_failed(node.0, since);
                self.tx_down(id, Errno::ESRCH);
                return false;
            }
            if is_heartbeat && silent == 2 {
                self.send_ping(node);
            }
        }
        self.path_timeout(id, via);
        let last = self.links.get(via).or_else(|| self.links.iter().next());
        let size = last.map_or(1, |link| link.fragment_size(self.options.mtu));
        let start = total.saturating_sub(1) / size * size;
        // Where it went before while that link works; the next one in turn otherwise.
        self.send_again(id, seq, start..total, None);
        true
    }

    /// Sends the last fragment of every message that is not acknowledged, on every connection (section 7.1, point 8).
    pub fn flush_qos(&mut self, now: Instant) {
        self.now = now;
        self.link_changed(now);
        for id in self.tx_ids() {
            let Some(tx) = self.tx.get_mut(id).filter(|tx| tx.state == TxState::Up) else { continue };
            for message in tx.queue.iter_mut().filter(|message| message.progress == Progress::Sent) {
                message.deadline = now;
                // Not a timeout: the time between retransmissions starts anew.
                message.rto = self.options.rto_min;
            }
            tx.silent = 0;
            self.timers.bring_forward(self.tx_key(id), now);
        }
    }

    /// Asks a peer whether it is there, by a message without content.
    pub(crate) fn send_heartbeat(&mut self, id: u32) {
        let Some(tx) = self.tx.get_mut(id).filter(|tx| tx.state == TxState::Up && tx.queue.is_empty()) else {
            return;
        };
        let Some(message) = Outgoing::new(Layer::Seq, 63, &[], Body::EMPTY) else { return };
        let seq = tx.push(message);
        tx.heartbeat = Some(seq);
        self.enqueue(id);
    }

    /// An NR ping on the first connection to a node.
    pub(crate) fn send_ping(&mut self, node: NodeNr) {
        let Some(id) = self.nodes.get(node.0).and_then(|entry| entry.tx.first()).copied() else { return };
        let mut bytes = [0; NrMessage::MAX_LEN];
        let Ok(len) = NrMessage::PingReq.emit(&mut bytes, Endian::Little) else { return };
        let message = Outgoing::new(Layer::Nr, 63, bytes.get(..len).unwrap_or_default(), Body::EMPTY);
        if let (Some(message), Some(tx)) = (message, self.tx.get_mut(id)) {
            tx.push(message);
            self.counters.nr_ping_tx += 1;
            self.enqueue(id);
        }
    }

    /// How long a connection may be silent before the peer is asked (section 7.5).
    pub(crate) fn idle_limit(&self, node: NodeNr) -> Duration {
        let busy = self.nodes.get(node.0).is_some_and(|entry| entry.usage.waiting > 0);
        self.options.ticks(if busy { self.options.busy_idle } else { self.options.conn_up_idle })
    }

    /// Tells how much KIF has to do with a node.
    pub fn set_usage(&mut self, now: Instant, node: NodeNr, usage: Usage) {
        self.now = now;
        let Some(entry) = self.nodes.get_mut(node.0) else { return };
        if core::mem::replace(&mut entry.usage, usage) == usage {
            return;
        }
        for index in 0..entry.tx.len() {
            let Some(id) = self.nodes.get(node.0).and_then(|entry| entry.tx.get(index)).copied() else {
                break;
            };
            if usage.waiting == 0
                && usage.connections == 0
                && let Some(tx) = self.tx.get_mut(id)
            {
                tx.used = now;
            }
            if let Some(tx) = self.tx.get(id).filter(|tx| tx.state == TxState::Up) {
                let next = self.next_tx_deadline(tx);
                self.timers.bring_forward(self.tx_key(id), next);
            }
        }
    }

    /// KIF has nothing to do with a node.
    fn is_free(&self, node: NodeNr) -> bool {
        self.nodes.get(node.0).is_some_and(|entry| entry.usage == Usage::default())
    }

    fn is_unused(&self, id: u32) -> bool {
        let Some(tx) = self.tx.get(id) else { return false };
        self.is_free(tx.node) && tx.used + self.options.idle_close <= self.now
    }

    /// Closes the connection, to a node or to any, that was not used for longest and that nobody needs.
    pub(crate) fn close_unused(&mut self, node: Option<NodeNr>) -> bool {
        let unused = self.tx.iter().filter(|(_, tx)| {
            let wanted = node.is_none_or(|node| node == tx.node);
            wanted && tx.state == TxState::Up && tx.queue.is_empty() && self.is_free(tx.node)
        });
        let oldest = unused.min_by_key(|(_, tx)| tx.used).map(|(id, _)| id);
        if let Some(id) = oldest {
            self.close(id);
        }
        oldest.is_some()
    }
}
