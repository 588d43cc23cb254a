//! Open files: what each descriptor of each client stands for.
//!
//! A descriptor is a server connection and the client's name for it; `_IO_DUP` makes another one for the same open
//! file. All of a connection's are closed when it ends.

use super::access::Caller;
use super::directory::Cursor;
use super::manager::{OpenFile, Opening};
use super::namespace::Place;
use crate::api::MessageInfo;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_exec::TaskHandle;
use keelson_exec::sync::Semaphore;
use keelson_qnet_wire::Errno;

/// An open file.
pub(crate) struct Open {
    pub place: Place,
    /// Absent until it is used, if it was opened for its name only.
    file: RefCell<Option<Rc<dyn OpenFile>>>,
    pub ioflag: Cell<u32>,
    pub offset: Cell<u64>,
    /// Held by whoever reads or writes at the offset.
    pub at_offset: Rc<Semaphore>,
    /// For directories.
    pub cursor: RefCell<Option<Cursor>>,
    /// Who opened it.
    pub opener: Caller,
    /// Waits for a condition, for `_IO_NOTIFY`.
    pub armed: RefCell<Option<TaskHandle>>,
}

impl Open {
    pub fn new(place: Place, ioflag: u32, opener: &Caller) -> Open {
        Open {
            place,
            file: RefCell::new(None),
            ioflag: Cell::new(ioflag),
            offset: Cell::new(0),
            at_offset: Semaphore::new(1),
            cursor: RefCell::new(None),
            opener: *opener,
            armed: RefCell::new(None),
        }
    }

    /// Its manager's file; opened now if it was not.
    pub async fn file(&self) -> Result<Rc<dyn OpenFile>, Errno> {
        if let Some(file) = self.opened() {
            return Ok(file);
        }
        let how = Opening { ioflag: self.ioflag.get(), caller: &self.opener };
        let file = self.place.mount.manager.open(self.place.attributes.id, how).await?;
        *self.file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    /// Its manager's file, if it is opened.
    pub fn opened(&self) -> Option<Rc<dyn OpenFile>> {
        self.file.borrow().clone()
    }

    /// Nobody is told of conditions any more.
    pub fn disarm(&self) {
        let armed = self.armed.borrow_mut().take();
        if let Some(armed) = armed {
            armed.abort();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Names a descriptor: server connection, client's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Descriptor {
    scoid: u32,
    coid: i32,
}

impl Descriptor {
    pub fn of(info: &MessageInfo) -> Descriptor {
        Descriptor { scoid: info.scoid as u32, coid: info.coid }
    }
}

/// What has been received from a connection and is not answered.
#[derive(Default)]
struct Busy {
    messages: usize,
    /// The connection has ended: nothing may be opened for it.
    gone: bool,
}

/// All open files.
pub(crate) struct Opens {
    list: BTreeMap<Descriptor, Rc<Open>>,
    busy: BTreeMap<u32, Busy>,
    /// Most, and most of one connection.
    limits: (usize, usize),
}

impl Opens {
    pub fn new(limits: (usize, usize)) -> Opens {
        Opens { list: BTreeMap::new(), busy: BTreeMap::new(), limits }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn get(&self, descriptor: Descriptor) -> Option<Rc<Open>> {
        self.list.get(&descriptor).cloned()
    }

    /// A message of a connection is being worked on.
    pub fn begin(&mut self, info: &MessageInfo) {
        self.busy.entry(info.scoid as u32).or_default().messages += 1;
    }

    /// It is answered.
    pub fn end(&mut self, info: &MessageInfo) {
        let scoid = info.scoid as u32;
        if let Some(busy) = self.busy.get_mut(&scoid) {
            busy.messages = busy.messages.saturating_sub(1);
            if busy.messages == 0 {
                self.busy.remove(&scoid);
            }
        }
    }

    /// Enters an open file; what the descriptor was before is returned, to be closed.
    pub fn insert(&mut self, descriptor: Descriptor, open: Rc<Open>) -> Result<Option<Rc<Open>>, Errno> {
        if self.busy.get(&descriptor.scoid).is_some_and(|busy| busy.gone) {
            return Err(Errno::ESRCH);
        }
        if !self.list.contains_key(&descriptor) {
            let (most, most_of_one) = self.limits;
            if self.list.len() >= most {
                return Err(Errno::ENFILE);
            }
            if self.of(descriptor.scoid).count() >= most_of_one {
                return Err(Errno::EMFILE);
            }
        }
        Ok(self.list.insert(descriptor, open))
    }

    pub fn remove(&mut self, descriptor: Descriptor) -> Option<Rc<Open>> {
        self.list.remove(&descriptor)
    }

    /// A connection has ended: what it had open, to be closed.
    pub fn disconnect(&mut self, scoid: u32) -> Vec<Rc<Open>> {
        if let Some(busy) = self.busy.get_mut(&scoid) {
            busy.gone = true;
        }
        let descriptors: Vec<Descriptor> = self.of(scoid).collect();
        descriptors.iter().filter_map(|descriptor| self.list.remove(descriptor)).collect()
    }

    /// The open file that a `_IO_DUP` names: opened by the process it says, and by the same user unless root asks
    /// (section 14.4: a child on another node takes over its parent's files).
    pub fn to_dup(&self, source: &MessageInfo, caller: &Caller) -> Result<Rc<Open>, Errno> {
        let open = self.get(Descriptor::of(source)).ok_or(Errno::EBADF)?;
        let opener = &open.opener;
        let is_openers = opener.credentials.pid == source.pid;
        let may = caller.credentials.euid == 0 || caller.credentials.euid == opener.credentials.euid;
        if is_openers && may { Ok(open) } else { Err(Errno::EBADF) }
    }

    fn of(&self, scoid: u32) -> impl Iterator<Item = Descriptor> + '_ {
        let range = Descriptor { scoid, coid: i32::MIN }..=Descriptor { scoid, coid: i32::MAX };
        self.list.range(range).map(|(descriptor, _)| *descriptor)
    }
}
