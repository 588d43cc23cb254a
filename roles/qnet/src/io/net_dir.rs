//! `/net`: the nodes (section 15).

use super::manager::{Found, Io, Lookup, OpenFile, Opening, Purpose, Removal, ResourceManager, Server, now};
use super::mounts::page;
use super::nodes::NodeDirectory;
use super::text::plain;
use crate::api::PROCESS_MANAGER;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_qnet_wire::io::IoConnect;
use keelson_qnet_wire::names::same_name;
use keelson_qnet_wire::{Errno, Nd};
use keelson_volume::{Attributes, DirPage, FileId, FileType};

/// Marks the directory itself among ids, which are node descriptors.
const SELF: u64 = 1 << 32;

/// The directory of nodes. Names below a node are the node's own.
pub struct NetDirectory {
    nodes: Rc<dyn NodeDirectory>,
}

impl NetDirectory {
    /// Shows the nodes of a network.
    pub fn new(nodes: Rc<dyn NodeDirectory>) -> NetDirectory {
        NetDirectory { nodes }
    }

    fn directory(nd: Nd) -> Attributes {
        plain(nd.0.into(), FileType::Directory, 0o555)
    }

    /// An entry that is known, without asking anybody.
    fn listed(&self, name: &str) -> Option<Nd> {
        let own = self.nodes.own_name();
        if same_name(name, &own.host) {
            return Some(Nd::LOCAL);
        }
        self.nodes.list().into_iter().find(|entry| same_name(&entry.name, name)).map(|entry| entry.nd)
    }
}

impl ResourceManager for NetDirectory {
    fn root(&self) -> FileId {
        FileId { inode: SELF, discriminator: 0 }
    }

    fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
        now(match id.inode {
            SELF => Ok(plain(SELF, FileType::Directory, 0o555)),
            nd => u32::try_from(nd).map(|nd| NetDirectory::directory(Nd(nd))).map_err(|_| Errno::ENOENT),
        })
    }

    fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(Err(Errno::EISDIR))
    }

    fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
        Box::pin(async move {
            let name = core::str::from_utf8(lookup.name).map_err(|_| Errno::ENOENT)?;
            let object = |nd| Ok(Found::Object(NetDirectory::directory(nd)));
            match lookup.purpose {
                // `ls -l /net`: stale entries go (section 15).
                Purpose::Stat => object(self.nodes.verify(name).await?),
                Purpose::Change | Purpose::List => object(self.listed(name).ok_or(Errno::ENOENT)?),
                Purpose::Use => {
                    let nd = self.nodes.resolve(name).await?;
                    let handle = IoConnect::REMOTE_ROOT;
                    let server = Server { nd, pid: PROCESS_MANAGER, chid: 1, handle };
                    Ok(Found::Elsewhere { server, taken: 0 })
                }
            }
        })
    }

    /// Only in so far as entries can be removed.
    fn is_writable(&self) -> bool {
        true
    }

    fn may_create(&self) -> bool {
        false
    }

    /// No other directory has nodes.
    fn is_opaque(&self) -> bool {
        true
    }

    /// This node's own name comes first, with inode 0; others with their descriptors.
    fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
        if dir.inode != SELF {
            return now(Err(Errno::ENOTDIR));
        }
        let mut nodes = self.nodes.list();
        nodes.sort_by_key(|entry| entry.nd);
        // Cookies are descriptors and two more, so that reading goes on at the right place when nodes come and go.
        let own = (self.nodes.own_name().host.into_bytes(), 0, 1);
        let others = nodes.into_iter().map(|entry| {
            let nd = u64::from(entry.nd.0);
            (entry.name.into_bytes(), nd, nd.saturating_add(1))
        });
        let entries: Vec<_> = core::iter::once(own).chain(others).collect();
        let rest = entries.into_iter().filter(|(.., entry_cookie)| *entry_cookie > cookie);
        let cookies: Vec<u64> = rest.clone().map(|(.., entry_cookie)| entry_cookie).collect();
        let mut page = page(rest.map(|(name, inode, _)| (name, inode)), 0, max_bytes);
        for (entry, cookie) in page.entries.iter_mut().zip(cookies) {
            entry.cookie = cookie;
        }
        now(Ok(page))
    }

    /// `rmdir /net/x` forgets the entry.
    fn remove<'a>(&'a self, _: FileId, name: &'a [u8], removal: Removal) -> Io<'a, ()> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT);
        now(match removal {
            Removal::File => Err(Errno::EROFS),
            Removal::Directory => name.and_then(|name| self.nodes.remove(name)),
        })
    }
}
