//! Intel 82576, 82580, I350, I210 and I211 (`igb`): the generation after the 82574L, with queues that have registers
//! and descriptors of their own.
//!
//! | | |
//! |---|---|
//! | queues | one of each direction, as of all NICs here |
//! | descriptors | advanced ones: frames over several buffers of 2 KiB, checksums, segmentation of TCP over IPv4 |
//! | frames | up to an MTU of 9000 |
//! | interrupts | two MSI-X entries, MSI, line or none |
//! | station address | what the chip has loaded after its reset, from an EEPROM, a flash or (I210, I211) its iNVM |
//!
//! The 82576 has been tried on an emulated machine (QEMU 10). The others are driven as their datasheets say, and have
//! not been tried, nor have ports with SerDes or SGMII instead of the chip's own PHY.
//!
//! Memory: 512 KiB for each ring, and 512 KiB of 32 KiB buffers for frames to be segmented and jumbo frames.
//!
//! Not here: segmentation over IPv6, more queues and RSS, virtual functions, flow control, PHY management beyond having it
//! negotiate, the I354, whose PHYs are chips of their own.

mod link;
mod phy;
mod regs;

use self::regs::*;
use crate::InitError;
use crate::intel::layout::Layout;
use crate::intel::ring::{BUFFER, RING_BYTES};
use crate::intel::{self, Groups, MAX_LINK_HEADER, Queues};
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::{
    Clock, Dma, Link, MacAddress, NetCounters, NetDevice, NetFeatures, Registers, RxMeta, TransmitError,
    TxOffload,
};

pub use crate::intel::InterruptMode;

/// Time for a reset, for a queue to begin, and for the PHY. Microseconds to a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time to load what EEPROM, flash or iNVM say. Emulated chips may have nothing to load, and never say that they have.
const LOAD_PATIENCE: Duration = Duration::from_millis(20);
/// The registers must not be touched for this long after a reset.
const RESET_PAUSE: Duration = Duration::from_millis(3);
/// Largest IP packet. The chips could send and receive a few hundred bytes more.
const MAX_MTU: usize = 9000;
/// Longest frame without FCS.
const MAX_FRAME: usize = MAX_MTU + MAX_LINK_HEADER;
/// Frame check sequence, which counts in RLPML.
const FCS: usize = 4;
/// MSI-X entries beyond which the smallest of these chips have none.
const ENTRIES: u8 = 5;
/// Microseconds between interrupts. No answer to a frame comes sooner over a gigabit, so that nobody who waits for
/// one waits longer; it bounds what a flood of frames costs that come one by one.
const MODERATION: u32 = 10;

/// A port of an 82576, 82580, I350, I210 or I211.
pub struct Igb {
    registers: Rc<dyn Registers>,
    clock: Rc<dyn Clock>,
    queues: Queues,
    mac: MacAddress,
    interrupts: InterruptMode,
    groups: Groups,
    /// An interrupt is awaited: [`NetDevice::arm`] found no work.
    waiting: bool,
}

impl Igb {
    /// Resets the chip and brings it up; carrier follows when the PHY has it. With [`InterruptMode::Msix`] freed
    /// slots of the transmit ring are told through the entry behind the one given.
    pub fn new(
        registers: Rc<dyn Registers>,
        dma: Rc<dyn Dma>,
        clock: Rc<dyn Clock>,
        interrupts: InterruptMode,
    ) -> Result<Igb, InitError> {
        if registers.len() < WINDOW {
            return Err(InitError::NotADevice { what: "igb window length", found: registers.len() as u32 });
        }
        if let InterruptMode::Msix(entry) = interrupts
            && entry + 1 >= ENTRIES
        {
            return Err(InitError::VectorRefused(u16::from(entry)));
        }
        if !reset(&*registers, &*clock) {
            return Err(InitError::ResetTimeout);
        }
        let mac = intel::loaded_address(&*registers).ok_or_else(|| InitError::BadConfig {
            field: "station address",
            value: u64::from(registers.read32(RAH0)) << 32 | u64::from(registers.read32(RAL0)),
        })?;
        let device = Igb {
            queues: Queues::new(&dma, Layout::Advanced, MAX_FRAME, true, (RDT, TDT))?,
            groups: Groups::none(&*registers),
            registers,
            clock,
            mac,
            interrupts,
            waiting: false,
        };
        device.start()?;
        log::debug!(target: "igb", "igb: {mac}, {interrupts:?}");
        Ok(device)
    }

    fn get(&self, register: usize) -> u32 {
        self.registers.read32(register)
    }

    fn set(&self, register: usize, value: u32) {
        self.registers.write32(register, value);
    }

    /// Programs filters, interrupts and rings and turns both directions on.
    fn start(&self) -> Result<(), InitError> {
        self.set(CTRL_EXT, self.get(CTRL_EXT) | CTRL_EXT_DRV_LOAD);
        link::start(&*self.registers, &*self.clock);
        self.set(MRQC, 0);
        self.set(RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
        self.set(RLPML, (MAX_FRAME + FCS) as u32);
        self.start_interrupts();

        // Queue 0 is enabled by a reset, and must not be while it is told where its ring is.
        self.set(RXDCTL, 0);
        self.set(TXDCTL, 0);
        let (rx, tx) = (self.queues.rx.phys(), self.queues.tx.phys());
        self.set(RDBAL, rx as u32);
        self.set(RDBAH, (rx >> 32) as u32);
        self.set(RDLEN, RING_BYTES as u32);
        self.set(SRRCTL, (BUFFER / SRRCTL_UNIT) as u32 | SRRCTL_ADVANCED);
        self.set(RDH, 0);
        self.set(RDT, 0);
        self.enable(RXDCTL, RXDCTL_THRESHOLDS, "receive queue enable")?;

        self.set(TDBAL, tx as u32);
        self.set(TDBAH, (tx >> 32) as u32);
        self.set(TDLEN, RING_BYTES as u32);
        self.set(TDH, 0);
        self.set(TDT, 0);
        self.enable(TXDCTL, TXDCTL_THRESHOLDS, "transmit queue enable")?;

        self.set(TCTL, self.get(TCTL) | TCTL_EN | TCTL_PSP);
        self.set(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC | RCTL_LPE);
        self.set(RDT, self.queues.rx.first_tail());
        Ok(())
    }

    /// Has a queue work, and waits until it does: its tail must not be written before (82576 datasheet sections 4.5.9
    /// and 4.5.10).
    fn enable(&self, register: usize, thresholds: u32, what: &'static str) -> Result<(), InitError> {
        self.set(register, thresholds | DCTL_ENABLE);
        let works = || self.get(register) & DCTL_ENABLE != 0;
        if wait(&*self.clock, works) { Ok(()) } else { Err(InitError::NoAnswer(what)) }
    }

    fn start_interrupts(&self) {
        let entry = match self.interrupts {
            InterruptMode::Polled => return,
            InterruptMode::Plain => 0,
            InterruptMode::Msix(entry) => entry,
        };
        self.set(EITR + 4 * usize::from(entry), MODERATION << EITR_SHIFT);
        if let Some((receive, send)) = self.entries() {
            // First, because the others mean other things without it.
            self.set(GPIE, GPIE_MSIX | GPIE_PBA);
            let (from, to) = (u32::from(entry) | IVAR_VALID, u32::from(entry + 1) | IVAR_VALID);
            self.set(IVAR0, from | to << 8);
            self.set(IVAR_MISC, from << 8);
            self.set(EIAC, receive | send);
            self.set(IMS, INT_LSC);
        }
    }

    /// With MSI-X the bits of EICR for frames and the link, and for freed slots.
    fn entries(&self) -> Option<(u32, u32)> {
        match self.interrupts {
            InterruptMode::Msix(entry) => Some((1 << entry, 1 << (entry + 1))),
            InterruptMode::Plain | InterruptMode::Polled => None,
        }
    }
}

/// Waits until something holds; false when it takes too long.
fn wait(clock: &dyn Clock, holds: impl Fn() -> bool) -> bool {
    wait_for(clock, PATIENCE, holds)
}

/// The same, with what is too long.
fn wait_for(clock: &dyn Clock, patience: Duration, holds: impl Fn() -> bool) -> bool {
    let deadline = clock.now() + patience;
    while !holds() {
        if clock.now() > deadline {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Stops the chip and forgets everything it was told; false when it does not come back.
fn reset(registers: &dyn Registers, clock: &dyn Clock) -> bool {
    let mask = || {
        registers.write32(IMC, u32::MAX);
        registers.write32(EIMC, u32::MAX);
    };
    mask();
    registers.write32(RCTL, 0);
    registers.write32(TCTL, registers.read32(TCTL) & !TCTL_EN);
    registers.write32(CTRL, registers.read32(CTRL) | CTRL_MASTER_DISABLE);
    // Requests on their way could hold the bus after a reset. One that never ends is ended by it all the same.
    if !wait(clock, || registers.read32(STATUS) & STATUS_MASTER_ENABLED == 0) {
        log::warn!(target: "igb", "the chip does not stop using memory; it is reset nevertheless");
    }
    registers.write32(CTRL, registers.read32(CTRL) | CTRL_RST);
    let start = clock.now();
    while clock.now() - start < RESET_PAUSE {
        core::hint::spin_loop();
    }
    if !wait(clock, || registers.read32(CTRL) & CTRL_RST == 0) {
        return false;
    }
    wait_for(clock, LOAD_PATIENCE, || registers.read32(EECD) & EECD_AUTO_RD != 0);
    mask();
    registers.read32(ICR);
    true
}

impl Drop for Igb {
    fn drop(&mut self) {
        if !reset(&*self.registers, &*self.clock) {
            log::error!(target: "igb", "{}: no answer to reset, its memory is lost", self.mac);
            self.queues.leak();
        }
    }
}

impl NetDevice for Igb {
    fn driver(&self) -> &'static str {
        "igb"
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn features(&self) -> NetFeatures {
        NetFeatures::TX_CHECKSUM | NetFeatures::RX_CHECKSUM | NetFeatures::TSO4
    }

    fn max_mtu(&self) -> usize {
        MAX_MTU
    }

    fn max_tso_frame(&self) -> usize {
        self.queues.tx.max_tso_frame()
    }

    /// Costs one register read, and a write with MSI-X.
    fn link(&mut self) -> Link {
        if self.entries().is_some() {
            // A change interrupts only when the last one has been taken note of. Before the look, so that none is lost.
            self.set(ICR, INT_LSC);
        }
        intel::link(&*self.registers)
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        self.queues.receive(&*self.registers, budget, sink)
    }

    fn transmit_room(&mut self) -> usize {
        self.queues.tx.room()
    }

    fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        self.queues.transmit(len, offload, fill)
    }

    fn flush(&mut self) {
        self.queues.flush(&*self.registers);
    }

    fn arm(&mut self) -> bool {
        let starved = self.queues.awaits_room();
        // Causes noted while masked are old: what they stood for is looked at below.
        match (self.interrupts, self.entries()) {
            (_, Some((receive, send))) => {
                self.set(EICR, receive | send);
                self.set(EIMS, receive | if starved { send } else { 0 });
            }
            (InterruptMode::Polled, None) => {}
            (_, None) => {
                self.set(ICR, u32::MAX);
                let send = if starved { INT_TXDW } else { 0 };
                self.set(IMS, INT_RXT0 | INT_RXO | INT_RXDMT0 | INT_LSC | send);
            }
        }
        let work = self.queues.has_work();
        self.waiting = !work;
        work
    }

    fn disarm(&mut self) {
        if core::mem::take(&mut self.waiting) {
            self.queues.counters.interrupts += 1;
        }
        match (self.interrupts, self.entries()) {
            (_, Some((receive, send))) => self.set(EIMC, receive | send),
            (InterruptMode::Polled, None) => {}
            (_, None) => self.set(IMC, u32::MAX),
        }
    }

    fn set_multicast(&mut self, groups: &[MacAddress]) {
        self.groups.set(&*self.registers, groups);
    }

    /// Costs one register read: roles ask for it with each look at their interfaces.
    fn counters(&self) -> NetCounters {
        self.queues.counters(&*self.registers)
    }

    fn statistics(&self, report: &mut dyn FnMut(&'static str, u64)) {
        self.queues.statistics(&*self.registers, report);
    }

    fn rings(&self) -> (usize, usize) {
        self.queues.rings()
    }
}

#[cfg(test)]
mod tests;
