//! Fragments back into datagrams (RFC 791 section 3.2, RFC 8200 section 4.5), with hostile senders in mind.
//!
//! - A fragment that overlaps another one without being its exact copy ends the datagram (RFC 5722).
//! - A datagram lives [`LIFETIME`]; all of them share [`MAX_BYTES`] and [`MAX_DATAGRAMS`], and the oldest
//!   makes room for a new one.
//! - The buffer of a datagram grows only as far as fragments have arrived or claim to reach, 65535 at most.

use crate::hash::{Key, KeyedMap};
use crate::ip::header::{Fragment, Packet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use keelson_hal::Instant;

/// Datagrams in flight.
pub(crate) const MAX_DATAGRAMS: usize = 64;
/// Bytes of their buffers together.
pub(crate) const MAX_BYTES: usize = 2 << 20;
/// How long the missing pieces are waited for.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30);
/// Largest payload of a datagram.
const MAX_PAYLOAD: usize = 65_535;
/// Pieces of one datagram: 65535 bytes in fragments of the smallest useful MTU (RFC 791: 68 bytes, 48 of
/// them payload) would be 1366; more than this many separate runs is an attack.
const MAX_RUNS: usize = 64;

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct Id {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    id: u32,
}

struct Partial {
    started: Instant,
    /// Received byte ranges, sorted, neither touching nor overlapping.
    runs: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    /// Length of the whole payload, once the last fragment has come.
    total: Option<usize>,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// More are needed.
    Waiting,
    /// The payload of the whole datagram.
    Complete(Vec<u8>),
    /// The datagram was given up.
    Failed,
}

/// All datagrams being reassembled.
pub(crate) struct Reassembly {
    partial: KeyedMap<Id, Partial>,
    bytes: usize,
}

impl Reassembly {
    pub fn new(key: Key) -> Reassembly {
        Reassembly { partial: KeyedMap::with_hasher(key), bytes: 0 }
    }

    /// Adds a fragment. `failed` counts datagrams that had to make room.
    pub fn add(&mut self, packet: &Packet<'_>, piece: Fragment, now: Instant, failed: &mut u64) -> Outcome {
        let id = Id { src: packet.src, dst: packet.dst, protocol: packet.protocol, id: piece.id };
        let (start, end) = (piece.offset, piece.offset + packet.payload.len());
        let aligned = !piece.more || packet.payload.len().is_multiple_of(8);
        if end > MAX_PAYLOAD || !aligned || packet.payload.is_empty() {
            self.remove(&id);
            return Outcome::Failed;
        }
        if !self.partial.contains_key(&id) {
            *failed += self.make_room(end);
            let fresh = Partial { started: now, runs: Vec::new(), bytes: Vec::new(), total: None };
            self.partial.insert(id, fresh);
        }
        let Some(partial) = self.partial.get_mut(&id) else { return Outcome::Failed };
        let before = partial.bytes.capacity();
        let outcome = partial.add(start, end, piece.more, packet.payload);
        self.bytes = self.bytes + partial.bytes.capacity() - before;
        match outcome {
            Outcome::Waiting => {
                while self.bytes > MAX_BYTES {
                    *failed += self.drop_oldest();
                }
                Outcome::Waiting
            }
            Outcome::Complete(bytes) => {
                // The buffer has left, and was taken off the account by the line above.
                self.partial.remove(&id);
                Outcome::Complete(bytes)
            }
            Outcome::Failed => {
                self.remove(&id);
                Outcome::Failed
            }
        }
    }

    /// Gives up what is too old; returns how many.
    pub fn expire(&mut self, now: Instant) -> u64 {
        let (bytes, mut expired) = (&mut self.bytes, 0);
        self.partial.retain(|_, partial| {
            let keep = now - partial.started < LIFETIME;
            if !keep {
                *bytes -= partial.bytes.capacity();
                expired += 1;
            }
            keep
        });
        expired
    }

    fn remove(&mut self, id: &Id) {
        if let Some(partial) = self.partial.remove(id) {
            self.bytes -= partial.bytes.capacity();
        }
    }

    fn make_room(&mut self, wanted: usize) -> u64 {
        let mut dropped = 0;
        while self.partial.len() >= MAX_DATAGRAMS
            || (self.bytes + wanted > MAX_BYTES && !self.partial.is_empty())
        {
            dropped += self.drop_oldest();
        }
        dropped
    }

    fn drop_oldest(&mut self) -> u64 {
        let oldest = self.partial.iter().min_by_key(|(_, partial)| partial.started).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.remove(&id);
        }
        1
    }
}

impl Partial {
    fn add(&mut self, start: usize, end: usize, more: bool, payload: &[u8]) -> Outcome {
        let at = self.runs.partition_point(|run| run.1 <= start);
        // An exact copy of bytes already there is a duplicate; any other overlap is an attack.
        if let Some(&(left, right)) = self.runs.get(at)
            && left < end
        {
            let duplicate = left <= start && end <= right && self.bytes[start..end] == *payload;
            return if duplicate { Outcome::Waiting } else { Outcome::Failed };
        }
        let beyond = self.total.is_some_and(|total| end > total || (!more && end != total));
        let cut_short = !more && self.runs.last().is_some_and(|run| run.1 > end);
        if beyond || cut_short || self.runs.len() >= MAX_RUNS {
            return Outcome::Failed;
        }
        if !more {
            self.total = Some(end);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(payload);
        self.insert_run(at, start, end);
        match (self.total, self.runs.as_slice()) {
            (Some(total), [(0, right)]) if *right == total => {
                Outcome::Complete(core::mem::take(&mut self.bytes))
            }
            _ => Outcome::Waiting,
        }
    }

    /// Inserts a run before index `at`, joining it with neighbours that touch it.
    fn insert_run(&mut self, at: usize, start: usize, end: usize) {
        let joins_left = at > 0 && self.runs[at - 1].1 == start;
        let joins_right = self.runs.get(at).is_some_and(|run| run.0 == end);
        match (joins_left, joins_right) {
            (true, true) => {
                self.runs[at - 1].1 = self.runs[at].1;
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].1 = end,
            (false, true) => self.runs[at].0 = start,
            (false, false) => self.runs.insert(at, (start, end)),
        }
    }
}

#[cfg(test)]
mod tests;
