//! Descriptor rings. Head equal to tail means empty, so that one descriptor of each ring stays unused.

use crate::InitError;
use crate::dma::{BufferPool, DmaBuffer};
use alloc::rc::Rc;
use core::sync::atomic::{Ordering, fence};
use keelson_hal::{Dma, NetCounters, RxMeta, TransmitError, TxOffload};

/// Descriptors per ring; a multiple of 8.
pub(super) const COUNT: usize = 256;
const DESCRIPTOR: usize = 16;
/// Bytes of a ring, for the length register.
pub(super) const RING_BYTES: usize = COUNT * DESCRIPTOR;
/// RCTL.BSIZE = 0.
const BUFFER: usize = 2048;
/// Ethernet header, VLAN tag, 1500 bytes.
pub(super) const MAX_FRAME: usize = 1518;
/// Shortest frame that carries anything: the Ethernet header.
const MIN_FRAME: usize = 14;

fn next(index: usize) -> usize {
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

/// Transmit descriptors in the extended format (8254x manual sections 3.3.6 and 3.3.7).
mod tx {
    pub const DTYP_DATA: u32 = 1 << 20;
    pub const CMD_EOP: u32 = 1 << 24;
    pub const CMD_IFCS: u32 = 1 << 25;
    pub const CMD_RS: u32 = 1 << 27;
    pub const CMD_DEXT: u32 = 1 << 29;
    pub const TUCMD_TCP: u32 = 1 << 24;
    /// POPTS: complete the transport checksum.
    pub const POPTS_TXSM: u32 = 1 << 9;
    pub const DD: u32 = 1 << 0;
}

/// A status report is asked for with every this many frames, and with the last of each flush.
const REPORT_EVERY: usize = 16;
/// A frame takes a data descriptor, and a context descriptor before it with a checksum.
const PER_FRAME: usize = 2;
/// Offset of the TCP checksum field in its header; UDP's is 6.
const TCP_CHECKSUM: u16 = 16;

/// Frames to be sent. Buffer `i` belongs to descriptor `i`.
pub(super) struct TxRing {
    descriptors: DmaBuffer,
    buffers: BufferPool,
    /// Next descriptor to write.
    next: usize,
    /// Oldest descriptor not reclaimed.
    clean: usize,
    /// What the device was told.
    tail: usize,
    /// Data descriptor of the last frame queued since the tail was written.
    last: Option<usize>,
    since_report: usize,
    /// Descriptors that report, in order from `clean` on: one bit each.
    reporting: [bool; COUNT],
    /// The last answer was that there is no room.
    pub starved: bool,
}

impl TxRing {
    pub fn new(dma: &Rc<dyn Dma>) -> Result<TxRing, InitError> {
        Ok(TxRing {
            descriptors: DmaBuffer::new(dma, RING_BYTES)?,
            buffers: BufferPool::new(dma, COUNT, BUFFER)?,
            next: 0,
            clean: 0,
            tail: 0,
            last: None,
            since_report: 0,
            reporting: [false; COUNT],
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

    /// Takes back descriptors up to the last report of the device; frames that can be queued now.
    pub fn room(&mut self) -> usize {
        let mut at = self.clean;
        while at != self.tail {
            if self.reporting[at] {
                if self.descriptors.read32(at * DESCRIPTOR + 12) & tx::DD == 0 {
                    break;
                }
                self.reporting[at] = false;
                self.clean = next(at);
            }
            at = next(at);
        }
        let room = self.free() / PER_FRAME;
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
        if len > MAX_FRAME || len == 0 || offload.segment_size.is_some() {
            return Err(TransmitError::TooLong);
        }
        if self.free() < PER_FRAME && self.room() == 0 {
            return Err(TransmitError::Full);
        }
        // A field outside the frame, or beyond the context's 8 bits, cannot come from an IP header.
        let checksum = offload.checksum.filter(|checksum| {
            let field = usize::from(checksum.start) + usize::from(checksum.offset);
            field + 2 <= len && field <= 255
        });
        if let Some(checksum) = checksum {
            let (start, field) = (u32::from(checksum.start), u32::from(checksum.start + checksum.offset));
            let tcp = if checksum.offset == TCP_CHECKSUM { tx::TUCMD_TCP } else { 0 };
            // Start and field of the IP header's checksum are given too, but not used: the stack has it.
            self.write([14 | 24 << 8 | (start.max(15) - 1) << 16, start | field << 8, tx::CMD_DEXT | tcp, 0]);
        }
        let index = self.next;
        // SAFETY: the descriptor of this number is free, and only it ever names the buffer.
        fill(unsafe { self.buffers.bytes_mut(index, len) });
        let phys = self.buffers.phys(index, 0);
        self.since_report += 1;
        let report = self.since_report == REPORT_EVERY;
        let command = tx::CMD_DEXT | tx::CMD_EOP | tx::CMD_IFCS | tx::DTYP_DATA;
        let options = if checksum.is_some() { tx::POPTS_TXSM } else { 0 };
        self.write([phys as u32, (phys >> 32) as u32, command | len as u32, options]);
        self.last = Some(index);
        if report {
            self.report(index);
        }
        Ok(())
    }

    fn write(&mut self, words: [u32; 4]) {
        for (i, word) in words.into_iter().enumerate() {
            self.descriptors.write32(self.next * DESCRIPTOR + 4 * i, word);
        }
        self.reporting[self.next] = false;
        self.next = next(self.next);
    }

    /// Has the device report descriptor `index`, which it has not seen yet.
    fn report(&mut self, index: usize) {
        let at = index * DESCRIPTOR + 8;
        self.descriptors.write32(at, self.descriptors.read32(at) | tx::CMD_RS);
        self.reporting[index] = true;
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
    }
}
