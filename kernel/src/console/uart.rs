//! A 16550 serial port (PC16550D datasheet), 8N1.

use crate::arch::{cpu, port};

/// Standard ports of COM1 to COM4.
pub const PORTS: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
/// Their ISA interrupts.
pub const IRQS: [u8; 4] = [4, 3, 4, 3];
/// Speed of the console unless the command line says otherwise.
pub const DEFAULT_BAUD: u32 = 115_200;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const LINE_STATUS_DATA_READY: u8 = 1 << 0;
const LINE_STATUS_THR_EMPTY: u8 = 1 << 5;

/// Depth of the transmit FIFO: what may be written after one look at "transmitter empty".
const FIFO_DEPTH: usize = 16;
/// Processor cycles until a transmitter counts as stuck: 10 ms at 3 GHz; a full FIFO takes 1.4 ms at 115200
/// baud. Below 19200 baud long output loses bytes, and says so in its count.
const STUCK_AFTER_CYCLES: u64 = 30_000_000;

/// One serial port.
pub struct Uart {
    base: u16,
    dropped: u64,
    stuck: bool,
}

impl Uart {
    /// Looks for a UART at `base` and sets it up for `baud` (a divisor of 115200); `None` when there is none.
    pub fn probe(base: u16, baud: u32) -> Option<Uart> {
        let [low, high, ..] = (DEFAULT_BAUD / baud.max(2)).max(1).to_le_bytes();
        // SAFETY: COM port ranges belong to a UART or to nothing; a missing one reads FF.
        unsafe {
            for pattern in [0x5a, 0xa5] {
                port::write8(base + SCRATCH, pattern);
                if port::read8(base + SCRATCH) != pattern {
                    return None;
                }
            }
            port::write8(base + INTERRUPT_ENABLE, 0);
            port::write8(base + LINE_CONTROL, 0x80); // divisor latch
            port::write8(base + DATA, low);
            port::write8(base + INTERRUPT_ENABLE, high);
            port::write8(base + LINE_CONTROL, 0x03); // 8N1
            port::write8(base + FIFO_CONTROL, 0x07); // on, both cleared, interrupt at one byte
            port::write8(base + MODEM_CONTROL, 0x0b); // DTR, RTS, OUT2 (gates the interrupt line)
        }
        Some(Uart { base, dropped: 0, stuck: false })
    }

    /// Lets received bytes raise the port's interrupt (IRQ 4 for COM1).
    pub fn enable_receive_interrupt(&mut self) {
        // SAFETY: the port is ours.
        unsafe { port::write8(self.base + INTERRUPT_ENABLE, 0x01) };
    }

    /// Writes `bytes`, a newline as CR LF. What a stuck transmitter does not take within its bound is
    /// dropped and counted; once stuck, each call only looks once.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut room = 0;
        for &byte in bytes {
            if byte == b'\n' {
                self.put(b'\r', &mut room);
            }
            self.put(byte, &mut room);
        }
    }

    fn put(&mut self, byte: u8, room: &mut usize) {
        if *room == 0 {
            if !self.wait_for_transmitter() {
                self.dropped += 1;
                return;
            }
            *room = FIFO_DEPTH;
        }
        // SAFETY: the port is ours.
        unsafe { port::write8(self.base + DATA, byte) };
        *room -= 1;
    }

    fn wait_for_transmitter(&mut self) -> bool {
        let started = cpu::rdtsc();
        loop {
            // SAFETY: the port is ours; reading the status clears only error bits nobody reads.
            if unsafe { port::read8(self.base + LINE_STATUS) } & LINE_STATUS_THR_EMPTY != 0 {
                self.stuck = false;
                return true;
            }
            if self.stuck || cpu::rdtsc().wrapping_sub(started) > STUCK_AFTER_CYCLES {
                self.stuck = true;
                return false;
            }
            cpu::pause();
        }
    }

    /// The next received byte.
    pub fn read(&mut self) -> Option<u8> {
        // SAFETY: the port is ours.
        unsafe {
            let status = port::read8(self.base + LINE_STATUS);
            // All ones: the device went away.
            if status == 0xff || status & LINE_STATUS_DATA_READY == 0 {
                return None;
            }
            Some(port::read8(self.base + DATA))
        }
    }

    /// Bytes dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
