//! Where relative paths begin.

use super::paths;
use alloc::vec::Vec;
use spin::Mutex;

/// The working directory of a process.
///
/// The proxy has it too, and goes by it: here is what is needed to tell paths of the node from paths of the host.
#[derive(Default)]
pub struct FsContext {
    place: Mutex<Place>,
}

#[derive(Clone, Default)]
struct Place {
    cwd: Cwd,
    /// How often it was changed: what a proxy says of it may come late.
    changes: u64,
}

/// A working directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cwd {
    /// At the host, where the proxy knows.
    #[default]
    Unknown,
    /// At the host.
    Host(Vec<u8>),
    /// A directory of the node.
    Local(Vec<u8>),
}

impl FsContext {
    /// The working directory.
    pub fn cwd(&self) -> Cwd {
        self.place.lock().cwd.clone()
    }

    /// Another working directory.
    pub fn set_cwd(&self, cwd: Cwd) {
        let mut place = self.place.lock();
        *place = Place { cwd, changes: place.changes + 1 };
    }

    /// How often it was changed, before the proxy is asked for it.
    pub fn changes(&self) -> u64 {
        self.place.lock().changes
    }

    /// The proxy says where it is. Believed unless it was changed meanwhile.
    pub fn told_cwd(&self, cwd: &[u8], changes: u64) {
        let mut place = self.place.lock();
        if place.changes == changes && place.cwd == Cwd::Unknown {
            place.cwd = Cwd::Host(cwd.to_vec());
        }
    }

    /// The working directory that the launcher says (section 3.1).
    pub fn launched_in(&self, path: &[u8]) {
        self.set_cwd(if path.starts_with(b"/") { Cwd::Host(paths::normal(path)) } else { Cwd::Unknown });
    }

    /// A path from the root, as far as the working directory is known.
    pub fn absolute(&self, path: &[u8]) -> Vec<u8> {
        let start = match self.cwd() {
            _ if path.starts_with(b"/") => Vec::new(),
            Cwd::Unknown => return path.to_vec(),
            Cwd::Host(cwd) | Cwd::Local(cwd) => cwd,
        };
        paths::normal(&[&start[..], b"/", path].concat())
    }

    /// The same for a child.
    pub fn copy(&self) -> FsContext {
        FsContext { place: Mutex::new(self.place.lock().clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_from_the_root() {
        let fs = FsContext::default();
        assert_eq!(fs.absolute(b"./a"), b"./a", "nobody knows where");
        fs.launched_in(b"/home/u");
        assert_eq!(fs.absolute(b"./a"), b"/home/u/a");
        assert_eq!(fs.absolute(b"../b/c"), b"/home/b/c");
        assert_eq!(fs.absolute(b"/bin/sh"), b"/bin/sh");
    }

    #[test]
    fn what_the_proxy_says_too_late() {
        let fs = FsContext::default();
        let before = fs.changes();
        fs.set_cwd(Cwd::Unknown);
        fs.told_cwd(b"/old", before);
        assert_eq!(fs.cwd(), Cwd::Unknown);
        fs.told_cwd(b"/new", fs.changes());
        assert_eq!(fs.cwd(), Cwd::Host(b"/new".to_vec()));
    }
}
