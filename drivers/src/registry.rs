//! Which driver is for which device.

/// Vendor id of virtio devices on PCI (virtio 1.2 section 4.1.2).
pub const VIRTIO_VENDOR: u16 = 0x1af4;

/// Vendor and device id of a PCI function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciId {
    /// Configuration space offset 0.
    pub vendor: u16,
    /// Configuration space offset 2.
    pub device: u16,
}

/// The drivers of this crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverKind {
    /// [`VirtioNet`](crate::virtio::net::VirtioNet).
    VirtioNet,
    /// [`VirtioBlk`](crate::virtio::blk::VirtioBlk).
    VirtioBlk,
    /// [`VirtioConsole`](crate::virtio::console::VirtioConsole).
    VirtioConsole,
    /// [`VirtioRng`](crate::virtio::rng::VirtioRng).
    VirtioRng,
    /// [`E1000`](crate::e1000::E1000) as [`Chip::I82540em`](crate::e1000::Chip::I82540em).
    E1000,
    /// [`E1000`](crate::e1000::E1000) as [`Chip::I82574l`](crate::e1000::Chip::I82574l).
    E1000e,
    /// [`Igb`](crate::igb::Igb).
    Igb,
    /// [`Nvme`](crate::nvme::Nvme).
    Nvme,
    /// [`ahci`](crate::ahci): a controller with any number of disks.
    Ahci,
    /// [`I6300esb`](crate::watchdog::i6300esb::I6300esb).
    I6300esb,
    /// [`Tco`](crate::watchdog::tco::Tco), in an LPC bridge.
    Tco,
}

/// Class code of a PCI function: base class, subclass, programming interface.
pub type PciClass = (u8, u8, u8);

/// Mass storage, non-volatile memory, NVM Express (PCI code and ID assignment, section 1.2).
const NVME: PciClass = (0x01, 0x08, 0x02);
/// Mass storage, SATA, AHCI (the same section).
const AHCI: PciClass = (0x01, 0x06, 0x01);

/// Bridge, ISA (the same section): what an LPC bridge says it is.
const ISA_BRIDGE: PciClass = (0x06, 0x01, 0x00);

/// Whether an Intel device is an LPC bridge with a TCO timer where ICH9 has it (device ids: the chipsets' datasheets).
fn has_tco(device: u16) -> bool {
    match device {
        // ICH9: DH, DO, R, M-E, the plain one, M.
        0x2912 | 0x2914 | 0x2916..=0x2919 => true,
        // ICH10: DO, R, the plain one, D.
        0x3a14 | 0x3a16 | 0x3a18 | 0x3a1a => true,
        // The 5 series and 3400; 6 series and C200; C600; 7 series and C216; 8 series and C220; C610; 9 series.
        0x3b00..=0x3b1f | 0x1c40..=0x1c5f | 0x1d40 | 0x1d41 | 0x1e40..=0x1e5f => true,
        0x8c40..=0x8c5f | 0x8d40..=0x8d5f | 0x8cc0..=0x8cdf => true,
        _ => false,
    }
}

/// Whether an Intel device is of the igb family (device ids: the chips' datasheets, PCI configuration space).
fn is_igb(device: u16) -> bool {
    match device {
        // 82576: copper with two ports, with four, NS; fibre; SerDes with two ports, with four, NS.
        0x10c9 | 0x10e8 | 0x1526 | 0x150a | 0x10e6 | 0x10e7 | 0x150d | 0x1518 => true,
        // 82580: copper with four ports, with two; fibre with two, with four; SerDes; SGMII.
        0x150e | 0x1516 | 0x150f | 0x1527 | 0x1510 | 0x1511 => true,
        // I350: copper, fibre, SerDes, SGMII.
        0x1521..=0x1524 => true,
        // I210: copper, fibre, SerDes, SGMII; copper and SerDes without flash. I211.
        0x1533 | 0x1536..=0x1538 | 0x157b | 0x157c | 0x1539 => true,
        _ => false,
    }
}

/// The driver for a PCI function, if there is one: by who made it, or by what it is.
pub fn probe_pci(id: PciId, class: PciClass) -> Option<DriverKind> {
    match (id.vendor, id.device) {
        // 82540EM; 82545EM, which has another bus; the older 82544GC, whose station address is loaded into its registers.
        (0x8086, 0x100c | 0x100e | 0x100f) => Some(DriverKind::E1000),
        (0x8086, 0x25ab) => Some(DriverKind::I6300esb),
        (0x8086, 0x10d3) => Some(DriverKind::E1000e),
        (0x8086, device) if is_igb(device) => Some(DriverKind::Igb),
        (0x8086, device) if class == ISA_BRIDGE && has_tco(device) => Some(DriverKind::Tco),
        _ if class == NVME => Some(DriverKind::Nvme),
        _ if class == AHCI => Some(DriverKind::Ahci),
        _ => virtio_type_of(id).and_then(probe_virtio),
    }
}

/// The driver for a virtio device type, if there is one. For MMIO the type is register 8; type 0 is an
/// empty slot.
pub fn probe_virtio(device_type: u32) -> Option<DriverKind> {
    match device_type {
        1 => Some(DriverKind::VirtioNet),
        2 => Some(DriverKind::VirtioBlk),
        3 => Some(DriverKind::VirtioConsole),
        4 => Some(DriverKind::VirtioRng),
        _ => None,
    }
}

/// The virtio device type of a PCI function: modern ids are 0x1040 plus the type, transitional ones (which
/// offer the modern interface too) have a table of their own (virtio 1.2 section 4.1.2.1).
pub fn virtio_type_of(id: PciId) -> Option<u32> {
    if id.vendor != VIRTIO_VENDOR {
        return None;
    }
    match id.device {
        0x1000 => Some(1),
        0x1001 => Some(2),
        0x1002 => Some(5),
        0x1003 => Some(3),
        0x1004 => Some(8),
        0x1005 => Some(4),
        0x1009 => Some(9),
        modern @ 0x1041..=0x107f => Some(u32::from(modern - 0x1040)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_devices_have_drivers() {
        let probe = |vendor, device| probe_pci(PciId { vendor, device }, (2, 0, 0));
        assert_eq!(probe(0x1af4, 0x1000), Some(DriverKind::VirtioNet));
        assert_eq!(probe(0x1af4, 0x1041), Some(DriverKind::VirtioNet));
        assert_eq!(probe(0x1af4, 0x1001), Some(DriverKind::VirtioBlk));
        assert_eq!(probe(0x1af4, 0x1042), Some(DriverKind::VirtioBlk));
        assert_eq!(probe(0x1af4, 0x1005), Some(DriverKind::VirtioRng));
        assert_eq!(probe(0x1af4, 0x1003), Some(DriverKind::VirtioConsole));
        for device in [0x100c, 0x100e, 0x100f] {
            assert_eq!(probe(0x8086, device), Some(DriverKind::E1000));
        }
        assert_eq!(probe(0x8086, 0x10d3), Some(DriverKind::E1000e));
        for device in [0x10c9, 0x10e8, 0x150e, 0x1521, 0x1524, 0x1533, 0x1536, 0x1538, 0x1539, 0x157b, 0x157c]
        {
            assert_eq!(probe(0x8086, device), Some(DriverKind::Igb), "{device:#x}");
            assert_eq!(probe(0x8087, device), None, "{device:#x} of somebody else");
        }
        for other in [0x10ca, 0x1520, 0x1525, 0x1f41, 0x15f2] {
            assert_eq!(probe(0x8086, other), None, "{other:#x}: a virtual function, an I354, an I225");
        }
        assert_eq!(probe(0x1af4, 0x1045), None, "the balloon has no driver");
        assert_eq!(probe(0x8086, 0x25ab), Some(DriverKind::I6300esb));
        assert_eq!(probe(0x8086, 0x1041), None);
        let bridge = |device| probe_pci(PciId { vendor: 0x8086, device }, (6, 1, 0));
        assert_eq!(bridge(0x2918), Some(DriverKind::Tco));
        assert_eq!(bridge(0x7000), None, "PIIX3");
        assert_eq!(bridge(0xa150), None, "the 100 series has it elsewhere");
        assert_eq!(probe(0x8086, 0x2918), None, "no bridge");
        let disk = |class| probe_pci(PciId { vendor: 0x144d, device: 0xa808 }, class);
        assert_eq!(disk((1, 8, 2)), Some(DriverKind::Nvme), "whoever made it");
        assert_eq!(disk((1, 8, 1)), None);
        assert_eq!(disk((1, 6, 1)), Some(DriverKind::Ahci));
        assert_eq!(disk((1, 4, 0)), None, "the same controller in RAID mode");
    }
}
