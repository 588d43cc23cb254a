//! What `/proc` tells about memory.

use super::area::Area;
use super::{Mm, PAGE};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use keelson_hal::user::{Frame, PageSize};

/// Bytes in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Address space (VmSize).
    pub size: u64,
    /// In memory (VmRSS).
    pub resident: u64,
    /// In memory at most so far (VmHWM).
    pub resident_most: u64,
    /// Private and writable (VmData).
    pub data: u64,
    /// The stack (VmStk).
    pub stack: u64,
    /// Executable (VmExe and VmLib).
    pub text: u64,
    /// Locked (VmLck).
    pub locked: u64,
    /// Of files and shared memory, in address space.
    pub shared: u64,
}

/// What is in memory of one area, in bytes (`/proc/self/smaps`, numa_maps).
#[derive(Clone, Debug, Default)]
pub struct AreaUsage {
    /// In pages of 4 KiB.
    pub small: u64,
    /// In pages of 2 MiB.
    pub large: u64,
    /// In pages of 1 GiB.
    pub huge: u64,
    /// Shared with others.
    pub shared: u64,
    /// Only here.
    pub private: u64,
    /// Written.
    pub dirty: u64,
    /// Private copies and anonymous memory.
    pub anonymous: u64,
    /// By NUMA node, when the machine can tell.
    pub nodes: Vec<u64>,
}

impl AreaUsage {
    /// All that is in memory.
    pub fn resident(&self) -> u64 {
        self.small + self.large + self.huge
    }

    /// Bytes of the pages that the area mainly has (`KernelPageSize`).
    pub fn page_size(&self) -> u64 {
        match (self.huge, self.large) {
            (0, 0) => PageSize::Small.bytes(),
            (0, _) => PageSize::Large.bytes(),
            _ => PageSize::Huge.bytes(),
        }
    }
}

/// Bytes in memory by size of page: 4 KiB, 2 MiB, 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BySize(pub [u64; 3]);

impl Mm {
    /// Adds up the pages of an area by their size, from `at` on and at most `most` of them; where to go on.
    pub fn count_pages(&self, area: &Area, at: u64, most: usize, counts: &mut BySize) -> Option<u64> {
        let mut at = at;
        for _ in 0..most {
            let page = self.next_page(at, area.end)?;
            let [small, large, huge] = &mut counts.0;
            let count = match page.size {
                PageSize::Small => small,
                PageSize::Large => large,
                PageSize::Huge => huge,
            };
            *count += page.size.bytes();
            at = page.at + page.size.bytes();
        }
        Some(at)
    }

    /// All areas, by address. Each is looked up when it is asked for: there may be more than a list should have, and what changes
    /// meanwhile is seen or not.
    pub fn areas(&self) -> impl Iterator<Item = Area> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let area = self.lock().areas.at_or_above(at)?.clone();
            // One that has grown is told from where the last one ended.
            let area = if area.start < at { area.from(at) } else { area };
            at = area.end;
            Some(area)
        })
    }

    /// The area that contains an address.
    pub fn area(&self, at: u64) -> Option<Area> {
        self.lock().areas.find(at).cloned()
    }

    /// Counts the pages of an area.
    pub fn area_usage(&self, area: &Area) -> AreaUsage {
        let machine = &self.system.machine;
        let mut usage = AreaUsage { nodes: alloc::vec![0; machine.nodes()], ..AreaUsage::default() };
        let mut at = area.start;
        while let Some(page) = self.next_page(at, area.end) {
            let bytes = page.size.bytes();
            match page.size {
                PageSize::Small => usage.small += bytes,
                PageSize::Large => usage.large += bytes,
                PageSize::Huge => usage.huge += bytes,
            }
            let own = area.object().is_none() || (!area.shared && page.protection.write);
            // The tables' reference, this one, and that of a file or of shared memory.
            let few = if own { 2 } else { 3 };
            let others = self.space.share(page.at).as_ref().map_or(0, Frame::references) > few;
            *if others { &mut usage.shared } else { &mut usage.private } += bytes;
            usage.dirty += if page.dirty { bytes } else { 0 };
            usage.anonymous += if own { bytes } else { 0 };
            // With a single node there is nothing to be told.
            let node = machine.node_of_memory(page.frame).or((machine.nodes() == 1).then_some(0));
            if let Some(node) = node.and_then(|node| usage.nodes.get_mut(node)) {
                *node += bytes;
            }
            at = page.at + bytes;
        }
        usage
    }

    /// Bytes that are in memory. Needs no lock, so those may ask who must not wait.
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Bytes that were in memory at most so far; the same holds.
    pub fn resident_most(&self) -> u64 {
        self.resident_most.load(Ordering::Relaxed)
    }

    /// Counters of the whole address space.
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        let sum = |counts: &dyn Fn(&Area) -> bool| -> u64 {
            state.areas.iter().filter(|area| counts(area)).map(Area::len).sum()
        };
        Usage {
            size: state.areas.sums().total,
            resident: self.resident.load(Ordering::Relaxed),
            resident_most: self.resident_most.load(Ordering::Relaxed),
            data: state.areas.sums().data,
            stack: sum(&|area| area.role == super::Role::Stack),
            text: sum(&|area| area.protection.execute),
            locked: state.areas.sums().locked,
            shared: sum(&|area| area.object().is_some()),
        }
    }

    /// The entry of `/proc/self/pagemap` for the page at `at`, without the number of the frame: present, file or shared, dirty.
    pub fn pagemap(&self, at: u64) -> u64 {
        const PRESENT: u64 = 1 << 63;
        const FILE: u64 = 1 << 61;
        const SOFT_DIRTY: u64 = 1 << 55;
        let Some(page) = self.space.find(at & !(PAGE - 1)) else { return 0 };
        let file = self.area(at).is_some_and(|area| area.object().is_some());
        PRESENT | if file { FILE } else { 0 } | if page.dirty { SOFT_DIRTY } else { 0 }
    }
}
