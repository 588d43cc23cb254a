//! What is in a guest: programs with their libraries, kernel modules, a few files, and `init`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cpio::Cpio;
use super::elf::needed_libraries;
use super::modules::Modules;
use super::overlay::{self, Kind};
use super::packages::Packages;
use crate::error::{Error, Result};

/// What a guest gets beyond the usual.
#[derive(Clone, Default, Hash)]
pub struct Initramfs {
    pub packages: Vec<String>,
    pub programs: Vec<String>,
    pub modules: Vec<String>,
    pub files: Vec<(PathBuf, String)>,
    pub overlays: Vec<PathBuf>,
}

/// Packages of every guest: tools, and the libraries these are linked with.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "e2fsprogs",
    "mount",
    "netbase",
    "nfs-common",
    "nfs-kernel-server",
    "rpcbind",
    "util-linux",
    "libblkid1",
    "libc6",
    "libcap2",
    "libcom-err2",
    "libevent-core-2.1-7",
    "libext2fs2",
    "libgcrypt20",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "liblz4-1",
    "liblzma5",
    "libmount1",
    "libnfsidmap1",
    "libnsl2",
    "libpcre2-8-0",
    "libselinux1",
    "libss2",
    "libsqlite3-0",
    "libssl3",
    "libsystemd0",
    "libtirpc3",
    "libtirpc-common",
    "libuuid1",
    "libwrap0",
    "libzstd1",
    "libsmartcols1",
];

/// Programs of every guest; everything else is busybox.
const PROGRAMS: &[&str] = &[
    "usr/bin/busybox",
    "usr/bin/mount",
    "usr/bin/umount",
    "usr/bin/flock",
    "usr/sbin/mount.nfs",
    "usr/sbin/showmount",
    "usr/bin/rpcinfo",
    "usr/sbin/nfsstat",
    "usr/sbin/rpcbind",
    "usr/sbin/rpc.statd",
    "usr/sbin/sm-notify",
    "usr/sbin/rpc.nfsd",
    "usr/sbin/rpc.mountd",
    "usr/sbin/exportfs",
    "usr/sbin/mke2fs",
];

/// Modules of every guest; `init` loads what makes the machine work, modprobe the rest when it is used.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_mmio", "virtio_net", "virtio_blk", "virtio_console", "ext4", "nfsv3", "nfsd"];

/// Files taken over from packages.
const FILES: &[&str] = &["etc/services", "etc/protocols", "etc/rpc", "etc/netconfig", "etc/mke2fs.conf"];

/// Names by which the kernel asks for modules.
const ALIASES: &str = "alias fs-nfs nfs\nalias fs-nfsd nfsd\nalias fs-ext4 ext4\n";

const INIT: &str = include_str!("init.sh");
const START_STATD: &str = include_str!("start-statd.sh");

impl Initramfs {
    /// The kernel and the RAM disk, fetched and built if this is the first time.
    pub fn prepare(&self) -> Result<(PathBuf, PathBuf)> {
        let mut packages = Packages::open()?;
        let kernel = packages.kernel()?;
        let mut names: Vec<String> = PACKAGES.iter().map(|name| name.to_string()).collect();
        names.push(kernel.clone());
        names.extend(self.packages.iter().cloned());
        packages.fetch(&names)?;
        let folder = packages.folder(&kernel);
        let modules = Modules::of(&folder)?;
        let image = folder.join(format!("boot/vmlinuz-{}", modules.version));
        let path = packages.home().join(format!("initramfs-{:016x}", self.fingerprint(&kernel)));
        // Files of the host may have changed under the same names.
        if !path.exists() || !self.files.is_empty() || !self.overlays.is_empty() {
            let archive = self.build(&packages, &modules, &folder)?;
            let partial = path.with_extension("partial");
            fs::write(&partial, archive)
                .and_then(|()| fs::rename(&partial, &path))
                .map_err(Error::io(format!("write {}", path.display())))?;
        }
        Ok((image, path))
    }

    /// Differs whenever the contents would.
    fn fingerprint(&self, kernel: &str) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self, kernel, PACKAGES, PROGRAMS, MODULES, FILES, ALIASES, INIT, START_STATD).hash(&mut hasher);
        hasher.finish()
    }

    fn build(&self, packages: &Packages, modules: &Modules, kernel: &Path) -> Result<Vec<u8>> {
        let mut tree = Tree { packages, cpio: Cpio::default(), present: BTreeSet::new() };
        tree.skeleton();
        for program in PROGRAMS.iter().copied().chain(self.programs.iter().map(String::as_str)) {
            tree.program(program)?;
        }
        for path in FILES {
            let file = packages.find(path).ok_or_else(|| missing(path))?;
            tree.cpio.file(path, 0o644, &read(&file)?);
        }
        let built_in = kernel.join(format!("lib/modules/{}/modules.builtin", modules.version));
        let built_in = fs::read_to_string(&built_in).unwrap_or_default();
        let mut names: Vec<String> = MODULES.iter().map(|name| name.to_string()).collect();
        names.extend(self.modules.iter().cloned());
        let selection = modules.select(&names, &built_in)?;
        let home = format!("usr/lib/modules/{}", modules.version);
        tree.directories(&home);
        for (name, path) in selection.files() {
            tree.cpio.file(&format!("{home}/{name}"), 0o644, &read(path)?);
        }
        tree.cpio.file(&format!("{home}/modules.dep"), 0o644, selection.dependency_index().as_bytes());
        tree.cpio.file(&format!("{home}/modules.alias"), 0o644, ALIASES.as_bytes());
        for (from, to) in &self.files {
            let mode = from.metadata().map_or(0o644, |meta| meta.permissions().mode() & 0o777);
            let to = to.trim_start_matches('/');
            tree.directories(to.rsplit_once('/').map_or("", |(parent, _)| parent));
            tree.cpio.file(to, mode, &read(from)?);
        }
        for root in &self.overlays {
            tree.overlay(root)?;
        }
        Ok(tree.cpio.finish())
    }
}

/// The guest's file tree under construction.
struct Tree<'a> {
    packages: &'a Packages,
    cpio: Cpio,
    present: BTreeSet<String>,
}

impl Tree<'_> {
    /// Folders, the links of a merged `/usr`, and files that Debian makes at installation.
    fn skeleton(&mut self) {
        for folder in [
            "usr/bin",
            "usr/sbin",
            "usr/lib/x86_64-linux-gnu",
            "usr/lib64",
            "etc",
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "mnt",
            "root",
            "srv",
            "applets",
            "var/lib/nfs",
            "usr/lib/modules",
        ] {
            self.directories(folder);
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            self.cpio.symlink(name, &format!("usr/{name}"));
        }
        self.cpio.symlink("var/run", "/run");
        self.cpio.symlink("usr/sbin/modprobe", "/usr/bin/busybox");
        self.cpio.symlink("usr/bin/sh", "/usr/bin/busybox");
        self.cpio.symlink("etc/mtab", "/proc/self/mounts");
        self.cpio.device("dev/console", 0o600, 5, 1);
        self.cpio.file("init", 0o755, INIT.as_bytes());
        self.cpio.file("usr/sbin/start-statd", 0o755, START_STATD.as_bytes());
        let passwd = "root:x:0:0::/root:/bin/sh\n_rpc:x:100:65534::/run/rpcbind:/bin/false\n\
                      statd:x:101:65534::/var/lib/nfs:/bin/false\nuser:x:1000:1000::/tmp:/bin/sh\n\
                      other:x:1001:1001::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        self.cpio.file("etc/passwd", 0o644, passwd.as_bytes());
        let group = "root:x:0:\nuser:x:1000:\nother:x:1001:\nnogroup:x:65534:\n";
        self.cpio.file("etc/group", 0o644, group.as_bytes());
        let switch =
            "passwd: files\ngroup: files\nhosts: files dns\nrpc: files\nservices: files\nprotocols: files\n";
        self.cpio.file("etc/nsswitch.conf", 0o644, switch.as_bytes());
    }

    fn directories(&mut self, path: &str) {
        let mut sofar = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if !sofar.is_empty() {
                sofar.push('/');
            }
            sofar += part;
            if self.present.insert(sofar.clone()) {
                self.cpio.directory(&sofar, if sofar == "tmp" { 0o1777 } else { 0o755 });
            }
        }
    }

    /// A tree of the host. The kernel unpacks in order, so a file here replaces one of the same name before it.
    fn overlay(&mut self, root: &Path) -> Result<()> {
        for entry in overlay::entries(root)? {
            match entry.kind {
                Kind::Directory => self.directories(&entry.path),
                Kind::File { from, mode } => self.cpio.file(&entry.path, mode, &read(&from)?),
                Kind::Symlink { target } => self.cpio.symlink(&entry.path, &target),
            }
        }
        Ok(())
    }

    /// A program with the libraries it needs and the loader.
    fn program(&mut self, path: &str) -> Result<()> {
        let file = self.packages.find(path).ok_or_else(|| missing(path))?;
        self.directories(path.rsplit_once('/').map_or("", |(parent, _)| parent));
        self.elf(path, &file)
    }

    fn elf(&mut self, path: &str, file: &Path) -> Result<()> {
        if !self.present.insert(path.into()) {
            return Ok(());
        }
        let data = read(file)?;
        self.cpio.file(path, 0o755, &data);
        for library in needed_libraries(&data) {
            let path = match library.as_str() {
                "ld-linux-x86-64.so.2" => format!("usr/lib64/{library}"),
                _ => format!("usr/lib/x86_64-linux-gnu/{library}"),
            };
            let found = self.packages.find(&path);
            let found = found.or_else(|| self.packages.find(&format!("usr/lib/x86_64-linux-gnu/{library}")));
            self.elf(&path, &found.ok_or_else(|| missing(&library))?)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(format!("read {}", path.display())))
}

fn missing(what: &str) -> Error {
    Error::Missing {
        what: what.into(),
        remedy: "no package of the guest has it: name the package with LinuxSpec::package".into(),
    }
}
