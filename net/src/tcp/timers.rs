//! Deadlines of connections: a binary heap that knows where each connection stands in it, so that moving a
//! deadline costs a logarithm and no memory, and leaves nothing stale behind.

use alloc::vec::Vec;
use keelson_hal::Instant;

const NOWHERE: usize = usize::MAX;

/// At most one deadline for each slot number.
#[derive(Default)]
pub(crate) struct TimerHeap {
    heap: Vec<(Instant, usize)>,
    /// Place in `heap` of each slot.
    place: Vec<usize>,
}

impl TimerHeap {
    /// Makes room for `slots` slots: [`TimerHeap::set`] then never allocates.
    pub fn reserve(&mut self, slots: usize) {
        self.heap.reserve(slots.saturating_sub(self.heap.len()));
        if self.place.len() < slots {
            self.place.resize(slots, NOWHERE);
        }
    }

    /// Sets, moves or removes the deadline of `slot`.
    pub fn set(&mut self, slot: usize, deadline: Option<Instant>) {
        let Some(&place) = self.place.get(slot) else { return };
        match (place, deadline) {
            (NOWHERE, None) => {}
            (NOWHERE, Some(deadline)) => {
                self.heap.push((deadline, slot));
                self.place[slot] = self.heap.len() - 1;
                self.rise(self.heap.len() - 1);
            }
            (place, Some(deadline)) => {
                self.heap[place].0 = deadline;
                self.rise(place);
                self.sink(self.place[slot]);
            }
            (place, None) => self.remove(place),
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Removes one slot whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let (_, slot) = *self.heap.first().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(0);
        Some(slot)
    }

    fn remove(&mut self, place: usize) {
        let last = self.heap.len() - 1;
        self.swap(place, last);
        if let Some((_, slot)) = self.heap.pop() {
            self.place[slot] = NOWHERE;
        }
        if place < self.heap.len() {
            let slot = self.heap[place].1;
            self.rise(place);
            self.sink(self.place[slot]);
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.heap[at] < self.heap[(at - 1) / 2] {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let right = left + 1;
            if left >= self.heap.len() {
                return;
            }
            let child =
                if right < self.heap.len() && self.heap[right] < self.heap[left] { right } else { left };
            if self.heap[at] <= self.heap[child] {
                return;
            }
            self.swap(at, child);
            at = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a].1] = a;
        self.place[self.heap[b].1] = b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(steps in prop::collection::vec((0usize..20, prop::option::of(0u64..50)), 0..300)) {
            let mut heap = TimerHeap::default();
            heap.reserve(20);
            let mut model = BTreeMap::new();
            for (slot, deadline) in steps {
                let deadline = deadline.map(Instant::from_nanos);
                heap.set(slot, deadline);
                match deadline { Some(d) => model.insert(slot, d), None => model.remove(&slot) };
                prop_assert_eq!(heap.next(), model.values().min().copied());
            }
            let mut last = Instant::ZERO;
            while let Some(slot) = heap.pop_due(Instant::from_nanos(100)) {
                let deadline = model.remove(&slot).unwrap();
                prop_assert!(deadline >= last);
                last = deadline;
            }
            prop_assert!(model.is_empty());
        }
    }
}
