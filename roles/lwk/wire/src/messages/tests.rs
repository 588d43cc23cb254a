use super::*;
use crate::errno::Errno;
use crate::frame::Flags;
use crate::layout::Stat;
use crate::layout::{Rusage, SigInfo};
use alloc::string::String;
use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::*;

fn encode<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut Writer::new(&mut bytes));
    bytes
}

/// There and back; no shorter or longer payload is taken for it, unless it ends with bytes of any number.
macro_rules! round {
    ($message:expr, $kind:ty, $open_end:expr) => {{
        let message = $message;
        let bytes = encode(&message);
        assert_eq!(<$kind>::decode(&bytes).as_ref(), Ok(&message));
        if !$open_end {
            for end in 0..bytes.len() {
                assert!(<$kind>::decode(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(<$kind>::decode(&longer).is_err());
        }
    }};
}

fn launch() -> Launch {
    Launch {
        executable: 77,
        path: b"/bin/true".to_vec(),
        argv: [&b"true"[..], b"", b"x y"].map(Vec::from).to_vec(),
        envp: alloc::vec![b"A=b".to_vec()],
        cwd: b"/tmp".to_vec(),
        pid: 1234,
        ppid: 1,
        pgid: 1234,
        sid: 1000,
        uids: [1000, 1001, 1002],
        gids: [1, 2, 3],
        groups: alloc::vec![4, 5],
        rlimits: core::array::from_fn(|i| (i as u64, u64::MAX)),
        umask: 0o22,
        blocked: 1 << 9,
        ignored: 1 << 12,
        rank: Rank { processes: 4, index: Rank::UNKNOWN },
        helpers: Some(2),
        wall: 1_700_000_000_000_000_000,
        entropy: [9; 32],
        fds: alloc::vec![ExportedFd { number: 0, handle: 99, kind: FdKind::Terminal, flags: 2 }],
        options: LaunchOptions {
            flags: LaunchFlags::HELPER_AUTO | LaunchFlags::NOISE_AUDIT,
            core: Some(3),
            numa: String::from("0,2-3"),
            stack: StackOptions { premap: 1, most: Some(2) },
            net: NetMode::Local,
            ..LaunchOptions::default()
        },
    }
}

#[test]
fn process_messages() {
    round!(launch(), Launch, false);
    round!(LaunchAck::Started { cores: alloc::vec![0, 1], memory: 1 << 30 }, LaunchAck, false);
    round!(LaunchAck::Refused { error: Errno::EAGAIN, text: String::from("pid is taken") }, LaunchAck, false);
    round!(Signal { info: SigInfo::user(15, 7, 1000) }, Signal, false);
    round!(Fork { ticket: [5; 16] }, Fork, false);
    round!(ForkOk { pid: 5 }, ForkOk, false);
    round!(ForkErr { error: Errno::EAGAIN }, ForkErr, false);
    let audit = CoreAudit { core: 1, syscalls: 8, ..CoreAudit::default() };
    let rusage = Rusage { utime: 3, ..Rusage::default() };
    round!(
        Exit { status: 0x8b, rusage, audit: alloc::vec![audit; 2], core: Some(8), said: b"x".to_vec() },
        Exit,
        false
    );
    round!(SetIds { call: 117, ids: [1, 2, u32::MAX], groups: alloc::vec![] }, SetIds, false);
    round!(SetPgid { pid: 0, pgid: 0 }, SetPgid, false);
    round!(SetSid, SetSid, false);
    round!(Umask { mask: 0o77 }, Umask, false);
    round!(Chdir { path: b"/usr" }, Chdir, false);
    round!(Rlimit { resource: 7, soft: 10, hard: 20 }, Rlimit, false);
    round!(SideReply { result: -1 }, SideReply, false);
    round!(Show { kind: Shown::Profile, text: "line\n" }, Show, false);
}

#[test]
fn call_messages() {
    let desc = Desc { addr: 0x7fff_0000, len: 5, direction: Direction::In, arg: 1, part: Part::Data };
    let out = Desc { direction: Direction::Out, part: Part::Control, arg: 5, ..desc };
    round!(
        Syscall { args: [1, 2, 0, 0, 0, 6], descs: alloc::vec![desc, out].into(), inline: b"hello" },
        Syscall,
        true
    );
    let hint = Hint {
        kind: FdKind::Regular,
        flags: 0o2000,
        stat: Stat { mode: 0o100644, dev: 1, ino: 2, size: 3, mtime: -4, blksize: 4096, ..Stat::default() },
        seekable: true,
        tty: false,
    };
    let outs = alloc::vec![OutPart { desc: 0, len: 2 }, OutPart { desc: 3, len: 1 }];
    round!(Sysret { result: 3, revents: 1, hint: Some(hint), outs, bytes: b"abc" }, Sysret, false);
    round!(Sysret::plain(-2), Sysret, false);
    round!(Data { offset: 9, bytes: b"xx" }, Data, true);
    round!(Credit { bytes: 4096 }, Credit, false);
    round!(Cancel, Cancel, false);
    round!(MemRead { call: 1, addr: 2, len: 3 }, MemRead, false);
    round!(MemReadReply { result: Ok(b"x") }, MemReadReply, true);
    round!(MemReadReply { result: Err(Errno::EFAULT) }, MemReadReply, true);
    round!(MemWrite { call: 1, addr: 2, bytes: b"x" }, MemWrite, true);
    round!(MemWriteReply { result: Ok(7) }, MemWriteReply, false);
    round!(MemWriteReply { result: Err(Errno::EPERM) }, MemWriteReply, false);
}

#[test]
fn other_messages() {
    round!(Bye { reason: ByeReason::Busy, text: String::from("full") }, Bye, false);
    let queues = QueueDepths { requests: 1, waiting: 2, bytes: 3 };
    let ping = Ping { monotonic: 5, wall: 6, queues };
    round!(ping, Ping, false);
    round!(Pong { echo: 4, own: ping }, Pong, false);
    round!(Subscribe { handle: 1, events: 5, generation: 2 }, Subscribe, false);
    round!(Unsubscribe { handle: 1 }, Unsubscribe, false);
    round!(Ready { handle: 1, revents: 16, generation: 2 }, Ready, false);
    round!(CloseBatch { handles: alloc::vec![1, 2, 3] }, CloseBatch, false);
    round!(PageIn { handle: 1, offset: 4096, len: 65536 }, PageIn, false);
    round!(PageInReply { result: Ok(&[1, 2]) }, PageInReply, true);
    round!(PageInReply { result: Err(Errno::EIO) }, PageInReply, true);
    round!(PageOut { handle: 1, offset: 0, sync: true, bytes: b"page" }, PageOut, true);
    round!(PageOutReply { result: Err(Errno::ENOSPC) }, PageOutReply, false);
    round!(PageOutReply { result: Ok(()) }, PageOutReply, false);
    round!(Ctrl { verb: String::from("query"), args: alloc::vec![String::from("status")] }, Ctrl, false);
    for answer in [
        CtrlAnswer::Text(String::from("RUNNING")),
        CtrlAnswer::Binary(alloc::vec![0, 255]),
        CtrlAnswer::Failed { error: Errno::EPERM, text: String::from("not with this key") },
    ] {
        round!(CtrlReply { answer }, CtrlReply, false);
    }
    round!(Event { kind: EventKind::Panic, text: String::from("oops") }, Event, false);
    let line = KmsgLine { sequence: 1, time: 2, severity: 6, core: 3, text: String::from("booted") };
    round!(Kmsg { lines: alloc::vec![line.clone(), line] }, Kmsg, false);
    round!(
        DumpHeader { kind: DumpKind::Core, level: 0, size: 1 << 20, text: String::new() },
        DumpHeader,
        false
    );
    round!(DumpData { offset: 8, bytes: b"dump" }, DumpData, true);
}

#[test]
fn counts_are_not_believed() {
    // A count of handles that are not there, and one above the limit.
    assert_eq!(CloseBatch::decode(&60_000u32.to_le_bytes()), Err(Malformed::Short));
    assert_eq!(CloseBatch::decode(&u32::MAX.to_le_bytes()), Err(Malformed::Limit));
    let mut long = encode(&Data { offset: 0, bytes: &[] });
    long.resize(8 + crate::frame::DATA_PIECE + 1, 0);
    assert_eq!(Data::decode(&long), Err(Malformed::Limit));
    let mut request = encode(&Syscall { args: [0; 6], descs: Vec::new().into(), inline: &[] });
    request.resize(request.len() + crate::frame::MAX_INLINE_TOTAL + 1, 0);
    assert_eq!(Syscall::decode(&request), Err(Malformed::Limit));
    assert_eq!(Chdir::decode(&encode(&Chdir { path: b"a\0b" })), Err(Malformed::Value));
}

#[test]
fn flags_have_their_bits() {
    assert_eq!((Flags::MORE | Flags::LAST | Flags::REPLY | Flags::ERR | Flags::URGENT).bits(), 31);
}

fn decode_as_everything(payload: &[u8]) {
    macro_rules! each {
        ($($kind:ty),*) => { $(if let Ok(message) = <$kind>::decode(payload) {
            // What can be read can be written, and reads the same.
            assert_eq!(<$kind>::decode(&encode(&message)), Ok(message));
        })* };
    }
    each!(
        Bye,
        Ping,
        Pong,
        Launch,
        LaunchAck,
        Syscall,
        Sysret,
        Data,
        Credit,
        MemRead,
        MemReadReply,
        MemWrite,
        MemWriteReply,
        Cancel,
        Subscribe,
        Unsubscribe,
        Ready,
        CloseBatch,
        PageIn,
        PageInReply,
        PageOut,
        PageOutReply,
        Signal,
        Fork,
        ForkOk,
        ForkErr,
        Exit,
        SetIds,
        SetPgid,
        SetSid,
        Umask,
        Chdir,
        Rlimit,
        SideReply,
        Show,
        Ctrl,
        CtrlReply,
        Event,
        Kmsg,
        DumpHeader,
        DumpData,
        crate::handshake::Hello
    );
}

proptest! {
    #[test]
    fn arbitrary_payloads(payload in vec(any::<u8>(), 0..300)) {
        decode_as_everything(&payload);
    }

    /// Mostly zeros: counts and flags that are small enough to get further.
    #[test]
    fn sparse_payloads(len in 0usize..900, marks in vec((any::<proptest::sample::Index>(), 0u8..5), 0..12)) {
        let mut payload = alloc::vec![0; len];
        for (at, value) in marks {
            if len > 0 {
                payload[at.index(len)] = value;
            }
        }
        decode_as_everything(&payload);
    }

    #[test]
    fn damaged_launches(at in any::<proptest::sample::Index>(), value in any::<u8>()) {
        let mut bytes = encode(&launch());
        let at = at.index(bytes.len());
        bytes[at] = value;
        decode_as_everything(&bytes);
    }
}
