//! The start-up of the machine, in order.

use crate::boot::BootInfo;
use crate::{arch, irq, mm, smp, time};

/// What the kernel hands to the image: the machine, ready for drivers.
pub struct Machine {
    /// What the loader said.
    pub boot: &'static BootInfo,
}

/// From the loader's report to the image's `main`. Runs on the boot stack until the first core has its own.
pub(crate) fn start(info: BootInfo) -> ! {
    mm::init(&info);
    let boot: &'static BootInfo = alloc::boxed::Box::leak(alloc::boxed::Box::new(info));
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
    irq::pic::disable();
    irq::apic::find();
    irq::apic::init_core();
    smp::init_this_apic();
    time::init();
    main(Machine { boot })
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

/// Names the image's main function: `fn(Machine) -> !`. On a host, where images cannot run, the program only
/// says so.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(keelson_image)]
        #[unsafe(no_mangle)]
        fn keelson_main(machine: $crate::Machine) -> ! {
            let main: fn($crate::Machine) -> ! = $main;
            main(machine)
        }

        #[cfg(not(keelson_image))]
        fn main() {
            let _: fn($crate::Machine) -> ! = $main;
            panic!("this program is a boot image: build it with `make images`");
        }
    };
}
