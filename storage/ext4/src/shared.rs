//! What all tasks of a mounted filesystem share, and how they run operations on it.

use crate::engine::seal;
use crate::engine::{BlockNr, Engine, Ino, Kind};
use crate::halt::Halt;
use crate::io::Io;
use crate::journal::{Sequence, is_after};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use keelson_exec::Handle;
use keelson_exec::sync::Notify;
use keelson_hal::Clock;
use keelson_volume::{LimitedScope, Time, VolumeError};

const NANOS: u64 = 1_000_000_000;
/// Times an operation is run anew for a block that it lacks. Each needs a few; a damaged disk can send it around.
const MISSES: usize = 10_000;
/// Times a block is read anew because transactions were committed meanwhile.
const RELOADS: usize = 100;
/// Times an operation is tried anew when room was made: what is being made room for already may be for others.
const CROWDED: usize = 2;

/// A mounted filesystem, as its tasks see it.
pub struct Shared {
    /// Metadata and transactions. Borrowed only between waits.
    pub engine: RefCell<Engine>,
    /// The device.
    pub io: Io,
    /// Time, and new tasks.
    pub handle: Handle,
    clock: Rc<dyn Clock>,
    /// Whether limits stop whoever asks for the operation under way.
    pub limited: LimitedScope,
    /// Nanoseconds since 1970 of the last operation.
    stamp: Cell<u64>,
    /// The newest transaction that somebody wants committed.
    pub(crate) wanted: Cell<Option<Sequence>>,
    /// There is something to do for the journal's task.
    pub journal_work: Notify,
    /// A transaction was committed, or the journal was aborted, or the log has room again.
    pub journal_progress: Notify,
    /// Writes of file data have ended.
    pub data_progress: Notify,
    /// Data should be written back: somebody waits for room.
    pub data_work: Notify,
    /// That is what is to be done: somebody lacks room.
    pub room_wanted: Cell<bool>,
    /// As much room was made as there could be.
    pub room_made: Notify,
    /// The filesystem is to be closed by the journal's task.
    pub(crate) is_stopping: Cell<bool>,
    /// Nobody uses the filesystem any more.
    pub(crate) is_abandoned: Cell<bool>,
    /// It was closed, and whether all went well.
    pub(crate) closed: Cell<Option<bool>>,
}

impl Shared {
    /// A filesystem whose superblock and descriptors were read.
    pub fn new(engine: Engine, io: Io, handle: Handle) -> Rc<Shared> {
        Rc::new(Shared {
            engine: RefCell::new(engine),
            io,
            clock: handle.clock(),
            handle,
            limited: LimitedScope::default(),
            stamp: Cell::new(0),
            wanted: Cell::new(None),
            journal_work: Notify::new(),
            journal_progress: Notify::new(),
            data_progress: Notify::new(),
            data_work: Notify::new(),
            room_wanted: Cell::new(false),
            room_made: Notify::new(),
            is_stopping: Cell::new(false),
            is_abandoned: Cell::new(false),
            closed: Cell::new(None),
        })
    }

    /// Runs an operation that changes something. It is all done or not at all, and nothing happens meanwhile.
    pub async fn change<T>(
        &self,
        mut operation: impl FnMut(&mut Engine) -> Result<T, Halt>,
    ) -> Result<T, VolumeError> {
        let (mut misses, mut crowded) = (0, 0);
        loop {
            self.room().await?;
            let halt = {
                let mut engine = self.engine.borrow_mut();
                engine.now = self.next_time();
                let was_empty = engine.journal.running.is_empty();
                engine.begin();
                engine.is_limited = self.limited.is_on();
                let done = operation(&mut engine);
                match done.and_then(|value| engine.check_limits().map(|()| value)) {
                    Ok(value) => {
                        engine.end();
                        // The journal's task sleeps without a deadline while there is nothing to commit.
                        if was_empty || engine.journal.is_large() {
                            self.journal_work.notify();
                        }
                        return Ok(value);
                    }
                    Err(halt) => {
                        engine.roll_back();
                        halt
                    }
                }
            };
            match halt {
                Halt::Fail(error) => return Err(error),
                Halt::Need(block, kind) if misses < MISSES => {
                    misses += 1;
                    self.engine.borrow_mut().counters.metadata_misses += 1;
                    self.load(block, kind).await?;
                }
                Halt::Need(..) => return Err(VolumeError::TryLater),
                Halt::Busy(ino) => self.writes_ended(ino).await,
                // What was freed is for use after a commit, and writing back gives up more than was needed.
                Halt::Crowded if crowded == 0 => {
                    crowded += 1;
                    self.commit_through(self.last_change()).await?;
                }
                Halt::Crowded if crowded < CROWDED => {
                    crowded += 1;
                    let made = self.room_made.notified();
                    self.room_wanted.set(true);
                    self.data_work.notify();
                    made.await;
                }
                Halt::Crowded => {
                    self.engine.borrow_mut().counters.no_space += 1;
                    return Err(VolumeError::NoSpace);
                }
            }
        }
    }

    /// Runs an operation that changes nothing.
    pub async fn look<T>(
        &self,
        mut operation: impl FnMut(&mut Engine) -> Result<T, Halt>,
    ) -> Result<T, VolumeError> {
        for _ in 0..MISSES {
            let halt = match operation(&mut self.engine.borrow_mut()) {
                Ok(value) => return Ok(value),
                Err(halt) => halt,
            };
            match halt {
                Halt::Fail(error) => return Err(error),
                Halt::Need(block, kind) => {
                    self.engine.borrow_mut().counters.metadata_misses += 1;
                    self.load(block, kind).await?;
                }
                Halt::Busy(ino) => self.writes_ended(ino).await,
                Halt::Crowded => return Err(VolumeError::NoSpace),
            }
        }
        Err(VolumeError::TryLater)
    }

    /// The transaction that holds the last change.
    pub fn last_change(&self) -> Sequence {
        self.engine.borrow().journal.last_change()
    }

    /// Waits until this transaction and all before it are on the disk; commits the running one if it is that.
    pub async fn commit_through(&self, sequence: Sequence) -> Result<(), VolumeError> {
        loop {
            let progress = self.journal_progress.notified();
            {
                let engine = self.engine.borrow();
                // Nothing has joined the running transaction, if that is what is asked for: nothing to wait for.
                let last = engine.journal.last_change();
                if engine.journal.is_committed(if is_after(sequence, last) { last } else { sequence }) {
                    return Ok(());
                }
                if engine.journal.is_aborted() || self.is_abandoned.get() {
                    return Err(VolumeError::Io);
                }
            }
            let newest = match self.wanted.get() {
                Some(other) if is_after(other, sequence) => other,
                _ => sequence,
            };
            self.wanted.set(Some(newest));
            self.journal_work.notify();
            progress.await;
        }
    }

    /// Waits until the running transaction and the log have room for an operation.
    async fn room(&self) -> Result<(), VolumeError> {
        loop {
            let progress = self.journal_progress.notified();
            {
                let engine = self.engine.borrow();
                if engine.read_only || engine.journal.is_aborted() {
                    return Err(VolumeError::ReadOnly);
                }
                if engine.journal.has_room() {
                    return Ok(());
                }
            }
            self.journal_work.notify();
            progress.await;
        }
    }

    /// Reads a metadata block into the cache.
    pub async fn load(&self, block: BlockNr, kind: Kind) -> Result<(), VolumeError> {
        let geometry = self.engine.borrow().geometry;
        if !geometry.holds(block.max(geometry.first_data_block), 1) {
            let damaged = format_args!("{kind:?} in block {block}, which does not exist");
            self.engine.borrow_mut().damaged(damaged);
            return Err(VolumeError::Io);
        }
        for _ in 0..RELOADS {
            let (blocks, sequence) = {
                let engine = self.engine.borrow();
                (engine.together(block, kind), engine.journal.running.sequence)
            };
            let data = match self.io.read(blocks.start, (blocks.end - blocks.start) as usize).await {
                Ok(data) => data,
                Err(error) => {
                    let mut engine = self.engine.borrow_mut();
                    engine.counters.read_errors += 1;
                    // A bad sector costs its group only.
                    match kind {
                        Kind::BlockBitmap(group) => engine.allocator.avoid_blocks(group),
                        Kind::InodeBitmap(group) => engine.allocator.avoid_inodes(group),
                        _ => {}
                    }
                    log::error!(target: "ext4", "{}: reading {kind:?} in block {block}: {error}", self.io.name());
                    return Err(VolumeError::Io);
                }
            };
            let mut engine = self.engine.borrow_mut();
            if engine.cache.peek(block).is_some() {
                return Ok(());
            }
            // Somebody else may have been faster, have changed a block, and, if that is committed, even have got rid of
            // it again: then what was read may be older.
            if engine.journal.is_committed(sequence) {
                continue;
            }
            let at = (block - blocks.start) as usize * geometry.block_size;
            if !seal::is_sound(&data[at..at + geometry.block_size], block, kind, &geometry) {
                engine.damaged(format_args!("{kind:?} in block {block} has a wrong checksum"));
                return Err(VolumeError::Io);
            }
            for (block, data) in blocks.zip(data.chunks_exact(geometry.block_size)) {
                if engine.cache.peek(block).is_none() {
                    engine.cache.insert(block, kind, data.into());
                }
            }
            return Ok(());
        }
        Err(VolumeError::TryLater)
    }

    /// Waits until no write of an inode's data is under way any more, or might be.
    async fn writes_ended(&self, _ino: Ino) {
        self.data_progress.notified().await;
    }

    /// Closes the filesystem: everything home, marked as clean. False after an error.
    pub async fn close_and_wait(&self) -> bool {
        self.is_stopping.set(true);
        loop {
            let progress = self.journal_progress.notified();
            if let Some(clean) = self.closed.get() {
                return clean;
            }
            if self.engine.borrow().journal.is_aborted() {
                return false;
            }
            self.journal_work.notify();
            progress.await;
        }
    }

    /// Ends the journal's task after what it is doing, and whatever waits for it.
    pub fn abandon(&self) {
        self.is_abandoned.set(true);
        if let Ok(mut engine) = self.engine.try_borrow_mut() {
            engine.read_only = true;
        }
        for notify in [
            &self.journal_work,
            &self.journal_progress,
            &self.data_progress,
            &self.data_work,
            &self.room_made,
        ] {
            notify.notify();
        }
    }

    /// Time since 1970.
    pub fn wall(&self) -> core::time::Duration {
        self.clock.wall()
    }

    /// The time of the next operation: the clock's, but always later than the last one's.
    fn next_time(&self) -> Time {
        let wall = u64::try_from(self.clock.wall().as_nanos()).unwrap_or(u64::MAX - 1);
        let stamp = wall.max(self.stamp.get() + 1);
        self.stamp.set(stamp);
        Time { seconds: (stamp / NANOS) as i64, nanos: (stamp % NANOS) as u32 }
    }
}
