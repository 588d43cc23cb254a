//! A disk in memory that remembers what it was told, takes its time, fails on demand and watches its bounds.

use super::{Counts, Pages, QUEUE_DEPTH, Record, geometry_of};
use crate::random::Random;
use keelson_exec::{Handle, Sleep};
use keelson_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest, SECTOR_SIZE, Ticket,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long requests take.
pub enum Pace {
    /// They are done when they are submitted.
    Immediate,
    /// Each takes its own time, so that they are done in any order.
    Lagging(Handle, RefCell<Random>),
}

/// Whether a disk can write through its cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Through {
    /// It can.
    Yes,
    /// It cannot: only flushes make writes safe.
    No,
}

/// True for both kinds of writes.
fn writes(op: BlockOp) -> bool {
    matches!(op, BlockOp::Write | BlockOp::WriteThrough)
}

/// Requests that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Of this kind.
    pub op: BlockOp,
    /// After this many of them that do not.
    pub after: u32,
    /// This many.
    pub count: u32,
}

/// Which requests faults are about, by their first byte.
pub type Zone = Box<dyn Fn(u64) -> bool>;

struct Request {
    request: BlockRequest,
    result: Option<Result<(), BlockError>>,
    sleep: Option<Sleep>,
}

struct State {
    content: Pages,
    record: Option<Record>,
    counts: Counts,
    requests: HashMap<u32, Request>,
    next: u32,
    fault: Option<(Fault, Zone)>,
    failed: u32,
    /// Writes may not touch bytes from here on.
    limit: u64,
    through: bool,
    violations: Vec<String>,
}

/// The disk.
pub struct SimDisk {
    geometry: BlockGeometry,
    state: RefCell<State>,
    pace: Pace,
    waiting: RefCell<Vec<Waker>>,
    off: Cell<bool>,
}

impl SimDisk {
    /// A disk with this content that is done with everything at once.
    pub fn new(content: Pages) -> Rc<SimDisk> {
        SimDisk::with(content, Pace::Immediate, Through::No)
    }

    /// A disk with this content and pace.
    pub fn with(content: Pages, pace: Pace, through: Through) -> Rc<SimDisk> {
        let limit = content.len();
        Rc::new(SimDisk {
            geometry: geometry_of(limit, through == Through::Yes),
            state: RefCell::new(State {
                content,
                record: None,
                counts: Counts::default(),
                requests: HashMap::new(),
                next: 0,
                fault: None,
                failed: 0,
                limit,
                through: through == Through::Yes,
                violations: Vec::new(),
            }),
            pace,
            waiting: RefCell::default(),
            off: Cell::new(false),
        })
    }

    /// From now on remembers everything.
    pub fn start_record(&self) {
        let mut state = self.state.borrow_mut();
        state.record = Some(Record::new(state.content.clone()));
    }

    /// Hands out what it remembers, and forgets it.
    pub fn take_record(&self) -> Option<Record> {
        self.state.borrow_mut().record.take()
    }

    /// Events that it remembers.
    pub fn recorded(&self) -> usize {
        self.state.borrow().record.as_ref().map_or(0, Record::len)
    }

    /// Puts a note into the record.
    pub fn note(&self, note: u64) {
        if let Some(record) = &mut self.state.borrow_mut().record {
            record.note(note);
        }
    }

    /// Lets requests fail whose first byte is in `zone`.
    pub fn fail(&self, fault: Fault, zone: Zone) {
        self.state.borrow_mut().fault = Some((fault, zone));
    }

    /// Lets none fail any more; how many did.
    pub fn heal(&self) -> u32 {
        let mut state = self.state.borrow_mut();
        state.fault = None;
        state.failed
    }

    /// Writes that touch bytes from `limit` on are violations.
    pub fn guard_from(&self, limit: u64) {
        self.state.borrow_mut().limit = limit;
    }

    /// Writes that should not have been.
    pub fn violations(&self) -> Vec<String> {
        self.state.borrow().violations.clone()
    }

    /// What it holds, safe or not.
    pub fn content(&self) -> Pages {
        self.state.borrow().content.clone()
    }

    /// What was asked of it.
    pub fn counts(&self) -> Counts {
        self.state.borrow().counts
    }

    /// The power goes: nothing is answered any more.
    pub fn turn_off(&self) {
        self.off.set(true);
    }

    fn time_of(&self, op: BlockOp) -> Option<Sleep> {
        let Pace::Lagging(handle, random) = &self.pace else { return None };
        let mut random = random.borrow_mut();
        // Most are quick, some slow, a few very slow: what makes orders differ.
        let micros = match (op, random.below(20)) {
            (_, 0) => 2_000 + random.below(20_000),
            (BlockOp::Flush, _) => 300 + random.below(3_000),
            (_, 1..4) => 300 + random.below(2_000),
            _ => 20 + random.below(200),
        };
        Some(handle.sleep(Duration::from_micros(micros)))
    }
}

impl State {
    /// Whether a request fails on demand.
    fn fails(&mut self, op: BlockOp, position: u64) -> bool {
        let Some((fault, zone)) = &mut self.fault else { return false };
        if fault.op != op && !(fault.op == BlockOp::Write && writes(op))
            || !zone(position)
            || fault.count == 0
        {
            return false;
        }
        if fault.after > 0 {
            fault.after -= 1;
            return false;
        }
        fault.count -= 1;
        self.failed += 1;
        true
    }

    /// The request reaches the medium, or the device's cache at least.
    fn finish(&mut self, ticket: u32) {
        let Some(mut entry) = self.requests.remove(&ticket) else { return };
        if entry.result.is_none() {
            let result = self.carry_out(ticket, &mut entry.request);
            entry.result = Some(result);
        }
        self.requests.insert(ticket, entry);
    }

    fn carry_out(&mut self, ticket: u32, request: &mut BlockRequest) -> Result<(), BlockError> {
        let position = request.sector.saturating_mul(SECTOR_SIZE as u64);
        if self.fails(request.op, position) {
            return Err(BlockError::Io);
        }
        if request.op != BlockOp::Flush && !self.content.holds(position, request.buffer.len()) {
            return Err(BlockError::OutOfRange);
        }
        match request.op {
            BlockOp::Read => self.content.read(position, &mut request.buffer),
            BlockOp::Write | BlockOp::WriteThrough => {
                self.content.write(position, &request.buffer);
                if let Some(record) = &mut self.record {
                    record.done(ticket);
                }
            }
            BlockOp::Flush => {
                if let Some(record) = &mut self.record {
                    record.flush_done(ticket);
                }
            }
        }
        Ok(())
    }

    /// Judges and notes a request that was submitted.
    fn watch(&mut self, ticket: u32, request: &BlockRequest) {
        self.counts.count(request.op, request.buffer.len());
        let position = request.sector.saturating_mul(SECTOR_SIZE as u64);
        let end = position.saturating_add(request.buffer.len() as u64);
        if writes(request.op) && end > self.limit {
            self.violations.push(format!("a write of bytes {position}..{end}, beyond {}", self.limit));
        }
        if request.op != BlockOp::Flush && !request.buffer.len().is_multiple_of(SECTOR_SIZE) {
            self.violations.push(format!("a request of {} bytes", request.buffer.len()));
        }
        if request.op == BlockOp::WriteThrough && !self.through {
            self.violations.push("a write through the cache of a disk that cannot do that".into());
        }
        if writes(request.op) {
            let overlap = self.requests.values().find(|other| {
                let start = other.request.sector * SECTOR_SIZE as u64;
                other.result.is_none()
                    && writes(other.request.op)
                    && start < end
                    && position < start + other.request.buffer.len() as u64
            });
            if let Some(other) = overlap {
                let start = other.request.sector * SECTOR_SIZE as u64;
                self.violations.push(format!(
                    "a write of bytes {position}..{end} while one from {start} on is under way"
                ));
            }
        }
        match (&mut self.record, request.op) {
            (Some(record), BlockOp::Write) => record.begin(ticket, position, &request.buffer),
            (Some(record), BlockOp::WriteThrough) => record.begin_through(ticket, position, &request.buffer),
            (Some(record), BlockOp::Flush) => record.flush_begin(ticket),
            _ => {}
        }
    }
}

impl BlockDevice for SimDisk {
    fn name(&self) -> &str {
        "sim"
    }

    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest> {
        let mut state = self.state.borrow_mut();
        if state.requests.len() >= QUEUE_DEPTH {
            return Err(request);
        }
        let ticket = state.next;
        state.next = state.next.wrapping_add(1);
        state.watch(ticket, &request);
        let sleep = self.time_of(request.op);
        let immediate = sleep.is_none();
        state.requests.insert(ticket, Request { request, result: None, sleep });
        if immediate && !self.off.get() {
            state.finish(ticket);
        }
        Ok(Ticket(ticket))
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.borrow().requests.len() < QUEUE_DEPTH {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn poll_done(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<BlockCompletion> {
        if self.off.get() {
            return Poll::Pending;
        }
        // Out of the state while it is polled: sleeping looks at the clock.
        let Some(mut entry) = self.state.borrow_mut().requests.remove(&ticket.0) else {
            return Poll::Pending;
        };
        let rested = entry.sleep.as_mut().is_none_or(|sleep| Pin::new(sleep).poll(cx).is_ready());
        let mut state = self.state.borrow_mut();
        state.requests.insert(ticket.0, entry);
        if !rested {
            return Poll::Pending;
        }
        state.finish(ticket.0);
        let Some(entry) = state.requests.remove(&ticket.0) else { return Poll::Pending };
        drop(state);
        self.waiting.take().into_iter().for_each(Waker::wake);
        let result = entry.result.unwrap_or(Err(BlockError::Gone));
        Poll::Ready(BlockCompletion { result, buffer: entry.request.buffer })
    }

    fn abandon(&self, ticket: Ticket) {
        let mut state = self.state.borrow_mut();
        if !self.off.get() {
            // The device goes on with what it was given, whoever waits for it; it is early here.
            state.finish(ticket.0);
        }
        state.requests.remove(&ticket.0);
        drop(state);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
