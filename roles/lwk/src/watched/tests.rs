//! What is shown of calls.

use super::profile::Profile;
use super::trace::Line;
use super::*;
use crate::mm::MmSettings;
use crate::testing::{map_anonymous, system};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;

const AT: u64 = 0x1000_0000;
const TOOK: Duration = Duration::from_micros(12);
const LOCAL: Asked = Asked { requests: 0, time: Duration::ZERO };
const DELEGATED: Asked = Asked { requests: 1, time: Duration::from_micros(9) };

/// The line about a call in a memory that has a path at [`AT`] and text without an end at `AT + 512`.
fn line(number: u32, args: [u64; 6], end: End, asked: Asked) -> String {
    let (system, ..) = system();
    let mm: Arc<Mm> = Mm::new(&system, MmSettings::default()).unwrap();
    map_anonymous(&mm, AT, 4096);
    mm.write(AT, b"/etc/ho\"st\0").unwrap();
    mm.write(AT + 512, &[b'x'; 400]).unwrap();
    // Everything is in memory: nothing is waited for.
    let Poll::Ready(line) = pin!(Line::new(number, &args, &mm)).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("it waits")
    };
    line.line(7, &mm, end, TOOK, asked)
}

#[test]
fn lines_are_as_strace_has_them() {
    let no_entry = End::Returned(Errno::ENOENT.as_result() as u64);
    let lines = [
        (line(39, [1; 6], End::Returned(7), LOCAL), "[7] getpid() = 7 <0.000012> L\n"),
        (
            line(257, [-100i64 as u64, AT, 0, 0, 0, 0], no_entry, DELEGATED),
            "[7] openat(AT_FDCWD, \"/etc/ho\\\"st\", 0, 0) = -1 ENOENT (No such file or directory) <0.000012> D 0.000009\n",
        ),
        (
            line(1, [1, AT + 512, 300, 0, 0, 0], End::Returned(300), DELEGATED),
            "[7] write(1, \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"..., 300) = 300 <0.000012> D 0.000009\n",
        ),
        // What was read is known behind the call, and only if it was.
        (
            line(0, [3, AT + 512, 300, 0, 0, 0], End::Returned(2), LOCAL),
            "[7] read(3, \"xx\", 300) = 2 <0.000012> L\n",
        ),
        (
            line(0, [3, AT + 512, 300, 0, 0, 0], End::Interrupted, LOCAL),
            "[7] read(3, 0x10000200, 300) = ? (interrupted) <0.000012> L\n",
        ),
        // Paths that are none.
        (
            line(2, [0; 6], no_entry, LOCAL).split_off(4),
            "open(NULL, 0, 0) = -1 ENOENT (No such file or directory) <0.000012> L\n",
        ),
        (line(87, [16 << 40; 6], End::Never, LOCAL), "[7] unlink(0x100000000000) = ? <0.000012> L\n"),
        (
            line(87, [AT + 512; 6], End::Returned(0), LOCAL),
            "[7] unlink(\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"...) = 0 <0.000012> L\n",
        ),
        (
            line(9999, [1, 2, 3, 4, 5, 6], End::Returned(0), LOCAL),
            "[7] syscall_0x270f(1, 2, 3, 4, 5, 6) = 0 <0.000012> L\n",
        ),
    ];
    for (line, expected) in lines {
        assert_eq!(line, expected);
    }
}

#[test]
fn profiles_add_up_and_begin_with_what_took_most() {
    let mut profile = Profile::default();
    for _ in 0..3 {
        profile.add(39, Duration::from_micros(1), false, LOCAL);
    }
    profile.add(0, Duration::from_micros(40), false, DELEGATED);
    profile.add(0, Duration::from_micros(20), true, DELEGATED);
    let table = profile.table(5, "it");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0].join(" "), "system calls of process 5 (it):");
    assert_eq!(rows[2], ["95.23", "0.000060", "30.000", "2", "1", "2", "0.000018", "read"]);
    assert_eq!(rows[3], ["4.76", "0.000003", "1.000", "3", "0", "0", "0.000000", "getpid"]);
    assert_eq!(rows[4], ["100.00", "0.000063", "12.600", "5", "1", "2", "0.000018", "total"]);
    assert_eq!(rows.len(), 5);
    assert_eq!(
        profile.json(5, "i\"\nt"),
        "{\"pid\":5,\"program\":\"i??t\",\"syscalls\":[\
         {\"name\":\"read\",\"number\":0,\"calls\":2,\"errors\":1,\"time\":60000,\"delegated\":2,\"host_time\":18000},\
         {\"name\":\"getpid\",\"number\":39,\"calls\":3,\"errors\":0,\"time\":3000,\"delegated\":0,\"host_time\":0}]}\n"
    );
    assert!(Profile::default().table(1, "").contains("total"));
    // A program that tries all numbers there are does not fill memory.
    (0..100_000).for_each(|number| profile.add(number, TOOK, true, LOCAL));
    assert!(profile.json(1, "").len() < 100_000);
}
