//! What all disks have in common: requests in flight, their tickets, their wakers, their errors.
//!
//! ```text
//!   submit -> slot: InFlight --device--> Done -> poll_done -> slot free
//!                      |                                        ^
//!                   abandon -> Abandoned --------device---------+
//! ```
//!
//! A slot owns the caller's buffer meanwhile: data goes straight between it and the device. How a request is put to the device,
//! and what it says afterwards, is the [`Engine`]'s.

mod slots;

use self::slots::{Inner, Slot, State};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll};
use core::time::Duration;
use keelson_hal::{
    BlockCompletion, BlockCounters, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest, Interrupt,
    SECTOR_SIZE, Ticket,
};

/// Most requests in flight: what a ticket has room for.
pub(crate) const MAX_SLOTS: u16 = 64;

/// How often [`Disk::look`] wants to be called: deadlines are kept this exactly, and a lost kick costs no more.
pub const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A slot that the device gives back, and how its request ended.
pub type Finished = (u16, Result<(), BlockError>);

/// A device that executes requests, named by the slots of a [`Disk`].
pub trait Engine {
    /// How the device broke the rules.
    type Fault: fmt::Display;

    /// The target of its messages in the log.
    const LOG: &'static str;

    /// Puts a request to the device, which reads or writes `buffer` until [`Engine::pop`] gives the slot back. False when it
    /// has no room. The request was checked against the geometry.
    fn start(&mut self, slot: u16, op: BlockOp, sector: u64, buffer: &mut [u8]) -> bool;

    /// It has room for the longest request.
    fn has_room(&self) -> bool;

    /// A request that the device has finished, and how.
    ///
    /// # Errors
    ///
    /// The device says what cannot be; it is shut off then.
    fn pop(&mut self) -> Result<Option<Finished>, Self::Fault>;

    /// Asks for an interrupt at the next request that is finished; false when one is already.
    fn request_interrupt(&mut self) -> bool;

    /// Tells the device that its interrupt was seen.
    fn acknowledge_interrupt(&self);

    /// Rings again for requests of which the device may not know.
    fn nudge(&mut self);

    /// Doorbells rung so far.
    fn doorbells(&self) -> u64;

    /// Stops the device. False when it does not confirm that: its memory must not be used for anything else, and the engine has
    /// seen to that for its own.
    fn stop(&mut self) -> bool;
}

/// A disk.
pub struct Disk<E: Engine> {
    name: String,
    geometry: BlockGeometry,
    /// Sectors per logical block; requests begin and end on blocks.
    block_sectors: u64,
    interrupt: OnceCell<Rc<dyn Interrupt>>,
    inner: RefCell<Inner<E>>,
}

impl<E: Engine> Disk<E> {
    /// A disk whose engine runs. `block` is the size of its logical blocks in bytes.
    pub(crate) fn with_engine(mut engine: E, name: &str, geometry: BlockGeometry, block: usize) -> Disk<E> {
        debug_assert!(geometry.queue_depth <= usize::from(MAX_SLOTS));
        engine.request_interrupt();
        log::info!(
            target: E::LOG, "{name}: {} MiB{}{}, {} requests of up to {} KiB",
            geometry.sectors / 2048, if geometry.read_only { ", read-only" } else { "" },
            if geometry.write_cache { ", write cache" } else { "" },
            geometry.queue_depth, geometry.max_transfer / 1024,
        );
        Disk {
            name: name.into(),
            geometry,
            block_sectors: (block / SECTOR_SIZE) as u64,
            interrupt: OnceCell::new(),
            inner: RefCell::new(Inner::new(engine, geometry.queue_depth as u16)),
        }
    }

    /// Task of the device: collects what is done whenever the device interrupts. Never ends.
    ///
    /// From this call on, not only once the task runs, requests can be waited for without it.
    pub fn service(self: Rc<Self>, interrupt: Rc<dyn Interrupt>) -> impl Future<Output = ()> {
        self.attach(interrupt.clone());
        async move {
            loop {
                poll_fn(|cx| interrupt.poll_fired(cx)).await;
                self.handle_interrupt();
            }
        }
    }

    /// Its interrupt, for who waits without the task that collects.
    pub(crate) fn attach(&self, interrupt: Rc<dyn Interrupt>) {
        // A device has one interrupt: the first stays.
        let _ = self.interrupt.set(interrupt);
    }

    /// Looks at the engine.
    pub(crate) fn engine<T>(&self, look: impl FnOnce(&E) -> T) -> T {
        look(&self.inner.borrow().engine)
    }

    /// Looks for requests that take too long or wait in vain, and collects. Every [`LOOK_PERIOD`]: nothing else may ever wake who
    /// waits, where the device keeps silent or an emulator leaves out fences (see `Virtqueue::nudge`) and a kick or an interrupt
    /// is lost.
    pub fn look(&self) {
        if !self.inner.borrow().gone {
            self.inner.borrow_mut().engine.nudge();
        }
        self.collect();
    }

    /// Sees to it that the device's next interrupt ends a halt even where the service task cannot run, while
    /// a filesystem waits synchronously. Then collect; what is finished after that interrupts.
    fn rearm(&self) {
        if let Some(interrupt) = self.interrupt.get() {
            self.inner.borrow().engine.acknowledge_interrupt();
            interrupt.rearm();
        }
    }

    /// One interrupt: acknowledges it and wakes the tasks whose requests are done.
    pub fn handle_interrupt(&self) {
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.engine.acknowledge_interrupt();
            inner.counters.interrupts += 1;
        }
        self.collect();
    }

    /// Takes back everything the device has finished and leaves the interrupt requested.
    fn collect(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.gone {
            return;
        }
        loop {
            match inner.engine.pop() {
                Ok(Some((slot, result))) => inner.finish(slot, result),
                Ok(None) if inner.engine.request_interrupt() => break,
                Ok(None) => {}
                Err(fault) => {
                    log::error!(target: E::LOG, "{}: {fault}; device shut off", self.name);
                    if !inner.shut_off() {
                        log::error!(target: E::LOG, "{}: no answer to reset, its memory is lost", self.name);
                    }
                    break;
                }
            }
        }
    }

    /// What is wrong with a request, if anything.
    fn check(&self, request: &BlockRequest) -> Result<(), BlockError> {
        if request.op == BlockOp::Flush {
            return if request.buffer.is_empty() { Ok(()) } else { Err(BlockError::OutOfRange) };
        }
        if request.op == BlockOp::WriteThrough && !self.geometry.write_through {
            return Err(BlockError::Unsupported);
        }
        if request.op != BlockOp::Read && self.geometry.read_only {
            return Err(BlockError::ReadOnly);
        }
        let len = request.buffer.len();
        let sectors = (len / SECTOR_SIZE) as u64;
        let inside = request.sector.checked_add(sectors).is_some_and(|end| end <= self.geometry.sectors);
        let whole = len != 0
            && len.is_multiple_of(SECTOR_SIZE)
            && request.sector.is_multiple_of(self.block_sectors)
            && sectors.is_multiple_of(self.block_sectors);
        if inside && whole && len <= self.geometry.max_transfer {
            Ok(())
        } else {
            Err(BlockError::OutOfRange)
        }
    }

    /// Slots that no request has.
    #[cfg(test)]
    pub(crate) fn free_slots(&self) -> usize {
        self.inner.borrow().free.len()
    }

    /// The first slot's request is done.
    #[cfg(test)]
    pub(crate) fn first_is_done(&self) -> bool {
        matches!(self.inner.borrow().slots[0].state, State::Done(_))
    }
}

impl<E: Engine> Drop for Disk<E> {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if !inner.gone {
            inner.shut_off();
        }
    }
}

impl<E: Engine> BlockDevice for Disk<E> {
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
        if early.is_none() && !inner.engine.start(slot, request.op, request.sector, &mut request.buffer) {
            return Err(request);
        }
        inner.free.pop();
        let entry = &mut inner.slots[usize::from(slot)];
        entry.state = match early {
            Some(result) => {
                inner.counters.errors += u64::from(result.is_err());
                State::Done(BlockCompletion { result, buffer: request.buffer })
            }
            None => State::InFlight { op: request.op, buffer: request.buffer, waker: None },
        };
        Ok(Ticket(entry.generation << 8 | u32::from(slot)))
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.inner.borrow().has_room() {
            self.rearm();
            self.collect();
        }
        let inner = &mut *self.inner.borrow_mut();
        if inner.has_room() {
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
                    // Woken for something else, or the caller's rest was over.
                    inner.engine.nudge();
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
            State::InFlight { op, buffer, .. } => {
                *state = State::Abandoned { op, buffer };
                inner.counters.abandoned += 1;
            }
            State::Done(_) => inner.release(slot),
            other => *state = other,
        }
    }

    fn counters(&self) -> BlockCounters {
        let inner = self.inner.borrow();
        let in_flight = |slot: &&Slot| matches!(slot.state, State::InFlight { .. } | State::Abandoned { .. });
        BlockCounters {
            doorbells: inner.engine.doorbells(),
            in_flight: inner.slots.iter().filter(in_flight).count() as u64,
            ..inner.counters
        }
    }
}
