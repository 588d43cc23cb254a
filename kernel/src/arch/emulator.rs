//! What QEMU's emulated processor (TCG) wants of a machine with a single address space.
//!
//! TCG remembers translated addresses in a table that starts with 256 pages and is resized only when the guest
//! flushes it (QEMU, `accel/tcg/cputlb.c`). An operating system flushes it with every change of processes; we
//! have one address space for ever, and a router with a few hundred connections would walk its page tables
//! for each packet. So the core flushes now and then what on a real processor is never flushed.

use super::cpu;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use keelson_hal::Instant;

/// Time between flushes: a full table costs the emulator about a hundredth of this to fill again.
const INTERVAL: Duration = Duration::from_millis(100);

/// EBX, ECX and EDX of CPUID leaf 4000_0000h under TCG: "TCGTCGTCGTCG".
const TCG: u32 = u32::from_le_bytes(*b"TCGT");

static EMULATED: AtomicBool = AtomicBool::new(false);

/// Finds out whether this is TCG. Once, on the first core.
pub fn init() {
    let hypervisor = cpu::cpuid(1, 0).ecx & 1 << 31 != 0;
    EMULATED.store(hypervisor && cpu::cpuid(0x4000_0000, 0).ebx == TCG, Ordering::Relaxed);
}

/// True under TCG.
pub fn is_emulated() -> bool {
    EMULATED.load(Ordering::Relaxed)
}

/// Flushes the emulator's table when it is time to; nothing on other processors. `last` is the calling core's
/// note of when it did so.
pub fn refresh(last: &AtomicU64, now: Instant) {
    if EMULATED.load(Ordering::Relaxed)
        && now.saturating_since(Instant::from_nanos(last.load(Ordering::Relaxed))) >= INTERVAL
    {
        last.store(now.as_nanos(), Ordering::Relaxed);
        cpu::flush_tlb();
    }
}
