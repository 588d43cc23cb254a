//! A port's registers: start, stop, reset, what is connected.

use super::hba::{GONE, Hba, PORT, PORTS, spin, until};
use crate::dma::DmaBuffer;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::Registers;

/// Registers of a port (section 3.3).
const CLB: usize = 0x00;
const FB: usize = 0x08;
const IS: usize = 0x10;
const IE: usize = 0x14;
const CMD: usize = 0x18;
const TFD: usize = 0x20;
const SIG: usize = 0x24;
const SSTS: usize = 0x28;
const SCTL: usize = 0x2c;
const SERR: usize = 0x30;
const SACT: usize = 0x34;
const CI: usize = 0x38;

/// CMD: start, spin up, power on, receive FISes, is receiving, list runs; and the interface's state, which is to be active.
const ST: u32 = 1;
const SUD: u32 = 1 << 1;
const POD: u32 = 1 << 2;
const FRE: u32 = 1 << 4;
const FR: u32 = 1 << 14;
const CR: u32 = 1 << 15;
const ACTIVE: u32 = 1 << 28;

/// IS and IE.
pub(super) mod event {
    /// A register FIS from the device, one after a transfer by PIO, one with device bits: something is done.
    pub const DONE: u32 = 1 | 1 << 1 | 1 << 3;
    /// The link came or went.
    pub const LINK: u32 = 1 << 6 | 1 << 22;
    /// More data than there was room for, or an error of the link that ends the transfer.
    pub const TRANSFER: u32 = 1 << 24 | 1 << 27;
    /// The controller cannot reach memory.
    pub const MEMORY: u32 = 1 << 28 | 1 << 29;
    /// The device reports an error.
    pub const TASK_FILE: u32 = 1 << 30;

    pub const ALL: u32 = DONE | LINK | TRANSFER | MEMORY | TASK_FILE;
}

/// TFD: an error, data wanted, busy.
pub(super) const ERR: u32 = 1;
const DRQ: u32 = 1 << 3;
const BSY: u32 = 1 << 7;

/// SSTS: a device is seen; the link is up as well.
const PRESENT: u32 = 1;
const UP: u32 = 3;
/// SCTL: reset the link; let it not save power, which would look like a link that goes.
const RESET_LINK: u32 = 1;
const NO_SLEEP: u32 = 3 << 8;

/// A reset of the link lasts a millisecond at least (section 10.4.2).
pub(super) const RESET_LASTS: Duration = Duration::from_millis(2);
/// Engines stop within this time (section 10.1.2, 10.4.2).
const STOPS: Duration = Duration::from_millis(500);

/// What is connected, as its signature says (section 3.3.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A disk.
    Disk,
    /// An optical drive or a tape: commands in packets.
    Packets,
    /// A port multiplier.
    Multiplier,
    /// Something else, or nothing yet.
    Other(u32),
}

/// A port.
pub(super) struct Port {
    hba: Rc<Hba>,
    number: u8,
    base: usize,
}

impl Port {
    pub(super) fn new(hba: Rc<Hba>, number: u8) -> Port {
        Port { hba, number, base: PORTS + usize::from(number) * PORT }
    }

    pub(super) fn hba(&self) -> &Rc<Hba> {
        &self.hba
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    fn read(&self, register: usize) -> u32 {
        self.hba.registers.read32(self.base + register)
    }

    fn write(&self, register: usize, value: u32) {
        self.hba.registers.write32(self.base + register, value);
    }

    fn until(&self, patience: Duration, is_so: impl Fn() -> bool) -> bool {
        until(&*self.hba.clock, patience, is_so)
    }

    /// Stops commands; false when the controller does not confirm that.
    pub(super) fn stop_commands(&self) -> bool {
        let command = self.read(CMD);
        if command == GONE {
            return false;
        }
        self.write(CMD, command & !ST);
        self.until(STOPS, || self.read(CMD) & CR == 0)
    }

    /// Stops it altogether; false when the controller does not confirm that.
    pub(super) fn halt(&self) -> bool {
        if !self.stop_commands() {
            return false;
        }
        self.write(IE, 0);
        self.write(CMD, self.read(CMD) & !FRE);
        self.until(STOPS, || self.read(CMD) & FR == 0)
    }

    /// Gives it the memory of its list and of what it receives, and lets it receive.
    pub(super) fn receive(&self, memory: &DmaBuffer, list: usize, received: usize) {
        self.hba.registers.write64(self.base + CLB, memory.phys(list));
        self.hba.registers.write64(self.base + FB, memory.phys(received));
        self.clear();
        self.write(CMD, self.read(CMD) | FRE);
    }

    /// Forgets events and errors.
    pub(super) fn clear(&self) {
        self.write(SERR, GONE);
        self.write(IS, GONE);
    }

    /// Starts commands.
    pub(super) fn start(&self) {
        self.clear();
        self.write(CMD, self.read(CMD) | ST);
    }

    /// Lets it interrupt.
    pub(super) fn allow_interrupts(&self) {
        self.write(IE, event::ALL);
    }

    /// Begins a reset of the device, which is powered and told to turn before.
    pub(super) fn begin_reset(&self) {
        self.write(CMD, self.read(CMD) & !(0xf << 28) | ACTIVE | POD | SUD);
        self.write(SCTL, NO_SLEEP | RESET_LINK);
    }

    /// Ends it, [`RESET_LASTS`] later.
    pub(super) fn end_reset(&self) {
        self.write(SCTL, NO_SLEEP);
    }

    /// Resets the device; it takes a while until it is there again.
    pub(super) fn reset(&self) {
        self.begin_reset();
        spin(&*self.hba.clock, RESET_LASTS);
        self.end_reset();
    }

    /// There is a device, whether it has a link or not.
    pub(super) fn has_device(&self) -> bool {
        matches!(self.read(SSTS) & 0xf, PRESENT | UP)
    }

    pub(super) fn has_link(&self) -> bool {
        self.read(SSTS) & 0xf == UP
    }

    /// The device is at work, or has not said what it is yet.
    pub(super) fn is_busy(&self) -> bool {
        self.read(TFD) & (BSY | DRQ) != 0
    }

    /// Status and error of the device.
    pub(super) fn task_file(&self) -> u32 {
        self.read(TFD)
    }

    pub(super) fn kind(&self) -> Kind {
        if self.is_busy() {
            return Kind::Other(GONE);
        }
        match self.read(SIG) {
            0x0000_0101 => Kind::Disk,
            0xeb14_0101 => Kind::Packets,
            0x9669_0101 => Kind::Multiplier,
            other => Kind::Other(other),
        }
    }

    /// Events since the last look, which are acknowledged.
    pub(super) fn take_events(&self) -> u32 {
        let events = self.read(IS);
        if events != 0 {
            self.write(IS, events);
            self.hba.acknowledge(self.number);
        }
        events
    }

    /// Commands that are not finished: those that were not taken, or are queued in the device.
    pub(super) fn unfinished(&self) -> u32 {
        self.read(SACT) | self.read(CI)
    }

    /// Issues a command.
    pub(super) fn issue(&self, slot: u16, is_queued: bool) {
        if is_queued {
            self.write(SACT, 1 << slot);
        }
        self.write(CI, 1 << slot);
    }
}
