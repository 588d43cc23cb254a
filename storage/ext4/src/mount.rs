//! From a device to a mounted filesystem: superblock, journal, descriptors.

use crate::engine::{Engine, Kind};
use crate::error::MountError;
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::io::Io;
use crate::journal::format::{self, FormatError};
use crate::journal::{Journal, Log, Place, recover, task};
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::EXTENTS;
use crate::layout::superblock::{self, Superblock};
use crate::shared::Shared;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::{BlockDevice, Entropy, SECTOR_SIZE};

/// Runs of blocks that a journal may have: mke2fs makes one or a few.
const JOURNAL_RUNS: usize = 10_000;
/// `s_feature_incompat`: the journal must be replayed.
const RECOVER: u32 = 0x4;
/// `s_state`: cleanly unmounted.
const VALID: u16 = 0x1;

/// How to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most bytes of cached metadata and file content together; taken as needed.
    pub cache_bytes: usize,
    /// Change nothing on the disk.
    pub read_only: bool,
    /// Longest time that a change stays in memory only.
    pub commit_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 16 << 20, read_only: false, commit_interval: Duration::from_secs(5) }
    }
}

/// A filesystem whose journal is replayed and whose journal task runs.
pub struct Mounted {
    /// For its other tasks.
    pub shared: Rc<Shared>,
    /// The superblock as it was found.
    pub superblock: Superblock,
}

/// Reads the superblock, replays the journal, marks the filesystem as in use.
pub async fn mount(
    device: Rc<dyn BlockDevice>,
    handle: Handle,
    entropy: &dyn Entropy,
    options: &Options,
) -> Result<Mounted, MountError> {
    let bytes = device.geometry().sectors.saturating_mul(SECTOR_SIZE as u64);
    if bytes < superblock::POSITION + superblock::LENGTH as u64 {
        return Err(MountError::NoMedium);
    }
    let read_only = options.read_only || device.geometry().read_only;
    let mut superblock = read_superblock(&device, bytes).await?;
    let io = Io::new(device.clone(), superblock.geometry.block_size);
    let mut generation = [0; 4];
    entropy.fill(&mut generation);
    // Metadata takes a quarter, file content the rest.
    let new_engine = |superblock: &Superblock, journal| {
        Engine::new(superblock.geometry, options.cache_bytes / 4, journal, u32::from_le_bytes(generation))
    };
    let mut log = None;
    if superblock.geometry.journal_inode != 0 {
        let mut engine = new_engine(&superblock, Journal::new(None, 1));
        let places = run(&io, &mut engine, "journal", journal_places).await?;
        let blocks = places.iter().map(|place| place.count).sum();
        let mut journal =
            read_journal_superblock(&io, &places, superblock.geometry.block_size, blocks).await?;
        superblock.has_errors |= journal.has_error();
        let mut next = journal.sequence();
        if superblock.needs_recovery {
            if read_only {
                return Err(MountError::RecoveryNeedsWriting);
            }
            let recovered = recover::replay(&io, &superblock.geometry, &mut journal, &places).await?;
            log::info!(
                target: "ext4",
                "{}: journal replayed: {} transactions, {} blocks", io.name(), recovered.transactions, recovered.blocks
            );
            next = recovered.next;
            superblock = read_superblock(&device, bytes).await?;
        } else if journal.start() != 0 && !read_only {
            // As for Linux: void. Here and now, before the superblock says that there is something to recover.
            next = recover::discard(&io, &superblock.geometry, &mut journal, &places).await?;
        }
        let wide = superblock.geometry.descriptor_size >= 64;
        journal.choose(wide, superblock.geometry.checksum_seed.is_some());
        log = Some(Log::new(journal, places, superblock.geometry.block_size, next.max(1)));
    }
    let next = log.as_ref().map_or(1, |log: &Log| log.tail.1);
    let journal_runs: Vec<_> =
        log.iter().flat_map(Log::places).map(|place| (place.block, place.count)).collect();
    let mut engine = new_engine(&superblock, Journal::new(log, next));
    engine.read_only = read_only;
    for (block, count) in journal_runs {
        engine.allocator.add_system(block, count);
    }
    engine.was_clean = superblock.was_clean;
    run(&io, &mut engine, "group descriptors", Engine::count_descriptors).await?;
    run(&io, &mut engine, "superblock", |engine| {
        let (block, _) = engine.geometry.superblock_place();
        engine.read(block, Kind::Superblock)?;
        engine.note_stamp()
    })
    .await?;
    let shared = Shared::new(engine, io, handle.clone());
    if !read_only {
        let marked = shared.engine.borrow_mut().mark_superblock(true, shared.wall());
        let failed = |_| MountError::Device("superblock");
        shared.io.write(marked.into_iter().collect()).await.map_err(failed)?;
        shared.io.flush().await.map_err(failed)?;
        handle.spawn("jbd2", task::run(shared.clone(), options.commit_interval));
    }
    Ok(Mounted { shared, superblock })
}

async fn read_superblock(device: &Rc<dyn BlockDevice>, bytes: u64) -> Result<Superblock, MountError> {
    // Block 1 of 1024 bytes, whatever the filesystem's are.
    let io = Io::new(device.clone(), superblock::LENGTH);
    let raw = io.read(1, 1).await.map_err(|_| MountError::Device("superblock"))?;
    let raw = raw.first_chunk().ok_or(MountError::Device("superblock"))?;
    Superblock::parse(raw, bytes)
}

async fn read_journal_superblock(
    io: &Io,
    places: &[Place],
    block_size: usize,
    blocks: u32,
) -> Result<format::Superblock, MountError> {
    let first = places.first().ok_or(MountError::Damaged("journal inode"))?;
    let raw = io.read(first.block, 1).await.map_err(|_| MountError::Device("journal"))?;
    format::Superblock::parse(&raw, block_size, blocks).map_err(|error| match error {
        FormatError::Corrupt(what) => MountError::Damaged(what),
        FormatError::Feature(name) => MountError::Feature { name, removable: false },
        FormatError::Unknown { ro_compat: 0, incompat } => {
            MountError::UnknownFeature { word: "journal incompat", bits: incompat }
        }
        FormatError::Unknown { ro_compat, .. } => {
            MountError::UnknownFeature { word: "journal ro_compat", bits: ro_compat }
        }
    })
}

/// Where the journal's blocks are.
fn journal_places(engine: &mut Engine) -> Result<Vec<Place>, Halt> {
    let inode = engine.inode(engine.geometry.journal_inode)?;
    if inode.flags & EXTENTS == 0 || inode.mode & 0xf000 != 0x8000 {
        return Err(engine.damaged(format_args!("the journal's inode {} is no file of extents", inode.ino)));
    }
    let blocks = u32::try_from(inode.size / engine.geometry.block_size as u64).unwrap_or(u32::MAX);
    let (mut places, mut logical) = (Vec::new(), 0);
    while logical < blocks && places.len() < JOURNAL_RUNS {
        let Mapping::Written { block, len } = engine.map(&inode, logical)? else {
            return Err(engine.damaged(format_args!("the journal has no block {logical}")));
        };
        let count = len.min(blocks - logical);
        places.push(Place { logical, block, count });
        logical += count;
    }
    Ok(places)
}

/// Runs an operation that only reads, before there are tasks.
async fn run<T>(
    io: &Io,
    engine: &mut Engine,
    what: &'static str,
    mut operation: impl FnMut(&mut Engine) -> Result<T, Halt>,
) -> Result<T, MountError> {
    loop {
        let halt = match operation(engine) {
            Ok(value) => return Ok(value),
            Err(halt) => halt,
        };
        let Halt::Need(block, kind) = halt else { return Err(MountError::Damaged(what)) };
        let geometry = &engine.geometry;
        if !geometry.holds(block.max(geometry.first_data_block), 1) {
            return Err(MountError::Damaged(what));
        }
        let data = io.read(block, 1).await.map_err(|_| MountError::Device(what))?;
        if !crate::engine::seal::is_sound(&data, block, kind, geometry) {
            return Err(MountError::Damaged(what));
        }
        engine.cache.insert(block, kind, data.into_boxed_slice());
    }
}

impl Engine {
    /// Marks the filesystem as in use or as cleanly unmounted; the block to write, if the superblock is in memory.
    pub fn mark_superblock(&mut self, in_use: bool, wall: Duration) -> Option<(u64, Vec<u8>)> {
        let has_journal = self.journal.log.is_some();
        let (block, offset) = self.geometry.superblock_place();
        let slot = self.cache.get(block)?;
        let raw = &mut slot.data[offset..offset + superblock::LENGTH];
        let incompat = u32_at(raw, 0x60) & !RECOVER;
        put_u32(raw, 0x60, if in_use && has_journal { incompat | RECOVER } else { incompat });
        let state = u16_at(raw, 0x3a);
        // With a journal the state stays as it is: a replay makes it so. Without, only e2fsck makes it good again.
        let is_valid = self.was_clean && (has_journal || !in_use);
        put_u16(raw, 0x3a, if is_valid { state | VALID } else { state & !VALID });
        let now = wall.as_secs();
        // `s_mtime` and `s_wtime`, with their upper bytes.
        if in_use {
            put_u32(raw, 0x2c, now as u32);
            raw[0x275] = (now >> 32) as u8;
            let mounts = u16_at(raw, 0x34).saturating_add(1);
            put_u16(raw, 0x34, mounts);
        }
        put_u32(raw, 0x30, now as u32);
        raw[0x274] = (now >> 32) as u8;
        self.finish_superblock().map(|(block, data)| (block, data.to_vec()))
    }
}
