//! Nodes on impaired wires in virtual time, and a model that checks what they deliver.

mod ledger;
mod port;
mod world;

pub use port::SimPort;
pub use world::{Fate, Impair, World, mac};

use keelson_hal::Entropy;
use std::cell::Cell;

/// splitmix64.
pub struct Rng(Cell<u64>);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let z = self.0.get();
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True in so many of 1000 cases.
    pub fn permille(&self, permille: u32) -> bool {
        self.below(1000) < permille.into()
    }
}

impl Entropy for Rng {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// How many seeds a simulation runs: `QNET_SEEDS`, or a few for a quick run.
pub fn seeds(quick: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("QNET_SEEDS").ok().and_then(|text| text.parse().ok());
    0..wanted.unwrap_or(quick)
}
