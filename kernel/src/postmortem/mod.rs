//! What is left when the kernel does not go on: registers of all cores, where everything is, and which memory is worth a look.
//!
//! ```text
//!   block      the block "KEELINFO" in the image's data, at offsets that dumps rely on
//!   hold       stopping the other cores by NMI where they hold no lock, and letting them go
//!   own        the registers of the core that asks, with the stack that belongs to them
//!   memory     RAM, without what is free or a program's
//!   core_file  the same as a file for debuggers, for a kernel that has failed
//! ```
//!
//! The block is written in place: a panic only has to add why, and registers. Nothing on that way takes a lock or allocates.
//!
//! Not here: who asks for a dump, and what becomes of it.

mod block;
mod core_file;
mod hold;
mod memory;
mod own;

pub use block::bytes;
pub use core_file::CoreFile;
pub(crate) use hold::{Holding, nmi};
pub use hold::{hold, is_held, is_holding, release};
pub use keelson_elf::REGISTERS;
pub use memory::{Piece, Selection, is_zero, next, read};
pub(crate) use own::registers_here;

use crate::arch::exception::Frame;
use crate::boot::BootInfo;
use crate::console::ring::Place;
use crate::smp;
use block::{BLOCK, CoreState};
use core::fmt::{self, Arguments};
use core::time::Duration;
use keelson_hal::user::AddressSpace;

/// Fills in what is known of the machine; once its clock and the other cores run.
pub(crate) fn init(boot: &'static BootInfo) {
    memory::init(boot);
    block::init(boot, memory::end());
}

/// Notes what time it was at boot, for dumps.
pub(crate) fn booted_at(wall: Duration) {
    block::set_booted(wall);
}

/// Notes what was built, for dumps.
pub fn set_build(build: &str) {
    block::set(&BLOCK.build, format_args!("{build}"));
}

/// Notes the command line, for dumps: without secrets.
pub fn set_kargs(line: &str) {
    block::set(&BLOCK.kargs, format_args!("{line}"));
}

/// The log is kept at another place, for dumps.
pub(crate) fn log_moved(place: Place) {
    block::set_log(place);
}

/// A process began, or runs another program.
pub(crate) fn process_began(pid: u32, space: &dyn AddressSpace, name: &[u8]) {
    if let Some(root) = crate::user::root_of(space) {
        block::add_process(pid, root, name);
    }
}

/// A process ended.
pub(crate) fn process_ended(pid: u32) {
    block::remove_process(pid);
}

/// A core does the work of a thread from now on; zeros for none.
pub(crate) fn runs(core: usize, pid: u32, tid: u32) {
    block::core(core).set_running(pid, tid);
}

/// The kernel gives up: notes why, and the registers of this core and of all others, which stop for good.
pub(crate) fn failed(why: Arguments<'_>, registers: &[u64; REGISTERS]) {
    let here = smp::here();
    block::core(here.core()).save(CoreState::Panicked, registers, here);
    block::set(&BLOCK.panic, why);
    block::stopped_now();
    smp::stop_others();
    hold::wait_for_stops();
}

/// This core fails while another one reports, or in its own report: it stops, with the registers that it had the first time.
pub(crate) fn failed_too(registers: &[u64; REGISTERS]) -> ! {
    let here = smp::here();
    let known = block::core(here.core());
    if !known.has_failed() {
        known.save(CoreState::Live, registers, here);
    }
    hold::stop_here(&here.holding)
}

/// The registers of an exception as a debugger wants them. GS base is what the interrupted code had: the
/// entry code changes it.
pub(crate) fn registers_of(frame: &Frame, gs_base: u64) -> [u64; REGISTERS] {
    own::from_frame(frame, gs_base)
}

/// Text that is cut where there is no room for more.
struct Cut<'a> {
    rest: &'a [core::sync::atomic::AtomicU8],
}

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // The last byte stays zero.
            let [place, rest @ ..] = self.rest else { return Ok(()) };
            if rest.is_empty() {
                return Ok(());
            }
            place.store(byte, core::sync::atomic::Ordering::Relaxed);
            self.rest = rest;
        }
        Ok(())
    }
}
