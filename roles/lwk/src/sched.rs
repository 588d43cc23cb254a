//! Where threads run (section 3.7): slices of the partition, seats on cores, helper threads.

use crate::Errno;
use crate::cores::{Core, CoreState};
use crate::node::Node;
use crate::table::{Ended, Member};
use crate::thread::{Attention, Thread};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

/// Words of a [`CpuSet`].
const WORDS: usize = 4;

/// A set of logical CPUs, in the numbers of the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// CPUs that a set can hold.
    pub const CAPACITY: usize = WORDS * 64;

    /// Every CPU.
    pub const ALL: CpuSet = CpuSet([u64::MAX; WORDS]);

    /// From the bytes of a program's mask; what is too long is cut off, as in Linux.
    pub fn from_bytes(bytes: &[u8]) -> CpuSet {
        let mut set = CpuSet::default();
        for (index, byte) in bytes.iter().take(WORDS * 8).enumerate() {
            set.0[index / 8] |= u64::from(*byte) << (index % 8 * 8);
        }
        set
    }

    /// The mask in memory.
    pub fn to_bytes(self) -> [u8; WORDS * 8] {
        let mut bytes = [0; WORDS * 8];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// True when the CPU is in the set.
    pub fn has(&self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 != 0)
    }

    /// Adds a CPU.
    pub fn insert(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word |= 1 << (cpu % 64);
        }
    }

    /// CPUs in both sets.
    pub fn and(mut self, other: CpuSet) -> CpuSet {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    /// True when no CPU is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> CpuSet {
        let mut set = CpuSet::default();
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

/// The part of the partition that a launched process and all its descendants share.
pub struct Slice {
    /// Logical CPUs.
    pub cpus: CpuSet,
    /// Most compute threads at once.
    limit: usize,
    threads: AtomicUsize,
    refused: AtomicBool,
    /// sched_yield(2) does nothing (`--disable-sched-yield`).
    keeps: AtomicBool,
}

impl Slice {
    /// The CPUs `cpus` with room for `limit` threads.
    pub fn new(cpus: CpuSet, limit: usize) -> Slice {
        Slice {
            cpus,
            limit,
            threads: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
        }
    }

    /// sched_yield(2) does nothing from now on.
    pub(crate) fn keep(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// True when sched_yield(2) does nothing.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Relaxed)
    }

    /// Compute threads that it has.
    pub fn threads(&self) -> usize {
        self.threads.load(Ordering::Acquire)
    }

    /// True the first time, for whoever reports that there is no place.
    pub(crate) fn first_refusal(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }

    fn admit(&self) -> bool {
        let one_more = |threads| (threads < self.limit).then_some(threads + 1);
        self.threads.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }
}

/// A thread's place on a core, given back when dropped.
pub struct Seat {
    core: Arc<Core>,
    /// The slice it counts in; not for helpers and guests.
    slice: Option<Arc<Slice>>,
    /// The allowance it counts in, for helpers.
    helpers: Option<Arc<AtomicUsize>>,
}

impl Seat {
    /// The core.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// True on a service core, for a helper thread.
    pub fn is_helper(&self) -> bool {
        self.helpers.is_some()
    }

    /// True for the child of a vfork, which is not counted.
    pub fn is_guest(&self) -> bool {
        self.slice.is_none() && self.helpers.is_none()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.leave();
        if let Some(slice) = &self.slice {
            slice.threads.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(helpers) = &self.helpers {
            helpers.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Where a thread may run, and where it does.
pub struct Placement {
    /// What sched_setaffinity(2) said.
    pub affinity: CpuSet,
    /// Its place; `None` before it starts and after its end.
    pub seat: Option<Seat>,
}

impl Default for Placement {
    fn default() -> Placement {
        Placement { affinity: CpuSet::ALL, seat: None }
    }
}

/// Which of a process' threads become helpers, on service cores.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HelperRules {
    /// Most helpers at once.
    pub allowance: usize,
    /// The n-th clone (from 1) makes a helper: `--uti-thread-rank`.
    pub rank: Option<u32>,
    /// The first n clones do: `--helper-first`.
    pub first: u32,
    /// A thread that takes this name becomes one.
    pub name: Option<Vec<u8>>,
    /// Threads for which there is no core become helpers: `--helper-auto`.
    pub overflow: bool,
    /// They run on the last service core, not on the one that has fewest threads: `--uti-use-last-cpu`.
    pub last: bool,
}

impl HelperRules {
    /// True when the n-th clone (from 1) makes a helper.
    pub fn wants(&self, clone: u32) -> bool {
        clone <= self.first || self.rank == Some(clone)
    }
}

/// Policy and priority as sched_setscheduler(2) stored them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// `SCHED_OTHER` and so on.
    pub policy: u32,
    /// Static priority.
    pub priority: u32,
    /// `SCHED_RESET_ON_FORK`.
    pub reset_on_fork: bool,
    /// From -20, the most favourable, to 19 (setpriority(2)).
    pub nice: i8,
}

impl Policy {
    /// SCHED_FIFO and SCHED_RR, with priorities from 1 to 99.
    pub const REAL_TIME: [u32; 2] = [1, 2];

    /// True with a policy of those.
    pub fn is_real_time(&self) -> bool {
        Policy::REAL_TIME.contains(&self.policy)
    }

    /// What a child has of it.
    pub fn inherited(self) -> Policy {
        match self.reset_on_fork {
            // What is favoured by its nice value loses that too.
            true => Policy { nice: self.nice.max(0), ..Policy::default() },
            false => self,
        }
    }
}

/// What can be asked of a thread's scheduling, also when it has ended and was not waited for yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scheduling {
    /// Policy, priority and nice value.
    pub policy: Policy,
    /// CPUs that it may run on.
    pub cpus: CpuSet,
}

impl Thread {
    /// As it is now.
    pub fn scheduling(&self) -> Scheduling {
        let cpus = self.placement.lock().affinity.and(self.process.slice.cpus);
        Scheduling { policy: *self.policy.lock(), cpus }
    }
}

impl Node {
    /// That of a thread, or of the first thread of a process that has ended, itself or with its process.
    pub fn scheduling(&self, tid: u32) -> Option<Scheduling> {
        if let Some(thread) = self.thread(tid) {
            return Some(thread.scheduling());
        }
        if let Some(process) = self.process(tid) {
            return *process.first_left.lock();
        }
        self.zombie(tid, |_, ended| ended.scheduling)
    }

    /// What `tell` tells of a process that has ended and was not waited for.
    pub fn zombie<T>(&self, pid: u32, tell: impl FnOnce(&Member, &Ended) -> T) -> Option<T> {
        let table = self.table.lock();
        let member = table.member(pid)?;
        Some(tell(member, member.exit.as_ref()?))
    }
}

/// How long a thread keeps a core from others that have their place there too.
const SLICE: Duration = Duration::from_millis(10);

impl Node {
    /// Lets threads that share a core take turns, for ever: a task of the service core, with `allow_oversubscribe`. Without it
    /// a thread that waits for another one by looking again and again would keep that one from running. Cores that have one
    /// thread hear nothing of it.
    pub async fn share_cores(&self) {
        let timers = self.system.timers.clone();
        loop {
            timers.at(timers.now() + SLICE).await;
            self.end_slices();
        }
    }

    /// Whoever is in ring 3 on a shared core lets the others go first.
    pub(crate) fn end_slices(&self) {
        for core in self.settings.compute.iter().filter_map(|core| self.core(*core)) {
            if core.threads() > 1 && core.state() == CoreState::User {
                self.system.machine.kick(core.number);
            }
        }
    }
}

impl Thread {
    /// True when no other thread has its place on this core.
    pub fn is_alone(&self) -> bool {
        self.process.node.core(self.core.load(Ordering::Relaxed)).is_some_and(|core| core.threads() <= 1)
    }

    /// Moves to a service core when its name is that of a helper.
    pub(crate) fn become_helper_by_name(&self) {
        let process = &self.process;
        if process.helper_rules.name.as_ref().is_none_or(|name| *name != self.comm()) {
            return;
        }
        let mut placement = self.placement.lock();
        if placement.seat.as_ref().is_some_and(Seat::is_helper) {
            return;
        }
        if let Some(seat) = process.helper_seat() {
            let old = placement.seat.replace(seat);
            drop(placement);
            drop(old);
            self.demand_self(Attention::MOVE);
        }
    }
}

impl Node {
    /// The core of a logical CPU.
    pub fn core_of_cpu(&self, cpu: usize) -> Option<&Arc<Core>> {
        self.core(*self.settings.compute.get(cpu)?)
    }

    /// The logical CPU of a core; 0 for service cores, which programs do not know.
    pub fn cpu_of_core(&self, number: usize) -> usize {
        self.settings.compute.iter().position(|core| *core == number).unwrap_or(0)
    }

    /// The `index`-th of `parts` equal slices; the whole partition for 0 parts. EINVAL when there are not as many cores.
    pub fn slice(&self, parts: usize, index: usize) -> Result<Arc<Slice>, Errno> {
        let all = self.settings.compute.len();
        let parts = parts.max(1);
        let each = all / parts;
        if each == 0 || index >= parts {
            return Err(Errno::EINVAL);
        }
        let cpus = (index * each..(index + 1) * each).collect();
        Ok(Arc::new(Slice::new(cpus, each * self.capacity())))
    }

    /// The one of `parts` equal slices that has a logical CPU; one that does not exist for a CPU in none.
    pub(crate) fn slice_of_cpu(&self, parts: usize, cpu: usize) -> usize {
        cpu / (self.settings.compute.len() / parts.max(1)).max(1)
    }

    /// The one of `parts` equal slices whose cores have the fewest threads; the first of several.
    pub(crate) fn idlest_slice(&self, parts: usize) -> usize {
        let each = self.settings.compute.len() / parts.max(1);
        let threads = |index: &usize| -> usize {
            let cores = (index * each..(index + 1) * each).filter_map(|cpu| self.core_of_cpu(cpu));
            cores.map(|core| core.threads()).sum()
        };
        (0..parts.max(1)).min_by_key(threads).unwrap_or(0)
    }

    /// A counted place for a compute thread: the allowed core with the fewest threads, lowest number first. EINVAL when the slice
    /// is full, or other programs have its cores: no thread there gives way to another.
    ///
    /// Only in front of its own affinity mask, with room on other cores, a thread shares one: it was asked for.
    pub fn seat(&self, slice: &Arc<Slice>, affinity: CpuSet) -> Result<Seat, Errno> {
        if !slice.admit() {
            return Err(Errno::EINVAL);
        }
        let wanted = slice.cpus.and(affinity);
        let shared =
            || self.has_room(slice.cpus).then(|| self.emptiest(wanted)).flatten().inspect(|core| core.seat());
        let elsewhere = || wanted.is_empty().then(|| self.roomy(slice.cpus)).flatten();
        match self.roomy(wanted).or_else(shared).or_else(elsewhere) {
            Some(core) => Ok(Seat { core, slice: Some(slice.clone()), helpers: None }),
            None => {
                slice.threads.fetch_sub(1, Ordering::AcqRel);
                Err(Errno::EINVAL)
            }
        }
    }

    /// A counted place on a logical CPU, for the first thread of a program whose launcher named it. ENXIO when the slice does not
    /// have it, EINVAL when the slice is full, EBUSY when others have the core.
    pub(crate) fn seat_on(&self, slice: &Arc<Slice>, cpu: usize) -> Result<Seat, Errno> {
        let core = self.core_of_cpu(cpu).filter(|_| slice.cpus.has(cpu)).ok_or(Errno::ENXIO)?;
        if !slice.admit() {
            return Err(Errno::EINVAL);
        }
        if !core.seat_below(self.capacity()) {
            slice.threads.fetch_sub(1, Ordering::AcqRel);
            return Err(Errno::EBUSY);
        }
        Ok(Seat { core: core.clone(), slice: Some(slice.clone()), helpers: None })
    }

    /// A place of the same kind on another core, for a thread that may not stay where it is.
    pub(crate) fn move_seat(&self, seat: &Seat, cpus: CpuSet) -> Option<Seat> {
        let core = self.emptiest(cpus)?;
        let slice = seat.slice.clone();
        if let Some(slice) = &slice {
            slice.threads.fetch_add(1, Ordering::AcqRel);
        }
        core.seat();
        Some(Seat { core, slice, helpers: None })
    }

    /// A place on a core without being counted: a child of vfork on the core of its parent, which is suspended.
    pub(crate) fn guest_seat(&self, core: usize) -> Option<Seat> {
        let core = self.core(core)?.clone();
        core.seat();
        Some(Seat { core, slice: None, helpers: None })
    }

    /// A place on a service core, when fewer than `most` of those counted by `helpers` have one.
    pub fn helper_seat(&self, helpers: &Arc<AtomicUsize>, rules: &HelperRules) -> Option<Seat> {
        let one_more = |count| (count < rules.allowance).then_some(count + 1);
        let mut cores = self.settings.service.iter().filter_map(|number| self.core(*number));
        let core = match rules.last {
            true => cores.next_back(),
            false => cores.min_by_key(|core| core.threads()),
        };
        let core = core?.clone();
        helpers.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        core.seat();
        Some(Seat { core, slice: None, helpers: Some(helpers.clone()) })
    }

    fn emptiest(&self, cpus: CpuSet) -> Option<Arc<Core>> {
        self.among(cpus).min_by_key(|core| core.threads()).cloned()
    }

    /// The emptiest core, with a place taken on it, unless all have as many threads as they may.
    fn roomy(&self, cpus: CpuSet) -> Option<Arc<Core>> {
        loop {
            let core = self.emptiest(cpus)?;
            if core.seat_below(self.capacity()) {
                return Some(core);
            }
            if !self.has_room(cpus) {
                return None;
            }
        }
    }

    fn has_room(&self, cpus: CpuSet) -> bool {
        self.among(cpus).any(|core| core.threads() < self.capacity())
    }

    fn among(&self, cpus: CpuSet) -> impl Iterator<Item = &Arc<Core>> {
        let allowed = (0..self.settings.compute.len()).filter(move |cpu| cpus.has(*cpu));
        allowed.filter_map(|cpu| self.core_of_cpu(cpu))
    }

    /// Threads that a core may have.
    fn capacity(&self) -> usize {
        self.settings.oversubscribe.max(1)
    }
}
