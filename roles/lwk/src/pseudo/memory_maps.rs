//! /proc/[pid]/maps and its relatives.

use super::AreaView;
use super::status::kilobytes as amount;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use keelson_lwk_wire::layout;

/// One line for each area.
pub fn maps(areas: &[AreaView]) -> Vec<u8> {
    let mut out = Vec::new();
    areas.iter().for_each(|area| head(&mut out, area));
    out
}

fn head(out: &mut Vec<u8>, area: &AreaView) {
    let bit = |on: bool, letter: char| if on { letter } else { '-' };
    let (read, write, execute) = area.protection;
    let (major, minor) = (layout::major(area.device), layout::minor(area.device));
    let text = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {major:02x}:{minor:02x} {} ",
        area.start,
        area.end,
        bit(read, 'r'),
        bit(write, 'w'),
        bit(execute, 'x'),
        if area.shared { 's' } else { 'p' },
        area.offset,
        area.inode,
    );
    out.extend_from_slice(text.as_bytes());
    if !area.name.is_empty() {
        // Names begin at a fixed column when what is before them is short enough.
        out.resize(out.len() + 73usize.saturating_sub(text.len()), b' ');
        for &byte in &area.name {
            match byte {
                b'\n' => out.extend_from_slice(b"\\012"),
                byte => out.push(byte),
            }
        }
    }
    out.push(b'\n');
}

/// Amounts of memory that smaps has, for one area or for all.
fn amounts(out: &mut String, areas: &[AreaView]) {
    let sum = |of: fn(&AreaView) -> u64| areas.iter().map(of).sum::<u64>();
    let resident = sum(|area| area.resident);
    let shared = sum(|area| if area.shared { area.resident } else { 0 });
    let shared_dirty = sum(|area| if area.shared { area.dirty.min(area.resident) } else { 0 });
    let dirty = sum(|area| area.dirty.min(area.resident));
    for (name, bytes) in [
        ("Rss", resident),
        ("Pss", resident),
        ("Shared_Clean", shared - shared_dirty),
        ("Shared_Dirty", shared_dirty),
        ("Private_Clean", (resident - shared).saturating_sub(dirty - shared_dirty)),
        ("Private_Dirty", dirty - shared_dirty),
        ("Referenced", resident),
        ("Anonymous", sum(|area| area.anonymous)),
        ("LazyFree", 0),
        ("AnonHugePages", sum(|area| if area.shared { 0 } else { area.large })),
        ("ShmemPmdMapped", sum(|area| if area.shared { area.large } else { 0 })),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", sum(|area| area.locked)),
    ] {
        amount(out, name, bytes);
    }
}

/// Several lines for each area.
pub fn smaps(areas: &[AreaView]) -> Vec<u8> {
    let mut out = Vec::new();
    for area in areas {
        head(&mut out, area);
        let mut text = String::new();
        amount(&mut text, "Size", area.end - area.start.min(area.end));
        amount(&mut text, "KernelPageSize", area.page_size);
        amount(&mut text, "MMUPageSize", area.page_size);
        amounts(&mut text, core::slice::from_ref(area));
        let (read, write, execute) = area.protection;
        let _ = writeln!(text, "THPeligible:    {}", u8::from(area.page_size > 4096));
        let flags = [(read, "rd"), (write, "wr"), (execute, "ex"), (area.shared, "sh")];
        let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, name)| format!("{name} ")).collect();
        let _ = writeln!(text, "VmFlags: {flags}mr mw me ");
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// The sum of all areas.
pub fn smaps_rollup(areas: &[AreaView]) -> Vec<u8> {
    let (Some(first), Some(last)) = (areas.first(), areas.last()) else { return Vec::new() };
    let whole =
        AreaView { start: first.start, end: last.end, name: b"[rollup]".to_vec(), ..AreaView::default() };
    let mut out = Vec::new();
    head(&mut out, &whole);
    let mut text = String::new();
    amounts(&mut text, areas);
    out.extend_from_slice(text.as_bytes());
    out
}

/// Where the pages of each area are.
pub fn numa_maps(areas: &[AreaView]) -> Vec<u8> {
    let mut out = Vec::new();
    for area in areas {
        let policy = if area.policy.is_empty() { "default" } else { &area.policy };
        let mut text = format!("{:08x} {policy}", area.start);
        match &area.name[..] {
            b"[heap]" => text.push_str(" heap"),
            b"[stack]" => text.push_str(" stack"),
            name if name.starts_with(b"/") => {
                let _ = write!(text, " file={}", String::from_utf8_lossy(name));
            }
            _ => {}
        }
        let pages: u64 = area.pages_on.iter().sum();
        if pages > 0 {
            let kind = if area.anonymous > 0 { "anon" } else { "mapped" };
            let _ = write!(text, " {kind}={pages}");
            for (node, pages) in area.pages_on.iter().enumerate().filter(|(_, pages)| **pages > 0) {
                let _ = write!(text, " N{node}={pages}");
            }
            let _ = write!(text, " kernelpagesize_kB={}", area.page_size >> 10);
        }
        text.push('\n');
        out.extend_from_slice(text.as_bytes());
    }
    out
}
