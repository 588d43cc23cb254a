//! Trees of the host that a guest gets as they are: programs and modules that Debian does not package.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One entry of a tree, by its path in the guest (no `/` in front).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder, also an empty one.
    Directory,
    /// A regular file of the host, with its permissions.
    File { from: PathBuf, mode: u32 },
    /// A symbolic link, with its target as it is: it is resolved in the guest, not here.
    Symlink { target: String },
}

/// Lists a tree, folders before what is in them, always in the same order.
pub fn entries(root: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    Ok(found)
}

fn walk(folder: &Path, inside: &str, found: &mut Vec<Entry>) -> Result<()> {
    let failed = |doing: &str, path: &Path| Error::io(format!("{doing} {} of an overlay", path.display()));
    let listing = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut listing = listing.map_err(failed("list", folder))?;
    listing.sort_by_key(|entry| entry.file_name());
    for entry in listing {
        let from = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(unusable(&from, "its name is not UTF-8"));
        };
        let path = merged(inside, &name);
        let meta = from.symlink_metadata().map_err(failed("examine", &from))?;
        let kind = if meta.is_dir() {
            Kind::Directory
        } else if meta.is_symlink() {
            let target = fs::read_link(&from).map_err(failed("read", &from))?;
            match target.into_os_string().into_string() {
                Ok(target) => Kind::Symlink { target },
                Err(_) => return Err(unusable(&from, "its target is not UTF-8")),
            }
        } else if meta.is_file() {
            Kind::File { from: from.clone(), mode: meta.permissions().mode() & 0o7777 }
        } else {
            return Err(unusable(&from, "it is a device, pipe or socket"));
        };
        let is_folder = kind == Kind::Directory;
        found.push(Entry { path: path.clone(), kind });
        if is_folder {
            walk(&from, &path, found)?;
        }
    }
    Ok(())
}

/// The path in the guest, where `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`, as Debian has it.
fn merged(inside: &str, name: &str) -> String {
    match (inside, name) {
        ("", "bin" | "sbin" | "lib" | "lib64") => format!("usr/{name}"),
        ("", _) => name.into(),
        _ => format!("{inside}/{name}"),
    }
}

/// What a guest could not get; whoever made the tree has to take it out.
fn unusable(path: &Path, why: &'static str) -> Error {
    Error::io(format!("put {} of an overlay into a guest", path.display()))(io::Error::other(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_tree_is_listed_in_order_with_modes_links_and_a_merged_usr() {
        let bench = Bench::new("overlay");
        let root = bench.dir().join("tree");
        for folder in ["etc/empty", "lib/deep", "usr/sbin"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("usr/sbin/tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("usr/sbin/tool"), PermissionsExt::from_mode(0o4750)).unwrap();
        fs::write(root.join("lib/deep/data"), [1, 2, 3]).unwrap();
        fs::set_permissions(root.join("lib/deep/data"), PermissionsExt::from_mode(0o600)).unwrap();
        symlink("/nowhere/../x", root.join("usr/sbin/link")).unwrap();

        let directory = |path: &str| Entry { path: path.into(), kind: Kind::Directory };
        let file = |path: &str, from: &str, mode| Entry {
            path: path.into(),
            kind: Kind::File { from: root.join(from), mode },
        };
        let link = Kind::Symlink { target: "/nowhere/../x".into() };
        let expected = [
            directory("etc"),
            directory("etc/empty"),
            directory("usr/lib"),
            directory("usr/lib/deep"),
            file("usr/lib/deep/data", "lib/deep/data", 0o600),
            directory("usr"),
            directory("usr/sbin"),
            Entry { path: "usr/sbin/link".into(), kind: link },
            file("usr/sbin/tool", "usr/sbin/tool", 0o4750),
        ];
        assert_eq!(entries(&root).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_put_into_a_guest_is_refused_by_name() {
        let bench = Bench::new("overlay");
        let error = entries(&bench.dir().join("nothing")).unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
        let _socket = UnixListener::bind(bench.dir().join("socket")).unwrap();
        let error = entries(bench.dir()).unwrap_err().to_string();
        assert!(error.ends_with("into a guest: it is a device, pipe or socket"), "{error}");
    }
}
