//! Half-open connections that made way for newer SYNs, kept small.
//!
//! A half-open connection holds rings, so only as many as the backlog says may exist at once. One that makes way was
//! answered already, and its client's ACK may be on the way: behind a crowd of SYNs, over a long path, or late
//! because one of the machines stood still. What remains here is enough to make the same connection again when that
//! ACK comes: the SYN, and the seed that the sequence number of our answer came from. SYN cookies (RFC 4987 section
//! 3.6) need no memory at all for that, but lose the options of the SYN: window scale, selective ACKs.

use super::connection::{Birth, Flow};
use super::port::Trace;
use crate::hash::{Key, KeyedMap};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use keelson_hal::Instant;

/// Connections kept: about 300 bytes each.
const CAPACITY: usize = 1024;

/// What a half-open connection began with.
pub(crate) struct Opening {
    pub birth: Birth,
    /// The packet with the SYN.
    pub syn: Box<[u8]>,
}

/// A half-open connection without its engine.
pub(crate) struct Parked {
    pub opening: Opening,
    /// What was said to the client.
    pub trace: Trace,
    pub until: Instant,
}

/// All of them, the oldest of which go when there are too many.
pub(crate) struct Parking {
    entries: KeyedMap<Flow, Parked>,
    /// In order of arrival; may name some that have left.
    order: VecDeque<(Flow, Instant)>,
}

impl Parking {
    pub fn new(key: Key) -> Parking {
        Parking { entries: KeyedMap::with_hasher(key), order: VecDeque::new() }
    }

    pub fn put(&mut self, flow: Flow, parked: Parked) {
        while self.order.len() >= CAPACITY {
            let Some((oldest, until)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.until == until) {
                self.entries.remove(&oldest);
            }
        }
        self.order.push_back((flow, parked.until));
        self.entries.insert(flow, parked);
    }

    /// The one of `flow`, unless its time is over.
    pub fn get(&self, flow: &Flow, now: Instant) -> Option<&Parked> {
        self.entries.get(flow).filter(|parked| now < parked.until)
    }

    pub fn take(&mut self, flow: &Flow) -> Option<Parked> {
        self.entries.remove(flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::TcpOptions;

    fn flow(n: usize) -> Flow {
        let remote = core::net::SocketAddr::new([10, 0, (n >> 8) as u8, n as u8].into(), 1000);
        Flow { local: core::net::SocketAddr::new([10, 1, 0, 1].into(), 988), remote }
    }

    fn parked(until: u64) -> Parked {
        let birth = Birth { seed: until, options: TcpOptions::default() };
        Parked {
            opening: Opening { birth, syn: Box::new([]) },
            trace: Trace::default(),
            until: Instant::from_nanos(until),
        }
    }

    #[test]
    fn the_oldest_go_and_those_that_came_again_stay() {
        let mut parking = Parking::new(Key::for_tests());
        parking.put(flow(0), parked(1));
        assert!(parking.take(&flow(0)).is_some() && parking.take(&flow(0)).is_none());
        for n in 0..CAPACITY {
            parking.put(flow(n), parked(n as u64 + 10));
        }
        assert!(parking.entries.len() <= CAPACITY && parking.order.len() <= CAPACITY);
        let (old, now) = (Instant::from_nanos(5), Instant::from_nanos(10));
        assert!(parking.get(&flow(0), old).is_some() && parking.get(&flow(0), now).is_none());
        for n in CAPACITY..2 * CAPACITY {
            parking.put(flow(n), parked(n as u64 + 10));
        }
        assert_eq!((parking.entries.len(), parking.order.len()), (CAPACITY, CAPACITY));
        assert!(
            parking.get(&flow(CAPACITY - 1), old).is_none() && parking.get(&flow(CAPACITY), old).is_some()
        );
    }
}
