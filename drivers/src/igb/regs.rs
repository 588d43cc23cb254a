//! Register offsets and bits beyond those of all Intel controllers (82576, I350 and I210 datasheets, chapters 8).
//! Of the queues only number 0 is used.

pub use crate::intel::regs::*;

/// No requests to memory any more; STATUS says when the last one is over.
pub const CTRL_MASTER_DISABLE: u32 = 1 << 2;
pub const CTRL_FD: u32 = 1 << 0;
/// Speed in bits 9:8 and duplex as CTRL says, instead of as found.
pub const CTRL_SPEED_1000: u32 = 2 << 8;
pub const CTRL_FRCSPD: u32 = 1 << 11;
pub const CTRL_FRCDPX: u32 = 1 << 12;
pub const STATUS_MASTER_ENABLED: u32 = 1 << 19;

pub const EECD: usize = 0x0010;
/// The chip has loaded what its EEPROM, flash or iNVM says.
pub const EECD_AUTO_RD: u32 = 1 << 9;

pub const CTRL_EXT: usize = 0x0018;
/// What the chip talks to, in bits 23:22; comes from the EEPROM.
pub const CTRL_EXT_LINK_SHIFT: u32 = 22;
pub const LINK_PHY: u32 = 0;
pub const LINK_KX: u32 = 1;
pub const LINK_SGMII: u32 = 2;
/// The firmware leaves the port to a driver.
pub const CTRL_EXT_DRV_LOAD: u32 = 1 << 28;

/// Which port of the chip it is, in bits 3:2.
pub const STATUS_PORT_SHIFT: u32 = 2;

/// Access to the registers of the PHY: data in 15:0, register in 20:16.
pub const MDIC: usize = 0x0020;
pub const MDIC_DATA: u32 = 0xffff;
pub const MDIC_REGISTER_SHIFT: u32 = 16;
/// PHY 1, where the 82576 has its own; the others know theirs and look at MDICNFG.
pub const MDIC_PHY: u32 = 1 << 21;
pub const MDIC_WRITE: u32 = 1 << 26;
pub const MDIC_READ: u32 = 2 << 26;
pub const MDIC_READY: u32 = 1 << 28;
pub const MDIC_ERROR: u32 = 1 << 30;
/// The PHY's control register (IEEE 802.3 section 22.2.4.1).
pub const BMCR: u32 = 0;
pub const BMCR_RESTART: u32 = 1 << 9;
pub const BMCR_ISOLATE: u32 = 1 << 10;
pub const BMCR_POWER_DOWN: u32 = 1 << 11;
pub const BMCR_NEGOTIATE: u32 = 1 << 12;
pub const BMCR_RESET: u32 = 1 << 15;
/// Semaphores: between drivers, set by reading; between driver and firmware.
pub const SWSM: usize = 0x5b50;
pub const SWSM_DRIVERS: u32 = 1 << 0;
pub const SWSM_FIRMWARE: u32 = 1 << 1;
/// What drivers use, and 16 bits above it what firmware uses.
pub const SW_FW_SYNC: usize = 0x5b5c;
pub const SW_FW_FIRMWARE_SHIFT: u32 = 16;

pub const GPIE: usize = 0x1514;
/// An entry of the MSI-X table for each bit of EICR.
pub const GPIE_MSIX: u32 = 1 << 4;
pub const GPIE_PBA: u32 = 1 << 31;
/// Causes by entry of the MSI-X table: mask set, mask clear, cleared by the message, causes.
pub const EIMS: usize = 0x1524;
pub const EIMC: usize = 0x1528;
pub const EIAC: usize = 0x152c;
pub const EICR: usize = 0x1580;
/// Least time between two interrupts of an entry, in microseconds, in bits 14:2.
pub const EITR: usize = 0x1680;
pub const EITR_SHIFT: u32 = 2;
/// Entry and valid bit: of receive queue 0 in 7:0, of transmit queue 0 in 15:8.
pub const IVAR0: usize = 0x1700;
/// The same for other causes, in 15:8.
pub const IVAR_MISC: usize = 0x1740;
pub const IVAR_VALID: u32 = 1 << 7;

/// Length of the longest frame with everything that belongs to it, the FCS, too.
pub const RLPML: usize = 0x5004;
/// How frames are spread over queues: 0, not at all.
pub const MRQC: usize = 0x5818;

pub const RDBAL: usize = 0xc000;
pub const RDBAH: usize = 0xc004;
pub const RDLEN: usize = 0xc008;
pub const SRRCTL: usize = 0xc00c;
/// Advanced descriptors with one buffer.
pub const SRRCTL_ADVANCED: u32 = 1 << 25;
/// BSIZEPACKET counts KiB.
pub const SRRCTL_UNIT: usize = 1024;
pub const RDH: usize = 0xc010;
pub const RDT: usize = 0xc018;
pub const RXDCTL: usize = 0xc028;

pub const TDBAL: usize = 0xe000;
pub const TDBAH: usize = 0xe004;
pub const TDLEN: usize = 0xe008;
pub const TDH: usize = 0xe010;
pub const TDT: usize = 0xe018;
pub const TXDCTL: usize = 0xe028;

/// RXDCTL and TXDCTL: the queue works.
pub const DCTL_ENABLE: u32 = 1 << 25;
/// Descriptors are fetched ahead when the chip has fewer than 8 and the host has so many more, 8 to receive and 1 to
/// send; they are written back one by one, so that none waits for others.
pub const RXDCTL_THRESHOLDS: u32 = 8 | 8 << 8 | 1 << 16;
pub const TXDCTL_THRESHOLDS: u32 = 8 | 1 << 8 | 1 << 16;

/// The physical coding sublayer of ports without the chip's own PHY.
pub const PCS_CFG: usize = 0x4200;
pub const PCS_CFG_EN: u32 = 1 << 3;
pub const PCS_LCTL: usize = 0x4208;
pub const PCS_LCTL_LINK_UP: u32 = 1 << 0;
/// 1000 Mbit/s in bits 2:1, full duplex.
pub const PCS_LCTL_1000_FULL: u32 = 2 << 1 | 1 << 3;
pub const PCS_LCTL_FSD: u32 = 1 << 4;
pub const PCS_LCTL_FORCE_LINK: u32 = 1 << 5;
pub const PCS_LCTL_FORCE_FLOW: u32 = 1 << 7;
pub const PCS_LCTL_AN_ENABLE: u32 = 1 << 16;
pub const PCS_LCTL_AN_RESTART: u32 = 1 << 17;
pub const PCS_LCTL_AN_TIMEOUT: u32 = 1 << 18;
