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

/// The first bit from `from` on, below `end`, that has the value.
pub fn find(bits: &[u8], from: u32, end: u32, value: bool) -> Option<u32> {
    let skip = if value { 0 } else { u64::MAX };
    let mut at = from;
    while at < end {
        let byte = at as usize / 8;
        if at.is_multiple_of(64)
            && let Some(word) = bits.get(byte..byte + 8)
        {
            let word =
                u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
            if word == skip {
                at += 64;
                continue;
            }
            let hit = at + if value { word.trailing_zeros() } else { word.trailing_ones() };
            return (hit < end).then_some(hit);
        }
        if get(bits, at) == value {
            return Some(at);
        }
        at += 1;
    }
    None
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
            }
        }
        put(&mut bits, 3, 490, false);
        assert_eq!((0..512).filter(|&at| get(&bits, at)).count(), 1 + 512 - 493);
    }
}
