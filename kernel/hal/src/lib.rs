//! The seams between hardware and everything above it.
//!
//! Principles:
//!
//! 1. **One trait per device class**, with its whole contract in the documentation. Drivers implement the
//!    device traits ([`NetDevice`], [`BlockDevice`], [`Console`]); the kernel implements the machine traits
//!    ([`Dma`], [`Registers`], [`Interrupt`], [`Clock`], [`Entropy`], [`Park`], and those of [`user`] mode).
//! 2. **Everything is passed in.** No crate above this one reads a global clock, random number generator or
//!    allocator of device memory, so that all of it runs in a host test against fakes and virtual time.
//! 3. **Single-threaded per core.** Nothing here is `Send`; a device belongs to the core whose executor
//!    polls it.
//! 4. **A buffer given is a buffer returned**, on success and on error.
//!
//! Not here: protocols, addresses above the link layer, configuration.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod block;
mod console;
pub mod log;
mod machine;
mod net;
mod time;
pub mod user;

pub use block::{
    BlockCompletion, BlockCounters, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest,
    SECTOR_SIZE, Ticket,
};
pub use console::Console;
pub use machine::{Dma, DmaRegion, Entropy, Interrupt, Park, PortIo, Registers};
pub use net::{
    Link, LinkSpeed, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta, TransmitError, TxChecksum,
    TxOffload,
};
pub use time::{Clock, Instant, WallClock, WallLine};
