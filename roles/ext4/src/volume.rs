//! The mounted filesystem: mounting, committing, and what every operation needs.

use crate::accounting;
use crate::cache::{CacheCounters, CacheIo, PageCache};
use crate::clock::{OperationClock, nanos_from_time, time_from_nanos};
use crate::error::MountError;
use crate::inode::{InodeLocations, RECORD};
use crate::lagging::Lagging;
use crate::superblock::{self, Superblock};
use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_exec::yield_now;
use keelson_hal::{BlockDevice, BlockError, Clock, Entropy, Park};
use keelson_volume::{Attributes, Time, VolumeError};
use rsext4::{
    Ext4, Ext4Error, Ext4ErrorKind, FileExtentTarget, InodeNumber, MountServices, MountedServices,
    NoopObserver,
};

/// The root directory's inode number, the same on every ext4.
pub(crate) const ROOT: u32 = 2;
/// Operations after which a sync is forced: the engine copies its running transaction with every
/// operation, so each becomes dearer as it grows (1,000 creates in one cost 29 us each, 10,000 140 us).
const OPERATIONS_PER_SYNC: u64 = 256;
/// Changed inodes that are kept in memory (some 150 bytes each) before a checkpoint makes the disk tell of them.
const LAGGING_INODES: usize = 16_384;

/// How to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most bytes of page cache; taken as needed.
    pub cache_bytes: usize,
    /// Most bytes of committed journal blocks that the engine may keep in memory before they are
    /// checkpointed. A smaller journal bounds them first.
    pub journal_bytes: u64,
    /// Change nothing on the disk.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 16 << 20, journal_bytes: 8 << 20, read_only: false }
    }
}

/// What happened since the mount.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Calls of commit.
    pub commits: u64,
    /// Syncs of the engine: the difference to commits is what sharing saved.
    pub syncs: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Times the journal was checkpointed to bound memory.
    pub checkpoints: u64,
    /// Writes and creates refused to keep the reserve.
    pub no_space: u64,
    /// Handles refused because their object is gone.
    pub stale: u64,
}

type Engine = Ext4<CacheIo, MountedServices<(), NoopObserver>>;

/// An ext4 filesystem. See the crate documentation.
pub struct Ext4Volume {
    pub(crate) inner: RefCell<Inner>,
    /// Counts operations that changed something.
    pub(crate) changes: Cell<u64>,
    /// Value of `changes` that the last successful sync covers.
    synced: Cell<u64>,
}

pub(crate) struct Inner {
    /// Absent after unmounting.
    engine: Option<Engine>,
    cache: Rc<RefCell<PageCache>>,
    pub superblock: Superblock,
    locations: InodeLocations,
    pub lagging: Lagging,
    stamp: OperationClock,
    clock: Rc<dyn Clock>,
    entropy: Rc<dyn Entropy>,
    pub read_only: bool,
    pub verifier: [u8; 8],
    /// Inode of the state directory, once there is one.
    pub state_dir: Option<u32>,
    journal_limit: u64,
    /// Bytes written by syncs since the last checkpoint: what the engine keeps in memory at most.
    journal_bytes: u64,
    operations_since_sync: u64,
    /// Directories that grew since the last sync, and those whose block count must be looked at.
    pub grown: BTreeSet<u32>,
    miscounted: BTreeSet<u32>,
    /// Inodes without a name whose blocks wait to be freed; see [`Inner::bury`].
    pub dead: Vec<InodeNumber>,
    /// Files written since the last sync, and those of them whose data was lost in a failed one.
    pub written: BTreeSet<u32>,
    pub lost: BTreeSet<u32>,
    pub counters: Counters,
}

impl Ext4Volume {
    /// Mounts the filesystem on `device`, replaying its journal.
    pub fn mount(
        device: Rc<dyn BlockDevice>,
        park: Rc<dyn Park>,
        clock: Rc<dyn Clock>,
        entropy: Rc<dyn Entropy>,
        options: Options,
    ) -> Result<Ext4Volume, MountError> {
        let name = alloc::string::String::from(device.name());
        let cache = Rc::new(RefCell::new(PageCache::new(device, park, options.cache_bytes)));
        let superblock = read_superblock(&cache)?;
        let read_only = options.read_only || cache.borrow().is_read_only();
        if superblock.needs_recovery && read_only {
            return Err(MountError::RecoveryNeedsWriting);
        }
        if superblock.has_errors {
            log::warn!(target: "ext4", "{name}: errors are recorded on this filesystem; run e2fsck -f");
        }
        let tables = read_groups(&cache, &superblock)?;
        let stamp = OperationClock::default();
        stamp.set(u64::try_from(clock.wall().as_nanos()).unwrap_or(u64::MAX));
        let engine = start_engine(&cache, &stamp, read_only)?;
        let mut inner = Inner {
            engine: Some(engine),
            cache,
            superblock,
            locations: InodeLocations::new(&superblock, tables),
            lagging: Lagging::default(),
            stamp,
            clock,
            entropy,
            read_only,
            verifier: [0; 8],
            state_dir: None,
            journal_limit: options.journal_bytes,
            journal_bytes: 0,
            operations_since_sync: 0,
            grown: BTreeSet::new(),
            miscounted: BTreeSet::new(),
            dead: Vec::new(),
            written: BTreeSet::new(),
            lost: BTreeSet::new(),
            counters: Counters::default(),
        };
        inner.start_lifetime()?;
        log::info!(
            target: "ext4",
            "{name}: mounted {}, {} MiB{}",
            if read_only { "read-only" } else { "read-write" },
            (superblock.blocks * superblock.block_size) >> 20,
            if superblock.needs_recovery { ", journal replayed" } else { "" }
        );
        Ok(Ext4Volume { inner: RefCell::new(inner), changes: Cell::new(0), synced: Cell::new(0) })
    }

    /// What happened since the mount.
    pub fn counters(&self) -> Counters {
        self.inner.borrow().counters
    }

    /// What went through the page cache since the mount.
    pub fn cache_counters(&self) -> CacheCounters {
        self.inner.borrow().cache.borrow().counters()
    }

    /// Makes everything done so far stable, together with whatever the other ready tasks do first. Costs
    /// nothing when nothing changed; meant to be called every few seconds as well, so that data nobody
    /// commits does not stay in memory.
    pub async fn sync(&self) -> Result<(), VolumeError> {
        let wanted = self.changes.get();
        if self.synced.get() >= wanted {
            return Ok(());
        }
        yield_now().await;
        if self.synced.get() >= wanted {
            return Ok(());
        }
        self.sync_now()
    }

    /// As [`Ext4Volume::sync`], without waiting for others to join.
    pub(crate) fn sync_now(&self) -> Result<(), VolumeError> {
        let covered = self.changes.get();
        self.inner.borrow_mut().sync()?;
        self.synced.set(covered);
        Ok(())
    }

    /// Notes that an operation changed something, and bounds what is not synced.
    pub(crate) fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
        let due = {
            let mut inner = self.inner.borrow_mut();
            inner.operations_since_sync += 1;
            inner.operations_since_sync >= OPERATIONS_PER_SYNC
        };
        if due && let Err(error) = self.sync_now() {
            // Nobody waits for this sync; whoever commits later hears of it.
            log::error!(target: "ext4", "background sync failed: {error}");
        }
    }
}

impl Inner {
    pub fn engine(&mut self) -> Result<&mut Engine, VolumeError> {
        self.engine.as_mut().ok_or(VolumeError::Io)
    }

    /// Runs one call of the engine and translates its error; an aborted journal ends writing for good.
    pub fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Engine) -> Result<T, Ext4Error>,
    ) -> Result<T, VolumeError> {
        let result = call(self.engine()?);
        result.map_err(|error| self.failure(error))
    }

    pub fn failure(&mut self, error: Ext4Error) -> VolumeError {
        let translated = translate(error);
        match error.kind() {
            Ext4ErrorKind::JournalAborted => self.stop_writing(),
            _ if translated == VolumeError::Io => log::error!(target: "ext4", "{error}"),
            _ => {}
        }
        translated
    }

    /// After a failed journal write nothing may be changed any more, and what was not committed is lost.
    fn stop_writing(&mut self) {
        if !self.read_only {
            self.read_only = true;
            self.renew_verifier();
            log::error!(target: "ext4", "journal aborted: the volume is read-only until it is mounted anew");
        }
    }

    pub fn renew_verifier(&mut self) {
        let random = self.entropy.next_u64().to_le_bytes();
        self.verifier[4..].copy_from_slice(&random[..4]);
    }

    pub fn check_writable(&self) -> Result<(), VolumeError> {
        if self.read_only { Err(VolumeError::ReadOnly) } else { Ok(()) }
    }

    /// Starts an operation that changes `objects`: later than their last changes, than every operation
    /// before, and not before the wall clock. From here on their records on the disk lag behind, even if the
    /// operation fails halfway.
    pub fn begin(&mut self, objects: &[&Attributes]) -> Result<Time, VolumeError> {
        let wall = u64::try_from(self.clock.wall().as_nanos()).unwrap_or(u64::MAX);
        let changed = objects.iter().map(|object| nanos_from_time(object.ctime));
        let now = wall.max(changed.fold(self.stamp.get(), u64::max) + 1);
        self.stamp.set(now);
        for object in objects {
            self.touch(object.id.inode as u32, |_| {})?;
        }
        Ok(time_from_nanos(now))
    }

    /// As [`Inner::begin`], for creating an object. A few random microseconds keep creation times apart
    /// even after the clock was set back to the very same moment.
    pub fn begin_create(&mut self, objects: &[&Attributes]) -> Result<Time, VolumeError> {
        self.begin(objects)?;
        let now = self.stamp.get() + (self.entropy.next_u64() & 0x3FFF);
        self.stamp.set(now);
        Ok(time_from_nanos(now))
    }

    /// Syncs the engine. File data goes first and by itself, so that a write error there costs the file
    /// and not the journal.
    fn sync(&mut self) -> Result<(), VolumeError> {
        self.operations_since_sync = 0;
        if self.read_only {
            return Err(VolumeError::ReadOnly);
        }
        self.counters.syncs += 1;
        let mut written = core::mem::take(&mut self.written);
        let data = self.cache.borrow_mut().write_out();
        if data.is_err() {
            self.lost.append(&mut written);
            self.counters.failed_syncs += 1;
            self.renew_verifier();
        }
        let miscounted = self.look_at_grown()?;
        let before = self.cache.borrow().accepted_bytes();
        let result = self.engine()?.sync();
        self.journal_bytes += self.cache.borrow().accepted_bytes() - before;
        if let Err(error) = result {
            self.counters.failed_syncs += 1;
            log::error!(target: "ext4", "sync failed: {error}");
            match error.kind() {
                Ext4ErrorKind::Busy => return self.checkpoint(),
                _ => self.stop_writing(),
            }
            return Err(VolumeError::Io);
        }
        self.free_dead();
        let full = self.journal_bytes >= self.journal_limit || self.lagging.len() >= LAGGING_INODES;
        if full || miscounted {
            self.checkpoint()?;
        }
        data.map_err(|_| VolumeError::Io)
    }

    /// Notes which directories that grew have an extent tree outside the inode; true when the engine's
    /// count of their blocks is certainly wrong.
    fn look_at_grown(&mut self) -> Result<bool, VolumeError> {
        let mut wrong = false;
        for inode in core::mem::take(&mut self.grown) {
            let Ok(attributes) = self.attributes(inode) else { continue };
            let number = InodeNumber::new(inode).map_err(|_| VolumeError::Io)?;
            let target = FileExtentTarget::Data;
            let map = self.call(|engine| engine.inode_extents(number, 0, attributes.size, target, 0))?;
            let nodes = accounting::least_nodes(map.mapped_extents as u64, self.superblock.block_size);
            if nodes > 0 {
                self.miscounted.insert(inode);
                wrong |= attributes.allocated < attributes.size + nodes * self.superblock.block_size;
            }
        }
        Ok(wrong)
    }

    /// Puts right what the engine miscounted. Only while the engine is unmounted and the disk is clean.
    fn repair_counts(&mut self) -> Result<(), BlockError> {
        let mut cache = self.cache.borrow_mut();
        let mut repaired = false;
        for inode in core::mem::take(&mut self.miscounted) {
            if let Some(position) = self.locations.position(inode) {
                repaired |= accounting::repair(&mut cache, &self.superblock, inode, position)?;
            }
        }
        if repaired { cache.flush() } else { Ok(()) }
    }

    /// Unmounts the engine, which brings everything home. When it cannot, for a reason of its own, what was
    /// synced is in the journal: a fresh engine replays it and is unmounted instead.
    fn stop_engine(&mut self) -> Result<(), VolumeError> {
        let Some(mut engine) = self.engine.take() else { return Ok(()) };
        let Err(error) = engine.unmount() else { return Ok(()) };
        drop(engine);
        if self.read_only || error.kind() != Ext4ErrorKind::Busy {
            log::error!(target: "ext4", "unmount: {error}");
            return Err(VolumeError::Io);
        }
        log::debug!(target: "ext4", "unmount: {error}; replaying the journal instead");
        let mut engine = start_engine(&self.cache, &self.stamp, false).map_err(|error| {
            log::error!(target: "ext4", "replay: {error}");
            VolumeError::Io
        })?;
        engine.unmount().map_err(|error| self.failure(error))
    }

    /// Brings the journal's blocks home and frees their memory. The engine does that only when its log is
    /// full or at unmount, so it is unmounted and mounted again on the same cache.
    fn checkpoint(&mut self) -> Result<(), VolumeError> {
        self.counters.checkpoints += 1;
        let stopped = self.stop_engine().is_ok() && self.repair_counts().is_ok();
        // Also when that failed: the engine that follows knows nothing but the disk.
        self.lagging.checkpointed();
        match start_engine(&self.cache, &self.stamp, self.read_only) {
            Ok(engine) if stopped => self.engine = Some(engine),
            started => {
                if let Err(error) = &started {
                    log::error!(target: "ext4", "checkpoint failed: {error}");
                }
                self.engine = started.ok();
                self.stop_writing();
                return Err(VolumeError::Io);
            }
        }
        self.journal_bytes = 0;
        // Mounting freed what had no name.
        self.dead.clear();
        Ok(())
    }

    /// Keeps the blocks of an inode that lost its last name until that is committed. The engine gives freed
    /// blocks away at once: data of another file, which is written in place, would reach them before the
    /// commit, and a power cut in between would leave the old name with the other file's data. Until then
    /// the inode is on the filesystem's orphan list, from where a mount or `e2fsck` frees it.
    pub fn bury(&mut self, inode: InodeNumber) {
        self.lagging.forget(inode.raw());
        self.written.remove(&inode.raw());
        self.dead.push(inode);
    }

    /// Frees what was buried, now that a sync has succeeded.
    fn free_dead(&mut self) {
        for inode in core::mem::take(&mut self.dead) {
            if let Err(error) = self.call(|engine| engine.reap_unlinked_inode(inode)) {
                log::error!(target: "ext4", "freeing inode {}: {error}; the next mount will do it", inode.raw());
            }
        }
    }

    /// Frees buried blocks ahead of time, for an operation that lacks space. True when there were any.
    pub fn free_dead_early(&mut self) -> Result<bool, VolumeError> {
        if self.dead.is_empty() {
            return Ok(false);
        }
        self.sync().map(|()| true)
    }

    /// Ends it: everything stable, the filesystem marked clean.
    pub fn unmount(&mut self) -> Result<(), VolumeError> {
        if self.read_only {
            return self.stop_engine();
        }
        let synced = self.sync();
        self.stop_engine()?;
        self.repair_counts().map_err(|_| VolumeError::Io)?;
        synced
    }

    /// Decodes the record of an inode as it lies on the disk.
    pub fn with_record<T>(
        &mut self,
        inode: u32,
        decode: impl FnOnce(&[u8], &Superblock) -> T,
    ) -> Result<T, VolumeError> {
        let position = self.locations.position(inode).ok_or(VolumeError::Stale)?;
        let mut cache = self.cache.borrow_mut();
        let record = cache.view(position, RECORD).map_err(|_| VolumeError::Io)?;
        Ok(decode(record, &self.superblock))
    }
}

fn translate(error: Ext4Error) -> VolumeError {
    match error.kind() {
        Ext4ErrorKind::NotFound => VolumeError::NotFound,
        Ext4ErrorKind::AlreadyExists => VolumeError::Exists,
        Ext4ErrorKind::NotDirectory => VolumeError::NotDirectory,
        Ext4ErrorKind::IsDirectory => VolumeError::IsDirectory,
        Ext4ErrorKind::NotEmpty => VolumeError::NotEmpty,
        Ext4ErrorKind::NoSpace => VolumeError::NoSpace,
        Ext4ErrorKind::NoMemory | Ext4ErrorKind::Busy => VolumeError::TryLater,
        Ext4ErrorKind::QuotaExceeded => VolumeError::Quota,
        Ext4ErrorKind::TooManyLinks => VolumeError::TooManyLinks,
        Ext4ErrorKind::JournalAborted | Ext4ErrorKind::ReadOnly => VolumeError::ReadOnly,
        Ext4ErrorKind::InvalidInput => VolumeError::Invalid,
        Ext4ErrorKind::FileTooLarge => VolumeError::TooBig,
        Ext4ErrorKind::PermissionDenied => VolumeError::NotPermitted,
        _ => VolumeError::Io,
    }
}

fn read_superblock(cache: &Rc<RefCell<PageCache>>) -> Result<Superblock, MountError> {
    let mut raw = [0; superblock::LENGTH];
    let mut cache = cache.borrow_mut();
    if cache.device_bytes() < superblock::POSITION + superblock::LENGTH as u64 {
        return Err(MountError::NoMedium);
    }
    cache.read(superblock::POSITION, &mut raw).map_err(|_| MountError::Device("superblock"))?;
    Superblock::parse(&raw, cache.device_bytes())
}

/// Reads where each group keeps its inodes, and tells the cache about the padding of their bitmaps
/// (Linux `Documentation/filesystems/ext4/group_descr.rst`).
fn read_groups(cache: &Rc<RefCell<PageCache>>, superblock: &Superblock) -> Result<Vec<u64>, MountError> {
    let mut cache = cache.borrow_mut();
    let start = (superblock.first_data_block + 1) * superblock.block_size;
    let mut raw = vec![0; superblock.descriptor_size as usize];
    let mut tables = Vec::new();
    for group in 0..superblock.groups {
        cache
            .read(start + group * superblock.descriptor_size, &mut raw)
            .map_err(|_| MountError::Device("group descriptors"))?;
        let block = |low: usize, high: usize| {
            let word = |offset: usize| {
                let bytes = raw.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
                u64::from(bytes.map_or(0, u32::from_le_bytes))
            };
            word(low) | if raw.len() >= 64 { word(high) << 32 } else { 0 }
        };
        let (bitmap, table) = (block(0x4, 0x24), block(0x8, 0x28));
        if bitmap >= superblock.blocks || table >= superblock.blocks || bitmap == 0 || table == 0 {
            return Err(MountError::Corrupt("group descriptor"));
        }
        let used = u64::from(superblock.inodes_per_group / 8);
        if used < superblock.block_size {
            let position = bitmap * superblock.block_size;
            cache.pad_bitmap(position + used, position + superblock.block_size);
        }
        tables.push(table);
    }
    Ok(tables)
}

/// Starts the engine. It ends its recovery (replaying the journal, finishing truncations, making a lost+found)
/// with a checkpoint, so that every inode record on the disk is right afterwards.
fn start_engine(
    cache: &Rc<RefCell<PageCache>>,
    stamp: &OperationClock,
    read_only: bool,
) -> Result<Engine, MountError> {
    let options = if read_only {
        rsext4::MountOptions::read_only_no_journal_replay()
    } else {
        rsext4::MountOptions::read_write()
    };
    let services = MountServices::new(stamp.clone(), (), NoopObserver);
    Ext4::mount(CacheIo(cache.clone()), services, options).map_err(MountError::from)
}
