//! What paths of the node lead to: opening it, asking about it, changing it.

use super::Caller;
use super::place::{self, below_shm, looker};
use crate::Errno;
use crate::files::flags::*;
use crate::files::paths::Tree;
use crate::files::{Content, Description, Device, DeviceKind, FileType, MemoryFile, PipeEnd, Stat, tmpfs};
use crate::pseudo::{DirectoryFile, Entry, PseudoFile};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_lwk_wire::layout::{Statfs, makedev};

/// `st_dev` of /proc, /sys.
const PROC_DEVICE: u64 = makedev(0, 21);
const SYS_DEVICE: u64 = makedev(0, 22);

/// f_type of statfs(2).
const PROC_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A number for what lies at a path: the same each time (FNV-1a).
fn inode_of(path: &[u8]) -> u64 {
    let hash = path
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash >> 16 | 1
}

fn maker(caller: &Caller<'_>, mode: u32) -> tmpfs::Maker {
    let process = &caller.thread.process;
    let ids = process.ids.lock();
    let umask = process.umask.load(core::sync::atomic::Ordering::Relaxed);
    let permissions = mode & 0o7777 & !umask;
    tmpfs::Maker { uid: ids.user.effective, gid: ids.group.effective, permissions }
}

/// Opens what lies at a path.
pub fn open(
    caller: &Caller<'_>,
    tree: Tree,
    path: &[u8],
    flags: u32,
    mode: u32,
) -> Result<Arc<Description>, Errno> {
    match tree {
        Tree::Device => {
            let kind = DeviceKind::at(path).ok_or(Errno::ENOENT)?;
            if flags & O_DIRECTORY != 0 {
                return Err(Errno::ENOTDIR);
            }
            let device = Device::new(kind, caller.thread.process.system.entropy.clone());
            Ok(Description::with_path(Arc::new(device), flags, Some(path.to_vec())))
        }
        Tree::Shm => open_shm(caller, path, flags, mode),
        Tree::Proc | Tree::Sys => open_pseudo(caller, tree, path, flags),
    }
}

fn open_shm(caller: &Caller<'_>, path: &[u8], flags: u32, mode: u32) -> Result<Arc<Description>, Errno> {
    let (system, files) = (&caller.thread.process.system, caller.thread.process.files());
    let (shm, inner) = (&files.vfs().shm, below_shm(path));
    let describe = |file| Description::with_path(file, flags, Some(path.to_vec()));
    if flags & O_TMPFILE == O_TMPFILE {
        if !matches!(shm.find(inner)?, tmpfs::Node::Directory(_)) {
            return Err(Errno::ENOTDIR);
        }
        let content = Content::lasting(system, tmpfs::DEVICE, maker(caller, mode).permissions, 1);
        let name = String::from("/dev/shm/#tmp (deleted)");
        return Ok(describe(Arc::new(MemoryFile::nameless(content, name, flags & O_EXCL == 0))));
    }
    let node = match shm.find(inner) {
        Err(Errno::ENOENT) if flags & O_CREAT != 0 => {
            match shm.create(system, inner, maker(caller, mode)) {
                // Somebody else was faster, which only matters to those who want to be first.
                Err(Errno::EEXIST) if flags & O_EXCL == 0 => shm.find(inner)?,
                made => made?,
            }
        }
        Ok(_) if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => return Err(Errno::EEXIST),
        found => found?,
    };
    match node {
        tmpfs::Node::Directory(_) if flags & (O_CREAT | O_ACCMODE) != 0 => Err(Errno::EISDIR),
        tmpfs::Node::Directory(directory) => Ok(describe(Arc::new(DirectoryFile::tree(directory)))),
        tmpfs::Node::Link(_) => Err(Errno::ELOOP),
        tmpfs::Node::File(..) if flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
        tmpfs::Node::File(content, links) => {
            if flags & O_TRUNC != 0 && flags & O_PATH == 0 {
                content.set_size(0)?;
            }
            Ok(describe(Arc::new(MemoryFile::linked(content, links))))
        }
    }
}

fn open_pseudo(caller: &Caller<'_>, tree: Tree, path: &[u8], flags: u32) -> Result<Arc<Description>, Errno> {
    let files = caller.thread.process.files();
    let found = place::entry(&files, looker(caller), tree, path);
    if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
        return Err(if found.is_ok() { Errno::EEXIST } else { Errno::EACCES });
    }
    let stat = stat(caller, tree, path, place::Last::Follow);
    let writes = flags & O_ACCMODE != O_RDONLY && flags & O_PATH == 0;
    let describe = |file| Description::with_path(file, flags, Some(path.to_vec()));
    match found? {
        Entry::Directory(_) if writes => Err(Errno::EISDIR),
        Entry::Directory(entries) => Ok(describe(Arc::new(DirectoryFile::fixed(stat?, entries)))),
        _ if flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
        Entry::File(permissions, _) if writes && permissions & 0o200 == 0 => Err(Errno::EACCES),
        Entry::File(_, content) => {
            let view = files.vfs().view().ok_or(Errno::ENOENT)?;
            let name = String::from_utf8_lossy(crate::files::paths::split(path).1).into_owned();
            Ok(describe(Arc::new(PseudoFile::open(view, looker(caller), content, stat?, &name))))
        }
        Entry::Link(_) if flags & O_NOFOLLOW != 0 && flags & O_PATH == 0 => Err(Errno::ELOOP),
        Entry::Link(target) => {
            // A namespace: there is nothing to read in it.
            let view = files.vfs().view().ok_or(Errno::ENOENT)?;
            let name = String::from_utf8_lossy(&target).into_owned();
            let content = crate::pseudo::Content::Bytes(Vec::new());
            let file = PseudoFile::open(view, looker(caller), content, stat?, &name);
            Ok(describe(Arc::new(file)))
        }
        Entry::Descriptor(pid, fd) => reopen(caller, pid, fd, flags),
    }
}

/// Opens /proc/[pid]/fd/[fd]: the same file once more, with a position of its own.
fn reopen(caller: &Caller<'_>, pid: u32, fd: u32, flags: u32) -> Result<Arc<Description>, Errno> {
    let description = descriptor(caller, pid, fd)?;
    let file = description.file();
    if let Some(end) = file.as_any().downcast_ref::<PipeEnd>() {
        return Ok(Description::new(end.pipe().open(flags), flags));
    }
    match file.host() {
        // The host has no way to open a handle again; what can be opened by its path is before this is called.
        Some(_) => Ok(description),
        None if file.stat().file_type() == Some(FileType::Socket) => Err(Errno::ENXIO),
        None => {
            // What has no length to cut (an eventfd, a device) ignores it.
            if flags & O_TRUNC != 0 && flags & O_PATH == 0 && file.positioned() {
                file.truncate(0)?;
            }
            Ok(Description::with_path(file.clone(), flags, description.path().map(<[u8]>::to_vec)))
        }
    }
}

/// A descriptor of a process.
pub fn descriptor(caller: &Caller<'_>, pid: u32, fd: u32) -> Result<Arc<Description>, Errno> {
    let own = caller.thread.process.files();
    if pid == caller.thread.process.pid {
        return own.get(fd).map_err(|_| Errno::ENOENT);
    }
    let process = own.vfs().view().and_then(|view| view.process(pid)).ok_or(Errno::ENOENT)?;
    process.files.ok_or(Errno::ENOENT)?.get(fd).map_err(|_| Errno::ENOENT)
}

/// What a link /proc/[pid]/fd/[fd] shows.
pub fn descriptor_name(description: &Description) -> Vec<u8> {
    match description.path() {
        Some(path) => path.to_vec(),
        None => description.file().name().into_bytes(),
    }
}

/// What stat(2) tells of a path.
pub fn stat(caller: &Caller<'_>, tree: Tree, path: &[u8], last: place::Last) -> Result<Stat, Errno> {
    let files = caller.thread.process.files();
    match tree {
        Tree::Device => DeviceKind::at(path).map(DeviceKind::stat).ok_or(Errno::ENOENT),
        Tree::Shm => files.vfs().shm.find(below_shm(path)).map(|node| node.stat()),
        Tree::Proc | Tree::Sys => {
            let entry = place::entry(&files, looker(caller), tree, path)?;
            let device = if tree == Tree::Proc { PROC_DEVICE } else { SYS_DEVICE };
            let now = caller.thread.process.system.clock.wall();
            let common = Stat {
                device,
                inode: inode_of(path),
                links: 1,
                block_size: if tree == Tree::Proc { 1024 } else { 4096 },
                accessed: now,
                modified: now,
                changed: now,
                ..Stat::default()
            };
            Ok(match entry {
                Entry::Directory(entries) => {
                    let links = 2 + entries.directories() as u32;
                    Stat { mode: FileType::Directory as u32 | 0o555, links, ..common }
                }
                Entry::File(permissions, _) => {
                    let size = if tree == Tree::Sys { 4096 } else { 0 };
                    Stat { mode: FileType::Regular as u32 | permissions, size, ..common }
                }
                Entry::Link(target) if last == place::Last::Follow => {
                    // `uts:[4026531838]`: the number is what tells namespaces apart.
                    let text = String::from_utf8_lossy(&target);
                    let number = text.split(['[', ']']).nth(1).and_then(|number| number.parse().ok());
                    Stat { mode: FileType::Regular as u32 | 0o444, inode: number.unwrap_or(0), ..common }
                }
                Entry::Descriptor(pid, fd) if last == place::Last::Follow => {
                    descriptor(caller, pid, fd)?.file().stat()
                }
                Entry::Link(_) | Entry::Descriptor(..) => {
                    Stat { mode: FileType::Link as u32 | 0o777, ..common }
                }
            })
        }
    }
}

/// What a link shows; EINVAL for what is none.
pub fn read_link(caller: &Caller<'_>, tree: Tree, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let files = caller.thread.process.files();
    match tree {
        Tree::Device => Err(Errno::EINVAL),
        Tree::Shm => match files.vfs().shm.find(below_shm(path))? {
            tmpfs::Node::Link(link) => Ok(link.target.clone()),
            _ => Err(Errno::EINVAL),
        },
        Tree::Proc | Tree::Sys => match place::entry(&files, looker(caller), tree, path)? {
            Entry::Link(target) => Ok(target),
            Entry::Descriptor(pid, fd) => Ok(descriptor_name(&*descriptor(caller, pid, fd)?)),
            _ => Err(Errno::EINVAL),
        },
    }
}

/// access(2): R_OK 4, W_OK 2, X_OK 1.
pub fn access(caller: &Caller<'_>, tree: Tree, path: &[u8], wanted: u32) -> Result<(), Errno> {
    if wanted & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let stat = stat(caller, tree, path, place::Last::Follow)?;
    // Whoever runs here runs everything here: the bits of anybody count.
    let bits = stat.mode >> 6 & 7 | stat.mode >> 3 & 7 | stat.mode & 7;
    if wanted & !bits == 0 { Ok(()) } else { Err(Errno::EACCES) }
}

/// What statfs(2) tells of a tree.
pub fn statfs(caller: &Caller<'_>, tree: Tree) -> Statfs {
    let system = &caller.thread.process.system;
    let machine = &*system.machine;
    let common = Statfs { bsize: 4096, frsize: 4096, namelen: 255, ..Statfs::default() };
    match tree {
        Tree::Proc => Statfs { kind: PROC_MAGIC, ..common },
        Tree::Sys => Statfs { kind: SYSFS_MAGIC, ..common },
        Tree::Shm | Tree::Device => {
            let memory = (0..machine.nodes()).map(|node| machine.memory(node));
            let (free, total) = memory.fold((0, 0), |sum, node| (sum.0 + node.0, sum.1 + node.1));
            let (total, free, inodes) = match tree {
                Tree::Shm => {
                    let (most, held) = system.memory.lasting.files(machine);
                    let free = free.min(most.saturating_sub(held));
                    (most, free, caller.thread.process.files().vfs().shm.inodes())
                }
                _ => (total, free, (total / 4096, free / 4096)),
            };
            let (blocks, bfree, (files, ffree)) = (total / 4096, free / 4096, inodes);
            Statfs { kind: TMPFS_MAGIC, blocks, bfree, bavail: bfree, files, ffree, ..common }
        }
    }
}

/// Makes a directory; only /dev/shm takes any.
pub fn make_directory(caller: &Caller<'_>, tree: Tree, path: &[u8], mode: u32) -> Result<(), Errno> {
    let files = caller.thread.process.files();
    match tree {
        Tree::Shm => {
            let maker = maker(caller, mode & 0o1777);
            files.vfs().shm.make_directory(&caller.thread.process.system, below_shm(path), maker)
        }
        _ => Err(taken_or(caller, tree, path, Errno::ENOENT)),
    }
}

/// Makes a regular file.
pub fn make_file(caller: &Caller<'_>, tree: Tree, path: &[u8], mode: u32) -> Result<(), Errno> {
    let files = caller.thread.process.files();
    match (tree, FileType::of(mode)) {
        (Tree::Shm, Some(FileType::Regular) | None) => {
            let maker = maker(caller, mode);
            files.vfs().shm.create(&caller.thread.process.system, below_shm(path), maker).map(drop)
        }
        _ => Err(taken_or(caller, tree, path, Errno::EPERM)),
    }
}

fn taken_or(caller: &Caller<'_>, tree: Tree, path: &[u8], error: Errno) -> Errno {
    if stat(caller, tree, path, place::Last::Stay).is_ok() { Errno::EEXIST } else { error }
}

/// Changes owner, permissions or times of a file of the node.
pub fn change(
    caller: &Caller<'_>,
    tree: Tree,
    path: &[u8],
    act: impl FnOnce(&mut crate::files::Attributes),
) -> Result<(), Errno> {
    let files = caller.thread.process.files();
    if tree != Tree::Shm {
        stat(caller, tree, path, place::Last::Follow)?;
        return Err(Errno::EPERM);
    }
    let now = caller.thread.process.system.clock.wall();
    let node = files.vfs().shm.find(below_shm(path))?;
    node.with_attributes(|attributes| {
        act(attributes);
        attributes.changed = now;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FdTable, Vfs};
    use crate::testing::programs::Program;

    #[test]
    fn statfs_tells_how_many_names_there_can_be() {
        let program = Program::with_files(FdTable::of(Arc::new(Vfs::new(32 << 20)), 8));
        let caller = program.caller();
        let found = statfs(&caller, Tree::Shm);
        assert_eq!((found.files, found.ffree), (4096, 4096));
        // Of 8 GiB an eighth is left to others.
        assert_eq!((found.blocks, found.bfree), (7 << 18, 7 << 18));
        make_directory(&caller, Tree::Shm, b"/dev/shm/d", 0o755).unwrap();
        assert_eq!(statfs(&caller, Tree::Shm).ffree, 4094, "it and its name");
    }
}
