//! Reading: from memory, else in large requests, and ahead of those who read on.

use super::{Data, Piece};
use crate::engine::{Engine, Ino};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::io::IoError;
use crate::layout::inode::Inode;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::ops::Range;
use core::pin::Pin;
use core::task::Poll;
use keelson_volume::VolumeError;

/// Bytes that are brought into memory at once for one call; the least cache holds a few of them.
const AT_ONCE: usize = 512 << 10;
/// Times a read starts anew because what it brought was old, or dropped, when it came.
const ROUNDS: usize = 1000;
/// Read ahead of who starts at the beginning, or goes on where it stopped; doubled as long as it goes on.
const LEAST_WINDOW: u64 = 128 << 10;
/// Most that is read ahead.
const LARGEST_WINDOW: u64 = 2 << 20;
/// Requests of one reader that overtook each other still are in sequence.
const DISORDER: u64 = 1 << 20;

/// What a read found out.
enum Plan {
    /// All is in memory, and was copied.
    Done(usize),
    /// These blocks must be read; none: others are reading them.
    Fetch(Inode, Vec<Piece>),
}

/// Reads of a file that are under way.
struct Loading<'a> {
    data: &'a Data,
    ino: Ino,
    tickets: Vec<u64>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut pages = self.data.pages.borrow_mut();
        self.tickets.iter().for_each(|&ticket| pages.end_load(self.ino, ticket));
        drop(pages);
        self.data.loaded.notify();
    }
}

impl Data {
    /// Reads from `offset` on. `find` gives the inode, or refuses it.
    pub async fn read(
        self: &Rc<Data>,
        offset: u64,
        buffer: &mut [u8],
        find: impl Fn(&mut Engine) -> Result<Inode, Halt>,
    ) -> Result<usize, VolumeError> {
        let mut done = 0;
        while done < buffer.len() {
            let count = AT_ONCE.min(buffer.len() - done);
            let piece = &mut buffer[done..done + count];
            let got = self.read_piece(offset.saturating_add(done as u64), piece, &find).await?;
            done += got;
            if got < count {
                break;
            }
        }
        Ok(done)
    }

    async fn read_piece(
        self: &Rc<Data>,
        offset: u64,
        buffer: &mut [u8],
        find: &impl Fn(&mut Engine) -> Result<Inode, Halt>,
    ) -> Result<usize, VolumeError> {
        for round in 0..ROUNDS {
            let loaded = self.loaded.notified();
            let plan = self.shared.look(|engine| {
                let inode = find(engine)?;
                let end = inode.size.min(offset.saturating_add(buffer.len() as u64));
                if offset >= end {
                    return Ok(Plan::Done(0));
                }
                let (missing, is_complete) = self.missing(engine, &inode, offset..end)?;
                if !is_complete {
                    return Ok(Plan::Fetch(inode, missing));
                }
                let count = (end - offset) as usize;
                self.pages.borrow_mut().copy(inode.ino, offset, &mut buffer[..count]);
                if round == 0 {
                    self.pages.borrow_mut().counters.hits += 1;
                    self.follow(&inode, offset..end);
                }
                self.pages.borrow_mut().forget_idle(inode.ino);
                Ok(Plan::Done(count))
            });
            match plan.await? {
                Plan::Done(count) => return Ok(count),
                Plan::Fetch(inode, pieces) => {
                    if round == 0 {
                        self.pages.borrow_mut().counters.misses += 1;
                        self.follow(&inode, offset..inode.size.min(offset + buffer.len() as u64));
                    }
                    if pieces.is_empty() {
                        loaded.await;
                    } else {
                        self.fetch(&inode, pieces).await?;
                    }
                }
            }
        }
        Err(VolumeError::TryLater)
    }

    /// Blocks of a range that must be read from the disk and that nobody is reading yet, and whether there are no
    /// others that are not in memory. Holes are not in memory and need not be.
    fn missing(
        &self,
        engine: &mut Engine,
        inode: &Inode,
        bytes: Range<u64>,
    ) -> Result<(Vec<Piece>, bool), Halt> {
        let pages = self.pages.borrow();
        let all = pages.blocks_of(bytes);
        let (mut pieces, mut is_complete, mut at) = (Vec::new(), true, all.start);
        while let Some(run) = pages.next_missing(inode.ino, at..all.end) {
            at = run.start;
            while at < run.end {
                let left = run.end - at;
                match engine.map(inode, at)? {
                    Mapping::Hole(len) | Mapping::Unwritten { len, .. } => at += len.clamp(1, left),
                    Mapping::Written { block, len } => {
                        let count = len.clamp(1, left);
                        is_complete = false;
                        let loads = pages.file(inode.ino).map_or(&[][..], |file| &file.loads);
                        let overlaps = |load: &&super::file::Load| {
                            !load.spoiled && load.blocks.start < at + count && at < load.blocks.end
                        };
                        match loads.iter().find(overlaps) {
                            // Up to where somebody else reads, or past that.
                            Some(load) if load.blocks.start > at => {
                                let count = load.blocks.start - at;
                                pieces.push(Piece { logical: at, count, block, unwritten: false });
                                at = load.blocks.end.min(run.end);
                            }
                            Some(load) => at = load.blocks.end.min(at + count),
                            None => {
                                pieces.push(Piece { logical: at, count, block, unwritten: false });
                                at += count;
                            }
                        }
                    }
                }
            }
        }
        Ok((pieces, is_complete))
    }

    /// Reads pieces of a file into memory, all at the same time.
    pub(super) async fn fetch(&self, inode: &Inode, pieces: Vec<Piece>) -> Result<(), VolumeError> {
        let ino = inode.ino;
        let block_size = self.shared.engine.borrow().geometry.block_size;
        let mut loading = Loading { data: self, ino, tickets: Vec::with_capacity(pieces.len()) };
        for piece in &pieces {
            let blocks = piece.logical..piece.logical + piece.count;
            loading.tickets.push(self.pages.borrow_mut().begin_load(ino, blocks));
        }
        // Only now: what happens to the file while this waits spoils the loads.
        let blocks: usize = pieces.iter().map(|piece| piece.count as usize).sum();
        let _flight = self.take_off(blocks * block_size).await;
        let reads = pieces.iter().zip(&loading.tickets).map(|(piece, &ticket)| async move {
            let mut content = self.shared.io.read(piece.block, piece.count as usize).await?;
            // What lies behind the end in the last block is nobody's business.
            let inside = inode.size.saturating_sub(u64::from(piece.logical) * block_size as u64);
            let inside = usize::try_from(inside).unwrap_or(usize::MAX);
            let mut soiled = None;
            if let Some(behind) = content.get_mut(inside..) {
                let rest = inside.next_multiple_of(block_size) - inside;
                let is_soiled = behind.iter().take(rest).any(|&byte| byte != 0);
                soiled = is_soiled.then_some(piece.logical + (inside / block_size) as u32);
                behind.fill(0);
            }
            let mut pages = self.pages.borrow_mut();
            pages.fill(ino, ticket, piece.logical, &content);
            if let Some(file) = pages.existing(ino) {
                file.soiled = soiled.or(file.soiled);
            }
            Ok(())
        });
        let result = all(reads).await;
        result.map_err(|error: IoError| {
            self.pages.borrow_mut().counters.read_errors += 1;
            self.complain(format_args!(
                "reading inode {ino}: {error}; this part of it cannot be read, all else can (name it with: debugfs -R \
                 'ncheck {ino}' DEVICE; check the disk, restore the file)"
            ));
            VolumeError::Io
        })
    }

    /// Notes what was read, and reads ahead of a reader that goes on.
    fn follow(self: &Rc<Data>, inode: &Inode, bytes: Range<u64>) {
        let mut pages = self.pages.borrow_mut();
        let limit = pages.limit() as u64 / 4;
        // A file that fits into one read needs no more.
        if bytes.end >= inode.size && bytes.start == 0 {
            return;
        }
        let file = pages.file_mut(inode.ino);
        let goes_on = bytes.start <= file.next_read + DISORDER && bytes.start + DISORDER >= file.next_read;
        if !goes_on {
            (file.window, file.next_read, file.ahead) = (0, bytes.end, bytes.end);
            return;
        }
        file.next_read = file.next_read.max(bytes.end);
        if file.ahead >= file.next_read + file.window / 2 && file.window > 0 {
            return;
        }
        file.window = (file.window * 2).clamp(LEAST_WINDOW, LARGEST_WINDOW).min(limit);
        let start = file.ahead.max(file.next_read);
        let end = (file.next_read + file.window).min(inode.size);
        if start >= end {
            return;
        }
        file.ahead = end;
        pages.counters.read_aheads += 1;
        pages.counters.read_ahead_bytes += end - start;
        drop(pages);
        let (data, ino, generation) = (self.clone(), inode.ino, inode.generation);
        self.shared.handle.spawn("read-ahead", async move {
            // Nobody waits for this; whoever comes to these blocks sees the error.
            let _ = data.read_ahead(ino, generation, start..end).await;
        });
    }

    async fn read_ahead(&self, ino: Ino, generation: u32, bytes: Range<u64>) -> Result<(), VolumeError> {
        let plan = self.shared.look(|engine| {
            let inode = engine.inode(ino)?;
            let end = bytes.end.min(inode.size);
            // The reader may have been faster.
            let reached = self.pages.borrow().file(ino).map_or(u64::MAX, |file| file.next_read);
            let start = bytes.start.max(reached);
            if inode.generation != generation || inode.links == 0 || start >= end {
                return Ok(None);
            }
            let (pieces, _) = self.missing(engine, &inode, start..end)?;
            Ok(Some((inode, pieces)))
        });
        match plan.await? {
            Some((inode, pieces)) if !pieces.is_empty() => self.fetch(&inode, pieces).await,
            _ => Ok(()),
        }
    }
}

/// Runs futures to their ends together; the first error.
async fn all<E>(futures: impl Iterator<Item = impl Future<Output = Result<(), E>>>) -> Result<(), E> {
    let mut running: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    let mut result = Ok(());
    poll_fn(|cx| {
        running.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                if result.is_ok() {
                    result = Err(error);
                }
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    result
}
