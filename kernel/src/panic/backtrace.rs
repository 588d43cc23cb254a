//! Frame-pointer backtraces.

use core::ops::Range;

/// Deepest backtrace printed.
const DEPTH_MAX: usize = 32;

/// Calls `visit` with return addresses, innermost first, following frame pointers from `rbp` while they stay
/// inside `stack`, are aligned and ascend. `read` reads one word of the stack.
pub fn walk(
    mut rbp: usize,
    stack: Range<usize>,
    read: impl Fn(usize) -> usize,
    mut visit: impl FnMut(usize),
) {
    for _ in 0..DEPTH_MAX {
        // A frame is the caller's rbp and the return address: two words.
        if !rbp.is_multiple_of(8) || rbp < stack.start || rbp > stack.end.saturating_sub(16) {
            return;
        }
        let (next, address) = (read(rbp), read(rbp + 8));
        if address == 0 {
            return;
        }
        visit(address);
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(words: &[usize], rbp: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        let base = 0x1000;
        walk(rbp, base..base + words.len() * 8, |at| words[(at - base) / 8], |address| seen.push(address));
        seen
    }

    #[test]
    fn follows_the_chain_to_its_end() {
        let words = [0x1020, 0xa, 0, 0, 0x1030, 0xb, 0, 0xc];
        assert_eq!(trace(&words, 0x1000), [0xa, 0xb, 0xc]);
    }

    #[test]
    fn damaged_chains_end_the_walk() {
        assert_eq!(trace(&[0x1000, 0xa], 0x1000), [0xa], "a frame that is its own caller");
        assert_eq!(trace(&[0x1001, 0xa], 0x1000), [0xa], "unaligned");
        assert_eq!(trace(&[0x9000, 0xa], 0x1000), [0xa], "outside the stack");
        assert_eq!(trace(&[0, 0xa, 0], 0x1010), [], "half a frame");
        assert_eq!(trace(&[], 0), []);
        assert_eq!(trace(&[0x1010, 0, 0, 1], 0x1000), [], "a zero return address");
    }
}
