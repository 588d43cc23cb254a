//! The operation under way: what it changed, so that it can be undone.

use super::{BlockNr, Engine, Ino, Kind, OPERATION_BLOCKS, OPERATION_FORGOTTEN};
use crate::halt::Halt;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_volume::Owner;

/// How to undo one step.
enum Step {
    /// Put back the last `len` saved bytes.
    Bytes { block: BlockNr, offset: u32, len: u32 },
    /// Take the block out of the running transaction.
    Joined(BlockNr),
    /// The block was made from nothing.
    Fresh(BlockNr),
    /// The block was given up.
    Forgot { block: BlockNr, was_running: bool },
    /// Free blocks and inodes were counted.
    Counted { group: u32, blocks: i64, inodes: i64 },
    /// The group for the next directory moved on from here.
    MovedOn(u32),
    /// Somebody was charged.
    Charged { ino: Ino, uid: u32, gid: u32, sectors: i64, inodes: i64 },
    /// Blocks were kept free for somebody.
    Reserved(u64),
    /// Space was promised to somebody, or the promise passed on.
    Promised { uid: u32, gid: u32, sectors: i64 },
}

/// What an operation gives an owner.
#[derive(Clone, Copy, Default)]
pub struct Gift {
    /// Space, in units of 512 bytes.
    pub sectors: i64,
    /// Inodes.
    pub inodes: i64,
}

/// What the operation did so far.
#[derive(Default)]
pub struct Operation {
    steps: Vec<Step>,
    saved: Vec<u8>,
    /// Runs of blocks that it freed.
    freed: Vec<(BlockNr, u32)>,
    /// For tests: fail at the edit after so many more.
    #[cfg(test)]
    pub fail_after: Option<usize>,
}

impl Engine {
    /// Starts an operation. The one before has ended or was rolled back.
    pub fn begin(&mut self) {
        debug_assert!(self.operation.steps.is_empty(), "one operation at a time");
        self.allocator.use_reserve = false;
        self.is_limited = false;
    }

    /// The operation succeeded: all of it is part of the running transaction.
    pub fn end(&mut self) {
        debug_assert!(self.is_within_bounds(), "an operation that changes more than there is room for");
        for step in self.operation.steps.drain(..) {
            if let Step::Forgot { block, .. } = step {
                self.journal.running.revoked.push(block);
            }
        }
        self.operation.saved.clear();
        for (start, count) in self.operation.freed.drain(..) {
            self.allocator.hold(start, count);
            self.journal.running.freed.push((start, count));
        }
    }

    /// The operation failed: nothing of it remains.
    pub fn roll_back(&mut self) {
        while let Some(step) = self.operation.steps.pop() {
            match step {
                Step::Bytes { block, offset, len } => {
                    let from = self.operation.saved.len() - len as usize;
                    if let Some(slot) = self.cache.get(block) {
                        let place = &mut slot.data[offset as usize..(offset + len) as usize];
                        place.copy_from_slice(&self.operation.saved[from..]);
                        // A record that was never used may be anything again.
                        if slot.kind == Kind::InodeTable {
                            slot.verified &= !(1 << (offset as usize / self.geometry.inode_size));
                        }
                    }
                    self.operation.saved.truncate(from);
                }
                Step::Joined(block) => {
                    if let Some(slot) = self.cache.get(block) {
                        slot.running = false;
                        self.journal.running.count -= 1;
                    }
                }
                // Whatever was here belonged to nobody.
                Step::Fresh(block) => self.cache.remove(block),
                Step::Forgot { block, was_running } => {
                    if let Some(slot) = self.cache.get(block) {
                        slot.given_up = false;
                        slot.running = was_running;
                        self.journal.running.count += usize::from(was_running);
                    }
                }
                Step::Counted { group, blocks, inodes } => self.allocator.count(group, -blocks, -inodes),
                Step::MovedOn(group) => self.allocator.next_directory_group = group,
                Step::Charged { ino, uid, gid, sectors, inodes } => {
                    self.usage.charge(ino, uid, gid, -sectors, -inodes);
                }
                Step::Reserved(blocks) => self.allocator.unreserve(blocks),
                Step::Promised { uid, gid, sectors } => self.usage.promise(uid, gid, -sectors),
            }
        }
        self.operation.freed.clear();
        debug_assert!(self.operation.saved.is_empty());
    }

    /// `range` of a block's content, to be changed. What it held is saved, and the block joins the transaction.
    pub fn edit(&mut self, block: BlockNr, kind: Kind, range: Range<usize>) -> Result<&mut [u8], Halt> {
        #[cfg(test)]
        self.fail_for_test()?;
        self.read(block, kind)?;
        self.join(block);
        // `read` found it.
        let Some(slot) = self.cache.get(block) else { return Err(Halt::Need(block, kind)) };
        let place = &mut slot.data[range.clone()];
        self.operation.saved.extend_from_slice(place);
        self.operation.steps.push(Step::Bytes { block, offset: range.start as u32, len: place.len() as u32 });
        Ok(place)
    }

    /// A block that was just allocated, all zeros, to be filled; it is not read from the disk.
    pub fn fresh(&mut self, block: BlockNr, kind: Kind) -> &mut [u8] {
        self.cache.remove(block);
        self.cache.insert_zeros(block, kind);
        self.operation.steps.push(Step::Fresh(block));
        self.join(block);
        match self.cache.get(block) {
            Some(slot) => &mut slot.data,
            None => &mut [],
        }
    }

    /// A metadata block is freed: its content is no longer wanted on the disk. Its space is freed apart from that.
    pub fn forget(&mut self, block: BlockNr) {
        let was_running = match self.cache.get(block) {
            Some(slot) => {
                slot.given_up = true;
                core::mem::take(&mut slot.running)
            }
            None => false,
        };
        self.journal.running.count -= usize::from(was_running);
        self.operation.steps.push(Step::Forgot { block, was_running });
    }

    /// Notes blocks that were freed in the bitmap: they stay nobody's until the transaction is committed.
    pub fn note_freed(&mut self, start: BlockNr, count: u32) {
        self.operation.freed.push((start, count));
    }

    /// Runs that this operation freed: not to be allocated either. Operations that free much allocate little.
    pub fn freed_now(&self) -> &[(BlockNr, u32)] {
        &self.operation.freed
    }

    /// The edit after `edits` more fails, once.
    #[cfg(test)]
    pub fn fail_after(&mut self, edits: Option<usize>) {
        self.operation.fail_after = edits;
    }

    #[cfg(test)]
    fn fail_for_test(&mut self) -> Result<(), Halt> {
        match &mut self.operation.fail_after {
            Some(0) => {
                self.operation.fail_after = None;
                Err(Halt::Fail(keelson_volume::VolumeError::NoSpace))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts free blocks and inodes of a group.
    pub fn count_free(&mut self, group: u32, blocks: i64, inodes: i64) {
        self.allocator.count(group, blocks, inodes);
        self.operation.steps.push(Step::Counted { group, blocks, inodes });
    }

    /// The next directory below the root is to be in this group. An operation that begins anew for a block that it
    /// lacked must come to the same group as before, or it would lack others for ever in a small cache.
    pub fn move_next_directory(&mut self, group: u32) {
        let before = core::mem::replace(&mut self.allocator.next_directory_group, group);
        self.operation.steps.push(Step::MovedOn(before));
    }

    /// Charges an inode's owner and group with space (in units of 512 bytes) and inodes.
    pub fn charge(&mut self, ino: Ino, uid: u32, gid: u32, sectors: i64, inodes: i64) {
        self.usage.charge(ino, uid, gid, sectors, inodes);
        self.operation.steps.push(Step::Charged { ino, uid, gid, sectors, inodes });
    }

    /// Promises blocks to data of an owner and group that is written later.
    ///
    /// # Errors
    ///
    /// [`Halt::Crowded`] when so many are not available.
    pub fn reserve(&mut self, uid: u32, gid: u32, blocks: u64) -> Result<(), Halt> {
        self.allocator.reserve(blocks)?;
        self.operation.steps.push(Step::Reserved(blocks));
        self.promise(uid, gid, self.sectors_of(blocks));
        Ok(())
    }

    /// Notes that space was promised to somebody, or that it is not any more.
    pub fn promise(&mut self, uid: u32, gid: u32, sectors: i64) {
        self.usage.promise(uid, gid, sectors);
        self.operation.steps.push(Step::Promised { uid, gid, sectors });
    }

    /// After the operation, the promise was kept, or nobody needs it any more.
    pub fn release(&mut self, uid: u32, gid: u32, blocks: u64) {
        self.allocator.unreserve(blocks);
        let sectors = self.sectors_of(blocks);
        self.usage.promise(uid, gid, -sectors);
    }

    /// Blocks in units of 512 bytes.
    pub fn sectors_of(&self, blocks: u64) -> i64 {
        i64::try_from(blocks).unwrap_or(i64::MAX).saturating_mul(self.geometry.block_size as i64 / 512)
    }

    /// What the operation gives to whom, all in all. Operations give to few.
    pub fn gifts(&self) -> Vec<(Owner, Gift)> {
        let mut gifts: Vec<(Owner, Gift)> = Vec::new();
        for step in &self.operation.steps {
            let (uid, gid, sectors, inodes) = match *step {
                Step::Charged { uid, gid, sectors, inodes, .. } => (uid, gid, sectors, inodes),
                Step::Promised { uid, gid, sectors } => (uid, gid, sectors, 0),
                _ => continue,
            };
            for owner in [Owner::User(uid), Owner::Group(gid)] {
                let place = match gifts.iter().position(|(known, _)| *known == owner) {
                    Some(place) => place,
                    None => {
                        gifts.push((owner, Gift::default()));
                        gifts.len() - 1
                    }
                };
                let gift = &mut gifts[place].1;
                (gift.sectors, gift.inodes) = (gift.sectors + sectors, gift.inodes + inodes);
            }
        }
        gifts
    }

    /// Whether the operation changed no more than the journal keeps room for.
    fn is_within_bounds(&self) -> bool {
        let count =
            |wanted: fn(&Step) -> bool| self.operation.steps.iter().filter(|step| wanted(step)).count();
        count(|step| matches!(step, Step::Joined(_))) <= OPERATION_BLOCKS
            && count(|step| matches!(step, Step::Forgot { .. })) <= OPERATION_FORGOTTEN
    }

    fn join(&mut self, block: BlockNr) {
        let Some(slot) = self.cache.get(block) else { return };
        if slot.running {
            return;
        }
        slot.running = true;
        // A block that left the transaction and comes back is in the list twice; the commit takes it once.
        self.journal.running.blocks.push(block);
        self.journal.running.count += 1;
        self.operation.steps.push(Step::Joined(block));
    }
}
