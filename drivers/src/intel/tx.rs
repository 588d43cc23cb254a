//! The transmit ring, with checksum and segmentation by context descriptor.
//!
//! ```text
//!   small frame    data                        buffer = the descriptor's own, 2 KiB
//!                  context, data               with a checksum
//!   large frame    data, data, ...             one of few buffers of 16 or 32 KiB, in pieces of 4 KiB
//!                  context, data, data, ...    with a checksum, or to be segmented
//! ```

use super::layout::{Data, Layout, bit};
use super::ring::{BUFFER, COUNT, DESCRIPTOR, RING_BYTES, next};
use super::segmentation::Segmentation;
use crate::InitError;
use crate::dma::{BufferPool, DmaBuffer};
use alloc::rc::Rc;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::{Dma, TransmitError, TxChecksum, TxOffload};

/// A status report is asked for with every this many frames, and with the last of each flush.
const REPORT_EVERY: usize = 16;
/// A small frame takes a data descriptor, and a context descriptor before it with a checksum.
const PER_FRAME: usize = 2;
/// Buffers for large frames: those longer than a descriptor's own buffer, and those to be segmented.
const LARGE_BUFFERS: usize = 16;
/// Size of each when the chip segments. Half of what IP allows: the gain of twice the size would be a few
/// hundredths of a doorbell per frame.
const TSO_BUFFER: usize = 32 * 1024;
/// Bytes given to one data descriptor; longer ones upset some chips of the family.
const PIECE: usize = 4096;

/// What is remembered of a descriptor that the device has.
#[derive(Clone, Copy, Default)]
struct Sent {
    /// The device sets DD in it.
    reporting: bool,
    /// It ends a frame in a large buffer.
    large: bool,
}

/// Frames to be sent. Small buffer `i` belongs to descriptor `i`; large buffers are used in turn.
pub(crate) struct TxRing {
    layout: Layout,
    descriptors: DmaBuffer,
    buffers: BufferPool,
    large: BufferPool,
    large_next: usize,
    large_free: usize,
    /// Large frames are sent: some were, or the chip segments. Without jumbo frames there will never be one on others, and
    /// the few buffers for them limit nothing.
    large_used: bool,
    /// Longest frame that is not segmented: more than a descriptor's own buffer holds.
    max_frame: usize,
    segmenting: bool,
    /// Next descriptor to write.
    next: usize,
    /// Oldest descriptor not reclaimed.
    clean: usize,
    /// What the device was told.
    tail: usize,
    /// Last descriptor of the last frame queued since the tail was written.
    last: Option<usize>,
    since_report: usize,
    sent: [Sent; COUNT],
    /// The last answer was that there is no room.
    pub starved: bool,
}

impl TxRing {
    /// A ring for frames of up to `max_frame` bytes, and with `segmenting` for those of up to
    /// [`TxRing::max_tso_frame`].
    pub fn new(
        dma: &Rc<dyn Dma>,
        layout: Layout,
        max_frame: usize,
        segmenting: bool,
    ) -> Result<TxRing, InitError> {
        let large = if segmenting { TSO_BUFFER } else { max_frame.next_power_of_two() };
        Ok(TxRing {
            layout,
            descriptors: DmaBuffer::new(dma, RING_BYTES)?,
            buffers: BufferPool::new(dma, COUNT, BUFFER)?,
            large: BufferPool::new(dma, LARGE_BUFFERS, large)?,
            large_next: 0,
            large_free: LARGE_BUFFERS,
            large_used: segmenting,
            max_frame,
            segmenting,
            next: 0,
            clean: 0,
            tail: 0,
            last: None,
            since_report: 0,
            sent: [Sent::default(); COUNT],
            starved: false,
        })
    }

    pub fn phys(&self) -> u64 {
        self.descriptors.phys(0)
    }

    fn free(&self) -> usize {
        (self.clean + COUNT - self.next - 1) % COUNT
    }

    /// True when nothing is with the device.
    pub fn is_idle(&self) -> bool {
        self.clean == self.next
    }

    /// Longest frame to be segmented; 0 without segmentation.
    pub fn max_tso_frame(&self) -> usize {
        if self.segmenting { self.large.buffer_size() } else { 0 }
    }

    /// Descriptors of the largest frame: the context and its pieces.
    fn per_large_frame(&self) -> usize {
        1 + self.large.buffer_size() / PIECE
    }

    /// Takes back descriptors up to the last report of the device; frames that can be queued now, of the length of
    /// those that were sent before.
    pub fn room(&mut self) -> usize {
        let (mut at, mut large) = (self.clean, 0);
        while at != self.tail {
            let sent = self.sent[at];
            large += usize::from(sent.large);
            if sent.reporting {
                if self.descriptors.read32(at * DESCRIPTOR + 12) & bit::DD == 0 {
                    break;
                }
                self.clean = next(at);
                self.large_free += core::mem::take(&mut large);
            }
            at = next(at);
        }
        let room = match self.large_used {
            true => self.large_free.min(self.free() / self.per_large_frame()),
            false => self.free() / PER_FRAME,
        };
        self.starved = room == 0;
        room
    }

    /// Queues one frame; the device sees it after the tail is written.
    pub fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        match (offload.segment_size, offload.checksum) {
            (None, checksum) if (1..=BUFFER).contains(&len) => self.transmit_small(len, checksum, fill),
            (None, checksum) if (1..=self.max_frame).contains(&len) => {
                self.transmit_large(len, None, checksum, fill)
            }
            (Some(mss), Some(checksum)) if mss > 0 && len <= self.max_tso_frame() => {
                self.transmit_large(len, Some(mss), Some(checksum), fill)
            }
            _ => Err(TransmitError::TooLong),
        }
    }

    fn transmit_small(
        &mut self,
        len: usize,
        checksum: Option<TxChecksum>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        if self.free() < PER_FRAME {
            self.room();
            if self.free() < PER_FRAME {
                return Err(TransmitError::Full);
            }
        }
        let options = self.write_checksum(len, checksum);
        // SAFETY: the descriptor of this number is free, and only it ever names the buffer.
        fill(unsafe { self.buffers.bytes_mut(self.next, len) });
        let phys = self.buffers.phys(self.next, 0);
        let data = Data { phys, len, end: true, segment: false, options, payload: len };
        let index = self.write(self.layout.data(data));
        self.queued(index);
        Ok(())
    }

    /// Writes the context of a frame whose checksum is left to the device; the options of its data.
    #[inline(always)]
    fn write_checksum(&mut self, len: usize, checksum: Option<TxChecksum>) -> u32 {
        // A field outside the frame, or beyond the context's 8 bits, cannot come from an IP header.
        let context = checksum.filter(|checksum| {
            let field = usize::from(checksum.start) + usize::from(checksum.offset);
            field + 2 <= len && field <= 255
        });
        let Some(context) = context.and_then(|checksum| self.layout.checksum(checksum)) else { return 0 };
        self.write(context);
        bit::POPTS_TXSM
    }

    fn transmit_large(
        &mut self,
        len: usize,
        mss: Option<u16>,
        checksum: Option<TxChecksum>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        self.large_used = true;
        if (self.free() < self.per_large_frame() || self.large_free == 0) && self.room() == 0 {
            return Err(TransmitError::Full);
        }
        let phys = self.large.phys(self.large_next, 0);
        // SAFETY: buffers are used in turn and `large_free` counts those whose frames the device has sent.
        let frame = unsafe { self.large.bytes_mut(self.large_next, len) };
        fill(frame);
        let (segment, options, payload) = match (mss, checksum) {
            (Some(mss), Some(checksum)) => {
                // A frame that is no TCP over IPv4 after all cannot be sent whole.
                let headers = Segmentation::prepare(frame, checksum).ok_or(TransmitError::TooLong)?;
                self.write(self.layout.segmentation(headers, len, mss));
                (true, bit::POPTS_TXSM | bit::POPTS_IXSM, len - headers.payload)
            }
            _ => (false, self.write_checksum(len, checksum), len),
        };
        self.write_pieces(Data { phys, len, end: false, segment, options, payload });
        Ok(())
    }

    /// Queues the frame in the large buffer whose turn it is.
    fn write_pieces(&mut self, frame: Data) {
        self.large_next = (self.large_next + 1) % LARGE_BUFFERS;
        self.large_free -= 1;
        let mut index = self.next;
        for at in (0..frame.len).step_by(PIECE) {
            let len = PIECE.min(frame.len - at);
            let end = at + len == frame.len;
            index = self.write(self.layout.data(Data { phys: frame.phys + at as u64, len, end, ..frame }));
        }
        self.sent[index].large = true;
        self.queued(index);
    }

    /// Writes a descriptor; its number.
    fn write(&mut self, words: [u32; 4]) -> usize {
        let index = self.next;
        for (i, word) in words.into_iter().enumerate() {
            self.descriptors.write32(index * DESCRIPTOR + 4 * i, word);
        }
        self.sent[index] = Sent::default();
        self.next = next(index);
        index
    }

    /// Notes that a frame ends in descriptor `index`.
    fn queued(&mut self, index: usize) {
        self.last = Some(index);
        self.since_report += 1;
        if self.since_report == REPORT_EVERY {
            self.report(index);
        }
    }

    /// Has the device report descriptor `index`, which it has not seen yet.
    fn report(&mut self, index: usize) {
        let at = index * DESCRIPTOR + 8;
        self.descriptors.write32(at, self.descriptors.read32(at) | bit::CMD_RS);
        self.sent[index].reporting = true;
        self.since_report = 0;
    }

    /// The new tail, when frames were queued since the last call.
    pub fn flush(&mut self) -> Option<u32> {
        let last = self.last.take()?;
        self.report(last);
        fence(Ordering::Release);
        self.tail = self.next;
        Some(self.next as u32)
    }

    pub fn leak(&mut self) {
        self.descriptors.leak();
        self.buffers.leak();
        self.large.leak();
    }
}
