//! System calls about memory (section 4.3).

use super::Caller;
use crate::Errno;
use crate::files::{Description, Device, DeviceKind, MemoryFile, seal, tmpfs};
use crate::mm::flags::{map, prot, protection};
use crate::mm::{Fill, Map, Mm, PAGE, Stop, madv, mapping_of, whole_pages};
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_hal::user::{Access, Protection};

mod numa;
mod shm;
mod vm;

pub use numa::{
    sys_get_mempolicy, sys_mbind, sys_migrate_pages, sys_move_pages, sys_set_mempolicy,
    sys_set_mempolicy_home_node,
};
pub use shm::{sys_shmat, sys_shmctl, sys_shmdt, sys_shmget};
pub use vm::{sys_process_vm_readv, sys_process_vm_writev};

#[cfg(test)]
mod tests;

fn mm(caller: &Caller<'_>) -> Arc<Mm> {
    caller.thread.process.mm()
}

/// NUMA node of the caller.
fn node(caller: &Caller<'_>) -> usize {
    let thread = caller.thread;
    thread.process.system.machine.node_of(thread.core.load(core::sync::atomic::Ordering::Relaxed))
}

fn nothing(result: Result<(), Errno>) -> Result<u64, Errno> {
    result.map(|()| 0)
}

/// mmap(at, len, prot, flags, fd, offset).
pub async fn sys_mmap(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, prot, flags, fd, offset] = args;
    let (mm, node) = (mm(caller), node(caller));
    // Linux ignores what it does not know in `prot`.
    let known = prot::READ | prot::WRITE | prot::EXEC;
    let protection = protection(prot & known).ok_or(Errno::EINVAL)?;
    if flags & map::ANONYMOUS != 0 {
        return mm.mmap(&Map { at, len, protection, flags, node, ..Map::default() });
    }
    let description = caller.thread.process.files().get(fd as u32)?;
    if let Some(flags) = zeros(&description, protection, flags)? {
        let read_only = !description.writable();
        return mm.mmap(&Map { at, len, protection, flags, node, read_only, file: None });
    }
    let memory = &caller.thread.process.system.memory;
    let shared = flags & map::TYPE != map::PRIVATE;
    // What ranks share is there before the first message: nobody pays for a page in the middle of one.
    let premap = shared && mm.settings().shm_premap && description.file().stat().device == tmpfs::DEVICE;
    let flags = if premap { flags | map::POPULATE } else { flags };
    let mut file = mapping_of(&description, offset, |id, file| memory.known(id, file)).await?;
    if shared && is_sealed(&description) {
        if protection.write {
            return Err(Errno::EPERM);
        }
        // Nor does mprotect(2) make more of it.
        file.writable = false;
    }
    drop(description);
    let (local, size) = (file.source.local().is_some(), file.source.version().size);
    let result = mm.mmap(&Map { at, len, protection, flags, file: Some(file), node, ..Map::default() })?;
    let whole = whole_pages(len).ok_or(Errno::ENOMEM)?;
    let there = whole_pages(size.saturating_sub(offset)).unwrap_or(whole).min(whole);
    let populate = flags & (map::POPULATE | map::NONBLOCK) == map::POPULATE;
    // Libraries and small files are here at once: no faults, and no need of the host later.
    let ahead = !local && there <= if protection.execute { READ_AHEAD_TEXT } else { READ_AHEAD };
    let touchable = protection.read || protection.write || protection.execute;
    if touchable && there > 0 && (populate || ahead) {
        let access = if populate && protection.write { Access::Write } else { Access::Read };
        // What cannot be filled now is fetched when it is touched, and then fails where the program can see it.
        let _ = mm.populate_wait(result, there, access, node).await;
    }
    Ok(result)
}

/// Memory that nobody may write through a mapping any more (memfd_create(2)).
fn is_sealed(description: &Description) -> bool {
    let memory = description.file().as_any().downcast_ref::<MemoryFile>();
    memory.is_some_and(|memory| memory.content.seals() & (seal::WRITE | seal::FUTURE_WRITE) != 0)
}

/// /dev/zero is mapped as memory without a file (mem(4)): the flags for that.
fn zeros(description: &Description, protection: Protection, flags: u64) -> Result<Option<u64>, Errno> {
    let device = description.file().as_any().downcast_ref::<Device>();
    if device.is_none_or(|device| device.kind != DeviceKind::Zero) || description.is_path() {
        return Ok(None);
    }
    let shared = flags & map::TYPE != map::PRIVATE;
    if !description.readable() || shared && protection.write && !description.writable() {
        return Err(Errno::EACCES);
    }
    Ok(Some(flags | map::ANONYMOUS))
}

/// Mappings of files of the host up to this size are fetched at once.
const READ_AHEAD: u64 = 4 << 20;
/// The same for code (section 3.2).
const READ_AHEAD_TEXT: u64 = 64 << 20;

/// mprotect(at, len, prot).
pub fn sys_mprotect(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, bits, ..] = args;
    let down = bits & prot::GROWSDOWN != 0;
    if bits & prot::GROWSUP != 0 {
        return Err(Errno::EINVAL);
    }
    let protection = protection(bits & !prot::GROWSDOWN).ok_or(Errno::EINVAL)?;
    nothing(mm(caller).mprotect(at, len, protection, down))
}

/// munmap(at, len). Shared files that were written go back to the host before it returns.
pub async fn sys_munmap(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, ..] = args;
    let unmapped = mm(caller).munmap_and_write_back(at, len).await;
    nothing(unmapped)
}

/// brk(break).
pub fn sys_brk(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    Ok(mm(caller).brk(args[0], node(caller)))
}

/// mremap(old, old_len, new_len, flags, new).
pub fn sys_mremap(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [old, old_len, new_len, flags, new, _] = args;
    mm(caller).mremap(old, old_len, new_len, flags, new, node(caller))
}

/// msync(at, len, flags). All that any process changed in the files is written.
pub async fn sys_msync(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = mm(caller);
    for file in mm.msync(args[0], args[1], args[2])? {
        file.write_back().await?;
    }
    Ok(0)
}

/// mincore(at, len, vector).
pub fn sys_mincore(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, vector, ..] = args;
    let mm = mm(caller);
    if !at.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let count = whole_pages(len).ok_or(Errno::ENOMEM)? / PAGE;
    // Part by part, as on Linux: a program can map more than an answer could be made for.
    let mut part = [0; 4096];
    let mut done = 0;
    while done < count {
        let pages = &mut part[..(count - done).min(4096) as usize];
        mm.mincore(at.checked_add(done * PAGE).ok_or(Errno::ENOMEM)?, pages)?;
        mm.write(vector.checked_add(done).ok_or(Errno::EFAULT)?, pages)?;
        done += pages.len() as u64;
    }
    Ok(0)
}

/// madvise(at, len, advice).
pub async fn sys_madvise(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, advice, ..] = args;
    let mm = mm(caller);
    // An int: the upper half is not looked at.
    let access = match u64::from(advice as u32) {
        madv::POPULATE_READ => Access::Read,
        madv::POPULATE_WRITE => Access::Write,
        advice => return nothing(mm.madvise(at, len, advice)),
    };
    let populated = mm.populate_wait(at, len, access, node(caller)).await;
    nothing(populated)
}

/// mlock(at, len).
pub fn sys_mlock(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    nothing(mm(caller).mlock(args[0], args[1], Fill::Now, node(caller)))
}

/// mlock2(at, len, flags).
pub fn sys_mlock2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let fill = match args[2] as u32 {
        0 => Fill::Now,
        1 => Fill::OnFault,
        _ => return Err(Errno::EINVAL),
    };
    nothing(mm(caller).mlock(args[0], args[1], fill, node(caller)))
}

/// munlock(at, len).
pub fn sys_munlock(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    nothing(mm(caller).munlock(args[0], args[1]))
}

/// mlockall(flags).
pub fn sys_mlockall(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    nothing(mm(caller).mlockall(u64::from(args[0] as u32), node(caller)))
}

/// munlockall().
pub fn sys_munlockall(caller: &Caller<'_>, _args: [u64; 6]) -> Result<u64, Errno> {
    mm(caller).munlockall();
    Ok(0)
}

/// remap_file_pages(at, size, prot, page, flags).
pub fn sys_remap_file_pages(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, size, prot, page, ..] = args;
    nothing(mm(caller).remap_file_pages(at, size, prot, page, node(caller)))
}

/// pkey_mprotect(at, len, prot, key): mprotect(2) with the key -1; there are no others.
pub fn sys_pkey_mprotect(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[3] as i32 != -1 {
        return Err(Errno::EINVAL);
    }
    sys_mprotect(caller, args)
}

/// pkey_alloc(flags, rights): there are none.
pub fn sys_pkey_alloc(_caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[0] != 0 || args[1] & !3 != 0 { Err(Errno::EINVAL) } else { Err(Errno::ENOSPC) }
}

/// pkey_free(key): none was given out.
pub fn sys_pkey_free(_caller: &Caller<'_>, _args: [u64; 6]) -> Result<u64, Errno> {
    Err(Errno::EINVAL)
}

/// Waits for a page when that is what a copy stopped at.
async fn wait_for(stop: Stop) -> Result<(), Errno> {
    stop.wait().await
}

/// Reads an array of words.
fn words(mm: &Mm, at: u64, count: u64) -> Result<Vec<u64>, Errno> {
    mm.read_words(at, usize::try_from(count).map_err(|_| Errno::EINVAL)?)
}
