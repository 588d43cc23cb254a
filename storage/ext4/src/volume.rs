//! The mounted filesystem as a [`Volume`].

use crate::data::Data;
use crate::engine::{Engine, ROOT};
use crate::error::MountError;
use crate::halt::Halt;
use crate::mount::{self, Mounted, Options};
use crate::operations::{Context, Let, Set, max_file_size};
use crate::orphans::Reaper;
use crate::state;
use crate::stats::{CacheCounters, Counters};
use crate::usage::Amount;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use keelson_exec::sync::Semaphore;
use keelson_exec::{Handle, yield_now};
use keelson_hal::{BlockDevice, Entropy};
use keelson_volume::{
    Attributes, Change, ClearSetid, Created, DirPage, FileId, Limits, NewObject, Owner, OwnerUsage, Removed,
    Renamed, SetAttributes, SpaceUsage, Time, Volume, VolumeError, VolumeId,
};

/// State file with the sums of space by owner, there only while the filesystem is not mounted.
const USAGE: &str = "usage";

/// An ext4 filesystem. See the crate documentation.
pub struct Ext4Volume {
    context: Rc<Context>,
    root: FileId,
    verifier: [u8; 8],
    is_unmounted: Cell<bool>,
}

impl Ext4Volume {
    /// Mounts the filesystem on `device`: replays its journal, finishes what was being deleted, starts its tasks.
    pub async fn mount(
        device: Rc<dyn BlockDevice>,
        handle: Handle,
        entropy: Rc<dyn Entropy>,
        options: Options,
    ) -> Result<Ext4Volume, MountError> {
        let Mounted { shared, superblock, .. } =
            mount::mount(device, handle.clone(), &*entropy, &options).await?;
        let name = shared.io.name();
        if superblock.has_errors {
            log::warn!(target: "ext4", "{name}: errors are recorded on this filesystem; run e2fsck -f");
        }
        if !superblock.was_clean {
            log::warn!(target: "ext4", "{name}: not cleanly unmounted, and without a journal to replay; run e2fsck -f");
        }
        let data = Data::new(shared.clone(), options.cache_bytes / 4 * 3);
        let reaper = Rc::new(Reaper::default());
        let context = Rc::new(Context {
            shared: shared.clone(),
            data: data.clone(),
            orphans: RefCell::default(),
            reaper: reaper.clone(),
            state_dir: Cell::new(None),
            state_turn: Semaphore::new(1),
        });
        // Dropped, it ends its tasks: also when something fails from here on.
        let mut volume = Ext4Volume {
            context: context.clone(),
            root: FileId { inode: u64::from(ROOT), discriminator: 0 },
            verifier: [0; 8],
            is_unmounted: Cell::new(false),
        };
        let failed = |_| MountError::Device("root directory");
        let root = shared.look(|engine| engine.inode(ROOT)).await.map_err(failed)?;
        if !root.is_directory() {
            return Err(MountError::Damaged("root directory"));
        }
        context.find_state_dir().await.map_err(failed)?;
        let is_read_only = shared.engine.borrow().read_only;
        if !is_read_only {
            match context.finish_orphans().await {
                Ok(0) => {}
                Ok(count) => log::info!(target: "ext4", "{name}: {count} deletions and truncations finished"),
                Err(error) => log::error!(target: "ext4", "{name}: the orphan list: {error}"),
            }
            handle.spawn("flush", data.clone().flush_task(context.clone()));
            handle.spawn("reap", reaper.run(context.clone()));
        }
        let boots = context.count_boot().await;
        entropy.fill(&mut volume.verifier);
        volume.verifier[..4].copy_from_slice(&boots.to_le_bytes());
        context.restore_usage().await;
        handle.spawn("usage", count_usage(context.clone()));
        log::info!(
            target: "ext4",
            "{name}: mounted {}, {} MiB{}",
            if is_read_only { "read-only" } else { "read-write" },
            (superblock.geometry.blocks * superblock.geometry.block_size as u64) >> 20,
            if superblock.needs_recovery { ", journal replayed" } else { "" }
        );
        volume.root.discriminator = u64::from(root.generation);
        Ok(volume)
    }

    /// What happened since the mount.
    pub fn counters(&self) -> Counters {
        let orphans = self.context.orphans.borrow().len() as u64;
        Counters { orphans, ..self.context.shared.engine.borrow().counters }
    }

    /// Space and inodes, as they are in memory.
    pub fn space(&self) -> SpaceUsage {
        let engine = self.context.shared.engine.borrow();
        let (size, allocator) = (engine.geometry.block_size as u64, &engine.allocator);
        SpaceUsage {
            total_bytes: engine.geometry.blocks * size,
            free_bytes: allocator.free_blocks.saturating_sub(allocator.promised()) * size,
            available_bytes: allocator.available() * size,
            total_inodes: u64::from(engine.geometry.inodes),
            free_inodes: allocator.free_inodes,
        }
    }

    /// What went through the caches since the mount.
    pub fn cache_counters(&self) -> CacheCounters {
        let io = self.context.shared.io.counters();
        let engine = self.context.shared.engine.borrow();
        let (hits, misses) = engine.cache.counts();
        CacheCounters {
            data: self.context.data.counters(),
            hits,
            misses,
            metadata_blocks: engine.cache.len() as u64,
            reads: io.reads,
            read_bytes: io.read_bytes,
            writes: io.writes,
            write_bytes: io.write_bytes,
            flushes: io.flushes,
            errors: io.failed,
        }
    }

    /// What a user has; `None` while it is being counted after a mount.
    pub fn usage_of_user(&self, uid: u32) -> Option<Amount> {
        let engine = self.context.shared.engine.borrow();
        engine.is_usage_known().then(|| engine.usage.of_user(uid))
    }

    /// What a group has; `None` while it is being counted after a mount.
    pub fn usage_of_group(&self, gid: u32) -> Option<Amount> {
        let engine = self.context.shared.engine.borrow();
        engine.is_usage_known().then(|| engine.usage.of_group(gid))
    }

    /// An extended attribute's value, by its full name (`user.mime_type`).
    pub async fn attribute(&self, id: FileId, name: &[u8]) -> Result<Option<Vec<u8>>, VolumeError> {
        let context = &self.context;
        let value = context.shared.look(|engine| {
            let inode = context.resolve(engine, id)?;
            engine.xattr_get(&inode, name)
        });
        value.await
    }

    /// The names of an object's extended attributes.
    pub async fn attribute_names(&self, id: FileId) -> Result<Vec<Vec<u8>>, VolumeError> {
        let context = &self.context;
        let names = context.shared.look(|engine| {
            let inode = context.resolve(engine, id)?;
            engine.xattr_list(&inode)
        });
        names.await
    }

    /// Sets an extended attribute.
    pub async fn set_attribute(&self, id: FileId, name: &[u8], value: &[u8]) -> Result<Change, VolumeError> {
        self.operate(|context, engine| {
            context.change_object(engine, id, |engine, inode| engine.xattr_set(inode, name, value))
        })
        .await
    }

    /// Removes an extended attribute. [`VolumeError::NotFound`] when there is none of this name.
    pub async fn remove_attribute(&self, id: FileId, name: &[u8]) -> Result<Change, VolumeError> {
        self.operate(|context, engine| {
            context.change_object(engine, id, |engine, inode| match engine.xattr_remove(inode, name)? {
                true => Ok(()),
                false => Err(Halt::Fail(VolumeError::NotFound)),
            })
        })
        .await
    }

    /// Makes everything done so far stable.
    pub async fn sync(&self) -> Result<(), VolumeError> {
        self.context.data.write_back_all().await;
        let shared = &self.context.shared;
        let last = shared.last_change();
        shared.commit_through(last).await?;
        // What overwrote blocks may be newer than the last transaction.
        self.flush().await
    }

    /// Makes safe what the device has. If it cannot, data that nobody committed may be gone.
    async fn flush(&self) -> Result<(), VolumeError> {
        let flushed = self.context.shared.io.flush().await;
        flushed.map_err(|_| {
            self.context.data.note_failed_flush();
            VolumeError::Io
        })
    }

    async fn operate<T>(
        &self,
        mut operation: impl FnMut(&Context, &mut Engine) -> Result<T, Halt>,
    ) -> Result<T, VolumeError> {
        self.context.shared.change(|engine| operation(&self.context, engine)).await
    }

    async fn look<T>(
        &self,
        mut operation: impl FnMut(&Context, &mut Engine) -> Result<T, Halt>,
    ) -> Result<T, VolumeError> {
        self.context.shared.look(|engine| operation(&self.context, engine)).await
    }

    /// Notes that a file was read, now and then.
    async fn note_access(&self, id: FileId) {
        let is_due = {
            let mut engine = self.context.shared.engine.borrow_mut();
            let now = self.context.shared.wall().as_secs() as i64;
            // Not in memory any more: then this time is not noted.
            match self.context.resolve(&mut engine, id) {
                Ok(inode) => Context::is_access_due(&engine, now, &inode),
                Err(_) => false,
            }
        };
        if is_due {
            // Reading works also where nothing can be written.
            let _ = self.operate(|context, engine| context.note_access(engine, id)).await;
        }
    }
}

/// Without having been unmounted it ends as in a power cut: what was committed is on the disk.
impl Drop for Ext4Volume {
    fn drop(&mut self) {
        let Context { shared, data, reaper, .. } = &*self.context;
        data.stop();
        reaper.stop();
        shared.abandon();
    }
}

impl Volume for Ext4Volume {
    fn id(&self) -> VolumeId {
        VolumeId(self.context.shared.engine.borrow().geometry.uuid)
    }

    fn root(&self) -> FileId {
        self.root
    }

    fn max_file_size(&self) -> u64 {
        max_file_size(&self.context.shared.engine.borrow())
    }

    fn max_links(&self) -> u32 {
        u32::from(crate::operations::MAX_LINKS)
    }

    fn is_read_only(&self) -> bool {
        self.context.shared.engine.borrow().read_only
    }

    fn write_verifier(&self) -> [u8; 8] {
        let is_aborted = self.context.shared.engine.borrow().journal.is_aborted();
        let losses = self.context.data.losses().wrapping_mul(2) | u32::from(is_aborted);
        let mut verifier = self.verifier;
        // The upper half is random: whatever is added to it, it differs from that of other mounts.
        for (byte, more) in verifier[4..].iter_mut().zip(losses.to_le_bytes()) {
            *byte ^= more;
        }
        verifier
    }

    async fn attributes(&self, id: FileId) -> Result<Attributes, VolumeError> {
        self.look(|context, engine| context.attributes(engine, id)).await
    }

    async fn set_attributes(
        &self,
        id: FileId,
        changes: SetAttributes,
        guard: Option<Time>,
    ) -> Result<Change, VolumeError> {
        loop {
            let set =
                self.operate(|context, engine| context.set_attributes(engine, id, &changes, guard)).await?;
            match set {
                Set::Load(inode, piece) => self.context.data.load(&inode, piece).await?,
                Set::Done(change, resized) => {
                    self.context.data.passed_on(id.inode as u32, (change.after.uid, change.after.gid));
                    self.context.resized(id.inode as u32, resized);
                    self.context.reaper.wake();
                    return Ok(change);
                }
            }
        }
    }

    async fn lookup(&self, dir: FileId, name: &[u8]) -> Result<Attributes, VolumeError> {
        self.look(|context, engine| context.lookup(engine, dir, name)).await
    }

    async fn read_link(&self, id: FileId) -> Result<Vec<u8>, VolumeError> {
        self.look(|context, engine| context.read_link(engine, id)).await
    }

    async fn read(&self, id: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, VolumeError> {
        let context = &self.context;
        if buffer.is_empty() {
            return self.look(|context, engine| context.readable(engine, id)).await.map(|_| 0);
        }
        let count = context.data.read(offset, buffer, |engine| context.readable(engine, id)).await?;
        if count > 0 {
            self.note_access(id).await;
        }
        Ok(count)
    }

    async fn write(
        &self,
        id: FileId,
        offset: u64,
        data: &[u8],
        clear_setid: ClearSetid,
    ) -> Result<Change, VolumeError> {
        self.context.data.back_pressure().await;
        loop {
            let length = data.len();
            let let_in =
                self.operate(|context, engine| context.let_in(engine, id, offset, length, clear_setid)).await;
            match let_in? {
                Let::Load(inode, piece) => self.context.data.load(&inode, piece).await?,
                Let::In { change, homeless } => {
                    if length > 0 {
                        let size = change.before.size;
                        let payer = (change.after.uid, change.after.gid);
                        self.context.data.write(id.inode as u32, payer, size, offset, data, &homeless);
                    }
                    return Ok(change);
                }
            }
        }
    }

    async fn commit(&self, id: FileId) -> Result<(), VolumeError> {
        let Context { shared, data, .. } = &*self.context;
        shared.engine.borrow_mut().counters.commits += 1;
        let ino = u32::try_from(id.inode).map_err(|_| VolumeError::Stale)?;
        data.write_back(ino).await;
        if data.take_loss(ino) {
            return Err(VolumeError::Io);
        }
        // Others that are ready to commit share the transaction.
        yield_now().await;
        let (last, is_open) = {
            let engine = shared.engine.borrow();
            (engine.journal.last_change(), !engine.journal.running.is_empty())
        };
        let needs_flush = data.take_needs_flush(ino);
        let mut result = shared.commit_through(last).await;
        // A transaction that was on its way already may have had its flush before the data came.
        if needs_flush && result.is_ok() && !is_open {
            result = self.flush().await;
        }
        if needs_flush && result.is_err() {
            data.put_needs_flush(ino);
        }
        result
    }

    async fn create(&self, dir: FileId, name: &[u8], new: NewObject<'_>) -> Result<Created, VolumeError> {
        self.operate(|context, engine| context.create(engine, dir, name, &new)).await
    }

    async fn link(&self, id: FileId, dir: FileId, name: &[u8]) -> Result<Created, VolumeError> {
        self.operate(|context, engine| context.link(engine, id, dir, name)).await
    }

    async fn remove(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        let (removed, gone) = self.operate(|context, engine| context.remove(engine, dir, name)).await?;
        self.context.forget(gone);
        Ok(removed)
    }

    async fn remove_dir(&self, dir: FileId, name: &[u8]) -> Result<Removed, VolumeError> {
        let (removed, gone) = self.operate(|context, engine| context.remove_dir(engine, dir, name)).await?;
        self.context.forget(gone);
        Ok(removed)
    }

    async fn rename(
        &self,
        from_dir: FileId,
        from_name: &[u8],
        to_dir: FileId,
        to_name: &[u8],
    ) -> Result<Renamed, VolumeError> {
        let (from, to) = ((from_dir, from_name), (to_dir, to_name));
        let (renamed, gone) = self.operate(|context, engine| context.rename(engine, from, to)).await?;
        self.context.forget(gone);
        Ok(renamed)
    }

    async fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, VolumeError> {
        self.look(|context, engine| context.read_dir(engine, dir, cookie, max_bytes)).await
    }

    async fn read_dir_plus(
        &self,
        dir: FileId,
        cookie: u64,
        max_bytes: usize,
    ) -> Result<DirPage, VolumeError> {
        self.look(|context, engine| context.read_dir_plus(engine, dir, cookie, max_bytes)).await
    }

    async fn usage(&self) -> Result<SpaceUsage, VolumeError> {
        Ok(self.space())
    }

    fn usage_of(&self, owner: Owner) -> Option<OwnerUsage> {
        let engine = self.context.shared.engine.borrow();
        engine.is_usage_known().then(|| engine.usage.of(owner))
    }

    fn set_limits(&self, limits: Limits) {
        self.context.shared.engine.borrow_mut().set_limits(limits);
    }

    fn limits(&self) -> Rc<Limits> {
        self.context.shared.engine.borrow().limits.clone()
    }

    async fn limited<T>(
        &self,
        operation: impl Future<Output = Result<T, VolumeError>>,
    ) -> Result<T, VolumeError> {
        self.context.shared.limited.run(operation).await
    }

    async fn read_state(&self, name: &str) -> Result<Option<Vec<u8>>, VolumeError> {
        self.context.read_state(name).await
    }

    async fn write_state(&self, name: &str, content: &[u8]) -> Result<(), VolumeError> {
        self.context.write_state(name, content).await
    }

    async fn unmount(&self) -> Result<(), VolumeError> {
        let Context { shared, data, reaper, .. } = &*self.context;
        if self.is_unmounted.replace(true) {
            return Ok(());
        }
        if shared.engine.borrow().read_only {
            let is_aborted = shared.engine.borrow().journal.is_aborted();
            return if is_aborted { Err(VolumeError::Io) } else { Ok(()) };
        }
        data.write_back_all().await;
        self.context.orphans_freed().await;
        self.context.store_usage().await;
        data.stop();
        reaper.stop();
        match shared.close_and_wait().await {
            true => Ok(()),
            false => Err(VolumeError::Io),
        }
    }
}

impl Context {
    /// Takes over the sums that the last unmounting left.
    async fn restore_usage(&self) {
        let Ok(Some(raw)) = self.read_state(USAGE).await else { return };
        let decoded = self.shared.engine.borrow().decode_usage(&raw);
        let Some(usage) = decoded else { return };
        // From here on they are wrong on the disk: changes go on.
        match self.write_state(USAGE, b"").await {
            Ok(()) | Err(VolumeError::ReadOnly) => self.shared.engine.borrow_mut().put_usage(usage),
            Err(error) => log::warn!(target: "ext4", "space by owner is counted anew: {error}"),
        }
    }

    /// Leaves the sums for the next mount.
    async fn store_usage(&self) {
        if !self.shared.engine.borrow().is_usage_known() {
            return;
        }
        // Writing them changes them. So the file is there, empty, when they are taken, as it is again after the next
        // mount has read it.
        if let Err(error) = self.write_state(USAGE, b"").await {
            log::warn!(target: "ext4", "space by owner could not be stored: {error}");
            return;
        }
        let encoded = self.shared.look(|engine| engine.encode_usage(state::LIMIT)).await;
        let Ok(Some(raw)) = encoded else { return };
        if let Err(error) = self.write_state(USAGE, &raw).await {
            log::warn!(target: "ext4", "space by owner could not be stored: {error}");
        }
    }
}

/// Counts what every owner has, in the background.
async fn count_usage(context: Rc<Context>) {
    let mut is_told = false;
    loop {
        match context.shared.look(Engine::count_usage).await {
            Ok(true) => return,
            // Others first.
            Ok(false) => yield_now().await,
            Err(error) => {
                if !core::mem::replace(&mut is_told, true) {
                    log::warn!(
                        target: "ext4",
                        "space by owner leaves out inodes that cannot be read: {error} (e2fsck -f may help)"
                    );
                }
                context.shared.engine.borrow_mut().skip_usage();
                yield_now().await;
            }
        }
    }
}
