//! Disks: ext4 images made and examined by e2fsprogs, and a disk that forgets what was not flushed.

mod ext4;
mod nbd;
mod server;
mod volatile;

pub use ext4::{Ext4Image, Ext4Spec};
pub use server::{Faults, VolatileDisk};
pub use volatile::Keep;
