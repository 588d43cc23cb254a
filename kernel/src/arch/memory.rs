//! The C memory functions that compiled code calls; on a host they are only tested, under other names.

#[cfg(any(keelson_image, test))]
use core::arch::global_asm;

#[cfg(any(keelson_image, test))]
global_asm!(include_str!("memory.s"), options(att_syntax));

#[cfg(keelson_image)]
global_asm!(
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".set memcpy, keelson_memcpy",
    ".set memmove, keelson_memmove",
    ".set memset, keelson_memset",
    ".set memcmp, keelson_memcmp",
    ".set bcmp, keelson_memcmp",
    ".set strlen, keelson_strlen",
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    unsafe extern "C" {
        fn keelson_memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
        fn keelson_memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
        fn keelson_memset(to: *mut u8, byte: i32, len: usize) -> *mut u8;
        fn keelson_memcmp(a: *const u8, b: *const u8, len: usize) -> i32;
        fn keelson_strlen(text: *const u8) -> usize;
    }

    /// Lengths around every branch: 0 to 16 by parts, 16 to 64 by 16, beyond by 64.
    const LENGTHS: std::ops::Range<usize> = 0..300;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
    }

    #[test]
    fn copies_exactly_and_nothing_beside() {
        let from = pattern(400);
        for len in LENGTHS {
            for shift in [0, 1, 7] {
                let mut to = vec![0xee; 400];
                // SAFETY: both ranges lie inside their vectors, which are apart.
                let result = unsafe {
                    keelson_memcpy(to.as_mut_ptr().wrapping_add(16), from.as_ptr().wrapping_add(shift), len)
                };
                assert_eq!(result, to.as_mut_ptr().wrapping_add(16));
                assert_eq!(to[16..16 + len], from[shift..shift + len], "length {len}");
                assert!(to[..16].iter().chain(&to[16 + len..]).all(|byte| *byte == 0xee), "length {len}");
            }
        }
    }

    #[test]
    fn moves_between_overlapping_ranges() {
        for len in LENGTHS {
            for distance in [1usize, 3, 8, 15, 16, 17, 63, 64, 65, 200] {
                for (from, to) in [(0, distance), (distance, 0)] {
                    let mut actual = pattern(600);
                    let mut expected = actual.clone();
                    expected.copy_within(from..from + len, to);
                    let base = actual.as_mut_ptr();
                    // SAFETY: both ranges lie inside the vector.
                    unsafe { keelson_memmove(base.wrapping_add(to), base.wrapping_add(from), len) };
                    assert_eq!(actual, expected, "length {len} from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn sets_exactly() {
        for len in LENGTHS {
            let mut bytes = vec![1u8; 400];
            // SAFETY: inside the vector. The value's upper bits do not count.
            unsafe { keelson_memset(bytes.as_mut_ptr().wrapping_add(5), 0x1_23a5u32 as i32, len) };
            assert!(bytes[5..5 + len].iter().all(|byte| *byte == 0xa5), "length {len}");
            assert!(bytes[..5].iter().chain(&bytes[5 + len..]).all(|byte| *byte == 1), "length {len}");
        }
    }

    #[test]
    fn measures_text() {
        // SAFETY: both end in a zero.
        unsafe {
            assert_eq!(keelson_strlen(c"".as_ptr().cast()), 0);
            assert_eq!(keelson_strlen(c"keelson".as_ptr().cast()), 7);
        }
    }

    proptest! {
        #[test]
        fn compares_like_slices(a in prop::collection::vec(0u8..3, 0..40), b in prop::collection::vec(0u8..3, 0..40)) {
            let len = a.len().min(b.len());
            // SAFETY: both hold `len` bytes.
            let sign = unsafe { keelson_memcmp(a.as_ptr(), b.as_ptr(), len) }.signum();
            prop_assert_eq!(sign, a[..len].cmp(&b[..len]) as i32);
        }
    }
}
