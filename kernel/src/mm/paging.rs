//! Page tables of x86-64, four levels, built through a small trait so that tests can build them in a `Vec`.

use x86_64::structures::paging::PageTableFlags;

/// Bytes in a small page, and in a table.
pub const PAGE_SIZE: u64 = 4096;
const SIZE_2M: u64 = 2 << 20;
const SIZE_1G: u64 = 1 << 30;

const PRESENT: u64 = PageTableFlags::PRESENT.bits();
const WRITABLE: u64 = PageTableFlags::WRITABLE.bits();
const WRITE_THROUGH: u64 = PageTableFlags::WRITE_THROUGH.bits();
const CACHE_DISABLE: u64 = PageTableFlags::NO_CACHE.bits();
const LARGE: u64 = PageTableFlags::HUGE_PAGE.bits();
const NO_EXECUTE: u64 = PageTableFlags::NO_EXECUTE.bits();
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What may be done with a mapping. There is nothing both writable and executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    Execute,
    /// Read and write device registers: uncached.
    Device,
    /// Write pictures: what is written may be put together on its way ([`enable_write_combining`](crate::arch::cpu::enable_write_combining)).
    Picture,
}

impl Access {
    fn bits(self) -> u64 {
        PRESENT
            | match self {
                Access::Read => NO_EXECUTE,
                Access::ReadWrite => NO_EXECUTE | WRITABLE,
                Access::Execute => 0,
                Access::Device => NO_EXECUTE | WRITABLE | CACHE_DISABLE | WRITE_THROUGH,
                Access::Picture => NO_EXECUTE | WRITABLE | WRITE_THROUGH,
            }
    }
}

/// Where tables come from and how they are reached.
pub trait TableMemory {
    /// A zeroed frame for a table: its physical address.
    fn allocate(&mut self) -> Option<u64>;
    /// The table in the frame at `phys`, as handed out by [`TableMemory::allocate`].
    fn table(&mut self, phys: u64) -> &mut [u64; 512];
}

/// Why a range could not be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame for a table.
    OutOfMemory,
    /// Something is mapped there already.
    Occupied,
    /// Addresses or length are not multiples of the page size.
    Unaligned,
}

/// An address space under construction or in use.
pub struct PageTables<M> {
    memory: M,
    root: u64,
    huge_pages: bool,
}

impl<M: TableMemory> PageTables<M> {
    /// An empty address space. `huge_pages`: the processor has 1 GiB pages.
    pub fn new(mut memory: M, huge_pages: bool) -> Option<PageTables<M>> {
        let root = memory.allocate()?;
        Some(PageTables { memory, root, huge_pages })
    }

    /// Continues with the tables under `root`.
    pub fn at(memory: M, root: u64, huge_pages: bool) -> PageTables<M> {
        PageTables { memory, root, huge_pages }
    }

    /// Physical address of the root table, for CR3.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Maps `virt..virt + len` to `phys..` with the largest pages that fit.
    pub fn map(&mut self, virt: u64, phys: u64, len: u64, access: Access) -> Result<(), MapError> {
        if !(virt | phys | len).is_multiple_of(PAGE_SIZE) {
            return Err(MapError::Unaligned);
        }
        let mut done = 0;
        while done < len {
            let (at, to, left) = (virt + done, phys + done, len - done);
            let fits = |size: u64| (at | to).is_multiple_of(size) && left >= size;
            let (size, level) = if self.huge_pages && fits(SIZE_1G) {
                (SIZE_1G, 2)
            } else if fits(SIZE_2M) {
                (SIZE_2M, 1)
            } else {
                (PAGE_SIZE, 0)
            };
            let large = if level > 0 { LARGE } else { 0 };
            let entry = self.entry(at, level)?;
            if *entry != 0 {
                return Err(MapError::Occupied);
            }
            *entry = to | access.bits() | large;
            done += size;
        }
        Ok(())
    }

    /// Removes the small page at `virt`; false when there is none.
    pub fn unmap_page(&mut self, virt: u64) -> bool {
        match self.entry(virt, 0) {
            Ok(entry) if *entry != 0 => {
                *entry = 0;
                true
            }
            _ => false,
        }
    }

    /// The physical address behind `virt` and its entry's bits.
    pub fn walk(&mut self, virt: u64) -> Option<(u64, u64)> {
        let mut table = self.root;
        for level in (0..4).rev() {
            let entry = self.memory.table(table)[index(virt, level)];
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                let offset = virt & ((PAGE_SIZE << (9 * level)) - 1);
                return Some(((entry & ADDRESS & !((PAGE_SIZE << (9 * level)) - 1)) + offset, entry));
            }
            table = entry & ADDRESS;
        }
        None
    }

    /// The entry for `virt` in the table of `level` (0: 4 KiB, 1: 2 MiB, 2: 1 GiB), with the tables above it
    /// created as needed. Upper entries are writable and executable: the last level decides.
    fn entry(&mut self, virt: u64, level: u32) -> Result<&mut u64, MapError> {
        let mut table = self.root;
        for upper in (level + 1..4).rev() {
            let slot = index(virt, upper);
            let entry = self.memory.table(table)[slot];
            table = if entry & PRESENT == 0 {
                let fresh = self.memory.allocate().ok_or(MapError::OutOfMemory)?;
                self.memory.table(table)[slot] = fresh | PRESENT | WRITABLE;
                fresh
            } else if entry & LARGE != 0 {
                return Err(MapError::Occupied);
            } else {
                entry & ADDRESS
            };
        }
        Ok(&mut self.memory.table(table)[index(virt, level)])
    }
}

fn index(virt: u64, level: u32) -> usize {
    (virt >> (12 + 9 * level)) as usize & 511
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables at 0x1000, 0x2000, ... up to a limit.
    struct Fake(Vec<Box<[u64; 512]>>, usize);

    impl TableMemory for Fake {
        fn allocate(&mut self) -> Option<u64> {
            if self.0.len() == self.1 {
                return None;
            }
            self.0.push(Box::new([0; 512]));
            Some(self.0.len() as u64 * 4096)
        }
        fn table(&mut self, phys: u64) -> &mut [u64; 512] {
            &mut self.0[phys as usize / 4096 - 1]
        }
    }

    fn tables(limit: usize, huge: bool) -> PageTables<Fake> {
        PageTables::new(Fake(Vec::new(), limit), huge).unwrap()
    }

    #[test]
    fn uses_the_largest_page_that_fits() {
        let mut t = tables(16, true);
        let base = 0xffff_8000_0000_0000;
        t.map(base, 0, SIZE_1G + SIZE_2M + PAGE_SIZE, Access::ReadWrite).unwrap();
        assert_eq!(t.memory.0.len(), 4, "root, 1 GiB table, 2 MiB table, 4 KiB table");
        for phys in [0, 5, SIZE_1G - 1, SIZE_1G, SIZE_1G + SIZE_2M + 4095] {
            assert_eq!(t.walk(base + phys).unwrap().0, phys);
        }
        assert!(t.walk(base + SIZE_1G + SIZE_2M + PAGE_SIZE).is_none());
    }

    #[test]
    fn without_huge_pages_2_mib_is_the_largest() {
        let mut t = tables(16, false);
        t.map(0, 0, SIZE_1G, Access::ReadWrite).unwrap();
        assert_eq!(t.memory.0.len(), 3);
        assert_eq!(t.walk(SIZE_1G - 1).unwrap().0, SIZE_1G - 1);
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        for access in [Access::Read, Access::ReadWrite, Access::Execute, Access::Device] {
            let bits = access.bits();
            assert!(bits & WRITABLE == 0 || bits & NO_EXECUTE != 0, "{access:?}");
        }
        assert_eq!(Access::Device.bits() & (CACHE_DISABLE | WRITE_THROUGH), CACHE_DISABLE | WRITE_THROUGH);
    }

    #[test]
    fn refuses_overlap_misalignment_and_lack_of_frames() {
        let mut t = tables(16, true);
        t.map(0x20_0000, 0, SIZE_2M, Access::Read).unwrap();
        assert_eq!(t.map(0x20_0000, 0, PAGE_SIZE, Access::Read), Err(MapError::Occupied));
        assert_eq!(t.map(0x20_0000, 0, SIZE_2M, Access::Read), Err(MapError::Occupied));
        assert_eq!(t.map(1, 0, PAGE_SIZE, Access::Read), Err(MapError::Unaligned));
        assert_eq!(tables(2, true).map(0, 0, PAGE_SIZE, Access::Read), Err(MapError::OutOfMemory));
    }

    #[test]
    fn unmapped_pages_are_gone() {
        let mut t = tables(16, true);
        t.map(0x5000, 0x7000, PAGE_SIZE, Access::ReadWrite).unwrap();
        assert!(t.unmap_page(0x5000));
        assert!(!t.unmap_page(0x5000));
        assert!(t.walk(0x5000).is_none());
    }
}
