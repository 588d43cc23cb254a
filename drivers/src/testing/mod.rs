//! Fakes of the machine, of a virtio device, of an NVMe controller and of an AHCI controller for the tests of this crate.

pub mod ahci;
mod machine;
mod nvme;
mod virtio;

pub use machine::{TestClock, TestDma, noop_context};
pub use nvme::{FakeNvme, Said, pieces};
pub use virtio::{Chain, FakeDevice};
