//! Page tables (Intel SDM, volume 3, "4-Level Paging"), followed in a copy of memory: nothing in them is trusted.

use super::elf::PAGE;
use super::memory::{Memory, Unread};

/// Bits of an entry with a physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// The entry shows a page although smaller ones are possible.
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// Names of the levels, from the root.
const LEVELS: [(&str, u32); 4] = [("PML4", 39), ("PDPT", 30), ("PD", 21), ("PT", 12)];
/// Entries of a table.
const ENTRIES: u64 = 512;
/// Tables that one look at all of them reads at most: damaged ones may lead in circles.
const MAX_TABLES: u32 = 1 << 18;
/// Mappings after which it reads no further table.
const MAX_FOUND: usize = 1 << 20;

/// An address with the upper bits that processors ask for.
pub fn canonical(address: u64) -> u64 {
    (((address << 16) as i64) >> 16) as u64
}

/// What a page lets whom do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Writing.
    pub write: bool,
    /// Executing.
    pub execute: bool,
    /// Also programs.
    pub user: bool,
}

impl Access {
    const ALL: Access = Access { write: true, execute: true, user: true };

    fn within(self, entry: u64) -> Access {
        Access {
            write: self.write && entry & WRITABLE != 0,
            execute: self.execute && entry & NO_EXECUTE == 0,
            user: self.user && entry & USER != 0,
        }
    }
}

impl std::fmt::Display for Access {
    /// As in `/proc/PID/maps`, with who may.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let write = if self.write { 'w' } else { '-' };
        let execute = if self.execute { 'x' } else { '-' };
        write!(f, "r{write}{execute} {}", if self.user { "user" } else { "kernel" })
    }
}

/// A page, or pages that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First address.
    pub address: u64,
    /// Where that is in RAM.
    pub physical: u64,
    /// Bytes.
    pub len: u64,
    /// For whom.
    pub access: Access,
}

/// An entry on the way to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Name of its table's level.
    pub level: &'static str,
    /// Number in its table.
    pub index: u64,
    /// The entry.
    pub entry: u64,
}

/// The way to a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The entries, from the root.
    pub steps: Vec<Step>,
    /// The page, if there is one.
    pub page: Option<Mapping>,
}

impl Walk {
    /// Where the address is in RAM.
    pub fn physical(&self, address: u64) -> Option<u64> {
        self.page.map(|page| page.physical + (address & (page.len - 1)))
    }
}

/// Follows the tables to an address. `root` may have the flags of CR3.
pub fn walk(memory: &dyn Memory, root: u64, address: u64) -> Result<Walk, Unread> {
    let (mut table, mut access) = (root & ADDRESS, Access::ALL);
    let mut steps = Vec::new();
    if canonical(address) != address {
        return Ok(Walk { steps, page: None });
    }
    for (level, shift) in LEVELS {
        let index = (address >> shift) % ENTRIES;
        let entry = memory.read_u64(table + index * 8)?;
        steps.push(Step { level, index, entry });
        if entry & PRESENT == 0 {
            break;
        }
        access = access.within(entry);
        if is_page(entry, shift) {
            let len = 1 << shift;
            let page = Mapping { address: address & !(len - 1), physical: frame(entry, shift), len, access };
            return Ok(Walk { steps, page: Some(page) });
        }
        table = entry & ADDRESS;
    }
    Ok(Walk { steps, page: None })
}

fn is_page(entry: u64, shift: u32) -> bool {
    shift == 12 || (entry & LARGE != 0 && shift <= 30)
}

/// Bit 12 of a large page is no part of its address.
fn frame(entry: u64, shift: u32) -> u64 {
    entry & ADDRESS & !((1 << shift) - 1)
}

/// Which half of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Programs.
    Lower,
    /// The kernel.
    Upper,
}

/// All that tables map in one half, in the order of addresses, without the ranges that `skip` knows: it is asked with first
/// address and bytes of each entry before that is followed. Tables that cannot be read are passed over.
pub fn mappings(memory: &dyn Memory, root: u64, half: Half, skip: &dyn Fn(u64, u64) -> bool) -> Vec<Mapping> {
    let mut all = All { memory, skip, found: Vec::new(), tables: 0 };
    let entries = match half {
        Half::Lower => 0..ENTRIES / 2,
        Half::Upper => ENTRIES / 2..ENTRIES,
    };
    all.table(root & ADDRESS, 0, 0, entries, Access::ALL);
    all.found
}

struct All<'a> {
    memory: &'a dyn Memory,
    skip: &'a dyn Fn(u64, u64) -> bool,
    found: Vec<Mapping>,
    tables: u32,
}

impl All<'_> {
    fn table(&mut self, table: u64, level: usize, base: u64, entries: std::ops::Range<u64>, access: Access) {
        let Some((_, shift)) = LEVELS.get(level) else { return };
        let mut bytes = [0; PAGE as usize];
        self.tables += 1;
        if self.tables > MAX_TABLES
            || self.found.len() > MAX_FOUND
            || self.memory.read(table, &mut bytes).is_err()
        {
            return;
        }
        for (index, entry) in (0..).zip(bytes.as_chunks::<8>().0) {
            let (entry, len) = (u64::from_le_bytes(*entry), 1 << shift);
            let address = canonical(base | index << shift);
            if !entries.contains(&index) || entry & PRESENT == 0 || (self.skip)(address, len) {
                continue;
            }
            let access = access.within(entry);
            if is_page(entry, *shift) {
                self.add(Mapping { address, physical: frame(entry, *shift), len, access });
            } else {
                self.table(entry & ADDRESS, level + 1, address, 0..ENTRIES, access);
            }
        }
    }

    /// Joined to the last one where it goes on.
    fn add(&mut self, next: Mapping) {
        match self.found.last_mut() {
            Some(last)
                if last.access == next.access
                    && last.address.wrapping_add(last.len) == next.address
                    && last.physical + last.len == next.physical =>
            {
                last.len += next.len;
            }
            _ => self.found.push(next),
        }
    }
}
