//! Calls that this node does not have (section 4): the errors with which programs do without.

use crate::Errno;

/// The answer to a call that is refused whatever its arguments are; `None` for the others.
pub fn errno(number: u32) -> Option<Errno> {
    Some(match number {
        // ptrace, syslog, mounts, reboot, names of the host, ports, modules, accounting, swap, clocks, namespaces, bpf, fanotify,
        // kcmp.
        101
        | 103
        | 153
        | 155
        | 161
        | 163..=173
        | 175
        | 176
        | 179
        | 227
        | 246
        | 272
        | 300
        | 301
        | 308
        | 312
        | 313
        | 320
        | 321
        | 443 => Errno::EPERM,
        // splice, tee, vmsplice: callers fall back to read and write. seccomp.
        275 | 276 | 278 | 317 => Errno::EINVAL,
        298 => Errno::ENOENT,
        303 | 304 => Errno::EOPNOTSUPP,
        // pkey_alloc, pkey_free.
        330 | 331 => Errno::ENOSPC,
        // 32-bit segments, keys, obsolete calls, asynchronous I/O, pidfd, io_uring, the new mount calls, landlock,
        // userfaultfd, memfd_secret, process_madvise, process_mrelease, futex_waitv, mq_notify, migrate_pages; McKernel's own.
        134
        | 139
        | 154
        | 156
        | 174
        | 177
        | 178
        | 180..=185
        | 205..=212
        | 214
        | 215
        | 236
        | 244
        | 248..=250
        | 256
        | 323
        | 333
        | 424..=433
        | 434
        | 438
        | 440
        | 442
        | 444..=449
        | 730
        | 733
        | 801..=804
        | 811
        | 999 => Errno::ENOSYS,
        _ => return None,
    })
}
