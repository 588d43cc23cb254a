//! Messages to the process manager, field by field, and hostile ones (section 23).

use crate::lab::{Lab, Sink, Source, descriptors};
use crate::world::{root, user};
use keelson_qnet::api::{Connection, Message};
use keelson_qnet::client::ConsoleServer;
use keelson_qnet::io::ProcServices;
use keelson_qnet::procs::{Stream, signal};
use keelson_qnet_wire::proc::{
    FdInfo, FdRequest, Inheritance, ProcWait, RemoteBlock, Siginfo, Spawn, SpawnFlags, Strings, SysConf,
    SysConfReply, emit_fd_reply,
};
use keelson_qnet_wire::{Endian, Errno, Nd};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A spawn of `args` with a root and descriptors.
fn spawn_message(args: &[&str], root: &str, fds: &[FdInfo], all_in: bool) -> Vec<u8> {
    let mut strings = Vec::new();
    for arg in args {
        strings.extend_from_slice(arg.as_bytes());
        strings.push(0);
    }
    let (argv, _) = Strings::split(&strings, args.len()).unwrap();
    let (envp, _) = Strings::split(&[], 0).unwrap();
    let inherit = Inheritance { flags: SpawnFlags::SEARCH_PATH, ..Inheritance::default() };
    let mut spawn = Spawn::new(inherit, args[0].as_bytes(), argv, envp);
    spawn.search = b"/nowhere:/bin";
    let mut remote = RemoteBlock::new(0, 0o22, root.as_bytes(), b"/", fds);
    remote.fds_all_in = all_in;
    spawn.remote = Some(remote);
    let mut message = vec![0; 4096];
    let len = spawn.emit(&mut message, Endian::Little).unwrap();
    message.truncate(len);
    message
}

/// Sends one message from the first node to process 1 of the second.
fn send(lab: &Lab, connection: &Rc<Connection>, message: &[u8]) -> Result<(i32, Vec<u8>), Errno> {
    lab.files.world.send(connection, message, 512)
}

fn wait_message(id: i32) -> [u8; ProcWait::LEN] {
    ProcWait { idtype: ProcWait::PID, options: ProcWait::EXITED, id }.encode(Endian::Little)
}

#[test]
fn spawn_and_wait() {
    let lab = Lab::new();
    let connection = Rc::new(lab.files.world.connect(0, 1));
    let (pid, data) = send(&lab, &connection, &spawn_message(&["false"], "/net/beta/", &[], true)).unwrap();
    assert!(pid > 0 && data.is_empty());
    let (status, info) = send(&lab, &connection, &wait_message(pid)).unwrap();
    let info = Siginfo::decode(&info, Endian::Little).unwrap();
    assert_eq!(status, 0);
    assert_eq!((info.signo, info.code, info.pid, info.status), (18, Siginfo::EXITED, pid, 1));
    assert_eq!(send(&lab, &connection, &wait_message(pid)), Err(Errno::ECHILD));
    // Killed: 2 and the signal.
    let (pid, _) = send(&lab, &connection, &spawn_message(&["sleep", "100"], "/", &[], true)).unwrap();
    let entry = lab.output(1, &["pidin", "-p", "sleep"]);
    assert!(entry.contains(&format!("{pid:>8}   1 bin/sleep")), "{entry}");
    // Neither somebody else's child nor the system's.
    let stranger = Rc::new(lab.files.world.try_connect(2, 1, &user(100)).unwrap());
    assert_eq!(send(&lab, &stranger, &wait_message(pid)), Err(Errno::ECHILD));
    assert_eq!(send(&lab, &connection, &wait_message(1)), Err(Errno::ECHILD));
    assert_eq!(send(&lab, &connection, &wait_message(-1)), Err(Errno::ECHILD));
    lab.processes[1].signal(pid as u32, signal::QUIT).unwrap();
    let (_, info) = send(&lab, &connection, &wait_message(pid)).unwrap();
    let info = Siginfo::decode(&info, Endian::Little).unwrap();
    assert_eq!((info.code, info.status), (Siginfo::KILLED, signal::QUIT));
    drop((connection, stranger));
    lab.settle();
    lab.assert_baseline();
}

/// Whoever waits and does not want to any more is let go, and the process can still be waited for.
#[test]
fn waiting_is_given_up() {
    let lab = Lab::new();
    let connection = Rc::new(lab.files.world.connect(0, 1));
    let (pid, _) = send(&lab, &connection, &spawn_message(&["sleep", "100"], "/", &[], true)).unwrap();
    let (waiting, handle) = (connection.clone(), lab.files.world.executor.handle());
    let given_up = lab.files.world.run(async move {
        let mut reply = [0; Siginfo::LEN];
        let second = handle.sleep(std::time::Duration::from_secs(1));
        waiting.send_until(&[&wait_message(pid)], &mut reply, second).await
    });
    assert_eq!(given_up, Err(Errno::EINTR));
    assert_eq!(lab.files.world.kernel(1).transactions(), 0);
    lab.processes[1].signal(pid as u32, signal::KILL).unwrap();
    assert!(send(&lab, &connection, &wait_message(pid)).is_ok());
}

#[test]
fn roots() {
    let lab = Lab::new();
    let connection = Rc::new(lab.files.world.connect(0, 1));
    for root in ["/net/gamma/", "/net/gamma", "/net/nowhere/", "/net/beta/etc", "/etc", "/net/"] {
        let message = spawn_message(&["true"], root, &[], true);
        assert_eq!(send(&lab, &connection, &message), Err(Errno::ENOENT), "{root}");
    }
    for root in ["/", "", "/net/beta", "/net/beta/", "/net/BETA/", "/net/beta.lab.test/"] {
        let sent = send(&lab, &connection, &spawn_message(&["true"], root, &[], true));
        // The nodes of this test know lower-case names only.
        assert_eq!(sent.is_ok(), root != "/net/BETA/", "{root}");
    }
    lab.settle();
}

/// Descriptors that cannot be taken over end the spawn, and nothing of it stays.
#[test]
fn descriptors_that_are_none() {
    let lab = Lab::new();
    let connection = Rc::new(lab.files.world.connect(0, 1));
    let nd = lab.files.world.nd(0, 1);
    let fd = FdInfo { fd: 1, nd, srcnd: Nd::LOCAL, pid: 1, chid: 1, scoid: 7, coid: 1 };
    let spawn = |fd| send(&lab, &connection, &spawn_message(&["true"], "/", &[fd], true));
    assert_eq!(spawn(fd), Err(Errno::EBADF), "nothing is open there");
    assert_eq!(spawn(FdInfo { pid: 999, ..fd }), Err(Errno::ESRCH));
    assert_eq!(spawn(FdInfo { pid: -1, ..fd }), Err(Errno::EBADF));
    assert_eq!(spawn(FdInfo { fd: -1, ..fd }), Err(Errno::EBADF));
    assert!(spawn(FdInfo { nd: Nd(77), ..fd }).is_err());
    assert_eq!(lab.processes[1].running(), 0);
    let many: Vec<FdInfo> = (0..65).map(|number| FdInfo { fd: number, ..fd }).collect();
    assert_eq!(send(&lab, &connection, &spawn_message(&["true"], "/", &many, true)), Err(Errno::EMFILE));
    drop(connection);
    lab.settle();
    lab.assert_baseline();
}

/// A process manager that is asked for descriptors.
struct Asked {
    records: Vec<FdInfo>,
    requests: RefCell<Vec<FdRequest>>,
    endless: Cell<bool>,
}

impl ProcServices for Asked {
    fn message(&self, message: Message) {
        let request = FdRequest::decode(message.data(), Endian::Little).unwrap();
        self.requests.borrow_mut().push(request);
        // Two at a time.
        let list: Vec<FdInfo> =
            self.records.iter().filter(|record| record.fd >= request.base).take(2).copied().collect();
        let more = self.endless.get() || list.last().is_some_and(|last| last.fd < 2);
        let list = if self.endless.get() { self.records[..1].to_vec() } else { list };
        let mut data = [0; 256];
        let len = emit_fd_reply(&mut data, Endian::Little, more, &list).unwrap();
        message.reply(0, &data[..len]);
    }
}

/// Records that did not come along are asked for, until there are no more.
#[test]
fn descriptors_that_are_asked_for() {
    let lab = Lab::new();
    let kernel = lab.files.world.kernel(0);
    let (output, errors) = (Sink::new(), Sink::new());
    let streams: Vec<Rc<dyn Stream>> = vec![Source::ended("asked for"), output.clone(), errors.clone()];
    let console = ConsoleServer::new(&kernel, 1, lab.files.world.nd(1, 0), streams).unwrap();
    let records = console.records(lab.files.world.nd(0, 1));
    let asked = Rc::new(Asked { records, requests: RefCell::default(), endless: Cell::new(false) });
    lab.files.nodes[0].dispatcher.set_services(asked.clone());
    let connection = Rc::new(lab.files.world.connect(0, 1));
    let message = spawn_message(&["cat"], "/", &[], false);
    let (pid, _) = send(&lab, &connection, &message).unwrap();
    send(&lab, &connection, &wait_message(pid)).unwrap();
    assert_eq!(output.text(), "asked for");
    let bases: Vec<i32> = asked.requests.borrow().iter().map(|request| request.base).collect();
    assert_eq!(bases, [0, 2]);
    assert_eq!(asked.requests.borrow()[0].ppid, 1);
    // One that never comes to an end is not asked for ever.
    asked.endless.set(true);
    asked.requests.borrow_mut().clear();
    send(&lab, &connection, &message).unwrap();
    assert!(asked.requests.borrow().len() <= 2);
    lab.settle();
    drop((connection, console));
    lab.settle();
    lab.assert_baseline();
}

/// The console serves one node, and only what was taken over.
#[test]
fn the_console_is_not_for_everybody() {
    let lab = Lab::new();
    let kernel = lab.files.world.kernel(0);
    let output = Sink::new();
    let console = ConsoleServer::new(&kernel, 1, lab.files.world.nd(1, 0), vec![output.clone()]).unwrap();
    let record = console.records(lab.files.world.nd(0, 1))[0];
    let dup = |record: FdInfo| {
        use keelson_qnet_wire::io::{IoDup, IoRequest, MsgInfo};
        let info = MsgInfo { pid: record.pid, scoid: record.scoid, coid: record.coid, ..MsgInfo::default() };
        let mut room = [0; 64];
        let len = IoRequest::Dup(IoDup { info, key: 0 }).emit(&mut room, Endian::Little).unwrap();
        room[..len].to_vec()
    };
    let write = {
        use keelson_qnet_wire::io::{IoReadWrite, IoRequest};
        let mut room = [0; 64];
        let write = IoReadWrite { nbytes: 3, ..IoReadWrite::default() };
        let len = IoRequest::Write(write, b"abc").emit(&mut room, Endian::Little).unwrap();
        room[..len].to_vec()
    };
    let attach = |from: usize| {
        let (kernel, nd) = (lab.files.world.kernel(from), lab.files.world.nd(0, from));
        let (pid, chid) = (record.pid as u32, record.chid as u32);
        Rc::new(lab.files.world.run(async move { kernel.connect(nd, pid, chid, &root()).await.unwrap() }))
    };
    let (friend, stranger) = (attach(1), attach(2));
    assert_eq!(send(&lab, &stranger, &dup(record)), Err(Errno::EBADF), "of another node");
    assert_eq!(send(&lab, &friend, &write), Err(Errno::EBADF), "not taken over");
    for wrong in [
        FdInfo { coid: 1, ..record },
        FdInfo { coid: -1, ..record },
        FdInfo { scoid: 99, ..record },
        FdInfo { pid: 2, ..record },
    ] {
        assert_eq!(send(&lab, &friend, &dup(wrong)), Err(Errno::EBADF), "{wrong:?}");
    }
    assert_eq!(send(&lab, &friend, &dup(record)), Ok((0, Vec::new())));
    assert_eq!(send(&lab, &friend, &write), Ok((3, Vec::new())));
    assert_eq!((output.text().as_str(), console.taken()), ("abc", 1));
    drop(friend);
    lab.settle();
    assert_eq!(console.taken(), 0, "closed with its client");
}

#[test]
fn configuration_strings() {
    let lab = Lab::new();
    let connection = Rc::new(lab.files.world.connect(0, 1));
    let ask = |name, value| {
        let message = SysConf { cmd: SysConf::STRING, name, value }.encode(Endian::Little);
        send(&lab, &connection, &message)
    };
    let (status, reply) = ask(SysConf::RELEASE, 100).unwrap();
    let head = SysConfReply::decode(&reply, Endian::Little).unwrap();
    assert_eq!((status, head.matched, head.value, &reply[SysConfReply::LEN..]), (0, 1, 6, &b"6.5.0\0"[..]));
    assert_eq!(
        &ask(SysConf::HOSTNAME, 3).unwrap().1[SysConfReply::LEN..],
        b"bet",
        "as much as there is room for"
    );
    assert_eq!(&ask(SysConf::DOMAIN, 100).unwrap().1[SysConfReply::LEN..], b"lab.test\0");
    assert_eq!((ask(99, 100), ask(2, -1).unwrap().1.len()), (Err(Errno::EINVAL), SysConfReply::LEN));
}

/// Whatever comes, it is answered, and nothing of it stays.
#[test]
fn hostile() {
    let lab = Lab::new();
    let connection = Rc::new(lab.files.world.connect(0, 1));
    let good = spawn_message(&["true", "argument"], "/net/beta/", &[], true);
    // Shorter ones are never right. Without the remote block descriptors are asked for, which fails too; only the
    // padding at the end is not missed, as no descriptors follow.
    for len in 0..good.len() - 3 {
        assert!(send(&lab, &connection, &good[..len]).is_err(), "{len}");
    }
    // Each field of the fixed part at its limits.
    for at in (2..108).step_by(2) {
        for value in [0_u16, 1, 0x7fff, 0x8000, 0xffff] {
            let mut message = good.clone();
            message[at..at + 2].copy_from_slice(&value.to_le_bytes());
            let _ = send(&lab, &connection, &message);
        }
    }
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    for _ in 0..3000 {
        let mut message = good.clone();
        for _ in 0..1 + next() % 8 {
            let at = next() % message.len();
            message[at] = next() as u8;
        }
        // Process manager messages only: others have tests of their own.
        message[1] = 0;
        message[0] = [0x10, 0x10, 0x10, 0x11, 0x13, 0][next() % 6];
        if message[0] == 0x11 {
            // Not one that waits.
            message[8..12].copy_from_slice(&(-1_i32).to_le_bytes());
        }
        message.truncate(1 + next() % message.len());
        let _ = send(&lab, &connection, &message);
    }
    let long = vec![0x10; 300_000];
    assert!(send(&lab, &connection, &long).is_err());
    lab.settle();
    assert_eq!(lab.processes[1].running(), 0);
    assert!(lab.processes[1].zombies() <= 32);
    drop(connection);
    lab.settle();
    lab.assert_baseline();
    assert_eq!(lab.output(0, &["on", "-f", "beta", "hostname"]), "beta\n");
    let fds = descriptors(Source::ended(""), Sink::new(), Sink::new());
    assert!(lab.start(1, &["true"], fds).is_ok());
}
