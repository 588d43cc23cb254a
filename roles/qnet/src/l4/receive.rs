//! Messages that arrive: reassembly, order, delivery (section 7.2).

use super::options::RX_WINDOW;
use super::pool::RxMessage;
use super::ranges::Ranges;
use super::rx::{Assembly, Rx};
use super::{Arrival, Transport};
use crate::sessions::{NodeNr, RxId, SessionEvent};
use keelson_qnet_wire::l4::{Fragment, FragmentError, Layer, Packet};

/// Messages that may be delivered and not taken on one connection: then nothing more is acknowledged.
const MAX_UNTAKEN: u32 = RX_WINDOW;

/// What to do with a fragment.
enum Stored {
    Yes,
    /// It was there already.
    Duplicate,
    /// It contradicts what came before.
    Bad,
    /// There is no memory for it.
    NoMemory,
}

impl Transport {
    /// USER: a fragment of a message.
    pub(crate) fn on_user(&mut self, arrival: Arrival, packet: &Packet) {
        let header = &packet.header;
        let id = header.dst_conn_id;
        let Some(node) = self.rx_owner(id, arrival, header) else {
            self.counters.pkts_rxd_no_l4 += 1;
            return self.refuse(arrival, header);
        };
        self.heard(node, header);
        self.rx_up(id);
        let fragment = match header.fragment(self.options.max_msg) {
            Ok(fragment) => fragment,
            Err(FragmentError::TooBig { .. }) => {
                self.counters.rx_too_big += 1;
                self.refuse_rx(id);
                return self.rx_down(id);
            }
            Err(FragmentError::FirstAt(_) | FragmentError::NotFirst) => {
                self.counters.rxd_bad_l4 += 1;
                return;
            }
        };
        let Some(rx) = self.rx.get_mut(id) else { return };
        (rx.link, rx.address) = (arrival.link, arrival.from);
        if !rx.begun {
            rx.begun = true;
            // Some peers may number their first message as their TCS_INIT (section 6.4).
            if header.seq == rx.isn {
                rx.expected = header.seq;
                if let Some(entry) = self.nodes.get_mut(node.0) {
                    entry.profile.first_is_isn = true;
                }
            }
        }
        let distance = header.seq.wrapping_sub(rx.expected);
        if distance as i32 > 0 {
            self.counters.rx_seq_order += 1;
        }
        if (distance as i32) < 0 {
            self.counters.dup_rx += 1;
            self.came_early(id, header);
            if fragment.last {
                self.acknowledge(id, header.seq, header.layer);
            }
        } else if distance >= RX_WINDOW {
            self.counters.rx_window += 1;
        } else if rx.untaken >= MAX_UNTAKEN {
            self.counters.rx_no_memory += 1;
        } else if distance == 0 && fragment.start == 0 && fragment.last && rx.span == 0 {
            self.deliver_frame(id, node, packet);
        } else {
            self.collect(id, node, packet, fragment);
        }
    }

    /// A message that is one frame, and next: the most frequent case.
    fn deliver_frame(&mut self, id: u32, node: NodeNr, packet: &Packet) {
        let header = &packet.header;
        if header.layer == Layer::Kif {
            let Some(room) = self.pool.room_for(packet.payload.len()) else { return };
            if !self.charge(id, room) {
                self.counters.rx_no_memory += 1;
                return;
            }
            let Some(mut buffer) = self.pool.take(packet.payload.len()) else { return };
            if let Some(bytes) = buffer.bytes_mut().get_mut(..packet.payload.len()) {
                bytes.copy_from_slice(packet.payload);
            }
            let message = RxMessage { buffer, len: packet.payload.len(), endian: header.endian };
            self.hand_up(id, node, message);
        }
        self.next_expected(id);
        self.acknowledge_frame(id, header.seq, header.layer, packet.payload.len());
        if header.layer == Layer::Nr {
            self.on_nr(node, packet.payload, header.endian);
        }
    }

    /// A fragment of a message that is not whole, or not next.
    fn collect(&mut self, id: u32, node: NodeNr, packet: &Packet, fragment: Fragment) {
        let header = &packet.header;
        match self.store(id, packet, fragment) {
            Stored::Yes => {}
            Stored::Duplicate => {
                self.counters.dup_rx += 1;
                self.came_early(id, header);
                return;
            }
            Stored::Bad => {
                self.counters.rxd_bad_l4 += 1;
                return;
            }
            Stored::NoMemory => {
                self.counters.rx_no_memory += 1;
                return;
            }
        }
        while self.rx.get(id).is_some_and(|rx| rx.front_is_whole() && rx.untaken < MAX_UNTAKEN) {
            self.deliver_front(id, node);
        }
        self.watch_gap(id);
    }

    fn store(&mut self, id: u32, packet: &Packet, fragment: Fragment) -> Stored {
        let header = &packet.header;
        let (seq, end) = (header.seq, fragment.end as usize);
        let limit = self.options.rx_bytes;
        let Some(rx) = self.rx.get_mut(id) else { return Stored::Bad };
        // Guessing costs memory; with little left there is no guessing.
        let usual = if rx.held < limit / 2 { rx.usual } else { 0 };
        let Some(slot) = rx.slot_mut(seq) else { return Stored::Bad };
        let known = slot.assembly.as_ref().map(|assembly| assembly.buffer.room());
        if let Some(assembly) = &slot.assembly {
            // The end stays where it is, and nothing lies behind it.
            let moved = assembly
                .end
                .is_some_and(|known| fragment.end > known || fragment.last && fragment.end != known);
            let behind = fragment.last && assembly.ranges.end() > fragment.end;
            if moved || behind || assembly.layer != header.layer {
                return Stored::Bad;
            }
        }
        if known.is_none_or(|room| room < end) {
            // A message of several fragments is probably as long as the one before it.
            let wanted = if fragment.last { end } else { end.max(usual) };
            let (Some(room), old) = (self.pool.room_for(wanted), known.unwrap_or(0)) else {
                return Stored::NoMemory;
            };
            if !self.charge_for(id, seq, room) {
                return Stored::NoMemory;
            }
            let Some(mut buffer) = self.pool.take(wanted) else { return Stored::NoMemory };
            let Some(slot) = self.rx.get_mut(id).and_then(|rx| rx.slot_mut(seq)) else { return Stored::Bad };
            match &mut slot.assembly {
                Some(assembly) => {
                    let arrived = assembly.ranges.end() as usize;
                    let bytes = assembly.buffer.bytes().get(..arrived).unwrap_or_default();
                    if let Some(room) = buffer.bytes_mut().get_mut(..bytes.len()) {
                        room.copy_from_slice(bytes);
                    }
                    assembly.buffer = buffer;
                }
                none => {
                    let (layer, endian) = (header.layer, header.endian);
                    *none = Some(Assembly { buffer, ranges: Ranges::default(), end: None, layer, endian });
                }
            }
            self.discharge(id, old);
        }
        let Some(rx) = self.rx.get_mut(id) else { return Stored::Bad };
        rx.span = rx.span.max(seq.wrapping_sub(rx.expected).wrapping_add(1));
        let Some(assembly) = rx.slot_mut(seq).and_then(|slot| slot.assembly.as_mut()) else {
            return Stored::Bad;
        };
        let said_end = fragment.last && assembly.end.replace(fragment.end).is_none();
        let (buffer, mut filled) = (assembly.buffer.bytes_mut(), false);
        let added = assembly.ranges.add(fragment.start..fragment.end, |part| {
            let from = (part.start - fragment.start) as usize..(part.end - fragment.start) as usize;
            let bytes = packet.payload.get(from);
            if let (Some(bytes), Some(room)) = (bytes, buffer.get_mut(part.start as usize..part.end as usize))
            {
                room.copy_from_slice(bytes);
                filled = true;
            }
        });
        match (added, filled || said_end) {
            (false, _) => Stored::NoMemory,
            (true, true) => Stored::Yes,
            (true, false) => Stored::Duplicate,
        }
    }

    fn deliver_front(&mut self, id: u32, node: NodeNr) {
        let Some(rx) = self.rx.get_mut(id) else { return };
        let seq = rx.expected;
        let Some(assembly) = rx.slot_mut(seq).and_then(|slot| slot.assembly.take()) else { return };
        let len = assembly.end.unwrap_or(0) as usize;
        rx.usual = len;
        let Assembly { buffer, layer, endian, .. } = assembly;
        let message = RxMessage { buffer, len, endian };
        self.next_expected(id);
        self.acknowledge(id, seq, layer);
        if layer == Layer::Kif {
            return self.hand_up(id, node, message);
        }
        self.discharge(id, message.buffer.room());
        if layer == Layer::Nr {
            self.on_nr(node, message.bytes(), endian);
        }
    }

    fn hand_up(&mut self, id: u32, node: NodeNr, message: RxMessage) {
        let Some(rx) = self.rx.get_mut(id) else { return };
        rx.untaken += 1;
        let event = SessionEvent::Message { from: node, rx: rx.uid, message };
        self.events.push_back(event);
    }

    fn next_expected(&mut self, id: u32) {
        let base = self.options.reorder_delay;
        let Some(rx) = self.rx.get_mut(id) else { return };
        rx.expected = rx.expected.wrapping_add(1);
        rx.span = rx.span.saturating_sub(1);
        rx.since_early += 1;
        if rx.since_early >= 256 && rx.reorder > base {
            rx.since_early = 0;
            rx.reorder = base.max(rx.reorder * 7 / 8);
        }
    }

    /// An event was taken: its message does not count any more.
    pub(crate) fn taken(&mut self, rx: RxId, room: usize) {
        let id = (rx.0 & u64::from(u32::MAX)) as u32;
        let Some(known) = self.rx.get_mut(id).filter(|known| known.uid == rx) else { return };
        known.untaken = known.untaken.saturating_sub(1);
        self.discharge(id, room);
    }

    /// Lets a connection hold `room` more bytes, if it may.
    fn charge(&mut self, id: u32, room: usize) -> bool {
        let (limit, common) = (self.options.rx_bytes, self.options.rx_common);
        let own = self.options.max_msg as usize;
        let Some(rx) = self.rx.get_mut(id) else { return false };
        let held = rx.held.saturating_add(room);
        let beyond = held.saturating_sub(own) - rx.held.saturating_sub(own);
        if held > limit.max(own) || self.rx_common + beyond > common {
            return false;
        }
        rx.held = held;
        self.rx_common += beyond;
        true
    }

    /// The same; what belongs to later messages makes room, the latest first.
    fn charge_for(&mut self, id: u32, seq: u32, room: usize) -> bool {
        loop {
            if self.charge(id, room) {
                return true;
            }
            let Some(rx) = self.rx.get_mut(id) else { return false };
            let last = rx.expected.wrapping_add(rx.span).wrapping_sub(1);
            if rx.span == 0 || seq.wrapping_sub(rx.expected) >= rx.span.saturating_sub(1) {
                return false;
            }
            rx.span -= 1;
            let dropped = rx.slot_mut(last).and_then(|slot| slot.assembly.take());
            if let Some(assembly) = dropped {
                self.counters.rx_no_memory += 1;
                self.discharge(id, assembly.buffer.room());
            }
        }
    }

    /// A connection holds `room` bytes less.
    pub(crate) fn discharge(&mut self, id: u32, room: usize) {
        let own = self.options.max_msg as usize;
        let Some(rx) = self.rx.get_mut(id) else { return };
        let held = rx.held.saturating_sub(room);
        self.rx_common -= self.rx_common.min(rx.held.saturating_sub(own) - held.saturating_sub(own));
        rx.held = held;
    }

    /// Gives back all that a connection that ended held.
    pub(crate) fn discharge_all(&mut self, rx: &Rx) {
        let beyond = rx.held.saturating_sub(self.options.max_msg as usize);
        self.rx_common = self.rx_common.saturating_sub(beyond);
    }
}
