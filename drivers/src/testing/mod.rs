//! Fakes of the machine, of a virtio device and of an NVMe controller for the tests of this crate.

mod machine;
mod nvme;
mod virtio;

pub use machine::{TestClock, TestDma, noop_context};
pub use nvme::{FakeNvme, Said, pieces};
pub use virtio::{Chain, FakeDevice};
