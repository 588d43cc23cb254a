//! The serial console and the log that ends there.

pub mod log;
pub mod ring;
pub mod uart;

use crate::sync::IrqFree;
use core::fmt;
use core::task::{Context, Poll};
use keelson_hal::Interrupt;
use uart::Uart;

/// The first serial port; `None` on a machine without one.
static UART: IrqFree<Option<Uart>> = IrqFree::new(None);

/// Sets up the serial port; the first thing Rust does, so that everything after it can speak.
pub fn early_init() {
    *UART.lock() = Uart::probe(uart::COM1);
    log::init();
}

/// True when the machine has a serial port.
pub fn present() -> bool {
    UART.lock().is_some()
}

/// Writes to the serial port.
pub fn write(bytes: &[u8]) {
    if let Some(uart) = UART.lock().as_mut() {
        uart.write(bytes);
    }
}

/// Takes the serial port away from whichever core holds it; only for a core that is about to panic after it
/// stopped all others.
pub fn break_locks() {
    // SAFETY: the other cores are stopped, and this one never continues what it was doing.
    unsafe {
        UART.break_lock();
        log::break_lock();
    }
}

/// [`fmt::Write`] straight to the serial port, past the log.
pub struct Raw;

impl fmt::Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// The serial console as a device.
pub struct SerialConsole {
    receive: crate::irq::IrqSource,
}

impl SerialConsole {
    /// The console, which reads whenever `receive` fires (the port's interrupt, or a timer).
    pub fn new(receive: crate::irq::IrqSource) -> SerialConsole {
        if let Some(uart) = UART.lock().as_mut() {
            uart.enable_receive_interrupt();
        }
        SerialConsole { receive }
    }
}

impl keelson_hal::Console for SerialConsole {
    fn write(&self, bytes: &[u8]) {
        write(bytes);
    }

    fn dropped(&self) -> u64 {
        UART.lock().as_ref().map_or(0, Uart::dropped)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        loop {
            let mut count = 0;
            if let Some(uart) = UART.lock().as_mut() {
                while count < buffer.len()
                    && let Some(byte) = uart.read()
                {
                    buffer[count] = byte;
                    count += 1;
                }
            }
            if count > 0 {
                return Poll::Ready(count);
            }
            // Registers the waker; when the source fired meanwhile, look again.
            if self.receive.poll_fired(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
