//! The orphan list: inodes to be freed, or cut to their size, whatever happens (Linux
//! `Documentation/filesystems/ext4/orphan.rst`).
//!
//! On the disk it is a chain: `s_last_orphan` of the superblock names the newest, `i_dtime` of each the next older one.
//! What is large is freed in steps, each an operation, while its inode is on the list; after a power cut the next mount
//! goes on where it stopped.

use crate::engine::cache::NumberMap;
use crate::engine::{Engine, Ino, Kind};
use crate::halt::Halt;
use crate::layout::bytes::{put_u32, u32_at};
use crate::layout::inode::{EXTENTS, Inode};
use crate::operations::Context;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use keelson_exec::sync::Notify;
use keelson_volume::{FileType, VolumeError};

/// `s_last_orphan`.
const HEAD: usize = 0xe8;

/// The list in memory, as it is on the disk: kept up right after each operation that changed it there.
#[derive(Default)]
pub struct Orphans {
    /// Newest last.
    order: BTreeMap<u64, Ino>,
    places: NumberMap<Ino, u64>,
    next: u64,
    /// Those that cannot be freed; e2fsck may.
    stuck: BTreeSet<Ino>,
}

impl Orphans {
    /// True for an inode on the list.
    pub fn contains(&self, ino: Ino) -> bool {
        !self.places.is_empty() && self.places.contains_key(&ino)
    }

    /// Inodes on it that can be freed.
    pub fn len(&self) -> usize {
        self.places.len() - self.stuck.len()
    }

    /// True when there is nothing to free.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An inode was put in front.
    pub fn add(&mut self, ino: Ino) {
        if self.contains(ino) {
            // It stays where it is.
            return;
        }
        self.places.insert(ino, self.next);
        self.order.insert(self.next, ino);
        self.next += 1;
    }

    /// An inode was taken off.
    pub fn remove(&mut self, ino: Ino) {
        if let Some(place) = self.places.remove(&ino) {
            self.order.remove(&place);
            self.stuck.remove(&ino);
        }
    }

    /// The newest that can be freed.
    pub fn newest(&self) -> Option<Ino> {
        self.order.values().rev().find(|ino| !self.stuck.contains(ino)).copied()
    }

    /// Operation's part: takes an inode off the list. The caller puts the inode, and tells the list in memory.
    pub fn unlink(&self, engine: &mut Engine, inode: &mut Inode) -> Result<(), Halt> {
        let next = core::mem::take(&mut inode.dtime);
        let Some(&place) = self.places.get(&inode.ino) else { return Ok(()) };
        match self.order.range(place + 1..).next() {
            None if head(engine)? == inode.ino => set_head(engine, next),
            None => Err(engine.damaged(format_args!("orphan {} is not the newest", inode.ino))),
            Some((_, &newer)) => {
                let mut newer = engine.inode(newer)?;
                if newer.dtime != inode.ino {
                    return Err(engine.damaged(format_args!("orphan {} is not in its place", inode.ino)));
                }
                newer.dtime = next;
                engine.put_inode(&newer)
            }
        }
    }
}

/// Operation's part: puts an inode in front of the list. The caller puts the inode.
pub fn enlist(engine: &mut Engine, inode: &mut Inode) -> Result<(), Halt> {
    inode.dtime = head(engine)?;
    set_head(engine, inode.ino)
}

fn head(engine: &mut Engine) -> Result<Ino, Halt> {
    let (block, offset) = engine.geometry.superblock_place();
    Ok(u32_at(engine.read(block, Kind::Superblock)?, offset + HEAD))
}

fn set_head(engine: &mut Engine, ino: Ino) -> Result<(), Halt> {
    let (block, offset) = engine.geometry.superblock_place();
    put_u32(engine.edit(block, Kind::Superblock, offset + HEAD..offset + HEAD + 4)?, 0, ino);
    Ok(())
}

/// Operation: what is on the disk's list, newest first; what makes no sense ends it.
pub fn list(engine: &mut Engine) -> Result<Vec<Ino>, Halt> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ino = head(engine)?;
    while ino != 0 {
        let is_possible = ino >= engine.geometry.first_inode && engine.is_inode_used(ino)?;
        if !is_possible || !seen.insert(ino) {
            engine.damaged(format_args!("inode {ino} cannot be on the orphan list"));
            break;
        }
        found.push(ino);
        ino = engine.inode(ino)?.dtime;
    }
    Ok(found)
}

/// The task that frees what is on the list.
#[derive(Default)]
pub struct Reaper {
    work: Notify,
    is_stopping: Cell<bool>,
}

impl Reaper {
    /// There may be something to do.
    pub fn wake(&self) {
        self.work.notify();
    }

    /// Ends the task after what it is doing.
    pub fn stop(&self) {
        self.is_stopping.set(true);
        self.work.notify();
    }

    /// Runs until it is stopped, or nothing can be changed any more.
    pub async fn run(self: Rc<Reaper>, context: Rc<Context>) {
        while !self.is_stopping.get() {
            let work = self.work.notified();
            if context.orphans.borrow().is_empty() {
                work.await;
            } else if context.reap(|| self.is_stopping.get()).await.is_err() {
                break;
            }
        }
        context.shared.data_progress.notify();
    }
}

impl Context {
    /// Frees what is on the list, until told to stop.
    ///
    /// # Errors
    ///
    /// [`VolumeError::ReadOnly`]: nothing can be changed any more.
    pub async fn reap(&self, should_stop: impl Fn() -> bool) -> Result<(), VolumeError> {
        while !should_stop() {
            let Some(ino) = self.orphans.borrow().newest() else { break };
            match self.shared.change(|engine| self.reap_step(engine, ino)).await {
                Ok(true) => {
                    self.orphans.borrow_mut().remove(ino);
                    self.shared.data_progress.notify();
                }
                Ok(false) => {}
                Err(VolumeError::ReadOnly) => return Err(VolumeError::ReadOnly),
                Err(error) => {
                    log::error!(target: "ext4", "inode {ino} cannot be freed: {error} (e2fsck -f may)");
                    self.orphans.borrow_mut().stuck.insert(ino);
                    self.shared.data_progress.notify();
                }
            }
        }
        Ok(())
    }

    /// Operation: frees a part of an inode on the list; true when it is off the list.
    fn reap_step(&self, engine: &mut Engine, ino: Ino) -> Result<bool, Halt> {
        // Who makes room reaps too, and may have been faster while this waited for a block.
        if !self.orphans.borrow().contains(ino) {
            return Ok(true);
        }
        engine.allocator.use_reserve = true;
        self.data.quiet(ino)?;
        let mut inode = engine.inode(ino)?;
        let is_done = if inode.links == 0 {
            self.free_step(engine, &mut inode)?
        } else if inode.file_type() == Some(FileType::Regular) && inode.flags & EXTENTS != 0 {
            let from = inode.size.div_ceil(engine.geometry.block_size as u64);
            engine.remove_from(
                &mut inode,
                u32::try_from(from).unwrap_or(u32::MAX),
                crate::operations::STEP,
            )?
        } else {
            true
        };
        if is_done {
            self.orphans.borrow().unlink(engine, &mut inode)?;
            if inode.links == 0 {
                crate::operations::bury(engine, &mut inode)?;
                return Ok(true);
            }
        }
        engine.put_inode(&inode)?;
        Ok(is_done)
    }

    /// Waits until the [`Reaper`] has freed everything that can be: what is unmounted leaves no work to others.
    pub async fn orphans_freed(&self) {
        loop {
            let progress = self.shared.data_progress.notified();
            if self.orphans.borrow().is_empty() || self.shared.engine.borrow().journal.is_aborted() {
                return;
            }
            progress.await;
        }
    }

    /// At mount: finishes what is on the list. How many there were.
    pub async fn finish_orphans(&self) -> Result<usize, VolumeError> {
        let found = self.shared.look(list).await?;
        for &ino in found.iter().rev() {
            self.orphans.borrow_mut().add(ino);
        }
        self.reap(|| false).await?;
        Ok(found.len())
    }
}
