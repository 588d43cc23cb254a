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

/// The same polynomial, lowest bit first.
const POLYNOMIAL: u32 = CASTAGNOLI.poly.reverse_bits();

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CASTAGNOLI);

/// Bytes that are skipped at once if all are zero. Bitmaps, descriptors and tables that are not full yet are mostly
/// zeros, and every block of a transaction is summed up at least once.
const STRIDE: usize = 64;
/// Strides of the longer step.
const STRIDES: usize = 16;

/// What zeros do to a sum: a linear map, as one table for each byte of the sum.
type Map = [[u32; 256]; 4];

static OVER_STRIDE: Map = map(over_bits(8 * STRIDE));
static OVER_STRIDES: Map = map(over_bits(8 * STRIDE * STRIDES));

/// Goes on from `seed`, which is a sum of what came before; `!0` starts.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let (strides, _) = bytes.as_chunks::<STRIDE>();
    let (mut sum, mut start, mut at) = (seed, 0, 0);
    while at < strides.len() {
        let zeros = strides[at..].iter().take_while(|stride| is_zero(stride)).count();
        if zeros > 0 {
            sum = over_zeros(over(sum, &bytes[start..at * STRIDE]), zeros);
            at += zeros;
            start = at * STRIDE;
        }
        at += 1;
    }
    over(sum, &bytes[start..])
}

/// Any bytes.
fn over(seed: u32, bytes: &[u8]) -> u32 {
    // The crate reflects what it is started with, as it reflects what it returns.
    let mut digest = CRC.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// So many strides of zeros.
fn over_zeros(mut sum: u32, strides: usize) -> u32 {
    for _ in 0..strides / STRIDES {
        sum = apply(&OVER_STRIDES, sum);
    }
    for _ in 0..strides % STRIDES {
        sum = apply(&OVER_STRIDE, sum);
    }
    sum
}

fn is_zero(stride: &[u8; STRIDE]) -> bool {
    // Without a way out in the middle: it takes as long as a few words do.
    stride.iter().fold(0, |all, byte| all | byte) == 0
}

fn apply(map: &Map, sum: u32) -> u32 {
    let [a, b, c, d] = sum.to_le_bytes();
    map[0][usize::from(a)] ^ map[1][usize::from(b)] ^ map[2][usize::from(c)] ^ map[3][usize::from(d)]
}

/// What becomes of each bit of a sum behind so many zero bits.
const fn over_bits(count: usize) -> [u32; 32] {
    let (mut images, mut bit) = ([0; 32], 0);
    while bit < 32 {
        let (mut sum, mut step) = (1u32 << bit, 0);
        while step < count {
            sum = (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
            step += 1;
        }
        images[bit] = sum;
        bit += 1;
    }
    images
}

const fn map(images: [u32; 32]) -> Map {
    let mut map = [[0; 256]; 4];
    let mut place = 0;
    while place < 4 * 256 {
        let (byte, value) = (place / 256, place % 256);
        let mut bit = 0;
        while bit < 8 {
            if value >> bit & 1 != 0 {
                map[byte][value] ^= images[8 * byte + bit];
            }
            bit += 1;
        }
        place += 1;
    }
    map
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

    #[test]
    fn zeros_count_as_any_bytes() {
        let mut bytes = vec![0; 5000];
        let lone = [[].as_slice(), &[0], &[63], &[64], &[640, 3000], &[4999], &[100, 101, 163, 164, 2000]];
        for places in lone {
            places.iter().for_each(|&place| bytes[place] = place as u8 | 1);
            for range in [0..5000, 0..0, 0..64, 1..65, 3..4990, 64..1088, 0..1152, 60..4161] {
                let bytes = &bytes[range.clone()];
                assert_eq!(crc32c(!0, bytes), slow(!0, bytes), "{places:?} {range:?}");
                assert_eq!(crc32c(0, bytes), slow(0, bytes), "{places:?} {range:?}");
            }
            bytes.fill(0);
        }
    }
}
