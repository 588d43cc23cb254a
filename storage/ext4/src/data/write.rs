//! Writing into memory: what an operation must know before it lets data in.

use super::{Data, Piece};
use crate::engine::{Engine, Ino};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_volume::VolumeError;

impl Data {
    /// A block that must be in memory before bytes are written: one that is written in part and has other content, or
    /// the last one of a file, whose rest may not be zero on the disk. For a file that grows it must be zero there, too:
    /// its new size may be committed, and the power cut, before the block is written.
    pub fn needed(
        &self,
        engine: &mut Engine,
        inode: &Inode,
        bytes: Range<u64>,
    ) -> Result<Option<Piece>, Halt> {
        let size = engine.geometry.block_size as u64;
        let last = (!inode.size.is_multiple_of(size)).then_some(inode.size / size);
        let growing = last.filter(|_| bytes.end > inode.size);
        let is_partial = |block: &u64| {
            let content = block * size..inode.size.min((block + 1) * size);
            let is_whole = bytes.start <= content.start && content.end <= bytes.end;
            content.start < content.end && (!is_whole || Some(*block) == last)
        };
        let edges = [bytes.start / size, bytes.end.saturating_sub(1) / size];
        for block in edges.into_iter().filter(is_partial).chain(growing) {
            let logical = block as u32;
            let is_ready = {
                let pages = self.pages.borrow();
                let must_be_clean = Some(block) == growing;
                pages.is_valid(inode.ino, logical) && !(must_be_clean && pages.is_soiled(inode.ino, logical))
            };
            if !is_ready && let Mapping::Written { block, .. } = engine.map(inode, logical)? {
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

    /// Brings a block into memory for an operation that [needed](Data::needed) it there. If it is there and the disk has
    /// something else than zeros behind the file's end, it is written.
    pub async fn load(self: &Rc<Data>, inode: &Inode, piece: Piece) -> Result<(), VolumeError> {
        let (ino, block) = (inode.ino, piece.logical);
        if !self.pages.borrow().is_valid(ino, block) {
            return self.fetch(inode, [piece].into()).await;
        }
        if !self.pages.borrow().is_soiled(ino, block) {
            // Somebody else has brought it meanwhile, or written it.
            return Ok(());
        }
        self.pages.borrow_mut().touch(ino, block, self.now());
        self.write_back(ino).await;
        let pages = self.pages.borrow();
        // What could not be written is not in memory any more.
        if pages.is_soiled(ino, block) && !pages.is_valid(ino, block) { Err(VolumeError::Io) } else { Ok(()) }
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
