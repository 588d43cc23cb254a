//! What both rings have in common, and the receive ring. Head equal to tail means empty, so that one
//! descriptor of each ring stays unused.
//!
//! A frame longer than a buffer lies in several, one behind the other. The pool's buffers are neighbours in
//! memory, so that such a frame is one slice as it is, but where it goes on in another piece of the pool: that
//! one is copied together.

use super::layout::Layout;
use crate::InitError;
use crate::dma::{BufferPool, DmaBuffer};
use alloc::rc::Rc;
use alloc::vec;
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
/// Ethernet header, VLAN tag, 1500 bytes.
pub(crate) const MAX_FRAME: usize = 1518;
/// Shortest frame that carries anything: the Ethernet header.
const MIN_FRAME: usize = 14;

pub(crate) fn next(index: usize) -> usize {
    (index + 1) % COUNT
}

/// Received frames.
pub(crate) struct RxRing {
    layout: Layout,
    descriptors: DmaBuffer,
    buffers: BufferPool,
    /// Longest frame that is handed on.
    max_frame: usize,
    /// Where frames are put together that do not lie in one piece; as long as such a frame.
    stitch: Vec<u8>,
    /// Next descriptor the device fills.
    next: usize,
    /// Descriptors given back since the tail was written.
    unannounced: usize,
    /// In the middle of a frame longer than any that is handed on, which is dropped to its end.
    skipping: bool,
}

/// The tail is written when this many buffers are free again: the device still has most of the ring.
const RX_BATCH: usize = 32;

/// A frame, or as much of one as can be told to be none.
#[derive(Clone, Copy)]
struct Arrived {
    /// Descriptors.
    pieces: usize,
    /// Bytes in them.
    len: usize,
    /// The last of them ends the frame.
    ends: bool,
    /// It can be handed on.
    intact: bool,
    verified: bool,
}

impl RxRing {
    /// A ring for frames of up to `max_frame` bytes.
    pub fn new(dma: &Rc<dyn Dma>, layout: Layout, max_frame: usize) -> Result<RxRing, InitError> {
        let descriptors = DmaBuffer::new(dma, RING_BYTES)?;
        let buffers = BufferPool::new(dma, COUNT, BUFFER)?;
        for i in 0..COUNT {
            descriptors.write64(i * DESCRIPTOR, buffers.phys(i, 0));
        }
        let stitch = if max_frame > BUFFER { vec![0; max_frame] } else { Vec::new() };
        Ok(RxRing {
            layout,
            descriptors,
            buffers,
            max_frame,
            stitch,
            next: 0,
            unannounced: 0,
            skipping: false,
        })
    }

    pub fn phys(&self) -> u64 {
        self.descriptors.phys(0)
    }

    /// The tail that gives the device all but one descriptor.
    pub fn first_tail(&self) -> u32 {
        COUNT as u32 - 1
    }

    /// True when a frame waits, whole or broken. Of one that is still being written the rest will interrupt.
    pub fn has_work(&self) -> bool {
        self.arrived().is_some()
    }

    /// What the device is done with at `next`; `None` when it has not begun or not ended a frame.
    fn arrived(&self) -> Option<Arrived> {
        let (mut at, mut len, mut intact) = (self.next, 0, !self.skipping);
        // At least one descriptor, and never as many as the ring has.
        let most = self.max_frame.div_ceil(BUFFER);
        for pieces in 1..=most {
            let written = self.layout.written(&self.descriptors, at * DESCRIPTOR)?;
            len += written.len;
            if written.ends {
                let fits = (MIN_FRAME..=self.max_frame).contains(&len) && written.len <= BUFFER;
                intact &= fits && !written.faulty;
                return Some(Arrived { pieces, len, ends: true, intact, verified: written.verified });
            }
            // All but the last are full: what is behind one is the rest of the frame.
            intact &= written.len == BUFFER;
            at = next(at);
        }
        Some(Arrived { pieces: most, len, ends: false, intact: false, verified: false })
    }

    /// Hands at most `budget` frames to `sink`; returns how many, and the new tail when it is time to write
    /// it.
    pub fn receive(
        &mut self,
        budget: usize,
        counters: &mut NetCounters,
        sink: &mut dyn FnMut(&[u8], RxMeta),
    ) -> (usize, Option<u32>) {
        let (mut frames, mut descriptors) = (0, 0);
        // Dropped frames do not count: bounded by one round of the ring.
        while frames < budget && descriptors < COUNT {
            let Some(arrived) = self.arrived() else { break };
            self.skipping = !arrived.ends;
            if arrived.intact {
                counters.rx_packets += 1;
                counters.rx_bytes += arrived.len as u64;
                frames += 1;
                self.deliver(arrived, sink);
            } else {
                // A frame that is too long is one error, counted at its end.
                counters.rx_errors += u64::from(arrived.ends);
            }
            descriptors += arrived.pieces;
            (0..arrived.pieces).for_each(|_| self.give_back());
        }
        (frames, self.tail())
    }

    fn deliver(&mut self, arrived: Arrived, sink: &mut dyn FnMut(&[u8], RxMeta)) {
        let meta = RxMeta { checksum_ok: arrived.verified };
        if self.buffers.adjacent(self.next, arrived.pieces) {
            // SAFETY: DD is set in all of them: the device is done with these buffers until the tail passes them.
            return sink(unsafe { self.buffers.bytes_from(self.next, arrived.len) }, meta);
        }
        let Some(frame) = self.stitch.get_mut(..arrived.len) else { return };
        let mut at = self.next;
        for piece in frame.chunks_mut(BUFFER) {
            // SAFETY: as above.
            piece.copy_from_slice(unsafe { self.buffers.bytes(at, piece.len()) });
            at = next(at);
        }
        sink(frame, meta);
    }

    /// Readies the next descriptor for the device, which sees it when the tail has passed it.
    fn give_back(&mut self) {
        let at = self.next * DESCRIPTOR;
        // The write-back may have replaced the address, and what stands behind it has to be zero.
        self.descriptors.write64(at, self.buffers.phys(self.next, 0));
        self.descriptors.write64(at + 8, 0);
        self.next = next(self.next);
        self.unannounced += 1;
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
