//! Writing back: allocate, write, mark as written.

use super::{Data, Piece};
use crate::engine::{BlockNr, Engine, Ino};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::layout::inode::Inode;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;
use keelson_exec::yield_now;
use keelson_volume::VolumeError;

/// Most bytes that one file has on their way at a time.
const AT_ONCE: usize = 8 << 20;
/// Runs written at a time.
const RUNS: usize = 64;
/// Those of them that one operation allocates or marks: each may change a few metadata blocks.
const CHANGES: usize = 6;

impl Data {
    /// Writes back all that is dirty of a file now, and waits until it has arrived or was lost.
    pub async fn write_back(self: &Rc<Data>, ino: Ino) {
        let (wanted, birth) = match self.pages.borrow().file(ino) {
            None => return,
            // What is dirty will be taken by the next round to begin.
            Some(file) if !file.dirty.is_empty() => (file.rounds.0 + 1, file.birth),
            Some(file) => (file.rounds.0, file.birth),
        };
        loop {
            let progress = self.shared.data_progress.notified();
            {
                let pages = self.pages.borrow();
                let Some(file) = pages.file(ino).filter(|file| file.birth == birth) else { return };
                let is_clean = file.dirty.is_empty() && !file.is_flushing;
                if file.rounds.1 >= wanted || is_clean {
                    return;
                }
            }
            self.start_write_back(ino);
            progress.await;
        }
    }

    /// Starts writing back a file, unless it is being written back. True when it was started.
    pub(super) fn start_write_back(self: &Rc<Data>, ino: Ino) -> bool {
        let mut pages = self.pages.borrow_mut();
        let Some(file) = pages.existing(ino).filter(|file| !file.is_flushing && !file.dirty.is_empty())
        else {
            return false;
        };
        file.is_flushing = true;
        drop(pages);
        // A task of its own: whoever waits for it may be gone before the disk is.
        let data = self.clone();
        self.shared.handle.spawn("write-back", async move { data.round(ino).await });
        true
    }

    /// Writes back what is dirty of a file, from its beginning to its end.
    async fn round(&self, ino: Ino) {
        {
            let mut pages = self.pages.borrow_mut();
            let file = pages.file_mut(ino);
            file.rounds.0 += 1;
            file.is_wanted = false;
        }
        let mut at = 0;
        loop {
            let runs = self.next_runs(ino, at);
            let Some(last) = runs.last() else { break };
            at = last.end;
            match self.write_runs(ino, &runs).await {
                Ok(Some(reached)) => at = reached,
                Ok(None) => {}
                Err(error) => self.lose(ino, &runs, error),
            }
            let is_wanted = self.pages.borrow_mut().existing(ino).is_some_and(|file| {
                file.is_writing = false;
                core::mem::take(&mut file.is_wanted)
            });
            self.shared.data_progress.notify();
            if is_wanted {
                // Whoever wants to cut the file has been woken, and is first now.
                yield_now().await;
            }
        }
        let mut pages = self.pages.borrow_mut();
        if let Some(file) = pages.existing(ino) {
            file.is_flushing = false;
            file.rounds.1 = file.rounds.0;
        }
        let now = self.now();
        pages.put_back(ino, now);
        pages.forget_idle(ino);
        drop(pages);
        self.shared.data_progress.notify();
    }

    fn next_runs(&self, ino: Ino, at: u32) -> Vec<Range<u32>> {
        let pages = self.pages.borrow();
        let block_size = self.shared.engine.borrow().geometry.block_size;
        let most = AT_ONCE.min(pages.limit() / 4).min(self.in_flight_limit) / block_size;
        pages.dirty_runs(ino, at, most.max(1) as u32, RUNS)
    }

    /// Writes some runs of dirty blocks. Where it stopped, if that was before the end of them.
    async fn write_runs(&self, ino: Ino, runs: &[Range<u32>]) -> Result<Option<u32>, VolumeError> {
        let block_size = self.shared.engine.borrow().geometry.block_size;
        let blocks: usize = runs.iter().map(|run| run.len()).sum();
        let _flight = self.take_off(blocks * block_size).await;
        let (pieces, reached) = {
            let allocated = self.shared.change(|engine| self.place(engine, ino, runs)).await?;
            let Some(allocated) = allocated else { return Ok(None) };
            allocated
        };
        // From here to the next wait nothing else happens: what is dirty is what was placed.
        let mut used = 0;
        let mut writes: Vec<(BlockNr, Vec<u8>)> = Vec::with_capacity(pieces.len());
        {
            let mut pages = self.pages.borrow_mut();
            for piece in &pieces {
                pages.counters.write_back_runs += 1;
                let mut done = 0;
                while done < piece.count {
                    // As long as requests may be: they take these buffers as they are.
                    let count = self.shared.io.longest().min(piece.count - done);
                    let (logical, block) = (piece.logical + done, piece.block + u64::from(done));
                    let part = Piece { logical, count, block, ..*piece };
                    let (content, reserved) = pages.begin_write(ino, &part);
                    pages.counters.write_back_bytes += content.len() as u64;
                    writes.push((block, content));
                    used += reserved;
                    done += count;
                }
            }
            if let Some(file) = pages.existing(ino) {
                file.is_writing = true;
            }
        }
        self.release(self.payer(ino), used);
        let written = self.shared.io.write(writes).await;
        if let Err(error) = written {
            self.complain(format_args!(
                "writing inode {ino}: {error}; clients are told to send it again (name it with: debugfs -R 'ncheck \
                 {ino}' DEVICE; check the disk)"
            ));
        }
        let marked = match written {
            Err(_) => Err(VolumeError::Io),
            Ok(()) if pieces.iter().any(|piece| piece.unwritten) => {
                self.shared.change(|engine| mark(engine, ino, &pieces)).await
            }
            Ok(()) => Ok(()),
        };
        let mut pages = self.pages.borrow_mut();
        for piece in &pieces {
            pages.end_write(ino, piece, marked.is_ok());
        }
        if let Some(file) = pages.existing(ino) {
            file.needs_flush = true;
        }
        drop(pages);
        if let Err(error) = marked {
            self.note_loss(ino, error);
        }
        Ok(reached)
    }

    /// Operation: gives every block in `runs` a place. Also how far it came, if not to the end.
    #[allow(clippy::type_complexity)]
    fn place(
        &self,
        engine: &mut Engine,
        ino: Ino,
        runs: &[Range<u32>],
    ) -> Result<Option<(Vec<Piece>, Option<u32>)>, Halt> {
        let pages = self.pages.borrow();
        // Gone, or cut, since the runs were looked up?
        let Some(file) = pages.file(ino) else { return Ok(None) };
        // The blocks were promised, and their extents must have a place too.
        engine.allocator.use_reserve = true;
        let mut inode = engine.inode(ino)?;
        let (mut pieces, mut changes, mut is_changed) = (Vec::new(), 0, false);
        for run in runs {
            let mut start = run.start;
            while let Some(dirty) = file.run(start..run.end, pages.per_chunk(), |chunk| chunk.dirty, true) {
                start = dirty.end;
                let mut at = dirty.start;
                while at < dirty.end {
                    if pieces.len() >= RUNS || changes >= CHANGES {
                        if is_changed {
                            engine.put_inode(&inode)?;
                        }
                        return Ok(Some((pieces, Some(at))));
                    }
                    let left = dirty.end - at;
                    let (block, count, unwritten) = match engine.map(&inode, at)? {
                        Mapping::Written { block, len } => (block, len.clamp(1, left), false),
                        Mapping::Unwritten { block, len } => (block, len.clamp(1, left), true),
                        Mapping::Hole(len) => {
                            let goal = self.goal(engine, &inode, at)?;
                            let (block, count) = engine.allocate_blocks(goal, len.clamp(1, left))?;
                            engine.insert_extent(&mut inode, at, block, count, true)?;
                            is_changed = true;
                            self.last_place.set(block + u64::from(count));
                            (block, count, true)
                        }
                    };
                    pieces.push(Piece { logical: at, count, block, unwritten });
                    changes += usize::from(unwritten);
                    at += count;
                }
            }
        }
        if is_changed {
            engine.put_inode(&inode)?;
        }
        Ok(Some((pieces, None)))
    }

    /// Where a block of a file should best be: behind the one before it, or behind what was allocated last in the
    /// group of the file.
    fn goal(&self, engine: &mut Engine, inode: &Inode, logical: u32) -> Result<BlockNr, Halt> {
        let goal = engine.goal(inode, logical)?;
        let last = self.last_place.get();
        let group = |block| engine.geometry.locate_block(block);
        match (group(goal), group(last)) {
            // The start of a group says that the file has nothing to be near to.
            (Some((own, 0)), Some((other, _))) if own == other => Ok(last),
            _ => Ok(goal),
        }
    }

    /// Dirty blocks could not even be placed: they are lost.
    fn lose(&self, ino: Ino, runs: &[Range<u32>], error: VolumeError) {
        let mut pages = self.pages.borrow_mut();
        let (payer, mut unreserved) = (pages.file(ino).map_or((0, 0), |file| file.payer), 0);
        for run in runs {
            let piece = Piece { logical: run.start, count: run.end - run.start, block: 0, unwritten: false };
            unreserved += pages.abandon(ino, &piece);
        }
        drop(pages);
        self.release(payer, unreserved);
        self.note_loss(ino, error);
    }

    fn note_loss(&self, ino: Ino, error: VolumeError) {
        self.complain(format_args!("data of inode {ino} was lost: {error}"));
        self.losses.set(self.losses.get().wrapping_add(1));
        let mut pages = self.pages.borrow_mut();
        pages.counters.write_errors += 1;
        if let Some(file) = pages.existing(ino) {
            file.is_lost = true;
        }
    }

    /// The device could not make safe what it was given: clients must send again what they did not see committed.
    pub fn note_failed_flush(&self) {
        self.losses.set(self.losses.get().wrapping_add(1));
    }

    /// Whether data of a file was lost that nobody was told of; tells it once.
    pub fn take_loss(&self, ino: Ino) -> bool {
        let mut pages = self.pages.borrow_mut();
        let lost = pages.existing(ino).is_some_and(|file| core::mem::take(&mut file.is_lost));
        pages.forget_idle(ino);
        lost
    }

    /// Whether data of a file is in the device that no flush made safe, as far as is known; asked once.
    pub fn take_needs_flush(&self, ino: Ino) -> bool {
        let mut pages = self.pages.borrow_mut();
        let needs = pages.existing(ino).is_some_and(|file| core::mem::take(&mut file.needs_flush));
        pages.forget_idle(ino);
        needs
    }

    /// It could not be made safe.
    pub fn put_needs_flush(&self, ino: Ino) {
        if let Some(file) = self.pages.borrow_mut().existing(ino) {
            file.needs_flush = true;
        }
    }
}

/// Operation: what was written is the file's content from now on.
fn mark(engine: &mut Engine, ino: Ino, pieces: &[Piece]) -> Result<(), Halt> {
    engine.allocator.use_reserve = true;
    let mut inode = engine.inode(ino)?;
    for piece in pieces.iter().filter(|piece| piece.unwritten) {
        let is_there = matches!(
            engine.map(&inode, piece.logical)?,
            Mapping::Unwritten { block, len } if block == piece.block && len >= piece.count
        );
        if !is_there {
            // Nobody takes blocks away while they are being written.
            let what = format_args!("inode {ino} lost blocks {}+{}", piece.block, piece.count);
            return Err(engine.damaged(what));
        }
        engine.mark_written(&mut inode, piece.logical, piece.count)?;
    }
    engine.put_inode(&inode)
}
