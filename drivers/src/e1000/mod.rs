//! Intel 82540EM (`e1000`) and 82574L (`e1000e`): one driver, few differences.
//!
//! | | 82540EM | 82574L |
//! |---|---|---|
//! | interrupts | line or none | MSI-X entry of the caller's choice, MSI, line or none |
//! | EEPROM word read | address << 8, done bit 4 | address << 2, done bit 1 |
//! | quirk | | TXDCTL bit 22 must be 1 |
//! | segmentation | TCP over IPv4 | not used, see [`Chip::segments`] |
//! | largest MTU | 16110 | 9000 |
//!
//! Receive descriptors are legacy ones; sending uses context and data descriptors, which emulators need for
//! the checksum. The image turns off ASPM L0s and L1 on the link of a real 82574L (specification update).
//!
//! Long frames are received always, whatever the MTU of the moment: over several buffers of 2 KiB (`intel::ring`). Buffers that hold
//! the longest frame would take 4 MiB for a ring, and the chips have no size between 8 and 16 KiB.
//!
//! Memory: 512 KiB for each ring, and 16 buffers for long frames to be sent: of 32 KiB when the chip segments, else of 16 KiB.
//!
//! Not here: segmentation over IPv6, the second queue of the 82574L, PHY management beyond what the EEPROM set up.

mod regs;

use self::regs::*;
use crate::InitError;
use crate::intel::layout::Layout;
use crate::intel::ring::RING_BYTES;
use crate::intel::{self, Groups, MAX_LINK_HEADER, Queues, is_station};
use alloc::rc::Rc;
use core::time::Duration;
use keelson_hal::{
    Clock, Dma, Link, MacAddress, NetCounters, NetDevice, NetFeatures, Registers, RxMeta, TransmitError,
    TxOffload,
};

/// Which chip it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chip {
    /// 8086:100E, QEMU's `e1000`.
    I82540em,
    /// 8086:10D3, QEMU's `e1000e`.
    I82574l,
}

impl Chip {
    /// Whether the chip is asked to segment TCP.
    ///
    /// The 82574L can, but QEMU's model before version 8.0 cuts such a frame into *IP fragments*, which are
    /// worse than frames of the ordinary size: one lost fragment loses the whole frame, and firewalls drop them.
    fn segments(self) -> bool {
        self == Chip::I82540em
    }

    /// Largest IP packet.
    ///
    /// The 82574L is made for frames of 9018 bytes with header and FCS. The 82540EM and its sisters receive up to 16,384
    /// bytes (8254x manual section 13.7.15); Linux's driver has them run with up to 16,128, VLAN tag and FCS included.
    fn max_mtu(self) -> usize {
        match self {
            Chip::I82540em => 16_110,
            Chip::I82574l => 9000,
        }
    }

    /// Longest frame without FCS.
    fn max_frame(self) -> usize {
        self.max_mtu() + MAX_LINK_HEADER
    }
}

pub use crate::intel::InterruptMode;

/// Time for reset and for an EEPROM word. Both take microseconds to a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// The registers must not be touched for this long after a reset.
const RESET_PAUSE: Duration = Duration::from_millis(2);

/// An 82540EM or 82574L.
pub struct E1000 {
    registers: Rc<dyn Registers>,
    clock: Rc<dyn Clock>,
    chip: Chip,
    queues: Queues,
    mac: MacAddress,
    /// Causes that interrupt for received frames (0 in [`InterruptMode::Polled`]) and for freed slots.
    receive_causes: u32,
    send_causes: u32,
    groups: Groups,
    /// An interrupt is awaited: [`NetDevice::arm`] found no work.
    waiting: bool,
}

impl E1000 {
    /// Resets the chip and brings it up; carrier follows when the PHY has it.
    pub fn new(
        chip: Chip,
        registers: Rc<dyn Registers>,
        dma: Rc<dyn Dma>,
        clock: Rc<dyn Clock>,
        interrupts: InterruptMode,
    ) -> Result<E1000, InitError> {
        if registers.len() < WINDOW {
            return Err(InitError::NotADevice { what: "e1000 window length", found: registers.len() as u32 });
        }
        if chip == Chip::I82540em {
            registers.write32(PBA, PBA_82540);
        }
        if !reset(&*registers, &*clock) {
            return Err(InitError::ResetTimeout);
        }
        let mac = read_mac(chip, &*registers, &*clock)?;
        let msix = match (chip, interrupts) {
            (_, InterruptMode::Plain | InterruptMode::Polled) => None,
            (Chip::I82574l, InterruptMode::Msix(entry @ 0..=4)) => Some(u32::from(entry)),
            (_, InterruptMode::Msix(entry)) => return Err(InitError::VectorRefused(u16::from(entry))),
        };
        let (receive_causes, send_causes) = match msix {
            None if interrupts == InterruptMode::Polled => (0, 0),
            None => (INT_RXT0 | INT_RXO | INT_RXDMT0 | INT_LSC, INT_TXDW),
            Some(_) => (INT_RXQ0 | INT_RXO | INT_OTHER | INT_LSC, INT_TXQ0),
        };
        let device = E1000 {
            queues: Queues::new(&dma, Layout::Legacy, chip.max_frame(), chip.segments(), (RDT, TDT))?,
            groups: Groups::none(&*registers),
            registers,
            clock,
            chip,
            mac,
            receive_causes,
            send_causes,
            waiting: false,
        };
        if let Some(entry) = msix {
            // Receive queue 0, transmit queue 0, other: entry and valid bit at 3:0, 11:8, 19:16.
            let cause = entry | 1 << 3;
            device.set(IVAR, cause | cause << 8 | cause << 16);
        }
        device.start();
        log::debug!(target: "e1000", "{}: {mac}, {interrupts:?}", device.driver());
        Ok(device)
    }

    fn get(&self, register: usize) -> u32 {
        self.registers.read32(register)
    }

    fn set(&self, register: usize, value: u32) {
        self.registers.write32(register, value);
    }

    /// Programs filters and rings and turns both directions on.
    fn start(&self) {
        self.set(CTRL, self.get(CTRL) | CTRL_SLU | CTRL_ASDE);
        let [a, b, c, d, e, f] = self.mac.0;
        self.set(RAL0, u32::from_le_bytes([a, b, c, d]));
        self.set(RAH0, u32::from_le_bytes([e, f, 0, 0]) | RAH_AV);
        self.set(RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);

        self.set(RDBAL, self.queues.rx.phys() as u32);
        self.set(RDBAH, (self.queues.rx.phys() >> 32) as u32);
        self.set(RDLEN, RING_BYTES as u32);
        self.set(RDH, 0);
        self.set(RDT, 0);
        // Interrupt without delay: polling with interrupts masked is what limits their rate.
        self.set(RDTR, 0);
        self.set(RADV, 0);

        self.set(TDBAL, self.queues.tx.phys() as u32);
        self.set(TDBAH, (self.queues.tx.phys() >> 32) as u32);
        self.set(TDLEN, RING_BYTES as u32);
        self.set(TDH, 0);
        self.set(TDT, 0);
        self.set(TIDV, 0);
        if self.chip == Chip::I82574l {
            self.set(TXDCTL, self.get(TXDCTL) | TXDCTL_82574);
        }
        self.set(TIPG, TIPG_COPPER);
        self.set(TCTL, TCTL_EN | TCTL_PSP | TCTL_COLLISION);
        self.set(RCTL, RCTL_EN | RCTL_LPE | RCTL_BAM | RCTL_SECRC);
        self.set(RDT, self.queues.rx.first_tail());
    }
}

/// Stops the chip and forgets everything it was told; false when it does not come back.
fn reset(registers: &dyn Registers, clock: &dyn Clock) -> bool {
    registers.write32(IMC, u32::MAX);
    registers.write32(RCTL, 0);
    registers.write32(TCTL, TCTL_PSP);
    registers.write32(CTRL, registers.read32(CTRL) | CTRL_RST);
    let start = clock.now();
    while clock.now() - start < RESET_PAUSE {
        core::hint::spin_loop();
    }
    while registers.read32(CTRL) & CTRL_RST != 0 {
        if clock.now() - start > PATIENCE {
            return false;
        }
        core::hint::spin_loop();
    }
    registers.write32(IMC, u32::MAX);
    registers.read32(ICR);
    true
}

/// The station address: as the chip loaded it, or from words 0 to 2 of its EEPROM.
fn read_mac(chip: Chip, registers: &dyn Registers, clock: &dyn Clock) -> Result<MacAddress, InitError> {
    if let Some(loaded) = intel::loaded_address(registers) {
        return Ok(loaded);
    }
    let (shift, done) = match chip {
        Chip::I82540em => (8, 1 << 4),
        Chip::I82574l => (2, 1 << 1),
    };
    let mut mac = MacAddress::default();
    for (word, bytes) in mac.0.chunks_exact_mut(2).enumerate() {
        registers.write32(EERD, EERD_START | (word as u32) << shift);
        let deadline = clock.now() + PATIENCE;
        let value = loop {
            let value = registers.read32(EERD);
            if value & done != 0 {
                break (value >> 16) as u16;
            }
            if clock.now() > deadline {
                return Err(InitError::NotADevice { what: "EEPROM read register", found: value });
            }
        };
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    if is_station(mac) {
        Ok(mac)
    } else {
        let value = mac.0.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        Err(InitError::BadConfig { field: "EEPROM station address", value })
    }
}

impl Drop for E1000 {
    fn drop(&mut self) {
        if !reset(&*self.registers, &*self.clock) {
            log::error!(target: "e1000", "{}: no answer to reset, its memory is lost", self.mac);
            self.queues.leak();
        }
    }
}

impl NetDevice for E1000 {
    fn driver(&self) -> &'static str {
        match self.chip {
            Chip::I82540em => "e1000",
            Chip::I82574l => "e1000e",
        }
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn features(&self) -> NetFeatures {
        let mut features = NetFeatures::TX_CHECKSUM | NetFeatures::RX_CHECKSUM;
        features.set(NetFeatures::TSO4, self.chip.segments());
        features
    }

    fn max_mtu(&self) -> usize {
        self.chip.max_mtu()
    }

    fn max_tso_frame(&self) -> usize {
        self.queues.tx.max_tso_frame()
    }

    /// Costs one register read.
    fn link(&mut self) -> Link {
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
        if self.receive_causes != 0 {
            // Causes noted while masked are old: what they stood for is looked at below.
            self.set(ICR, u32::MAX);
            let send_causes = if self.queues.awaits_room() { self.send_causes } else { 0 };
            self.set(IMS, self.receive_causes | send_causes);
        }
        let work = self.queues.has_work();
        self.waiting = !work;
        work
    }

    fn disarm(&mut self) {
        if core::mem::take(&mut self.waiting) {
            self.queues.counters.interrupts += 1;
        }
        if self.receive_causes != 0 {
            self.set(IMC, u32::MAX);
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
