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

mod setup;
mod slots;

use self::setup::{Limits, MAX_SEGMENTS, build};
use self::slots::{Inner, PLACE, STATUS_AT, STATUS_NONE, State};
use super::{QueueFault, Segment, Transport, start};
use crate::InitError;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll};
use keelson_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest, Dma, Interrupt,
    SECTOR_SIZE, Ticket,
};

/// Request types (virtio 1.2 section 5.2.6).
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;

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

/// A virtio block device.
pub struct VirtioBlk {
    transport: Box<dyn Transport>,
    dma: Rc<dyn Dma>,
    name: String,
    geometry: BlockGeometry,
    limits: Limits,
    interrupt: OnceCell<Rc<dyn Interrupt>>,
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
        Ok(VirtioBlk {
            transport,
            dma,
            name: name.into(),
            geometry,
            limits,
            interrupt: OnceCell::new(),
            inner: RefCell::new(inner),
        })
    }

    /// Task of the device: collects what is done whenever the device interrupts. Never ends.
    ///
    /// From this call on, not only once the task runs, requests can be waited for without it.
    pub fn service(self: Rc<Self>, interrupt: Rc<dyn Interrupt>) -> impl Future<Output = ()> {
        // A device has one interrupt: the first stays.
        let _ = self.interrupt.set(interrupt.clone());
        async move {
            loop {
                poll_fn(|cx| interrupt.poll_fired(cx)).await;
                self.handle_interrupt();
            }
        }
    }

    /// Sees to it that the device's next interrupt ends a halt even where the service task cannot run, while
    /// a filesystem waits synchronously. Then collect; what is finished after that interrupts.
    fn rearm(&self) {
        if let Some(interrupt) = self.interrupt.get() {
            self.transport.acknowledge_interrupt();
            interrupt.rearm();
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
        if request.op == BlockOp::WriteThrough {
            return Err(BlockError::Unsupported);
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
            // `check` refuses the second.
            BlockOp::Write | BlockOp::WriteThrough => (TYPE_OUT, sector),
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
            self.rearm();
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
        self.rearm();
        self.collect();
        let inner = &mut *self.inner.borrow_mut();
        // A ticket used twice gets an answer rather than a wait without end.
        let unknown = || BlockCompletion { result: Err(BlockError::Gone), buffer: Vec::new() };
        let Some(slot) = inner.slot_of(ticket) else { return Poll::Ready(unknown()) };
        let state = &mut inner.slots[usize::from(slot)].state;
        match state {
            State::InFlight { waker, .. } => {
                if waker.is_some() {
                    // Woken for something else, or the caller's rest was over: see `Virtqueue::nudge`.
                    inner.queue.nudge();
                }
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
        let Some(slot) = inner.slot_of(ticket) else { return };
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
