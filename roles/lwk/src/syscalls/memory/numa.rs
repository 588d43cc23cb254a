//! NUMA: policies and where pages are.

use super::{Caller, mm, node, nothing, words};
use crate::Errno;
use crate::mm::{Mm, NODES_MOST, Policy, mpol};
use alloc::vec::Vec;

/// Bytes of a set of nodes that a program may hand over or want: a page, as Linux has it.
const SET_MOST: u64 = 4096;

/// Reads a set of nodes of `maxnode` bits. Linux counts one bit less than it is told.
fn read_nodes(mm: &Mm, at: u64, maxnode: u64) -> Result<u64, Errno> {
    let bits = maxnode.wrapping_sub(1);
    if at == 0 || maxnode == 0 || bits == 0 {
        return Ok(0);
    }
    if bits > SET_MOST * 8 {
        return Err(Errno::EINVAL);
    }
    let words = words(mm, at, bits.div_ceil(64))?;
    let mut nodes = 0;
    for (index, word) in words.iter().enumerate() {
        let left = bits - index as u64 * 64;
        let word = if left < 64 { word & ((1 << left) - 1) } else { *word };
        match index {
            0 => nodes = word,
            // There are no such nodes.
            _ if word != 0 => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(nodes)
}

fn policy(mm: &Mm, mode: u64, nodes: u64, maxnode: u64) -> Result<Policy, Errno> {
    let nodes = read_nodes(mm, nodes, maxnode)?;
    Policy::new(u64::from(mode as u32), nodes, mm.nodes())
}

/// EPERM for `MPOL_MF_MOVE_ALL`, which concerns the memory of others too, by anybody but root: that stands for CAP_SYS_NICE.
fn may_move_all(caller: &Caller<'_>, flags: u64) -> Result<(), Errno> {
    let root = || caller.thread.process.ids.lock().user.effective == 0;
    if flags & mpol::MF_MOVE_ALL == 0 || root() { Ok(()) } else { Err(Errno::EPERM) }
}

/// mbind(at, len, mode, nodes, maxnode, flags).
pub fn sys_mbind(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, len, mode, nodes, maxnode, flags] = args;
    if flags as u32 & !(mpol::MF_STRICT | mpol::MF_MOVE | mpol::MF_MOVE_ALL) as u32 == 0 {
        may_move_all(caller, flags)?;
    }
    let mm = mm(caller);
    let policy = policy(&mm, mode, nodes, maxnode)?;
    nothing(mm.mbind(at, len, policy, u64::from(flags as u32)))
}

/// set_mempolicy(mode, nodes, maxnode).
pub fn sys_set_mempolicy(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mm = mm(caller);
    mm.set_policy(policy(&mm, args[0], args[1], args[2])?);
    Ok(0)
}

/// get_mempolicy(mode, nodes, maxnode, at, flags).
pub fn sys_get_mempolicy(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [mode, nodes, maxnode, at, flags, _] = args;
    let mm = mm(caller);
    if nodes != 0 && maxnode < mm.system().machine.nodes() as u64 {
        return Err(Errno::EINVAL);
    }
    let answer = mm.get_policy(at, flags, node(caller))?;
    if mode != 0 {
        mm.write_u32(mode, answer.mode)?;
    }
    if nodes != 0 {
        // One bit less than it says, as when Linux reads a set: nothing at all for 1.
        let bytes = maxnode.saturating_sub(1).div_ceil(64) * 8;
        if bytes > SET_MOST {
            return Err(Errno::EINVAL);
        }
        let mut set = alloc::vec![0; bytes as usize];
        if let Some(first) = set.first_chunk_mut() {
            *first = answer.nodes.to_le_bytes();
        }
        mm.write(nodes, &set)?;
    }
    Ok(0)
}

/// set_mempolicy_home_node(at, len, home, flags).
pub fn sys_set_mempolicy_home_node(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[3] != 0 {
        return Err(Errno::EINVAL);
    }
    nothing(mm(caller).set_home_node(args[0], args[1], args[2]))
}

/// migrate_pages(pid, maxnode, old, new): pages stay where they are (section 4.3).
pub fn sys_migrate_pages(_caller: &Caller<'_>, _args: [u64; 6]) -> Result<u64, Errno> {
    Err(Errno::ENOSYS)
}

/// move_pages(pid, count, pages, nodes, status, flags): tells where pages are, and moves small ones. Of the caller's own process.
pub fn sys_move_pages(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const PART: u64 = 512;
    let [pid, count, pages, nodes, status, flags] = args;
    if flags & !(mpol::MF_MOVE | mpol::MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    may_move_all(caller, flags)?;
    if pid as u32 != 0 && pid as u32 != caller.thread.process.pid {
        return Err(Errno::ESRCH);
    }
    if count > u64::from(u32::MAX) {
        return Err(Errno::E2BIG);
    }
    let mm = mm(caller);
    let mut done = 0;
    while done < count {
        let part = PART.min(count - done);
        let place = |base: u64, size: u64| base.checked_add(done * size).ok_or(Errno::EFAULT);
        let pages = words(&mm, place(pages, 8)?, part)?;
        let targets = if nodes == 0 { None } else { Some(read_ints(&mm, place(nodes, 4)?, part as usize)?) };
        let mut answers = Vec::with_capacity(part as usize * 4);
        for (index, page) in pages.iter().enumerate() {
            let found = match targets.as_ref().and_then(|targets| targets.get(index)) {
                None => locate(&mm, *page),
                Some(to) => move_one(&mm, *page, *to)?,
            };
            let number = match found {
                Ok(node) => node as i32,
                Err(errno) => -errno.raw(),
            };
            answers.extend_from_slice(&number.to_le_bytes());
        }
        mm.write(place(status, 4)?, &answers)?;
        done += part;
    }
    Ok(0)
}

fn locate(mm: &Mm, page: u64) -> Result<usize, Errno> {
    match mm.node_of_page(page) {
        Some(node) => Ok(node),
        None if mm.area(page).is_some() => Err(Errno::ENOENT),
        None => Err(Errno::EFAULT),
    }
}

/// A node that does not exist fails the whole call; a page that cannot be moved does not.
fn move_one(mm: &Mm, page: u64, to: i32) -> Result<Result<usize, Errno>, Errno> {
    let to = usize::try_from(to).ok().filter(|to| *to < NODES_MOST).ok_or(Errno::ENODEV)?;
    match mm.move_page(page, to) {
        Err(Errno::ENODEV) => Err(Errno::ENODEV),
        result => Ok(result),
    }
}

fn read_ints(mm: &Mm, at: u64, count: usize) -> Result<Vec<i32>, Errno> {
    let mut bytes = alloc::vec![0; count * 4];
    mm.read(at, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)).collect())
}
