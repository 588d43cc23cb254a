//! Transmit queue: header and frame in one preallocated buffer, one descriptor each.

use super::header;
use crate::InitError;
use crate::dma::BufferPool;
use crate::virtio::{QueueFault, Segment, Transport, Virtqueue};
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_hal::{Dma, TransmitError, TxOffload};

/// Bytes in front of the frame: the header ends where the frame begins, and the frame is 16-byte aligned.
pub(super) const HEADROOM: usize = 16;
/// Buffers for frames longer than the MTU, when the device segments.
const LARGE_BUFFERS: usize = 16;
const LARGE_BUFFER: usize = 64 * 1024;
/// Longest frame in a large buffer.
pub(super) const MAX_LARGE_FRAME: usize = LARGE_BUFFER - HEADROOM;
/// Tokens of large buffers start here.
const LARGE_TOKEN: u16 = 0x8000;

pub(super) struct TxQueue {
    pub queue: Virtqueue,
    small: BufferPool,
    small_free: Vec<u16>,
    large: Option<BufferPool>,
    large_free: Vec<u16>,
    /// The last answer was that there is no room: somebody may wait for it.
    starved: bool,
    /// Interrupts are requested.
    armed: bool,
}

impl TxQueue {
    /// A queue for frames of up to `buffer_size - 16` bytes, and with `segmenting` of up to
    /// [`MAX_LARGE_FRAME`].
    pub fn new(
        transport: &dyn Transport,
        dma: &Rc<dyn Dma>,
        index: u16,
        event_idx: bool,
        segmenting: bool,
        buffer_size: usize,
    ) -> Result<TxQueue, InitError> {
        let queue = Virtqueue::new(transport, dma, index, event_idx)?;
        let count = queue.size();
        let small = BufferPool::new(dma, usize::from(count), buffer_size)?;
        let large = segmenting.then(|| BufferPool::new(dma, LARGE_BUFFERS, LARGE_BUFFER)).transpose()?;
        let large_count = if segmenting { LARGE_BUFFERS as u16 } else { 0 };
        Ok(TxQueue {
            queue,
            small,
            small_free: (0..count).rev().collect(),
            large,
            large_free: (0..large_count).rev().collect(),
            starved: false,
            armed: false,
        })
    }

    /// Longest frame that can be sent.
    pub fn max_frame(&self) -> usize {
        if self.large.is_some() { MAX_LARGE_FRAME } else { self.small.buffer_size() - HEADROOM }
    }

    /// Takes back the buffers of frames that were sent.
    pub fn reclaim(&mut self) -> Result<(), QueueFault> {
        while let Some(used) = self.queue.pop()? {
            match used.token.checked_sub(LARGE_TOKEN) {
                Some(large) => self.large_free.push(large),
                None => self.small_free.push(used.token),
            }
        }
        Ok(())
    }

    /// Frames that can be queued whatever their length: with segmentation, never more than large buffers.
    pub fn room(&mut self) -> usize {
        let mut room = self.small_free.len().min(usize::from(self.queue.free_descriptors()));
        if self.large.is_some() {
            room = room.min(self.large_free.len());
        }
        self.starved = room == 0;
        room
    }

    /// Queues one frame; the device sees it after [`Virtqueue::publish`].
    pub fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        if len > self.max_frame() {
            return Err(TransmitError::TooLong);
        }
        let is_small = len <= self.small.buffer_size() - HEADROOM;
        let free = if is_small { &mut self.small_free } else { &mut self.large_free };
        let Some(index) = free.pop_if(|_| self.queue.free_descriptors() > 0) else {
            self.starved = true;
            return Err(TransmitError::Full);
        };
        let (pool, token) = match &mut self.large {
            Some(large) if !is_small => (large, index | LARGE_TOKEN),
            _ => (&mut self.small, index),
        };
        // SAFETY: a buffer on a free list has no descriptor.
        let buffer = unsafe { pool.bytes_mut(usize::from(index), HEADROOM + len) };
        let (head, frame) = buffer.split_at_mut(HEADROOM);
        fill(frame);
        const HEADER_AT: usize = HEADROOM - header::LEN;
        head[HEADER_AT..].copy_from_slice(&header::for_sending(frame, offload));
        let segment = Segment {
            phys: pool.phys(usize::from(index), HEADER_AT),
            len: (header::LEN + len) as u32,
            device_writes: false,
        };
        self.queue.add(&[segment], token);
        Ok(())
    }

    /// Lets the device interrupt when most of the queue is free again, if somebody waits for room; true when
    /// it is already.
    pub fn arm(&mut self) -> bool {
        if !self.starved {
            return false;
        }
        let in_flight = self.queue.in_flight();
        if in_flight == 0 {
            return true;
        }
        self.armed = true;
        self.queue.request_interrupt_after((in_flight / 2).max(1))
    }

    /// Forbids interrupts.
    pub fn disarm(&mut self) {
        if core::mem::take(&mut self.armed) {
            self.queue.suppress_interrupts();
        }
    }

    /// See `DmaBuffer::leak`.
    pub fn leak(&mut self) {
        self.queue.leak();
        self.small.leak();
        self.large.iter_mut().for_each(BufferPool::leak);
    }
}
