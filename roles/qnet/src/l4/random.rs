//! Random numbers for ids and jitter only (section 22), from one seed.

use keelson_hal::Entropy;

/// splitmix64.
pub struct Random(u64);

impl Random {
    /// A sequence that starts with what `entropy` gives.
    pub fn new(entropy: &dyn Entropy) -> Random {
        Random(entropy.next_u64())
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Where connection ids start (section 6.1).
    pub fn first_id(&mut self) -> u32 {
        (self.next() & 0xff_ffff) as u32
    }
}
