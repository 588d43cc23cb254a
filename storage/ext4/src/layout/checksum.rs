//! CRC-32C as ext4 and jbd2 use it: started from a seed, not inverted at the end.

use crc::{Algorithm, Crc, Table};

/// CRC-32C (Castagnoli) without its usual start and final inversion, so that sums can be continued.
const CASTAGNOLI: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0,
    residue: 0,
};

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CASTAGNOLI);

/// Goes on from `seed`, which is a sum of what came before; `!0` starts.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // The crate reflects what it is started with, as it reflects what it returns.
    let mut digest = CRC.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// As the definition says, bit by bit.
    fn slow(crc: u32, bytes: &[u8]) -> u32 {
        bytes.iter().fold(crc, |crc, &byte| {
            let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            (0..8).fold(crc ^ u32::from(byte), step)
        })
    }

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn goes_on_where_it_stopped() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
        for cut in [0, 1, 15, 16, 17, 500, 1000] {
            assert_eq!(crc32c(crc32c(!0, &bytes[..cut]), &bytes[cut..]), slow(!0, &bytes));
            assert_eq!(crc32c(0x1234_5678, &bytes[..cut]), slow(0x1234_5678, &bytes[..cut]));
        }
    }
}
