//! Page faults.

use super::area::{Area, Backing, Role};
use super::fetch::PageRequest;
use super::layout::STACK_GAP;
use super::object::{NoPage, Object, Page};
use super::{Mm, PAGE, State, page_of};
use alloc::sync::Arc;
use keelson_hal::user::{Access, Flush, Frame, Mapped, PageSize, Protection};

/// Why a fault cannot be resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// There is nothing: SIGSEGV with `SEGV_MAPERR`.
    MapErr,
    /// Not for this access: SIGSEGV with `SEGV_ACCERR`.
    AccErr,
    /// Beyond the end of the file: SIGBUS with `BUS_ADRERR`.
    Bus,
    /// There is no memory: the process is killed.
    OutOfMemory,
    /// A page of a file must be fetched first; then the access is tried again.
    Missing(PageRequest),
}

/// Small pages of an object that one fault enters when they are here already.
const AROUND: u64 = 16 * PAGE;

impl Mm {
    /// Resolves a fault of a thread on NUMA node `node`.
    pub fn fault(&self, address: u64, access: Access, node: usize) -> Result<(), Fault> {
        let mut state = self.lock();
        if state.areas.find(address).is_none() {
            self.grow_stack(&mut state, address)?;
        }
        let area = state.areas.find(address).ok_or(Fault::MapErr)?;
        if !area.allows(access) {
            return Err(Fault::AccErr);
        }
        match self.space.find(address) {
            Some(page) if permits(page.protection, access) => Ok(()),
            Some(page) => self.unshare(&state, area, page, node),
            None => self.resolve(&state, area, address, access, node),
        }
    }

    /// Brings the page that an allowed access needs and that is not there.
    fn resolve(&self, state: &State, area: &Area, at: u64, access: Access, node: usize) -> Result<(), Fault> {
        match &area.backing {
            Backing::Anonymous => self.populate_around(state, area, at, node).map_err(|_| Fault::OutOfMemory),
            Backing::Object(object) if area.shared => self.enter_shared(state, area, object, at, node),
            Backing::Object(object) => self.enter_private(state, area, object, at, access, node),
        }
    }

    /// Brings a page of shared memory ahead of its use.
    pub(super) fn resolve_for(&self, state: &State, area: &Area, at: u64, node: usize) -> Result<(), Fault> {
        self.resolve(state, area, at, Access::Read, node)
    }

    fn object_page(
        &self,
        state: &State,
        area: &Area,
        object: &Arc<Object>,
        at: u64,
        most: PageSize,
        node: usize,
    ) -> Result<Page, Fault> {
        let offset = area.offset_of(page_of(at));
        let policy = self.policy_of(state, area);
        object.page(offset, most, &policy, node).map_err(|none| match none {
            NoPage::Beyond | NoPage::Full => Fault::Bus,
            NoPage::OutOfMemory => Fault::OutOfMemory,
            // What is fetched is there for everybody: the policy says where, but not that it must be there.
            NoPage::Missing => {
                Fault::Missing(PageRequest::new(object, offset, policy.choose(offset / PAGE, node).first))
            }
        })
    }

    /// Enters an object's page as it is.
    fn enter_shared(
        &self,
        state: &State,
        area: &Area,
        object: &Arc<Object>,
        at: u64,
        node: usize,
    ) -> Result<(), Fault> {
        let mut most = if object.is_file() { PageSize::Small } else { self.largest(state, area) };
        loop {
            // A large page fits when the area has all of it, where it would have to be, and nothing is there.
            let start = page_of(at) - page_of(at) % most.bytes();
            let inside = start >= area.start && start + most.bytes() <= area.end;
            let fits = inside && area.offset_of(start).is_multiple_of(most.bytes());
            if let Some(smaller) = most.smaller()
                && (!fits || self.next_page(start, start + most.bytes()).is_some())
            {
                most = smaller;
                continue;
            }
            let page = self.object_page(state, area, object, at, most, node)?;
            let start = page_of(at) - (area.offset_of(page_of(at)) - page.start);
            self.enter(start, page.frame, area.protection).map_err(|_| Fault::OutOfMemory)?;
            if most == PageSize::Small && object.is_file() {
                self.enter_neighbours(state, area, object, at, area.protection, node);
            }
            return Ok(());
        }
    }

    /// Enters an object's page so that it cannot be written, or a copy when it is to be written.
    fn enter_private(
        &self,
        state: &State,
        area: &Area,
        object: &Arc<Object>,
        at: u64,
        access: Access,
        node: usize,
    ) -> Result<(), Fault> {
        let page = self.object_page(state, area, object, at, PageSize::Small, node)?;
        if access == Access::Write {
            let policy = self.policy_of(state, area);
            let index = (page_of(at) - area.start) / PAGE;
            let machine = &*self.system.machine;
            let copy = super::populate::allocate(machine, PageSize::Small, &policy, index, node);
            let copy = copy.ok_or(Fault::OutOfMemory)?;
            copy_frame(&page.frame, &copy);
            return self.enter(page_of(at), copy, area.protection).map_err(|_| Fault::OutOfMemory);
        }
        let protection = Protection { write: false, ..area.protection };
        self.enter(page_of(at), page.frame, protection).map_err(|_| Fault::OutOfMemory)?;
        self.enter_neighbours(state, area, object, at, protection, node);
        Ok(())
    }

    /// Enters what an object has around `at`.
    fn enter_neighbours(
        &self,
        state: &State,
        area: &Area,
        object: &Arc<Object>,
        at: u64,
        protection: Protection,
        node: usize,
    ) {
        if !object.is_file() {
            return;
        }
        let window = at - at % AROUND;
        let mut here = window.max(area.start);
        while here < (window + AROUND).min(area.end) {
            if self.space.find(here).is_none()
                && let Ok(page) = self.object_page(state, area, object, here, PageSize::Small, node)
            {
                // A favour only.
                let _ = self.enter(here, page.frame, protection);
            }
            here += PAGE;
        }
    }

    /// Makes a page writable that may belong to others as well.
    fn unshare(&self, state: &State, area: &Area, page: Mapped, node: usize) -> Result<(), Fault> {
        if area.shared || !area.copy_on_write {
            // All of it is the area's: the tables lag behind a change of the protection.
            self.space.protect(page.at, super::flags::effective(area.protection));
            return Ok(());
        }
        let frame = self.space.share(page.at).ok_or(Fault::OutOfMemory)?;
        // The tables' reference and this one.
        if frame.references() <= 2 {
            self.space.protect(page.at, super::flags::effective(area.protection));
            return Ok(());
        }
        let policy = self.policy_of(state, area);
        let index = (page.at - area.start.min(page.at)) / PAGE;
        let copy = super::populate::allocate(&*self.system.machine, page.size, &policy, index, node);
        let Some(copy) = copy else {
            if page.size == PageSize::Small {
                return Err(Fault::OutOfMemory);
            }
            // No large page: a part will do. The access comes again.
            drop(frame);
            return self.space.split(page.at).map_err(|_| Fault::OutOfMemory);
        };
        copy_frame(&frame, &copy);
        drop(frame);
        let old = self.leave(page.at);
        let entered = self.enter(page.at, copy, area.protection);
        // Others must not go on reading the old one.
        self.space.flush(Flush::Now);
        drop(old);
        entered.map_err(|_| Fault::OutOfMemory)
    }

    /// Lets the area above `address` grow down to it, when it is one that does.
    fn grow_stack(&self, state: &mut State, address: u64) -> Result<(), Fault> {
        let to = page_of(address);
        let above = state.areas.at_or_above(address).ok_or(Fault::MapErr)?;
        if !above.flags.grows_down || to < super::layout::LOWEST {
            return Err(Fault::MapErr);
        }
        let (start, len) = (above.start, above.end - to);
        let is_stack = above.role == Role::Stack;
        let most =
            if is_stack { state.limits.stack.min(super::layout::STACK_MOST) } else { state.limits.stack };
        let below = state.areas.below(to).map_or(0, |area| if area.flags.grows_down { 0 } else { area.end });
        let fits = len <= most && below.saturating_add(STACK_GAP) <= to;
        let more = start - to;
        if !fits || state.areas.sums().total.saturating_add(more) > state.limits.address_space {
            return Err(Fault::MapErr);
        }
        self.forget_stale(state, &(to..start));
        state.areas.extend_down(start, to);
        Ok(())
    }
}

/// True when a page as the tables have it is enough.
fn permits(protection: Protection, access: Access) -> bool {
    match access {
        Access::Read => protection.read,
        Access::Write => protection.write,
        Access::Execute => protection.execute,
    }
}

/// Copies a whole frame into another of the same size.
pub(super) fn copy_frame(from: &Frame, to: &Frame) {
    let mut buffer = [0; 4096];
    let bytes = from.size().bytes().min(to.size().bytes());
    let mut at = 0;
    while at < bytes {
        from.read(at, &mut buffer);
        to.write(at, &buffer);
        at += PAGE;
    }
}
