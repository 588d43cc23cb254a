//! Random bytes: ChaCha20 over a key that collects seeds from any number of sources.
//!
//! No source is trusted alone (a processor's RDRAND may be broken, a virtio-rng belongs to the hypervisor,
//! jitter may be small): each is mixed in so that the result is at least as good as the best of them.
//! The key is replaced with every use, so that someone who reads memory later learns nothing of what was
//! handed out before ("fast key erasure").

#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;

use keelson_hal::Entropy;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const KEY_LEN: usize = 32;

/// The generator. Belongs to one core; [`Drbg::fork`] makes one for another core.
pub struct Drbg {
    key: Cell<[u8; KEY_LEN]>,
}

impl Drbg {
    /// A generator seeded from all `sources`.
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a [u8]>) -> Drbg {
        let drbg = Drbg { key: Cell::new([0; KEY_LEN]) };
        sources.into_iter().for_each(|seed| drbg.reseed(seed));
        drbg
    }

    /// Mixes `seed` in. Never makes the state worse, whoever chose the seed: without the key from before it
    /// leads to an unknown key.
    pub fn reseed(&self, seed: &[u8]) {
        // The length keeps seeds apart that differ in zeros at their end.
        self.absorb(&(seed.len() as u64).to_le_bytes());
        seed.chunks(KEY_LEN).for_each(|chunk| self.absorb(chunk));
    }

    /// An independent generator.
    pub fn fork(&self) -> Drbg {
        let mut key = [0; KEY_LEN];
        self.fill(&mut key);
        Drbg { key: Cell::new(key) }
    }

    /// key = ChaCha20(key XOR chunk).
    fn absorb(&self, chunk: &[u8]) {
        let mut key = self.key.get();
        key.iter_mut().zip(chunk).for_each(|(key, byte)| *key ^= byte);
        let mut next = [0; KEY_LEN];
        ChaCha20Rng::from_seed(key).fill_bytes(&mut next);
        self.key.set(next);
    }
}

impl Entropy for Drbg {
    fn fill(&self, bytes: &mut [u8]) {
        let mut stream = ChaCha20Rng::from_seed(self.key.get());
        // The stream's first bytes are the next key and are never shown.
        let mut next = [0; KEY_LEN];
        stream.fill_bytes(&mut next);
        self.key.set(next);
        stream.fill_bytes(bytes);
    }
}

impl fmt::Debug for Drbg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drbg")
    }
}

/// How often a hardware generator may say "not now" for one number (Intel's advice for RDRAND).
const RETRIES: usize = 10;

/// Why a hardware generator was not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HardwareRngError {
    /// It gave nothing, ten times in a row.
    Silent,
    /// It gave the same number twice in a row. By chance that happens once in 2^64; processors that return
    /// all ones after a suspend do it always.
    Stuck,
}

impl fmt::Display for HardwareRngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HardwareRngError::Silent => "hardware random number generator gives no numbers",
            HardwareRngError::Stuck => "hardware random number generator repeats itself",
        })
    }
}

/// Reads a seed of `N` numbers with `read` (RDRAND, RDSEED), which returns `None` for "not now".
pub fn hardware_seed<const N: usize>(
    mut read: impl FnMut() -> Option<u64>,
) -> Result<[u64; N], HardwareRngError> {
    let mut next = || (0..RETRIES).find_map(|_| read()).ok_or(HardwareRngError::Silent);
    let mut before = next()?;
    let mut seed = [0; N];
    for word in &mut seed {
        *word = next()?;
        if *word == before {
            return Err(HardwareRngError::Stuck);
        }
        before = *word;
    }
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn numbers(drbg: &Drbg) -> [u64; 4] {
        core::array::from_fn(|_| drbg.next_u64())
    }

    #[test]
    fn the_same_seeds_give_the_same_numbers() {
        let seeds = || [b"rdrand".as_slice(), b"jitter"];
        assert_eq!(numbers(&Drbg::new(seeds())), numbers(&Drbg::new(seeds())));
    }

    #[test]
    fn every_difference_in_the_seeds_shows() {
        let long = [7u8; 100];
        let different: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"a"],
            &[b"a\0"],
            &[b"a", b"b"],
            &[b"b", b"a"],
            &[&long],
            &[&long[..64], &long[64..]],
        ];
        let firsts: BTreeSet<_> =
            different.iter().map(|seeds| numbers(&Drbg::new(seeds.iter().copied()))).collect();
        assert_eq!(firsts.len(), different.len());
    }

    #[test]
    fn reseeding_and_forking_change_the_stream() {
        let (a, b) = (Drbg::new([b"x".as_slice()]), Drbg::new([b"x".as_slice()]));
        b.reseed(&[0; 32]);
        assert_ne!(numbers(&a), numbers(&b));
        assert_ne!(numbers(&a.fork()), numbers(&a));
    }

    #[test]
    fn output_is_the_cipher_stream_behind_the_next_key() {
        let drbg = Drbg { key: Cell::new([0; 32]) };
        let (mut stream, mut output) = ([0; 96], [0; 64]);
        ChaCha20Rng::from_seed([0; 32]).fill_bytes(&mut stream);
        drbg.fill(&mut output);
        // The ChaCha20 stream for key 0, nonce 0 (RFC 8439 appendix A.1, test vector 1).
        assert_eq!(stream[..4], [0x76, 0xb8, 0xe0, 0xad]);
        assert_eq!(drbg.key.get(), stream[..32]);
        assert_eq!(output, stream[32..]);
    }

    #[test]
    fn bits_are_balanced() {
        let mut bytes = vec![0; 1 << 16];
        Drbg::new([]).fill(&mut bytes);
        let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert!(ones.abs_diff(1 << 18) < 2500, "{ones}");
    }

    #[test]
    fn broken_hardware_is_noticed() {
        assert_eq!(hardware_seed::<4>(|| None), Err(HardwareRngError::Silent));
        assert_eq!(hardware_seed::<4>(|| Some(u64::MAX)), Err(HardwareRngError::Stuck));
        let mut calls = 0;
        let seed = hardware_seed::<2>(|| {
            calls += 1;
            (calls % 5 == 0).then_some(calls)
        });
        assert_eq!(seed, Ok([10, 15]));
    }
}
