//! fork(2): a second address space that shows the same.

use super::area::{Area, Areas};
use super::populate::allocate;
use super::{Duplicate, Mm, PAGE, Policy, State};
use crate::Errno;
use alloc::sync::Arc;
use keelson_hal::user::{Flush, Frame, Mapped, PageSize, Protection};

impl Mm {
    /// A copy for a child. Nothing is changed when there is no memory for it, apart from pages that are copied before they are
    /// written from now on.
    pub fn fork(&self) -> Result<Arc<Mm>, Errno> {
        let mut state = self.lock();
        let child_state = State {
            areas: Areas::default(),
            brk: state.brk.clone(),
            limits: state.limits,
            policy: state.policy,
            small_pages: state.small_pages,
            lock_future: false,
            stale: 0..0,
        };
        let child = Mm::with_state(&self.system, self.settings, child_state)?;
        let mut attachments = super::shm::Inherited::default();
        let mut reduced = false;
        let mut outcome = Ok(());
        {
            let mut theirs = child.lock();
            let mut at = 0;
            while let Some(area) = state.areas.at_or_above(at).cloned() {
                // It may have been joined to the one before.
                let area = if area.start < at { area.from(at) } else { area };
                at = area.end;
                if area.flags.dont_fork {
                    continue;
                }
                match self.fork_area(&mut state, &child, &area, &mut attachments) {
                    Ok((copy, more)) => {
                        reduced |= more;
                        theirs.areas.insert(copy);
                    }
                    Err(error) => {
                        // Some of its pages may have two owners now.
                        if !area.shared {
                            state.areas.change(area.start..area.end, |area| area.copy_on_write = true);
                        }
                        (outcome, reduced) = (Err(error), true);
                        break;
                    }
                }
            }
        }
        if reduced {
            self.space.flush(Flush::Now);
        }
        // The lock of the child is not taken under that of the parent anywhere else; it goes first when it was in vain.
        drop(state);
        outcome.map(|()| child)
    }

    /// What a child gets of an area, and whether the parent lost the right to write.
    fn fork_area(
        &self,
        state: &mut State,
        child: &Mm,
        area: &Area,
        attachments: &mut super::shm::Inherited,
    ) -> Result<(Area, bool), Errno> {
        // A program may have many areas, and as many children.
        if self.system.machine.is_short() {
            return Err(Errno::ENOMEM);
        }
        let mut copy = area.clone();
        copy.flags.locked = false;
        copy.attachment = attachments.of(area)?;
        if let Some(object) = copy.object() {
            object.mapped_by(&child.this);
        }
        if area.flags.wipe_on_fork {
            return Ok((copy, false));
        }
        let done = self.duplicate_area(child, area, &state.policy)?;
        if done.shares && !area.shared {
            copy.copy_on_write = true;
            state.areas.change(area.start..area.end, |area| area.copy_on_write = true);
        }
        Ok((copy, done.reduced))
    }

    fn duplicate_area(&self, child: &Mm, area: &Area, policy: &Policy) -> Result<Done, Errno> {
        let mut done = Done::default();
        let policy = area.policy.unwrap_or(*policy);
        let mut at = area.start;
        while let Some(page) = self.next_page(at, area.end) {
            let frame = self.space.share(page.at).ok_or(Errno::ENOMEM)?;
            let copies = self.settings.duplicate == Duplicate::Copy && page.protection.write;
            if area.shared {
                enter(child, page.at, frame, page.protection)?;
            } else if copies {
                let part = Part { area, policy: &policy, frame: &frame, page: &page };
                self.copy_part(child, &part, 0, page.size)?;
            } else {
                let protection = Protection { write: false, ..page.protection };
                enter(child, page.at, frame, protection)?;
                done.shares = true;
                if page.protection.write {
                    self.space.protect(page.at, protection);
                    done.reduced = true;
                }
            }
            at = page.at + page.size.bytes();
        }
        Ok(done)
    }

    /// Copies a part of a page; in smaller parts when there is no memory for it in one.
    fn copy_part(&self, child: &Mm, part: &Part<'_>, offset: u64, size: PageSize) -> Result<(), Errno> {
        let machine = &*self.system.machine;
        let at = part.page.at + offset;
        let local = machine.node_of_memory(part.page.frame).unwrap_or(0);
        let index = (at - part.area.start.min(at)) / PAGE / (size.bytes() / PAGE);
        if let Some(copy) = allocate(machine, size, part.policy, index, local) {
            copy_bytes(part.frame, offset, &copy);
            return enter(child, at, copy, part.page.protection);
        }
        let smaller = size.smaller().ok_or(Errno::ENOMEM)?;
        let mut done = 0;
        while done < size.bytes() {
            self.copy_part(child, part, offset + done, smaller)?;
            done += smaller.bytes();
        }
        Ok(())
    }
}

/// What became of an area.
#[derive(Default)]
struct Done {
    /// Pages belong to both now.
    shares: bool,
    /// The parent lost the right to write.
    reduced: bool,
}

struct Part<'a> {
    area: &'a Area,
    policy: &'a Policy,
    frame: &'a Frame,
    page: &'a Mapped,
}

fn enter(child: &Mm, at: u64, frame: Frame, protection: Protection) -> Result<(), Errno> {
    child.enter(at, frame, protection).map_err(|_| Errno::ENOMEM)
}

/// Fills `to` with what `from` has at `offset`.
fn copy_bytes(from: &Frame, offset: u64, to: &Frame) {
    let mut buffer = [0; PAGE as usize];
    let mut at = 0;
    while at < to.size().bytes() {
        from.read(offset + at, &mut buffer);
        to.write(at, &buffer);
        at += PAGE;
    }
}
