//! Recovery: what committed transactions changed is written home.
//!
//! Nothing of the log is changed before everything is home and flushed, so that a power cut in between means the
//! same again.

use super::format::{self, ESCAPED, Format, MAGIC, Superblock, Tag};
use super::{Place, Sequence, is_after, log};
use crate::engine::BlockNr;
use crate::engine::cache::NumberMap;
use crate::error::MountError;
use crate::io::Io;
use crate::layout::Geometry;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Bytes read or written at a time.
const WINDOW: usize = 1 << 20;

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Transactions replayed.
    pub transactions: u32,
    /// Blocks written home.
    pub blocks: usize,
    /// Copies that were left out because their block was freed later.
    pub revoked: usize,
    /// The next transaction's number.
    pub next: Sequence,
}

/// A copy in the log.
#[derive(Clone, Copy)]
struct Copy {
    at: u32,
    sequence: Sequence,
    tag: Tag,
}

/// Reads the log block after block, many at a time.
struct Reader<'a> {
    io: &'a Io,
    places: &'a [Place],
    format: Format,
    first: u32,
    end: u32,
    window: Vec<u8>,
    window_at: u32,
}

impl Reader<'_> {
    async fn block(&mut self, at: u32) -> Result<&[u8], MountError> {
        let size = self.format.block_size;
        let held = (self.window.len() / size) as u32;
        if at < self.window_at || at >= self.window_at + held {
            let damaged = MountError::Damaged("map of the journal");
            let (block, together) = log::place(self.places, at).ok_or(damaged)?;
            let count = together.min(self.end - at).min((WINDOW / size) as u32);
            let read = self.io.read(block, count as usize).await;
            self.window = read.map_err(|_| MountError::Device("journal"))?;
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize * size;
        Ok(&self.window[start..start + size])
    }

    fn after(&self, at: u32) -> u32 {
        if at + 1 == self.end { self.first } else { at + 1 }
    }
}

/// What a walk through the log found.
struct Found {
    /// The last copy of each block.
    copies: BTreeMap<BlockNr, Copy>,
    /// The newest transaction that freed each block.
    revoked: NumberMap<BlockNr, Sequence>,
    recovered: Recovered,
}

/// Replays the journal, whose superblock is `superblock`, and marks it empty.
pub async fn replay(
    io: &Io,
    geometry: &Geometry,
    superblock: &mut Superblock,
    places: &[Place],
) -> Result<Recovered, MountError> {
    let format = superblock.format(geometry.block_size);
    let mut reader = Reader {
        io,
        places,
        format,
        first: superblock.first(),
        end: superblock.end(),
        window: Vec::new(),
        window_at: 0,
    };
    let mut found = walk(&mut reader, superblock.start(), superblock.sequence()).await?;
    let recovered = write_home(&mut reader, geometry, &mut found).await?;
    let failed = |_| MountError::Device("journal");
    io.flush().await.map_err(failed)?;
    let (home, _) = log::place(places, 0).ok_or(MountError::Damaged("map of the journal"))?;
    io.write([(home, superblock.encode(0, recovered.next))].into()).await.map_err(failed)?;
    io.flush().await.map_err(failed)?;
    Ok(recovered)
}

/// Finds what committed transactions hold: all up to the first that is not whole.
async fn walk(reader: &mut Reader<'_>, start: u32, first: Sequence) -> Result<Found, MountError> {
    let mut found = Found {
        copies: BTreeMap::new(),
        revoked: NumberMap::default(),
        recovered: Recovered { next: first, ..Recovered::default() },
    };
    if start == 0 {
        return Ok(found);
    }
    let (mut at, mut sequence) = (start, first);
    // Of a transaction whose commit block was not found yet.
    let (mut copies, mut revoked) = (Vec::new(), Vec::new());
    // Once around is all there is.
    let mut left = reader.end - reader.first;
    while left > 0 {
        let format = reader.format;
        let block = reader.block(at).await?;
        let taken = match format::header(block) {
            Some((format::DESCRIPTOR, of)) if of == sequence => {
                let Some(tags) = format.decode_descriptor(block) else { break };
                let mut place = at;
                for &tag in &tags {
                    place = reader.after(place);
                    copies.push(Copy { at: place, sequence, tag });
                }
                1 + tags.len() as u32
            }
            Some((format::REVOKE, of)) if of == sequence => {
                let Some(blocks) = format.decode_revoke(block) else { break };
                revoked.extend(blocks);
                1
            }
            Some((format::COMMIT, of)) if of == sequence => {
                if !format.is_commit(block) {
                    break;
                }
                found.recovered.transactions += 1;
                found.copies.extend(copies.drain(..).map(|copy| (copy.tag.block, copy)));
                found.revoked.extend(revoked.drain(..).map(|block| (block, sequence)));
                sequence = sequence.wrapping_add(1);
                1
            }
            _ => break,
        };
        if taken > left {
            break;
        }
        left -= taken;
        for _ in 0..taken {
            at = reader.after(at);
        }
    }
    // As Linux: a number that a torn transaction may bear is not used again.
    found.recovered.next =
        sequence.wrapping_add(u32::from(found.recovered.transactions > 0 || !copies.is_empty()));
    Ok(found)
}

async fn write_home(
    reader: &mut Reader<'_>,
    geometry: &Geometry,
    found: &mut Found,
) -> Result<Recovered, MountError> {
    let mut recovered = found.recovered;
    // In the order of the log, which reads it once.
    let mut copies: Vec<Copy> = core::mem::take(&mut found.copies).into_values().collect();
    copies.sort_unstable_by_key(|copy| copy.at);
    let mut batch: Vec<(BlockNr, Vec<u8>)> = Vec::new();
    for copy in copies {
        let block = copy.tag.block;
        // Freed by the same transaction or a later one: the block may be somebody else's by now.
        if found.revoked.get(&block).is_some_and(|&by| !is_after(copy.sequence, by)) {
            recovered.revoked += 1;
            continue;
        }
        let journal = |place: &Place| (place.block..place.block + u64::from(place.count)).contains(&block);
        // With blocks of 1024 bytes the boot block is in front of the filesystem.
        if !geometry.holds(block.max(geometry.first_data_block), 1) || reader.places.iter().any(journal) {
            return Err(MountError::Damaged("journal (a copy of a block that does not exist)"));
        }
        let format = reader.format;
        let mut data = reader.block(copy.at).await?.to_vec();
        if format.checksums != 0 && format.copy_checksum(copy.sequence, &data) != copy.tag.checksum {
            return Err(MountError::Damaged("journal (a copy has a wrong checksum)"));
        }
        if copy.tag.flags & ESCAPED != 0 {
            data[..4].copy_from_slice(&MAGIC.to_be_bytes());
        }
        batch.push((block, data));
        recovered.blocks += 1;
        if batch.len() * format.block_size >= WINDOW {
            write(reader.io, core::mem::take(&mut batch)).await?;
        }
    }
    write(reader.io, batch).await?;
    Ok(recovered)
}

async fn write(io: &Io, mut batch: Vec<(BlockNr, Vec<u8>)>) -> Result<(), MountError> {
    batch.sort_unstable_by_key(|(block, _)| *block);
    io.write(batch).await.map_err(|_| MountError::Device("metadata"))
}
