//! The first seed of the random number generator.

use crate::arch::cpu;
use crate::drbg::{Drbg, hardware_seed};
use core::arch::asm;
use core::hint::black_box;

/// Rounds of timing jitter that are mixed in.
const JITTER_ROUNDS: usize = 256;

/// A generator seeded from what the processor offers: RDSEED, RDRAND, and the jitter of its own timing.
/// Drivers of virtio-rng add to it ([`Drbg::reseed`]).
pub(crate) fn generator() -> Drbg {
    let drbg = Drbg::new([jitter().as_slice()]);
    for (name, present, read) in [
        ("RDSEED", cpu::cpuid(7, 0).ebx & 1 << 18 != 0, rdseed as fn() -> Option<u64>),
        ("RDRAND", cpu::cpuid(1, 0).ecx & 1 << 30 != 0, rdrand),
    ] {
        if !present {
            continue;
        }
        match hardware_seed::<8>(read) {
            Ok(words) => words.iter().for_each(|word| drbg.reseed(&word.to_le_bytes())),
            Err(error) => log::warn!(target: "kernel", "{name}: {error}; it is not used"),
        }
    }
    drbg
}

/// Low bits of the durations of memory and arithmetic work.
fn jitter() -> [u8; JITTER_ROUNDS] {
    let mut samples = [0; JITTER_ROUNDS];
    let mut before = cpu::rdtsc();
    for round in 0..JITTER_ROUNDS {
        black_box(samples.iter().fold(round as u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte)));
        let now = cpu::rdtsc();
        samples[round] = now.wrapping_sub(before) as u8 ^ now as u8;
        before = now;
    }
    samples
}

fn rdrand() -> Option<u64> {
    let (value, ok): (u64, u8);
    // SAFETY: the caller saw in CPUID that the instruction exists.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
    (ok != 0).then_some(value)
}

fn rdseed() -> Option<u64> {
    let (value, ok): (u64, u8);
    // SAFETY: the caller saw in CPUID that the instruction exists.
    unsafe { asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
    (ok != 0).then_some(value)
}
