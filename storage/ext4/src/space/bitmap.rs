//! Bits of a bitmap block.

/// True when the bit is set.
pub fn get(bits: &[u8], at: u32) -> bool {
    bits[at as usize / 8] & 1 << (at % 8) != 0
}

/// Sets or clears a run of bits.
pub fn put(bits: &mut [u8], start: u32, count: u32, value: bool) {
    let mut at = start;
    let end = start + count;
    while at < end {
        if at.is_multiple_of(8) && end - at >= 8 {
            let bytes = (end - at) / 8;
            bits[at as usize / 8..(at / 8 + bytes) as usize].fill(if value { 0xff } else { 0 });
            at += bytes * 8;
            continue;
        }
        let mask = 1 << (at % 8);
        if value {
            bits[at as usize / 8] |= mask;
        } else {
            bits[at as usize / 8] &= !mask;
        }
        at += 1;
    }
}

/// The 64 bits that begin at a multiple of 64. Bits that a short block does not have are zeros.
fn word(bits: &[u8], at: u32) -> u64 {
    let byte = at as usize / 8;
    match bits.get(byte..).and_then(|rest| rest.first_chunk()) {
        Some(&word) => u64::from_le_bytes(word),
        None => bits[byte..].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The first bit from `from` on, below `end`, that has the value. 64 bits at a time.
pub fn find(bits: &[u8], from: u32, end: u32, value: bool) -> Option<u32> {
    if from >= end {
        return None;
    }
    let flip = if value { 0 } else { u64::MAX };
    let mut at = from & !63;
    let mut hits = (word(bits, at) ^ flip) & (u64::MAX << (from - at));
    while hits == 0 {
        at += 64;
        if at >= end {
            return None;
        }
        hits = word(bits, at) ^ flip;
    }
    let hit = at + hits.trailing_zeros();
    (hit < end).then_some(hit)
}

/// The length of the longest run of clear bits below `end`; or of one of at least `enough`, which ends the search.
/// Whatever the bits are, this takes a few steps for each 64 of them.
pub fn longest_clear(bits: &[u8], end: u32, enough: u32) -> u32 {
    let (mut longest, mut run) = (0, 0);
    for at in (0..end).step_by(64) {
        let mut free = !word(bits, at);
        if end - at < 64 {
            free &= (1 << (end - at)) - 1;
        }
        if free == u64::MAX {
            run += 64;
        } else {
            longest = longest.max(run + free.trailing_ones());
            // Runs within the word: those longer than the longest so far survive so many shifts.
            let mut left = free;
            for _ in 0..longest.min(64) {
                left &= left << 1;
                if left == 0 {
                    break;
                }
            }
            while left != 0 {
                longest += 1;
                left &= left << 1;
            }
            run = free.leading_ones();
        }
        longest = longest.max(run);
        if longest >= enough {
            break;
        }
    }
    longest
}

/// Bits below `end` that are clear.
pub fn count_clear(bits: &[u8], end: u32) -> u32 {
    let (whole, rest) = (end as usize / 8, end % 8);
    let mut clear: u32 = bits[..whole].iter().map(|byte| byte.count_zeros()).sum();
    if rest > 0 {
        clear += (!bits[whole] & ((1 << rest) - 1)).count_ones();
    }
    clear
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_searches() {
        let mut bits = vec![0u8; 64];
        for (start, count) in [(0, 1), (5, 70), (100, 8), (128, 64), (300, 212)] {
            put(&mut bits, start, count, true);
            for at in 0..512 {
                let scan = (at..512).find(|&at| get(&bits, at));
                assert_eq!(find(&bits, at, 512, true), scan);
                let scan = (at..500).find(|&at| !get(&bits, at));
                assert_eq!(find(&bits, at, 500, false), scan);
                assert_eq!(count_clear(&bits, at), (0..at).filter(|&at| !get(&bits, at)).count() as u32);
            }
        }
        let mut random = 1u64;
        for density in 1..60 {
            bits.fill(0);
            for at in 0..512 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                put(&mut bits, at, 1, (random >> 33) % 60 < density);
            }
            for end in [1, 63, 64, 65, 200, 511, 512] {
                let (mut longest, mut run) = (0, 0);
                for at in 0..end {
                    run = if get(&bits, at) { 0 } else { run + 1 };
                    longest = longest.max(run);
                }
                assert_eq!(longest_clear(&bits, end, 513), longest);
                assert!((longest.min(5)..=longest).contains(&longest_clear(&bits, end, 5)));
            }
        }
        bits.fill(0);
        assert_eq!(longest_clear(&bits, 512, 1000), 512);
        bits.fill(0xff);
        put(&mut bits, 3, 490, false);
        assert_eq!((0..512).filter(|&at| get(&bits, at)).count(), 512 - 490);
    }
}
