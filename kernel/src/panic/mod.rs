//! The end of the line: reports of panics and exceptions, then what `panic=` asks for.

pub mod backtrace;

use crate::arch::cpu;
use crate::arch::exception::{Frame, Headline};
use crate::console::{self, Raw};
use crate::symbols::SymbolTable;
use crate::{image, mm, power, smp};
use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Log lines shown in a report.
const LOG_LINES: usize = 64;

/// What `panic=` asks for: 0 halts, N > 0 reboots after N seconds, N < 0 at once, [`EXIT`] ends QEMU.
static AFTER_PANIC: AtomicI32 = AtomicI32::new(0);
/// `panic=exit`: report failure through isa-debug-exit, for tests.
pub const EXIT: i32 = i32::MIN;

static REPORTING: AtomicBool = AtomicBool::new(false);

/// Sets what follows a report; the values are those of Linux's `panic=`, and [`EXIT`].
pub fn set_action(action: i32) {
    AFTER_PANIC.store(action, Ordering::Relaxed);
}

/// Reports an exception and ends.
pub fn exception(headline: &Headline<'_>, frame: &Frame) -> ! {
    begin();
    let _ = writeln!(Raw, "\n*** {headline} on core {} ***\n{frame}", smp::current_core());
    finish(Some(frame.rip as usize), frame.rbp as usize)
}

/// Reports a panic and ends.
#[cfg_attr(not(keelson_image), allow(dead_code))]
fn report(message: Arguments<'_>) -> ! {
    begin();
    let _ = writeln!(Raw, "\n*** {message} on core {} ***", smp::current_core());
    let rbp: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    finish(None, rbp)
}

/// The first core to fail reports; the others, and a failure inside the report, stop here.
fn begin() {
    if REPORTING.swap(true, Ordering::AcqRel) {
        smp::stop_here();
    }
    smp::stop_others();
    console::break_locks();
}

fn finish(rip: Option<usize>, rbp: usize) -> ! {
    let _ = writeln!(Raw, "Keelson {}; backtrace:", env!("CARGO_PKG_VERSION"));
    let mut number = 0;
    let mut show = |address: usize, is_return_address: bool| {
        // A return address may belong to the next line or function: look one byte back.
        show_frame(number, address, address - usize::from(is_return_address));
        number += 1;
    };
    if let Some(rip) = rip {
        show(rip, false);
    }
    if let Some(stack) = mm::stack::around(rbp) {
        // SAFETY: `walk` reads only inside `stack`, which is mapped.
        let read = |address: usize| unsafe { (address as *const usize).read_volatile() };
        backtrace::walk(rbp, stack, read, |address| show(address, true));
    }
    let _ = writeln!(Raw, "Last lines of the log:");
    console::log::with_last_lines(LOG_LINES, |first, second| {
        console::write(first);
        console::write(second);
    });
    end()
}

fn show_frame(number: usize, address: usize, lookup: usize) {
    let table = SymbolTable::new(image::symbols());
    let _ = match table.and_then(|table| table.lookup(lookup as u64)) {
        Some(symbol) => {
            let name = rustc_demangle::demangle(symbol.mangled());
            writeln!(Raw, "  {number:2} {address:016x} {name:#}+{:#x}", address as u64 - symbol.address)
        }
        None => writeln!(Raw, "  {number:2} {address:016x}"),
    };
}

fn end() -> ! {
    let action = AFTER_PANIC.load(Ordering::Relaxed);
    match action {
        EXIT => power::exit_emulator(power::EXIT_FAILURE),
        0 => {
            let _ = writeln!(Raw, "Halted (panic=0).");
        }
        seconds => {
            if seconds > 0 {
                let _ = writeln!(Raw, "Rebooting in {seconds} s.");
                crate::time::spin(core::time::Duration::from_secs(seconds.unsigned_abs().into()));
            } else {
                let _ = writeln!(Raw, "Rebooting.");
            }
            power::reboot();
        }
    }
    loop {
        cpu::halt();
    }
}

#[cfg(keelson_image)]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => report(format_args!("panic: {} ({}:{})", info.message(), at.file(), at.line())),
        None => report(format_args!("panic: {}", info.message())),
    }
}
