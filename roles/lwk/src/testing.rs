//! A machine for tests: frames in a map, page tables in a map, no ring 3.

pub mod host;
pub mod programs;
pub mod view;

use crate::mm::NodeMemory;
use crate::system::System;
use crate::timers::Timers;
use core::cell::Cell;
use keelson_hal::user::{
    AddressSpace, CoreEntries, ExtendedState, Flush, Frame, FramePool, MapFault, Mapped, PageSize,
    Protection, UserMachine,
};
use keelson_hal::{Clock, Entropy, Instant};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SMALL: u64 = 4096;
/// Where the number of the node stands in an address.
const NODE_SHIFT: u32 = 40;

/// Physical memory: small frames with their references, content where it is not zero.
#[derive(Default)]
pub struct Pool {
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    references: HashMap<u64, usize>,
    content: HashMap<u64, Box<[u8]>>,
    /// By node.
    next: [u64; 2],
    used: [u64; 2],
}

impl Pool {
    /// Bytes that are referenced.
    pub fn used(&self) -> u64 {
        self.state.lock().unwrap().used.iter().sum()
    }

    /// Those of a node.
    pub fn used_of(&self, node: usize) -> u64 {
        self.state.lock().unwrap().used[node]
    }

    fn allocate(&'static self, size: PageSize, node: usize, limits: (u64, u64)) -> Option<Frame> {
        let mut state = self.state.lock().unwrap();
        if state.used.iter().sum::<u64>() + size.bytes() > limits.0
            || state.used[node] + size.bytes() > limits.1
        {
            return None;
        }
        let inside = state.next[node].next_multiple_of(size.bytes()).max(size.bytes());
        state.next[node] = inside + size.bytes();
        state.used[node] += size.bytes();
        let address = (node as u64) << NODE_SHIFT | inside;
        for part in (address..address + size.bytes()).step_by(SMALL as usize) {
            state.references.insert(part, 1);
        }
        Some(Frame::adopt(self, address, size))
    }
}

impl FramePool for Pool {
    fn retain(&self, address: u64, size: PageSize) {
        let mut state = self.state.lock().unwrap();
        for part in (address..address + size.bytes()).step_by(SMALL as usize) {
            *state.references.get_mut(&part).expect("a frame that is in use") += 1;
        }
    }

    fn release(&self, address: u64, size: PageSize) {
        let mut state = self.state.lock().unwrap();
        for part in (address..address + size.bytes()).step_by(SMALL as usize) {
            let count = state.references.get_mut(&part).expect("a frame that is in use");
            *count -= 1;
            if *count == 0 {
                state.references.remove(&part);
                state.content.remove(&part);
                state.used[(part >> NODE_SHIFT) as usize] -= SMALL;
            }
        }
    }

    fn references(&self, address: u64, size: PageSize) -> usize {
        let references = &self.state.lock().unwrap().references;
        let parts = (address..address + size.bytes()).step_by(SMALL as usize);
        parts.filter_map(|part| references.get(&part)).copied().max().unwrap_or(0)
    }

    fn read(&self, address: u64, into: &mut [u8]) {
        let state = self.state.lock().unwrap();
        for (at, part) in parts(address, into.len()) {
            let (offset, into) = ((at % SMALL) as usize, &mut into[part]);
            match state.content.get(&(at / SMALL * SMALL)) {
                Some(page) => into.copy_from_slice(&page[offset..][..into.len()]),
                None => into.fill(0),
            }
        }
    }

    fn write(&self, address: u64, from: &[u8]) {
        let mut state = self.state.lock().unwrap();
        for (at, part) in parts(address, from.len()) {
            let (offset, from) = ((at % SMALL) as usize, &from[part]);
            let page = state.content.entry(at / SMALL * SMALL);
            page.or_insert_with(|| vec![0; SMALL as usize].into())[offset..][..from.len()]
                .copy_from_slice(from);
        }
    }

    fn zero(&self, address: u64, len: u64) {
        self.write(address, &vec![0; len as usize]);
    }

    fn split(&self, _address: u64, _size: PageSize) {}
}

/// The parts of `len` bytes at `address` that lie in one small page each: their addresses and where they are in the bytes.
fn parts(address: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = address.wrapping_add(done as u64);
        let start = done;
        done = len.min(done + (SMALL - at % SMALL) as usize);
        (start < done).then_some((at, start..done))
    })
}

struct Entry {
    frame: Frame,
    protection: Protection,
    dirty: bool,
}

/// Page tables.
#[derive(Default)]
pub struct Space {
    pages: Mutex<BTreeMap<u64, Entry>>,
    /// Flushes that had to be done at once.
    pub flushes: AtomicUsize,
}

impl Space {
    fn with<T>(&self, at: u64, act: impl FnOnce(u64, &mut Entry) -> T) -> Option<T> {
        let mut pages = self.pages.lock().unwrap();
        let (start, entry) = pages.range_mut(..=at).next_back()?;
        (at < *start + entry.frame.size().bytes()).then(|| act(*start, entry))
    }

    fn mapped(start: u64, entry: &Entry) -> Mapped {
        Mapped {
            at: start,
            size: entry.frame.size(),
            protection: entry.protection,
            frame: entry.frame.address(),
            dirty: entry.dirty,
        }
    }
}

impl AddressSpace for Space {
    fn map(&self, at: u64, frame: Frame, protection: Protection) -> Result<(), (MapFault, Frame)> {
        let bytes = frame.size().bytes();
        if !at.is_multiple_of(bytes) || at >= 1 << 47 {
            return Err((MapFault::Unaligned, frame));
        }
        if self.next(at, at + bytes).is_some() {
            return Err((MapFault::Occupied, frame));
        }
        self.pages.lock().unwrap().insert(at, Entry { frame, protection, dirty: false });
        Ok(())
    }

    fn unmap(&self, at: u64) -> Option<Frame> {
        let start = self.with(at, |start, _| start)?;
        self.pages.lock().unwrap().remove(&start).map(|entry| entry.frame)
    }

    fn protect(&self, at: u64, protection: Protection) -> bool {
        self.with(at, |_, entry| entry.protection = protection).is_some()
    }

    fn split(&self, at: u64) -> Result<(), MapFault> {
        let start = self.with(at, |start, _| start).ok_or(MapFault::Unaligned)?;
        let mut pages = self.pages.lock().unwrap();
        let size = pages[&start].frame.size().smaller().ok_or(MapFault::Unaligned)?;
        let entry = pages.remove(&start).ok_or(MapFault::Unaligned)?;
        let address = entry.frame.address();
        for part in 0..512 {
            let offset = part * size.bytes();
            // The references of the whole become those of its parts: counted by small frames.
            let frame = Frame::adopt(pool(), address + offset, size);
            let part = Entry { frame, protection: entry.protection, dirty: entry.dirty };
            pages.insert(start + offset, part);
        }
        let _ = entry.frame.into_raw();
        Ok(())
    }

    fn find(&self, at: u64) -> Option<Mapped> {
        self.with(at, |start, entry| Space::mapped(start, entry))
    }

    fn next(&self, from: u64, end: u64) -> Option<Mapped> {
        if let Some(mapped) = self.find(from) {
            return Some(mapped);
        }
        let pages = self.pages.lock().unwrap();
        pages.range(from..end).next().map(|(start, entry)| Space::mapped(*start, entry))
    }

    fn share(&self, at: u64) -> Option<Frame> {
        self.with(at, |_, entry| entry.frame.clone())
    }

    fn take_dirty(&self, at: u64) -> bool {
        self.with(at, |_, entry| core::mem::take(&mut entry.dirty)).unwrap_or(false)
    }

    fn flush(&self, how: Flush) {
        if how == Flush::Now {
            self.flushes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize> {
        for (here, part) in parts(at, into.len()) {
            let (done, into) = (part.start, &mut into[part]);
            let got = self.with(here, |start, entry| {
                entry.protection.read.then(|| entry.frame.read(here - start, into))
            });
            got.flatten().ok_or(done)?;
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize> {
        for (here, part) in parts(at, from.len()) {
            let (index, from) = (part.start, &from[part]);
            let done = self.with(here, |start, entry| {
                if entry.protection.write {
                    entry.frame.write(here - start, from);
                    entry.dirty = true;
                }
                entry.protection.write
            });
            if done != Some(true) {
                return Err(index);
            }
        }
        Ok(())
    }

    fn load_u32(&self, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        (at.is_multiple_of(4) && self.read(at, &mut bytes).is_ok()).then(|| u32::from_le_bytes(bytes))
    }

    fn compare_exchange_u32(&self, at: u64, old: u32, new: u32) -> Option<u32> {
        let found = self.load_u32(at)?;
        let with = if found == old { new } else { found };
        self.write(at, &with.to_le_bytes()).ok().map(|()| found)
    }
}

/// The extended state of a processor with an XSAVE area of 832 bytes (x87, SSE, AVX).
struct Extended(Mutex<Vec<u8>>);

impl ExtendedState for Extended {
    fn len(&self) -> usize {
        832
    }
    fn save(&self, into: &mut [u8]) {
        into[..832].copy_from_slice(&self.0.lock().unwrap());
    }
    fn load(&self, from: &[u8]) -> bool {
        from.len() == 832 && {
            self.0.lock().unwrap().copy_from_slice(from);
            true
        }
    }
    fn copy_from(&self, other: &dyn ExtendedState) {
        let mut copy = vec![0; 832];
        other.save(&mut copy);
        self.0.lock().unwrap().copy_from_slice(&copy);
    }
    fn reset(&self) {
        self.0.lock().unwrap().fill(0);
    }
    fn park(&self) {}
}

/// Five cores (the first a service core), two NUMA nodes.
pub struct Machine {
    /// Bytes of memory.
    pub limit: AtomicU64,
    /// Bytes of memory of each node.
    pub limits: [AtomicU64; 2],
    /// Kicks that cores got.
    pub kicks: [AtomicUsize; 5],
    /// The time stamp counter cannot be relied on.
    pub has_no_tsc: AtomicBool,
    /// The kernel has hardly any memory left.
    pub short: AtomicBool,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            limit: AtomicU64::new(u64::MAX),
            limits: [u64::MAX; 2].map(AtomicU64::new),
            kicks: Default::default(),
            has_no_tsc: AtomicBool::new(false),
            short: AtomicBool::new(false),
        }
    }
}

thread_local! {
    static POOL: Cell<&'static Pool> = Cell::new(Box::leak(Box::default()));
}

/// The memory of this test.
pub fn pool() -> &'static Pool {
    POOL.get()
}

impl UserMachine for Machine {
    fn allocate(&self, size: PageSize, node: usize) -> Option<Frame> {
        [node, 1 - node].into_iter().find_map(|node| self.allocate_on(size, node))
    }
    fn allocate_on(&self, size: PageSize, node: usize) -> Option<Frame> {
        let limits = (self.limit.load(Ordering::Relaxed), self.limits[node].load(Ordering::Relaxed));
        pool().allocate(size, node, limits)
    }
    fn memory(&self, node: usize) -> (u64, u64) {
        let of_node = self.limits[node].load(Ordering::Relaxed);
        let total = self.limit.load(Ordering::Relaxed).min(4 << 30);
        let free = total.saturating_sub(pool().used()).min(of_node.saturating_sub(pool().used_of(node)));
        (free, total.min(of_node))
    }
    fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }
    fn node_of_memory(&self, address: u64) -> Option<usize> {
        Some((address >> NODE_SHIFT) as usize)
    }
    fn nodes(&self) -> usize {
        2
    }
    fn has_pages(&self, _size: PageSize) -> bool {
        true
    }
    fn new_space(&self) -> Option<Arc<dyn AddressSpace>> {
        Some(Arc::new(Space::default()))
    }
    fn new_extended(&self) -> Option<Arc<dyn ExtendedState>> {
        Some(Arc::new(Extended(Mutex::new(vec![0; 832]))))
    }
    fn cores(&self) -> usize {
        self.kicks.len()
    }
    fn node_of(&self, core: usize) -> usize {
        usize::from(core > 2)
    }
    fn kick(&self, core: usize) {
        self.kicks[core].fetch_add(1, Ordering::Relaxed);
    }
    fn entries(&self, _core: usize) -> CoreEntries {
        CoreEntries::default()
    }
    fn tsc(&self) -> (u64, u64) {
        (0, 1_000_000_000)
    }
    fn tsc_is_clock(&self) -> bool {
        !self.has_no_tsc.load(Ordering::Relaxed)
    }
    fn cpuid(&self, leaf: u32, sub: u32) -> [u32; 4] {
        // The XSAVE area of x87, SSE and AVX.
        if (leaf, sub) == (0xd, 0) { [7, 832, 832, 0] } else { [0; 4] }
    }
}

/// Virtual time that several threads may look at.
#[derive(Default)]
pub struct TestClock(AtomicU64);

impl TestClock {
    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The same random numbers in every run.
#[derive(Default)]
struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            *byte = (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()[0];
        }
    }
}

/// A system on the fake machine with its clock.
pub fn system() -> (Arc<System>, Arc<Machine>, Arc<TestClock>) {
    let (machine, clock) = (Arc::new(Machine::default()), Arc::new(TestClock::default()));
    let system = System {
        machine: machine.clone(),
        clock: clock.clone(),
        entropy: Arc::new(TestEntropy::default()),
        timers: Timers::new(clock.clone()),
        memory: Arc::new(NodeMemory::new(1 << 20)),
        run_on: |_, _| false,
    };
    (Arc::new(system), machine, clock)
}

#[test]
fn frames_are_counted_and_split() {
    let (system, ..) = system();
    let space = system.machine.new_space().unwrap();
    let frame = system.machine.allocate(PageSize::Large, 0).unwrap();
    let copy = frame.clone();
    space.map(0x20_0000, frame, Protection::READ_WRITE).unwrap();
    assert_eq!(space.write(0x20_0ffe, b"abcd"), Ok(()));
    space.split(0x20_0000).unwrap();
    assert!(space.unmap(0x20_0000).unwrap().is_shared());
    assert_eq!(space.read(0x20_0ffe, &mut [0; 4]), Err(0));
    let mut two = [0; 2];
    assert_eq!(space.read(0x20_1000, &mut two), Ok(()));
    assert_eq!(&two, b"cd");
    drop(space);
    assert_eq!(pool().used(), 2 << 20);
    drop(copy);
    assert_eq!(pool().used(), 0);
}

/// Anonymous memory for a program, to be had by touching it.
pub fn map_anonymous(mm: &crate::mm::Mm, at: u64, len: u64) {
    // MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE.
    let flags = 0x2 | 0x10 | 0x20 | 0x4000;
    let request = crate::mm::Map { at, len, protection: Protection::READ_WRITE, flags, ..Default::default() };
    mm.mmap(&request).expect("memory for a program");
}
