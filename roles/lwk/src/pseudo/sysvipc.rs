//! /proc/sysvipc: what ipcs(1) lists (sysvipc(7), proc(5)).

use super::text::Text;
use super::{Made, NodeView};
use crate::sysv::Permission;
use alloc::format;
use alloc::string::String;

/// Shared memory.
pub fn segments(view: &dyn NodeView) -> Made {
    let mut out = Text::default();
    out.put(
        b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      \
         ctime                   rss                  swap\n",
    )?;
    view.segments(&mut |segment| {
        let (permission, stat) = (segment.permission, segment.stat);
        writeln!(
            out,
            "{} {:>21} {:>5} {:>5}  {:>5} {} {:>10} {:>10} {:>10} {:>21} {:>21}",
            name(&permission, segment.id),
            stat.size,
            stat.creator,
            stat.last,
            stat.attached,
            owners(&permission),
            stat.attached_at,
            stat.detached_at,
            stat.changed_at,
            segment.resident,
            0,
        )
    })?;
    Ok(out)
}

/// Sets of semaphores.
pub fn semaphores(view: &dyn NodeView) -> Made {
    let mut out = Text::default();
    out.put(b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n")?;
    view.semaphores(&mut |set| {
        let (operated, changed) = set.times;
        let (name, owners) = (name(&set.permission, set.id), owners(&set.permission));
        writeln!(out, "{name} {:>10} {owners} {operated:>10} {changed:>10}", set.count)
    })?;
    Ok(out)
}

/// Queues of messages.
pub fn queues(view: &dyn NodeView) -> Made {
    let mut out = Text::default();
    out.put(
        b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
    )?;
    view.queues(&mut |queue| {
        let stat = queue.stat;
        writeln!(
            out,
            "{}  {:>10} {:>10} {:>5} {:>5} {} {:>10} {:>10} {:>10}",
            name(&queue.permission, queue.id),
            stat.bytes,
            stat.messages,
            stat.sender,
            stat.receiver,
            owners(&queue.permission),
            stat.sent_at,
            stat.received_at,
            stat.changed_at,
        )
    })?;
    Ok(out)
}

/// Key, as a signed number, identifier and permissions.
fn name(permission: &Permission, id: u32) -> String {
    format!("{:>10} {id:>10}  {:>4o}", permission.key as i32, permission.mode)
}

fn owners(permission: &Permission) -> String {
    let Permission { uid, gid, cuid, cgid, .. } = permission;
    format!("{uid:>5} {gid:>5} {cuid:>5} {cgid:>5}")
}
