//! ACPI tables: what the firmware says about processors, interrupts, timers, PCI and switching off.
//!
//! Pure parsing of bytes (ACPI 6.5 chapter 5 unless noted), read through [`PhysicalMemory`]; AML is not
//! interpreted. Tables are checked (length, checksum) before a field is looked at, every access to a field
//! is checked, and a table that does not pass is left out like one that is missing: firmware is not trusted
//! more than the network.
//!
//! ```text
//! RSDP -> XSDT (or RSDT) -> MADT  processors, I/O APICs, interrupt overrides
//!                           FADT  power and reset registers -> DSDT: the \_S5 package
//!                           MCFG  PCI Express configuration space
//!                           HPET  a timer
//!                           SRAT  which processors and memory lie together; SLIT  how far apart they are
//! ```
//!
//! Not here: AML (so no `_PRT`, no `_CRS`), DMAR.

#![forbid(unsafe_code)]

mod bytes;
mod fadt;
mod madt;
mod rsdp;
mod s5;
mod slit;
mod srat;
mod tables;
mod timers;

pub use fadt::{AddressSpace, Fadt, FadtFlags, GenericAddress};
pub use madt::{Madt, MadtEntry, Processor};
pub use rsdp::{Rsdp, RsdpError, find_rsdp};
pub use s5::{SleepType, find_s5};
pub use slit::Slit;
pub use srat::{Affinity, Srat};
pub use tables::{Header, PhysicalMemory, Table, TableError, Tables};
pub use timers::{EcamRegion, Hpet, mcfg_regions};

#[cfg(test)]
mod tests;
