//! Blocks: who gets which, and giving them back.

use super::{Engine, bitmap};
use crate::engine::{BlockNr, Kind};
use crate::halt::Halt;
use crate::layout::descriptor::BLOCK_UNINIT;
use keelson_volume::VolumeError;

/// Groups that are looked through for a long run, before the best of them must do.
const LOOKS: usize = 8;
/// A run of so many blocks is long enough to stop looking.
const LONG: u32 = 256;

/// A run of free bits of a group.
#[derive(Clone, Copy, Default)]
struct Run {
    at: u32,
    len: u32,
}

impl Engine {
    /// Allocates a run of 1 to `want` blocks, near `goal`, as long as can be found with little effort.
    ///
    /// # Errors
    ///
    /// NoSpace, or [`Halt::Crowded`] when a commit may make some.
    pub fn allocate_blocks(&mut self, goal: BlockNr, want: u32) -> Result<(BlockNr, u32), Halt> {
        let want = want.clamp(1, self.geometry.blocks_per_group);
        let (goal_group, goal_bit) = self.geometry.locate_block(goal).unwrap_or((0, 0));
        let enough = want.min(LONG);
        let mut best: Option<(u32, Run)> = None;
        let mut looked = 0;
        // First groups that can have enough, then any.
        for least in [enough, 1] {
            for (from, to) in [(goal_group, self.geometry.groups), (0, goal_group)] {
                let mut next = from;
                while let Some(group) =
                    self.allocator.group_blocks.find(next, least).filter(|&group| group < to)
                {
                    next = group + 1;
                    let start = if group == goal_group { goal_bit } else { 0 };
                    let run = self.find_run(group, start, want, enough)?;
                    if run.len > best.map_or(0, |(_, run)| run.len) {
                        best = Some((group, run));
                    }
                    looked += usize::from(run.len > 0);
                    // What lies at the goal is worth more than length.
                    let at_goal = group == goal_group && run.at == goal_bit && run.len > 0;
                    if run.len >= enough || at_goal || (looked >= LOOKS && best.is_some()) {
                        let (group, run) = match best {
                            Some(best) if !at_goal => best,
                            _ => (group, run),
                        };
                        return self.take_run(group, run);
                    }
                }
            }
            if least == 1 || enough == 1 {
                break;
            }
        }
        match best {
            Some((group, run)) => self.take_run(group, run),
            None => Err(self.no_space()),
        }
    }

    /// Allocates a block for metadata.
    ///
    /// # Errors
    ///
    /// As [`Engine::allocate_blocks`]; also when what is left is reserved and the operation may not take that.
    pub fn allocate_metadata(&mut self, goal: BlockNr) -> Result<BlockNr, Halt> {
        if !self.allocator.use_reserve && self.allocator.available() == 0 {
            self.counters.no_space += 1;
            return Err(self.no_space());
        }
        Ok(self.allocate_blocks(goal, 1)?.0)
    }

    /// Gives blocks back. They are held until that is committed.
    pub fn free_blocks(&mut self, start: BlockNr, count: u32) -> Result<(), Halt> {
        if !self.geometry.holds(start, u64::from(count)) || self.allocator.is_system(start, count) {
            return Err(
                self.damaged(format_args!("blocks {start}+{count} belong to nobody who could free them"))
            );
        }
        let (mut at, end) = (start, start + u64::from(count));
        while at < end {
            let Some((group, bit)) = self.geometry.locate_block(at) else {
                return Err(Halt::Fail(VolumeError::Io));
            };
            let here = (end - at).min(u64::from(self.geometry.group_blocks(group) - bit)) as u32;
            let (block, _) = self.block_bitmap(group)?;
            let bits = self.read(block, Kind::BlockBitmap(group))?;
            if bitmap::find(bits, bit, bit + here, false).is_some() {
                return Err(self.damaged(format_args!("blocks {at}+{here} are freed twice")));
            }
            self.put_bits(block, Kind::BlockBitmap(group), bit, here, false)?;
            let mut descriptor = self.descriptor(group)?;
            descriptor.free_blocks += here;
            self.put_descriptor(group, &descriptor)?;
            self.count_free(group, i64::from(here), 0);
            at += u64::from(here);
        }
        self.note_freed(start, count);
        Ok(())
    }

    /// The longest run of free blocks of a group, or the first one that is long enough, from `start` on and around.
    fn find_run(&mut self, group: u32, start: u32, want: u32, enough: u32) -> Result<Run, Halt> {
        let size = self.geometry.group_blocks(group);
        let base = self.geometry.group_start(group);
        let (block, _) = self.block_bitmap(group)?;
        self.read(block, Kind::BlockBitmap(group))?;
        let Some(slot) = self.cache.peek(block) else { return Ok(Run::default()) };
        let bits = &slot.data;
        let mut best = Run::default();
        for (from, to) in [(start.min(size), size), (0, start.min(size))] {
            let mut at = from;
            while let Some(free) = bitmap::find(bits, at, to, false) {
                if let Some(until) = self.allocator.held_until(base + u64::from(free)) {
                    at = (until - base).min(u64::from(to)) as u32;
                    continue;
                }
                let mut end =
                    bitmap::find(bits, free, to.min(free + want), true).unwrap_or(to.min(free + want));
                if let Some(held) = self.allocator.next_held(base + u64::from(free), base + u64::from(end)) {
                    end = (held - base) as u32;
                }
                // What this operation itself freed is not in the held runs yet.
                let len = end - free;
                if self.freed_now(base + u64::from(free), len) {
                    at = free + 1;
                    continue;
                }
                if len > best.len {
                    best = Run { at: free, len };
                }
                if len >= enough || (free == start && from == start) {
                    return Ok(Run { at: free, len });
                }
                at = end;
            }
        }
        Ok(best)
    }

    fn take_run(&mut self, group: u32, run: Run) -> Result<(BlockNr, u32), Halt> {
        let (block, _) = self.block_bitmap(group)?;
        self.put_bits(block, Kind::BlockBitmap(group), run.at, run.len, true)?;
        let mut descriptor = self.descriptor(group)?;
        let Some(free) = descriptor.free_blocks.checked_sub(run.len) else {
            return Err(self.damaged(format_args!("group {group} has more free blocks than it says")));
        };
        descriptor.free_blocks = free;
        self.put_descriptor(group, &descriptor)?;
        self.count_free(group, -i64::from(run.len), 0);
        let start = self.geometry.group_start(group) + u64::from(run.at);
        if self.allocator.is_system(start, run.len) {
            return Err(
                self.damaged(format_args!("blocks {start}+{} are marked as free but in use", run.len))
            );
        }
        Ok((start, run.len))
    }

    /// Changes bits, and saves no more than it must.
    pub(super) fn put_bits(
        &mut self,
        block: BlockNr,
        kind: Kind,
        start: u32,
        count: u32,
        value: bool,
    ) -> Result<(), Halt> {
        let bytes = start as usize / 8..(start + count).div_ceil(8) as usize;
        let bits = self.edit(block, kind, bytes)?;
        bitmap::put(bits, start % 8, count, value);
        Ok(())
    }

    /// The block of a group's bitmap, made if it never was; and whether it was.
    pub(super) fn block_bitmap(&mut self, group: u32) -> Result<(BlockNr, bool), Halt> {
        let mut descriptor = self.descriptor(group)?;
        let block = descriptor.block_bitmap;
        if descriptor.flags & BLOCK_UNINIT == 0 {
            return Ok((block, false));
        }
        let (start, size) = (self.geometry.group_start(group), self.geometry.group_blocks(group));
        let mut bits = alloc::vec![0; self.geometry.block_size];
        for (from, to) in self.allocator.zones.within(start, start + u64::from(size)) {
            bitmap::put(&mut bits, (from - start) as u32, (to - from) as u32, true);
        }
        let all = self.geometry.block_size as u32 * 8;
        bitmap::put(&mut bits, size, all - size, true);
        self.fresh(block, Kind::BlockBitmap(group)).copy_from_slice(&bits);
        descriptor.flags &= !BLOCK_UNINIT;
        self.put_descriptor(group, &descriptor)?;
        Ok((block, true))
    }
}
