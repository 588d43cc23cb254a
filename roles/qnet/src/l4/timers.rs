//! Deadlines: one for each of a fixed number of keys, the earliest first.
//!
//! A binary heap that knows where each key lies, so that moving a deadline costs no more than the logarithm of those
//! set, and none is ever in it twice.

use alloc::vec;
use alloc::vec::Vec;
use keelson_hal::Instant;

/// Not in the heap.
const NOWHERE: usize = usize::MAX;

/// The deadlines.
pub struct Timers {
    heap: Vec<(Instant, usize)>,
    /// Where each key lies in the heap.
    places: Vec<usize>,
}

impl Timers {
    /// For keys below `keys`, none of them set.
    pub fn new(keys: usize) -> Timers {
        Timers { heap: Vec::with_capacity(keys), places: vec![NOWHERE; keys] }
    }

    /// Sets a deadline, unless an earlier one is set.
    pub fn bring_forward(&mut self, key: usize, at: Instant) {
        let place = self.places.get(key).copied().unwrap_or(NOWHERE);
        if self.heap.get(place).is_none_or(|(set, _)| at < *set) {
            self.set(key, at);
        }
    }

    /// Sets a deadline, whatever was set.
    pub fn set(&mut self, key: usize, at: Instant) {
        if at == Instant::FAR_FUTURE {
            return self.clear(key);
        }
        let Some(place) = self.places.get(key).copied() else { return };
        let place = match self.heap.get_mut(place) {
            Some(entry) => {
                entry.0 = at;
                place
            }
            None => {
                self.heap.push((at, key));
                self.put_place(self.heap.len() - 1);
                self.heap.len() - 1
            }
        };
        let place = self.sift_up(place);
        self.sift_down(place);
    }

    /// Takes a deadline back.
    pub fn clear(&mut self, key: usize) {
        let Some(place) = self.places.get(key).copied().filter(|place| *place < self.heap.len()) else {
            return;
        };
        self.heap.swap_remove(place);
        if let Some(slot) = self.places.get_mut(key) {
            *slot = NOWHERE;
        }
        if place < self.heap.len() {
            self.put_place(place);
            let place = self.sift_up(place);
            self.sift_down(place);
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Takes a key whose deadline has come.
    pub fn pop(&mut self, now: Instant) -> Option<usize> {
        let (at, key) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    /// How many are set.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.heap.len()
    }

    fn at(&self, place: usize) -> Instant {
        self.heap.get(place).map_or(Instant::FAR_FUTURE, |(at, _)| *at)
    }

    fn put_place(&mut self, place: usize) {
        if let Some((_, key)) = self.heap.get(place)
            && let Some(slot) = self.places.get_mut(*key)
        {
            *slot = place;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.put_place(one);
        self.put_place(other);
    }

    fn sift_up(&mut self, mut place: usize) -> usize {
        while place > 0 && self.at(place) < self.at((place - 1) / 2) {
            let above = (place - 1) / 2;
            self.swap(place, above);
            place = above;
        }
        place
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let below = if self.at(right) < self.at(left) { right } else { left };
            if below >= self.heap.len() || self.at(place) <= self.at(below) {
                return;
            }
            self.swap(place, below);
            place = below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, u64),
        Forward(usize, u64),
        Clear(usize),
        Pop(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..20, 0u64..100).prop_map(|(key, at)| Step::Set(key, at)),
            (0usize..20, 0u64..100).prop_map(|(key, at)| Step::Forward(key, at)),
            (0usize..20).prop_map(Step::Clear),
            (0u64..100).prop_map(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn as_a_map(steps in proptest::collection::vec(step(), 0..200)) {
            let at = Instant::from_nanos;
            let mut timers = Timers::new(20);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(key, time) => {
                        timers.set(key, at(time));
                        model.insert(key, time);
                    }
                    Step::Forward(key, time) => {
                        timers.bring_forward(key, at(time));
                        let set = model.entry(key).or_insert(time);
                        *set = time.min(*set);
                    }
                    Step::Clear(key) => {
                        timers.clear(key);
                        model.remove(&key);
                    }
                    Step::Pop(now) => match timers.pop(at(now)) {
                        Some(key) => {
                            let time = model.remove(&key).unwrap();
                            prop_assert!(time <= now && model.values().all(|other| time <= *other));
                        }
                        None => prop_assert!(model.values().all(|time| *time > now)),
                    },
                }
                prop_assert_eq!(timers.next(), model.values().min().copied().map(at));
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }

    #[test]
    fn foreign_keys_and_never() {
        let mut timers = Timers::new(2);
        timers.set(2, Instant::ZERO);
        timers.clear(7);
        timers.set(1, Instant::ZERO);
        timers.set(1, Instant::FAR_FUTURE);
        assert_eq!(timers.len(), 0);
    }
}
