//! Interrupts as tasks see them: sources to wait on, and the rest between turns.
//!
//! The life of an interrupt: the handler sets a bit and acknowledges ([`vector`]) -> the halt in
//! [`KernelPark`] ends -> the bit's sources fire and their wakers run -> the task polls its device.

pub mod apic;
pub mod ioapic;
mod park;
pub mod pic;
pub mod vector;

pub use ioapic::Wire;
pub use park::{KernelPark, rest};

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
    /// The clock: fires every `period_ns` while a task waits.
    Timer { period_ns: u64, due_ns: AtomicU64 },
}

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
    wire: Option<u32>,
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
        let line = lines.iter_mut().find(|line| line.wire == Some(gsi));
        line.map(|line| line.sources.push(source.clone())).is_some()
    };
    if !shared {
        let vector = add_line(Some(gsi), source.clone())?;
        if !ioapic::route(gsi, wire, vector, smp::apic_id(0)) {
            LINES.lock().retain(|line| line.wire != Some(gsi));
            return None;
        }
    }
    Some(IrqSource(source))
}

/// A source that fires every `period`, for a device that cannot interrupt.
pub fn timer_polled(period: Duration) -> IrqSource {
    let period_ns = period.as_nanos() as u64;
    let source = Shared::new(Origin::Timer { period_ns, due_ns: AtomicU64::new(0) });
    POLLED.lock().push(source.clone());
    IrqSource(source)
}

fn add_line(wire: Option<u32>, source: Arc<Shared>) -> Option<u8> {
    let mut lines = LINES.lock();
    // The lowest vector that is free.
    let vector =
        (vector::DEVICES..vector::DEVICES_END).find(|v| lines.iter().all(|line| line.vector != *v))?;
    lines.push(Line { vector, wire, sources: alloc::vec![source] });
    Some(vector)
}

/// Fires the sources of `vector`.
fn dispatch(vector: u8) {
    let lines = LINES.lock();
    let Some(line) = lines.iter().find(|line| line.vector == vector) else { return };
    for source in &line.sources {
        if let Origin::Wire { gsi, level: true } = source.origin {
            ioapic::set_masked(gsi, true);
        }
        source.fire();
    }
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

impl Shared {
    fn new(origin: Origin) -> Arc<Shared> {
        Arc::new(Shared { fired: AtomicBool::new(false), waker: SpinLock::new(None), origin })
    }

    fn fire(&self) {
        self.fired.store(true, Ordering::Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// When a clock source with a waiter fires next.
    fn due(&self) -> Option<Instant> {
        let Origin::Timer { due_ns, .. } = &self.origin else { return None };
        let waiting = self.waker.lock().is_some();
        waiting.then(|| Instant::from_nanos(due_ns.load(Ordering::Relaxed)))
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
            if let (true, Some(gsi)) = (line.sources.is_empty(), line.wire) {
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
        if let Origin::Timer { period_ns, due_ns } = &shared.origin {
            due_ns.store(time::now().as_nanos() + period_ns, Ordering::Relaxed);
        }
        *shared.waker.lock() = Some(cx.waker().clone());
        // It may have fired between the two, on another core.
        if shared.fired.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        if let Origin::Wire { gsi, level: true } = shared.origin {
            ioapic::set_masked(gsi, false);
        }
        Poll::Pending
    }
}
