//! The optional checksum of a packet (section 4).
//!
//! 32 bits, polynomial 0x04C11DB7, most significant bit first, from zero, nothing inverted. Eight bytes a step: each
//! byte of the step has a table of what it contributes once the bytes behind it have been shifted in.

const POLYNOMIAL: u32 = 0x04c1_1db7;

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut remainder = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            let feedback = if remainder >> 31 == 1 { POLYNOMIAL } else { 0 };
            remainder = remainder << 1 ^ feedback;
            bit += 1;
        }
        tables[0][index] = remainder;
        index += 1;
    }
    let mut distance = 1;
    while distance < 8 {
        let mut index = 0;
        while index < 256 {
            let nearer = tables[distance - 1][index];
            tables[distance][index] = nearer << 8 ^ tables[0][(nearer >> 24) as usize];
            index += 1;
        }
        distance += 1;
    }
    tables
}

/// Checksum of the bytes seen so far. Parts may be of any length: the sum is that of their concatenation.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Crc(u32);

impl Crc {
    /// Of no bytes.
    pub const fn new() -> Crc {
        Crc(0)
    }

    /// Takes in more bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        let (steps, rest) = bytes.as_chunks::<8>();
        let mut state = self.0;
        for step in steps {
            let [a, b, c, d, e, f, g, h] = *step;
            let [a, b, c, d] = (u32::from_be_bytes([a, b, c, d]) ^ state).to_be_bytes();
            state =
                at(t7, a) ^ at(t6, b) ^ at(t5, c) ^ at(t4, d) ^ at(t3, e) ^ at(t2, f) ^ at(t1, g) ^ at(t0, h);
        }
        for byte in rest {
            let [high, ..] = state.to_be_bytes();
            state = state << 8 ^ at(t0, high ^ byte);
        }
        self.0 = state;
    }

    /// The sum.
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// The entry for a byte; a table has one for each, so there is nothing to check.
#[inline]
fn at(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: one bit after another.
    fn slow(bytes: &[u8]) -> u32 {
        let mut state = 0u32;
        for byte in bytes {
            state ^= u32::from(*byte) << 24;
            for _ in 0..8 {
                state = if state >> 31 == 1 { state << 1 ^ POLYNOMIAL } else { state << 1 };
            }
        }
        state
    }

    #[test]
    fn equals_the_definition_however_it_is_cut() {
        let bytes: Vec<u8> = (0..200u32).map(|n| (n * n + 7 * n) as u8).collect();
        for len in 0..bytes.len() {
            let expected = slow(&bytes[..len]);
            for cut in 0..=len.min(17) {
                let mut crc = Crc::new();
                crc.update(&bytes[..cut]);
                crc.update(&[]);
                crc.update(&bytes[cut..len]);
                assert_eq!(crc.value(), expected, "{len} bytes cut at {cut}");
            }
        }
        // The published check value of this polynomial without reflection and inversion ("123456789").
        assert_eq!(slow(b"123456789"), 0x89a1_897f);
    }
}
