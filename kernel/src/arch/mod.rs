//! The processor: ports, control registers, descriptor tables, exceptions.

pub mod cpu;
pub mod emulator;
pub mod exception;
pub mod gdt;
pub mod idt;
mod memory;
pub mod port;

/// The personality routine that precompiled `core` names. Never called: panics abort.
#[cfg(keelson_image)]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Named by precompiled `core`; never called.
#[cfg(keelson_image)]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    loop {
        cpu::halt();
    }
}
