//! A transport made worse on purpose: loss, duplication, reordering, damage, delay (section 26). Dice come from a seed, so
//! that the same frames meet the same fate.

use super::Transport;
use keelson_exec::sync::Notify;
use keelson_hal::{Clock, Instant};
use keelson_qnet::link::LinkAddress;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

/// A frame that others overtake waits between these times longer.
const HELD: (u64, u64) = (500_000, 3_000_000);

/// Frames that may be under way in one direction; more are lost.
const UNDER_WAY: usize = 8192;

/// How frames are treated, in each direction. Probabilities are between 0 and 1.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Impairment {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplicate: f64,
    /// Probability that it is held back by 0.5 to 3 ms, so that later ones overtake it.
    pub reorder: f64,
    /// Probability that one bit of it is flipped.
    pub corrupt: f64,
    /// Time that every frame is under way.
    pub delay: Duration,
}

impl Impairment {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Impairment::default()
    }
}

/// What became of frames.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Judged {
    /// All that came.
    pub frames: u64,
    /// Lost.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Damaged.
    pub corrupted: u64,
}

/// SplitMix64: small, and good enough for dice.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.next() % (high - low)
    }
}

/// A frame under way: by when it arrives, then by when it was sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    due: Instant,
    number: u64,
    frame: Vec<u8>,
}

/// One direction.
struct Lane {
    rule: Impairment,
    dice: Dice,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    number: u64,
    judged: Judged,
}

impl Lane {
    fn new(rule: Impairment, seed: u64) -> Lane {
        Lane { rule, dice: Dice(seed), under_way: BinaryHeap::new(), number: 0, judged: Judged::default() }
    }

    /// Decides about a frame.
    fn enter(&mut self, now: Instant, frame: &[u8]) {
        self.judged.frames += 1;
        // Every frame throws the same dice, so that one rule does not change what another one does.
        let lost = self.dice.chance(self.rule.loss);
        let twice = self.dice.chance(self.rule.duplicate);
        let held = self.dice.chance(self.rule.reorder);
        let damaged = self.dice.chance(self.rule.corrupt);
        let (wait, bit) = (self.dice.between(HELD), self.dice.next());
        if lost || self.under_way.len() >= UNDER_WAY {
            self.judged.lost += 1;
            return;
        }
        let mut due = now + self.rule.delay;
        if held {
            self.judged.reordered += 1;
            due += Duration::from_nanos(wait);
        }
        let mut frame = frame.to_vec();
        if damaged && !frame.is_empty() {
            self.judged.corrupted += 1;
            let bit = (bit % (frame.len() as u64 * 8)) as usize;
            if let Some(byte) = frame.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        if twice {
            self.judged.duplicated += 1;
            self.push(due, frame.clone());
        }
        self.push(due, frame);
    }

    fn push(&mut self, due: Instant, frame: Vec<u8>) {
        self.number += 1;
        self.under_way.push(Reverse(UnderWay { due, number: self.number, frame }));
    }

    /// A frame that has arrived.
    fn leave(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.under_way.peek()?.0.due > now {
            return None;
        }
        self.under_way.pop().map(|Reverse(under_way)| under_way.frame)
    }

    fn next_due(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(under_way)| under_way.due)
    }
}

/// A transport with a bad cable.
pub struct Impaired {
    inner: Rc<dyn Transport>,
    clock: Rc<dyn Clock>,
    outward: RefCell<Lane>,
    inward: RefCell<Lane>,
    changed: Rc<Notify>,
    /// What the inner transport did not take.
    refused: Cell<Option<Vec<u8>>>,
}

impl Impaired {
    /// Impairs both directions, with different dice.
    pub fn new(inner: Rc<dyn Transport>, clock: Rc<dyn Clock>, rule: Impairment, seed: u64) -> Impaired {
        let (outward, inward) = (Lane::new(rule, seed), Lane::new(rule, !seed));
        let changed = inner.changed();
        Impaired {
            inner,
            clock,
            outward: RefCell::new(outward),
            inward: RefCell::new(inward),
            changed,
            refused: Cell::new(None),
        }
    }

    /// What became of frames out and in.
    pub fn judged(&self) -> (Judged, Judged) {
        (self.outward.borrow().judged, self.inward.borrow().judged)
    }

    /// Sends what is due.
    fn deliver_outward(&self) {
        let now = self.clock.now();
        loop {
            let frame = self.refused.take().or_else(|| self.outward.borrow_mut().leave(now));
            let Some(frame) = frame else { break };
            if !self.inner.send(&frame) {
                self.refused.set(Some(frame));
                break;
            }
        }
        self.inner.flush();
    }
}

impl Transport for Impaired {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn address(&self) -> LinkAddress {
        self.inner.address()
    }

    fn mtu(&self) -> usize {
        self.inner.mtu()
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn send(&self, frame: &[u8]) -> bool {
        if self.inner.room() == 0 {
            return false;
        }
        self.outward.borrow_mut().enter(self.clock.now(), frame);
        // The deadline may be another one now.
        self.changed.notify();
        true
    }

    fn flush(&self) {
        self.deliver_outward();
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        self.deliver_outward();
        let now = self.clock.now();
        self.inner.receive(budget, &mut |frame| self.inward.borrow_mut().enter(now, frame));
        let mut count = 0;
        while count < budget {
            let Some(frame) = self.inward.borrow_mut().leave(now) else { break };
            sink(&frame);
            count += 1;
        }
        count
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    fn deadline(&self) -> Option<Instant> {
        let retry = {
            let refused = self.refused.take();
            let waits = refused.is_some();
            self.refused.set(refused);
            waits.then(|| self.clock.now() + Duration::from_millis(1))
        };
        let due = [self.outward.borrow().next_due(), self.inward.borrow().next_due()];
        due.into_iter().flatten().chain(self.inner.deadline()).chain(retry).min()
    }

    fn has_ended(&self) -> bool {
        self.inner.has_ended() && self.inward.borrow().under_way.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of frames 0, 1, 2, ... that are sent every 100 us.
    fn arrivals(rule: Impairment, seed: u64, count: u32) -> (Vec<u32>, Judged) {
        let mut lane = Lane::new(rule, seed);
        let mut seen = Vec::new();
        let mut now = Instant::ZERO;
        let mut take = |lane: &mut Lane, now| {
            while let Some(frame) = lane.leave(now) {
                seen.push(u32::from_le_bytes(frame.try_into().unwrap()));
            }
        };
        for number in 0..count {
            lane.enter(now, &number.to_le_bytes());
            take(&mut lane, now);
            now += Duration::from_micros(100);
        }
        take(&mut lane, now + Duration::from_secs(1));
        (seen, lane.judged)
    }

    #[test]
    fn a_good_cable_changes_nothing() {
        assert_eq!(arrivals(Impairment::default(), 1, 50).0, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn loss_and_duplication_follow_the_seed() {
        let rule = Impairment { loss: 0.2, duplicate: 0.1, ..Impairment::default() };
        let (seen, judged) = arrivals(rule, 7, 10_000);
        assert!((1800..2200).contains(&judged.lost), "{judged:?}");
        assert!((700..900).contains(&judged.duplicated), "{judged:?}");
        assert_eq!(seen.len() as u64, judged.frames - judged.lost + judged.duplicated);
        assert_eq!(arrivals(rule, 7, 10_000).0, seen);
        assert_ne!(arrivals(rule, 8, 10_000).0, seen);
    }

    #[test]
    fn reordering_keeps_every_frame() {
        let rule = Impairment { reorder: 0.1, ..Impairment::default() };
        let (mut seen, judged) = arrivals(rule, 3, 1000);
        assert!(!seen.is_sorted() && judged.reordered > 50);
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn damage_is_one_bit() {
        let mut lane = Lane::new(Impairment { corrupt: 1.0, ..Impairment::default() }, 5);
        lane.enter(Instant::ZERO, &[0; 100]);
        let frame = lane.leave(Instant::ZERO).unwrap();
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }

    #[test]
    fn delay() {
        let mut lane = Lane::new(Impairment { delay: Duration::from_millis(5), ..Impairment::default() }, 5);
        lane.enter(Instant::ZERO, b"x");
        assert_eq!(lane.next_due(), Some(Instant::from_nanos(5_000_000)));
        assert_eq!(lane.leave(Instant::from_nanos(4_999_999)), None);
        assert!(lane.leave(Instant::from_nanos(5_000_000)).is_some());
    }
}
