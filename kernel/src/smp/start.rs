//! Starting the cores beyond the first: INIT, SIPI, SIPI (Intel SDM volume 3, section 9.4).

use super::{MAX_CORES, ONLINE, init_this_apic, init_this_cpu};
use crate::arch::{self, cpu};
use crate::boot::{BootInfo, RegionKind};
use crate::irq::apic;
use crate::{mm, time};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

#[cfg(keelson_image)]
core::arch::global_asm!(include_str!("trampoline.s"), options(att_syntax));

/// What trampoline.s reads, in its order.
#[repr(C, packed)]
struct Parameters {
    root: u64,
    stack: u64,
    core: u64,
    entry: u64,
    far32: u32,
    code32: u32,
    far64: u32,
    code64: u32,
    gdt_limit: u16,
    gdt_base: u32,
}

/// Delays of the SDM's start-up algorithm, and the patience with a core that is slow (a busy host).
const AFTER_INIT: Duration = Duration::from_millis(10);
const AFTER_STARTUP: Duration = Duration::from_micros(200);
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// The highest-numbered core that reached [`core_main`].
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// When the other cores had their INIT, by the TSC.
#[derive(Clone, Copy)]
pub(crate) struct Woken(u64);

/// Makes the cores with these APIC numbers, except the calling one, ready for [`start_all`]; there is time for other things
/// until they are.
pub(crate) fn wake_all(apic_ids: &[u32]) -> Woken {
    let me = apic::id();
    // All at once: with many cores it is the wait after it that takes the time.
    apic_ids
        .iter()
        .copied()
        .filter(|id| *id != me)
        .take(MAX_CORES - super::online())
        .for_each(apic::send_init);
    Woken(cpu::rdtsc())
}

/// Starts the cores with these APIC numbers, one after the other; the log names those that do not come.
pub(crate) fn start_all(boot: &BootInfo, apic_ids: &[u32], woken: Woken) {
    let me = apic::id();
    if apic_ids.iter().all(|id| *id == me) {
        return;
    }
    let Some(page) = trampoline_page(boot) else {
        log::warn!(target: "smp", "no free page below 640 KiB: running on one core");
        return;
    };
    if mm::map_identity_page(page).is_err() {
        log::warn!(target: "smp", "cannot map the start-up page {page:#x}: running on one core");
        return;
    }
    let others = || apic_ids.iter().copied().filter(|id| *id != me).take(MAX_CORES - super::online());
    time::spin(after_init().saturating_sub(time::span_of(cpu::rdtsc().wrapping_sub(woken.0))));
    for id in others() {
        let core = super::online();
        let Some(stack) = mm::stack::allocate(core) else {
            log::warn!(target: "smp", "no memory for the stack of core {core}");
            break;
        };
        write_trampoline(page, stack, core);
        if start(id, page, core) {
            time::compare_with(core);
            ONLINE.store(core + 1, Ordering::Release);
        } else {
            // It may still come, on the stack and with the number it was given: leave both unused for ever.
            log::warn!(target: "smp", "core {core} (APIC {id}) did not start; no further cores are started");
            return;
        }
    }
    mm::unmap_identity_page(page);
}

/// How long a processor of this kind needs after INIT. The SDM's 10 ms are from the time of discrete APICs: Intel's from family 6 on,
/// AMD's from family 15 on and Hygon's need none, as Linux found (4.4, "remove 10ms delay from cpu_up() on modern processors").
fn after_init() -> Duration {
    let vendor = cpu::cpuid(0, 0);
    let signature = cpu::cpuid(1, 0).eax;
    let family = match signature >> 8 & 0xf {
        0xf => 0xf + (signature >> 20 & 0xff),
        family => family,
    };
    let since = match [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() {
        b"GenuineIntel" => 6,
        b"AuthenticAMD" => 15,
        b"HygonGenuine" => 0,
        _ => u32::MAX,
    };
    if family >= since { Duration::ZERO } else { AFTER_INIT }
}

/// A page of RAM for the trampoline; page 0 stays unmapped.
fn trampoline_page(boot: &BootInfo) -> Option<u64> {
    let usable = |page: u64| {
        let holds = |r: &crate::boot::Region| r.start <= page && page + mm::PAGE_SIZE <= r.end;
        boot.memory.iter().any(|r| r.kind == RegionKind::Ram && holds(r))
    };
    (1..0xa0).rev().map(|number| number * mm::PAGE_SIZE).find(|page| usable(*page))
}

fn write_trampoline(page: u64, stack: usize, core: usize) {
    let code = trampoline();
    let target = mm::phys_to_virt(page);
    let parameters_at = code.len() - size_of::<Parameters>();
    // SAFETY: 1. the page is RAM below 1 MiB, which is never handed out, seen through the direct map; 2. the
    // code with its parameters at the end fits into it.
    unsafe {
        core::ptr::copy_nonoverlapping(code.as_ptr(), target as *mut u8, code.len());
        let place = (target + parameters_at) as *mut Parameters;
        let mut parameters = place.read_unaligned();
        parameters.root = cpu::cr3();
        parameters.stack = stack as u64;
        parameters.core = core as u64;
        parameters.entry = core_main as *const () as u64;
        parameters.far32 += page as u32;
        parameters.far64 += page as u32;
        parameters.gdt_base += page as u32;
        place.write_unaligned(parameters);
    }
}

/// Sends a core that had its INIT into the trampoline.
fn start(id: u32, page: u64, core: usize) -> bool {
    let number = (page / mm::PAGE_SIZE) as u8;
    let arrived = || ARRIVED.load(Ordering::Acquire) == core;
    let wait = |span: Duration| {
        let end = time::now() + span;
        while !arrived() && time::now() < end {
            cpu::pause();
        }
    };
    apic::send_startup(id, number);
    wait(AFTER_STARTUP);
    if !arrived() {
        apic::send_startup(id, number);
        wait(START_TIMEOUT);
    }
    arrived()
}

/// First Rust code of a core, on its own stack.
extern "C" fn core_main(core: usize) -> ! {
    init_this_cpu(core);
    arch::gdt::init();
    arch::idt::load();
    arch::cpu::enable_protection();
    arch::cpu::enable_write_combining();
    apic::init_core();
    init_this_apic();
    mm::heap::init_this_core();
    ARRIVED.store(core, Ordering::Release);
    time::compare_as_new(core);
    super::idle()
}

/// The trampoline's bytes.
#[cfg(keelson_image)]
fn trampoline() -> &'static [u8] {
    unsafe extern "C" {
        static trampoline_start: u8;
        static trampoline_end: u8;
    }
    let (start, end) = (&raw const trampoline_start, &raw const trampoline_end);
    // SAFETY: the linker placed the code between the two labels.
    unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// There is none on a host.
#[cfg(not(keelson_image))]
fn trampoline() -> &'static [u8] {
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Protocol, Region};

    #[test]
    fn parameters_match_the_assembler() {
        assert_eq!(size_of::<Parameters>(), 4 * 8 + 4 * 4 + 6);
    }

    #[test]
    fn the_trampoline_page_is_low_ram_and_never_page_0() {
        let mut boot = BootInfo::new(Protocol::Pvh, 0..0);
        assert_eq!(trampoline_page(&boot), None);
        let _ = boot.memory.push(Region { start: 0, end: 0x1fff, kind: RegionKind::Ram });
        assert_eq!(trampoline_page(&boot), None);
        let _ = boot.memory.push(Region { start: 0, end: 0x9_fc00, kind: RegionKind::Ram });
        assert_eq!(trampoline_page(&boot), Some(0x9_e000));
    }
}
