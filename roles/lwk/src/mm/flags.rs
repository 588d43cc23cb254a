//! Numbers that programs hand to the calls about memory (mmap(2), madvise(2), mremap(2), mbind(2), shmget(2) and the x86-64 headers).

use keelson_hal::user::{PageSize, Protection};

/// Bytes of the smallest page.
pub const PAGE: u64 = 4096;

/// `PROT_*` of mmap(2) and mprotect(2).
pub mod prot {
    /// Readable.
    pub const READ: u64 = 1;
    /// Writable.
    pub const WRITE: u64 = 2;
    /// Executable.
    pub const EXEC: u64 = 4;
    /// Usable for atomic operations: always so.
    pub const SEM: u64 = 8;
    /// mprotect: from here down to the start of an area that grows down.
    pub const GROWSDOWN: u64 = 0x0100_0000;
    /// mprotect: up to the end of an area that grows up, of which there are none.
    pub const GROWSUP: u64 = 0x0200_0000;
}

/// `MAP_*` of mmap(2).
pub mod map {
    /// Shared with everybody who maps the same.
    pub const SHARED: u64 = 0x01;
    /// Own copy.
    pub const PRIVATE: u64 = 0x02;
    /// Shared, and unknown flags are an error.
    pub const SHARED_VALIDATE: u64 = 0x03;
    /// The bits that say which.
    pub const TYPE: u64 = 0x0f;
    /// Exactly there, instead of what is there.
    pub const FIXED: u64 = 0x10;
    /// No file.
    pub const ANONYMOUS: u64 = 0x20;
    /// Below 4 GiB.
    pub const IN_32BIT: u64 = 0x40;
    /// A stack that grows by faults below it.
    pub const GROWSDOWN: u64 = 0x0100;
    /// Ignored by Linux.
    pub const DENYWRITE: u64 = 0x0800;
    /// Ignored by Linux.
    pub const EXECUTABLE: u64 = 0x1000;
    /// As with mlock(2).
    pub const LOCKED: u64 = 0x2000;
    /// Do not set memory aside for it.
    pub const NORESERVE: u64 = 0x4000;
    /// Fill it at once.
    pub const POPULATE: u64 = 0x8000;
    /// With `POPULATE`: only what is there.
    pub const NONBLOCK: u64 = 0x1_0000;
    /// Ignored by Linux.
    pub const STACK: u64 = 0x2_0000;
    /// Large pages are a demand.
    pub const HUGETLB: u64 = 0x4_0000;
    /// Persistent memory.
    pub const SYNC: u64 = 0x8_0000;
    /// Exactly there, or not at all.
    pub const FIXED_NOREPLACE: u64 = 0x10_0000;
    /// Where the size of the pages stands, as a power of two.
    pub const HUGE_SHIFT: u32 = 26;
    /// The bits of that size.
    pub const HUGE_MASK: u64 = 0x3f;
    /// What `SHARED_VALIDATE` accepts.
    pub const KNOWN: u64 = TYPE
        | FIXED
        | ANONYMOUS
        | IN_32BIT
        | GROWSDOWN
        | DENYWRITE
        | EXECUTABLE
        | LOCKED
        | NORESERVE
        | POPULATE
        | NONBLOCK
        | STACK
        | HUGETLB
        | FIXED_NOREPLACE
        | HUGE_MASK << HUGE_SHIFT;
}

/// `MREMAP_*` of mremap(2).
pub mod remap {
    /// May move.
    pub const MAYMOVE: u64 = 1;
    /// Moves to a given address.
    pub const FIXED: u64 = 2;
    /// Leaves an empty area behind.
    pub const DONTUNMAP: u64 = 4;
}

/// What a `PROT_*` mask asks for; `None` for unknown bits.
pub fn protection(bits: u64) -> Option<Protection> {
    let known = prot::READ | prot::WRITE | prot::EXEC | prot::SEM;
    (bits & !known == 0).then_some(Protection {
        read: bits & prot::READ != 0,
        write: bits & prot::WRITE != 0,
        execute: bits & prot::EXEC != 0,
    })
}

/// The size of pages that a `MAP_*` mask with `HUGETLB` demands; `None` for a size that x86-64 does not have.
pub fn demanded_size(flags: u64) -> Option<PageSize> {
    match flags >> map::HUGE_SHIFT & map::HUGE_MASK {
        0 | 21 => Some(PageSize::Large),
        30 => Some(PageSize::Huge),
        _ => None,
    }
}

/// The protection of pages: what may be written or executed can be read as well.
pub fn effective(protection: Protection) -> Protection {
    Protection { read: protection.read || protection.write || protection.execute, ..protection }
}

/// The page that contains `at`.
pub const fn page_of(at: u64) -> u64 {
    at & !(PAGE - 1)
}

/// `len` in whole pages; `None` when there is no such number.
pub fn whole_pages(len: u64) -> Option<u64> {
    Some(page_of(len.checked_add(PAGE - 1)?))
}
