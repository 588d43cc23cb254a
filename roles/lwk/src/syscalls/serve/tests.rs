use super::super::dispatch;
use crate::Errno;
use crate::files::flags::*;
use crate::testing::programs::{Program, fails, now, once};
use crate::testing::view::View;
use core::pin::pin;
use core::task::Poll;
use std::sync::Arc;
use std::time::Duration;

const CWD: u64 = AT_FDCWD as i64 as u64;

/// A system call that does not wait.
fn call<const N: usize>(program: &Program, number: u32, args: [u64; N]) -> Result<u64, Errno> {
    now(start(program, number, args))
}

async fn start<const N: usize>(program: &Program, number: u32, args: [u64; N]) -> Result<u64, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    dispatch(&program.caller(), number, all).await
}

fn open(program: &Program, path: &str, flags: u32) -> Result<u64, Errno> {
    call(program, 257, [CWD, program.text(path), flags.into(), 0o666])
}

fn read(program: &Program, fd: u64, len: u64) -> Vec<u8> {
    let into = program.room(len);
    let got = call(program, 0, [fd, into, len]).unwrap();
    program.bytes(into, got)
}

fn two(program: &Program, at: u64) -> (u64, u64) {
    let bytes = program.bytes(at, 8);
    let word = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    (word(0), word(4))
}

fn shown() -> (Program, Arc<View>) {
    let (program, view) = (Program::new(), Arc::new(View::default()));
    *view.files.lock().unwrap() = Some(program.files());
    program.files().vfs().show(view.clone());
    (program, view)
}

#[test]
fn devices_and_memory_need_no_host() {
    let program = Program::new();
    let null = open(&program, "/dev/null", O_RDWR).unwrap();
    assert_eq!(read(&program, null, 10), b"");
    assert_eq!(call(&program, 95, [0o027]), Ok(0o022));
    assert_eq!(program.host.numbers(), [95], "the proxy makes files too");
    let fd = open(&program, "/dev/shm/a", O_RDWR | O_CREAT | O_EXCL).unwrap();
    assert_eq!(fails(open(&program, "/dev/../dev/shm/./a", O_CREAT | O_EXCL)), Errno::EEXIST);
    assert_eq!(call(&program, 1, [fd, program.put(b"shared"), 6]), Ok(6));
    assert_eq!(call(&program, 8, [fd, 2, 0]), Ok(2));
    assert_eq!(read(&program, fd, 10), b"ared");
    let stat = program.room(144);
    assert_eq!(call(&program, 4, [program.text("/dev/shm/a"), stat]), Ok(0));
    assert_eq!(program.bytes(stat + 24, 4), (0o100640u32).to_le_bytes());
    assert_eq!(call(&program, 137, [program.text("/dev/shm"), stat]), Ok(0));
    assert_eq!(program.bytes(stat, 4), 0x0102_1994u32.to_le_bytes());
    assert_eq!(call(&program, 80, [program.text("/dev/shm")]), Ok(0));
    assert_eq!(call(&program, 83, [program.text("d"), 0o777]), Ok(0));
    assert_eq!(call(&program, 82, [program.text("a"), program.text("d/b")]), Ok(0));
    let cwd = program.room(64);
    assert_eq!(call(&program, 79, [cwd, 64]), Ok(9));
    assert_eq!(program.bytes(cwd, 9), b"/dev/shm\0");
    let directory = open(&program, "d", O_RDONLY | O_DIRECTORY).unwrap();
    let again = call(&program, 257, [directory, program.text("b"), 0, 0]).unwrap();
    assert_eq!(read(&program, again, 10), b"shared");
    let entries = program.room(512);
    let len = call(&program, 217, [directory, entries, 512]).unwrap();
    let entries = program.bytes(entries, len);
    let names: Vec<_> =
        keelson_lwk_wire::layout::Dirents(&entries).map(|entry| entry.name.to_vec()).collect();
    assert_eq!(names, [&b"."[..], b"..", b"b"]);
    assert_eq!(call(&program, 217, [directory, program.room(512), 512]), Ok(0));
    assert_eq!(fails(call(&program, 84, [program.text("d")])), Errno::ENOTEMPTY);
    assert_eq!(call(&program, 87, [program.text("d/b")]), Ok(0));
    assert_eq!(read(&program, fd, 10), b"");
    assert_eq!(program.host.numbers(), [], "the host was not asked");
}

#[test]
fn paths_of_the_host() {
    let program = Program::new();
    program.host.file("/tmp/f", b"content");
    let fd = open(&program, "f", O_RDONLY).unwrap();
    assert_eq!(read(&program, fd, 10), b"content");
    assert_eq!(program.files().get(fd as u32).unwrap().path(), Some(&b"/tmp/f"[..]));
    let stat = program.room(144);
    assert_eq!(call(&program, 262, [CWD, program.text("f"), stat, 0]), Ok(0));
    assert_eq!(program.bytes(stat + 48, 1), [7]);
    assert_eq!(fails(call(&program, 262, [CWD, program.text("missing"), stat, 0])), Errno::ENOENT);
    let (from, to) = (program.text("f"), program.text("/dev/shm/f"));
    assert_eq!(fails(call(&program, 82, [from, to])), Errno::EXDEV);
    assert_eq!(call(&program, 82, [from, program.text("g")]), Ok(0));
    assert!(program.host.content("/tmp/g").is_some());
    // A link of the node that leads to the host.
    assert_eq!(call(&program, 88, [program.text("/tmp/g"), program.text("/dev/shm/l")]), Ok(0));
    let fd = open(&program, "/dev/shm/l", O_RDONLY).unwrap();
    assert_eq!(read(&program, fd, 10), b"content");
    // Directories of the host as they lie in front of paths of the node.
    let root = open(&program, "/", O_RDONLY).unwrap();
    let null = call(&program, 257, [root, program.text("dev/null"), 2, 0]).unwrap();
    program.host.numbers();
    assert_eq!(call(&program, 1, [null, from, 1]), Ok(1));
    assert_eq!(program.host.numbers(), []);
}

#[test]
fn files_of_processes() {
    let (program, view) = shown();
    program.host.file("/tmp/prog", b"\x7fELF");
    let host = open(&program, "/proc/self/exe", O_RDONLY).unwrap();
    assert_eq!(read(&program, host, 4), b"\x7fELF");
    let comm = open(&program, "/proc/thread-self/comm", O_RDONLY).unwrap();
    assert_eq!(read(&program, comm, 100), b"a (b) c\n");
    // What is new is read from the beginning; who goes on from the middle finishes what it began.
    let place = open(&program, &format!("/proc/self/fdinfo/{comm}"), O_RDONLY).unwrap();
    assert_eq!(read(&program, place, 4), b"pos:");
    assert_eq!(call(&program, 8, [comm, 0, 0]), Ok(0));
    assert_eq!(read(&program, place, 2), b"\t8");
    let text = program.room(64);
    assert_eq!(call(&program, 17, [place, text, 6, 0]), Ok(6));
    assert_eq!(program.bytes(text, 6), b"pos:\t0");
    assert_eq!(call(&program, 17, [place, text, 2, 4]), Ok(2));
    assert_eq!(program.bytes(text, 2), b"\t0");
    assert_eq!(call(&program, 17, [place, text, 2, 1 << 40]), Ok(0));
    let buffer = program.room(64);
    let link = |path: &str| {
        let len = call(&program, 89, [program.text(path), buffer, 64])?;
        Ok::<_, Errno>(program.bytes(buffer, len))
    };
    assert_eq!(link("/proc/self"), Ok(b"100".to_vec()));
    assert_eq!(link("/proc/self/exe"), Ok(b"/tmp/prog".to_vec()));
    assert_eq!(link(&format!("/proc/self/fd/{host}")), Ok(b"/tmp/prog".to_vec()));
    assert_eq!(link("/proc/self/ns/uts"), Ok(b"uts:[4026000007]".to_vec()));
    assert_eq!(link("/proc/self/fd/99"), Err(Errno::ENOENT));
    assert_eq!(fails(open(&program, "/proc/version", O_WRONLY)), Errno::EACCES);
    assert_eq!(fails(open(&program, "/proc/nothing", O_RDONLY)), Errno::ENOENT);
    let write = open(&program, "/proc/self/comm", O_WRONLY).unwrap();
    assert_eq!(call(&program, 1, [write, program.put(b"new"), 3]), Ok(3));
    assert_eq!(view.written.lock().unwrap()[..], [("comm".into(), b"new".to_vec())]);
    let possible = open(&program, "/sys/bus/cpu/devices/cpu1/node0/cpulist", O_RDONLY).unwrap();
    assert_eq!(read(&program, possible, 10), b"0-1\n");
    assert_eq!(call(&program, 21, [program.text("/proc/mckernel"), 4]), Ok(0));
    assert_eq!(fails(call(&program, 21, [program.text("/proc/mckernel"), 2])), Errno::EACCES);
    // A pipe is opened once more.
    let fds = program.room(8);
    call(&program, 22, [fds]).unwrap();
    let (reader, writer) = two(&program, fds);
    let second = open(&program, &format!("/dev/fd/{writer}"), O_WRONLY).unwrap();
    assert_eq!(call(&program, 3, [writer]), Ok(0));
    assert_eq!(call(&program, 1, [second, program.put(b"x"), 1]), Ok(1));
    assert_eq!(read(&program, reader, 9), b"x");
}

#[test]
fn polls_of_objects_of_the_node() {
    let program = Program::new();
    let fds = program.room(8);
    assert_eq!(call(&program, 293, [fds, O_NONBLOCK.into()]), Ok(0));
    let (reader, writer) = two(&program, fds);
    assert_eq!(fails(call(&program, 0, [reader, fds, 8])), Errno::EAGAIN);
    let list = [reader as u32, 1, writer as u32, 4, 77, 1].map(u32::to_le_bytes).concat();
    let list = program.put(&list);
    assert_eq!(call(&program, 7, [list, 3, 0]), Ok(2));
    assert_eq!(program.bytes(list + 4, 4), [1, 0, 0, 0]);
    assert_eq!(program.bytes(list + 12, 4), [4, 0, 4, 0]);
    assert_eq!(program.bytes(list + 20, 4), [1, 0, 0x20, 0]);
    let mut wait = pin!(start(&program, 7, [list, 1, 50]));
    assert_eq!(once(wait.as_mut()), Poll::Pending);
    program.clock.advance(Duration::from_millis(60));
    assert_eq!(once(wait.as_mut()), Poll::Ready(Ok(0)));
    let mut wait = pin!(start(&program, 7, [list, 1, u32::MAX.into()]));
    assert_eq!(once(wait.as_mut()), Poll::Pending);
    assert_eq!(call(&program, 1, [writer, fds, 3]), Ok(3));
    assert_eq!(once(wait.as_mut()), Poll::Ready(Ok(1)));
    let (set, time) = (program.put(&(1u64 << reader).to_le_bytes()), program.room(16));
    assert_eq!(call(&program, 23, [writer + 1, set, 0, 0, time]), Ok(1));
    assert_eq!(program.bytes(set, 1), [1 << reader]);
    assert_eq!(read(&program, reader, 9).len(), 3);
    assert_eq!(call(&program, 23, [writer + 1, set, 0, 0, time]), Ok(0));
    assert_eq!(program.bytes(set, 1), [0]);
    assert_eq!(call(&program, 3, [reader]), Ok(0));
    // Blocked, so that the signal stays to be seen.
    program.thread.set_mask(crate::signals::SigSet(1 << 12));
    assert_eq!(fails(call(&program, 1, [writer, fds, 3])), Errno::EPIPE);
    assert!(program.thread.signals.pending().has(13));
}

#[test]
fn the_host_keeps_the_limit_of_file_sizes_and_its_signal_comes_from_the_node() {
    let program = Program::new();
    let fd = open(&program, "/tmp/a", O_RDWR | O_CREAT).unwrap();
    program.host.numbers();
    let limit = program.put(&[4u64.to_le_bytes(), 4u64.to_le_bytes()].concat());
    assert_eq!(call(&program, 160, [1, limit]), Ok(0));
    assert_eq!(program.host.numbers(), [160]);
    program.thread.set_mask(crate::signals::SigSet(1 << 24));
    let text = program.put(b"hello");
    assert_eq!(call(&program, 1, [fd, text, 4]), Ok(4));
    assert!(!program.thread.signals.pending().has(25));
    assert_eq!(fails(call(&program, 1, [fd, text, 5])), Errno::EFBIG);
    assert!(program.thread.signals.pending().has(25));
}

#[test]
fn a_descriptor_in_front_of_an_absolute_path_is_not_looked_at() {
    let program = Program::new();
    let [a, b] = ["/tmp/a", "/tmp/b"].map(|path| program.text(path));
    open(&program, "/tmp/a", O_RDWR | O_CREAT).unwrap();
    assert_eq!(call(&program, 316, [77, a, 78, b, 0]), Ok(0));
    assert_eq!(fails(call(&program, 316, [77, program.text("b"), CWD, a, 0])), Errno::EBADF);
}

#[test]
fn openat2_wants_a_mode_only_for_what_is_made() {
    let program = Program::new();
    let at = |flags: u32| {
        let how = program.put(&[u64::from(flags), 0o600, 0].map(u64::to_le_bytes).concat());
        call(&program, 437, [CWD, program.text("/tmp/a"), how, 24])
    };
    assert_eq!(fails(at(O_RDWR)), Errno::EINVAL);
    at(O_RDWR | O_CREAT).unwrap();
}

#[test]
fn devices_are_not_synchronised() {
    let program = Program::new();
    let null = open(&program, "/dev/null", O_RDWR).unwrap();
    let memory = open(&program, "/dev/shm/a", O_RDWR | O_CREAT).unwrap();
    for number in [74, 75] {
        assert_eq!(fails(call(&program, number, [null])), Errno::EINVAL);
        assert_eq!(call(&program, number, [memory]), Ok(0));
    }
    assert_eq!(call(&program, 306, [null]), Ok(0));
}

#[test]
fn a_handle_is_subscribed_once() {
    let program = Program::new();
    let (handle, opened) = program.host.stream();
    let delegate = &program.thread.process.delegate;
    program.files().install_host(5, delegate, handle, opened, O_RDWR).unwrap();
    let set = call(&program, 291, [0]).unwrap();
    let event = program.put(&[&1u32.to_le_bytes()[..], &55u64.to_le_bytes()].concat());
    assert_eq!(call(&program, 233, [set, 1, 5, event]), Ok(0));
    assert!(program.host.subscribed(handle).is_some());
    let events = program.room(120);
    assert_eq!(call(&program, 232, [set, events, 10, 0]), Ok(0));
    let mut wait = pin!(start(&program, 232, [set, events, 10, u32::MAX.into()]));
    assert_eq!(once(wait.as_mut()), Poll::Pending);
    program.host.feed(handle, b"abc");
    assert_eq!(once(wait.as_mut()), Poll::Ready(Ok(1)));
    assert_eq!(program.bytes(events, 12), [1, 0, 0, 0, 55, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(call(&program, 232, [set, events, 10, 0]), Ok(1), "as long as it lasts");
    assert_eq!(program.host.numbers(), [], "nobody asked the host");
    assert_eq!(read(&program, 5, 10), b"abc");
    assert_eq!(call(&program, 232, [set, events, 10, 0]), Ok(0));
    let list = program.put(&[5u32, 1].map(u32::to_le_bytes).concat());
    assert_eq!(call(&program, 7, [list, 1, 0]), Ok(0));
    assert_eq!(program.host.numbers(), [0]);
}

#[test]
fn files_are_passed_between_programs() {
    let program = Program::new();
    let fds = program.room(8);
    assert_eq!(call(&program, 53, [1, 1, 0, fds]), Ok(0));
    let (a, b) = two(&program, fds);
    let memory = call(&program, 319, [program.text("m"), 2]).unwrap();
    assert_eq!(call(&program, 1, [memory, program.put(b"inside"), 6]), Ok(6));
    let iov = program.put(&[program.put(b"take"), 4].map(u64::to_le_bytes).concat());
    let control =
        [&20u64.to_le_bytes()[..], &1u32.to_le_bytes(), &1u32.to_le_bytes(), &(memory as u32).to_le_bytes()];
    let control = program.put(&[&control.concat()[..], &[0; 4]].concat());
    let header = program.put(&[0, 0, iov, 1, control, 20, 0].map(u64::to_le_bytes).concat());
    assert_eq!(call(&program, 46, [a, header, 0]), Ok(4));
    let iov = program.put(&[program.room(16), 16].map(u64::to_le_bytes).concat());
    let control = program.room(64);
    let header = program.put(&[0, 0, iov, 1, control, 64, 0].map(u64::to_le_bytes).concat());
    assert_eq!(call(&program, 47, [b, header, 0]), Ok(4));
    let got = program.bytes(control, 20);
    let fd = u64::from(u32::from_le_bytes(got[16..].try_into().unwrap()));
    assert_ne!(fd, memory);
    assert_eq!(call(&program, 8, [fd, 0, 0]), Ok(0));
    assert_eq!(read(&program, fd, 10), b"inside");
    assert_eq!(call(&program, 8, [memory, 0, 1]), Ok(6), "it is the same open file");
    // Sealed, then copied into the socket.
    assert_eq!(call(&program, 72, [memory, F_ADD_SEALS.into(), 2]), Ok(0));
    assert_eq!(fails(call(&program, 77, [memory, 1])), Errno::EPERM);
    let at = program.put(&1u64.to_le_bytes());
    assert_eq!(call(&program, 40, [a, memory, at, 3]), Ok(3));
    assert_eq!(read(&program, b, 10), b"nsi");
    assert_eq!(program.bytes(at, 8), 4u64.to_le_bytes());
    assert_eq!(call(&program, 3, [b]), Ok(0));
    assert_eq!(fails(call(&program, 44, [a, at, 1, 0x4000, 0, 0])), Errno::EPIPE);
    assert!(!program.thread.signals.pending().has(13), "MSG_NOSIGNAL");
}

#[test]
fn connections_by_abstract_name() {
    let program = Program::new();
    let name = program.put(b"\x01\0\0job");
    let server = call(&program, 41, [1, 1, 0]).unwrap();
    assert_eq!(call(&program, 49, [server, name, 6]), Ok(0));
    assert_eq!(call(&program, 50, [server, 5]), Ok(0));
    let client = call(&program, 41, [1, 1, 0]).unwrap();
    assert_eq!(call(&program, 42, [client, name, 6]), Ok(0));
    let (address, len) = (program.room(16), program.put(&16u32.to_le_bytes()));
    let end = call(&program, 288, [server, address, len, 0]).unwrap();
    assert_eq!(program.bytes(len, 4), 2u32.to_le_bytes(), "the client has no name");
    assert_eq!(call(&program, 1, [client, name, 6]), Ok(6));
    assert_eq!(read(&program, end, 9).len(), 6);
    let mut wait = pin!(start(&program, 43, [server, 0, 0]));
    assert_eq!(once(wait.as_mut()), Poll::Pending);
    program.thread.demand(crate::thread::Attention::END);
    let Poll::Ready(result) = once(wait.as_mut()) else { panic!("the signal ends the wait") };
    assert_eq!(result, Err(crate::restart::RESTART));
}
