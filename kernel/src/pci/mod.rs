//! PCI: finding functions, sizing their registers, pointing their interrupts at a core.
//!
//! Numbers are from the PCI Local Bus Specification 3.0 ("PCI") and the PCI Express Base Specification 5.0
//! ("PCIe"). Everything a device says is checked: a device that lies about a BAR or a capability loses that
//! BAR or capability, the bus stays readable. (The `pci_types` crate panics or loops on such devices and
//! asks for `unsafe` at every access, so it is not used.)
//!
//! ```text
//!   Ecam | PortConfig : ConfigAccess  --enumerate-->  Vec<Function>  -- BARs, MsiX, Msi, reset -->  driver
//! ```
//!
//! Not here: assigning bus numbers and BARs (firmware has done it), `INTx` routing (needs AML), hot plug,
//! AER, root buses beyond the first of a segment.

#![forbid(unsafe_code)]

mod access;
mod bar;
mod capability;
mod enumerate;
mod function;
mod msi;
mod reset;

pub use access::{Address, ConfigAccess, ConfigPorts, Ecam, PortConfig};
pub use bar::Bar;
pub use capability::{Capability, id};
pub use enumerate::enumerate;
pub use function::{Class, Function};
pub use msi::{Message, Msi, MsiX, MsiXTable};
pub use reset::ResetError;

#[cfg(test)]
mod tests;
