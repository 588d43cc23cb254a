//! virtio-blk (virtio 1.2 section 5.2): many requests in flight on one queue.
//!
//! A request is a chain of header, data and status. Headers and status bytes have a place for every slot of the
//! [`Disk`].
//!
//! Not here: several queues, discard, write-zeroes, zoned devices.

mod setup;

use self::setup::{Limits, MAX_SEGMENTS, build};
use super::{QueueFault, Segment, Transport, Virtqueue, start};
use crate::InitError;
use crate::disk::{Disk, Engine, Finished};
use crate::dma::DmaBuffer;
use alloc::boxed::Box;
use alloc::rc::Rc;
use keelson_hal::{BlockError, BlockOp, Dma};

/// Request types (virtio 1.2 section 5.2.6).
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;

/// A slot's place in the header memory: 16 bytes of header, then the status byte.
const PLACE: usize = 32;
const STATUS_AT: usize = 16;

/// Status bytes (virtio 1.2 section 5.2.6).
const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What the status byte holds until the device writes it; no status has this value.
const STATUS_NONE: u8 = 0xff;

/// A virtio block device.
pub type VirtioBlk = Disk<VirtioEngine>;

/// Its queue, and what its requests look like.
pub struct VirtioEngine {
    transport: Box<dyn Transport>,
    dma: Rc<dyn Dma>,
    limits: Limits,
    queue: Virtqueue,
    headers: DmaBuffer,
}

impl VirtioBlk {
    /// Brings the device up as `name` (`vda`, `vdb`, ...).
    pub fn new(transport: Box<dyn Transport>, dma: Rc<dyn Dma>, name: &str) -> Result<VirtioBlk, InitError> {
        let (geometry, limits, queue, headers) = match build(&*transport, &dma) {
            Ok(parts) => parts,
            Err(error) => {
                transport.reset();
                return Err(error);
            }
        };
        start(&*transport);
        let block = limits.block;
        Ok(Disk::with_engine(VirtioEngine { transport, dma, limits, queue, headers }, name, geometry, block))
    }
}

impl Engine for VirtioEngine {
    type Fault = QueueFault;

    const LOG: &'static str = "virtio";

    fn start(&mut self, slot: u16, op: BlockOp, sector: u64, buffer: &mut [u8]) -> bool {
        let place = usize::from(slot) * PLACE;
        let (kind, sector) = match op {
            BlockOp::Read => (TYPE_IN, sector),
            // The geometry excludes the second.
            BlockOp::Write | BlockOp::WriteThrough => (TYPE_OUT, sector),
            BlockOp::Flush => (TYPE_FLUSH, 0),
        };
        self.headers.write32(place, kind);
        self.headers.write32(place + 4, 0);
        self.headers.write64(place + 8, sector);
        self.headers.write8(place + STATUS_AT, STATUS_NONE);

        let mut segments =
            [Segment { phys: self.headers.phys(place), len: 16, device_writes: false }; MAX_SEGMENTS + 2];
        let mut count = 1;
        let device_writes = op == BlockOp::Read;
        // The mutable pointer is the one the device writes through.
        let base = buffer.as_mut_ptr() as usize;
        let mut offset = 0;
        while offset < buffer.len() {
            let len = (buffer.len() - offset).min(self.limits.segment);
            segments[count] =
                Segment { phys: self.dma.phys_of(base + offset), len: len as u32, device_writes };
            offset += len;
            count += 1;
        }
        segments[count] = Segment { phys: self.headers.phys(place + STATUS_AT), len: 1, device_writes: true };
        if !self.queue.add(&segments[..=count], slot) {
            return false;
        }
        self.queue.publish();
        true
    }

    fn has_room(&self) -> bool {
        usize::from(self.queue.free_descriptors()) >= self.limits.segments + 2
    }

    fn pop(&mut self) -> Result<Option<Finished>, QueueFault> {
        let Some(used) = self.queue.pop()? else { return Ok(None) };
        let result = match self.headers.read8(usize::from(used.token) * PLACE + STATUS_AT) {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(BlockError::Unsupported),
            _ => Err(BlockError::Io),
        };
        Ok(Some((used.token, result)))
    }

    fn request_interrupt(&mut self) -> bool {
        !self.queue.request_interrupt()
    }

    fn acknowledge_interrupt(&self) {
        self.transport.acknowledge_interrupt();
    }

    fn nudge(&mut self) {
        self.queue.nudge();
    }

    fn doorbells(&self) -> u64 {
        self.queue.doorbells()
    }

    fn stop(&mut self) -> bool {
        let stopped = self.transport.reset();
        if !stopped {
            self.queue.leak();
            self.headers.leak();
        }
        stopped
    }
}

#[cfg(test)]
mod tests;
