//! A disk in a file: every request is done when it was submitted.

use super::{Counts, QUEUE_DEPTH, geometry_of};
use keelson_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockGeometry, BlockOp, BlockRequest, SECTOR_SIZE, Ticket,
};
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What a flush does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Nothing.
    Counted,
    /// fdatasync of the file.
    Real,
}

/// A disk image in a file.
pub struct FileDisk {
    file: File,
    geometry: BlockGeometry,
    flush: Flush,
    counts: Cell<Counts>,
    cpu: Cell<Duration>,
    next: Cell<u32>,
    done: RefCell<HashMap<u32, BlockCompletion>>,
    waiting: RefCell<Vec<Waker>>,
}

impl FileDisk {
    /// Opens an image.
    pub fn open(path: &Path, flush: Flush) -> io::Result<Rc<FileDisk>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let geometry = geometry_of(file.metadata()?.len(), false);
        Ok(Rc::new(FileDisk {
            file,
            geometry,
            flush,
            counts: Cell::default(),
            cpu: Cell::default(),
            next: Cell::new(0),
            done: RefCell::default(),
            waiting: RefCell::default(),
        }))
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// CPU time that requests took.
    pub fn cpu_time(&self) -> Duration {
        self.cpu.get()
    }

    /// Carries out a request at once.
    pub fn transfer(&self, op: BlockOp, position: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let mut counts = self.counts.get();
        counts.count(op, buffer.len());
        self.counts.set(counts);
        let end = position.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.geometry.sectors * SECTOR_SIZE as u64) {
            return Err(BlockError::OutOfRange);
        }
        let start = thread_time();
        let result = match op {
            BlockOp::Read => self.file.read_exact_at(buffer, position),
            BlockOp::Write | BlockOp::WriteThrough => self.file.write_all_at(buffer, position),
            BlockOp::Flush if self.flush == Flush::Real => self.file.sync_data(),
            BlockOp::Flush => Ok(()),
        };
        self.cpu.set(self.cpu.get() + thread_time().saturating_sub(start));
        result.map_err(|_| BlockError::Io)
    }
}

/// CPU time of this thread so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl BlockDevice for FileDisk {
    fn name(&self) -> &str {
        "vda"
    }

    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest> {
        if self.done.borrow().len() >= QUEUE_DEPTH {
            return Err(request);
        }
        let BlockRequest { op, sector, mut buffer } = request;
        let result = self.transfer(op, sector.saturating_mul(SECTOR_SIZE as u64), &mut buffer);
        let ticket = self.next.get();
        self.next.set(ticket.wrapping_add(1));
        self.done.borrow_mut().insert(ticket, BlockCompletion { result, buffer });
        Ok(Ticket(ticket))
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done.borrow().len() < QUEUE_DEPTH {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn poll_done(&self, ticket: Ticket, _cx: &mut Context<'_>) -> Poll<BlockCompletion> {
        let Some(completion) = self.done.borrow_mut().remove(&ticket.0) else { return Poll::Pending };
        self.waiting.take().into_iter().for_each(Waker::wake);
        Poll::Ready(completion)
    }

    fn abandon(&self, ticket: Ticket) {
        self.done.borrow_mut().remove(&ticket.0);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
