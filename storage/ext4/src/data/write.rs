//! Writing into memory: what an operation must know before it lets data in.

use super::{Data, Piece};
use crate::engine::{Engine, Ino};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_volume::VolumeError;

impl Data {
    /// A block that must be in memory before bytes are written: one that is written in part and has other content, or
    /// the last one of a file that will go on behind it, whose rest may not be zero on the disk.
    pub fn needed(
        &self,
        engine: &mut Engine,
        inode: &Inode,
        bytes: Range<u64>,
    ) -> Result<Option<Piece>, Halt> {
        let size = engine.geometry.block_size as u64;
        let tail = (bytes.start > inode.size && !inode.size.is_multiple_of(size)).then(|| inode.size / size);
        let is_partial = |block: &u64| {
            let content = block * size..inode.size.min((block + 1) * size);
            content.start < content.end && (content.start < bytes.start || bytes.end < content.end)
        };
        let edges = [bytes.start / size, bytes.end.saturating_sub(1) / size];
        for block in edges.into_iter().filter(is_partial).chain(tail) {
            let logical = block as u32;
            if !self.pages.borrow().is_valid(inode.ino, logical)
                && let Mapping::Written { block, .. } = engine.map(inode, logical)?
            {
                return Ok(Some(Piece { logical, count: 1, block, unwritten: false }));
            }
        }
        Ok(None)
    }

    /// The block that will be the last of a file that is to be cut, unless it is in memory or needs not be.
    pub fn needed_to_cut(
        &self,
        engine: &mut Engine,
        inode: &Inode,
        size: u64,
    ) -> Result<Option<Piece>, Halt> {
        let block_size = engine.geometry.block_size as u64;
        let logical = (size / block_size) as u32;
        if size.is_multiple_of(block_size) || self.pages.borrow().is_valid(inode.ino, logical) {
            return Ok(None);
        }
        Ok(match engine.map(inode, logical)? {
            Mapping::Written { block, .. } => Some(Piece { logical, count: 1, block, unwritten: false }),
            _ => None,
        })
    }

    /// Reserved blocks of a file behind byte `size`.
    pub fn reserved_behind(&self, ino: Ino, size: u64) -> u64 {
        let pages = self.pages.borrow();
        let from = pages.blocks_of(0..size).end;
        pages.reserved_from(ino, from)
    }

    /// Brings a block into memory for an operation that needs it.
    pub async fn load(&self, inode: &Inode, piece: Piece) -> Result<(), VolumeError> {
        self.fetch(inode, [piece].into()).await
    }

    /// Blocks in a range that have neither space nor a reservation, and how many they are.
    pub fn homeless(
        &self,
        engine: &mut Engine,
        inode: &Inode,
        bytes: Range<u64>,
    ) -> Result<(Vec<Range<u32>>, u64), Halt> {
        let pages = self.pages.borrow();
        let all = pages.blocks_of(bytes);
        let (mut homeless, mut count, mut at) = (Vec::new(), 0, all.start);
        while let Some(run) = pages.next_homeless(inode.ino, at..all.end) {
            at = run.start;
            while at < run.end {
                let left = run.end - at;
                match engine.map(inode, at)? {
                    Mapping::Hole(len) => {
                        let len = len.clamp(1, left);
                        homeless.push(at..at + len);
                        count += u64::from(len);
                        at += len;
                    }
                    Mapping::Written { len, .. } | Mapping::Unwritten { len, .. } => at += len.clamp(1, left),
                }
            }
        }
        Ok((homeless, count))
    }

    /// Takes what was written: right after the operation that let it in, which found the file `size` long, and its
    /// user and group to be `payer`.
    pub fn write(
        &self,
        ino: Ino,
        payer: (u32, u32),
        size: u64,
        offset: u64,
        data: &[u8],
        homeless: &[Range<u32>],
    ) {
        let now = self.now();
        let mut pages = self.pages.borrow_mut();
        pages.file_mut(ino).payer = payer;
        if offset > size {
            pages.zero_rest(ino, size, now);
        }
        pages.write(ino, offset, data, homeless, now);
        pages.counters.writes += 1;
        pages.counters.written_bytes += data.len() as u64;
        if pages.unwritten_bytes() > pages.limit() / 4 {
            self.work.notify();
        }
    }

    /// The file grew to more than its `size` without being written.
    pub fn grow(&self, ino: Ino, size: u64) {
        self.pages.borrow_mut().zero_rest(ino, size, self.now());
    }

    /// Waits while too much of the cache is not on the disk yet.
    pub async fn back_pressure(&self) {
        loop {
            let progress = self.shared.data_progress.notified();
            {
                let mut pages = self.pages.borrow_mut();
                if pages.unwritten_bytes() <= pages.limit() / 2 {
                    return;
                }
                pages.counters.held_up += 1;
            }
            self.work.notify();
            progress.await;
        }
    }
}
