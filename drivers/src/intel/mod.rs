//! What Intel's gigabit controllers have in common, from the 82540EM to the I211: rings, checksums and segmentation,
//! the filter for groups, statistics, and the registers of all that. What differs is in the drivers
//! ([`e1000`](crate::e1000), [`igb`](crate::igb)) and in [`Layout`](layout::Layout).

pub(crate) mod layout;
mod multicast;
mod queues;
pub(crate) mod regs;
pub(crate) mod ring;
mod segmentation;
mod statistics;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tx;

pub(crate) use multicast::Groups;
#[cfg(test)]
pub(crate) use multicast::hash;
pub(crate) use queues::Queues;

use keelson_hal::{Link, LinkSpeed, MacAddress, Registers};

/// Bytes in front of an IP packet: Ethernet header with a VLAN tag.
pub(crate) const MAX_LINK_HEADER: usize = 18;

/// How a device interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptMode {
    /// Not at all: its task is woken by timer. The interrupt registers are left alone, because on an emulated
    /// chip every access costs an exit, at every tick.
    Polled,
    /// Through the line or MSI.
    Plain,
    /// Chips that have MSI-X, with it enabled: through this entry, 0 to 4. The 82574L has every cause there, igb
    /// those for received frames and the link, and the others in the entry behind it.
    Msix(u8),
}

/// The link as STATUS tells it. Costs one register read.
pub(crate) fn link(registers: &dyn Registers) -> Link {
    let status = registers.read32(regs::STATUS);
    match (status & regs::STATUS_LU != 0, status >> regs::STATUS_SPEED_SHIFT & 3) {
        (false, _) => Link::Down,
        (true, 0) => Link::Up(LinkSpeed(10)),
        (true, 1) => Link::Up(LinkSpeed(100)),
        (true, _) => Link::Up(LinkSpeed(1000)),
    }
}

/// Whether an address can be that of a station.
pub(crate) fn is_station(mac: MacAddress) -> bool {
    !mac.is_multicast() && mac != MacAddress::default()
}

/// The station address that the chip loaded by itself: what the first receive address register holds.
pub(crate) fn loaded_address(registers: &dyn Registers) -> Option<MacAddress> {
    let ([a, b, c, d], high) = (registers.read32(regs::RAL0).to_le_bytes(), registers.read32(regs::RAH0));
    let [e, f, ..] = high.to_le_bytes();
    let mac = MacAddress([a, b, c, d, e, f]);
    (high & regs::RAH_AV != 0 && is_station(mac)).then_some(mac)
}
