//! A hash keyed at start-up, so that a remote peer cannot choose flows that fall into one bucket.
//!
//! SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"): one compression round for each
//! 8-byte word and three at the end.

use core::hash::{BuildHasher, Hasher};
use keelson_hal::Entropy;

/// A hash map with a secret key.
pub type KeyedMap<K, V> = hashbrown::HashMap<K, V, Key>;

/// The key of a table's hash function.
#[derive(Clone, Copy)]
pub struct Key {
    k0: u64,
    k1: u64,
}

impl Key {
    /// A random key.
    pub fn new(entropy: &dyn Entropy) -> Key {
        Key { k0: entropy.next_u64(), k1: entropy.next_u64() }
    }

    /// The same key every time.
    #[cfg(test)]
    pub fn for_tests() -> Key {
        Key { k0: 7, k1: 7 }
    }
}

impl BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13 {
            v: [
                self.k0 ^ 0x736f_6d65_7073_6575,
                self.k1 ^ 0x646f_7261_6e64_6f6d,
                self.k0 ^ 0x6c79_6765_6e65_7261,
                self.k1 ^ 0x7465_6462_7974_6573,
            ],
            words: 0,
        }
    }
}

/// State of one hash computation. Every `write` is padded to whole words, which keeps the integers and
/// addresses hashed here at one word each; the count of words closes the message.
pub struct SipHasher13 {
    v: [u64; 4],
    words: u64,
}

impl SipHasher13 {
    fn round(&mut self) {
        let [v0, v1, v2, v3] = &mut self.v;
        *v0 = v0.wrapping_add(*v1);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v3);
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.wrapping_add(*v3);
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.wrapping_add(*v1);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v2 = v2.rotate_left(32);
    }

    fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
        self.words += 1;
    }
}

impl Hasher for SipHasher13 {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.word(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.word(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn finish(&self) -> u64 {
        let mut end = SipHasher13 { v: self.v, words: self.words };
        end.word(self.words << 56);
        end.v[2] ^= 0xff;
        for _ in 0..3 {
            end.round();
        }
        end.v[0] ^ end.v[1] ^ end.v[2] ^ end.v[3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_the_hash_and_the_order_matters() {
        let (a, b) = (Key { k0: 1, k1: 2 }, Key { k0: 1, k1: 3 });
        assert_ne!(a.hash_one([1u16, 2]), b.hash_one([1u16, 2]));
        assert_ne!(a.hash_one((1u16, 2u16)), a.hash_one((2u16, 1u16)));
        assert_eq!(a.hash_one((1u16, 2u16)), a.hash_one((1u16, 2u16)));
    }
}
