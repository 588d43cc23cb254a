//! System V shared memory: keys and segments of the whole node (shmget(2), shmat(2), shmctl(2), shmdt(2)).

use super::area::{Area, Backing, Pages};
use super::map::fixed_range;
use super::node::NodeMemory;
use super::object::Object;
use super::{Mm, PAGE, whole_pages};
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_hal::user::{Flush, PageSize, Protection, UserMachine};
use spin::Mutex;

/// `IPC_*` and `SHM_*`.
pub mod ipc {
    #![allow(missing_docs)]
    pub const IPC_PRIVATE: u32 = 0;
    pub const IPC_CREAT: u64 = 0o1000;
    pub const IPC_EXCL: u64 = 0o2000;
    pub const HUGETLB: u64 = 0o4000;
    pub const NORESERVE: u64 = 0o10000;
    pub const RDONLY: u64 = 0o10000;
    pub const RND: u64 = 0o20000;
    pub const REMAP: u64 = 0o40000;
    pub const EXEC: u64 = 0o100000;
    /// `shm_perm.mode`: is removed when nobody has it attached.
    pub const DEST: u32 = 0o1000;
    /// `shm_perm.mode`: is locked.
    pub const LOCKED: u32 = 0o2000;
}

/// Most segments (`SHMMNI`).
pub const SEGMENTS_MOST: usize = 4096;
/// Most bytes of a segment (`SHMMAX`), as Linux has it.
pub const SEGMENT_MOST: u64 = u64::MAX - (1 << 24);

/// Who does something with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShmUser {
    /// Process.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Seconds since 1970.
    pub now: i64,
}

/// What `IPC_STAT` tells (`struct shmid64_ds`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShmStat {
    /// Key; 0 for a private one.
    pub key: u32,
    /// Owner.
    pub uid: u32,
    /// Group of the owner.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Group of the creator.
    pub cgid: u32,
    /// Permissions, `SHM_DEST`, `SHM_LOCKED`.
    pub mode: u32,
    /// Sequence number of the identifier.
    pub seq: u32,
    /// Bytes.
    pub size: u64,
    /// Last attach, in seconds since 1970.
    pub attached_at: i64,
    /// Last detach.
    pub detached_at: i64,
    /// Creation or last change.
    pub changed_at: i64,
    /// Process that created it.
    pub creator: u32,
    /// Process that attached or detached last.
    pub last: u32,
    /// How often it is attached.
    pub attached: u64,
}

/// What `SHM_INFO` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShmInfo {
    /// Segments.
    pub segments: usize,
    /// Their pages.
    pub pages: u64,
    /// Those of them in memory.
    pub resident: u64,
    /// Highest index in use.
    pub highest: usize,
}

struct Segment {
    stat: Mutex<ShmStat>,
    /// Gone once it was removed and nobody has it attached.
    object: Mutex<Option<Arc<Object>>>,
    pages: Pages,
}

/// The segments by identifier: the index and, above it, how often the index was used.
#[derive(Default)]
pub(super) struct Segments {
    by_id: BTreeMap<u32, Arc<Segment>>,
    sequence: u32,
}

/// One attach: all areas that are left of it refer to it, and its end is the detach.
pub struct Attachment {
    segment: Arc<Segment>,
    /// Where it was attached.
    at: u64,
    user: ShmUser,
}

impl Attachment {
    fn new(segment: Arc<Segment>, at: u64, user: ShmUser) -> Arc<Attachment> {
        segment.stat.lock().attached += 1;
        Arc::new(Attachment { segment, at, user })
    }

    /// The key of the segment.
    pub fn key(&self) -> u32 {
        self.segment.stat.lock().key
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let last = {
            let mut stat = self.segment.stat.lock();
            stat.attached = stat.attached.saturating_sub(1);
            stat.last = self.user.pid;
            stat.attached == 0 && stat.mode & ipc::DEST != 0
        };
        if last {
            self.segment.object.lock().take();
        }
    }
}

/// The attachments of a child, one for each of its parent's.
#[derive(Default)]
pub(super) struct Inherited(Vec<(Arc<Attachment>, Arc<Attachment>)>);

impl Inherited {
    /// The child's for an area of the parent.
    pub fn of(&mut self, area: &Area) -> Option<Arc<Attachment>> {
        let theirs = area.attachment.as_ref()?;
        if let Some((_, ours)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, theirs)) {
            return Some(ours.clone());
        }
        let ours = Attachment::new(theirs.segment.clone(), theirs.at, theirs.user);
        self.0.push((theirs.clone(), ours.clone()));
        Some(ours)
    }
}

impl Segment {
    fn is_gone(&self) -> bool {
        self.object.lock().is_none()
    }

    /// `access` as in a mode: 4 read, 2 write.
    fn check(&self, user: &ShmUser, access: u32) -> Result<(), Errno> {
        let stat = self.stat.lock();
        let granted = if user.uid == 0 {
            7
        } else if user.uid == stat.uid || user.uid == stat.cuid {
            stat.mode >> 6
        } else if user.gid == stat.gid || user.gid == stat.cgid {
            stat.mode >> 3
        } else {
            stat.mode
        };
        if granted & access == access { Ok(()) } else { Err(Errno::EACCES) }
    }

    fn check_owner(&self, user: &ShmUser) -> Result<(), Errno> {
        let stat = self.stat.lock();
        if user.uid == 0 || user.uid == stat.uid || user.uid == stat.cuid {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}

impl Segments {
    /// Forgets those that are gone.
    fn purge(&mut self) {
        self.by_id.retain(|_, segment| !segment.is_gone());
    }

    fn get(&mut self, id: u32) -> Result<Arc<Segment>, Errno> {
        self.purge();
        self.by_id.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    fn free_id(&mut self) -> Result<u32, Errno> {
        let used = |index: &u32| self.by_id.keys().any(|id| id % SEGMENTS_MOST as u32 == *index);
        let index = (0..SEGMENTS_MOST as u32).find(|index| !used(index)).ok_or(Errno::ENOSPC)?;
        let id = self.sequence * SEGMENTS_MOST as u32 + index;
        self.sequence = (self.sequence + 1) % 0x7_0000;
        Ok(id)
    }
}

impl NodeMemory {
    /// shmget(2): an identifier.
    pub fn shmget(
        &self,
        machine: &Arc<dyn UserMachine>,
        key: u32,
        size: u64,
        flags: u64,
        user: &ShmUser,
    ) -> Result<u32, Errno> {
        let mut segments = self.segments.lock();
        segments.purge();
        let known = |segment: &Segment| {
            let stat = segment.stat.lock();
            key != ipc::IPC_PRIVATE && stat.key == key && stat.mode & ipc::DEST == 0
        };
        if let Some((id, segment)) = segments.by_id.iter().find(|(_, segment)| known(segment)) {
            if flags & ipc::IPC_CREAT != 0 && flags & ipc::IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            if size > segment.stat.lock().size {
                return Err(Errno::EINVAL);
            }
            segment.check(user, (flags >> 6 & 6) as u32)?;
            return Ok(*id);
        }
        if key != ipc::IPC_PRIVATE && flags & ipc::IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        let pages = if flags & ipc::HUGETLB != 0 {
            let demanded = super::flags::demanded_size(flags).ok_or(Errno::EINVAL)?;
            machine.has_pages(demanded).then_some(Pages::Only(demanded)).ok_or(Errno::ENOMEM)?
        } else {
            Pages::Any
        };
        let unit = if let Pages::Only(size) = pages { size.bytes() } else { PAGE };
        let whole = size.checked_next_multiple_of(unit).filter(|whole| *whole > 0 && *whole < 1 << 47);
        let whole = whole.ok_or(Errno::EINVAL)?;
        let id = segments.free_id()?;
        let stat = ShmStat {
            key,
            uid: user.uid,
            gid: user.gid,
            cuid: user.uid,
            cgid: user.gid,
            mode: (flags & 0o777) as u32,
            seq: id / SEGMENTS_MOST as u32,
            size,
            changed_at: user.now,
            creator: user.pid,
            ..ShmStat::default()
        };
        let object = Object::memory(machine.clone(), whole, PageSize::Huge);
        let segment = Segment { stat: Mutex::new(stat), object: Mutex::new(Some(object)), pages };
        segments.by_id.insert(id, Arc::new(segment));
        Ok(id)
    }

    /// `IPC_STAT`.
    pub fn shm_stat(&self, id: u32, user: &ShmUser) -> Result<ShmStat, Errno> {
        let segment = self.segments.lock().get(id)?;
        segment.check(user, 4)?;
        let stat = *segment.stat.lock();
        Ok(stat)
    }

    /// `SHM_STAT` and `SHM_STAT_ANY`: the segment at an index, with its identifier.
    pub fn shm_stat_at(&self, index: u32, user: Option<&ShmUser>) -> Result<(u32, ShmStat), Errno> {
        let mut segments = self.segments.lock();
        segments.purge();
        let mut at = segments.by_id.iter().filter(|(id, _)| **id % SEGMENTS_MOST as u32 == index);
        let (id, segment) = at.next().ok_or(Errno::EINVAL)?;
        if let Some(user) = user {
            segment.check(user, 4)?;
        }
        Ok((*id, *segment.stat.lock()))
    }

    /// `IPC_SET`: owner, group, permissions.
    pub fn shm_set(&self, id: u32, uid: u32, gid: u32, mode: u32, user: &ShmUser) -> Result<(), Errno> {
        let segment = self.segments.lock().get(id)?;
        segment.check_owner(user)?;
        let mut stat = segment.stat.lock();
        (stat.uid, stat.gid, stat.changed_at) = (uid, gid, user.now);
        stat.mode = stat.mode & !0o777 | mode & 0o777;
        Ok(())
    }

    /// `IPC_RMID`: gone when the last one detaches.
    pub fn shm_remove(&self, id: u32, user: &ShmUser) -> Result<(), Errno> {
        let mut segments = self.segments.lock();
        let segment = segments.get(id)?;
        segment.check_owner(user)?;
        let unused = {
            let mut stat = segment.stat.lock();
            stat.mode |= ipc::DEST;
            stat.key = ipc::IPC_PRIVATE;
            stat.attached == 0
        };
        if unused {
            segment.object.lock().take();
            segments.purge();
        }
        Ok(())
    }

    /// `SHM_LOCK` and `SHM_UNLOCK`: noted.
    pub fn shm_lock(&self, id: u32, locked: bool, user: &ShmUser) -> Result<(), Errno> {
        let segment = self.segments.lock().get(id)?;
        segment.check_owner(user)?;
        let mut stat = segment.stat.lock();
        stat.mode = if locked { stat.mode | ipc::LOCKED } else { stat.mode & !ipc::LOCKED };
        Ok(())
    }

    /// `SHM_INFO` and `IPC_INFO`.
    pub fn shm_info(&self) -> ShmInfo {
        let mut segments = self.segments.lock();
        segments.purge();
        let mut info = ShmInfo { segments: segments.by_id.len(), ..ShmInfo::default() };
        for (id, segment) in &segments.by_id {
            info.pages += whole_pages(segment.stat.lock().size).unwrap_or(0) / PAGE;
            info.resident += segment.object.lock().as_ref().map_or(0, |object| object.resident()) / PAGE;
            info.highest = info.highest.max(*id as usize % SEGMENTS_MOST);
        }
        info
    }

    /// A shared segment for shmat(2), counted as attached at `at` once it is known.
    fn segment(&self, id: u32, user: &ShmUser, access: u32) -> Result<Arc<Segment>, Errno> {
        let segment = self.segments.lock().get(id)?;
        segment.check(user, access)?;
        Ok(segment)
    }
}

impl Mm {
    /// shmat(2): where the segment is.
    pub fn shmat(&self, id: u32, at: u64, flags: u64, user: &ShmUser, node: usize) -> Result<u64, Errno> {
        let has = |flag| flags & flag != 0;
        let write = !has(ipc::RDONLY);
        let access = 4 | if write { 2 } else { 0 } | if has(ipc::EXEC) { 1 } else { 0 };
        let segment = self.system.memory.segment(id, user, access)?;
        let object = segment.object.lock().clone().ok_or(Errno::EIDRM)?;
        let unit = if let Pages::Only(size) = segment.pages { size.bytes() } else { PAGE };
        let wish = if at != 0 && !at.is_multiple_of(unit) {
            if has(ipc::RND) { at - at % unit } else { return Err(Errno::EINVAL) }
        } else {
            at
        };
        if wish == 0 && has(ipc::REMAP) {
            return Err(Errno::EINVAL);
        }
        let protection = Protection { read: true, write, execute: has(ipc::EXEC) };
        let mut area = Area::anonymous(0..object.size(), protection);
        area.shared = true;
        area.may_write = write;
        area.pages = segment.pages;
        area.backing = Backing::Object(object);
        let mut state = self.lock();
        state.areas.has_room()?;
        let start = if wish == 0 {
            self.choose(&state, 0, area.len(), &area)?
        } else {
            let range = fixed_range(wish, area.len()).map_err(|_| Errno::EINVAL)?;
            if has(ipc::REMAP) {
                self.unmap_range(&mut state, &range, Flush::Now)?;
            } else if state.areas.overlapping(range).next().is_some() {
                return Err(Errno::EINVAL);
            }
            wish
        };
        let range = start..start + area.len();
        super::map::check_growth(&state, &range, &area, false)?;
        {
            let mut stat = segment.stat.lock();
            (stat.last, stat.attached_at) = (user.pid, user.now);
        }
        area.attachment = Some(Attachment::new(segment, start, *user));
        self.place(&mut state, area, range, node, false)?;
        Ok(start)
    }

    /// shmdt(2): detaches what was attached at `at`.
    pub fn shmdt(&self, at: u64, user: &ShmUser) -> Result<(), Errno> {
        let mut state = self.lock();
        let attachment =
            state.areas.iter().filter_map(|area| area.attachment.as_ref()).find(|its| its.at == at);
        let attachment = attachment.cloned().ok_or(Errno::EINVAL)?;
        let mine = |area: &&Area| area.attachment.as_ref().is_some_and(|its| Arc::ptr_eq(its, &attachment));
        let parts: Vec<_> = state.areas.iter().filter(mine).map(|area| area.start..area.end).collect();
        for part in parts {
            self.unmap_range(&mut state, &part, Flush::Now)?;
        }
        let mut stat = attachment.segment.stat.lock();
        (stat.last, stat.detached_at) = (user.pid, user.now);
        Ok(())
    }
}
