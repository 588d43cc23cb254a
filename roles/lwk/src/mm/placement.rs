//! NUMA placement: mbind(2), set_mempolicy(2), get_mempolicy(2), move_pages(2).

use super::area::Area;
use super::policy::{Mode, Policy, nodes_with_memory};
use super::{Mm, PAGE, State, layout, whole_pages};
use crate::Errno;
use core::ops::Range;
use keelson_hal::user::{Flush, PageSize};

/// `MPOL_F_*` of get_mempolicy(2) and `MPOL_MF_*` of mbind(2) and move_pages(2).
pub mod mpol {
    /// get_mempolicy: the node, not the policy.
    pub const F_NODE: u64 = 1;
    /// get_mempolicy: of an address.
    pub const F_ADDR: u64 = 2;
    /// get_mempolicy: the nodes that may be used.
    pub const F_MEMS_ALLOWED: u64 = 4;
    /// mbind: check what is there.
    pub const MF_STRICT: u64 = 1;
    /// mbind, move_pages: move what only this process has.
    pub const MF_MOVE: u64 = 2;
    /// mbind, move_pages: move what others have too.
    pub const MF_MOVE_ALL: u64 = 4;
}

/// What get_mempolicy(2) answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PolicyAnswer {
    /// Mode with its flags, or a node.
    pub mode: u32,
    /// Nodes, a bit for each.
    pub nodes: u64,
}

impl Mm {
    /// The policy of the process.
    pub fn policy(&self) -> Policy {
        self.lock().policy
    }

    /// set_mempolicy(2), for all threads of the process.
    pub fn set_policy(&self, policy: Policy) {
        self.lock().policy = policy;
    }

    /// The nodes of which programs may have memory, a bit for each.
    pub fn nodes(&self) -> u64 {
        nodes_with_memory(&*self.system.machine)
    }

    /// mbind(2). Later faults follow the policy; pages that are there stay where they are.
    pub fn mbind(&self, at: u64, len: u64, policy: Policy, flags: u64) -> Result<(), Errno> {
        let range = policy_range(at, len)?;
        if flags & !(mpol::MF_STRICT | mpol::MF_MOVE | mpol::MF_MOVE_ALL) != 0 {
            return Err(Errno::EINVAL);
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        self.has_room(&state)?;
        if !state.areas.cover(range.clone()) {
            return Err(Errno::EFAULT);
        }
        if flags & mpol::MF_STRICT != 0 && policy.is_placed() && self.lies_elsewhere(&range, &policy) {
            return Err(Errno::EIO);
        }
        let own = (policy.mode != Mode::Default).then_some(policy);
        for area in state.areas.overlapping(range.clone()).filter(|area| area.shared) {
            if let Some(object) = area.object().filter(|object| !object.is_file()) {
                object.lock().policy = own;
            }
        }
        state.areas.change(range, |area| area.policy = own);
        Ok(())
    }

    fn lies_elsewhere(&self, range: &Range<u64>, policy: &Policy) -> bool {
        let mut at = range.start;
        while let Some(page) = self.next_page(at, range.end) {
            let node = self.system.machine.node_of_memory(page.frame);
            if node.is_some_and(|node| policy.nodes & (1 << node.min(63)) == 0) {
                return true;
            }
            at = page.at + page.size.bytes();
        }
        false
    }

    /// set_mempolicy_home_node(2).
    pub fn set_home_node(&self, at: u64, len: u64, home: u64) -> Result<(), Errno> {
        let range = policy_range(at, len)?;
        let home = u8::try_from(home).ok().filter(|home| usize::from(*home) < self.system.machine.nodes());
        let home = home.ok_or(Errno::EINVAL)?;
        let mut state = self.lock();
        self.has_room(&state)?;
        let with_policy = |area: &Area| area.policy.is_some();
        if !state.areas.overlapping(range.clone()).any(with_policy) {
            return Err(Errno::ENOENT);
        }
        let fits =
            |area: &Area| area.policy.is_none_or(|its| matches!(its.mode, Mode::Bind | Mode::PreferredMany));
        if !state.areas.overlapping(range.clone()).all(fits) {
            return Err(Errno::EOPNOTSUPP);
        }
        state
            .areas
            .change(range, |area| area.policy = area.policy.map(|its| Policy { home: Some(home), ..its }));
        Ok(())
    }

    /// get_mempolicy(2) for a thread on `local`.
    pub fn get_policy(&self, at: u64, flags: u64, local: usize) -> Result<PolicyAnswer, Errno> {
        let known = mpol::F_NODE | mpol::F_ADDR | mpol::F_MEMS_ALLOWED;
        if flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & mpol::F_MEMS_ALLOWED != 0 {
            let alone = flags == mpol::F_MEMS_ALLOWED;
            return alone.then_some(PolicyAnswer { mode: 0, nodes: self.nodes() }).ok_or(Errno::EINVAL);
        }
        if flags & mpol::F_ADDR == 0 {
            if at != 0 {
                return Err(Errno::EINVAL);
            }
            let policy = self.policy();
            return match (flags & mpol::F_NODE != 0, policy.mode) {
                (false, _) => Ok(answer(&policy)),
                // The node that comes next.
                (true, Mode::Interleave) => {
                    Ok(PolicyAnswer { mode: policy.choose(0, local).first as u32, nodes: policy.nodes })
                }
                (true, _) => Err(Errno::EINVAL),
            };
        }
        if flags & mpol::F_NODE != 0 {
            // The page is brought when it is not there, as Linux does.
            self.fault(at, keelson_hal::user::Access::Read, local).map_err(|_| Errno::EFAULT)?;
            let node = self.node_of_page(at).ok_or(Errno::EFAULT)?;
            return Ok(PolicyAnswer { mode: node as u32, nodes: 0 });
        }
        let state = self.lock();
        let area = state.areas.find(at).ok_or(Errno::EFAULT)?;
        // Only what was said of the area itself: the policy of the process is not told here.
        Ok(answer(&area.policy.unwrap_or_default()))
    }

    /// The NUMA node of the page at `at`; `None` without a page.
    pub fn node_of_page(&self, at: u64) -> Option<usize> {
        let page = self.space.find(at)?;
        let known = self.system.machine.node_of_memory(page.frame);
        known.or_else(|| {
            // A machine that cannot tell gave it where the policy says.
            let state = self.lock();
            let area = state.areas.find(at)?;
            let policy = self.policy_of(&state, area);
            Some(policy.choose((page.at - area.start.min(page.at)) / page.size.bytes(), 0).first)
        })
    }

    /// move_pages(2) for one page: where it is afterwards. ENOENT without a page; EACCES when others have it too.
    pub fn move_page(&self, at: u64, to: usize) -> Result<usize, Errno> {
        let machine = &self.system.machine;
        if to >= machine.nodes() {
            return Err(Errno::ENODEV);
        }
        let state = self.lock();
        let area = state.areas.find(at).ok_or(Errno::EFAULT)?;
        let page = self.space.find(at).ok_or(Errno::ENOENT)?;
        if machine.node_of_memory(page.frame) == Some(to) {
            return Ok(to);
        }
        let frame = self.space.share(page.at).ok_or(Errno::ENOENT)?;
        if area.shared || frame.references() > 2 {
            return Err(Errno::EACCES);
        }
        if page.size != PageSize::Small {
            return Err(Errno::EBUSY);
        }
        let copy = machine.allocate_on(page.size, to).ok_or(Errno::ENOMEM)?;
        // Nobody writes while it is copied: a write faults and waits for the lock.
        self.space.protect(page.at, keelson_hal::user::Protection { write: false, ..page.protection });
        self.space.flush(Flush::Now);
        super::fault::copy_frame(&frame, &copy);
        self.replace(&state, page.at, copy, page.protection)?;
        Ok(to)
    }

    fn replace(
        &self,
        _locked: &State,
        at: u64,
        frame: keelson_hal::user::Frame,
        protection: keelson_hal::user::Protection,
    ) -> Result<(), Errno> {
        let old = self.leave(at);
        let entered = self.enter(at, frame, protection);
        self.space.flush(Flush::Now);
        drop(old);
        entered.map_err(|_| Errno::ENOMEM)
    }
}

fn answer(policy: &Policy) -> PolicyAnswer {
    PolicyAnswer { mode: policy.number(), nodes: policy.nodes }
}

fn policy_range(at: u64, len: u64) -> Result<Range<u64>, Errno> {
    if !at.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = whole_pages(len).and_then(|len| at.checked_add(len)).ok_or(Errno::EINVAL)?;
    if end > layout::TOP { Err(Errno::EFAULT) } else { Ok(at..end) }
}
