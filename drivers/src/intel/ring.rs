//! What both rings have in common, and the receive ring. Head equal to tail means empty, so that one
//! descriptor of each ring stays unused.

use super::layout::{Layout, Written};
use crate::InitError;
use crate::dma::{BufferPool, DmaBuffer};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::{Dma, NetCounters, RxMeta};

/// Descriptors per ring; a multiple of 8.
pub(crate) const COUNT: usize = 256;
pub(crate) const DESCRIPTOR: usize = 16;
/// Bytes of a ring, for the length register.
pub(crate) const RING_BYTES: usize = COUNT * DESCRIPTOR;
/// RCTL.BSIZE = 0; SRRCTL.BSIZEPACKET = 2.
pub(crate) const BUFFER: usize = 2048;
/// Shortest frame that carries anything: the Ethernet header.
const MIN_FRAME: usize = 14;

pub(crate) fn next(index: usize) -> usize {
    (index + 1) % COUNT
}

/// Received frames. Buffer `i` belongs to descriptor `i`. A frame longer than a buffer lies in those of the descriptors that
/// follow each other, all but the last full:
///
/// ```text
///   given back, free ...  first           ...  next              ... free
///                         full, no EOP         what comes: full, or the end with EOP
///                         <---- held ---->
/// ```
///
/// Most such frames are contiguous in memory and handed on where they lie; one over the end of a piece of the pool is put
/// together in `stitch`.
pub(crate) struct RxRing {
    layout: Layout,
    descriptors: DmaBuffer,
    buffers: BufferPool,
    /// Next descriptor the device fills.
    next: usize,
    /// Descriptors before `next` with the beginning of a frame whose end has not come.
    held: usize,
    /// Descriptors given back since the tail was written.
    unannounced: usize,
    /// In the middle of a frame that is dropped to its end: nothing of it is held.
    skipping: bool,
    /// Longest frame that is received, without FCS.
    max_frame: usize,
    stitch: Vec<u8>,
}

/// The tail is written when this many buffers are free again: the device still has most of the ring.
const RX_BATCH: usize = 32;

impl RxRing {
    /// A ring for frames of up to `max_frame` bytes.
    pub fn new(dma: &Rc<dyn Dma>, layout: Layout, max_frame: usize) -> Result<RxRing, InitError> {
        let descriptors = DmaBuffer::new(dma, RING_BYTES)?;
        let buffers = BufferPool::new(dma, COUNT, BUFFER)?;
        for i in 0..COUNT {
            descriptors.write64(i * DESCRIPTOR, buffers.phys(i, 0));
        }
        let stitch = Vec::with_capacity(max_frame);
        Ok(RxRing {
            layout,
            descriptors,
            buffers,
            next: 0,
            held: 0,
            unannounced: 0,
            skipping: false,
            max_frame,
            stitch,
        })
    }

    pub fn phys(&self) -> u64 {
        self.descriptors.phys(0)
    }

    /// The tail that gives the device all but one descriptor.
    pub fn first_tail(&self) -> u32 {
        COUNT as u32 - 1
    }

    /// What the device wrote into this descriptor, if it is done with it.
    fn written(&self, index: usize) -> Option<Written> {
        self.layout.written(&self.descriptors, index * DESCRIPTOR)
    }

    /// True when a frame waits, or more without an end than a frame has. Of one that is still being written the rest will
    /// interrupt.
    pub fn has_work(&self) -> bool {
        let mut at = self.next;
        // At least one descriptor, and never as many as the ring has.
        for _ in 0..self.max_frame.div_ceil(BUFFER) {
            match self.written(at) {
                None => return false,
                Some(written) if written.ends => return true,
                Some(_) => at = next(at),
            }
        }
        true
    }

    /// Hands at most `budget` frames to `sink`; returns how many, and the new tail when it is time to write
    /// it.
    pub fn receive(
        &mut self,
        budget: usize,
        counters: &mut NetCounters,
        sink: &mut dyn FnMut(&[u8], RxMeta),
    ) -> (usize, Option<u32>) {
        let mut frames = 0;
        // Dropped frames do not count, nor beginnings of frames: bounded by one round of the ring.
        for _ in 0..COUNT {
            if frames == budget {
                break;
            }
            let Some(Written { len, ends, faulty, verified }) = self.written(self.next) else { break };
            self.next = next(self.next);
            self.held += 1;
            if !ends {
                // One error for a frame that is too long or has a gap, counted at its end. Its buffers go back as they come,
                // so that a frame without an end cannot keep the ring.
                self.skipping |= len != BUFFER || self.held * BUFFER > self.max_frame;
                if self.skipping {
                    self.give_back();
                }
                continue;
            }
            // Errors and checksums are reported with the end of a frame and nowhere else (8254x manual section 3.2.3.2;
            // 82576 datasheet section 7.1.5).
            let total = (self.held - 1) * BUFFER + len;
            let broken = core::mem::take(&mut self.skipping) || faulty || len > BUFFER;
            if !broken && (MIN_FRAME..=self.max_frame).contains(&total) {
                let meta = RxMeta { checksum_ok: verified };
                counters.rx_packets += 1;
                counters.rx_bytes += total as u64;
                frames += 1;
                sink(self.frame(total), meta);
            } else {
                counters.rx_errors += 1;
            }
            self.give_back();
        }
        (frames, self.tail())
    }

    /// First descriptor of those that are held.
    fn first(&self) -> usize {
        (self.next + COUNT - self.held) % COUNT
    }

    /// The frame of `total` bytes in the buffers that are held.
    fn frame(&mut self, total: usize) -> &[u8] {
        let first = self.first();
        // SAFETY: DD is set in every descriptor that is held: the device is done with their buffers until the tail passes
        // them. `total` ends in the last of them, and a run cannot leave the ring: that is a whole number of the pool's pieces.
        if let Some(frame) = unsafe { self.buffers.run(first, total) } {
            return frame;
        }
        self.stitch.clear();
        for part in 0..self.held {
            let len = BUFFER.min(total - part * BUFFER);
            // SAFETY: as above.
            self.stitch.extend_from_slice(unsafe { self.buffers.bytes((first + part) % COUNT, len) });
        }
        &self.stitch
    }

    /// Gives the descriptors that are held back to the device.
    fn give_back(&mut self) {
        let mut index = self.first();
        self.unannounced += self.held;
        self.held = 0;
        while index != self.next {
            // The write-back may have replaced the address, and what stands behind it has to be zero.
            self.descriptors.write64(index * DESCRIPTOR, self.buffers.phys(index, 0));
            self.descriptors.write64(index * DESCRIPTOR + 8, 0);
            index = next(index);
        }
    }

    fn tail(&mut self) -> Option<u32> {
        if self.unannounced < RX_BATCH {
            return None;
        }
        self.unannounced = 0;
        fence(Ordering::Release);
        // The descriptor before the first stays out: head would meet tail with a full ring.
        Some(((self.first() + COUNT - 1) % COUNT) as u32)
    }

    pub fn leak(&mut self) {
        self.descriptors.leak();
        self.buffers.leak();
    }
}
