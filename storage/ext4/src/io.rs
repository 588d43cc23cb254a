//! Blocks to and from the device: large requests, many in flight.

use crate::engine::BlockNr;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use keelson_hal::{BlockCompletion, BlockDevice, BlockError, BlockOp, BlockRequest, SECTOR_SIZE, Ticket};

/// Longest request, if the device takes it: longer ones gain nothing and hold their buffers longer.
const LONGEST: usize = 1 << 20;

/// What went to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Read requests.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Write requests.
    pub writes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// Why a request failed, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// Why.
    pub error: BlockError,
    /// First and last sector of the request. None of a flush.
    pub sectors: Option<(u64, u64)>,
}

impl From<BlockError> for IoError {
    fn from(error: BlockError) -> IoError {
        IoError { error, sectors: None }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sectors {
            Some((first, last)) => write!(f, "{} in sectors {first} to {last}", self.error),
            None => self.error.fmt(f),
        }
    }
}

/// The device, in blocks of the filesystem.
pub struct Io {
    device: Rc<dyn BlockDevice>,
    block_size: usize,
    /// Blocks of the longest request.
    longest: usize,
    has_cache: bool,
    writes_through: bool,
    counters: Cell<IoCounters>,
}

/// Requests under way. Dropped, the device finishes them and nobody learns how they ended.
struct Flight<'a> {
    device: &'a dyn BlockDevice,
    /// With the sectors that they are about.
    tickets: VecDeque<(Ticket, Option<(u64, u64)>)>,
}

impl Io {
    /// A device with blocks of `block_size` bytes.
    pub fn new(device: Rc<dyn BlockDevice>, block_size: usize) -> Io {
        let geometry = device.geometry();
        Io {
            longest: (geometry.max_transfer.min(LONGEST) / block_size).max(1),
            has_cache: geometry.write_cache,
            writes_through: geometry.write_through && geometry.write_cache,
            block_size,
            device,
            counters: Cell::default(),
        }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// Blocks of the longest request.
    pub fn longest(&self) -> u32 {
        u32::try_from(self.longest).unwrap_or(u32::MAX)
    }

    /// What went to the device.
    pub fn counters(&self) -> IoCounters {
        self.counters.get()
    }

    /// Reads `count` blocks, one or more.
    pub async fn read(&self, block: BlockNr, count: usize) -> Result<Vec<u8>, IoError> {
        if count <= self.longest {
            return self.read_piece(block, count).await;
        }
        let mut whole = Vec::with_capacity(count * self.block_size);
        let mut flight = Flight { device: &*self.device, tickets: VecDeque::new() };
        let mut asked = 0;
        while asked < count || !flight.tickets.is_empty() {
            if asked < count {
                let piece = self.longest.min(count - asked);
                let buffer = vec![0; piece * self.block_size];
                let request = self.request(BlockOp::Read, block + asked as u64, buffer);
                match flight.submit(request) {
                    Ok(()) => {
                        asked += piece;
                        continue;
                    }
                    Err(_) if flight.tickets.is_empty() => {
                        self.room().await;
                        continue;
                    }
                    // What of ours is done and not collected takes room too.
                    Err(_) => {}
                }
            }
            let (result, buffer) = flight.next().await;
            self.count(|counters| counters.failed += u64::from(result.is_err()));
            result?;
            self.count_read(buffer.len());
            whole.extend_from_slice(&buffer);
        }
        Ok(whole)
    }

    async fn read_piece(&self, block: BlockNr, count: usize) -> Result<Vec<u8>, IoError> {
        let mut flight = Flight { device: &*self.device, tickets: VecDeque::new() };
        let mut request = self.request(BlockOp::Read, block, vec![0; count * self.block_size]);
        loop {
            match flight.submit(request) {
                Ok(()) => break,
                Err(back) => request = back,
            }
            self.room().await;
        }
        let (result, buffer) = flight.next().await;
        self.count(|counters| counters.failed += u64::from(result.is_err()));
        result?;
        self.count_read(buffer.len());
        Ok(buffer)
    }

    /// Writes runs of blocks, in any order; neighbours go together. Ends when all of it has ended, also after an error,
    /// of which the first is returned.
    pub async fn write(&self, runs: Vec<(BlockNr, Vec<u8>)>) -> Result<(), IoError> {
        self.write_as(BlockOp::Write, runs).await
    }

    async fn write_as(&self, op: BlockOp, runs: Vec<(BlockNr, Vec<u8>)>) -> Result<(), IoError> {
        let mut flight = Flight { device: &*self.device, tickets: VecDeque::new() };
        let mut result = Ok(());
        for (block, buffer) in self.join(runs) {
            self.count(|counters| {
                counters.writes += 1;
                counters.write_bytes += buffer.len() as u64;
            });
            let mut request = self.request(op, block, buffer);
            loop {
                match flight.submit(request) {
                    Ok(()) => break,
                    Err(back) => request = back,
                }
                // What of ours is done and not collected takes room too.
                match flight.tickets.is_empty() {
                    true => self.room().await,
                    false => result = result.and(flight.next().await.0),
                }
            }
        }
        while !flight.tickets.is_empty() {
            result = result.and(flight.next().await.0);
        }
        self.count(|counters| counters.failed += u64::from(result.is_err()));
        result
    }

    /// Writes a run of blocks that is safe when this returns.
    pub async fn write_through(&self, run: (BlockNr, Vec<u8>)) -> Result<(), IoError> {
        if !self.writes_through {
            self.write([run].into()).await?;
            return self.flush().await;
        }
        self.write_as(BlockOp::WriteThrough, [run].into()).await
    }

    /// Makes every write that has ended safe from a power cut.
    pub async fn flush(&self) -> Result<(), IoError> {
        self.count(|counters| counters.flushes += 1);
        if !self.has_cache {
            return Ok(());
        }
        let mut flight = Flight { device: &*self.device, tickets: VecDeque::new() };
        let mut request = BlockRequest { op: BlockOp::Flush, sector: 0, buffer: Vec::new() };
        loop {
            match flight.submit(request) {
                Ok(()) => break,
                Err(back) => request = back,
            }
            self.room().await;
        }
        let result = flight.next().await.0;
        self.count(|counters| counters.failed += u64::from(result.is_err()));
        result
    }

    /// Neighbours together, nothing longer than the device takes.
    fn join(&self, runs: Vec<(BlockNr, Vec<u8>)>) -> Vec<(BlockNr, Vec<u8>)> {
        let most = self.longest * self.block_size;
        let mut joined: Vec<(BlockNr, Vec<u8>)> = Vec::with_capacity(runs.len());
        for (block, buffer) in runs {
            if let Some((start, before)) = joined.last_mut()
                && *start + (before.len() / self.block_size) as u64 == block
                && before.len() + buffer.len() <= most
            {
                before.extend_from_slice(&buffer);
            } else if buffer.len() <= most {
                joined.push((block, buffer));
            } else {
                for (index, piece) in buffer.chunks(most).enumerate() {
                    joined.push((block + (index * self.longest) as u64, piece.to_vec()));
                }
            }
        }
        joined
    }

    fn request(&self, op: BlockOp, block: BlockNr, buffer: Vec<u8>) -> BlockRequest {
        // A block beyond the device becomes a sector beyond it, which the device refuses.
        let sector = block.saturating_mul((self.block_size / SECTOR_SIZE) as u64);
        BlockRequest { op, sector, buffer }
    }

    async fn room(&self) {
        poll_fn(|cx| self.device.poll_room(cx)).await;
    }

    fn count_read(&self, bytes: usize) {
        self.count(|counters| {
            counters.reads += 1;
            counters.read_bytes += bytes as u64;
        });
    }

    fn count(&self, change: impl FnOnce(&mut IoCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }
}

impl Flight<'_> {
    /// Starts a request, unless there is no room for it.
    fn submit(&mut self, request: BlockRequest) -> Result<(), BlockRequest> {
        let count = (request.buffer.len() / SECTOR_SIZE) as u64;
        let sectors = (count > 0).then(|| (request.sector, request.sector.saturating_add(count - 1)));
        let ticket = self.device.submit(request)?;
        self.tickets.push_back((ticket, sectors));
        Ok(())
    }

    /// The end of the oldest request.
    async fn next(&mut self) -> (Result<(), IoError>, Vec<u8>) {
        let Some(&(ticket, sectors)) = self.tickets.front() else {
            return (Err(BlockError::Gone.into()), Vec::new());
        };
        let BlockCompletion { result, buffer } = poll_fn(|cx| self.device.poll_done(ticket, cx)).await;
        self.tickets.pop_front();
        (result.map_err(|error| IoError { error, sectors }), buffer)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.tickets.drain(..).for_each(|(ticket, _)| self.device.abandon(ticket));
    }
}

#[cfg(test)]
mod tests;
