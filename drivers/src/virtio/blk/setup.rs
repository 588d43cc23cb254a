//! Bringing the device up: features, limits, memory.

use super::PLACE;
use crate::InitError;
use crate::disk::MAX_SLOTS;
use crate::dma::DmaBuffer;
use crate::virtio::{Transport, Virtqueue, device_type, negotiate};
use alloc::rc::Rc;
use keelson_hal::{BlockGeometry, Dma, SECTOR_SIZE};

/// Feature bits (virtio 1.2 section 5.2.3).
pub(super) mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub use crate::virtio::feature::EVENT_IDX;
}

/// Offsets in the device configuration (virtio 1.2 section 5.2.4).
mod config {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const SEG_MAX: usize = 12;
    pub const BLK_SIZE: usize = 20;
}

/// Most data segments of one request.
pub(super) const MAX_SEGMENTS: usize = 16;
/// Longest request, whatever the device can do.
pub(super) const MAX_TRANSFER: usize = 1 << 20;

/// How requests must be cut for this device.
pub(super) struct Limits {
    pub(super) segment: usize,
    pub(super) segments: usize,
    /// Bytes of a logical block.
    pub(super) block: usize,
}

/// Everything up to the start of the device.
pub(super) fn build(
    transport: &dyn Transport,
    dma: &Rc<dyn Dma>,
) -> Result<(BlockGeometry, Limits, Virtqueue, DmaBuffer), InitError> {
    use feature::*;
    let wanted = SIZE_MAX | SEG_MAX | RO | BLK_SIZE | FLUSH | EVENT_IDX;
    let features = negotiate(transport, device_type::BLOCK, |_| wanted)?;
    let value = |bit, field, otherwise| {
        if features & bit != 0 { transport.config32(field) as usize } else { otherwise }
    };
    let segment = value(SIZE_MAX, config::SIZE_MAX, MAX_TRANSFER).min(MAX_TRANSFER);
    if segment < SECTOR_SIZE {
        return Err(InitError::BadConfig { field: "size_max", value: segment as u64 });
    }
    let block_size = value(BLK_SIZE, config::BLK_SIZE, SECTOR_SIZE);
    if block_size < SECTOR_SIZE || !block_size.is_power_of_two() || block_size > MAX_TRANSFER {
        return Err(InitError::BadConfig { field: "blk_size", value: block_size as u64 });
    }

    let queue = Virtqueue::new(transport, dma, 0, features & EVENT_IDX != 0)?;
    // A device without SEG_MAX gets one segment; one with less than that makes no sense.
    let fitting = usize::from(queue.size()).saturating_sub(2);
    let segments = value(SEG_MAX, config::SEG_MAX, 1).clamp(1, MAX_SEGMENTS).min(fitting);
    let max_transfer = (segment * segments).min(MAX_TRANSFER) / block_size * block_size;
    if max_transfer == 0 {
        return Err(InitError::BadConfig { field: "seg_max", value: segments as u64 });
    }
    // Ordinary requests take three descriptors.
    let depth = (queue.size() / 3).clamp(1, MAX_SLOTS);
    let headers = DmaBuffer::new(dma, usize::from(depth) * PLACE)?;
    let geometry = BlockGeometry {
        sectors: transport.config64(config::CAPACITY),
        read_only: features & RO != 0,
        write_cache: features & FLUSH != 0,
        // The device has no such request.
        write_through: false,
        max_transfer,
        queue_depth: usize::from(depth),
    };
    let limits = Limits { segment, segments, block: block_size };
    Ok((geometry, limits, queue, headers))
}
