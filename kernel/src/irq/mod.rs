//! Interrupts as tasks see them: sources to wait on, and the rest between turns.
//!
//! The life of an interrupt: the handler sets a bit and acknowledges ([`vector`]) -> the halt in
//! [`KernelPark`] ends -> the bit's sources fire and their wakers run -> the task polls its device.

pub mod apic;
mod calls;
pub mod ioapic;
mod park;
pub mod pic;
pub mod vector;

pub use calls::{VectorError, call_by, call_vector, test};
pub use ioapic::Wire;
pub use park::{KernelPark, rest};
pub(crate) use park::{halt_now, open_window, resting, take_pending};

use crate::pci::Message;
use crate::smp;
use crate::sync::SpinLock;
use crate::time;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_hal::{Instant, Interrupt};

/// What makes a source fire.
enum Origin {
    /// A message-signalled interrupt.
    Message,
    /// A wire; level-triggered ones stay masked from firing until the task waits again.
    Wire { gsi: u32, level: bool },
    /// The clock: fires every `period_ns` while somebody waits; [`NOT_DUE`] while nobody does.
    Timer { period_ns: u64, due_ns: AtomicU64 },
}

/// Due time of a clock source that nobody waits for.
const NOT_DUE: u64 = u64::MAX;

struct Shared {
    fired: AtomicBool,
    waker: SpinLock<Option<Waker>>,
    origin: Origin,
}

/// One interrupt source: wait on it with [`Interrupt::poll_fired`].
pub struct IrqSource(Arc<Shared>);

/// A vector and those who wait for it.
struct Line {
    vector: u8,
    wire: Option<(u32, Wire)>,
    sources: Vec<Arc<Shared>>,
}

/// Allocated vectors, `DEVICES + index`.
static LINES: SpinLock<Vec<Line>> = SpinLock::new(Vec::new());
/// Sources that the clock fires, all on the first core.
static POLLED: SpinLock<Vec<Arc<Shared>>> = SpinLock::new(Vec::new());

/// A source for a message-signalled interrupt of the first core; `None` when all vectors are taken.
pub fn allocate() -> Option<(IrqSource, Message)> {
    let source = Shared::new(Origin::Message);
    let vector = add_line(None, source.clone())?;
    Some((IrqSource(source), Message::to_local_apic(smp::apic_id(0), vector)?))
}

/// A source for wire `gsi`, which several devices may share; `None` when there is no such wire or no vector
/// is left. `wire` counts for the first of them.
pub fn legacy(gsi: u32, wire: Wire) -> Option<IrqSource> {
    let source = Shared::new(Origin::Wire { gsi, level: wire.level });
    let shared = {
        let mut lines = LINES.lock();
        let line = lines.iter_mut().find(|line| line.is_wire(gsi));
        line.map(|line| line.sources.push(source.clone())).is_some()
    };
    if !shared {
        let vector = add_line(Some((gsi, wire)), source.clone())?;
        if !ioapic::route(gsi, wire, vector, smp::apic_id(0)) {
            LINES.lock().retain(|line| !line.is_wire(gsi));
            return None;
        }
    }
    Some(IrqSource(source))
}

/// A source that fires every `period`, for a device that cannot interrupt.
pub fn timer_polled(period: Duration) -> IrqSource {
    let period_ns = period.as_nanos() as u64;
    let source = Shared::new(Origin::Timer { period_ns, due_ns: AtomicU64::new(NOT_DUE) });
    POLLED.lock().push(source.clone());
    IrqSource(source)
}

fn add_line(wire: Option<(u32, Wire)>, source: Arc<Shared>) -> Option<u8> {
    let mut lines = LINES.lock();
    let mut vectors = match wire {
        Some((_, wire)) if wire.level => vector::LEVEL..vector::DEVICES_END,
        _ => vector::DEVICES..vector::LEVEL,
    };
    // The lowest that is free.
    let vector = vectors.find(|vector| *vector != call_vector() && !is_taken(&lines, *vector))?;
    lines.push(Line { vector, wire, sources: alloc::vec![source] });
    Some(vector)
}

/// True when a device has `vector`.
fn is_taken(lines: &[Line], vector: u8) -> bool {
    lines.iter().any(|line| line.vector == vector)
}

/// Fires the sources of `vector`. A level-triggered wire is masked before it is acknowledged; its device
/// still asserts it.
fn dispatch(vector: u8) {
    let lines = LINES.lock();
    // A vector just freed has no line: its wire is masked already.
    let line = lines.iter().find(|line| line.vector == vector);
    if vector >= vector::LEVEL {
        if let Some((gsi, _)) = line.and_then(|line| line.wire) {
            ioapic::set_masked(gsi, true);
        }
        // Two at once may be acknowledged the other way round; the first then comes once more, for nothing.
        apic::acknowledge();
    }
    line.iter().flat_map(|line| &line.sources).for_each(|source| source.fire());
}

/// Fires the clock's sources that are due and have a waiter.
fn dispatch_polled(now: Instant) {
    for source in POLLED.lock().iter() {
        if source.due().is_some_and(|due| due <= now) {
            source.fire();
        }
    }
}

/// When the first of the clock's sources with a waiter is due.
fn next_polled() -> Instant {
    POLLED.lock().iter().filter_map(|source| source.due()).min().unwrap_or(Instant::FAR_FUTURE)
}

impl Line {
    fn is_wire(&self, gsi: u32) -> bool {
        self.wire.is_some_and(|(number, _)| number == gsi)
    }
}

impl Shared {
    fn new(origin: Origin) -> Arc<Shared> {
        Arc::new(Shared { fired: AtomicBool::new(false), waker: SpinLock::new(None), origin })
    }

    fn fire(&self) {
        self.fired.store(true, Ordering::Release);
        if let Origin::Timer { due_ns, .. } = &self.origin {
            due_ns.store(NOT_DUE, Ordering::Relaxed);
        }
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// When a clock source that somebody waits for fires next.
    fn due(&self) -> Option<Instant> {
        let Origin::Timer { due_ns, .. } = &self.origin else { return None };
        let due = due_ns.load(Ordering::Relaxed);
        (due != NOT_DUE).then_some(Instant::from_nanos(due))
    }
}

impl Drop for IrqSource {
    /// Gives up waiting; the last source of a vector frees it, and masks its wire. The device must no longer
    /// send messages.
    fn drop(&mut self) {
        POLLED.lock().retain(|source| !Arc::ptr_eq(source, &self.0));
        let mut lines = LINES.lock();
        for line in lines.iter_mut() {
            line.sources.retain(|source| !Arc::ptr_eq(source, &self.0));
            if let (true, Some((gsi, _))) = (line.sources.is_empty(), line.wire) {
                ioapic::set_masked(gsi, true);
            }
        }
        lines.retain(|line| !line.sources.is_empty());
    }
}

impl Interrupt for IrqSource {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &*self.0;
        if shared.fired.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        *shared.waker.lock() = Some(cx.waker().clone());
        // It may have fired between the two, on another core.
        if shared.fired.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.rearm();
        Poll::Pending
    }

    fn rearm(&self) {
        match &self.0.origin {
            Origin::Message | Origin::Wire { level: false, .. } => {}
            Origin::Wire { gsi, level: true } => ioapic::set_masked(*gsi, false),
            Origin::Timer { period_ns, due_ns } => {
                due_ns.store(time::now().as_nanos() + period_ns, Ordering::Relaxed);
            }
        }
    }
}
