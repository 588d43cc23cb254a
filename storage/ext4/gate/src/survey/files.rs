//! Inodes and the blocks that they lead to.

use super::{Owner, Part, Survey, Target};
use crate::disk::Pages;
use keelson_ext4::layout::bytes::{u16_at, u32_at};
use keelson_ext4::layout::inode::Inode;

/// `i_flags`: the map is an extent tree.
const EXTENTS: u32 = 0x8_0000;
/// `i_flags`: the directory has a hash tree.
const INDEXED: u32 = 0x1000;
/// Magic number of extent nodes.
const EXTENT_MAGIC: u16 = 0xf30a;
/// Blocks of a file that are listed.
const MOST_BLOCKS: usize = 100_000;

impl Survey {
    /// Notes an inode and what it leads to.
    pub(super) fn file(&mut self, pages: &Pages, ino: u32) {
        let Some(target) = self.inode_target(pages, ino) else { return };
        let raw = pages.bytes(target.position, target.length);
        if raw.iter().all(|&byte| byte == 0) {
            return;
        }
        self.targets.push(target);
        let inode = Inode::decode(&raw, ino, &self.geometry);
        if inode.links == 0 && ino >= self.geometry.first_inode {
            return;
        }
        let owner = Owner { ino, generation: inode.generation };
        if inode.attributes != 0 {
            self.block(Part::Attributes, inode.attributes);
        }
        let fast_link = inode.mode & 0xf000 == 0xa000 && inode.size < 60;
        if inode.flags & EXTENTS == 0 || fast_link {
            return;
        }
        let mut blocks = Vec::new();
        self.extents(pages, &inode.map, owner, 5, &mut blocks);
        if ino == self.geometry.journal_inode {
            self.journal = blocks;
        } else if inode.is_directory() {
            self.directory(pages, owner, inode.flags & INDEXED != 0, &blocks);
        }
    }

    fn block(&mut self, part: Part, block: u64) {
        let length = self.geometry.block_size;
        let position = block * length as u64;
        self.targets.push(Target { part, position, length });
    }

    /// Lists the blocks of a file in order, and notes the nodes of its tree.
    fn extents(&mut self, pages: &Pages, node: &[u8], owner: Owner, depth: u16, blocks: &mut Vec<u64>) {
        if u16_at(node, 0) != EXTENT_MAGIC || u16_at(node, 6) > depth {
            return;
        }
        let entries = usize::from(u16_at(node, 2)).min(node.len() / 12 - 1);
        for entry in 1..=entries {
            let at = entry * 12;
            if u16_at(node, 6) == 0 {
                let length = u16_at(node, at + 4);
                let length = if length > 0x8000 { length - 0x8000 } else { length };
                let start = u64::from(u32_at(node, at + 8)) | u64::from(u16_at(node, at + 6)) << 32;
                blocks.extend((start..start + u64::from(length)).take(MOST_BLOCKS - blocks.len()));
            } else {
                let child = u64::from(u32_at(node, at + 4)) | u64::from(u16_at(node, at + 8)) << 32;
                self.block(Part::Extents(owner), child);
                let size = self.geometry.block_size;
                let raw = pages.bytes(child * size as u64, size);
                self.extents(pages, &raw, owner, u16_at(node, 6) - 1, blocks);
            }
        }
    }

    fn directory(&mut self, pages: &Pages, owner: Owner, indexed: bool, blocks: &[u64]) {
        let size = self.geometry.block_size;
        for (number, &block) in blocks.iter().enumerate() {
            let raw = pages.bytes(block * size as u64, size);
            // A node of the index begins with one empty entry as long as the block.
            let node = u32_at(&raw, 0) == 0 && usize::from(u16_at(&raw, 4)) == size;
            let index = indexed && (number == 0 || node);
            self.block(if index { Part::Index(owner) } else { Part::Names(owner) }, block);
        }
    }
}
