//! Content of files: cached, read ahead, written back.
//!
//! ```text
//!   WRITE --> dirty, reserved --allocate (operation)--> on its way --written, marked (operation)--> clean --> dropped
//!   READ  --> a load under way -------------------------------------------------------------------> clean --> dropped
//! ```
//!
//! 1. **Space is reserved when data comes and allocated when it goes**: "no space left" is told to whoever writes, and
//!    files that grow piece by piece get long runs of blocks.
//! 2. **Blocks are allocated unwritten** and marked as written when their content has arrived: a power cut never shows
//!    what was there before, and no commit waits for other people's data.
//! 3. **Nothing is cut under a write that is on its way** ([`Data::quiet`]), and nothing that was read before a cut
//!    comes into the cache after it: a read under way that it concerns is spoiled, and done again.
//! 4. **A file grows over zeros**: what the disk has behind its end, since a power cut came between a write and its
//!    commit or since the file was cut, is overwritten before the new size can be committed ([`Data::needed`]).
//! 5. **A failed write costs its file**: what did not arrive is dropped, the next commit of the file says so, and the
//!    write verifier changes, which makes NFS clients send again what they did not see committed.

mod chunk;
mod complaints;
mod file;
mod flush;
mod pages;
mod read;
mod write;
mod write_back;

pub use pages::{Pages, Piece};

use self::complaints::Complaints;
use crate::engine::Ino;
use crate::halt::Halt;
use crate::shared::Shared;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::fmt;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;

/// Least memory for content, whatever the options say.
const LEAST: usize = 2 << 20;

/// The cached content of files, and the tasks that move it.
pub struct Data {
    shared: Rc<Shared>,
    /// What is in memory. Borrowed only between waits, and never while an operation is run.
    pages: RefCell<Pages>,
    /// Bytes of file content on their way to and from the disk, beside what is in `pages`.
    in_flight: Cell<usize>,
    in_flight_limit: usize,
    /// Some of it has arrived.
    landed: Notify,
    /// A read from the disk has ended.
    loaded: Notify,
    /// The task that writes back has something to do.
    work: Notify,
    /// Times that data was lost.
    losses: Cell<u32>,
    is_stopping: Cell<bool>,
    complaints: Complaints,
    /// Where the last allocation ended: a hint.
    last_place: Cell<u64>,
}

/// Part of the cache that content on its way may take in addition.
const IN_FLIGHT: usize = 6;
/// Bytes that may be on their way at least.
const LEAST_IN_FLIGHT: usize = 256 << 10;

/// Content on its way to or from the disk.
struct InFlight<'a> {
    data: &'a Data,
    bytes: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.data.in_flight.set(self.data.in_flight.get() - self.bytes);
        self.data.landed.notify();
    }
}

impl Data {
    /// Nothing is in memory yet; at most about `bytes` will be.
    pub fn new(shared: Rc<Shared>, bytes: usize) -> Rc<Data> {
        let block_size = shared.engine.borrow().geometry.block_size;
        Rc::new(Data {
            pages: RefCell::new(Pages::new(block_size, bytes.max(LEAST))),
            in_flight: Cell::new(0),
            in_flight_limit: (bytes / IN_FLIGHT).max(LEAST_IN_FLIGHT),
            landed: Notify::new(),
            shared,
            loaded: Notify::new(),
            work: Notify::new(),
            losses: Cell::new(0),
            is_stopping: Cell::new(false),
            complaints: Complaints::default(),
            last_place: Cell::new(0),
        })
    }

    /// Waits until so much more content may be on its way: buffers take memory beside the cache, and clients who read
    /// or write many files at once must not use it up.
    async fn take_off(&self, bytes: usize) -> InFlight<'_> {
        loop {
            let landed = self.landed.notified();
            let in_flight = self.in_flight.get();
            if in_flight == 0 || in_flight + bytes <= self.in_flight_limit {
                self.in_flight.set(in_flight + bytes);
                return InFlight { data: self, bytes };
            }
            landed.await;
        }
    }

    /// Logs what the disk did to a file, as often as a console can bear.
    fn complain(&self, what: fmt::Arguments<'_>) {
        let name = self.shared.io.name();
        match self.complaints.allow(self.now()) {
            None => {}
            Some(0) => log::error!(target: "ext4", "{name}: {what}"),
            Some(more) => log::error!(target: "ext4", "{name}: {what} ({more} more since the last line)"),
        }
    }

    /// Blocks that a file has beside those that its inode counts.
    pub fn reserved_blocks(&self, ino: Ino) -> u64 {
        self.pages.borrow().file(ino).map_or(0, |file| file.reserved)
    }

    /// Times that data was lost.
    pub fn losses(&self) -> u32 {
        self.losses.get()
    }

    /// What happened since the mount.
    pub fn counters(&self) -> crate::stats::DataCounters {
        let pages = self.pages.borrow();
        crate::stats::DataCounters {
            resident_bytes: pages.bytes() as u64,
            unwritten_bytes: pages.unwritten_bytes() as u64,
            reserved_blocks: pages.reserved(),
            ..pages.counters
        }
    }

    /// For operations that take blocks away from a file: ends them while some are being written.
    pub fn quiet(&self, ino: Ino) -> Result<(), Halt> {
        match self.pages.borrow_mut().existing(ino) {
            Some(file) if file.is_writing => {
                file.is_wanted = true;
                Err(Halt::Busy(ino))
            }
            _ => Ok(()),
        }
    }

    /// The file ends at `size` now: right after the operation that cut it.
    pub fn cut(&self, ino: Ino, size: u64) {
        let payer = self.payer(ino);
        let freed = self.pages.borrow_mut().cut(ino, size, self.now());
        self.release(payer, freed);
        self.pages.borrow_mut().forget_idle(ino);
        self.loaded.notify();
    }

    /// The file is gone: right after the operation that took its last name.
    pub fn purge(&self, ino: Ino) {
        let payer = self.payer(ino);
        let freed = self.pages.borrow_mut().purge(ino);
        self.release(payer, freed);
        self.loaded.notify();
    }

    /// The file has another user or group: right after the operation that passed on what was promised to it.
    pub fn passed_on(&self, ino: Ino, payer: (u32, u32)) {
        if let Some(file) = self.pages.borrow_mut().existing(ino) {
            file.payer = payer;
        }
    }

    /// User and group for whom a file's reservations are counted.
    fn payer(&self, ino: Ino) -> (u32, u32) {
        self.pages.borrow().file(ino).map_or((0, 0), |file| file.payer)
    }

    /// Reserved blocks have got their space, or need none any more.
    fn release(&self, (uid, gid): (u32, u32), blocks: u64) {
        if blocks > 0 {
            self.shared.engine.borrow_mut().release(uid, gid, blocks);
        }
    }

    fn now(&self) -> Instant {
        self.shared.handle.now()
    }
}
