//! Memory of a process.

pub mod object;

use crate::Errno;
use alloc::sync::Arc;
use keelson_hal::user::AddressSpace;

/// The address space of a process.
pub struct Mm {
    space: Arc<dyn AddressSpace>,
}

impl Mm {
    /// The memory that these page tables map.
    pub fn of_space(space: Arc<dyn AddressSpace>) -> Mm {
        Mm { space }
    }

    /// The page tables.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// Copies user memory in; EFAULT when a part is not readable.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.space.read(at, into).map_err(|_| Errno::EFAULT)
    }

    /// Copies to user memory.
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        self.space.write(at, from).map_err(|_| Errno::EFAULT)
    }
}
