//! The table of prefixes, and the walk from a path to an object.
//!
//! Several managers may know a path: those with the longest prefix come first. An error that says "not here" leads to
//! the next one (section 13.3, MSGERROR); what the user gets in the end is the first error that says more than that.

use super::access::{Access, Caller, may};
use super::manager::{Found, Lookup, Purpose, ResourceManager, Server};
use super::mounts::PrefixDirectories;
use super::path::Path;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_qnet_wire::Errno;
use keelson_volume::{Attributes, FileType};

/// Most prefixes.
const MOUNTS: usize = 256;

/// Most links on the way, whatever a client allows.
const LINKS: u16 = 16;

/// A manager's place in the table; also its handle in `/proc/mount`, and its device number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MountId(pub u16);

/// Whom to ask first where prefixes are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The new manager.
    Before,
    /// Those that are there.
    After,
}

/// A manager and its prefix.
#[derive(Clone)]
pub(crate) struct Mount {
    pub id: MountId,
    pub prefix: Path,
    pub manager: Rc<dyn ResourceManager>,
    pub file_type: u32,
}

/// All prefixes of a node.
pub struct Namespace {
    mounts: RefCell<Vec<Mount>>,
    next: Cell<u16>,
}

/// An object, and where it was found.
#[derive(Clone)]
pub(crate) struct Place {
    pub mount: Mount,
    pub path: Path,
    pub attributes: Attributes,
    /// The directory that holds the name; `None` at a prefix.
    pub dir: Option<Attributes>,
}

/// Where a path leads.
pub(crate) enum Resolved {
    Object(Place),
    /// Nothing yet: a name in a directory of a manager that may be able to make it.
    Free {
        mount: Mount,
        path: Path,
        dir: Attributes,
    },
    /// A channel that knows the path's components behind the first `depth`.
    Elsewhere {
        server: Server,
        path: Path,
        depth: usize,
    },
}

/// What a path is wanted for.
#[derive(Clone, Copy)]
pub(crate) struct Want {
    pub purpose: Purpose,
    /// A link at the end leads on.
    pub follow: bool,
    /// It may be missing.
    pub create: bool,
    /// Managers that cannot change anything need not be asked.
    pub write: bool,
    /// Redirections that are left.
    pub levels: u16,
}

impl Namespace {
    /// Without prefixes.
    pub fn new() -> Rc<Namespace> {
        Rc::new(Namespace { mounts: RefCell::new(Vec::new()), next: Cell::new(1) })
    }

    /// Adds a manager at a path.
    pub fn mount(
        &self,
        prefix: &str,
        manager: Rc<dyn ResourceManager>,
        order: Order,
    ) -> Result<MountId, Errno> {
        self.mount_as(prefix, manager, order, keelson_qnet_wire::io::FileType::ANY)
    }

    /// The same for what has a type of its own in `/proc/mount`; see [`keelson_qnet_wire::io::FileType`].
    pub fn mount_as(
        &self,
        prefix: &str,
        manager: Rc<dyn ResourceManager>,
        order: Order,
        file_type: u32,
    ) -> Result<MountId, Errno> {
        let prefix = Path::parse(prefix.as_bytes())?;
        let mut mounts = self.mounts.borrow_mut();
        if mounts.len() >= MOUNTS {
            return Err(Errno::EAGAIN);
        }
        let mut id = MountId(self.next.get());
        while id.0 == 0 || mounts.iter().any(|mount| mount.id == id) {
            id = MountId(id.0.wrapping_add(1));
        }
        self.next.set(id.0.wrapping_add(1));
        // Longest first; the path itself only keeps those of one prefix together.
        let key = |mount: &Mount| (core::cmp::Reverse(mount.prefix.parts().len()), mount.prefix.clone());
        let mount = Mount { id, prefix, manager, file_type };
        let place = match order {
            Order::Before => mounts.partition_point(|other| key(other) < key(&mount)),
            Order::After => mounts.partition_point(|other| key(other) <= key(&mount)),
        };
        mounts.insert(place, mount);
        Ok(id)
    }

    /// Takes a manager away. What is open stays open.
    pub fn unmount(&self, id: MountId) -> Result<(), Errno> {
        let removed = {
            let mut mounts = self.mounts.borrow_mut();
            let place = mounts.iter().position(|mount| mount.id == id).ok_or(Errno::ENOENT)?;
            mounts.remove(place)
        };
        drop(removed);
        Ok(())
    }

    /// All prefixes, the longest first.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        self.mounts.borrow().clone()
    }

    /// Who may know a path, in order; last, the directories above prefixes.
    fn candidates(self: &Rc<Self>, path: &Path) -> Vec<Mount> {
        let mounts = self.mounts.borrow();
        let mut list: Vec<Mount> =
            mounts.iter().filter(|mount| path.strip(&mount.prefix).is_some()).cloned().collect();
        if let Some(last) = list.iter().position(|mount| mount.manager.is_opaque()) {
            list.truncate(last + 1);
            return list;
        }
        let directories = PrefixDirectories::new(self);
        list.push(Mount {
            id: MountId(0),
            prefix: Path::default(),
            manager: Rc::new(directories),
            file_type: 0,
        });
        list
    }

    /// Walks to where a path leads.
    pub(crate) async fn resolve(
        self: &Rc<Self>,
        caller: &Caller,
        path: Path,
        want: Want,
    ) -> Result<Resolved, Errno> {
        let mut path = path;
        let mut levels = want.levels.min(LINKS);
        loop {
            let mut problem = Errno::ENOENT;
            let mut link = None;
            for mount in self.candidates(&path) {
                match walk(&mount, &path, caller, want).await {
                    Ok(Walked::Link(onward)) => {
                        link = Some(onward);
                        break;
                    }
                    Ok(Walked::Done(resolved)) if refuses_change(&resolved, want) => {
                        note(&mut problem, Errno::EROFS);
                    }
                    Ok(Walked::Done(resolved)) => return Ok(*resolved),
                    Err(errno) if leads_on(errno) => note(&mut problem, errno),
                    Err(errno) => return Err(errno),
                }
            }
            path = link.ok_or(problem)?;
            levels = levels.checked_sub(1).filter(|levels| *levels > 0).ok_or(Errno::ELOOP)?;
        }
    }

    /// Every manager that has a directory at a path.
    pub(crate) async fn directories(self: &Rc<Self>, caller: &Caller, path: &Path) -> Vec<Place> {
        let want = Want { purpose: Purpose::List, follow: false, create: false, write: false, levels: LINKS };
        let mut places = Vec::new();
        for mount in self.candidates(path) {
            if let Ok(Walked::Done(resolved)) = walk(&mount, path, caller, want).await
                && let Resolved::Object(place) = *resolved
                && place.attributes.file_type == FileType::Directory
            {
                places.push(place);
            }
        }
        places
    }
}

enum Walked {
    Done(Box<Resolved>),
    Link(Path),
}

fn done(resolved: Resolved) -> Walked {
    Walked::Done(Box::new(resolved))
}

/// Whether the manager that has it cannot do what is wanted.
fn refuses_change(resolved: &Resolved, want: Want) -> bool {
    match resolved {
        Resolved::Object(place) => want.write && !place.mount.manager.is_writable(),
        Resolved::Free { mount, .. } => !mount.manager.may_create(),
        Resolved::Elsewhere { .. } => false,
    }
}

async fn walk(mount: &Mount, path: &Path, caller: &Caller, want: Want) -> Result<Walked, Errno> {
    let manager = &mount.manager;
    let rest = path.strip(&mount.prefix).unwrap_or_default();
    let above = mount.prefix.parts().len();
    let object = |attributes, dir| {
        Ok(done(Resolved::Object(Place { mount: mount.clone(), path: path.clone(), attributes, dir })))
    };
    let mut at = manager.attributes(manager.root()).await?;
    if rest.is_empty() {
        return object(at, None);
    }
    for (index, name) in rest.iter().enumerate() {
        if at.file_type != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if !may(caller, &at, Access::SEARCH) {
            return Err(Errno::EACCES);
        }
        let behind = rest.get(index + 1..).unwrap_or_default();
        let is_last = behind.is_empty();
        let purpose = if is_last { want.purpose } else { on_the_way(want.purpose) };
        let lookup = Lookup { dir: at.id, name, rest: behind, purpose, goal: want.purpose };
        match manager.lookup(lookup).await {
            Ok(Found::Elsewhere { server, taken }) => {
                let depth = (above + index + 1).saturating_add(taken).min(path.parts().len());
                return Ok(done(Resolved::Elsewhere { server, path: path.clone(), depth }));
            }
            Ok(Found::Object(next)) if next.file_type == FileType::Symlink && (!is_last || want.follow) => {
                let target = manager.read_link(next.id).await?;
                return path.through_link(above + index + 1, &target).map(Walked::Link);
            }
            Ok(Found::Object(next)) if is_last => return object(next, Some(at)),
            Ok(Found::Object(next)) => at = next,
            Err(Errno::ENOENT) if is_last && want.create => {
                let (mount, path) = (mount.clone(), path.clone());
                return Ok(done(Resolved::Free { mount, path, dir: at }));
            }
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ENOENT)
}

fn on_the_way(purpose: Purpose) -> Purpose {
    if purpose == Purpose::List { Purpose::List } else { Purpose::Use }
}

/// Keeps the first error that says more than "not here".
fn note(problem: &mut Errno, errno: Errno) {
    if *problem == Errno::ENOENT && errno != Errno::ENOSYS {
        *problem = errno;
    }
}

/// Whether the next manager, or the next server of a link reply, is asked (section 13.3).
pub(crate) fn leads_on(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOSYS | Errno::ENOENT | Errno::ENXIO | Errno::ESRCH | Errno::EROFS | Errno::EBADFSYS
    ) || errno.is_network()
}
