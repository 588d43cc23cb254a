//! Machines: QEMU processes described by type and owned by the test.

mod firmware;
mod qmp;
mod running;
mod screen;
mod spawn;
mod spec;
mod usage;

pub use firmware::{Firmware, NetLoader};
pub use running::{Exit, Machine};
pub use screen::Picture;
pub(crate) use spawn::spawn;
pub use spec::{Board, Cache, Drive, DriveModel, MachineSpec, Nic, NicModel};
pub use usage::Usage;
