//! User mode: frames, address spaces and the entry into ring 3, as the LWK node sees them.
//!
//! Principles:
//!
//! 1. **A frame is a counted reference.** Page tables hold one for each mapping; a frame is free again when the last
//!    reference is gone and no core can have its translation any more. Nobody can map memory that the kernel uses.
//! 2. **Entering ring 3 is a function call** ([`UserCore::run`]) that returns with the reason of the return.
//! 3. **The kernel never follows a user pointer.** It walks the page tables and copies through its own view of memory, so
//!    that a bad pointer is an error and not a fault.

use crate::Instant;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

/// Sizes of pages that x86-64 has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PageSize {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Large,
    /// 1 GiB.
    Huge,
}

impl PageSize {
    /// Bytes in a page of this size.
    pub const fn bytes(self) -> u64 {
        match self {
            PageSize::Small => 1 << 12,
            PageSize::Large => 1 << 21,
            PageSize::Huge => 1 << 30,
        }
    }

    /// The next smaller size, into 512 of which a page can be split.
    pub const fn smaller(self) -> Option<PageSize> {
        match self {
            PageSize::Small => None,
            PageSize::Large => Some(PageSize::Small),
            PageSize::Huge => Some(PageSize::Large),
        }
    }
}

/// Where frames come from and go to; implemented by the kernel, and by a `HashMap` in tests.
pub trait FramePool: Send + Sync {
    /// One more reference to the frame at `address`.
    fn retain(&self, address: u64, size: PageSize);
    /// One reference less. `size` is the size of the reference, which may be a part of what was allocated.
    fn release(&self, address: u64, size: PageSize);
    /// References to any part of a frame: to it, to what contains it, and to pieces of it. At least 2 as long as somebody
    /// else has one, also while those change size; more than there are when pieces have several.
    fn references(&self, address: u64, size: PageSize) -> usize;
    /// Copies `into.len()` bytes at physical `address` out. The range lies within a frame that the caller holds.
    fn read(&self, address: u64, into: &mut [u8]);
    /// Copies bytes in.
    fn write(&self, address: u64, from: &[u8]);
    /// Writes zeros.
    fn zero(&self, address: u64, len: u64);
    /// Turns one reference to a frame of `size` into 512 to its parts.
    fn split(&self, address: u64, size: PageSize);
}

/// A reference to physical memory that user programs may see. Cloning adds a reference, dropping removes one.
pub struct Frame {
    pool: &'static dyn FramePool,
    address: u64,
    size: PageSize,
}

impl Frame {
    /// Takes over one reference that `pool` has counted already.
    pub fn adopt(pool: &'static dyn FramePool, address: u64, size: PageSize) -> Frame {
        Frame { pool, address, size }
    }

    /// Gives the reference to somebody who keeps it elsewhere (a page table entry) and will [`Frame::adopt`] it back.
    pub fn into_raw(self) -> (u64, PageSize) {
        let raw = (self.address, self.size);
        core::mem::forget(self);
        raw
    }

    /// Physical address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Size.
    pub fn size(&self) -> PageSize {
        self.size
    }

    /// True when there are other references: a copy-on-write page must be copied.
    pub fn is_shared(&self) -> bool {
        self.references() > 1
    }

    /// References to any part of the frame, this one included.
    pub fn references(&self) -> usize {
        self.pool.references(self.address, self.size)
    }

    /// The frame in 512 parts, each a reference of its own; the frame itself when it is small.
    pub fn split(self) -> impl Iterator<Item = Frame> {
        let (pool, part) = (self.pool, self.size.smaller());
        let (address, size) = self.into_raw();
        if part.is_some() {
            pool.split(address, size);
        }
        let part = part.unwrap_or(size);
        let parts = size.bytes() / part.bytes();
        (0..parts).map(move |index| Frame::adopt(pool, address + index * part.bytes(), part))
    }

    /// Copies bytes at `offset` out.
    ///
    /// # Panics
    /// When the range reaches beyond the frame.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        self.check(offset, into.len() as u64);
        self.pool.read(self.address + offset, into);
    }

    /// Copies bytes in at `offset`.
    ///
    /// # Panics
    /// When the range reaches beyond the frame.
    pub fn write(&self, offset: u64, from: &[u8]) {
        self.check(offset, from.len() as u64);
        self.pool.write(self.address + offset, from);
    }

    /// Fills a part with zeros.
    ///
    /// # Panics
    /// When the range reaches beyond the frame.
    pub fn zero(&self, offset: u64, len: u64) {
        self.check(offset, len);
        self.pool.zero(self.address + offset, len);
    }

    fn check(&self, offset: u64, len: u64) {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.size.bytes());
        assert!(inside, "bytes {offset:#x}+{len:#x} of a frame of {:?}", self.size);
    }
}

impl Clone for Frame {
    fn clone(&self) -> Frame {
        self.pool.retain(self.address, self.size);
        Frame { ..*self }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.pool.release(self.address, self.size);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} ({:?})", self.address, self.size)
    }
}

/// What a program may do with a page. `NONE` keeps the frame and lets nobody touch it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Protection {
    /// Readable. x86-64 has no pages that can be written or executed but not read.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub execute: bool,
}

impl Protection {
    /// No access.
    pub const NONE: Protection = Protection { read: false, write: false, execute: false };
    /// Read.
    pub const READ: Protection = Protection { read: true, write: false, execute: false };
    /// Read and write.
    pub const READ_WRITE: Protection = Protection { read: true, write: true, execute: false };
    /// Read and execute.
    pub const READ_EXECUTE: Protection = Protection { read: true, write: false, execute: true };
}

/// A page as the page tables have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// First address of the page.
    pub at: u64,
    /// Its size.
    pub size: PageSize,
    /// What the program may do.
    pub protection: Protection,
    /// Physical address of the frame.
    pub frame: u64,
    /// Written since the flag was cleared.
    pub dirty: bool,
}

/// Why a page was not mapped; the frame comes back with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapFault {
    /// No memory for a page table.
    OutOfMemory,
    /// There is a page already.
    Occupied,
    /// The address is not a multiple of the frame's size, or not in the user half.
    Unaligned,
}

/// How soon other cores must forget translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Before the frames that were unmapped are used again: each core does so at its next entry into the kernel.
    Lazy,
    /// Now: cores that run the address space are interrupted, and the call waits until they obeyed.
    Now,
}

/// The page tables of one process. All calls are short and may come from any core.
///
/// The caller keeps the books of what is mapped why (the map of areas) and has a lock over changes; this only translates.
///
/// `Any`, so that the kernel knows its own again.
pub trait AddressSpace: Any + Send + Sync {
    /// Enters a page. The tables keep the frame's reference.
    fn map(&self, at: u64, frame: Frame, protection: Protection) -> Result<(), (MapFault, Frame)>;

    /// Removes the page that contains `at`. The frame is not used again before all cores have forgotten the translation, even
    /// when the returned reference is dropped at once.
    fn unmap(&self, at: u64) -> Option<Frame>;

    /// Changes what may be done with the page that contains `at`; false when there is none. After a reduction call
    /// [`AddressSpace::flush`].
    fn protect(&self, at: u64, protection: Protection) -> bool;

    /// Makes 512 smaller pages of the large page that contains `at`. Fails with `OutOfMemory` or, without a page that could
    /// be split, with `Unaligned`.
    fn split(&self, at: u64) -> Result<(), MapFault>;

    /// The page that contains `at`.
    fn find(&self, at: u64) -> Option<Mapped>;

    /// The first page at or above `from`, below `end`: how areas that are mostly empty are walked.
    fn next(&self, from: u64, end: u64) -> Option<Mapped>;

    /// A further reference to the frame of the page that contains `at`.
    fn share(&self, at: u64) -> Option<Frame>;

    /// Clears the page's dirty flag and returns what it was. Call [`AddressSpace::flush`] before the content is looked at.
    fn take_dirty(&self, at: u64) -> bool;

    /// Makes other cores forget what changed since the last flush.
    fn flush(&self, how: Flush);

    /// Copies user memory in. `Err(n)`: only `n` bytes were readable.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize>;

    /// Copies to user memory. `Err(n)`: only `n` bytes were writable.
    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize>;

    /// Reads an aligned 32-bit word atomically; `None` when it is not readable or not aligned.
    fn load_u32(&self, at: u64) -> Option<u32>;

    /// Stores `new` where `old` is, atomically: the value found; `None` when it is not writable or not aligned.
    fn compare_exchange_u32(&self, at: u64, old: u32, new: u32) -> Option<u32>;
}

/// The general registers of a thread, as the entry code saves them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    /// Only what a program may change is taken over: the arithmetic flags, DF, TF, AC, ID.
    pub rflags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// The extended state of a thread: x87, SSE, AVX and what else XSAVE knows.
///
/// `Any`, so that the kernel knows its own again.
pub trait ExtendedState: Any + Send + Sync {
    /// Bytes of [`ExtendedState::save`]: the XSAVE area of this processor in standard format (Intel SDM volume 1, 13.4).
    fn len(&self) -> usize;
    /// True for a processor without XSAVE or FXSAVE, of which there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The state as a program sees it in a signal frame. Not while the thread runs on another core.
    fn save(&self, into: &mut [u8]);
    /// Takes over a state from a program. False, and no change, when the processor would refuse it (reserved bits).
    fn load(&self, from: &[u8]) -> bool;
    /// Takes over the state of another thread: for fork and clone.
    fn copy_from(&self, other: &dyn ExtendedState);
    /// As it is at the start of a program.
    fn reset(&self);
    /// Puts the state into memory, so that the thread may continue on another core. Call on the core where it ran last.
    fn park(&self);
}

/// What a thread is to the processor.
pub struct UserContext {
    /// General registers.
    pub registers: Registers,
    /// Everything else.
    pub extended: Arc<dyn ExtendedState>,
}

/// What brought a thread back from user mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// The `syscall` instruction. RCX and R11 are as the instruction leaves them.
    Syscall,
    /// A page fault.
    PageFault {
        /// The address that was used.
        address: u64,
        /// What was tried.
        access: Access,
        /// There is a page, but not for this access.
        present: bool,
    },
    /// Another exception: number and error code (Intel SDM volume 3, table 6-1).
    Exception {
        /// Vector.
        vector: u8,
        /// Error code; 0 for those without.
        error: u64,
    },
    /// An interrupt: on a compute core only because another core wants this one to look around.
    Interrupt,
}

/// What a program tried to do with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Execute.
    Execute,
}

/// How often a core was entered, by cause, since boot (section 8.4). Others may read while it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreEntries {
    /// The core's timer.
    pub timer: u64,
    /// Devices.
    pub device: u64,
    /// Wake-ups by other cores, that ended a halt or interrupted a program.
    pub doorbell: u64,
    /// Those of them that interrupted a program.
    pub kick: u64,
    /// Requests of other cores to forget translations.
    pub shootdown: u64,
    /// Non-maskable.
    pub nmi: u64,
    /// Spurious.
    pub spurious: u64,
    /// Page faults of programs.
    pub page_faults: u64,
    /// Other exceptions of programs.
    pub exceptions: u64,
    /// System calls.
    pub syscalls: u64,
}

/// The core that asks, as a runner of user programs.
pub trait UserCore {
    /// Runs the thread in ring 3 until something brings it back.
    fn run(&self, context: &mut UserContext, space: &dyn AddressSpace) -> Trap;

    /// Makes `run` come back with [`Trap::Interrupt`] at `deadline` at the latest. Only cores that serve others have a timer for
    /// that; on those that only run programs nothing happens.
    fn limit(&self, deadline: Instant);

    /// Says whose work the core does from now on, for who looks at the machine after it stopped; zeros for nobody's.
    fn works_for(&self, pid: u32, tid: u32) {
        let _ = (pid, tid);
    }
}

/// A machine that can run user programs.
pub trait UserMachine: Send + Sync {
    /// A page of zeros on NUMA node `node`, or else on the nearest that has one, or `None`.
    fn allocate(&self, size: PageSize, node: usize) -> Option<Frame>;
    /// A page of zeros on NUMA node `node` and on no other, or `None`.
    fn allocate_on(&self, size: PageSize, node: usize) -> Option<Frame>;
    /// Free and total bytes of NUMA node `node` that programs may have.
    fn memory(&self, node: usize) -> (u64, u64);
    /// The kernel itself runs out of memory: it has less left than it sets aside for calls that are being made. Nothing that stays
    /// should be made for programs until somebody gives something back. Cheap enough to be asked in every call.
    fn is_short(&self) -> bool;
    /// NUMA nodes, at least 1.
    fn nodes(&self) -> usize;
    /// Distance between two NUMA nodes, in tenths of that of a node to itself (ACPI 6.5 section 5.2.17).
    fn distance(&self, from: usize, to: usize) -> u32 {
        if from == to { 10 } else { 20 }
    }
    /// NUMA node of the memory at a physical address; `None` when the machine cannot tell.
    fn node_of_memory(&self, address: u64) -> Option<usize> {
        let _ = address;
        None
    }
    /// True when the processor has pages of this size.
    fn has_pages(&self, size: PageSize) -> bool;
    /// An empty address space.
    fn new_space(&self) -> Option<Arc<dyn AddressSpace>>;
    /// The extended state at the start of a program.
    fn new_extended(&self) -> Option<Arc<dyn ExtendedState>>;
    /// Cores that were started.
    fn cores(&self) -> usize;
    /// NUMA node of a core.
    fn node_of(&self, core: usize) -> usize;
    /// NUMA node of the core that asks.
    fn here(&self) -> usize {
        0
    }
    /// Makes `core` come back from user mode, or from its halt, soon.
    fn kick(&self, core: usize);
    /// What interrupted `core` so far.
    fn entries(&self, core: usize) -> CoreEntries;
    /// Ticks of the time stamp counter: now, and per second.
    fn tsc(&self) -> (u64, u64);
    /// Time is read from it; false when it goes wrong, or the administrator chose another clock.
    fn tsc_is_clock(&self) -> bool {
        true
    }
    /// Notes that a process has this address space and name, for who looks at the machine after it stopped.
    fn process_began(&self, pid: u32, space: &dyn AddressSpace, name: &[u8]) {
        let _ = (pid, space, name);
    }
    /// Forgets it.
    fn process_ended(&self, pid: u32) {
        let _ = pid;
    }
    /// CPUID of the processor: EAX, EBX, ECX, EDX.
    fn cpuid(&self, leaf: u32, sub: u32) -> [u32; 4];
}
