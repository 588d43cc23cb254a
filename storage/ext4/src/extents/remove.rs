//! Cutting a file short: its extents go from the end.

use super::tree::{Level, Path};
use super::{Extent, init};
use crate::engine::Engine;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use keelson_volume::FileType;

/// Blocks that went through the journal and are freed by one operation, at most about.
const FORGOTTEN: u32 = 256;
/// Most runs that one operation frees: nobody else gets to do anything meanwhile.
const RUNS: usize = 512;

impl Engine {
    /// Frees what the file has from block `from` on, beginning at the end, until about `most_blocks` metadata blocks
    /// were changed by this operation. True when nothing is left to free. The caller writes the inode, and calls again.
    pub fn remove_from(&mut self, inode: &mut Inode, from: u32, most_blocks: usize) -> Result<bool, Halt> {
        let before = self.journal.running.count;
        // What they hold went through the journal, and must not be replayed into whatever comes to be there.
        let is_metadata = matches!(inode.file_type(), Some(FileType::Directory | FileType::Symlink));
        let mut forgotten = 0;
        for step in 0.. {
            let path = self.descend(inode, u32::MAX)?;
            let leaf = path.leaf();
            let Some(at) = leaf.at else { break };
            let extent = self.extent(inode, leaf.block, at)?;
            if extent.end() <= from {
                break;
            }
            let is_much = self.journal.running.count >= before + most_blocks || forgotten >= FORGOTTEN;
            // The first step is always made, so that whoever calls again comes to an end.
            if step > 0 && (step >= RUNS || is_much) {
                return Ok(false);
            }
            let mut kept = self.kept(&extent, from);
            if is_metadata {
                kept = kept.max(extent.len.saturating_sub(FORGOTTEN));
                let blocks = extent.block + u64::from(kept)..extent.block + u64::from(extent.len);
                blocks.for_each(|block| self.forget(block));
                forgotten += extent.len - kept;
            }
            let count = extent.len - kept;
            self.free_blocks(extent.block + u64::from(kept), count)?;
            self.charge_blocks(inode, -i64::from(count));
            if kept > 0 {
                self.put_entry(inode, &path, path.depth, at, Extent { len: kept, ..extent }.encode())?;
            } else {
                self.remove_last(inode, &path)?;
            }
        }
        Ok(true)
    }

    /// Blocks of an extent that stay in this step: it frees those from `from` on that are in the group of the last one.
    /// Groups may be much smaller than an extent, and each has a bitmap to change.
    fn kept(&self, extent: &Extent, from: u32) -> u32 {
        let last = extent.block + u64::from(extent.len) - 1;
        let group = self.geometry.locate_block(last).map_or(0, |(group, _)| group);
        let before = self.geometry.group_start(group).saturating_sub(extent.block) as u32;
        from.saturating_sub(extent.logical).max(before)
    }

    /// Takes the last entry out of its leaf, and nodes that are empty then out of theirs.
    fn remove_last(&mut self, inode: &mut Inode, path: &Path) -> Result<(), Halt> {
        for level in (0..=path.depth).rev() {
            let Level { block, entries, at, .. } = path.level(level);
            self.remove_entry(inode, path, level, at.unwrap_or(0))?;
            if entries > 1 {
                return Ok(());
            }
            match block {
                Some(block) => {
                    self.forget(block);
                    self.free_blocks(block, 1)?;
                    self.charge_blocks(inode, -1);
                }
                None => init(inode),
            }
        }
        Ok(())
    }
}
