//! virtio-blk (virtio 1.2 section 5.2): many requests in flight on one queue.
//!
//! ```text
//!   submit -> slot: InFlight --device--> Done -> poll_done -> slot free
//!                      |                                        ^
//!                   abandon -> Abandoned --------device---------+
//! ```
//!
//! A request is a chain of header, data and status. Headers and status bytes have a place for every slot;
//! data goes straight between the device and the caller's buffer, which the slot owns meanwhile.
//!
//! Not here: several queues, discard, write-zeroes, zoned devices.

use super::{QueueFault, Segment, Transport, Virtqueue, device_type, negotiate, start};
use crate::InitError;
use crate::dma::DmaBuffer;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll, Waker};
use keelson_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest, Dma, Interrupt,
    SECTOR_SIZE, Ticket,
};

/// Feature bits (virtio 1.2 section 5.2.3).
mod feature {
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

/// Request types and status bytes (virtio 1.2 section 5.2.6).
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What the status byte holds until the device writes it; no status has this value.
const STATUS_NONE: u8 = 0xff;

/// Most requests in flight.
const MAX_SLOTS: u16 = 64;
/// Most data segments of one request.
const MAX_SEGMENTS: usize = 16;
/// Longest request, whatever the device can do.
const MAX_TRANSFER: usize = 1 << 20;
/// A slot's place in the header memory: 16 bytes of header, then the status byte.
const PLACE: usize = 32;
const STATUS_AT: usize = 16;

/// Device counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlkCounters {
    /// Requests handed to the device.
    pub requests: u64,
    /// Requests that ended with an error, whoever reported it.
    pub errors: u64,
    /// Requests whose caller lost interest.
    pub abandoned: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Interrupts that [`VirtioBlk::service`] saw.
    pub interrupts: u64,
}

enum State {
    Free,
    InFlight { buffer: Vec<u8>, waker: Option<Waker> },
    Abandoned { buffer: Vec<u8> },
    Done(BlockCompletion),
}

struct Slot {
    state: State,
    /// Counts the slot's uses, so that an old ticket does not name a new request.
    generation: u32,
}

/// How requests must be cut for this device.
struct Limits {
    segment: usize,
    segments: usize,
    /// Sectors per logical block; requests begin and end on blocks.
    block_sectors: u64,
}

struct Inner {
    queue: Virtqueue,
    headers: DmaBuffer,
    slots: Vec<Slot>,
    free: Vec<u16>,
    room_wakers: Vec<Waker>,
    counters: BlkCounters,
    gone: bool,
}

/// A virtio block device.
pub struct VirtioBlk {
    transport: Box<dyn Transport>,
    dma: Rc<dyn Dma>,
    name: String,
    geometry: BlockGeometry,
    limits: Limits,
    inner: RefCell<Inner>,
}

impl VirtioBlk {
    /// Brings the device up as `name` (`vda`, `vdb`, ...).
    pub fn new(transport: Box<dyn Transport>, dma: Rc<dyn Dma>, name: &str) -> Result<VirtioBlk, InitError> {
        let (geometry, limits, inner) = match build(&*transport, &dma) {
            Ok(parts) => parts,
            Err(error) => {
                transport.reset();
                return Err(error);
            }
        };
        start(&*transport);
        inner.queue.request_interrupt();
        log::info!(
            target: "virtio", "{name}: {} MiB{}{}, {} requests of up to {} KiB",
            geometry.sectors / 2048, if geometry.read_only { ", read-only" } else { "" },
            if geometry.write_cache { ", write cache" } else { "" },
            geometry.queue_depth, geometry.max_transfer / 1024,
        );
        Ok(VirtioBlk { transport, dma, name: name.into(), geometry, limits, inner: RefCell::new(inner) })
    }

    /// Task of the device: collects what is done whenever the device interrupts. Never ends.
    pub async fn service(self: Rc<Self>, interrupt: Rc<dyn Interrupt>) {
        loop {
            poll_fn(|cx| interrupt.poll_fired(cx)).await;
            self.handle_interrupt();
        }
    }

    /// One interrupt: acknowledges it and wakes the tasks whose requests are done.
    pub fn handle_interrupt(&self) {
        self.transport.acknowledge_interrupt();
        self.inner.borrow_mut().counters.interrupts += 1;
        self.collect();
    }

    /// The driver's counters.
    pub fn counters(&self) -> BlkCounters {
        let inner = self.inner.borrow();
        BlkCounters { doorbells: inner.queue.doorbells(), ..inner.counters }
    }

    /// Takes back everything the device has finished and leaves the interrupt requested.
    fn collect(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.gone {
            return;
        }
        loop {
            match inner.queue.pop() {
                Ok(Some(used)) => inner.finish(used.token),
                Ok(None) if inner.queue.request_interrupt() => {}
                Ok(None) => break,
                Err(fault) => {
                    self.shut_off(inner, fault);
                    break;
                }
            }
        }
    }

    /// Stops a device that broke the rules; everything in flight ends with [`BlockError::Gone`].
    fn shut_off(&self, inner: &mut Inner, fault: QueueFault) {
        log::error!(target: "virtio", "{}: {fault}; device shut off", self.name);
        inner.gone = true;
        let stopped = self.transport.reset();
        if !stopped {
            log::error!(target: "virtio", "{}: no answer to reset, its memory is lost", self.name);
        }
        inner.fail_all(stopped);
    }

    /// What is wrong with a request, if anything.
    fn check(&self, request: &BlockRequest) -> Result<(), BlockError> {
        if request.op == BlockOp::Flush {
            return if request.buffer.is_empty() { Ok(()) } else { Err(BlockError::OutOfRange) };
        }
        if request.op == BlockOp::Write && self.geometry.read_only {
            return Err(BlockError::ReadOnly);
        }
        let len = request.buffer.len();
        let sectors = (len / SECTOR_SIZE) as u64;
        let inside = request.sector.checked_add(sectors).is_some_and(|end| end <= self.geometry.sectors);
        let whole = len != 0
            && len.is_multiple_of(SECTOR_SIZE)
            && request.sector.is_multiple_of(self.limits.block_sectors)
            && sectors.is_multiple_of(self.limits.block_sectors);
        if inside && whole && len <= self.geometry.max_transfer {
            Ok(())
        } else {
            Err(BlockError::OutOfRange)
        }
    }

    /// Queues the chain for a slot; false when descriptors are short.
    fn start(&self, inner: &mut Inner, slot: u16, op: BlockOp, sector: u64, buffer: &mut [u8]) -> bool {
        let place = usize::from(slot) * PLACE;
        let (kind, sector) = match op {
            BlockOp::Read => (TYPE_IN, sector),
            BlockOp::Write => (TYPE_OUT, sector),
            BlockOp::Flush => (TYPE_FLUSH, 0),
        };
        inner.headers.write32(place, kind);
        inner.headers.write32(place + 4, 0);
        inner.headers.write64(place + 8, sector);
        inner.headers.write8(place + STATUS_AT, STATUS_NONE);

        let mut segments =
            [Segment { phys: inner.headers.phys(place), len: 16, device_writes: false }; MAX_SEGMENTS + 2];
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
        segments[count] =
            Segment { phys: inner.headers.phys(place + STATUS_AT), len: 1, device_writes: true };
        if !inner.queue.add(&segments[..=count], slot) {
            return false;
        }
        inner.queue.publish();
        true
    }

    /// The slot a ticket names, if it still does.
    fn slot_of(inner: &Inner, ticket: Ticket) -> Option<u16> {
        let slot = (ticket.0 & 0xff) as u16;
        let current = inner.slots.get(usize::from(slot))?;
        (current.generation == ticket.0 >> 8).then_some(slot)
    }
}

/// Everything up to the start of the device.
fn build(transport: &dyn Transport, dma: &Rc<dyn Dma>) -> Result<(BlockGeometry, Limits, Inner), InitError> {
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
        max_transfer,
        queue_depth: usize::from(depth),
    };
    let limits = Limits { segment, segments, block_sectors: (block_size / SECTOR_SIZE) as u64 };
    let inner = Inner {
        queue,
        headers,
        slots: (0..depth).map(|_| Slot { state: State::Free, generation: 0 }).collect(),
        free: (0..depth).rev().collect(),
        room_wakers: Vec::with_capacity(usize::from(depth)),
        counters: BlkCounters::default(),
        gone: false,
    };
    Ok((geometry, limits, inner))
}

impl Inner {
    /// The device has used the chain of `slot`.
    fn finish(&mut self, slot: u16) {
        let result = match self.headers.read8(usize::from(slot) * PLACE + STATUS_AT) {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(BlockError::Unsupported),
            _ => Err(BlockError::Io),
        };
        self.complete(slot, result);
        self.wake_room();
    }

    /// Moves a slot out of the device's hands.
    fn complete(&mut self, slot: u16, result: Result<(), BlockError>) {
        self.counters.errors += u64::from(result.is_err());
        let state = &mut self.slots[usize::from(slot)].state;
        match mem::replace(state, State::Free) {
            State::InFlight { buffer, waker } => {
                *state = State::Done(BlockCompletion { result, buffer });
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Abandoned { .. } => self.release(slot),
            // The queue hands out each token once, so that these two do not happen.
            other => *state = other,
        }
    }

    fn release(&mut self, slot: u16) {
        let entry = &mut self.slots[usize::from(slot)];
        entry.state = State::Free;
        entry.generation = entry.generation.wrapping_add(1) & 0xff_ffff;
        self.free.push(slot);
        self.wake_room();
    }

    fn wake_room(&mut self) {
        self.room_wakers.drain(..).for_each(Waker::wake);
    }

    /// Ends everything in flight. Buffers of a device that may not have stopped are not given back.
    fn fail_all(&mut self, stopped: bool) {
        if !stopped {
            self.queue.leak();
            self.headers.leak();
        }
        for slot in 0..self.slots.len() {
            if let State::InFlight { buffer, .. } | State::Abandoned { buffer } = &mut self.slots[slot].state
            {
                if !stopped {
                    mem::forget(mem::take(buffer));
                }
                self.complete(slot as u16, Err(BlockError::Gone));
            }
        }
        self.wake_room();
    }

    /// A slot is free, and descriptors for the longest request.
    fn has_room(&self, limits: &Limits) -> bool {
        let descriptors = usize::from(self.queue.free_descriptors());
        !self.free.is_empty() && (self.gone || descriptors >= limits.segments + 2)
    }
}

impl Drop for VirtioBlk {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if !inner.gone {
            let stopped = self.transport.reset();
            inner.fail_all(stopped);
        }
    }
}

impl BlockDevice for VirtioBlk {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn submit(&self, mut request: BlockRequest) -> Result<Ticket, BlockRequest> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(&slot) = inner.free.last() else { return Err(request) };
        let flush_is_free = request.op == BlockOp::Flush && !self.geometry.write_cache;
        let early = match self.check(&request) {
            _ if inner.gone => Some(Err(BlockError::Gone)),
            Err(error) => Some(Err(error)),
            Ok(()) if flush_is_free => Some(Ok(())),
            Ok(()) => None,
        };
        if early.is_none() && !self.start(inner, slot, request.op, request.sector, &mut request.buffer) {
            return Err(request);
        }
        inner.free.pop();
        let entry = &mut inner.slots[usize::from(slot)];
        entry.state = match early {
            Some(result) => {
                inner.counters.errors += u64::from(result.is_err());
                State::Done(BlockCompletion { result, buffer: request.buffer })
            }
            None => {
                inner.counters.requests += 1;
                State::InFlight { buffer: request.buffer, waker: None }
            }
        };
        Ok(Ticket(entry.generation << 8 | u32::from(slot)))
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.inner.borrow().has_room(&self.limits) {
            self.collect();
        }
        let inner = &mut *self.inner.borrow_mut();
        if inner.has_room(&self.limits) {
            return Poll::Ready(());
        }
        if !inner.room_wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.room_wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn poll_done(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<BlockCompletion> {
        self.collect();
        let inner = &mut *self.inner.borrow_mut();
        // A ticket used twice gets an answer rather than a wait without end.
        let unknown = || BlockCompletion { result: Err(BlockError::Gone), buffer: Vec::new() };
        let Some(slot) = VirtioBlk::slot_of(inner, ticket) else { return Poll::Ready(unknown()) };
        let state = &mut inner.slots[usize::from(slot)].state;
        match state {
            State::InFlight { waker, .. } => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            State::Done(_) => {
                let State::Done(completion) = mem::replace(state, State::Free) else { unreachable!() };
                inner.release(slot);
                Poll::Ready(completion)
            }
            State::Free | State::Abandoned { .. } => Poll::Ready(unknown()),
        }
    }

    fn abandon(&self, ticket: Ticket) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(slot) = VirtioBlk::slot_of(inner, ticket) else { return };
        let state = &mut inner.slots[usize::from(slot)].state;
        match mem::replace(state, State::Free) {
            State::InFlight { buffer, .. } => {
                *state = State::Abandoned { buffer };
                inner.counters.abandoned += 1;
            }
            State::Done(_) => inner.release(slot),
            other => *state = other,
        }
    }
}

#[cfg(test)]
mod tests;
