//! The task that writes back what nobody commits: when it is old, when it is much, when somebody lacks room.

use super::Data;
use crate::operations::Context;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_exec::select;

/// Longest that data stays in memory only.
const AGE: Duration = Duration::from_secs(5);
/// Files written back at a time.
const FILES: usize = 16;

impl Data {
    /// Runs until [`Data::stop`].
    pub async fn flush_task(self: Rc<Data>, context: Rc<Context>) {
        loop {
            let (crowded, work) = (self.shared.data_work.notified(), self.work.notified());
            if self.is_stopping.get() {
                return;
            }
            // Noted, not only notified: who asked while this was busy would wait for ever.
            if self.shared.room_wanted.take() {
                self.make_room(&context).await;
                continue;
            }
            let handle = &self.shared.handle;
            let oldest = self.pages.borrow_mut().oldest_dirty();
            match oldest {
                Some((since, _)) if self.is_much() || since + AGE <= handle.now() => self.write_old().await,
                Some((since, _)) => {
                    select(crowded, select(work, handle.sleep_until(since + AGE))).await;
                }
                None => {
                    select(crowded, work).await;
                }
            }
        }
    }

    /// Ends the task.
    pub fn stop(&self) {
        self.is_stopping.set(true);
        self.work.notify();
    }

    fn is_much(&self) -> bool {
        let pages = self.pages.borrow();
        pages.unwritten_bytes() > pages.limit() / 4
    }

    /// Writes back what is old, or the oldest of what is much; some files at a time.
    async fn write_old(self: &Rc<Data>) {
        let now = self.now();
        let mut started = 0;
        while started < FILES {
            let is_much = self.is_much();
            let mut pages = self.pages.borrow_mut();
            let Some((since, _)) = pages.oldest_dirty() else { break };
            if !is_much && since + AGE > now {
                break;
            }
            let Some(ino) = pages.take_oldest() else { break };
            drop(pages);
            started += usize::from(self.start_write_back(ino));
        }
        if started > 0 {
            // The tasks that were started run only now.
            self.shared.data_progress.notified().await;
        }
    }

    /// Somebody lacks room: reservations become blocks, which take less than feared, and what was freed is committed.
    async fn make_room(self: &Rc<Data>, context: &Context) {
        self.write_back_all().await;
        // What is being freed is freed; by its task, unless that is faster here.
        let _ = context.reap(|| self.is_stopping.get()).await;
        let last = self.shared.last_change();
        // Who waits looks again whatever came of it.
        let _ = self.shared.commit_through(last).await;
        self.shared.room_made.notify();
    }

    /// Writes back everything that is dirty now.
    pub async fn write_back_all(self: &Rc<Data>) {
        let files = self.pages.borrow().dirty_files();
        for group in files.chunks(FILES) {
            for &ino in group {
                self.start_write_back(ino);
            }
            for &ino in group {
                self.write_back(ino).await;
            }
        }
    }
}
