//! The journal's task: the only one that commits and checkpoints.

use super::is_after;
use crate::engine::{BlockNr, Kind};
use crate::io::IoError;
use crate::shared::Shared;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::{select, yield_now};
use keelson_hal::BlockError;

/// Times all other ready tasks run before a transaction is frozen, so that whoever is about to join it can: a
/// client's next request comes out of another task, which this lets run, and is handled by a third.
const YIELDS: usize = 3;

/// What is to be done next.
enum Work {
    Commit,
    Checkpoint,
    Stop,
    Rest,
}

/// What became of writing home.
enum Home {
    /// Some blocks of the oldest transaction were written.
    Written,
    /// All that is left of it has changed since: that must be committed first.
    Changed,
    /// There is nothing to write.
    Nothing,
}

/// Commits and checkpoints until the filesystem is unmounted, given up, or cannot be written any more.
pub async fn run(shared: Rc<Shared>, interval: Duration) {
    let mut due = None;
    loop {
        let work = shared.journal_work.notified();
        if shared.engine.borrow().journal.is_aborted() || shared.is_abandoned.get() {
            return shared.journal_progress.notify();
        }
        let now = shared.handle.now();
        match shared.next_work(due.is_some_and(|due| due <= now)) {
            Work::Commit => {
                for _ in 0..YIELDS {
                    yield_now().await;
                }
                due = None;
                shared.commit().await;
                // Clients that never let the journal rest would fill the log.
                if shared.is_crowded() {
                    shared.write_home().await;
                }
            }
            Work::Checkpoint => shared.checkpoint().await,
            Work::Stop => {
                shared.close().await;
                return;
            }
            Work::Rest => {
                let is_empty = shared.engine.borrow().journal.running.is_empty();
                match due {
                    _ if is_empty => {
                        due = None;
                        work.await;
                    }
                    None => due = Some(now + interval),
                    Some(until) => {
                        select(work, shared.handle.sleep_until(until)).await;
                    }
                }
            }
        }
    }
}

impl Shared {
    fn next_work(&self, is_due: bool) -> Work {
        let engine = self.engine.borrow();
        let journal = &engine.journal;
        let wanted = self.wanted.get().is_some_and(|wanted| is_after(wanted, journal.committed));
        let has_room = journal.has_room();
        if !journal.running.is_empty() && (wanted || is_due || journal.is_large() || !has_room) {
            return Work::Commit;
        }
        if self.is_stopping.get() {
            return Work::Stop;
        }
        if journal.is_crowded() || !has_room { Work::Checkpoint } else { Work::Rest }
    }

    fn is_crowded(&self) -> bool {
        let journal = &self.engine.borrow().journal;
        journal.is_crowded() && !journal.is_aborted()
    }

    /// Commits the running transaction.
    async fn commit(&self) {
        let frozen = loop {
            let frozen = self.engine.borrow_mut().freeze(self.wall());
            match frozen {
                Ok(Some(frozen)) => break frozen,
                Ok(None) => return self.journal_progress.notify(),
                Err(crate::halt::Halt::Need(block, kind)) => {
                    if self.load(block, kind).await.is_ok() {
                        continue;
                    }
                }
                Err(_) => {}
            }
            return self.give_up("sealing a transaction", BlockError::Io.into());
        };
        let mut frozen = frozen;
        let writes = core::mem::take(&mut frozen.writes);
        let commit = frozen.commit.take();
        // Operations have gone on meanwhile, some of them waited for room.
        self.journal_progress.notify();
        if let Err(error) = self.io.write(writes).await {
            return self.give_up("writing a transaction", error);
        }
        if let Err(error) = self.io.flush().await {
            return self.give_up("flushing a transaction", error);
        }
        self.engine.borrow_mut().note_flush(&frozen);
        if let Some(commit) = commit
            && let Err(error) = self.io.write_through(commit).await
        {
            return self.give_up("ending a transaction", error);
        }
        self.engine.borrow_mut().finish_commit(frozen);
        self.journal_progress.notify();
    }

    /// Writes some of the oldest transactions home; lets the log's tail follow if room is short.
    async fn checkpoint(&self) {
        let is_flush_worth_while = {
            let mut engine = self.engine.borrow_mut();
            engine.forget_home();
            engine.journal.is_flush_worth_while()
        };
        if is_flush_worth_while {
            return self.move_safe_tail(false).await;
        }
        match self.write_home().await {
            Home::Written => {}
            Home::Changed => self.commit().await,
            Home::Nothing => self.move_safe_tail(false).await,
        }
    }

    async fn write_home(&self) -> Home {
        let batch = self.engine.borrow_mut().next_checkpoint();
        if batch.writes.is_empty() {
            return if batch.needs_commit { Home::Changed } else { Home::Nothing };
        }
        let blocks: Vec<BlockNr> = batch.writes.iter().map(|(block, _)| *block).collect();
        match self.io.write(batch.writes).await {
            Ok(()) => self.engine.borrow_mut().finish_checkpoint(&blocks),
            Err(error) => self.give_up("writing metadata home", error),
        }
        Home::Written
    }

    /// Makes home writes safe and says in the journal's superblock that what they were for is not needed.
    async fn move_safe_tail(&self, empty: bool) {
        let result = async {
            self.io.flush().await?;
            let superblock = self.engine.borrow_mut().journal.log.as_mut().map(|log| {
                log.note_flush();
                log.encode_superblock(empty)
            });
            let Some(superblock) = superblock else { return Ok(()) };
            self.io.write([superblock].into()).await?;
            self.io.flush().await
        };
        match result.await {
            Ok(()) => {
                let mut engine = self.engine.borrow_mut();
                if let Some(log) = &mut engine.journal.log {
                    log.safe_tail = log.flushed_tail;
                    log.is_marked_empty = empty;
                }
                drop(engine);
                self.journal_progress.notify();
            }
            Err(error) => self.give_up("moving the tail of the log", error),
        }
    }

    /// Everything home, the log empty, the filesystem marked as cleanly unmounted.
    async fn close(&self) {
        loop {
            let (has_running, aborted) = {
                let engine = self.engine.borrow();
                (!engine.journal.running.is_empty(), engine.journal.is_aborted())
            };
            if aborted {
                break;
            }
            if has_running {
                self.commit().await;
                continue;
            }
            let is_home = {
                let mut engine = self.engine.borrow_mut();
                engine.forget_home();
                engine.journal.logged.is_empty()
            };
            if is_home {
                break;
            }
            self.checkpoint().await;
        }
        let result = async {
            if self.engine.borrow().journal.is_aborted() {
                return Err(IoError::from(BlockError::Gone));
            }
            self.move_safe_tail(true).await;
            if self.engine.borrow().journal.is_aborted() {
                // The journal is still needed.
                return Err(BlockError::Gone.into());
            }
            let block = self.engine.borrow().geometry.superblock_place().0;
            if self.engine.borrow().cache.peek(block).is_none() {
                // Dropped from memory since it was last changed.
                self.load(block, Kind::Superblock).await.map_err(|_| BlockError::Io)?;
            }
            let superblock = self.engine.borrow_mut().mark_superblock(false, self.wall());
            if let Some(superblock) = superblock {
                self.io.write([superblock].into()).await?;
            }
            self.io.flush().await
        };
        let result = result.await;
        self.engine.borrow_mut().read_only = true;
        self.closed.set(Some(result.is_ok() && !self.engine.borrow().journal.is_aborted()));
        self.journal_progress.notify();
    }

    fn give_up(&self, doing: &str, error: IoError) {
        log::error!(
            target: "ext4",
            "{}: {doing}: {error}; the filesystem is read-only from now on (check the disk, then boot again: the \
             journal will be replayed)",
            self.io.name()
        );
        self.engine.borrow_mut().abort_journal();
        self.journal_progress.notify();
    }
}
