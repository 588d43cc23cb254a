//! What both rings have in common, and the receive ring. Head equal to tail means empty, so that one
//! descriptor of each ring stays unused.

use crate::InitError;
use crate::dma::{BufferPool, DmaBuffer};
use alloc::rc::Rc;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::{Dma, NetCounters, RxMeta};

/// Descriptors per ring; a multiple of 8.
pub(super) const COUNT: usize = 256;
pub(super) const DESCRIPTOR: usize = 16;
/// Bytes of a ring, for the length register.
pub(super) const RING_BYTES: usize = COUNT * DESCRIPTOR;
/// RCTL.BSIZE = 0.
pub(super) const BUFFER: usize = 2048;
/// Ethernet header, VLAN tag, 1500 bytes.
pub(super) const MAX_FRAME: usize = 1518;
/// Shortest frame that carries anything: the Ethernet header.
const MIN_FRAME: usize = 14;

pub(super) fn next(index: usize) -> usize {
    (index + 1) % COUNT
}

/// Receive descriptor, written back in the legacy format (8254x manual section 3.2.3): length at 8, status
/// at 12, errors at 13.
mod rx {
    pub const DD: u8 = 1 << 0;
    pub const EOP: u8 = 1 << 1;
    pub const IXSM: u8 = 1 << 2;
    /// UDP checksum computed; 82574L only, 82540EM reports UDP as TCPCS.
    pub const UDPCS: u8 = 1 << 4;
    pub const TCPCS: u8 = 1 << 5;
    /// CRC, symbol, sequence and receive data errors.
    pub const FRAME_ERRORS: u8 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 7;
    pub const TCPE: u8 = 1 << 5;
}

/// Received frames.
pub(super) struct RxRing {
    descriptors: DmaBuffer,
    buffers: BufferPool,
    /// Next descriptor the device fills.
    next: usize,
    /// Descriptors given back since the tail was written.
    unannounced: usize,
    /// In the middle of a frame longer than a buffer, which is dropped to its end.
    skipping: bool,
}

/// The tail is written when this many buffers are free again: the device still has most of the ring.
const RX_BATCH: usize = 32;

impl RxRing {
    pub fn new(dma: &Rc<dyn Dma>) -> Result<RxRing, InitError> {
        let descriptors = DmaBuffer::new(dma, RING_BYTES)?;
        let buffers = BufferPool::new(dma, COUNT, BUFFER)?;
        for i in 0..COUNT {
            descriptors.write64(i * DESCRIPTOR, buffers.phys(i, 0));
        }
        Ok(RxRing { descriptors, buffers, next: 0, unannounced: 0, skipping: false })
    }

    pub fn phys(&self) -> u64 {
        self.descriptors.phys(0)
    }

    /// The tail that gives the device all but one descriptor.
    pub fn first_tail(&self) -> u32 {
        COUNT as u32 - 1
    }

    fn status(&self) -> u8 {
        self.descriptors.read8(self.next * DESCRIPTOR + 12)
    }

    /// True when a frame waits.
    pub fn has_work(&self) -> bool {
        self.status() & rx::DD != 0
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
        // Dropped frames do not count: bounded by one round of the ring.
        for _ in 0..COUNT {
            let status = self.status();
            if frames == budget || status & rx::DD == 0 {
                break;
            }
            // What the device wrote before the status is read after it.
            fence(Ordering::Acquire);
            let at = self.next * DESCRIPTOR;
            let len = usize::from(self.descriptors.read16(at + 8));
            let errors = self.descriptors.read8(at + 13);
            let whole = status & rx::EOP != 0 && !self.skipping;
            self.skipping = status & rx::EOP == 0;
            if whole && errors & rx::FRAME_ERRORS == 0 && (MIN_FRAME..=BUFFER).contains(&len) {
                let verified = status & (rx::TCPCS | rx::UDPCS) != 0 && status & rx::IXSM == 0;
                let meta = RxMeta { checksum_ok: verified && errors & rx::TCPE == 0 };
                counters.rx_packets += 1;
                counters.rx_bytes += len as u64;
                frames += 1;
                // SAFETY: DD is set: the device is done with this buffer until the tail passes it.
                sink(unsafe { self.buffers.bytes(self.next, len) }, meta);
            } else {
                // A frame over several buffers is one error, counted at its end.
                counters.rx_errors += u64::from(status & rx::EOP != 0);
            }
            // The write-back replaced nothing but the second half; the address is written again in case a
            // chip stores its checksum over it.
            self.descriptors.write64(at, self.buffers.phys(self.next, 0));
            self.descriptors.write64(at + 8, 0);
            self.next = next(self.next);
            self.unannounced += 1;
        }
        (frames, self.tail())
    }

    fn tail(&mut self) -> Option<u32> {
        if self.unannounced < RX_BATCH {
            return None;
        }
        self.unannounced = 0;
        fence(Ordering::Release);
        // The descriptor before `next` stays out: head would meet tail with a full ring.
        Some(((self.next + COUNT - 1) % COUNT) as u32)
    }

    pub fn leak(&mut self) {
        self.descriptors.leak();
        self.buffers.leak();
    }
}
