//! Virtio 1.2: transports, the split virtqueue, and the device drivers on them.
//!
//! ```text
//!   net   blk   rng   console
//!      \    \   /    /
//!         Virtqueue
//!             |
//!       dyn Transport: PciTransport | MmioTransport
//! ```

pub mod blk;
pub mod console;
mod mmio;
pub mod net;
mod pci;
mod queue;
pub mod rng;
mod transport;

pub use mmio::MmioTransport;
pub use pci::{PciCapabilities, PciTransport, Window};
pub use queue::QueueFault;
pub use transport::{Doorbell, DoorbellWidth, QueueAddresses, Transport};

pub(crate) use queue::{Segment, Virtqueue};
pub(crate) use transport::{negotiate, start};

/// Feature bits that belong to no device type (virtio 1.2 section 6).
pub(crate) mod feature {
    /// Interrupts and doorbells are suppressed by index instead of by flag.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device follows the standard, not the draft it replaced.
    pub const VERSION_1: u64 = 1 << 32;
}

/// Device types (virtio 1.2 section 5).
pub(crate) mod device_type {
    pub const NET: u32 = 1;
    pub const BLOCK: u32 = 2;
    pub const CONSOLE: u32 = 3;
    pub const ENTROPY: u32 = 4;
}
