//! System V shared memory: keys and segments of the whole node (shmget(2), shmat(2), shmctl(2), shmdt(2)).

use super::area::{Area, Backing, Pages};
use super::map::fixed_range;
use super::node::NodeMemory;
use super::object::Object;
use super::shm_limits::Promise;
use super::{Mm, PAGE, State, layout, whole_pages};
use crate::sysv::{Member, Permission, Table, User, ipc};
use crate::{Errno, room};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use keelson_hal::user::{Flush, PageSize, Protection, UserMachine};
use spin::Mutex;

/// Most segments (`SHMMNI`).
pub const SEGMENTS_MOST: usize = 4096;
/// Most bytes of a segment (`SHMMAX`), as Linux has it.
pub const SEGMENT_MOST: u64 = u64::MAX - (1 << 24);

/// What `IPC_STAT` tells beside the permissions (`struct shmid64_ds`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShmStat {
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

/// A segment.
pub(super) struct Segment {
    permission: Mutex<Permission>,
    stat: Mutex<ShmStat>,
    /// Gone once it was removed and nobody has it attached.
    object: Mutex<Option<(Arc<Object>, Promise)>>,
    pages: Pages,
    /// It is removed when nobody has it attached, without being asked for that (`shm_rmid_forced=`).
    forced: bool,
}

/// A segment as /proc/sysvipc/shm and ipcs(1) show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentView {
    /// Its identifier.
    pub id: u32,
    /// Its permissions.
    pub permission: Permission,
    /// What `IPC_STAT` tells.
    pub stat: ShmStat,
    /// Bytes of it in memory.
    pub resident: u64,
}

/// One attach: all areas that are left of it refer to it, and its end is the detach.
pub struct Attachment {
    segment: Arc<Segment>,
    /// Where it was attached.
    at: u64,
    user: User,
}

impl Attachment {
    fn new(segment: Arc<Segment>, at: u64, user: User) -> Arc<Attachment> {
        segment.stat.lock().attached += 1;
        Arc::new(Attachment { segment, at, user })
    }

    /// What attaches the same once more when this attach has gone.
    pub(super) fn again(self: Arc<Self>) -> Again {
        let (segment, at, user) = (self.segment.clone(), self.at, self.user);
        Again { old: Arc::downgrade(&self), segment, at, user }
    }

    /// The key of the segment.
    pub fn key(&self) -> u32 {
        self.segment.permission.lock().key
    }
}

/// An attach that may come back.
pub(super) struct Again {
    old: Weak<Attachment>,
    segment: Arc<Segment>,
    at: u64,
    user: User,
}

impl Again {
    /// The attach, of which another area may be left, or a new one, unless the segment went with the last: EINVAL.
    pub fn attach(self) -> Result<Arc<Attachment>, Errno> {
        if let Some(old) = self.old.upgrade() {
            return Ok(old);
        }
        let attachment = Attachment::new(self.segment, self.at, self.user);
        match attachment.segment.is_gone() {
            true => Err(Errno::EINVAL),
            false => Ok(attachment),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let last = {
            let mut stat = self.segment.stat.lock();
            stat.attached = stat.attached.saturating_sub(1);
            stat.last = self.user.pid;
            stat.attached == 0
        };
        if last && (self.segment.forced || self.segment.permission.lock().mode & ipc::DEST != 0) {
            self.segment.object.lock().take();
        }
    }
}

/// The attachments of a child, one for each of its parent's.
#[derive(Default)]
pub(super) struct Inherited(Vec<(Arc<Attachment>, Arc<Attachment>)>);

impl Inherited {
    /// The child's for an area of the parent.
    pub fn of(&mut self, area: &Area) -> Result<Option<Arc<Attachment>>, Errno> {
        let Some(theirs) = &area.attachment else { return Ok(None) };
        // The parts of an attach are neighbours, as a rule.
        if let Some((_, ours)) = self.0.iter().rev().find(|(known, _)| Arc::ptr_eq(known, theirs)) {
            return Ok(Some(ours.clone()));
        }
        let ours = Attachment::new(theirs.segment.clone(), theirs.at, theirs.user);
        room::push(&mut self.0, (theirs.clone(), ours.clone()))?;
        Ok(Some(ours))
    }
}

impl Segment {
    fn told(&self) -> (Permission, ShmStat) {
        (*self.permission.lock(), *self.stat.lock())
    }

    /// Bytes in memory.
    fn resident(&self) -> u64 {
        self.object.lock().as_ref().map_or(0, |(object, _)| object.resident())
    }

    fn is_gone(&self) -> bool {
        self.object.lock().is_none()
    }
}

impl Member for Segment {
    fn permission(&self) -> &Mutex<Permission> {
        &self.permission
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
        user: &User,
    ) -> Result<u32, Errno> {
        let fits = |segment: &Segment| match size > segment.stat.lock().size {
            true => Err(Errno::EINVAL),
            false => Ok(()),
        };
        let make = |permission| {
            let pages = if flags & ipc::HUGETLB != 0 {
                let demanded = super::flags::demanded_size(flags).ok_or(Errno::EINVAL)?;
                machine.has_pages(demanded).then_some(Pages::Only(demanded)).ok_or(Errno::ENOMEM)?
            } else {
                Pages::Any
            };
            let unit = if let Pages::Only(size) = pages { size.bytes() } else { PAGE };
            let whole = size.checked_next_multiple_of(unit).filter(|whole| *whole > 0 && *whole < 1 << 47);
            let whole = whole.ok_or(Errno::EINVAL)?;
            let promise = self.lasting.promise(whole, &self.shm, &**machine)?;
            let object = Object::memory(machine.clone(), whole, PageSize::Huge);
            let stat = ShmStat { size, changed_at: user.now, creator: user.pid, ..ShmStat::default() };
            Ok(Segment {
                permission: Mutex::new(permission),
                stat: Mutex::new(stat),
                object: Mutex::new(Some((object, promise))),
                pages,
                forced: self.shm.forced,
            })
        };
        self.segments().get_or_make(key, flags, user, SEGMENTS_MOST, fits, make)
    }

    /// The segments that are left: one that was removed goes when nobody has it attached.
    fn segments(&self) -> &Table<Segment> {
        self.segments.retain(|segment| !segment.is_gone());
        &self.segments
    }

    /// `IPC_STAT`.
    pub fn shm_stat(&self, id: u32, user: &User) -> Result<(Permission, ShmStat), Errno> {
        let segment = self.segments().get(id)?;
        segment.permission.lock().check(user, 4)?;
        Ok(segment.told())
    }

    /// `SHM_STAT` and `SHM_STAT_ANY`: the segment at an index, with its identifier.
    pub fn shm_stat_at(&self, index: u32, user: Option<&User>) -> Result<(u32, Permission, ShmStat), Errno> {
        let (id, segment) = self.segments().at(index, user)?;
        let (permission, stat) = segment.told();
        Ok((id, permission, stat))
    }

    /// `IPC_SET`: owner, group, permissions.
    pub fn shm_set(&self, id: u32, bytes: &[u8; Permission::BYTES], user: &User) -> Result<(), Errno> {
        let segment = self.segments().get(id)?;
        let mut permission = segment.permission.lock();
        permission.check_owner(user)?;
        permission.set(bytes);
        segment.stat.lock().changed_at = user.now;
        Ok(())
    }

    /// `IPC_RMID`: gone when the last one detaches.
    pub fn shm_remove(&self, id: u32, user: &User) -> Result<(), Errno> {
        let segment = self.segments().get(id)?;
        let mut permission = segment.permission.lock();
        permission.check_owner(user)?;
        permission.mode |= ipc::DEST;
        permission.key = ipc::IPC_PRIVATE;
        drop(permission);
        if segment.stat.lock().attached == 0 {
            segment.object.lock().take();
        }
        Ok(())
    }

    /// `SHM_LOCK` and `SHM_UNLOCK`: noted.
    pub fn shm_lock(&self, id: u32, locked: bool, user: &User) -> Result<(), Errno> {
        let segment = self.segments().get(id)?;
        let mut permission = segment.permission.lock();
        permission.check_owner(user)?;
        let rest = permission.mode & !ipc::LOCKED;
        permission.mode = if locked { rest | ipc::LOCKED } else { rest };
        Ok(())
    }

    /// `SHM_INFO` and `IPC_INFO`.
    pub fn shm_info(&self) -> ShmInfo {
        let segments = self.segments();
        let mut info = ShmInfo { highest: segments.highest() as usize, ..ShmInfo::default() };
        for segment in segments.all() {
            info.segments += 1;
            info.pages += whole_pages(segment.stat.lock().size).unwrap_or(0) / PAGE;
            info.resident += segment.resident() / PAGE;
        }
        info
    }

    /// All segments, whoever asks.
    pub fn shm_all(&self) -> impl Iterator<Item = SegmentView> {
        self.segments().all_with_ids().map(|(id, segment)| {
            let (permission, stat) = segment.told();
            SegmentView { id, permission, stat, resident: segment.resident() }
        })
    }

    /// Bytes in segments that nobody has attached.
    pub fn shm_unattached(&self) -> u64 {
        let unattached = self.segments().all().filter(|segment| segment.stat.lock().attached == 0);
        unattached.map(|segment| segment.resident()).sum()
    }

    /// A process is gone: with `shm_rmid_forced=` so are the segments that it created, as far as nobody has them attached.
    pub fn shm_creator_ended(&self, pid: u32) {
        if !self.shm.forced {
            return;
        }
        for segment in self.segments().all() {
            let stat = segment.stat.lock();
            if stat.creator == pid && stat.attached == 0 {
                segment.object.lock().take();
            }
        }
    }

    /// A shared segment for shmat(2), counted as attached at `at` once it is known.
    fn segment(&self, id: u32, user: &User, access: u32) -> Result<Arc<Segment>, Errno> {
        let segment = self.segments().get(id)?;
        segment.permission.lock().check(user, access)?;
        Ok(segment)
    }
}

impl Mm {
    /// shmat(2): where the segment is.
    pub fn shmat(&self, id: u32, at: u64, flags: u64, user: &User, node: usize) -> Result<u64, Errno> {
        let has = |flag| flags & flag != 0;
        let write = !has(ipc::RDONLY);
        let access = 4 | if write { 2 } else { 0 } | if has(ipc::EXEC) { 1 } else { 0 };
        let segment = self.system.memory.segment(id, user, access)?;
        let object = segment.object.lock().as_ref().map(|(object, _)| object.clone()).ok_or(Errno::EIDRM)?;
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
        self.has_room(&state)?;
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
    pub fn shmdt(&self, at: u64, user: &User) -> Result<(), Errno> {
        let mut state = self.lock();
        let attachment =
            state.areas.iter().filter_map(|area| area.attachment.as_ref()).find(|its| its.at == at);
        let attachment = attachment.cloned().ok_or(Errno::EINVAL)?;
        let mine = |area: &&Area| area.attachment.as_ref().is_some_and(|its| Arc::ptr_eq(its, &attachment));
        let next = |state: &State, at| state.areas.overlapping(at..layout::TOP).find(mine).map(Area::range);
        let mut at = 0;
        while let Some(part) = next(&state, at) {
            at = part.end;
            self.unmap_range(&mut state, &part, Flush::Now)?;
        }
        let mut stat = attachment.segment.stat.lock();
        (stat.last, stat.detached_at) = (user.pid, user.now);
        Ok(())
    }
}
