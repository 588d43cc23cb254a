//! The start-up of the machine, in order.

use crate::arch::port::Ports;
use crate::boot::BootInfo;
use crate::console::screen;
use crate::drbg::Drbg;
use crate::irq::{self, KernelPark};
use crate::mm::KernelDma;
use crate::pci_host::PciHost;
use crate::platform::Platform;
use crate::time::KernelClock;
use crate::{arch, crash, entropy, mm, numa, postmortem, power, rtc, smp, time};
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::time::Duration;

/// What the kernel hands to the image: the machine, ready for drivers. All of it belongs to the first core.
pub struct Machine {
    /// What the loader said.
    pub boot: &'static BootInfo,
    /// What the firmware said.
    pub platform: &'static Platform,
    /// Monotonic and wall-clock time.
    pub clock: Rc<KernelClock>,
    /// Rest until the next interrupt, for the executor.
    pub park: KernelPark,
    /// Device-visible memory.
    pub dma: Rc<KernelDma>,
    /// Random numbers; drivers of hardware generators add seeds.
    pub entropy: Rc<Drbg>,
    /// The PCI functions and their configuration space.
    pub pci: Rc<PciHost>,
}

/// From the loader's report to the image's `main`. Runs on the boot stack until the first core has its own.
pub(crate) fn start(info: BootInfo) -> ! {
    let early = mm::init(&info);
    numa::init(&info);
    mm::init_frames(&info, early);
    crash::init(&info);
    arch::cpu::enable_write_combining();
    screen::init(&info);
    let boot: &'static BootInfo = Box::leak(Box::new(info));
    let Some(top) = mm::stack::allocate(0) else { panic!("no memory for the first stack") };
    // SAFETY: `top` is the end of a fresh stack, and nothing returns to the old one.
    unsafe {
        core::arch::asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {next}",
            "ud2",
            top = in(reg) top,
            next = sym on_own_stack,
            in("rdi") boot,
            options(noreturn)
        )
    }
}

extern "C" fn on_own_stack(boot: &'static BootInfo) -> ! {
    arch::gdt::init();
    arch::idt::load();
    arch::cpu::enable_protection();
    arch::emulator::init();
    irq::pic::disable();
    irq::apic::find();
    irq::apic::init_core();
    smp::init_this_apic();
    mm::heap::init_this_core();
    let platform: &'static Platform = Box::leak(Box::new(Platform::find(boot)));
    let woken = smp::wake_all(&platform.processors);
    // It takes some milliseconds: things are done meanwhile that need no clock.
    let measurement = time::measure(platform.pm_timer());
    for (address, first_wire) in &platform.io_apics {
        irq::ioapic::add(*address, *first_wire);
    }
    let civil = rtc::read(&Ports, platform.fadt.as_ref().map_or(0, |fadt| fadt.century_register));
    let entropy = Rc::new(entropy::generator());
    let pci = Rc::new(PciHost::find(platform));
    power::init(platform);
    time::init(measurement);
    time::find(platform.hpet.as_ref(), platform.pm_timer());
    for remark in &platform.remarks {
        log::warn!(target: "acpi", "{remark}");
    }
    match civil {
        Ok(civil) => time::set_wall(Duration::from_secs(civil.unix_seconds())),
        Err(error) => log::warn!(target: "time", "{error}"),
    }
    smp::start_all(boot, &platform.processors, woken);
    (0..smp::online()).for_each(|core| numa::place_core(core, platform.node_of(smp::apic_id(core))));
    postmortem::init(boot);
    main(Machine {
        boot,
        platform,
        clock: Rc::new(KernelClock),
        park: KernelPark::new(),
        dma: Rc::new(KernelDma),
        entropy,
        pci,
    })
}

#[cfg(keelson_image)]
fn main(machine: Machine) -> ! {
    unsafe extern "Rust" {
        fn keelson_main(machine: Machine) -> !;
    }
    // SAFETY: `entry!` defines it with this type.
    unsafe { keelson_main(machine) }
}

#[cfg(not(keelson_image))]
fn main(_machine: Machine) -> ! {
    unreachable!("there is no machine to start on a host")
}

/// Names the image's main function: `fn(Machine) -> !`, and says in the boot file what it is ([`note`](crate::note)): the name of
/// the binary is the role. On a host, where images cannot run, the program only says so.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(keelson_image)]
        #[unsafe(no_mangle)]
        fn keelson_main(machine: $crate::Machine) -> ! {
            let main: fn($crate::Machine) -> ! = $main;
            main(machine)
        }

        #[cfg(keelson_image)]
        #[used]
        #[unsafe(link_section = ".note.keelson")]
        static KEELSON_NOTE: $crate::note::Note =
            $crate::note::Note::new(env!("CARGO_BIN_NAME"), env!("KEELSON_BUILT"));

        #[cfg(not(keelson_image))]
        fn main() {
            let _: fn($crate::Machine) -> ! = $main;
            panic!("this program is a boot image: build it with `make images`");
        }
    };
}
