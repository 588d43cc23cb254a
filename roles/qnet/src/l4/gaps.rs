//! Asking for what is missing (section 7.2, point 4).
//!
//! Something is missing when a later message came, or the end of a message without all of it. It may only have been
//! overtaken, so it is asked for after a delay. Where it then comes by itself as well, the delay was too short: it grows
//! on that connection, and shrinks again slowly.

use super::Transport;
use super::frames::On;
use super::rx::Rx;
use core::time::Duration;
use keelson_qnet_wire::l4::{Flags, Header, Kind};

/// A fragment that comes twice so soon after it was asked for had only been overtaken.
const EARLY: Duration = Duration::from_millis(100);
/// Holes of one message asked for at a time.
const MAX_HOLES: usize = 8;

impl Transport {
    /// Looks whether something is missing now.
    pub(crate) fn watch_gap(&mut self, id: u32) {
        let now = self.now;
        let Some(rx) = self.rx.get_mut(id) else { return };
        if !rx.has_gap() {
            rx.gap_at = None;
        } else if rx.gap_at.is_none() {
            let at = now + rx.reorder;
            set_limit(rx);
            rx.gap_at = Some(at);
            self.timers.bring_forward(self.rx_key(id), at);
        }
    }

    /// The delay is over: NACKs for what was missing when it began and still is.
    pub(crate) fn ask_for_missing(&mut self, id: u32) {
        let Some(rx) = self.rx.get(id) else { return };
        let (first, limit, ended) = (rx.expected, rx.gap_limit, rx.gap_limit_ended);
        let count = limit.wrapping_sub(first).wrapping_add(u32::from(ended)) as i32;
        for distance in 0..count.clamp(0, rx.span as i32) as u32 {
            self.nack(id, first.wrapping_add(distance), first.wrapping_add(distance) != limit);
        }
        let now = self.now;
        let Some(rx) = self.rx.get_mut(id) else { return };
        rx.gap_at = None;
        if rx.has_gap() {
            let at = now + rx.reorder;
            set_limit(rx);
            rx.gap_at = Some(at);
        }
    }

    /// NACKs for the holes of one message, of which more must have been sent than came if it is `finished`.
    fn nack(&mut self, id: u32, seq: u32, finished: bool) {
        let now = self.now;
        let gap = self.options.nack_gap;
        let Some(rx) = self.rx.get_mut(id) else { return };
        let (link, to) = (rx.link, rx.address);
        let Some(slot) = rx.slot_mut(seq) else { return };
        if slot.assembly.as_ref().is_some_and(|assembly| assembly.is_whole())
            || slot.nacked.is_some_and(|(known, at)| known == seq && now - at < gap)
        {
            return;
        }
        slot.nacked = Some((seq, now));
        // First missing byte and number of them; 0 stands for "to the end".
        let mut holes = [(0, 0); MAX_HOLES];
        let mut count = 1;
        if let Some(assembly) = &slot.assembly {
            let known = assembly.end.unwrap_or(assembly.ranges.end());
            let inner = assembly.ranges.holes(known).map(|hole| (hole.start, hole.end - hole.start));
            let tail = (assembly.end.is_none() && finished).then_some((known, 0));
            count = 0;
            for (place, hole) in holes.iter_mut().zip(inner.chain(tail)) {
                *place = hole;
                count += 1;
            }
        }
        for (offset, length) in holes.into_iter().take(count) {
            let Some(rx) = self.rx.get(id) else { return };
            let on = On { src: id, dst: rx.remote, seq, qos_type: rx.qos_type, qos_idx: rx.qos_idx };
            let header = self.header(Kind::Nack, rx.node.0, on);
            self.counters.nacks_tx += 1;
            self.send_ack(link, to, Header { offset, length, flags: Flags::NONE, ..header });
        }
    }

    /// A fragment came that was there already. If it had been asked for just now, that was too early.
    pub(crate) fn came_early(&mut self, id: u32, header: &Header) {
        let now = self.now;
        let longest = self.options.reorder_delay * 4;
        let Some(rx) = self.rx.get_mut(id) else { return };
        let nacked = rx.slot(header.seq).and_then(|slot| slot.nacked);
        let early = nacked.is_some_and(|(seq, at)| seq == header.seq && now - at < EARLY);
        // A last fragment alone is a probe.
        let probe = header.flags.contains(Flags::LAST) && !header.flags.contains(Flags::FIRST);
        if early && !probe {
            rx.reorder = (rx.reorder * 3 / 2).min(longest);
            rx.since_early = 0;
            if let Some(slot) = rx.slot_mut(header.seq) {
                slot.nacked = None;
            }
        }
    }
}

/// Remembers what has come by now: only what precedes it can be missing.
fn set_limit(rx: &mut Rx) {
    rx.gap_limit = rx.expected.wrapping_add(rx.span).wrapping_sub(1);
    let last = rx.slot(rx.gap_limit).and_then(|slot| slot.assembly.as_ref());
    rx.gap_limit_ended = last.is_some_and(|last| last.end.is_some());
}
