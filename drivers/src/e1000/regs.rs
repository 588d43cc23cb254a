//! Register offsets and bits (82540EM: "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
//! Manual" chapter 13; 82574L: datasheet chapter 10).

pub use crate::intel::regs::*;

pub const CTRL_ASDE: u32 = 1 << 5;

pub const EERD: usize = 0x0014;
pub const EERD_START: u32 = 1;

/// Interrupt causes of the 82574L in MSI-X mode.
pub const INT_RXQ0: u32 = 1 << 20;
pub const INT_TXQ0: u32 = 1 << 22;
pub const INT_OTHER: u32 = 1 << 24;

/// 82574L: MSI-X table entry of each cause, with a valid bit each.
pub const IVAR: usize = 0x00e4;

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
