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
use core::sync::atomic::{AtomicBool, Ordering};

/// Log lines shown in a report.
const LOG_LINES: usize = 64;

/// What `panic=` asks for.
static ACTION: SpinLock<PanicAction> = SpinLock::new(PanicAction::Halt);

static REPORTING: AtomicBool = AtomicBool::new(false);

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

/// The first core to fail reports; the others, and a failure inside the report, stop here.
fn begin(why: Arguments<'_>, registers: &[u64; postmortem::REGISTERS]) {
    if REPORTING.swap(true, Ordering::AcqRel) {
        // All others have stopped: the dump itself failed.
        if dump::is_running() {
            log::error!(target: "dump", "given up: {why}");
            end();
        }
        postmortem::failed_too(registers);
    }
    postmortem::failed(why, registers);
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
