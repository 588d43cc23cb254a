//! Metadata blocks in memory: those in use by transactions stay, of the others the least used go.

use super::{BlockNr, Kind};
use crate::journal::Sequence;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};
use hashbrown::HashMap;

/// Hashes numbers of blocks and inodes: their bits are mixed so that runs of neighbours spread (splitmix64).
#[derive(Clone, Copy, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by number of block or inode.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Blocks looked at, at most, to make room for one.
const LOOKS: usize = 16;

/// A block used since so many others came is not dropped: an operation that begins anew for each block that it lacks
/// uses all the others each time, and must find them all together in the end, whatever else is not to be dropped.
const FRESH: u64 = 32;
/// Times the capacity that blocks may take because they are fresh.
const OVERFULL: usize = 4;

/// A metadata block.
pub struct Slot {
    /// Its content.
    pub data: Box<[u8]>,
    /// What it holds.
    pub kind: Kind,
    /// Changed by the running transaction.
    pub running: bool,
    /// Changed by the transaction that is being committed.
    pub committing: bool,
    /// The last committed transaction that changed it, as long as its place on the disk is older than that.
    pub logged: Option<Sequence>,
    /// Given up by the running transaction, or by the one that is being committed: what is here may never have been
    /// committed, and goes nowhere.
    pub given_up: bool,
    /// One bit for each inode record whose checksum was found right.
    pub verified: u64,
    /// Used since the cache last looked for one to drop.
    used: bool,
    /// Blocks that had come when it was last used.
    used_at: u64,
}

impl Slot {
    /// True when the disk has the same.
    pub fn is_clean(&self) -> bool {
        !self.running && !self.committing && self.logged.is_none()
    }
}

/// The blocks.
pub struct Cache {
    slots: Vec<Option<Slot>>,
    /// Where blocks are in `slots`.
    places: NumberMap<BlockNr, usize>,
    /// Where nothing is.
    vacant: Vec<usize>,
    /// The block that was looked up last, and its place: at hand, as operations mostly stay where they are.
    last: Option<(BlockNr, usize)>,
    /// Candidates in the order in which they are looked at; blocks that are gone stay until then.
    order: VecDeque<BlockNr>,
    block_size: usize,
    capacity: usize,
    hits: u64,
    misses: u64,
}

impl Cache {
    /// Room for about `bytes`.
    pub fn new(block_size: usize, bytes: usize) -> Cache {
        let capacity = (bytes / block_size).max(64);
        Cache {
            slots: Vec::new(),
            places: NumberMap::default(),
            vacant: Vec::new(),
            last: None,
            order: VecDeque::new(),
            block_size,
            capacity,
            hits: 0,
            misses: 0,
        }
    }

    /// A block, if it is here.
    pub fn get(&mut self, block: BlockNr) -> Option<&mut Slot> {
        let place = match self.last {
            Some((last, place)) if last == block => place,
            _ => {
                let place = *self.places.get(&block)?;
                self.hits += 1;
                self.last = Some((block, place));
                place
            }
        };
        let slot = self.slots.get_mut(place)?.as_mut()?;
        (slot.used, slot.used_at) = (true, self.misses);
        Some(slot)
    }

    /// Blocks looked up, those at hand not counted, and blocks that were put in.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// A block, without counting as use.
    pub fn peek(&self, block: BlockNr) -> Option<&Slot> {
        self.slots.get(*self.places.get(&block)?)?.as_ref()
    }

    /// Puts in what was read from the disk; what is here already is newer and stays.
    pub fn insert(&mut self, block: BlockNr, kind: Kind, data: Box<[u8]>) -> &mut Slot {
        let place = match self.places.get(&block) {
            Some(&place) => place,
            None => {
                self.make_room();
                self.misses += 1;
                self.order.push_back(block);
                let place = self.vacant.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() - 1
                });
                self.places.insert(block, place);
                place
            }
        };
        self.slots[place].get_or_insert(Slot {
            data,
            kind,
            running: false,
            committing: false,
            logged: None,
            given_up: false,
            verified: 0,
            used: true,
            used_at: self.misses,
        })
    }

    /// Puts in zeros, whatever was here.
    pub fn insert_zeros(&mut self, block: BlockNr, kind: Kind) -> &mut Slot {
        let zeros = alloc::vec![0; self.block_size].into_boxed_slice();
        let slot = self.insert(block, kind, zeros);
        if slot.kind != kind || slot.data.iter().any(|&byte| byte != 0) {
            slot.kind = kind;
            slot.data.fill(0);
        }
        slot.verified = u64::MAX;
        slot
    }

    /// Drops a block.
    pub fn remove(&mut self, block: BlockNr) {
        let Some(place) = self.places.remove(&block) else { return };
        self.slots[place] = None;
        self.vacant.push(place);
        self.last = self.last.filter(|&(last, _)| last != block);
    }

    /// Blocks in memory.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    fn make_room(&mut self) {
        if self.order.len() > 2 * self.places.len() + 64 {
            // Blocks that come and go in a cache with room would be listed for ever.
            let mut seen = NumberMap::default();
            let places = &self.places;
            self.order.retain(|block| places.contains_key(block) && seen.insert(*block, ()).is_none());
        }
        for _ in 0..LOOKS {
            if self.places.len() < self.capacity {
                return;
            }
            let Some(block) = self.order.pop_front() else { return };
            let slot = self.places.get(&block).and_then(|&place| self.slots[place].as_mut());
            let spares_fresh = self.places.len() < OVERFULL * self.capacity;
            match slot {
                Some(slot)
                    if slot.used
                        || !slot.is_clean()
                        || spares_fresh && slot.used_at + FRESH > self.misses =>
                {
                    slot.used = false;
                    self.order.push_back(block);
                }
                Some(_) => self.remove(block),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation that begins anew for each block that it lacks gets all of them together, although most of the
    /// cache is not to be dropped, and others come in between.
    #[test]
    fn what_an_operation_needs_stays_until_it_has_all() {
        let mut cache = Cache::new(4096, 0);
        let insert = |cache: &mut Cache, block| {
            cache.insert(block, Kind::InodeTable, Box::from([0; 8]));
        };
        for block in 0..60 {
            insert(&mut cache, block);
            cache.get(block).expect("it was put in").running = true;
        }
        let mut lacked = 0;
        while let Some(block) = (100..130).find(|&block| cache.get(block).is_none()) {
            insert(&mut cache, block);
            insert(&mut cache, 1000 + lacked);
            lacked += 1;
            assert!(lacked <= 30, "it lacks blocks that it had");
        }
        // Nobody needs them any more: others take their places, and the cache becomes small again.
        for block in 0..60 {
            cache.get(block).expect("it is not to be dropped").running = false;
        }
        for block in 2000..2400 {
            insert(&mut cache, block);
        }
        assert!(cache.len() <= 64 + FRESH as usize, "{} blocks", cache.len());
        assert!(cache.peek(100).is_none());
    }
}
