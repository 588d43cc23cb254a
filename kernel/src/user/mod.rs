//! User mode: programs in ring 3, for the roles that have them. Behind the traits of [`keelson_hal::user`].
//!
//! Off until an image calls [`init`]; then every core can run programs.
//!
//! ```text
//!   cpu         running a program: what is loaded on the core, what brought the program back
//!   entry       the assembly of it              features    processor features and registers
//!   extended    x87, SSE, AVX of a thread       tables      page tables (host-tested)
//!   space       address spaces, generations     visibility  when what was taken out is free (host-tested)
//!   pool        frames                          counts      references to them (host-tested)
//!   park        rest of a core without timer    stock       frames zeroed in advance
//!   share       how much programs may have      machine     all of it as one trait
//!   selftest    programs that try it on the machine
//! ```
//!
//! Interrupts are on in ring 3 and off in the kernel, as everywhere: Rust code is never interrupted. Whatever ends a
//! program's run, a system call, an exception, an interrupt, ends as a return of [`ThisCore::run`].
//!
//! Not here: what system calls mean, ELF, processes, signals.
//!
//! [`ThisCore::run`]: keelson_hal::user::UserCore::run

mod counts;
pub mod cpu;
pub mod entries;
mod entry;
mod extended;
mod features;
mod machine;
mod park;
mod pool;
pub mod selftest;
mod share;
mod space;
mod stock;
mod tables;
mod visibility;

pub use crate::irq::apic::{Audit, audit};
pub use cpu::ThisCore;
pub use machine::UserMode;
pub use park::{ComputePark, mark};
pub use pool::refill_zeroed;
pub(crate) use pool::{frame_of_program, give_up_zeroed};
pub(crate) use space::root_of;

use crate::boot::{BootInfo, RegionKind};
use crate::smp::{self, NoAnswer};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

static DONE: AtomicBool = AtomicBool::new(false);

/// Why there is no user mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// It was turned on before.
    Again,
    /// No memory to count frames.
    OutOfMemory,
    /// A core could not be prepared.
    NoAnswer(NoAnswer),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitError::Again => f.write_str("user mode is on already"),
            InitError::OutOfMemory => f.write_str("no memory to count the frames of programs"),
            InitError::NoAnswer(core) => core.fmt(f),
        }
    }
}

/// Turns user mode on, on all cores. Once, on the first core, before the others are given work for ever.
pub fn init(boot: &BootInfo) -> Result<UserMode, InitError> {
    if DONE.swap(true, Ordering::AcqRel) {
        return Err(InitError::Again);
    }
    let ram = boot.memory.iter().filter(|region| region.kind == RegionKind::Ram);
    let top = ram.map(|region| region.end).max().unwrap_or(0);
    if !pool::init(top) {
        return Err(InitError::OutOfMemory);
    }
    space::init();
    smp::on_each(cpu::init_core).map_err(InitError::NoAnswer)?;
    Ok(UserMode::new())
}
