//! Receive queue: small buffers, merged frames put together in one spare buffer.
//!
//! A frame in one buffer is handed to the stack where it lies. A frame over several (`num_buffers` > 1, TCP
//! merged by the host) is copied into the stitch buffer first, because the stack wants one slice. The used
//! entries of one frame need not all be there at once: what has come so far waits in the stitch buffer.

use super::header;
use crate::InitError;
use crate::dma::BufferPool;
use crate::virtio::{QueueFault, Transport, Virtqueue};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use keelson_hal::{Dma, NetCounters, RxMeta};

/// Largest merged frame: IP packet of 65,535 bytes, Ethernet header with a VLAN tag.
const MAX_MERGED_FRAME: usize = 65_535 + 18;

/// A merged frame of which buffers are still missing.
struct Partial {
    /// Used entries to come.
    missing: u16,
    meta: RxMeta,
    /// It does not fit or has an empty buffer: consumed and dropped.
    bad: bool,
}

pub(super) struct RxQueue {
    pub queue: Virtqueue,
    buffers: BufferPool,
    /// Merged frame being put together; empty without MRG_RXBUF.
    stitch: Vec<u8>,
    partial: Option<Partial>,
    merging: bool,
}

impl RxQueue {
    /// Fills the queue with buffers of `buffer_size` bytes; the device sees them with the first
    /// [`Virtqueue::publish`].
    pub fn new(
        transport: &dyn Transport,
        dma: &Rc<dyn Dma>,
        index: u16,
        event_idx: bool,
        merging: bool,
        buffer_size: usize,
    ) -> Result<RxQueue, InitError> {
        let mut queue = Virtqueue::new(transport, dma, index, event_idx)?;
        let buffers = BufferPool::new(dma, usize::from(queue.size()), buffer_size)?;
        for buffer in 0..queue.size() {
            queue.add_buffer(&buffers, buffer);
        }
        let stitch = if merging { vec![0; MAX_MERGED_FRAME] } else { Vec::new() };
        Ok(RxQueue { queue, buffers, stitch: emptied(stitch), partial: None, merging })
    }

    /// Hands at most `budget` frames to `sink` and the buffers back to the device.
    pub fn receive(
        &mut self,
        budget: usize,
        counters: &mut NetCounters,
        sink: &mut dyn FnMut(&[u8], RxMeta),
    ) -> Result<usize, QueueFault> {
        let mut frames = 0;
        // Frames in error consume entries without counting: bounded by one round of the ring.
        let mut entries = usize::from(self.queue.size());
        while frames < budget && entries > 0 {
            let Some(used) = self.queue.pop()? else { break };
            entries -= 1;
            // SAFETY: the device has used the buffer's only descriptor, and it is given again only below.
            let bytes = unsafe { self.buffers.bytes(usize::from(used.token), used.written as usize) };
            let taken = take(bytes, &mut self.partial, &mut self.stitch, self.merging, counters, sink);
            self.queue.add_buffer(&self.buffers, used.token);
            if taken.inspect_err(|&fault| self.queue.condemn(fault))? {
                frames += 1;
            }
        }
        self.queue.publish();
        Ok(frames)
    }

    /// See `DmaBuffer::leak`.
    pub fn leak(&mut self) {
        self.queue.leak();
        self.buffers.leak();
    }
}

/// Keeps the allocation, forgets the content.
fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer
}

/// Looks at one used buffer; true when it completed a frame, which `sink` has seen then.
fn take(
    bytes: &[u8],
    partial: &mut Option<Partial>,
    stitch: &mut Vec<u8>,
    merging: bool,
    counters: &mut NetCounters,
    sink: &mut dyn FnMut(&[u8], RxMeta),
) -> Result<bool, QueueFault> {
    let Some(open) = partial else {
        let Some((head, frame)) = bytes.split_at_checked(header::LEN) else {
            counters.rx_errors += 1;
            return Ok(false);
        };
        let meta = header::received(head);
        return match if merging { header::buffer_count(head) } else { 1 } {
            1 if frame.len() >= ETHERNET_HEADER => {
                deliver(frame, meta, counters, sink);
                Ok(true)
            }
            0 | 1 => {
                counters.rx_errors += 1;
                Ok(false)
            }
            count if usize::from(count) > MAX_MERGED_BUFFERS => {
                Err(QueueFault::Protocol("frame over more buffers than a frame can need"))
            }
            count => {
                stitch.clear();
                stitch.extend_from_slice(frame);
                *partial = Some(Partial { missing: count - 1, meta, bad: false });
                Ok(false)
            }
        };
    };
    if bytes.is_empty() || stitch.len() + bytes.len() > MAX_MERGED_FRAME {
        open.bad = true;
    } else {
        stitch.extend_from_slice(bytes);
    }
    open.missing -= 1;
    if open.missing > 0 {
        return Ok(false);
    }
    let (bad, meta) = (open.bad || stitch.len() < ETHERNET_HEADER, open.meta);
    *partial = None;
    if bad {
        counters.rx_errors += 1;
        return Ok(false);
    }
    deliver(stitch, meta, counters, sink);
    Ok(true)
}

fn deliver(frame: &[u8], meta: RxMeta, counters: &mut NetCounters, sink: &mut dyn FnMut(&[u8], RxMeta)) {
    counters.rx_packets += 1;
    counters.rx_bytes += frame.len() as u64;
    sink(frame, meta);
}

/// Destination, source, type.
const ETHERNET_HEADER: usize = 14;
/// A merged frame in the smallest buffers this driver gives.
const MAX_MERGED_BUFFERS: usize = (header::LEN + MAX_MERGED_FRAME).div_ceil(super::SMALL_BUFFER);
