//! Blocks: who gets which, and giving them back.

use super::{Engine, bitmap};
use crate::engine::{BlockNr, Kind};
use crate::halt::Halt;
use keelson_volume::VolumeError;

/// Groups that are looked through for a long run, before the best of them must do.
const LOOKS: usize = 8;
/// A run of so many blocks is long enough to stop looking.
const LONG: u32 = 256;
/// Runs from this length on begin at multiples of it where they can, which leaves the odd pieces to small files.
const ALIGNED: u32 = 16;

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
    /// NoSpace, or [`Halt::Crowded`] when a commit may make some. Blocks that are promised or reserved count as none,
    /// unless the operation set `use_reserve`.
    pub fn allocate_blocks(&mut self, goal: BlockNr, want: u32) -> Result<(BlockNr, u32), Halt> {
        let mut want = want.clamp(1, self.geometry.blocks_per_group);
        if !self.allocator.use_reserve {
            want = want.min(u32::try_from(self.allocator.available()).unwrap_or(u32::MAX));
            if want == 0 {
                return Err(self.no_space());
            }
        }
        let (goal_group, goal_bit) = self.geometry.locate_block(goal).unwrap_or((0, 0));
        // What lies at the goal is worth more than length.
        if let Some(run) = self.run_at(goal_group, goal_bit, want)? {
            return self.take_run(goal_group, run);
        }
        let enough = want.min(LONG);
        let mut least = enough.min(self.allocator.group_runs.most());
        // The longest run in a bitmap of those looked at, and whose it is.
        let (mut best, mut looked) = ((0, 0), 0);
        while least > 0 {
            let runs = &self.allocator.group_runs;
            let Some(mut group) = runs.find(goal_group, least).or_else(|| runs.find(0, least)) else {
                // Every search lowered the bound of its group: now shorter ones must do.
                least = (least / 2).max(1).min(runs.most());
                continue;
            };
            let longest = match self.longest_run(group, least) {
                Ok(longest) => longest,
                // Damaged, which was said: the others are not.
                Err(Halt::Fail(_)) if self.allocator.free_of(group).no_blocks => continue,
                Err(halt) => return Err(halt),
            };
            if longest < least {
                self.allocator.note_longest(group, longest);
                best = best.max((longest, group));
                looked += 1;
                if looked < LOOKS || best.0 == 0 {
                    continue;
                }
                (least, group) = best;
                (best, looked) = ((0, 0), 0);
            }
            let start = if group == goal_group { goal_bit } else { 0 };
            let run = self.find_run(group, start, want, least)?;
            if run.len >= least {
                return self.take_run(group, run);
            }
            // Held blocks are in the way.
            self.allocator.note_longest(group, run.len);
        }
        Err(self.no_space())
    }

    /// Allocates a block for metadata.
    ///
    /// # Errors
    ///
    /// As [`Engine::allocate_blocks`].
    pub fn allocate_metadata(&mut self, goal: BlockNr) -> Result<BlockNr, Halt> {
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
            let block = self.block_bitmap(group)?;
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

    /// The run at a place of a group, if that is free.
    fn run_at(&mut self, group: u32, bit: u32, want: u32) -> Result<Option<Run>, Halt> {
        if self.allocator.group_runs.get(group) == 0 {
            return Ok(None);
        }
        let block = match self.block_bitmap(group) {
            Ok(block) => block,
            Err(Halt::Fail(_)) if self.allocator.free_of(group).no_blocks => return Ok(None),
            Err(halt) => return Err(halt),
        };
        let size = self.geometry.group_blocks(group);
        let bits = self.read(block, Kind::BlockBitmap(group))?;
        if bitmap::find(bits, bit, size.min(bit + 1), false).is_none() {
            return Ok(None);
        }
        let limit = size.min(bit + want);
        let end = bitmap::find(bits, bit, limit, true).unwrap_or(limit);
        let base = self.geometry.group_start(group);
        Ok(match self.usable(base, bit, end) {
            Ok(end) => Some(Run { at: bit, len: end - bit }),
            Err(_) => None,
        })
    }

    /// How long the runs of a group's bitmap are, held blocks included; not exact from `enough` on.
    fn longest_run(&mut self, group: u32, enough: u32) -> Result<u32, Halt> {
        let size = self.geometry.group_blocks(group);
        let block = self.block_bitmap(group)?;
        Ok(bitmap::longest_clear(self.read(block, Kind::BlockBitmap(group))?, size, enough))
    }

    /// A run of `least` to `want` free blocks of a group, from `start` on and around; if there is none, the longest one.
    fn find_run(&mut self, group: u32, start: u32, want: u32, least: u32) -> Result<Run, Halt> {
        let size = self.geometry.group_blocks(group);
        let base = self.geometry.group_start(group);
        let block = self.block_bitmap(group)?;
        self.read(block, Kind::BlockBitmap(group))?;
        let Some(slot) = self.cache.peek(block) else { return Ok(Run::default()) };
        let bits = &slot.data;
        let mut best = Run::default();
        // No usable run lies across the start: the block there would have been taken.
        for (from, to) in [(start.min(size), size), (0, start.min(size))] {
            let mut at = from;
            while let Some(free) = bitmap::find(bits, at, to, false) {
                let limit = to.min(free + want);
                let found = bitmap::find(bits, free, limit, true).unwrap_or(limit);
                at = found;
                if found - free <= best.len {
                    continue;
                }
                let end = match self.usable(base, free, found) {
                    Ok(end) => end,
                    Err(until) => {
                        at = until.min(to);
                        continue;
                    }
                };
                at = end;
                if end - free > best.len {
                    best = Run { at: free, len: end - free };
                }
                if best.len >= least {
                    return Ok(self.aligned(bits, base, best, want.min(size), to));
                }
            }
        }
        Ok(best)
    }

    /// The same run, or one behind its start that begins at a multiple and is as long.
    fn aligned(&self, bits: &[u8], base: BlockNr, run: Run, want: u32, to: u32) -> Run {
        // Powers of two up to the length that is enough.
        let step = 1 << run.len.min(LONG).ilog2();
        let at = (base + u64::from(run.at)).next_multiple_of(u64::from(step)) - base;
        let at = at as u32;
        if run.len < want || step < ALIGNED || at == run.at || at + run.len > to {
            return run;
        }
        let end = at + run.len;
        let is_free = bitmap::find(bits, run.at, end, true).is_none();
        match self.usable(base, run.at, end) {
            Ok(until) if is_free && until == end => Run { at, ..run },
            _ => run,
        }
    }

    /// How far a run that is free in the bitmap can be used: held blocks, and those that this operation freed, cannot.
    /// The error says where to go on when the first one cannot.
    fn usable(&self, base: BlockNr, from: u32, to: u32) -> Result<u32, u32> {
        let (start, mut end) = (base + u64::from(from), base + u64::from(to));
        let place = |block: BlockNr| u32::try_from(block - base).unwrap_or(u32::MAX);
        if let Some(until) = self.allocator.held_until(start) {
            return Err(place(until));
        }
        if let Some(held) = self.allocator.next_held(start, end) {
            end = held;
        }
        for &(freed, count) in self.freed_now() {
            let until = freed + u64::from(count);
            if freed <= start && start < until {
                return Err(place(until));
            }
            if (start..end).contains(&freed) {
                end = freed;
            }
        }
        Ok(place(end))
    }

    fn take_run(&mut self, group: u32, run: Run) -> Result<(BlockNr, u32), Halt> {
        let block = self.block_bitmap(group)?;
        self.put_bits(block, Kind::BlockBitmap(group), run.at, run.len, true)?;
        let mut descriptor = self.descriptor(group)?;
        let Some(free) = descriptor.free_blocks.checked_sub(run.len) else {
            return Err(self.damaged(format_args!("group {group} has more free blocks than it says")));
        };
        descriptor.free_blocks = free;
        self.put_descriptor(group, &descriptor)?;
        self.count_free(group, -i64::from(run.len), 0);
        Ok((self.geometry.group_start(group) + u64::from(run.at), run.len))
    }
}
