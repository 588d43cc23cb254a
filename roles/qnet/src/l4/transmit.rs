//! Messages on their way out: queues, the window, whose turn it is, fragments (sections 7.1 and 7.4).

use super::Transport;
use super::body::Body;
use super::frames::On;
use super::links::{Again, Sent};
use super::options::{MAX_SENT, RX_WINDOW};
use super::tx::{Outgoing, Path, Progress, Tx, TxState};
use crate::link::LinkId;
use crate::sessions::{NodeNr, Qos, TxId};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::{Fragment, Kind, Layer};
use keelson_qnet_wire::names::Policy;

impl Transport {
    /// Sends a message in order behind those before on the same connection, which is opened if there is none. The
    /// number is for [`Transport::cancel`].
    pub fn send(
        &mut self,
        now: Instant,
        to: NodeNr,
        qos: Qos,
        priority: u8,
        head: &[u8],
        body: Body,
    ) -> Result<(TxId, u32), Errno> {
        self.now = now;
        self.send_layer(to, qos, priority, Layer::Kif, head, body)
    }

    pub(crate) fn send_layer(
        &mut self,
        to: NodeNr,
        qos: Qos,
        priority: u8,
        layer: Layer,
        head: &[u8],
        body: Body,
    ) -> Result<(TxId, u32), Errno> {
        if head.len() + body.len() > MAX_SENT {
            return Err(Errno::EMSGSIZE);
        }
        let message = Outgoing::new(layer, priority, head, body).ok_or(Errno::EMSGSIZE)?;
        let id = match self.find_tx(to, qos) {
            Some(id) => id,
            None => self.open(to, qos)?,
        };
        let now = self.now;
        let (queue_messages, queue_bytes) = (self.options.queue_messages, self.options.queue_bytes);
        // A connection that could not even begin has told so by an event, and is gone.
        let tx = self.tx.get_mut(id).ok_or(Errno::EHOSTDOWN)?;
        if tx.queue.len() >= queue_messages || tx.queued_bytes + message.len() as usize > queue_bytes {
            self.counters.tx_throttled += 1;
            return Err(Errno::EAGAIN);
        }
        // Signs of life are no use of a connection.
        if layer == Layer::Kif {
            tx.used = now;
        }
        let uid = tx.uid;
        let seq = tx.push(message);
        self.enqueue(id);
        Ok((uid, seq))
    }

    /// Takes a message back of which nothing was sent. Its number is sent without content, so that the peer can go on
    /// (section 6.4). False when it is too late.
    pub fn cancel(&mut self, tx: TxId, seq: u32) -> bool {
        let id = (tx.0 & u64::from(u32::MAX)) as u32;
        let Some(tx) = self.tx.get_mut(id).filter(|known| known.uid == tx) else { return false };
        let index = seq.wrapping_sub(tx.base) as usize;
        let Some(message) = tx.queue.get_mut(index) else { return false };
        if message.progress != Progress::Queued || message.layer == Layer::Seq {
            return false;
        }
        let len = message.len() as usize;
        message.layer = Layer::Seq;
        message.let_go();
        tx.queued_bytes = tx.queued_bytes.saturating_sub(len);
        true
    }

    /// Puts a connection into the list of those whose turn comes, if it may send something.
    pub(crate) fn enqueue(&mut self, id: u32) {
        let Some(tx) = self.tx.get(id).filter(|tx| tx.state == TxState::Up) else { return };
        let Some(priority) = tx.waiting.highest() else { return };
        if !self.may_send(tx) {
            return;
        }
        let link = match tx.turn.place {
            // It waits already, and as urgently.
            Some((_, known)) if priority <= known => return,
            Some((link, _)) => Some(link),
            None => self.choose(id),
        };
        let now = self.now;
        let patience = self.options.patience();
        let Some(tx) = self.tx.get_mut(id) else { return };
        let Some(link) = link else {
            let since = *tx.stalled.get_or_insert(now);
            return self.timers.bring_forward(self.tx_key(id), since + patience);
        };
        tx.stalled = None;
        tx.turn.place = Some((link, priority));
        let listed = tx.turn.listed.get_mut(usize::from(link.0));
        if let Some(listed) = listed.filter(|listed| **listed & 1 << priority == 0) {
            *listed |= 1 << priority;
            if let Some(link) = self.links.get_mut(link) {
                link.ready.push(priority, id);
            }
        }
    }

    /// Whether the window lets the next message go (section 7.1, point 1).
    fn may_send(&self, tx: &Tx) -> bool {
        let index = tx.next_index();
        let Some(message) = tx.queue.get(index) else { return false };
        if matches!(message.progress, Progress::Sending(_)) {
            return true;
        }
        let profile = self.nodes.get(tx.node.0).map(|entry| &entry.profile);
        let window = profile.map_or(1, |profile| profile.window(self.options.window_messages));
        let bytes = tx.in_flight_bytes + message.len() as usize;
        tx.in_flight < window
            && index < RX_WINDOW as usize
            && (tx.in_flight == 0 || bytes <= self.options.window_bytes)
    }

    /// Sends what waits for a link as long as it has room. True when something still waits, and the link is up.
    pub(crate) fn pump(&mut self, link: LinkId) -> bool {
        let Some(port) = self.links.get_mut(link) else { return false };
        if !port.is_up() {
            return false;
        }
        let (sent, refused) = port.drain();
        self.counters.txd_ok += sent;
        self.counters.tx_begin_errors += refused;
        while let Some(port) = self.links.get_mut(link).filter(|link| link.port.room() > 0) {
            let next = port.again.pop_front();
            let done = match next {
                Some(again) => self.transmit_again(link, again),
                None => match port.ready.pop() {
                    Some((priority, id)) => self.take_turn(link, priority, id),
                    None => break,
                },
            };
            if !done {
                break;
            }
        }
        self.links.get(link).is_some_and(|link| link.is_waiting())
    }

    /// A connection sends its next message. False when the link's room ended before.
    fn take_turn(&mut self, link: LinkId, priority: u8, id: u32) -> bool {
        let Some(tx) = self.tx.get_mut(id) else { return true };
        if let Some(listed) = tx.turn.listed.get_mut(usize::from(link.0)) {
            *listed &= !(1 << priority);
        }
        if tx.turn.place != Some((link, priority)) {
            // It waits elsewhere by now.
            return true;
        }
        let done = self.transmit(id, link);
        let Some(tx) = self.tx.get_mut(id) else { return done };
        if done {
            tx.turn.place = None;
            self.enqueue(id);
            return true;
        }
        if let Some(listed) = tx.turn.listed.get_mut(usize::from(link.0)) {
            *listed |= 1 << priority;
        }
        if let Some(link) = self.links.get_mut(link) {
            link.ready.push_front(priority, id);
        }
        false
    }

    /// Sends the next message of a connection, or what is left of it.
    fn transmit(&mut self, id: u32, link: LinkId) -> bool {
        let Some(size) = self.links.get(link).map(|link| link.fragment_size(self.options.mtu)) else {
            return true;
        };
        let Some(tx) = self.tx.get(id) else { return true };
        let index = tx.next_index();
        if !self.may_send(tx) {
            self.counters.tx_throttled += 1;
            return true;
        }
        let Some(tx) = self.tx.get_mut(id) else { return true };
        let Some(message) = tx.queue.get_mut(index) else { return true };
        let total = message.len();
        if message.progress == Progress::Queued {
            message.progress = Progress::Sending(0);
            tx.begun = index + 1;
            tx.in_flight += 1;
            tx.in_flight_bytes += total as usize;
        }
        loop {
            let message = self.tx.get(id).and_then(|tx| tx.queue.get(index));
            let Some(Progress::Sending(start)) = message.map(|message| message.progress) else { return true };
            let end = start.saturating_add(size).min(total);
            let fragment = Fragment { start, end, last: end == total };
            match self.send_fragment(id, index, link, fragment) {
                Sent::NoRoom => return false,
                Sent::Refused => self.counters.txd_bad += 1,
                Sent::Yes => self.counters.txd_ok += 1,
            }
            let message = self.tx.get_mut(id).and_then(|tx| tx.queue.get_mut(index));
            if let Some(message) = message {
                message.progress = Progress::Sending(end);
            }
            if fragment.last {
                self.all_sent(id, index, link);
                return true;
            }
        }
    }

    /// The last fragment of a message went out for the first time: its timer starts.
    fn all_sent(&mut self, id: u32, index: usize, link: LinkId) {
        let now = self.now;
        let Some(rto) = self.tx.get(id).map(|tx| self.base_rto(tx)) else { return };
        let Some(tx) = self.tx.get_mut(id) else { return };
        tx.last_link = link;
        let Some(message) = tx.queue.get_mut(index) else { return };
        message.progress = Progress::Sent;
        message.via = link;
        message.sent_at = now;
        message.rto = rto;
        message.deadline = now + rto;
        let priority = message.priority;
        tx.waiting.remove(priority);
        self.timers.bring_forward(self.tx_key(id), now + rto);
    }

    /// Time to the first retransmission (section 7.1, point 3).
    pub(crate) fn base_rto(&self, tx: &Tx) -> Duration {
        let options = &self.options;
        match (options.tx_ticks, tx.srtt) {
            (Some(ticks), _) => options.ticks(ticks.max(1)),
            (None, None) => options.rto_first,
            (None, Some(srtt)) => (srtt * 4).clamp(options.rto_min, options.rto_ceiling),
        }
    }

    /// Sends fragments of a message again. False when the link's room ended before.
    fn transmit_again(&mut self, link: LinkId, again: Again) -> bool {
        let Some(size) = self.links.get(link).map(|link| link.fragment_size(self.options.mtu)) else {
            return true;
        };
        let Some(tx) = self.tx.get_mut(again.tx) else { return true };
        let Some((index, message)) = tx.begun_message(again.seq) else { return true };
        if message.progress != Progress::Sent {
            return true;
        }
        message.via = link;
        let total = message.len();
        let mut start = again.range.start.min(total);
        loop {
            let end = start.saturating_add(size).min(again.range.end).min(total);
            let fragment = Fragment { start, end, last: end == total };
            match self.send_fragment(again.tx, index, link, fragment) {
                Sent::NoRoom => {
                    if let Some(link) = self.links.get_mut(link) {
                        link.again.push_front(Again { range: start..again.range.end, ..again });
                    }
                    return false;
                }
                Sent::Refused => self.counters.txd_bad += 1,
                Sent::Yes => {
                    self.counters.txd_ok += 1;
                    self.counters.retransmits += 1;
                }
            }
            start = end;
            if start >= again.range.end.min(total) {
                return true;
            }
        }
    }

    /// Sends one fragment; with the redundant policy over every other working link as well.
    fn send_fragment(&mut self, id: u32, index: usize, link: LinkId, fragment: Fragment) -> Sent {
        let Some(tx) = self.tx.get(id) else { return Sent::Refused };
        let Some(message) = tx.queue.get(index) else { return Sent::Refused };
        let Some(entry) = self.nodes.get(tx.node.0) else { return Sent::Refused };
        let seq = tx.base.wrapping_add(index as u32);
        let (qos_type, qos_idx) = (tx.qos.policy.to_wire(), tx.qos.index);
        let on = On { src: id, dst: tx.remote, seq, qos_type, qos_idx };
        let mut header = self.header(Kind::User, tx.node.0, on);
        header.flags = fragment.flags();
        header.layer = message.layer;
        header.offset = fragment.start;
        header.length = fragment.len();
        let parts = message.part(fragment.start, fragment.end);
        if self.options.do_crc {
            header.seal(&parts);
        }
        let first = self.links.get_mut(link).map(|port| port.send(entry.address(link), &header, &parts));
        if tx.qos.policy == Policy::Redundant && first == Some(Sent::Yes) {
            for port in self.links.iter_mut().filter(|port| port.id != link) {
                if matches!(tx.path(port.id), Path::Up { .. }) && entry.address(port.id).is_some() {
                    let sent = port.send(entry.address(port.id), &header, &parts);
                    self.counters.txd_ok += u64::from(sent == Sent::Yes);
                }
            }
        }
        first.unwrap_or(Sent::Refused)
    }

    pub(crate) fn tx_ids(&self) -> alloc::vec::Vec<u32> {
        self.tx.iter().map(|(id, _)| id).collect()
    }

    pub(crate) fn rx_ids(&self) -> alloc::vec::Vec<u32> {
        self.rx.iter().map(|(id, _)| id).collect()
    }
}
