//! Register offsets and bits (82540EM: "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
//! Manual" chapter 13; 82574L: datasheet chapter 10).

pub const CTRL: usize = 0x0000;
pub const CTRL_ASDE: u32 = 1 << 5;
pub const CTRL_SLU: u32 = 1 << 6;
pub const CTRL_RST: u32 = 1 << 26;

pub const STATUS: usize = 0x0008;
pub const STATUS_LU: u32 = 1 << 1;
/// Speed in bits 7:6: 10, 100, 1000, 1000.
pub const STATUS_SPEED_SHIFT: u32 = 6;

pub const EERD: usize = 0x0014;
pub const EERD_START: u32 = 1;

pub const ICR: usize = 0x00c0;
pub const IMS: usize = 0x00d0;
pub const IMC: usize = 0x00d8;
/// Interrupt causes.
pub const INT_TXDW: u32 = 1 << 0;
pub const INT_LSC: u32 = 1 << 2;
pub const INT_RXDMT0: u32 = 1 << 4;
pub const INT_RXO: u32 = 1 << 6;
pub const INT_RXT0: u32 = 1 << 7;
/// 82574L in MSI-X mode.
pub const INT_RXQ0: u32 = 1 << 20;
pub const INT_TXQ0: u32 = 1 << 22;
pub const INT_OTHER: u32 = 1 << 24;

/// 82574L: MSI-X table entry of each cause, with a valid bit each.
pub const IVAR: usize = 0x00e4;

pub const RCTL: usize = 0x0100;
pub const RCTL_EN: u32 = 1 << 1;
/// Frames of more than 1522 bytes are received (8254x manual section 13.4.22).
pub const RCTL_LPE: u32 = 1 << 5;
pub const RCTL_BAM: u32 = 1 << 15;
pub const RCTL_SECRC: u32 = 1 << 26;

pub const TCTL: usize = 0x0400;
pub const TCTL_EN: u32 = 1 << 1;
pub const TCTL_PSP: u32 = 1 << 3;
/// Collision threshold 15 and distance 64, as the manual recommends for full duplex.
pub const TCTL_COLLISION: u32 = 0x0f << 4 | 0x40 << 12;

pub const TIPG: usize = 0x0410;
/// Inter-packet gap for copper: 10, 8, 6.
pub const TIPG_COPPER: u32 = 10 | 8 << 10 | 6 << 20;

/// How the chip divides its packet buffer, in KiB: bits 6:0 for receiving, the rest of 64 for sending (8254x manual section
/// 13.4.16). In force from the next reset on.
pub const PBA: usize = 0x1000;
/// 82540EM: 40 KiB for receiving and 24 KiB for sending instead of 48 and 16, so that two frames of MTU 9000 fit each way. The
/// 82574L has 20 KiB each way, in which they do.
pub const PBA_82540: u32 = 40;

pub const RDBAL: usize = 0x2800;
pub const RDBAH: usize = 0x2804;
pub const RDLEN: usize = 0x2808;
pub const RDH: usize = 0x2810;
pub const RDT: usize = 0x2818;
pub const RDTR: usize = 0x2820;
pub const RADV: usize = 0x282c;

pub const TDBAL: usize = 0x3800;
pub const TDBAH: usize = 0x3804;
pub const TDLEN: usize = 0x3808;
pub const TDH: usize = 0x3810;
pub const TDT: usize = 0x3818;
pub const TIDV: usize = 0x3820;
pub const TXDCTL: usize = 0x3828;
/// 82574L: must be written 1 (datasheet 10.2.6.7).
pub const TXDCTL_82574: u32 = 1 << 22;

pub const RXCSUM: usize = 0x5000;
pub const RXCSUM_IPOFL: u32 = 1 << 8;
pub const RXCSUM_TUOFL: u32 = 1 << 9;

/// Multicast table: 128 words.
pub const MTA: usize = 0x5200;
pub const MTA_WORDS: usize = 128;
pub const RAL0: usize = 0x5400;
pub const RAH0: usize = 0x5404;
pub const RAH_AV: u32 = 1 << 31;

/// The windows of both chips are 128 KiB.
pub const WINDOW: usize = 0x2_0000;
