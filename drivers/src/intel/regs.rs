//! Registers that all of these controllers have in the same place (82540EM: "PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual" chapter 13; 82574L: datasheet chapter 10; 82576, I350, I210: datasheets
//! chapter 8).

pub const CTRL: usize = 0x0000;
pub const CTRL_SLU: u32 = 1 << 6;
pub const CTRL_RST: u32 = 1 << 26;

pub const STATUS: usize = 0x0008;
pub const STATUS_LU: u32 = 1 << 1;
/// Speed in bits 7:6: 10, 100, 1000, 1000.
pub const STATUS_SPEED_SHIFT: u32 = 6;

/// Interrupt causes: noted, mask set, mask clear. The 82576 and its successors have them at 1500h, too, and here for drivers of
/// old.
pub const ICR: usize = 0x00c0;
pub const IMS: usize = 0x00d0;
pub const IMC: usize = 0x00d8;
pub const INT_TXDW: u32 = 1 << 0;
pub const INT_LSC: u32 = 1 << 2;
pub const INT_RXDMT0: u32 = 1 << 4;
pub const INT_RXO: u32 = 1 << 6;
pub const INT_RXT0: u32 = 1 << 7;

pub const RCTL: usize = 0x0100;
pub const RCTL_EN: u32 = 1 << 1;
/// Frames of more than 1522 bytes are received (8254x manual section 13.4.22); by igb, as far as its RLPML allows.
pub const RCTL_LPE: u32 = 1 << 5;
pub const RCTL_BAM: u32 = 1 << 15;
pub const RCTL_SECRC: u32 = 1 << 26;

pub const TCTL: usize = 0x0400;
pub const TCTL_EN: u32 = 1 << 1;
pub const TCTL_PSP: u32 = 1 << 3;

pub const RXCSUM: usize = 0x5000;
pub const RXCSUM_IPOFL: u32 = 1 << 8;
pub const RXCSUM_TUOFL: u32 = 1 << 9;

/// Multicast table: 128 words.
pub const MTA: usize = 0x5200;
pub const MTA_WORDS: usize = 128;
pub const RAL0: usize = 0x5400;
pub const RAH0: usize = 0x5404;
pub const RAH_AV: u32 = 1 << 31;

/// The windows of all chips have at least 128 KiB.
pub const WINDOW: usize = 0x2_0000;
