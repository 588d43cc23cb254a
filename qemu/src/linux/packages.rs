//! Debian packages, downloaded with apt and unpacked side by side under `target/guest`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::tool;

/// Unpacked packages.
pub struct Packages {
    home: PathBuf,
    /// Package name to its folder.
    folders: BTreeMap<String, PathBuf>,
    /// Held until dropped: one process at a time fills the cache.
    _lock: File,
}

impl Packages {
    /// Opens the cache: `target/guest` of the workspace, or `KEELSON_GUEST_DIR`.
    pub fn open() -> Result<Packages> {
        let home = std::env::var_os("KEELSON_GUEST_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest"), PathBuf::from);
        fs::create_dir_all(home.join("debs"))
            .map_err(Error::io(format!("create package cache {}", home.display())))?;
        let home = home.canonicalize().map_err(Error::io("find the package cache"))?;
        let lock = File::create(home.join("lock")).map_err(Error::io("lock the package cache"))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(Error::errno("lock the package cache"))?;
        Ok(Packages { home, folders: BTreeMap::new(), _lock: lock })
    }

    /// The folder of the cache.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Makes sure these packages are unpacked; downloads what is missing.
    pub fn fetch(&mut self, names: &[String]) -> Result<()> {
        let missing: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !self.folder(name).exists()).collect();
        if !missing.is_empty() {
            self.download(&missing)?;
            for name in missing {
                self.unpack(name)?;
            }
        }
        for name in names {
            self.folders.insert(name.clone(), self.folder(name));
        }
        Ok(())
    }

    /// Debian's current cloud kernel package, once found kept until the cache is removed.
    pub fn kernel(&self) -> Result<String> {
        let note = self.home.join("kernel-package");
        if let Ok(name) = fs::read_to_string(&note) {
            return Ok(name);
        }
        let find = || -> Result<Option<String>> {
            let text = tool::output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
            let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
            Ok(name.map(String::from))
        };
        let name = match find() {
            Ok(Some(name)) => name,
            _ => {
                update()?;
                find()?.ok_or_else(|| offline("the name of Debian's cloud kernel package"))?
            }
        };
        fs::write(&note, &name).map_err(Error::io("note the kernel package"))?;
        Ok(name)
    }

    /// A file of any fetched package; `usr/` in front may be given or not, as Debian moves files there.
    pub fn find(&self, path: &str) -> Option<PathBuf> {
        let short = path.strip_prefix("usr/").unwrap_or(path);
        self.folders
            .values()
            .flat_map(|folder| [folder.join("usr").join(short), folder.join(short)])
            .find(|candidate| candidate.symlink_metadata().is_ok())
    }

    /// The folder of a fetched package.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.home.join("root").join(name)
    }

    fn download(&self, names: &[&str]) -> Result<()> {
        let fetch = || {
            let mut apt = Command::new("apt-get");
            // Downloads belong to us, not to apt's own user, who may not write here.
            apt.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(names);
            tool::output(apt.current_dir(self.home.join("debs")))
        };
        if fetch().is_ok() {
            return Ok(());
        }
        // The package lists are missing or too old: bring them up to date once.
        update()?;
        fetch().map(drop).map_err(|e| match e {
            Error::Tool { output, .. } => {
                offline(&format!("Debian package of: {}\n{output}", names.join(" ")))
            }
            e => e,
        })
    }

    fn unpack(&self, name: &str) -> Result<()> {
        let debs = self.home.join("debs");
        let entries = fs::read_dir(&debs).map_err(Error::io("list downloaded packages"))?;
        let deb = entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name().is_some_and(|f| f.to_string_lossy().starts_with(&format!("{name}_")))
            })
            .ok_or_else(|| offline(&format!("Debian package {name}")))?;
        let (folder, partial) = (self.folder(name), self.home.join("unpacking"));
        let _ = fs::remove_dir_all(&partial);
        tool::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
        let io = Error::io(format!("move {name} into the package cache"));
        fs::create_dir_all(self.home.join("root")).and_then(|()| fs::rename(&partial, &folder)).map_err(io)
    }
}

fn update() -> Result<()> {
    tool::output(Command::new("apt-get").args(["-q", "update"])).map(drop).map_err(|e| match e {
        Error::Tool { output, .. } => offline(&format!("a list of Debian packages\n{output}")),
        e => e,
    })
}

fn offline(what: &str) -> Error {
    Error::Missing {
        what: what.into(),
        remedy: "the Linux guest is made of Debian packages; run this once as root with the network up \
                 (apt-get update must work), later runs use the copies in target/guest"
            .into(),
    }
}
