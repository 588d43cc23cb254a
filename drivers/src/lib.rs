//! Device drivers: virtio (net, blk, rng, console) over PCI and MMIO, Intel e1000/e1000e/igb, NVMe,
//! AHCI, and watchdogs (TCO, i6300esb).
//!
//! Principles:
//!
//! 1. **Only hal traits.** A driver gets its [`Registers`](keelson_hal::Registers) windows and its
//!    [`Dma`](keelson_hal::Dma) from whoever found the device, and implements one device trait. Nothing here
//!    knows the kernel, so every driver is tested on the host against a model of its device.
//! 2. **The device is not trusted.** Every number it writes (used ids, lengths, indexes, configuration) is
//!    checked against what the driver itself remembers. A device that breaks the rules is reset, reported
//!    once, counted, and looks like a link without carrier or a disk that is gone.
//! 3. **A doorbell is an exit.** Descriptors are published in batches; one register write per ring and
//!    flush, none where the device says it is looking anyway.
//! 4. **The device stops before its memory goes.** Dropping a driver resets the device first; when the device
//!    does not confirm, its memory is kept for ever rather than given to somebody else.
//! 5. **No allocation on the data path.** Every ring and frame buffer exists from the start.
//!
//! Pointers into device memory are made in one place, the `dma` module; what remains elsewhere is the promise
//! that a buffer has come back before it is looked at.
//!
//! Not here: finding devices (the kernel walks PCI and the command line), interrupt delivery, packed
//! virtqueues, several queue pairs per NIC, segmentation offload on e1000e and, by Intel's NICs, over IPv6.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod ahci;
pub mod disk;
mod dma;
pub mod e1000;
mod error;
pub mod igb;
mod intel;
pub mod nvme;
mod registry;
#[cfg(test)]
mod testing;
pub mod virtio;
pub mod watchdog;

pub use error::InitError;
pub use registry::{DriverKind, PciClass, PciId, VIRTIO_VENDOR, probe_pci, probe_virtio, virtio_type_of};
