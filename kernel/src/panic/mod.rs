//! The end of the line: reports of panics and exceptions, a dump, then what `panic=` asks for.

pub mod backtrace;
pub mod dump;
pub mod provoke;

use crate::arch::cpu;
use crate::arch::exception::{Frame, Headline};
use crate::console::{self, Raw, screen};
use crate::options::PanicAction;
use crate::symbols::SymbolTable;
use crate::sync::SpinLock;
use crate::{crash, image, mm, postmortem, power, smp, watchdog};
use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Log lines shown in a report.
const LOG_LINES: usize = 64;

/// What `panic=` asks for.
static ACTION: SpinLock<PanicAction> = SpinLock::new(PanicAction::Halt);

/// The core that reports, or [`NOBODY`].
static REPORTER: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;

/// Sets what follows a report.
pub fn set_action(action: PanicAction) {
    *ACTION.lock() = action;
}

/// Reports an exception and ends.
pub fn exception(headline: &Headline<'_>, frame: &Frame, gs_base: u64) -> ! {
    begin(format_args!("{headline}"), &postmortem::registers_of(frame, gs_base));
    console::write(b"\n");
    let _ = writeln!(Raw, "*** core {}: {headline} ***\n{frame}", smp::current_core());
    finish(format_args!("{headline}"), Some(frame.rip as usize), frame.rbp as usize)
}

/// Reports a panic and ends.
#[cfg_attr(not(keelson_image), allow(dead_code))]
fn report(message: Arguments<'_>) -> ! {
    begin(message, &postmortem::registers_here());
    console::write(b"\n");
    let _ = writeln!(Raw, "*** core {}: {message} ***", smp::current_core());
    let rbp: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    finish(message, None, rbp)
}

/// What a core does when it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// It is the first: it reports, and makes the dump.
    Report,
    /// The dump that it makes failed: it goes on with what follows one.
    GiveUp,
    /// Another core reports and is not to be disturbed, or the report itself failed: it stops.
    Stop,
}

/// Whose turn it is when `core` fails. `gives_up` ends the dump that the reporter makes, if it makes one now, and says so.
fn turn(reporter: &AtomicUsize, core: usize, gives_up: impl FnOnce() -> bool) -> Turn {
    match reporter.compare_exchange(NOBODY, core, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Turn::Report,
        Err(reporting) if reporting == core && gives_up() => Turn::GiveUp,
        Err(_) => Turn::Stop,
    }
}

/// Returns to the first core to fail, which reports.
fn begin(why: Arguments<'_>, registers: &[u64; postmortem::REGISTERS]) {
    match turn(&REPORTER, smp::current_core(), dump::end) {
        Turn::Report => postmortem::failed(why, registers),
        Turn::GiveUp => {
            // It may have failed in the middle of a line.
            console::break_locks();
            log::error!(target: "dump", "given up: {why}");
            end()
        }
        Turn::Stop => postmortem::failed_too(registers),
    }
    console::break_locks();
    screen::begin_report();
}

fn finish(why: Arguments<'_>, rip: Option<usize>, rbp: usize) -> ! {
    let _ = writeln!(Raw, "Keelson {}; backtrace:", env!("CARGO_PKG_VERSION"));
    show_frames(&mut Raw, rip, rbp);
    let _ = writeln!(Raw, "Last lines of the log:");
    console::log::with_last_lines(LOG_LINES, |first, second| {
        console::write(first);
        console::write(second);
    });
    // A screen has room for the latest of them only, below what is more important.
    screen::report_log();
    // Last: what goes wrong here is not in the way of the report.
    let record =
        || crash::write(format_args!("{why} (core {})", smp::current_core()), |to| show_frames(to, rip, rbp));
    record();
    if dump::run() {
        // Again, with what the log says of the dump.
        record();
    }
    end()
}

/// Writes the functions that led here, innermost first.
fn show_frames(to: &mut dyn Write, rip: Option<usize>, rbp: usize) {
    let mut number = 0;
    let mut show = |address: usize, is_return_address: bool| {
        // A return address may belong to the next line or function: look one byte back.
        show_frame(to, number, address, address - usize::from(is_return_address));
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
}

fn show_frame(to: &mut dyn Write, number: usize, address: usize, lookup: usize) {
    let symbol = SymbolTable::new(image::symbols()).and_then(|table| table.lookup(lookup as u64));
    let _ = match symbol {
        Some(symbol) => writeln!(to, "  {number:2} {address:016x} {symbol}"),
        None => writeln!(to, "  {number:2} {address:016x}"),
    };
}

fn end() -> ! {
    // Only start-up ever holds the lock for writing.
    let action = ACTION.try_lock().map_or(PanicAction::Halt, |action| *action);
    screen::report_end();
    let _ = writeln!(Raw, "panic: {action}");
    watchdog::after_panic(action);
    match action {
        PanicAction::Exit => power::exit_emulator(power::EXIT_FAILURE),
        PanicAction::Reboot(delay) => {
            crate::time::spin(delay);
            power::reboot()
        }
        PanicAction::Halt => loop {
            cpu::halt();
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_core_reports_and_no_other_ends_its_dump() {
        let reporter = AtomicUsize::new(NOBODY);
        let never = || panic!("not its dump");
        assert_eq!(turn(&reporter, 3, never), Turn::Report);
        assert_eq!(turn(&reporter, 0, never), Turn::Stop, "another core, whatever the first one does");
        assert_eq!(turn(&reporter, 3, || true), Turn::GiveUp, "its dump failed");
        assert_eq!(turn(&reporter, 3, || false), Turn::Stop, "its report, or what follows the dump");
    }
}
