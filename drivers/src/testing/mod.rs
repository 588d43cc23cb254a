//! Fakes of the machine and of a virtio device for the tests of this crate.

mod machine;
mod virtio;

pub use machine::{TestClock, TestDma, noop_context};
pub use virtio::{Chain, FakeDevice};
