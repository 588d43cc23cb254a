//! Memory shared with a device, and the only place that touches it through pointers.

use crate::InitError;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicU16, Ordering};
use keelson_hal::{Dma, DmaRegion};

/// An owned [`DmaRegion`]: given back on drop, when [`DmaBuffer::leak`] was not called before.
///
/// The device may write to the region at any time, so single fields are read and written with volatile or
/// atomic accesses; slices are made only of parts that the device has handed back.
pub(crate) struct DmaBuffer {
    region: ManuallyDrop<DmaRegion>,
    dma: Rc<dyn Dma>,
    leaked: bool,
}

impl DmaBuffer {
    /// Zeroed memory of at least `len` bytes.
    pub fn new(dma: &Rc<dyn Dma>, len: usize) -> Result<DmaBuffer, InitError> {
        let region = dma.allocate(len).ok_or(InitError::NoMemory(len))?;
        Ok(DmaBuffer { region: ManuallyDrop::new(region), dma: dma.clone(), leaked: false })
    }

    /// Never gives the memory back: for a device that does not confirm its reset and may still write.
    pub fn leak(&mut self) {
        self.leaked = true;
    }

    /// The device's address of the byte at `offset`.
    pub fn phys(&self, offset: usize) -> u64 {
        assert!(offset < self.region.len, "offset {offset} outside a DMA region");
        self.region.phys + offset as u64
    }

    /// Pointer to `size` bytes at `offset`, aligned for a field of that size.
    fn field<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        let fits = offset.checked_add(size).is_some_and(|end| end <= self.region.len);
        assert!(fits && offset.is_multiple_of(size), "field at {offset} outside a DMA region");
        (self.region.virt + offset) as *mut T
    }

    /// Reads a field. Only called with integer types, for which every bit pattern is a value.
    fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: `field` checked bounds and alignment; the region is mapped, readable and initialised
        // (zeroed) until it is freed, which only Drop does. Volatile, because the device may write.
        unsafe { ptr::read_volatile(self.field::<T>(offset)) }
    }

    fn write<T: Copy>(&self, offset: usize, value: T) {
        // SAFETY: as for `read`; the memory is writable and no Rust reference to it exists, because slices
        // borrow parts the driver does not address by field at that time and never outlive a call.
        unsafe { ptr::write_volatile(self.field::<T>(offset), value) }
    }

    pub fn read8(&self, offset: usize) -> u8 {
        self.read(offset)
    }

    pub fn read16(&self, offset: usize) -> u16 {
        self.read(offset)
    }

    pub fn read32(&self, offset: usize) -> u32 {
        self.read(offset)
    }

    pub fn write8(&self, offset: usize, value: u8) {
        self.write(offset, value);
    }

    pub fn write16(&self, offset: usize, value: u16) {
        self.write(offset, value);
    }

    pub fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }

    pub fn write64(&self, offset: usize, value: u64) {
        self.write(offset, value);
    }

    /// Reads an index that the device advances: what it wrote before is visible afterwards.
    pub fn load_acquire(&self, offset: usize) -> u16 {
        // SAFETY: bounds and alignment as for `read`; CPU-side accesses to this field are all atomic.
        unsafe { AtomicU16::from_ptr(self.field(offset)) }.load(Ordering::Acquire)
    }

    /// Writes an index that the device follows: everything written before is visible to it first.
    pub fn store_release(&self, offset: usize, value: u16) {
        // SAFETY: as for `load_acquire`.
        unsafe { AtomicU16::from_ptr(self.field(offset)) }.store(value, Ordering::Release);
    }

    /// Bytes of the region.
    ///
    /// # Safety
    ///
    /// The device has handed this part back and has no descriptor for it.
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.region.len),
            "slice outside a DMA region"
        );
        // SAFETY: in bounds and initialised; the caller promises that the device does not write, and
        // `&self` keeps `bytes_mut` away.
        unsafe { core::slice::from_raw_parts((self.region.virt + offset) as *const u8, len) }
    }

    /// Bytes of the region, to be written.
    ///
    /// # Safety
    ///
    /// As for [`DmaBuffer::bytes`].
    pub unsafe fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.region.len),
            "slice outside a DMA region"
        );
        // SAFETY: in bounds and initialised; the caller promises that the device neither reads nor writes,
        // and `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut((self.region.virt + offset) as *mut u8, len) }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: taken once, here; the field is not used afterwards.
            let region = unsafe { ManuallyDrop::take(&mut self.region) };
            self.dma.free(region);
        }
    }
}

/// Equal buffers for frames, in pieces small enough for a fragmented memory map.
pub(crate) struct BufferPool {
    chunks: Vec<DmaBuffer>,
    size: usize,
    per_chunk: usize,
}

impl BufferPool {
    /// Bytes per contiguous piece.
    const CHUNK: usize = 64 * 1024;

    /// `count` buffers of `size` bytes each; `size` is a power of two.
    pub fn new(dma: &Rc<dyn Dma>, count: usize, size: usize) -> Result<BufferPool, InitError> {
        debug_assert!(size.is_power_of_two());
        let per_chunk = (Self::CHUNK / size).max(1);
        let chunks = (0..count.div_ceil(per_chunk))
            .map(|_| DmaBuffer::new(dma, per_chunk * size))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(BufferPool { chunks, size, per_chunk })
    }

    /// Bytes in one buffer.
    pub fn buffer_size(&self) -> usize {
        self.size
    }

    /// The device's address of buffer `index` plus `offset`.
    pub fn phys(&self, index: usize, offset: usize) -> u64 {
        self.chunks[index / self.per_chunk].phys(index % self.per_chunk * self.size + offset)
    }

    /// The first `len` bytes of buffer `index`.
    ///
    /// # Safety
    ///
    /// The device has handed the buffer back.
    pub unsafe fn bytes(&self, index: usize, len: usize) -> &[u8] {
        assert!(len <= self.size, "frame of {len} bytes in a buffer of {}", self.size);
        // SAFETY: passed on to the caller.
        unsafe { self.chunks[index / self.per_chunk].bytes(index % self.per_chunk * self.size, len) }
    }

    /// `len` bytes from the start of buffer `index` on, over the buffers that follow it; `None` when they are not in one
    /// contiguous piece.
    ///
    /// # Safety
    ///
    /// The device has handed all of these buffers back.
    pub unsafe fn run(&self, index: usize, len: usize) -> Option<&[u8]> {
        let offset = index % self.per_chunk * self.size;
        if offset + len > self.per_chunk * self.size {
            return None;
        }
        // SAFETY: passed on to the caller.
        Some(unsafe { self.chunks[index / self.per_chunk].bytes(offset, len) })
    }

    /// The first `len` bytes of buffer `index`, to be written.
    ///
    /// # Safety
    ///
    /// The device has handed the buffer back.
    pub unsafe fn bytes_mut(&mut self, index: usize, len: usize) -> &mut [u8] {
        assert!(len <= self.size, "frame of {len} bytes for a buffer of {}", self.size);
        // SAFETY: passed on to the caller.
        unsafe { self.chunks[index / self.per_chunk].bytes_mut(index % self.per_chunk * self.size, len) }
    }

    /// See [`DmaBuffer::leak`].
    pub fn leak(&mut self) {
        self.chunks.iter_mut().for_each(DmaBuffer::leak);
    }
}
