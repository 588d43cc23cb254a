//! Filling areas with pages of zeros, the largest first.

use super::area::{Area, Backing, Pages, Role};
use super::policy::{Choice, NODES_MOST, Policy};
use super::{Mm, PAGE, Prefault, State};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::{Frame, MapFault, PageSize, UserMachine};

/// Pages that one fault brings where large ones do not fit: a window of 64 KiB.
const AROUND: u64 = 16 * PAGE;

/// A page where a policy says, for the page number `index` and a thread on node `local`.
pub(super) fn allocate(
    machine: &dyn UserMachine,
    size: PageSize,
    policy: &Policy,
    index: u64,
    local: usize,
) -> Option<Frame> {
    let choice = policy.choose(index, local);
    allocate_near(machine, size, &choice)
        .or_else(|| (!choice.strict).then(|| machine.allocate(size, choice.first)).flatten())
}

/// The largest page of some sizes, largest first. A smaller one where the policy wants it goes before a large one elsewhere.
/// `index` is the number of the page for each size.
pub(super) fn allocate_largest(
    machine: &dyn UserMachine,
    sizes: impl Iterator<Item = PageSize> + Clone,
    policy: &Policy,
    index: impl Fn(PageSize) -> u64,
    local: usize,
) -> Option<Frame> {
    let near = |size| allocate_near(machine, size, &policy.choose(index(size), local));
    let found = sizes.clone().find_map(near);
    found.or_else(|| sizes.clone().find_map(|size| allocate(machine, size, policy, index(size), local)))
}

/// A page on one of the nodes that were chosen.
fn allocate_near(machine: &dyn UserMachine, size: PageSize, choice: &Choice) -> Option<Frame> {
    let mut left = choice.nodes;
    let mut next = choice.first;
    while left & 1 << (next % NODES_MOST) != 0 {
        if let Some(frame) = machine.allocate_on(size, next) {
            return Some(frame);
        }
        left &= !(1 << (next % NODES_MOST));
        let others = (0..machine.nodes().min(NODES_MOST)).filter(|node| left & 1 << node != 0);
        next = others.min_by_key(|node| machine.distance(choice.first, *node))?;
    }
    None
}

impl Mm {
    /// The policy for an area.
    pub(super) fn policy_of(&self, state: &State, area: &Area) -> Policy {
        let excepted = match area.role {
            Role::Heap => self.settings.policy_not_heap,
            Role::Stack => self.settings.policy_not_stack,
            // What the program itself says afterwards is of memory of every size.
            _ => area.flags.below_threshold && state.policy == self.settings.policy,
        };
        area.policy.unwrap_or(if excepted { Policy::default() } else { state.policy })
    }

    /// The largest pages that private memory of an area may have.
    pub(super) fn largest(&self, state: &State, area: &Area) -> PageSize {
        let automatic = match area.pages {
            Pages::Only(size) => return size,
            Pages::Small => PageSize::Small,
            Pages::Any if state.small_pages => PageSize::Small,
            Pages::Any | Pages::Large => PageSize::Huge,
        };
        let usable = |size: &PageSize| {
            *size <= automatic && self.settings.allows(*size) && self.system.machine.has_pages(*size)
        };
        [PageSize::Huge, PageSize::Large].into_iter().find(usable).unwrap_or(PageSize::Small)
    }

    /// True when an anonymous mapping is filled at once (section 3.5).
    pub(super) fn fills_at_once(&self, state: &State, area: &Area) -> bool {
        let protection = area.protection;
        let touchable = protection.read || protection.write || protection.execute;
        let wanted = match self.settings.prefault {
            Prefault::None => false,
            Prefault::Anon => !area.shared,
            Prefault::All => true,
        };
        if !touchable || !wanted || area.flags.no_reserve || area.flags.grows_down {
            return false;
        }
        let machine = &self.system.machine;
        let memory = (0..machine.nodes()).map(|node| machine.memory(node));
        // A node of which programs get nothing does not count.
        let (free, nodes) = memory
            .filter(|(_, total)| *total != 0)
            .fold((0u64, 0), |(sum, nodes), (free, _)| (sum.saturating_add(free), nodes + 1));
        // With several nodes memory lies where it is touched first, unless somebody said where.
        let placed = self.policy_of(state, area).is_placed() || area.len() < self.settings.policy_threshold;
        area.len() <= free / 2 && (nodes == 1 || placed)
    }

    /// Fills a range of private anonymous memory, such as the stack before a program starts.
    pub fn fill(&self, at: u64, len: u64, node: usize) -> Result<(), Errno> {
        let end = at.checked_add(len).ok_or(Errno::ENOMEM)?;
        let state = self.lock();
        for area in state.areas.overlapping(at..end).filter(|area| area.is_private_anonymous()) {
            self.populate(&state, area, area.within(&(at..end)), node)?;
        }
        Ok(())
    }

    /// Fills a range of an area without object. Stops with ENOMEM when there is no memory: what is there stays.
    pub(super) fn populate(
        &self,
        state: &State,
        area: &Area,
        range: Range<u64>,
        node: usize,
    ) -> Result<(), Errno> {
        self.populate_up_to(self.largest(state, area), state, area, range, node)
    }

    /// The same with pages of at most a size.
    fn populate_up_to(
        &self,
        most: PageSize,
        state: &State,
        area: &Area,
        range: Range<u64>,
        node: usize,
    ) -> Result<(), Errno> {
        let policy = self.policy_of(state, area);
        let mut at = range.start;
        while at < range.end {
            let present = self.next_page(at, range.end);
            let gap = present.map_or(range.end, |page| page.at.max(at));
            while at < gap {
                at = self.populate_one(area, at, gap, most, &policy, node)?;
            }
            at = present.map_or(at, |page| page.at + page.size.bytes());
        }
        Ok(())
    }

    /// Fills the largest page that begins at `at` and ends by `end`: where it ends.
    fn populate_one(
        &self,
        area: &Area,
        at: u64,
        end: u64,
        most: PageSize,
        policy: &Policy,
        node: usize,
    ) -> Result<u64, Errno> {
        let only = matches!(area.pages, Pages::Only(_));
        let fits = |size: &PageSize| at.is_multiple_of(size.bytes()) && end - at >= size.bytes();
        let smaller = core::iter::successors(Some(most), |size| size.smaller());
        let sizes = smaller.filter(|size| fits(size) && (!only || *size == most));
        let index = |size: PageSize| (at - area.start) / size.bytes();
        if let Some(frame) = allocate_largest(&*self.system.machine, sizes, policy, index, node) {
            let bytes = frame.size().bytes();
            return match self.enter(at, frame, area.protection) {
                Ok(()) => Ok(at + bytes),
                Err((MapFault::OutOfMemory, _)) => Err(Errno::ENOMEM),
                // Somebody was faster, which cannot be under the lock; go on behind it.
                Err(_) => Ok(at + bytes),
            };
        }
        self.system.memory.note_shortage();
        Err(Errno::ENOMEM)
    }

    /// Resolves a fault in an area without object: a page of 2 MiB (of 1 GiB where that was demanded), else some small ones.
    pub(super) fn populate_around(
        &self,
        state: &State,
        area: &Area,
        at: u64,
        node: usize,
    ) -> Result<(), Errno> {
        debug_assert!(matches!(area.backing, Backing::Anonymous));
        let most = match area.pages {
            Pages::Only(size) => size,
            _ => self.largest(state, area).min(PageSize::Large),
        };
        if most > PageSize::Small {
            let bytes = most.bytes();
            let start = at - at % bytes;
            let inside = start >= area.start && start + bytes <= area.end;
            if inside && self.next_page(start, start + bytes).is_none() {
                let policy = self.policy_of(state, area);
                let index = (start - area.start) / bytes;
                let machine = &*self.system.machine;
                let choice = policy.choose(index, node);
                let frame = allocate_near(machine, most, &choice).or_else(|| {
                    // Small pages of the right node go before a large one of another.
                    let small =
                        machine.memory(choice.first).0 >= AROUND && !matches!(area.pages, Pages::Only(_));
                    if small { None } else { allocate(machine, most, &policy, index, node) }
                });
                if let Some(frame) = frame {
                    return self.enter(start, frame, area.protection).map_err(|_| Errno::ENOMEM);
                }
                if matches!(area.pages, Pages::Only(_)) {
                    return Err(Errno::ENOMEM);
                }
            }
        }
        let page = super::page_of(at);
        let window = at - at % AROUND;
        let small = PageSize::Small;
        self.populate_up_to(small, state, area, page..page + PAGE, node)?;
        let around = window.max(area.start)..(window + AROUND).min(area.end);
        // The neighbours are a favour: no memory for them is no error.
        let _ = self.populate_up_to(small, state, area, around, node);
        Ok(())
    }
}
