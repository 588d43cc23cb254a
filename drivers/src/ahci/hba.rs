//! The controller: taken over from the firmware, reset, its ports brought up.

use super::command::Memory;
use super::port::Port;
use crate::InitError;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use keelson_hal::{Clock, Dma, Registers};

/// Generic host control (section 3.1).
const CAP: usize = 0x00;
const GHC: usize = 0x04;
const IS: usize = 0x08;
const PI: usize = 0x0c;
const CAP2: usize = 0x24;
const BOHC: usize = 0x28;

/// CAP: addresses of 64 bits, queued commands, staggered spin-up.
const S64A: u32 = 1 << 31;
const SNCQ: u32 = 1 << 30;
const SSS: u32 = 1 << 27;
/// GHC: AHCI and not the registers of IDE, interrupts, reset.
const AE: u32 = 1 << 31;
const IE: u32 = 1 << 1;
const HR: u32 = 1;
/// CAP2: it can be handed over. BOHC: the firmware's and our claim, and that the firmware is not done yet.
const BOH: u32 = 1;
const BOS: u32 = 1;
const OOS: u32 = 1 << 1;
const BB: u32 = 1 << 4;

/// What a device that is gone reads.
pub(super) const GONE: u32 = u32::MAX;

/// Registers of a port: where the first begin, and how many bytes each has (section 3.3).
pub(super) const PORTS: usize = 0x100;
pub(super) const PORT: usize = 0x80;

/// The firmware says within this time that it is busy (section 10.6.3), and is done after the second.
const FIRMWARE: Duration = Duration::from_millis(25);
const FIRMWARE_BUSY: Duration = Duration::from_secs(2);
/// A reset takes no longer (section 10.4.3).
const RESET: Duration = Duration::from_secs(1);
/// A device shows itself this long after its port's reset, if it is there (section 10.4.2 has 10 ms)...
const PRESENCE: Duration = Duration::from_millis(20);
/// ...and its link is up after this.
const LINK: Duration = Duration::from_secs(1);
/// A disk that begins to turn needs up to half a minute before it says what it is.
const SPIN_UP: Duration = Duration::from_secs(31);

/// A port with a device, and the port's memory. The port receives there.
pub(super) struct Connected {
    pub(super) port: Port,
    pub(super) memory: Memory,
}

impl Connected {
    /// Stops the port; memory of one that does not confirm it is never used again.
    pub(super) fn let_go(mut self) {
        if !self.port.halt() {
            self.memory.leak();
        }
    }
}

/// A controller.
pub(super) struct Hba {
    pub(super) registers: Rc<dyn Registers>,
    pub(super) clock: Rc<dyn Clock>,
    /// Commands that a port takes.
    pub(super) slots: u16,
    pub(super) queues: bool,
    pub(super) addresses_64: bool,
    is_staggered: bool,
    /// Its ports, a bit each.
    ports: u32,
}

impl Hba {
    /// A controller that does nothing, and is in nobody else's hands.
    pub(super) fn reset(registers: Rc<dyn Registers>, clock: Rc<dyn Clock>) -> Result<Rc<Hba>, InitError> {
        if registers.len() < PORTS + PORT {
            return Err(InitError::BadConfig { field: "length of BAR 5", value: registers.len() as u64 });
        }
        let capabilities = registers.read32(CAP);
        if capabilities == GONE {
            return Err(InitError::NotADevice { what: "CAP", found: capabilities });
        }
        // A reset of some controllers forgets which ports are wired.
        let wired = registers.read32(PI);
        take_over(&*registers, &*clock);
        registers.write32(GHC, AE);
        registers.write32(GHC, AE | HR);
        if !until(&*clock, RESET, || registers.read32(GHC) & HR == 0) {
            return Err(InitError::ResetTimeout);
        }
        registers.write32(GHC, AE);
        let inside = (registers.len() - PORTS) / PORT;
        let mask = if inside >= 32 { u32::MAX } else { (1 << inside) - 1 };
        let ports = match registers.read32(PI) {
            0 => wired,
            ports => ports,
        };
        Ok(Rc::new(Hba {
            slots: (capabilities >> 8 & 0x1f) as u16 + 1,
            queues: capabilities & SNCQ != 0,
            addresses_64: capabilities & S64A != 0,
            is_staggered: capabilities & SSS != 0,
            ports: ports & mask,
            registers,
            clock,
        }))
    }

    /// Lets ports interrupt.
    pub(super) fn allow_interrupts(&self) {
        self.registers.write32(IS, GONE);
        self.registers.write32(GHC, AE | IE);
    }

    /// Takes back the interrupt of a port.
    pub(super) fn acknowledge(&self, port: u8) {
        self.registers.write32(IS, 1 << port);
    }

    /// Brings up the ports, and gives those back that have a device.
    ///
    /// They start together, unless the power supply wants to have them start in turns.
    pub(super) fn bring_up(self: &Rc<Hba>, dma: &Rc<dyn Dma>) -> Vec<Connected> {
        let numbers = (0..32_u8).filter(|number| self.ports >> number & 1 == 1);
        let ports: Vec<Port> = numbers.map(|number| Port::new(self.clone(), number)).collect();
        if self.is_staggered {
            ports.into_iter().flat_map(|port| self.rise(Vec::from([port]), dma)).collect()
        } else {
            self.rise(ports, dma)
        }
    }

    fn rise(&self, mut ports: Vec<Port>, dma: &Rc<dyn Dma>) -> Vec<Connected> {
        let passed_over = |port: &Port, why: &dyn fmt::Display| {
            log::warn!(target: super::TARGET, "port {}: {why}; passed over", port.number());
        };
        let clock = &*self.clock;
        ports.retain(Port::halt);
        ports.iter().for_each(Port::begin_reset);
        spin(clock, super::port::RESET_LASTS);
        ports.iter().for_each(Port::end_reset);
        until(clock, PRESENCE, || ports.iter().all(Port::has_link));
        ports.retain(Port::has_device);
        until(clock, LINK, || ports.iter().all(Port::has_link));
        let mut connected = Vec::new();
        for port in ports {
            match Memory::new(dma) {
                _ if !port.has_link() => passed_over(&port, &"a device without a link"),
                Ok(memory) if !self.addresses_64 && !memory.is_low() => {
                    passed_over(&port, &"the controller reaches no memory above 4 GiB, and got some");
                }
                Ok(memory) => {
                    memory.give_to(&port);
                    connected.push(Connected { port, memory });
                }
                Err(error) => passed_over(&port, &error),
            }
        }
        until(clock, SPIN_UP, || connected.iter().all(|connected| !connected.port.is_busy()));
        connected
    }
}

/// Asks the firmware to leave the controller alone, where it wants to be asked (section 10.6).
fn take_over(registers: &dyn Registers, clock: &dyn Clock) {
    if registers.read32(CAP2) & BOH == 0 {
        return;
    }
    registers.write32(BOHC, registers.read32(BOHC) | OOS);
    let is_ours = || registers.read32(BOHC) & BOS == 0;
    if !until(clock, FIRMWARE, is_ours) && registers.read32(BOHC) & BB != 0 {
        until(clock, FIRMWARE_BUSY, is_ours);
    }
}

/// Waits until `is_so`, not longer than `patience`; whether it came to be.
pub(super) fn until(clock: &dyn Clock, patience: Duration, is_so: impl Fn() -> bool) -> bool {
    let start = clock.now();
    loop {
        if is_so() {
            return true;
        }
        if clock.now() - start > patience {
            return false;
        }
        core::hint::spin_loop();
    }
}

pub(super) fn spin(clock: &dyn Clock, time: Duration) {
    until(clock, time, || false);
}
