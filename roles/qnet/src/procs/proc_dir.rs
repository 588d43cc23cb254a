//! `/proc`: a directory for each process, with its `as` (section 14.1).

use super::as_file::{AddressSpace, system_page};
use super::table::Processes;
use crate::api::PROCESS_MANAGER;
use crate::io::{
    Caller, DevctlAnswer, Found, Io, Lookup, OpenFile, Opening, ResourceManager, now, plain, unknown_devctl,
};
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use keelson_qnet_wire::io::Dcmd;
use keelson_qnet_wire::{Errno, Nd};
use keelson_volume::{Attributes, DirEntry, DirPage, FileId, FileType};

/// Name of whoever asks.
const SELF: &[u8] = b"self";

/// The directory of processes.
pub struct ProcDirectory {
    processes: Processes,
}

/// What an id stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Root,
    /// A process; `None` is whoever asks.
    Process(Option<u32>),
    AddressSpace(Option<u32>),
}

impl Node {
    /// Ids are the process's, with two bits below that say what it is.
    fn id(self) -> FileId {
        let inode = match self {
            Node::Root => 1,
            Node::Process(pid) => u64::from(pid.unwrap_or(0)) << 2 | 2,
            Node::AddressSpace(pid) => u64::from(pid.unwrap_or(0)) << 2 | 3,
        };
        FileId { inode, discriminator: 0 }
    }

    fn of(id: FileId) -> Result<Node, Errno> {
        let pid = u32::try_from(id.inode >> 2).map_err(|_| Errno::ENOENT)?;
        let pid = Some(pid).filter(|pid| *pid != 0);
        match id.inode & 3 {
            1 if pid.is_none() => Ok(Node::Root),
            2 => Ok(Node::Process(pid)),
            3 => Ok(Node::AddressSpace(pid)),
            _ => Err(Errno::ENOENT),
        }
    }
}

impl ProcDirectory {
    /// Shows the processes of a node.
    pub fn new(processes: &Processes) -> ProcDirectory {
        ProcDirectory { processes: processes.clone() }
    }

    fn describe(&self, node: Node) -> Result<Attributes, Errno> {
        let id = node.id();
        let owner = |pid: Option<u32>| match pid {
            None => Ok::<_, Errno>((0, 0)),
            Some(pid) => {
                let entry = self.processes.entry(pid).ok_or(Errno::ENOENT)?;
                Ok((entry.who.euid, entry.who.egid))
            }
        };
        Ok(match node {
            // Its size is the memory that is free: `pidin` relies on that.
            Node::Root => Attributes {
                size: self.processes.system().memory().free,
                ..plain(id.inode, FileType::Directory, 0o555)
            },
            Node::Process(pid) => {
                let (uid, gid) = owner(pid)?;
                Attributes { uid, gid, ..plain(id.inode, FileType::Directory, 0o555) }
            }
            Node::AddressSpace(pid) => {
                let (uid, gid) = owner(pid)?;
                Attributes { uid, gid, ..plain(id.inode, FileType::Regular, 0o444) }
            }
        })
    }

    fn find(&self, lookup: Lookup<'_>) -> Result<Found, Errno> {
        let node = match Node::of(lookup.dir)? {
            Node::Root if lookup.name == SELF => Node::Process(None),
            Node::Root => {
                let text = core::str::from_utf8(lookup.name).map_err(|_| Errno::ENOENT)?;
                let pid: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
                // One name for each: neither "+1" nor "01".
                let is_name = pid != 0 && pid.to_string() == text;
                Node::Process(Some(pid).filter(|_| is_name).ok_or(Errno::ENOENT).map(Some)?)
            }
            Node::Process(pid) if lookup.name == b"as" => Node::AddressSpace(pid),
            Node::Process(_) => return Err(Errno::ENOENT),
            Node::AddressSpace(_) => return Err(Errno::ENOTDIR),
        };
        self.describe(node).map(Found::Object)
    }

    fn list(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Result<DirPage, Errno> {
        let entries: Vec<(Vec<u8>, Node, u64)> = match Node::of(dir)? {
            // Cookies are process ids, so that reading goes on at the right place when processes come and go.
            Node::Root => {
                let processes = self.processes.all();
                let process = processes.iter().map(|entry| {
                    (entry.pid.to_string().into_bytes(), Node::Process(Some(entry.pid)), u64::from(entry.pid))
                });
                process.chain([(SELF.to_vec(), Node::Process(None), u64::from(u32::MAX))]).collect()
            }
            Node::Process(pid) => [(b"as".to_vec(), Node::AddressSpace(pid), 1)].into(),
            Node::AddressSpace(_) => return Err(Errno::ENOTDIR),
        };
        let (mut page, mut bytes) = (DirPage { entries: Vec::new(), end: true }, 0);
        for (name, node, entry_cookie) in entries.into_iter().filter(|(.., at)| *at > cookie) {
            bytes += name.len() + 24;
            if bytes > max_bytes && !page.entries.is_empty() {
                page.end = false;
                break;
            }
            let inode = node.id().inode;
            page.entries.push(DirEntry { name, inode, cookie: entry_cookie, attributes: None });
        }
        Ok(page)
    }

    fn open_file(&self, id: FileId, caller: &Caller) -> Result<Rc<dyn OpenFile>, Errno> {
        let pid = match Node::of(id)? {
            Node::AddressSpace(Some(pid)) => pid,
            // Clients of other nodes have no process here but the one that answers them.
            Node::AddressSpace(None) if caller.nd == Nd::LOCAL => {
                u32::try_from(caller.credentials.pid).map_err(|_| Errno::ESRCH)?
            }
            Node::AddressSpace(None) => PROCESS_MANAGER,
            Node::Root | Node::Process(_) => return Err(Errno::EISDIR),
        };
        let entry = self.processes.entry(pid).ok_or(Errno::ESRCH)?;
        let is_owner = caller.is_root() || caller.uid == entry.who.euid;
        Ok(Rc::new(AddressSpace { processes: self.processes.clone(), pid, is_owner }))
    }
}

impl ResourceManager for ProcDirectory {
    fn root(&self) -> FileId {
        Node::Root.id()
    }

    fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
        now(Node::of(id).and_then(|node| self.describe(node)))
    }

    fn open<'a>(&'a self, id: FileId, how: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(self.open_file(id, how.caller))
    }

    fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
        now(self.find(lookup))
    }

    fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
        now(self.list(dir, cookie, max_bytes))
    }

    /// `pidin info` and `pidin net` ask the directory itself (section 14.3).
    fn devctl<'a>(
        &'a self,
        dir: FileId,
        dcmd: Dcmd,
        _data: &'a [u8],
        room: usize,
        _caller: &'a Caller,
    ) -> Io<'a, DevctlAnswer> {
        let is_page = dcmd.low16() == Dcmd::PROC_SYSINFO.low16() && Node::of(dir) == Ok(Node::Root);
        now(if is_page { system_page(&self.processes, room) } else { Err(unknown_devctl(dcmd)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_for_one_thing() {
        let nodes = [
            Node::Root,
            Node::Process(None),
            Node::AddressSpace(None),
            Node::Process(Some(1)),
            Node::AddressSpace(Some(1)),
            Node::Process(Some(u32::MAX)),
            Node::AddressSpace(Some(u32::MAX)),
        ];
        for node in nodes {
            assert_eq!(Node::of(node.id()), Ok(node));
        }
        for inode in [0, 4, 5, u64::MAX] {
            assert_eq!(Node::of(FileId { inode, discriminator: 0 }), Err(Errno::ENOENT), "{inode}");
        }
    }
}
