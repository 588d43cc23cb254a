//! /proc/[pid]/maps and its relatives, written area by area.

use super::AreaView;
use super::status::kilobytes as amount;
use super::text::Text;
use crate::Errno;
use alloc::string::String;
use keelson_lwk_wire::layout;

/// The line of an area in maps.
pub fn maps(out: &mut Text, area: &AreaView) -> Result<(), Errno> {
    let bit = |on: bool, letter: char| if on { letter } else { '-' };
    let (read, write, execute) = area.protection;
    let (major, minor) = (layout::major(area.device), layout::minor(area.device));
    let start = out.len();
    write!(
        out,
        "{:08x}-{:08x} {}{}{}{} {:08x} {major:02x}:{minor:02x} {} ",
        area.start,
        area.end,
        bit(read, 'r'),
        bit(write, 'w'),
        bit(execute, 'x'),
        if area.shared { 's' } else { 'p' },
        area.offset,
        area.inode,
    )?;
    if !area.name.is_empty() {
        // Names begin at a fixed column when what is before them is short enough.
        let column = 73usize.saturating_sub(out.len() - start);
        write!(out, "{:column$}", "")?;
        for (index, line) in area.name.split(|byte| *byte == b'\n').enumerate() {
            out.put(if index > 0 { b"\\012" } else { b"" })?;
            out.put(line)?;
        }
    }
    out.put(b"\n")
}

/// Amounts of memory that smaps has, of one area or of all.
#[derive(Default)]
struct Amounts {
    resident: u64,
    dirty: u64,
    shared: u64,
    shared_dirty: u64,
    anonymous: u64,
    large: u64,
    shared_large: u64,
    locked: u64,
}

impl Amounts {
    fn add(&mut self, area: &AreaView) {
        let dirty = area.dirty.min(area.resident);
        self.resident += area.resident;
        self.dirty += dirty;
        self.anonymous += area.anonymous;
        self.locked += area.locked;
        if area.shared {
            self.shared += area.resident;
            self.shared_dirty += dirty;
            self.shared_large += area.large;
        } else {
            self.large += area.large;
        }
    }

    fn write(&self, out: &mut Text) -> Result<(), Errno> {
        let Amounts { resident, dirty, shared, shared_dirty, anonymous, large, shared_large, locked } = *self;
        for (name, bytes) in [
            ("Rss", resident),
            ("Pss", resident),
            ("Shared_Clean", shared - shared_dirty),
            ("Shared_Dirty", shared_dirty),
            ("Private_Clean", (resident - shared).saturating_sub(dirty - shared_dirty)),
            ("Private_Dirty", dirty - shared_dirty),
            ("Referenced", resident),
            ("Anonymous", anonymous),
            ("LazyFree", 0),
            ("AnonHugePages", large),
            ("ShmemPmdMapped", shared_large),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", 0),
            ("SwapPss", 0),
            ("Locked", locked),
        ] {
            amount(out, name, bytes)?;
        }
        Ok(())
    }
}

/// The lines of an area in smaps.
pub fn smaps(out: &mut Text, area: &AreaView) -> Result<(), Errno> {
    maps(out, area)?;
    amount(out, "Size", area.end - area.start.min(area.end))?;
    amount(out, "KernelPageSize", area.page_size)?;
    amount(out, "MMUPageSize", area.page_size)?;
    let mut amounts = Amounts::default();
    amounts.add(area);
    amounts.write(out)?;
    let (read, write, execute) = area.protection;
    writeln!(out, "THPeligible:    {}", u8::from(area.page_size > 4096))?;
    out.put(b"VmFlags: ")?;
    for (on, name) in [(read, "rd"), (write, "wr"), (execute, "ex"), (area.shared, "sh")] {
        if on {
            write!(out, "{name} ")?;
        }
    }
    out.put(b"mr mw me \n")
}

/// The sum of all areas.
#[derive(Default)]
pub struct Rollup {
    /// From the first to the last address; `None` without any area.
    whole: Option<(u64, u64)>,
    amounts: Amounts,
}

impl Rollup {
    /// Adds the next area.
    pub fn add(&mut self, area: &AreaView) {
        self.whole = Some((self.whole.map_or(area.start, |(start, _)| start), area.end));
        self.amounts.add(area);
    }

    /// smaps_rollup.
    pub fn write(&self, out: &mut Text) -> Result<(), Errno> {
        let Some((start, end)) = self.whole else { return Ok(()) };
        maps(out, &AreaView { start, end, name: b"[rollup]".to_vec(), ..AreaView::default() })?;
        self.amounts.write(out)
    }
}

/// Where the pages of an area are: its line in numa_maps.
pub fn numa_maps(out: &mut Text, area: &AreaView) -> Result<(), Errno> {
    let policy = if area.policy.is_empty() { "default" } else { &area.policy };
    write!(out, "{:08x} {policy}", area.start)?;
    match &area.name[..] {
        b"[heap]" => out.put(b" heap")?,
        b"[stack]" => out.put(b" stack")?,
        name if name.starts_with(b"/") => write!(out, " file={}", String::from_utf8_lossy(name))?,
        _ => {}
    }
    let pages: u64 = area.pages_on.iter().sum();
    if pages > 0 {
        let kind = if area.anonymous > 0 { "anon" } else { "mapped" };
        write!(out, " {kind}={pages}")?;
        for (node, pages) in area.pages_on.iter().enumerate().filter(|(_, pages)| **pages > 0) {
            write!(out, " N{node}={pages}")?;
        }
        write!(out, " kernelpagesize_kB={}", area.page_size >> 10)?;
    }
    out.put(b"\n")
}
