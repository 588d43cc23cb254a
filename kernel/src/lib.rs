//! The x86-64 kernel: boot, memory, interrupts, time, CPUs, log, panic.
//!
//! Principles:
//!
//! 1. **One address space, ring 0, no preemption.** Interrupts are on only inside the idle halt
//!    ([`irq::KernelPark`]): no Rust code is ever interrupted, so prebuilt `core` and `alloc` (which use SSE
//!    and, in places, the red zone) are sound, and locks need no care for handlers.
//! 2. **Handlers do nothing**: naked code that sets a bit and acknowledges; tasks do the work.
//! 3. **Everything that fails says so**: exceptions and panics end in a report with a symbolised backtrace.
//! 4. **Nothing above knows the loader or the machine**: [`boot::BootInfo`] and [`Machine`] are all there is.
//!
//! Not here: device drivers (only what the machine itself needs), protocols, configuration.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod arch;
pub mod boot;
pub mod console;
pub mod crash;
pub mod drbg;
pub mod entropy;
pub mod fw_cfg;
pub mod image;
pub mod irq;
pub mod log_filter;
pub mod mm;
pub mod note;
pub mod numa;
pub mod options;
pub mod panic;
pub mod pci;
pub mod pci_host;
pub mod platform;
pub mod postmortem;
pub mod power;
pub mod power_button;
pub mod rtc;
pub mod smp;
pub mod start;
pub mod symbols;
pub mod sync;
pub mod time;
pub mod turbo;
pub mod user;
pub mod watchdog;

pub use start::Machine;
