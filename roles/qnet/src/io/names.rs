//! `/dev/name/local` and `/dev/name/global`: services, which are on channels of their own (section 11.4).

use super::manager::{Found, Io, Lookup, OpenFile, Opening, Purpose, ResourceManager, Server, now};
use super::mounts::page;
use super::path::name_id;
use super::text::plain;
use crate::api::{Kernel, NameScope};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::{Errno, Nd};
use keelson_volume::{Attributes, DirPage, FileId, FileType};

/// A directory of registered names.
pub struct NameDirectory {
    kernel: Kernel,
    scope: NameScope,
}

impl NameDirectory {
    /// Shows the names that programs of a kernel have attached.
    pub fn new(kernel: &Kernel, scope: NameScope) -> NameDirectory {
        NameDirectory { kernel: kernel.clone(), scope }
    }

    fn names(&self) -> Vec<String> {
        self.kernel.names(self.scope)
    }

    /// The path of a directory: names may have several components. `None` for what is not, or not any more.
    fn directory(&self, id: FileId) -> Option<String> {
        if id == id_of("") {
            return Some(String::new());
        }
        let is_it = |(at, _): &(usize, &str), name: &str| name.get(..*at).is_some_and(|dir| id_of(dir) == id);
        self.names().into_iter().find_map(|name| {
            let (at, _) = name.match_indices('/').find(|slash| is_it(slash, &name))?;
            name.get(..at).map(String::from)
        })
    }

    fn describe(&self, id: FileId) -> Result<Attributes, Errno> {
        let is_directory = self.directory(id).is_some();
        if !is_directory && !self.names().iter().any(|name| id_of(name) == id) {
            return Err(Errno::ENOENT);
        }
        let (file_type, mode) =
            if is_directory { (FileType::Directory, 0o555) } else { (FileType::CharDevice, 0o666) };
        Ok(Attributes { id, ..plain(0, file_type, mode) })
    }

    fn find(&self, lookup: Lookup<'_>) -> Result<Found, Errno> {
        let dir = self.directory(lookup.dir).ok_or(Errno::ENOENT)?;
        let component = |bytes| core::str::from_utf8(bytes).map_err(|_| Errno::ENOENT);
        let mut path = below(&dir, component(lookup.name)?);
        if lookup.goal != Purpose::Use {
            return self.describe(id_of(&path)).map(Found::Object);
        }
        let first = id_of(&path);
        // The longest name that there is.
        let mut found = self.server(&path, 0);
        for (taken, name) in lookup.rest.iter().enumerate() {
            let Ok(name) = component(name.as_slice()) else { break };
            path = below(&path, name);
            found = self.server(&path, taken + 1).or(found);
        }
        match found {
            Some(found) => Ok(found),
            None => self.describe(first).map(Found::Object),
        }
    }

    fn server(&self, name: &str, taken: usize) -> Option<Found> {
        let (pid, chid) = self.kernel.name_lookup(name, self.scope)?;
        Some(Found::Elsewhere { server: Server { nd: Nd::LOCAL, pid, chid, handle: 0 }, taken })
    }

    /// What follows a directory in the names.
    fn entries(&self, dir: &str) -> BTreeMap<Vec<u8>, u64> {
        let mut entries = BTreeMap::new();
        for name in self.names() {
            let rest = if dir.is_empty() {
                Some(name.as_str())
            } else {
                name.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/'))
            };
            if let Some(first) = rest.and_then(|rest| rest.split('/').next()) {
                entries.insert(first.as_bytes().to_vec(), id_of(&below(dir, first)).inode);
            }
        }
        entries
    }
}

fn below(dir: &str, name: &str) -> String {
    let mut path = String::from(dir);
    if !dir.is_empty() {
        path.push('/');
    }
    path.push_str(name);
    path
}

fn id_of(name: &str) -> FileId {
    name_id(name.split('/').filter(|part| !part.is_empty()).map(str::as_bytes))
}

impl ResourceManager for NameDirectory {
    fn root(&self) -> FileId {
        id_of("")
    }

    fn attributes(&self, id: FileId) -> Io<'_, Attributes> {
        now(self.describe(id))
    }

    fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(Err(Errno::ENXIO))
    }

    fn lookup<'a>(&'a self, lookup: Lookup<'a>) -> Io<'a, Found> {
        now(self.find(lookup))
    }

    fn read_dir(&self, dir: FileId, cookie: u64, max_bytes: usize) -> Io<'_, DirPage> {
        let Some(dir) = self.directory(dir) else { return now(Err(Errno::ENOTDIR)) };
        now(Ok(page(self.entries(&dir).into_iter(), cookie, max_bytes)))
    }
}
