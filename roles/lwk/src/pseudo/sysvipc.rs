//! /proc/sysvipc: what ipcs(1) lists (sysvipc(7), proc(5)).

use super::NodeView;
use crate::sysv::Permission;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Shared memory.
pub fn segments(view: &dyn NodeView) -> Vec<u8> {
    let mut out = String::from(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      \
         ctime                   rss                  swap\n",
    );
    for segment in view.segments() {
        let (permission, stat) = (segment.permission, segment.stat);
        let _ = writeln!(
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
        );
    }
    out.into_bytes()
}

/// Sets of semaphores.
pub fn semaphores(view: &dyn NodeView) -> Vec<u8> {
    let mut out = String::from(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    );
    for set in view.semaphores() {
        let (operated, changed) = set.times;
        let (name, owners) = (name(&set.permission, set.id), owners(&set.permission));
        let _ = writeln!(out, "{name} {:>10} {owners} {operated:>10} {changed:>10}", set.count);
    }
    out.into_bytes()
}

/// Queues of messages.
pub fn queues(view: &dyn NodeView) -> Vec<u8> {
    let mut out = String::from(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
    );
    for queue in view.queues() {
        let stat = queue.stat;
        let _ = writeln!(
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
        );
    }
    out.into_bytes()
}

/// Key, as a signed number, identifier and permissions.
fn name(permission: &Permission, id: u32) -> String {
    format!("{:>10} {id:>10}  {:>4o}", permission.key as i32, permission.mode)
}

fn owners(permission: &Permission) -> String {
    let Permission { uid, gid, cuid, cgid, .. } = permission;
    format!("{uid:>5} {gid:>5} {cuid:>5} {cgid:>5}")
}
