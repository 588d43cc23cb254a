//! The `virtio-drivers` crate on our transports and memory: its queue serves the slow devices.
//!
//! Only its `VirtQueue` is used, not its device types: those wait without bound for the device and assert on
//! lengths the device writes. Neither indirect descriptors nor the event index are negotiated, and the
//! doorbell is rung for every buffer, so that nothing depends on the queue's notification logic.

use super::transport::{Doorbell, QueueAddresses, Transport};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ptr::NonNull;
use keelson_hal::{Dma, DmaRegion};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The crate's memory interface over the machine's one DMA allocator.
///
/// The crate calls it without an instance, so that `D::default()` has to name the allocator.
pub struct GlobalHal<D>(PhantomData<D>);

// SAFETY: `dma_alloc` returns zeroed, page-aligned memory that the `Dma` contract promises to nobody else
// until `free`; addresses come from the same contract.
unsafe impl<D: Dma + Default> Hal for GlobalHal<D> {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // Physical address 0 is how the crate hears of exhaustion.
        let region = D::default().allocate(pages * PAGE_SIZE);
        let virt = region.as_ref().and_then(|region| NonNull::new(region.virt as *mut u8));
        match (region, virt) {
            (Some(region), Some(virt)) => (region.phys, virt),
            _ => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, vaddr: NonNull<u8>, pages: usize) -> i32 {
        let virt = vaddr.as_ptr() as usize;
        D::default().free(DmaRegion { virt, phys: paddr, len: pages * PAGE_SIZE });
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        unreachable!("only the crate's own PCI transport maps registers")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        D::default().phys_of(buffer.as_ptr().cast::<u8>() as usize)
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// One of our transports as the crate wants it.
pub(super) struct CompatTransport {
    pub inner: Box<dyn Transport>,
    device_type: DeviceType,
    doorbells: Vec<(u16, Doorbell)>,
}

impl CompatTransport {
    pub fn new(inner: Box<dyn Transport>, device_type: DeviceType) -> CompatTransport {
        CompatTransport { inner, device_type, doorbells: Vec::new() }
    }

    /// True when the device took this queue: the crate has no way to hear of a refusal.
    pub fn has_queue(&self, queue: u16) -> bool {
        self.doorbells.iter().any(|(index, _)| *index == queue)
    }
}

impl virtio_drivers::transport::Transport for CompatTransport {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        self.inner.device_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.inner.set_driver_features(driver_features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        u32::from(self.inner.queue_max_size(queue))
    }

    fn notify(&mut self, queue: u16) {
        if let Some((_, doorbell)) = self.doorbells.iter().find(|(index, _)| *index == queue) {
            doorbell.ring();
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(u32::from(self.inner.status()))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.inner.set_status(status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let addresses = QueueAddresses { descriptors, driver: driver_area, device: device_area };
        match self.inner.set_queue(queue, size as u16, addresses) {
            Ok(doorbell) => self.doorbells.push((queue, doorbell)),
            // `has_queue` says so.
            Err(error) => log::error!(target: "virtio", "queue {queue}: {error}"),
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        // Modern devices cannot disable one queue: the owner resets the device.
        self.doorbells.retain(|(index, _)| *index != queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.inner.queue_enabled(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.inner.acknowledge_interrupt();
        InterruptStatus::QUEUE_INTERRUPT
    }

    fn read_config_generation(&self) -> u32 {
        self.inner.config_generation()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> virtio_drivers::Result<T> {
        if offset + size_of::<T>() > self.inner.config_len() {
            return Err(Error::ConfigSpaceTooSmall);
        }
        let mut value = T::new_zeroed();
        for (i, byte) in value.as_mut_bytes().iter_mut().enumerate() {
            *byte = self.inner.config8(offset + i);
        }
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _offset: usize,
        _value: T,
    ) -> virtio_drivers::Result<()> {
        Err(Error::Unsupported)
    }
}
