//! How processes end, and who waits for that.

use super::Processes;
use super::start::Descriptors;
use crate::api::{PROCESS_MANAGER, SignalDelivery, SignalHandler};
use crate::procs::entry::{Action, End, Entry, Phase};
use crate::procs::signal;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_qnet_wire::Errno;

/// How long the servers of a process's descriptors may take to notice its end.
const CLOSING: Duration = Duration::from_secs(2);

/// Brings the kernel's signals to processes.
pub(super) struct Signalling(pub Weak<super::Shared>);

impl SignalHandler for Signalling {
    fn signal(&self, signal: &SignalDelivery) {
        if let Some(shared) = self.0.upgrade() {
            Processes(shared).arrived(signal.pid, signal.signo);
        }
    }
}

impl Processes {
    /// Waits for the end of a process, and takes it out of the table. `ECHILD` when there is none.
    pub async fn wait(&self, pid: u32) -> Result<End, Errno> {
        let entry = self.entry(pid).filter(|entry| entry.service.is_none()).ok_or(Errno::ECHILD)?;
        loop {
            let changed = entry.changed.notified();
            if let Some(end) = entry.ended() {
                self.0.list.borrow_mut().remove(&pid);
                return Ok(end);
            }
            changed.await;
        }
    }

    /// How a process ended, if it has; then it is taken out of the table.
    pub fn try_wait(&self, pid: u32) -> Option<End> {
        let end = self.entry(pid)?.ended()?;
        self.0.list.borrow_mut().remove(&pid);
        Some(end)
    }

    /// Whether there is such a process.
    pub fn is_known(&self, pid: u32) -> bool {
        self.entry(pid).is_some()
    }

    /// Nobody will wait for a process.
    pub fn detach(&self, pid: u32) {
        let Some(entry) = self.entry(pid) else { return };
        entry.nozombie.set(true);
        if entry.ended().is_some() {
            self.0.list.borrow_mut().remove(&pid);
        }
    }

    /// A signal, from the system itself.
    pub fn signal(&self, pid: u32, signo: i32) -> Result<(), Errno> {
        self.entry(pid).ok_or(Errno::ESRCH)?;
        self.arrived(pid, signo);
        Ok(())
    }

    fn arrived(&self, pid: u32, signo: i32) {
        let Some(entry) = self.entry(pid) else { return };
        // What is part of the system does not end.
        if entry.service.is_none() && entry.signals.arrive(signo) == Action::End {
            self.end(&entry, End::Killed(signo));
        }
    }

    /// Ends a process: its task now, its descriptors as soon as their servers know.
    pub(super) fn end(&self, entry: &Rc<Entry>, end: End) {
        if !entry.is_running() {
            return;
        }
        entry.set_phase(Phase::Ending);
        let task = entry.task.borrow_mut().take();
        if let Some(task) = task {
            task.abort();
        }
        let fds = core::mem::take(&mut *entry.fds.borrow_mut());
        self.0.kernel.executor().spawn("exit", self.clone().close(entry.clone(), fds, end));
    }

    async fn close(self, entry: Rc<Entry>, fds: Descriptors, end: End) {
        let executor = self.0.kernel.executor().clone();
        let closing = async {
            for stream in fds.into_values() {
                if Rc::strong_count(&stream) == 1 {
                    // A server that is gone does not need to be told.
                    let _ = stream.close().await;
                }
            }
        };
        let _ = executor.timeout(CLOSING, closing).await;
        self.0.kernel.end_process(entry.pid);
        self.orphan(entry.pid);
        entry.set_phase(Phase::Ended(end));
        if entry.nozombie.get() {
            self.0.list.borrow_mut().remove(&entry.pid);
        }
        self.forget_oldest();
    }

    /// The children of a process that has ended become those of the process manager, which waits for none.
    pub(super) fn orphan(&self, parent: u32) {
        let children: Vec<Rc<Entry>> =
            self.all().into_iter().filter(|entry| entry.parent.get() == parent).collect();
        for child in children {
            child.parent.set(PROCESS_MANAGER);
            self.detach(child.pid);
        }
    }

    fn forget_oldest(&self) {
        while self.zombies() > self.0.config.zombies {
            let oldest = self.all().into_iter().filter(|entry| entry.ended().is_some());
            let Some(oldest) = oldest.min_by_key(|entry| entry.started) else { return };
            self.0.list.borrow_mut().remove(&oldest.pid);
        }
    }

    /// Ends all processes that are not part of the system.
    pub fn end_all(&self) {
        for entry in self.all() {
            if entry.service.is_none() {
                self.end(&entry, End::Killed(signal::KILL));
            }
        }
    }
}
