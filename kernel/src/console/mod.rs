//! The serial console, the log that ends there, and the screen that shows it.

pub mod log;
pub mod ring;
pub mod screen;
pub mod uart;

use crate::irq::{self, IrqSource};
use crate::platform::Platform;
use crate::sync::SpinLock;
use core::fmt;
use core::task::{Context, Poll};
use core::time::Duration;
use keelson_hal::Interrupt;
use uart::Uart;

/// How often the console looks for input on a machine where its interrupt does not arrive.
const POLL_PERIOD: Duration = Duration::from_millis(20);

/// The first serial port; `None` on a machine without one.
static UART: SpinLock<Option<Uart>> = SpinLock::new(None);

/// Sets up the serial port; the first thing Rust does, so that everything after it can speak.
pub fn early_init() {
    *UART.lock() = Uart::probe(uart::PORTS[0], uart::DEFAULT_BAUD);
    log::init();
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
        screen::break_lock();
    }
}

/// [`fmt::Write`] straight to the serial port and to the screen, past the log: for reports of panics.
pub(crate) struct Raw;

impl fmt::Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        screen::report(text.as_bytes());
        Ok(())
    }
}

/// The serial console as a device.
pub struct SerialConsole {
    receive: IrqSource,
}

impl SerialConsole {
    /// Moves log and input to serial port `index` (0 for COM1) at `baud`; `None` when there is no such port,
    /// and everything stays as it was.
    pub fn open(platform: &Platform, index: usize, baud: Option<u32>) -> Option<SerialConsole> {
        let mut uart = Uart::probe(*uart::PORTS.get(index)?, baud.unwrap_or(uart::DEFAULT_BAUD))?;
        let (gsi, wire) = platform.isa_wire(uart::IRQS[index]);
        let receive = irq::legacy(gsi, wire).unwrap_or_else(|| irq::timer_polled(POLL_PERIOD));
        uart.enable_receive_interrupt();
        *UART.lock() = Some(uart);
        Some(SerialConsole { receive })
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
