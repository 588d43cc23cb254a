//! Buffers that lie in mappings of files whose pages have to be fetched.

use crate::Errno;
use crate::syscalls::{files, memory, objects, paths, sockets};
use crate::testing::programs::{MEMORY, MEMORY_BYTES, Program, fails, now};

const O_RDWR_CREAT: u64 = 0o102;
const PRIVATE: u64 = 2;
const BYTES: u64 = 2_500_000;

fn content() -> Vec<u8> {
    (0..BYTES as u32).map(|index| (index % 251) as u8).collect()
}

fn open(program: &Program, path: &str) -> u64 {
    let path = program.text(path);
    now(paths::sys_open(&program.caller(), [path, O_RDWR_CREAT, 0o600, 0, 0, 0])).unwrap()
}

/// A program, and a mapping of a file that nobody has touched.
fn with_mapping() -> (Program, impl Fn(&Program) -> u64) {
    let program = Program::new();
    program.host.file("/tmp/in", &content());
    let mapping = |program: &Program| {
        let fd = open(program, "/tmp/in");
        now(memory::sys_mmap(&program.caller(), [0, BYTES, 3, PRIVATE, fd, 0])).unwrap()
    };
    (program, mapping)
}

#[test]
fn all_of_it_is_written() {
    let (program, mapping) = with_mapping();
    let caller = program.caller();
    let fd = open(&program, "/tmp/out");
    let at = mapping(&program);
    program.host.numbers();
    assert_eq!(now(files::sys_write(&caller, [fd, at, BYTES, 0, 0, 0])), Ok(BYTES));
    assert!(program.host.numbers().len() <= 4, "in large parts");
    assert!(program.host.content("/tmp/out").unwrap() == content());
    let at = mapping(&program);
    assert_eq!(now(files::sys_pwrite64(&caller, [fd, at, BYTES, 10, 0, 0])), Ok(BYTES));
    assert!(program.host.content("/tmp/out").unwrap()[10..] == content());

    let name = program.text("memory");
    let memory = now(objects::sys_memfd_create(&caller, [name, 0, 0, 0, 0, 0])).unwrap();
    let at = mapping(&program);
    let array = program.put(&[at, 1_000_000, at + 1_000_000, 1_500_000].map(u64::to_le_bytes).concat());
    assert_eq!(now(files::sys_writev(&caller, [memory, array, 2, 0, 0, 0])), Ok(BYTES));
    let into = program.room(BYTES);
    assert_eq!(now(files::sys_pread64(&caller, [memory, into, BYTES, 0, 0, 0])), Ok(BYTES));
    assert!(program.bytes(into, BYTES) == content());
}

#[test]
fn all_of_it_is_read() {
    let (program, mapping) = with_mapping();
    let caller = program.caller();
    program.host.file("/tmp/other", &[7; BYTES as usize]);
    let fd = open(&program, "/tmp/other");
    let at = mapping(&program);
    assert_eq!(now(files::sys_pread64(&caller, [fd, at, BYTES, 0, 0, 0])), Ok(BYTES));
    assert!(program.bytes(at, BYTES) == [7; BYTES as usize]);
    let at = mapping(&program);
    let array = program.put(&[at, 70_000, at + 70_000, BYTES - 70_000].map(u64::to_le_bytes).concat());
    assert_eq!(now(files::sys_readv(&caller, [fd, array, 2, 0, 0, 0])), Ok(BYTES));
    assert!(program.bytes(at, BYTES) == [7; BYTES as usize]);
    assert_eq!(now(files::sys_read(&caller, [fd, at, 1, 0, 0, 0])), Ok(0), "the file is at its end");
}

/// Pipes and sockets give what they have, all in one piece, and nothing is lost.
#[test]
fn streams_and_messages() {
    let (program, mapping) = with_mapping();
    let caller = program.caller();
    let ends = program.room(8);
    let pair = |ends: u64| {
        let words = program.bytes(ends, 8);
        [0, 4].map(|at| u64::from(u32::from_le_bytes(words[at..at + 4].try_into().unwrap())))
    };
    let sent = program.put(&[9; 60_000]);
    let check = |at: u64, len: u64| assert!(program.bytes(at, len) == vec![9; len as usize]);

    objects::sys_pipe2(&caller, [ends, 0, 0, 0, 0, 0]).unwrap();
    let [reader, writer] = pair(ends);
    now(files::sys_write(&caller, [writer, sent, 60_000, 0, 0, 0])).unwrap();
    // The first page is there.
    let at = mapping(&program);
    now(caller.mm().touch_wait(at, 1, keelson_hal::user::Access::Write, 0)).unwrap();
    let at = at + 100;
    assert_eq!(now(files::sys_read(&caller, [reader, at, BYTES - 100, 0, 0, 0])), Ok(60_000));
    check(at, 60_000);

    for kind in [1, 2, 5] {
        sockets::sys_socketpair(&caller, [1, kind, 0, ends, 0, 0]).unwrap();
        let [one, other] = pair(ends);
        now(sockets::sys_sendto(&caller, [one, sent, 60_000, 0, 0, 0])).unwrap();
        let at = mapping(&program) + 4000;
        let received = now(sockets::sys_recvfrom(&caller, [other, at, 100_000, 0, 0, 0]));
        assert_eq!(received, Ok(60_000), "kind {kind}");
        check(at, 60_000);
        // A message that is sent from there is one message.
        let at = mapping(&program) + 4000;
        assert_eq!(now(files::sys_write(&caller, [one, at, 100_000, 0, 0, 0])), Ok(100_000));
        let at = mapping(&program) + 4000;
        assert_eq!(now(files::sys_read(&caller, [other, at, 200_000, 0, 0, 0])), Ok(100_000));
        assert!(program.bytes(at, 100_000) == content()[4000..104_000]);
    }
}

/// Behind the end of a mapped file there is nothing to fetch: what lies before it is moved.
#[test]
fn up_to_the_end_of_the_file() {
    let program = Program::new();
    let caller = program.caller();
    program.host.file("/tmp/short", &[5; 5000]);
    let fd = open(&program, "/tmp/short");
    let at = now(memory::sys_mmap(&caller, [0, 1 << 20, 3, PRIVATE, fd, 0])).unwrap();
    let out = open(&program, "/tmp/out");
    assert_eq!(now(files::sys_write(&caller, [out, at, 1 << 20, 0, 0, 0])), Ok(8192));
    assert_eq!(program.host.content("/tmp/out").unwrap()[..5000], [5; 5000]);
    assert_eq!(now(files::sys_pread64(&caller, [fd, at, 1 << 20, 0, 0, 0])), Ok(5000));
    let error = fails(now(files::sys_write(&caller, [out, at + 8192, 10, 0, 0, 0])));
    assert_eq!(error, Errno::EFAULT);
    let name = program.text("memory");
    let memory = now(objects::sys_memfd_create(&caller, [name, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!(now(files::sys_write(&caller, [memory, at, 1 << 20, 0, 0, 0])), Ok(8192));
    let end = MEMORY + MEMORY_BYTES;
    assert_eq!(now(files::sys_write(&caller, [memory, end - 10, 100, 0, 0, 0])), Ok(10));
}
