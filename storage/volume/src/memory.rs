//! A volume in memory: what every other volume is measured against, and what servers are tested on.
//!
//! It is faithful where clients can tell: handles of removed objects go stale although inode numbers are
//! reused, ctime strictly increases whatever the clock does, directory cookies are never reused, space and
//! inodes run out, and a [power cut](MemoryVolume::power_cut) takes away what was not committed. Access
//! times do not change by reading, as with `noatime`.
//!
//! Faults are injected with [`MemoryVolume::set_fault`].

mod content;
mod quota;
mod tree;
mod volume;

#[cfg(test)]
mod tests;

use crate::{Attributes, FileId, FileType, LimitedScope, Limits, Time, VolumeError, VolumeId};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::task::{Poll, Waker};
use keelson_hal::Clock;
use tree::{Body, Tree};

/// Size and identity of a [`MemoryVolume`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryOptions {
    /// Identity.
    pub id: VolumeId,
    /// Capacity in bytes, used up in blocks of 4096.
    pub capacity: u64,
    /// Most objects.
    pub inodes: u64,
    /// Most hard links to one object.
    pub max_links: u32,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions {
            id: VolumeId(*b"keelson-in-memor"),
            capacity: 1 << 40,
            inodes: 1 << 20,
            max_links: 65_000,
        }
    }
}

/// What a fault hook is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reading attributes, names, links and directories.
    Lookup,
    /// Reading file content.
    Read,
    /// Writing file content.
    Write,
    /// Creating, removing, renaming, setting attributes.
    Change,
    /// Making stable.
    Commit,
    /// Reading or writing a state file.
    State,
}

type FaultHook = Box<dyn FnMut(Operation) -> Option<VolumeError>>;

/// A filesystem in memory.
pub struct MemoryVolume {
    clock: Rc<dyn Clock>,
    options: MemoryOptions,
    tree: RefCell<Tree>,
    /// What a power cut leaves.
    stable: RefCell<Tree>,
    /// Files whose content changed since they were committed.
    dirty: RefCell<BTreeSet<u64>>,
    states: RefCell<BTreeMap<alloc::string::String, alloc::vec::Vec<u8>>>,
    failed_writes: RefCell<BTreeSet<u64>>,
    verifier: Cell<u64>,
    read_only: Cell<bool>,
    commits: Cell<u64>,
    fault: RefCell<Option<FaultHook>>,
    states_held: Cell<bool>,
    /// Writes of state files that wait to be let go.
    state_writers: RefCell<alloc::vec::Vec<Waker>>,
    limits: RefCell<Rc<Limits>>,
    limited: LimitedScope,
}

impl MemoryVolume {
    /// An empty volume whose root is owned by 0:0 with mode 0755.
    pub fn new(clock: Rc<dyn Clock>, options: MemoryOptions) -> MemoryVolume {
        let tree = Tree::new(now(&*clock), options);
        MemoryVolume {
            stable: RefCell::new(tree.clone()),
            tree: RefCell::new(tree),
            verifier: Cell::new(clock.wall().as_nanos() as u64),
            clock,
            options,
            dirty: RefCell::default(),
            states: RefCell::default(),
            failed_writes: RefCell::default(),
            read_only: Cell::new(false),
            commits: Cell::new(0),
            fault: RefCell::new(None),
            states_held: Cell::new(false),
            state_writers: RefCell::default(),
            limits: RefCell::default(),
            limited: LimitedScope::default(),
        }
    }

    /// Writes of state files take until [`MemoryVolume::release_states`], as on a device that is busy.
    pub fn hold_states(&self) {
        self.states_held.set(true);
    }

    /// Writes of state files go on.
    pub fn release_states(&self) {
        self.states_held.set(false);
        self.state_writers.take().into_iter().for_each(Waker::wake);
    }

    async fn state_turn(&self) {
        core::future::poll_fn(|cx| {
            if !self.states_held.get() {
                return Poll::Ready(());
            }
            self.state_writers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// From now on asks `hook` before every operation; the error it answers is the operation's.
    pub fn set_fault(&self, hook: impl FnMut(Operation) -> Option<VolumeError> + 'static) {
        *self.fault.borrow_mut() = Some(Box::new(hook));
    }

    /// Ends fault injection.
    pub fn clear_fault(&self) {
        *self.fault.borrow_mut() = None;
    }

    /// Refuses or allows changes, as when a journal is aborted.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.set(read_only);
    }

    /// Loses everything that was not committed, as a power cut in its worst moment would, and mounts again.
    pub fn power_cut(&self) {
        let stable = self.stable.borrow().clone();
        *self.tree.borrow_mut() = stable;
        self.dirty.borrow_mut().clear();
        self.failed_writes.borrow_mut().clear();
        self.new_verifier();
    }

    /// Lets a background write of a file fail: the verifier changes, and the next commit of the file says so.
    pub fn fail_background_write(&self, id: FileId) {
        self.failed_writes.borrow_mut().insert(id.inode);
        self.new_verifier();
    }

    /// How often something was made stable.
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }

    fn new_verifier(&self) {
        self.verifier.set(self.verifier.get().wrapping_add(1));
    }

    fn check(&self, operation: Operation) -> Result<(), VolumeError> {
        match self.fault.borrow_mut().as_mut().and_then(|hook| hook(operation)) {
            Some(error) => Err(error),
            None if self.read_only.get() && matches!(operation, Operation::Write | Operation::Change) => {
                Err(VolumeError::ReadOnly)
            }
            None => Ok(()),
        }
    }

    fn now(&self) -> Time {
        now(&*self.clock)
    }

    /// Takes everything over into the stable tree, except the content of dirty files other than `id`.
    fn make_stable(&self, id: Option<FileId>) {
        self.commits.set(self.commits.get() + 1);
        let mut next = self.tree.borrow().clone();
        let mut dirty = self.dirty.borrow_mut();
        match id {
            Some(id) => drop(dirty.remove(&id.inode)),
            None => dirty.clear(),
        }
        let old = self.stable.borrow();
        for inode in dirty.iter() {
            next.take_content(&old, *inode);
        }
        drop(old);
        *self.stable.borrow_mut() = next;
    }
}

fn now(clock: &dyn Clock) -> Time {
    let wall = clock.wall();
    Time { seconds: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX), nanos: wall.subsec_nanos() }
}

/// Attributes of an object that has just come to be.
fn fresh(id: FileId, file_type: FileType, time: Time) -> Attributes {
    Attributes {
        id,
        file_type,
        mode: 0,
        links: 1,
        uid: 0,
        gid: 0,
        size: 0,
        allocated: 0,
        device: Default::default(),
        atime: time,
        mtime: time,
        ctime: time,
    }
}
