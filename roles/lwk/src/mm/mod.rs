//! Memory of a process.

use crate::Errno;
use crate::system::System;
use alloc::sync::Arc;
use keelson_hal::user::{Access, AddressSpace, PageSize, Protection};

/// Settings of an address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MmSettings {}

/// The address space of a process.
pub struct Mm {
    space: Arc<dyn AddressSpace>,
    system: Arc<System>,
}

/// Why a fault was not resolved.
#[derive(Debug)]
pub enum Fault {
    /// Nothing is there.
    MapErr,
    /// Not for this access.
    AccErr,
    /// Behind the end of a file.
    Bus,
    /// No memory.
    OutOfMemory,
    /// A page of a file is to be fetched.
    Missing(PageRequest),
}

/// A page that must be fetched.
#[derive(Debug)]
pub struct PageRequest;

impl PageRequest {
    /// Waits for it.
    pub async fn fetch(self) -> Result<(), Errno> {
        Ok(())
    }
}

/// What a futex word is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FutexKey {
    /// Owner.
    pub owner: u64,
    /// Offset.
    pub offset: u64,
}

impl Mm {
    /// An empty address space.
    pub fn new(system: &Arc<System>, _settings: MmSettings) -> Result<Arc<Mm>, Errno> {
        let space = system.machine.new_space().ok_or(Errno::ENOMEM)?;
        Ok(Arc::new(Mm { space, system: system.clone() }))
    }

    /// The page tables.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// Resolves a fault.
    pub fn fault(&self, address: u64, _access: Access, node: usize) -> Result<(), Fault> {
        if !(0x1_0000..0x8000_0000).contains(&address) {
            return Err(Fault::MapErr);
        }
        if self.space.find(address).is_some() {
            return Err(Fault::AccErr);
        }
        let frame = self.system.machine.allocate(PageSize::Small, node).ok_or(Fault::OutOfMemory)?;
        let at = address & !4095;
        self.space.map(at, frame, Protection::READ_WRITE).map_err(|_| Fault::OutOfMemory)
    }

    fn touch(&self, at: u64, len: usize, access: Access) -> Result<(), Errno> {
        let end = at.checked_add(len as u64).ok_or(Errno::EFAULT)?;
        for page in (at & !4095..end).step_by(4096) {
            if self.space.find(page).is_none() {
                self.fault(page.max(at), access, 0).map_err(|_| Errno::EFAULT)?;
            }
        }
        Ok(())
    }

    /// Copies user memory in; EFAULT when a part is not readable.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.touch(at, into.len(), Access::Read)?;
        self.space.read(at, into).map_err(|_| Errno::EFAULT)
    }

    /// Copies to user memory.
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        self.touch(at, from.len(), Access::Write)?;
        self.space.write(at, from).map_err(|_| Errno::EFAULT)
    }

    /// The same, fetching file pages.
    pub async fn read_wait(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.read(at, into)
    }

    /// The same, fetching file pages.
    pub async fn write_wait(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        self.write(at, from)
    }

    /// Reads a string.
    pub fn read_string(&self, at: u64, max: usize) -> Result<alloc::vec::Vec<u8>, Errno> {
        let mut bytes = alloc::vec::Vec::new();
        for index in 0..max as u64 {
            let mut one = [0];
            self.read(at.checked_add(index).ok_or(Errno::EFAULT)?, &mut one)?;
            if one[0] == 0 {
                return Ok(bytes);
            }
            bytes.push(one[0]);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// The same, fetching file pages.
    pub async fn read_string_wait(&self, at: u64, max: usize) -> Result<alloc::vec::Vec<u8>, Errno> {
        self.read_string(at, max)
    }

    /// Reads a word.
    pub fn read_u64(&self, at: u64) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a word atomically.
    pub fn load_u32(&self, at: u64) -> Result<u32, Errno> {
        self.touch(at, 4, Access::Read)?;
        self.space.load_u32(at).ok_or(Errno::EFAULT)
    }

    /// Compares and exchanges.
    pub fn compare_exchange_u32(&self, at: u64, old: u32, new: u32) -> Result<u32, Errno> {
        self.touch(at, 4, Access::Write)?;
        self.space.compare_exchange_u32(at, old, new).ok_or(Errno::EFAULT)
    }

    /// What a futex word is known by.
    pub fn futex_key(&self, at: u64, _private: bool) -> Result<FutexKey, Errno> {
        if !at.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        Ok(FutexKey { owner: core::ptr::from_ref(self).addr() as u64, offset: at })
    }

    /// A copy.
    pub fn fork(&self) -> Result<Arc<Mm>, Errno> {
        let copy = Mm::new(&self.system, MmSettings {})?;
        let mut at = 0;
        while let Some(page) = self.space.next(at, 1 << 47) {
            let mut bytes = [0; 4096];
            self.read(page.at, &mut bytes)?;
            copy.write(page.at, &bytes)?;
            at = page.at + page.size.bytes();
        }
        Ok(copy)
    }
}
