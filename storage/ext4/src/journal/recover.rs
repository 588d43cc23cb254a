//! Recovery: what committed transactions changed is written home.
//!
//! Nothing of the log is changed before everything is home and flushed, so that a power cut in between means the
//! same again.

use super::format::{self, ESCAPED, Format, MAGIC, Superblock, Tag};
use super::{Place, Sequence, is_after, log};
use crate::engine::BlockNr;
use crate::error::MountError;
use crate::io::Io;
use crate::layout::Geometry;
use crate::space::Zones;
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
    /// Blocks that were left out because they were freed later.
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

impl<'a> Reader<'a> {
    fn new(io: &'a Io, superblock: &Superblock, geometry: &Geometry, places: &'a [Place]) -> Reader<'a> {
        Reader {
            io,
            places,
            format: superblock.format(geometry.block_size),
            first: superblock.first(),
            end: superblock.end(),
            window: Vec::new(),
            window_at: 0,
        }
    }

    async fn block(&mut self, at: u32) -> Result<&[u8], MountError> {
        let size = self.format.block_size;
        let held = (self.window.len() / size) as u32;
        if at < self.window_at || at >= self.window_at + held {
            let damaged = MountError::Damaged("map of the journal");
            let (block, together) = log::place(self.places, at).ok_or(damaged)?;
            // Blocks behind the log are those of fast commits.
            let count = together.min(self.end.saturating_sub(at)).clamp(1, (WINDOW / size) as u32);
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
    /// The last copy of each block that was not freed since.
    copies: BTreeMap<BlockNr, Copy>,
    recovered: Recovered,
    /// The first transaction that is not there.
    end: Sequence,
}

/// Replays the journal, whose superblock is `superblock`, and marks it empty.
pub async fn replay(
    io: &Io,
    geometry: &Geometry,
    superblock: &mut Superblock,
    places: &[Place],
) -> Result<Recovered, MountError> {
    let mut reader = Reader::new(io, superblock, geometry, places);
    let mut found = walk(&mut reader, superblock.start(), superblock.sequence()).await?;
    if let Some(at) = superblock.fast_commits()
        && format::is_fast_commit(reader.block(at).await?, found.end)
    {
        // They say what to do instead of what blocks shall hold.
        return Err(MountError::Feature { name: "fast_commit", removable: true });
    }
    let recovered = write_home(&mut reader, geometry, &mut found).await?;
    io.flush().await.map_err(|_| MountError::Device("metadata"))?;
    mark_empty(io, superblock, places, recovered.next).await?;
    Ok(recovered)
}

/// Marks the journal as empty although it is not, as nobody wants what it holds; the next transaction's number.
pub async fn discard(
    io: &Io,
    geometry: &Geometry,
    superblock: &mut Superblock,
    places: &[Place],
) -> Result<Sequence, MountError> {
    let mut reader = Reader::new(io, superblock, geometry, places);
    // Numbers that are in the log are not used again.
    let found = walk(&mut reader, superblock.start(), superblock.sequence()).await?;
    mark_empty(io, superblock, places, found.recovered.next).await?;
    Ok(found.recovered.next)
}

async fn mark_empty(
    io: &Io,
    superblock: &mut Superblock,
    places: &[Place],
    next: Sequence,
) -> Result<(), MountError> {
    let failed = |_| MountError::Device("journal");
    let (home, _) = log::place(places, 0).ok_or(MountError::Damaged("map of the journal"))?;
    io.write([(home, superblock.encode(0, next))].into()).await.map_err(failed)?;
    io.flush().await.map_err(failed)
}

/// Finds what committed transactions hold: all up to the first that is not whole.
async fn walk(reader: &mut Reader<'_>, start: u32, first: Sequence) -> Result<Found, MountError> {
    let mut found = Found {
        copies: BTreeMap::new(),
        recovered: Recovered { next: first, ..Recovered::default() },
        end: first,
    };
    if start == 0 {
        return Ok(found);
    }
    let (mut at, mut sequence) = (start, first);
    // Of a transaction whose commit block was not found yet.
    let (mut copies, mut revoked) = (Vec::new(), Vec::new());
    // Once around is all there is.
    let mut left = reader.end - reader.first;
    let mut is_suspicious = false;
    while left > 0 {
        let format = reader.format;
        let block = reader.block(at).await?;
        let taken = match format::header(block) {
            Some((format::DESCRIPTOR, of)) if of == sequence => {
                let Some(tags) = format.decode_descriptor(block) else {
                    is_suspicious = true;
                    break;
                };
                let mut place = at;
                for &tag in &tags {
                    place = reader.after(place);
                    copies.push(Copy { at: place, sequence, tag });
                }
                1 + tags.len() as u32
            }
            Some((format::REVOKE, of)) if of == sequence => {
                if format.decode_revoke(block).is_none() {
                    is_suspicious = true;
                    break;
                }
                // Read again when the transaction turns out to be whole: a log full of them is more than fits in memory.
                revoked.push(at);
                1
            }
            Some((format::COMMIT, of)) if of == sequence => {
                if !format.is_commit(block) {
                    is_suspicious = true;
                    break;
                }
                found.recovered.transactions += 1;
                found.copies.extend(copies.drain(..).map(|copy| (copy.tag.block, copy)));
                // Copies of this transaction and of those before are void, those of later ones are not.
                for revoke in revoked.drain(..) {
                    let blocks = format.decode_revoke(reader.block(revoke).await?).unwrap_or_default();
                    let is_gone = |block: &BlockNr| found.copies.remove(block).is_some();
                    found.recovered.revoked += blocks.iter().copied().filter(is_gone).count();
                }
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
    found.end = sequence;
    let ahead = if is_suspicious { left } else { left.min((WINDOW / reader.format.block_size) as u32) };
    check_ahead(reader, at, ahead, sequence).await?;
    // As Linux: a number that a torn transaction may bear is not used again.
    found.recovered.next =
        sequence.wrapping_add(u32::from(found.recovered.transactions > 0 || !copies.is_empty()));
    Ok(found)
}

/// Refuses a log that has a commit of `sequence` or later in the next blocks: that transaction was safe, and whatever
/// ended the walk before it was not a power cut. Without it files may have the content of others.
async fn check_ahead(
    reader: &mut Reader<'_>,
    mut at: u32,
    blocks: u32,
    sequence: Sequence,
) -> Result<(), MountError> {
    let format = reader.format;
    if format.checksums == 0 {
        // A commit of the filesystem that was here before looks the same.
        return Ok(());
    }
    for _ in 0..blocks {
        let block = reader.block(at).await?;
        let of = format::header(block).filter(|&(kind, _)| kind == format::COMMIT).map(|(_, of)| of);
        if of.is_some_and(|of| !is_after(sequence, of)) && format.is_commit(block) {
            return Err(MountError::Damaged("journal (a transaction is not as it was written)"));
        }
        at = reader.after(at);
    }
    Ok(())
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
    let mut journal = Zones::default();
    reader.places.iter().for_each(|place| journal.add(place.block, u64::from(place.count)));
    let mut batch: Vec<(BlockNr, Vec<u8>)> = Vec::new();
    for copy in copies {
        let block = copy.tag.block;
        // With blocks of 1024 bytes the boot block is in front of the filesystem.
        if !geometry.holds(block.max(geometry.first_data_block), 1) || journal.overlaps(block, 1) {
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
