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
        put(&mut bits, 3, 490, false);
        assert_eq!((0..512).filter(|&at| get(&bits, at)).count(), 1 + 512 - 493);
    }
}
