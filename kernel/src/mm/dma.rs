//! Device-visible memory and device registers.

use super::{DIRECT_MAP, PAGE_SIZE, frames, phys_to_virt};
use keelson_hal::{Dma, DmaRegion, Registers};

/// DMA memory from the frame allocator. No IOMMU: a device's address is the physical one.
#[derive(Clone, Copy)]
pub struct KernelDma;

impl Dma for KernelDma {
    fn allocate(&self, len: usize) -> Option<DmaRegion> {
        let order = frames::order_for(len as u64)?;
        let phys = frames::allocate(order)?;
        let len = (PAGE_SIZE as usize) << order;
        let virt = phys_to_virt(phys);
        // SAFETY: a fresh block of that length in the direct map.
        unsafe { core::ptr::write_bytes(virt as *mut u8, 0, len) };
        Some(DmaRegion { virt, phys, len })
    }

    fn free(&self, region: DmaRegion) {
        let Some(order) = frames::order_for(region.len as u64) else { return };
        // SAFETY: regions are only made by `allocate`, are not `Clone`, and the device is done with it.
        unsafe { frames::free(region.phys, order) };
    }

    fn phys_of(&self, virt: usize) -> u64 {
        assert!((DIRECT_MAP..super::MMIO).contains(&virt), "{virt:#x} is not heap memory");
        (virt - DIRECT_MAP) as u64
    }
}

/// Device registers in the uncached window, from [`super::map_mmio`]. The mapping stays for ever.
#[derive(Clone, Debug)]
pub struct Mmio {
    pub(super) virt: usize,
    pub(super) len: usize,
}

impl Mmio {
    /// Address of the first register.
    pub fn address(&self) -> usize {
        self.virt
    }

    /// The address of a register of type `T`.
    fn register<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.len);
        assert!(
            inside && offset.is_multiple_of(size),
            "register {offset:#x} outside a window of {:#x}",
            self.len
        );
        (self.virt + offset) as *mut T
    }
}

impl Registers for Mmio {
    fn len(&self) -> usize {
        self.len
    }
    fn read8(&self, offset: usize) -> u8 {
        // SAFETY: inside the mapped window and aligned (`register`); volatile as devices need it.
        unsafe { self.register::<u8>(offset).read_volatile() }
    }
    fn read16(&self, offset: usize) -> u16 {
        // SAFETY: as `read8`.
        unsafe { self.register::<u16>(offset).read_volatile() }
    }
    fn read32(&self, offset: usize) -> u32 {
        // SAFETY: as `read8`.
        unsafe { self.register::<u32>(offset).read_volatile() }
    }
    fn write8(&self, offset: usize, value: u8) {
        // SAFETY: as `read8`.
        unsafe { self.register::<u8>(offset).write_volatile(value) }
    }
    fn write16(&self, offset: usize, value: u16) {
        // SAFETY: as `read8`.
        unsafe { self.register::<u16>(offset).write_volatile(value) }
    }
    fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as `read8`.
        unsafe { self.register::<u32>(offset).write_volatile(value) }
    }
}
