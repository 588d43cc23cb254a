//! Which function serves which call on files, paths, sockets and readiness (sections 4.1 and 4.2).

use super::{Caller, forward::forward, objects, paths, poll, sockets};
use crate::Errno;

/// Serves a call; `None` when it is not about files.
pub async fn files(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Option<Result<u64, Errno>> {
    if let Some(result) = local(caller, number, args) {
        return Some(result);
    }
    Some(match number {
        2 => paths::sys_open(caller, args).await,
        4 => paths::sys_stat(caller, args).await,
        6 => paths::sys_lstat(caller, args).await,
        7 => poll::sys_poll(caller, args).await,
        16 => objects::sys_ioctl(caller, args).await,
        21 => paths::sys_access(caller, args).await,
        23 => poll::sys_select(caller, args).await,
        40 => objects::sys_sendfile(caller, args).await,
        41 => sockets::sys_socket(caller, args).await,
        42 => sockets::sys_connect(caller, args).await,
        43 | 288 => sockets::sys_accept(caller, number, args).await,
        44 => sockets::sys_sendto(caller, args).await,
        45 => sockets::sys_recvfrom(caller, args).await,
        46 => sockets::sys_sendmsg(caller, args).await,
        47 => sockets::sys_recvmsg(caller, args).await,
        48 => sockets::sys_shutdown(caller, args).await,
        49 => sockets::sys_bind(caller, args).await,
        50 => sockets::sys_listen(caller, args).await,
        51 | 52 => sockets::sys_name(caller, number, args).await,
        54 => sockets::sys_setsockopt(caller, args).await,
        55 => sockets::sys_getsockopt(caller, args).await,
        91 | 93 | 190 | 193 | 196 | 199 => objects::sys_on_handle(caller, number, args).await,
        74 | 75 | 277 | 306 => objects::sys_sync(caller, number, args).await,
        76 => paths::sys_truncate(caller, args).await,
        77 => objects::sys_ftruncate(caller, args).await,
        78 | 217 => objects::sys_getdents(caller, number, args).await,
        79 => paths::sys_getcwd(caller, args).await,
        80 => paths::sys_chdir(caller, args).await,
        81 => paths::sys_fchdir(caller, args).await,
        82 => paths::sys_rename(caller, args).await,
        83 => paths::sys_mkdir(caller, args).await,
        84 => paths::sys_rmdir(caller, args).await,
        85 => paths::sys_creat(caller, args).await,
        86 => paths::sys_link(caller, args).await,
        87 => paths::sys_unlink(caller, args).await,
        88 => paths::sys_symlink(caller, args).await,
        89 => paths::sys_readlink(caller, args).await,
        90 | 92 | 94 | 260 | 268 => paths::sys_change(caller, number, args).await,
        95 => paths::sys_umask(caller, args).await,
        132 | 235 | 261 | 280 => paths::sys_times_of(caller, number, args).await,
        133 => paths::sys_mknod(caller, args).await,
        137 => paths::sys_statfs(caller, args).await,
        138 => objects::sys_fstatfs(caller, args).await,
        188 | 189 | 191 | 192 | 194 | 195 | 197 | 198 => paths::sys_xattr(caller, number, args).await,
        232 => poll::sys_epoll_wait(caller, args).await,
        233 => poll::sys_epoll_ctl(caller, args).await,
        257 => paths::sys_openat(caller, args).await,
        258 => paths::sys_mkdirat(caller, args).await,
        259 => paths::sys_mknodat(caller, args).await,
        262 => paths::sys_newfstatat(caller, args).await,
        263 => paths::sys_unlinkat(caller, args).await,
        // renameat has no fifth argument.
        264 => paths::sys_renameat2(caller, [args[0], args[1], args[2], args[3], 0, 0]).await,
        265 => paths::sys_linkat(caller, args).await,
        266 => paths::sys_symlinkat(caller, args).await,
        267 => paths::sys_readlinkat(caller, args).await,
        269 | 439 => paths::sys_faccessat(caller, number, args).await,
        270 => poll::sys_pselect6(caller, args).await,
        271 => poll::sys_ppoll(caller, args).await,
        275 | 276 | 278 => Err(Errno::EINVAL),
        281 => poll::sys_epoll_pwait(caller, args).await,
        285 => objects::sys_fallocate(caller, args).await,
        299 => sockets::sys_recvmmsg(caller, args).await,
        307 => sockets::sys_sendmmsg(caller, args).await,
        316 => paths::sys_renameat2(caller, args).await,
        319 => objects::sys_memfd_create(caller, args).await,
        326 => objects::sys_copy_file_range(caller, args).await,
        332 => paths::sys_statx(caller, args).await,
        437 => paths::sys_openat2(caller, args).await,
        441 => poll::sys_epoll_pwait2(caller, args).await,
        // The host's alone: sync, POSIX message queues, inotify, ustat.
        136 | 162 | 240..=243 | 245 | 253..=255 | 294 => forward(caller, number, args).await,
        _ => return None,
    })
}

/// Those that never wait.
fn local(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Option<Result<u64, Errno>> {
    Some(match number {
        22 => objects::sys_pipe2(caller, [args[0], 0, 0, 0, 0, 0]),
        53 => sockets::sys_socketpair(caller, args),
        213 => poll::sys_epoll_create(caller, args),
        282 => objects::sys_signalfd4(caller, [args[0], args[1], args[2], 0, 0, 0]),
        283 => objects::sys_timerfd_create(caller, args),
        284 => objects::sys_eventfd2(caller, [args[0], 0, 0, 0, 0, 0]),
        286 => objects::sys_timerfd_settime(caller, args),
        287 => objects::sys_timerfd_gettime(caller, args),
        289 => objects::sys_signalfd4(caller, args),
        290 => objects::sys_eventfd2(caller, args),
        291 => poll::sys_epoll_create1(caller, args),
        293 => objects::sys_pipe2(caller, args),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
