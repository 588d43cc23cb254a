//! Where each field lies, from the tables of the specification: for the layouts that no vector and no other program
//! shows.

use keelson_qnet_wire::io::*;
use keelson_qnet_wire::netmgr::StrToNdReply;
use keelson_qnet_wire::proc::*;
use keelson_qnet_wire::{Endian, Nd};

/// A value whose bytes are all ones.
trait Ones {
    const ONES: Self;
}

macro_rules! ones {
    ($($type:ty: $value:expr),* $(,)?) => { $(impl Ones for $type { const ONES: $type = $value; })* };
}

ones!(u8: !0, u16: !0, u32: !0, u64: !0, i16: !0, i32: !0, i64: !0, Nd: Nd(!0));

impl<T: Ones, const N: usize> Ones for [T; N] {
    const ONES: [T; N] = [T::ONES; N];
}

macro_rules! places {
    ($($test:ident $layout:ident { $($start:literal..$end:literal $field:ident,)* })*) => {$(
        #[test]
        // Some layouts have one field only.
        #[allow(clippy::needless_update)]
        fn $test() {
            $({
                let value = $layout { $field: Ones::ONES, ..$layout::default() };
                for endian in [Endian::Little, Endian::Big] {
                    let bytes = value.encode(endian);
                    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
                    assert_eq!(places, ($start..$end).collect::<Vec<_>>(), stringify!($field));
                    assert!(bytes[$start..$end].iter().all(|byte| *byte == 0xff));
                }
            })*
        }
    )*};
}

places! {
    msg_info MsgInfo {
        0..4 nd,
        4..8 srcnd,
        8..12 pid,
        12..16 tid,
        16..20 chid,
        20..24 scoid,
        24..28 coid,
        28..32 msglen,
        32..36 srcmsglen,
        36..40 dstmsglen,
        40..42 priority,
        42..44 flags,
    }
    stat Stat {
        0..8 ino,
        8..16 size,
        16..20 dev,
        20..24 rdev,
        24..28 uid,
        28..32 gid,
        32..36 mtime,
        36..40 atime,
        40..44 ctime,
        44..48 mode,
        48..52 nlink,
        52..56 blocksize,
        56..60 nblocks,
        60..64 blksize,
        64..72 blocks,
    }
    link_head LinkHead {
        4..8 file_type,
        8..9 eflag,
        10..12 chroot_len,
        12..16 umask,
        16..18 nentries,
        18..20 path_len,
    }
    connect_entry ConnectEntry {
        0..4 nd,
        4..8 pid,
        8..12 chid,
        12..16 handle,
        16..20 key,
        20..24 file_type,
        24..26 prefix_len,
    }
    ftype_reply FtypeReply {
        0..2 status,
        4..8 file_type,
    }
    proc_info ProcInfo {
        0..4 pid,
        4..8 parent,
        8..12 flags,
        12..16 umask,
        16..20 child,
        20..24 sibling,
        24..28 pgrp,
        28..32 sid,
        32..40 base_address,
        40..48 initial_stack,
        48..52 uid,
        52..56 gid,
        56..60 euid,
        60..64 egid,
        64..68 suid,
        68..72 sgid,
        72..80 sig_ignore,
        80..88 sig_queue,
        88..96 sig_pending,
        96..100 num_chancons,
        100..104 num_fdcons,
        104..108 num_threads,
        108..112 num_timers,
        112..120 start_time,
        120..128 utime,
        128..136 stime,
        136..144 cutime,
        144..152 cstime,
        152..153 priority,
        160..168 extsched,
        168..176 pls,
        176..184 sigstub,
        184..192 canstub,
    }
    thread_status ThreadStatus {
        0..4 pid,
        4..8 tid,
        8..12 flags,
        12..14 why,
        14..16 what,
        16..24 ip,
        24..32 sp,
        32..40 stkbase,
        40..48 tls,
        48..52 stksize,
        52..56 tid_flags,
        56..57 priority,
        57..58 real_priority,
        58..59 policy,
        59..60 state,
        60..62 syscall,
        62..64 last_cpu,
        64..68 timeout,
        68..72 last_chid,
        72..80 sig_blocked,
        80..88 sig_pending,
        128..160 blocked,
        160..168 start_time,
        168..176 sutime,
        176..184 extsched,
        184..192 nsec_since_block,
    }
    map_info MapInfo {
        0..8 vaddr,
        8..16 size,
        16..20 flags,
        20..24 dev,
        24..32 offset,
        32..40 ino,
    }
    inheritance Inheritance {
        0..4 flags,
        4..8 pgroup,
        8..16 sigmask,
        16..24 sigdefault,
        24..32 sigignore,
        32..36 stack_max,
        36..40 policy,
        40..44 nd,
        44..48 runmask,
        48..52 priority,
        52..56 curpriority,
        56..88 reserved,
    }
    fd_info FdInfo {
        0..4 fd,
        4..8 nd,
        8..12 srcnd,
        12..16 pid,
        16..20 chid,
        20..24 scoid,
        24..28 coid,
    }
    siginfo Siginfo {
        0..4 signo,
        4..8 code,
        12..16 pid,
        20..24 status,
    }
    io_devctl_reply IoDevctlReply {
        4..8 ret_val,
        8..12 nbytes,
    }
    io_notify_reply IoNotifyReply {
        4..8 flags,
    }
    str_to_nd_reply StrToNdReply {
        4..8 len,
        8..12 nd,
    }
    sys_conf_reply SysConfReply {
        12..16 matched,
        16..24 value,
    }
}
