//! Address spaces of programs, and when what was taken out of them may be used again.
//!
//! A space has a generation, which every change that removes something counts up. A core loads CR3 when it enters ring
//! 3 and the generation is not the one it saw last. So a frame that was unmapped is free at once when no core is in
//! ring 3 with this space and an older generation (or follows its tables in software); else it waits in limbo. Tables
//! wait until every core that has the space loaded has seen the generation, because a processor may follow them (and
//! set bits in them) of its own accord, in ring 0 too.

use super::cpu;
use super::pool::POOL;
use super::tables::{Intent, Retired, Table, TableMemory, Tables};
use super::visibility::View;
use crate::arch;
use crate::irq::apic;
use crate::mm::{self, PAGE_SIZE, frames};
use crate::postmortem;
use crate::smp;
use crate::sync::SpinLock;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use core::time::Duration;
use keelson_hal::user::{AddressSpace, Flush, Frame, FramePool, MapFault, Mapped, PageSize, Protection};
use spin::Once;

/// Bytes copied before others get a chance to have their frames back.
const COPY_STEP: u64 = 256 * 1024;
/// Entries in limbo that are looked through now and then.
const LIMBO_FEW: usize = 64;
/// How long a core may take to leave ring 3 when it is interrupted. A virtual one may not be running.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel's half of every root.
static KERNEL_HALF: Once<(u64, [u64; 256])> = Once::new();

/// Remembers the kernel's tables. What is mapped in its half later must not need a new entry of the root.
pub fn init() {
    let root = arch::cpu::cr3() & !(PAGE_SIZE - 1);
    KERNEL_HALF.call_once(|| (root, kernel_half(root)));
}

/// Root of the kernel's own tables.
pub fn kernel_root() -> u64 {
    KERNEL_HALF.get().map_or(0, |(root, _)| *root)
}

fn kernel_half(root: u64) -> [u64; 256] {
    let table = Direct.table(root);
    core::array::from_fn(|index| table[256 + index].load(Ordering::Acquire))
}

/// Tables from the frame allocator, through the direct map.
struct Direct;

impl TableMemory for Direct {
    fn allocate(&self) -> Option<u64> {
        let frame = frames::allocate_beside_program(0)?;
        super::stock::zero(frame, PAGE_SIZE);
        Some(frame)
    }
    fn table(&self, phys: u64) -> &Table {
        // SAFETY: a frame that holds a table, which stays while anybody can follow it; atomics may be shared.
        unsafe { &*(mm::phys_to_virt(phys) as *const Table) }
    }
}

/// Something that somebody may still see.
struct Waiting {
    generation: u64,
    what: What,
}

enum What {
    Frame(#[allow(dead_code)] Frame),
    Table(u64),
}

/// What cores hold on to while they have a space loaded.
pub struct Inner {
    tables: Tables<Direct>,
    generation: AtomicU64,
    /// Cores that have the space loaded.
    cores: AtomicU64,
    /// The process is gone: there are only tables left.
    dead: AtomicBool,
    /// Lock for changes; what waits.
    changes: SpinLock<Vec<Waiting>>,
    /// Entries of the list, to be read without the lock.
    waiting: AtomicU32,
}

/// The address space of one process.
pub struct Space {
    inner: Arc<Inner>,
}

/// A space without pages; `None` when memory is short.
pub fn new() -> Option<Arc<dyn AddressSpace>> {
    let (kernel, half) = KERNEL_HALF.get()?;
    assert!(
        kernel_half(*kernel) == *half,
        "the kernel's half of the address space changed after user mode began"
    );
    let root = Direct.allocate()?;
    for (slot, entry) in Direct.table(root).iter().skip(256).zip(half) {
        slot.store(*entry, Ordering::Release);
    }
    let inner = Inner {
        tables: Tables::new(Direct, root),
        generation: AtomicU64::new(1),
        cores: AtomicU64::new(0),
        dead: AtomicBool::new(false),
        changes: SpinLock::new(Vec::new()),
        waiting: AtomicU32::new(0),
    };
    Some(Arc::new(Space { inner: Arc::new(inner) }))
}

/// Physical address of the root table of a space; `None` when it is not the kernel's.
pub fn root_of(space: &dyn AddressSpace) -> Option<u64> {
    let any: &dyn core::any::Any = space;
    any.downcast_ref::<Space>().map(|space| space.inner.root())
}

impl Space {
    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    /// Physical address of the root table.
    pub(super) fn root(&self) -> u64 {
        self.tables.root()
    }

    /// Changes that removed something, so far.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The process is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// `core` is about to load the space.
    pub(super) fn enter(&self, core: usize) {
        self.cores.fetch_or(1 << core, Ordering::SeqCst);
    }

    /// `core` has loaded something else.
    pub(super) fn leave(&self, core: usize) {
        self.cores.fetch_and(!(1 << core), Ordering::SeqCst);
        self.drain();
    }

    fn key(&self) -> usize {
        &raw const *self as usize
    }

    fn changed(&self) -> u64 {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        fence(Ordering::SeqCst);
        generation
    }

    /// Cores whose bit is set.
    fn loaded_on(&self) -> impl Iterator<Item = usize> {
        let mut bits = self.cores.load(Ordering::SeqCst);
        core::iter::from_fn(move || {
            let core = bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
            (core < u64::BITS as usize).then_some(core)
        })
    }

    /// What `core` does with the space. `inside` is read before `seen`.
    fn view(&self, core: usize, loaded: bool) -> View {
        let user = &smp::cpu(core).user;
        let inside = user.inside.load(Ordering::Acquire) == self.key();
        let walking = user.walking.load(Ordering::Acquire) == self.key();
        View { loaded, inside, walking, seen: user.seen.load(Ordering::Acquire) }
    }

    /// True when `core` runs the program with translations older than `generation`.
    fn runs_old(&self, core: usize, generation: u64) -> bool {
        View { walking: false, ..self.view(core, true) }.may_use_page(generation)
    }

    /// All cores' views. Any core may walk the tables; programs run on those that have them loaded.
    fn views(&self) -> impl Iterator<Item = View> {
        let loaded = self.cores.load(Ordering::SeqCst);
        (0..smp::online()).map(move |core| self.view(core, loaded >> core & 1 != 0))
    }

    fn page_in_use(&self, generation: u64) -> bool {
        self.views().any(|view| view.may_use_page(generation))
    }

    fn table_in_use(&self, generation: u64) -> bool {
        self.views().any(|view| view.may_follow_table(generation))
    }

    /// Lets go of what nobody can see any more.
    pub(super) fn drain(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            self.drain_locked(&mut self.changes.lock());
        }
    }

    fn drain_locked(&self, waiting: &mut Vec<Waiting>) {
        fence(Ordering::SeqCst);
        waiting.retain(|entry| match &entry.what {
            What::Frame(_) => self.page_in_use(entry.generation),
            What::Table(_) if self.dead.load(Ordering::Relaxed) => true,
            What::Table(table) => {
                let used = self.table_in_use(entry.generation);
                if !used {
                    free_table(*table);
                }
                used
            }
        });
        self.waiting.store(waiting.len() as u32, Ordering::Relaxed);
    }

    /// Keeps something until nobody can see it.
    fn keep(&self, waiting: &mut Vec<Waiting>, generation: u64, what: What) {
        if waiting.len() >= LIMBO_FEW && waiting.len().is_power_of_two() {
            self.drain_locked(waiting);
        }
        if waiting.try_reserve(1).is_err() {
            // No memory for the list: see to it now. Cores that only have the space loaded keep tables in use.
            self.interrupt(generation);
            if let What::Table(_) = what {
                log::warn!(target: "user", "no memory to remember a page table: it is lost");
            }
            return;
        }
        waiting.push(Waiting { generation, what });
        self.waiting.store(waiting.len() as u32, Ordering::Relaxed);
    }

    fn retire(&self, waiting: &mut Vec<Waiting>, generation: u64, retired: &Retired) {
        for table in retired.tables.iter().flatten() {
            self.keep(waiting, generation, What::Table(*table));
        }
    }

    /// Interrupts the cores that run the program with translations older than `generation`, and waits until they
    /// have left ring 3. They always can: nobody waits in the kernel for a core that is in ring 3 with a lock.
    fn interrupt(&self, generation: u64) {
        let here = smp::here();
        for core in self.loaded_on().filter(|core| *core != here.core()) {
            if !self.runs_old(core, generation) {
                continue;
            }
            apic::send_shootdown(smp::apic_id(core));
            let began = crate::time::now();
            // One that is held takes the interrupt before its next instruction.
            while self.runs_old(core, generation) && !postmortem::is_held(core) {
                cpu::serve_requests(here);
                arch::cpu::pause();
                assert!(crate::time::now() - began < PATIENCE, "core {core} does not leave ring 3");
            }
        }
    }

    /// Does something with the tables of which no part goes away meanwhile.
    fn walk<T>(&self, act: impl FnOnce(&Tables<Direct>) -> T) -> T {
        let walking = &smp::here().user.walking;
        walking.store(self.key(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let result = act(&self.tables);
        walking.store(0, Ordering::Release);
        result
    }

    /// Goes through user memory piece by piece. `Err(n)`: only `n` bytes could be reached.
    fn pieces(
        &self,
        at: u64,
        len: usize,
        intent: Intent,
        mut act: impl FnMut(usize, usize, usize),
    ) -> Result<(), usize> {
        let mut done = 0;
        while done < len {
            let Some(here) = at.checked_add(done as u64) else { return Err(done) };
            let wanted = (len - done) as u64;
            let moved = self.walk(|tables| {
                let (phys, left) = tables.translate(here, intent)?;
                let part = left.min(wanted).min(COPY_STEP) as usize;
                act(mm::phys_to_virt(phys), done, part);
                Some(part)
            });
            done += moved.ok_or(done)?;
        }
        Ok(())
    }

    /// An aligned word of user memory.
    fn word<T>(&self, at: u64, intent: Intent, act: impl FnOnce(&AtomicU32) -> T) -> Option<T> {
        if !at.is_multiple_of(4) {
            return None;
        }
        self.walk(|tables| {
            let (phys, _) = tables.translate(at, intent)?;
            // SAFETY: aligned, inside a page that stays while we walk; programs use it with atomics of their own.
            Some(act(unsafe { AtomicU32::from_ptr(mm::phys_to_virt(phys) as *mut u32) }))
        })
    }
}

fn free_table(table: u64) {
    // SAFETY: taken out of the tables, and no core can be in it any more.
    unsafe { frames::free(table, 0) };
}

impl Drop for Inner {
    fn drop(&mut self) {
        // No core has the space loaded.
        for entry in self.changes.lock().drain(..) {
            if let What::Table(table) = entry.what {
                free_table(table);
            }
        }
        self.tables.for_each_table(free_table);
        free_table(self.tables.root());
    }
}

impl Drop for Space {
    /// No thread runs any more: frames are free at once; tables when the last core loads something else.
    fn drop(&mut self) {
        let inner = &self.inner;
        inner.tables.clear(|frame, size| POOL.release(frame, size));
        inner.dead.store(true, Ordering::Release);
        inner.changed();
        inner.changes.lock().retain(|entry| matches!(entry.what, What::Table(_)));
        cpu::leave_dead_space(smp::here());
    }
}

impl AddressSpace for Space {
    fn map(&self, at: u64, frame: Frame, protection: Protection) -> Result<(), (MapFault, Frame)> {
        let mut retired = Retired::default();
        let mut waiting = self.inner.changes.lock();
        match self.inner.tables.map(at, frame.address(), frame.size(), protection, &mut retired) {
            Ok(()) => {
                // The entry has the reference now.
                let _ = frame.into_raw();
                if retired != Retired::default() {
                    let generation = self.inner.changed();
                    self.inner.retire(&mut waiting, generation, &retired);
                }
                Ok(())
            }
            Err(fault) => Err((fault, frame)),
        }
    }

    fn unmap(&self, at: u64) -> Option<Frame> {
        let inner = &self.inner;
        let mut retired = Retired::default();
        let mut waiting = inner.changes.lock();
        let (address, size) = inner.tables.unmap(at, &mut retired)?;
        let frame = Frame::adopt(&POOL, address, size);
        let generation = inner.changed();
        cpu::drop_translation(smp::here(), inner, at, generation);
        if inner.page_in_use(generation) {
            inner.keep(&mut waiting, generation, What::Frame(frame.clone()));
        }
        inner.retire(&mut waiting, generation, &retired);
        Some(frame)
    }

    fn protect(&self, at: u64, protection: Protection) -> bool {
        let _changes = self.inner.changes.lock();
        self.inner.tables.protect(at, protection)
    }

    fn split(&self, at: u64) -> Result<(), MapFault> {
        let _changes = self.inner.changes.lock();
        let (frame, size) = self.inner.tables.split(at)?;
        POOL.split(frame, size);
        self.inner.changed();
        Ok(())
    }

    fn find(&self, at: u64) -> Option<Mapped> {
        self.inner.walk(|tables| tables.find(at))
    }

    fn next(&self, from: u64, end: u64) -> Option<Mapped> {
        self.inner.walk(|tables| tables.next(from, end))
    }

    fn share(&self, at: u64) -> Option<Frame> {
        // Under the lock: the entry's reference stays while it is copied.
        let _changes = self.inner.changes.lock();
        let page = self.inner.tables.find(at)?;
        POOL.retain(page.frame, page.size);
        Some(Frame::adopt(&POOL, page.frame, page.size))
    }

    fn take_dirty(&self, at: u64) -> bool {
        let _changes = self.inner.changes.lock();
        self.inner.tables.take_dirty(at)
    }

    fn flush(&self, how: Flush) {
        let generation = self.inner.changed();
        if how == Flush::Now {
            self.inner.interrupt(generation);
        }
        self.inner.drain();
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize> {
        self.inner.pieces(at, into.len(), Intent::Read, |from, offset, len| {
            let part = &mut into[offset..offset + len];
            // SAFETY: `len` bytes of a page that stays while we walk. Programs may write at the same time: then the
            // bytes are old or new.
            unsafe { core::ptr::copy_nonoverlapping(from as *const u8, part.as_mut_ptr(), len) };
        })
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize> {
        self.inner.pieces(at, from.len(), Intent::Write, |to, offset, len| {
            let part = &from[offset..offset + len];
            // SAFETY: as `read`; the kernel has no references into pages of programs.
            unsafe { core::ptr::copy_nonoverlapping(part.as_ptr(), to as *mut u8, len) };
        })
    }

    fn load_u32(&self, at: u64) -> Option<u32> {
        self.inner.word(at, Intent::Read, |word| word.load(Ordering::SeqCst))
    }

    fn compare_exchange_u32(&self, at: u64, old: u32, new: u32) -> Option<u32> {
        self.inner.word(at, Intent::Write, |word| {
            match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(found) | Err(found) => found,
            }
        })
    }
}

/// A page of 4 KiB, 2 MiB or 1 GiB, if the processor has it.
pub fn has_pages(size: PageSize) -> bool {
    size != PageSize::Huge || super::features::has_huge_pages()
}
