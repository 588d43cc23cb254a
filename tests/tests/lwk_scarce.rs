//! Whatever programs make the kernel keep, and however little memory there is: calls fail, and the node goes on.

use keelson_tests::lwk::{Link, LwkNode, Shape, program};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// What `exhaust.c` knows.
const KINDS: [&str; 27] = [
    "pipes",
    "packets",
    "streams",
    "datagrams",
    "passed",
    "names",
    "areas",
    "holes",
    "texts",
    "cores",
    "tables",
    "sems",
    "messages",
    "empties",
    "segments",
    "timers",
    "signals",
    "files",
    "links",
    "folders",
    "memories",
    "pages",
    "epolls",
    "events",
    "alarms",
    "calls",
    "children",
];

/// KiB that are left to programs while the kernel is asked for more.
const LEFT: &str = "64";

/// Removes what others left, and tells how much memory programs can have, in KiB.
fn clean(node: &LwkNode, exhaust: &Path) -> u64 {
    let ended = node.run(exhaust, &["clean"], b"");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    text.trim().parse().unwrap_or_else(|_| panic!("{ended:?}"))
}

/// Runs programs of each kind one after the other on the same node, with words behind the kind.
fn each(node: &LwkNode, words: &[&str]) {
    let exhaust = program(FOLDER, "exhaust.c", Link::Static, &[]);
    let before = clean(node, &exhaust);
    for kind in KINDS {
        let ended = node.run(&exhaust, &[&[kind], words].concat(), b"");
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        eprint!("{text}");
        if kind == "tables" {
            // Pages of its own are what it runs out of.
            let errors = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.signal(), Some(9), "{errors}");
            assert!(errors.contains("killed: not enough memory on the node"), "{errors}");
        } else {
            assert!(ended.status.success() && text.starts_with(&format!("{kind}: ")), "{kind}: {ended:?}");
        }
        if kind == "calls" {
            assert_eq!(text, "calls: 9, Success\n", "what only passes through works");
        }
        clean(node, &exhaust);
    }
    let after = clean(node, &exhaust);
    // Some is in pieces, and some is kept for the next one.
    assert!(after >= before - before / 8, "{before} KiB before, {after} KiB after");
}

#[test]
fn while_programs_have_all_memory() {
    let shape = Shape { cpus: 3, memory: 192, line: "allow_oversubscribe=8" };
    let node = LwkNode::start("lwk-scarce", LWKCTL, shape);
    each(&node, &[LEFT]);
    assert!(node.machine.console().contains("the kernel runs out of memory"));
}

#[test]
fn while_the_kernel_can_have_all_memory() {
    let shape = Shape { cpus: 3, memory: 192, line: "allow_oversubscribe=8" };
    each(&LwkNode::start("lwk-plenty", LWKCTL, shape), &[]);
}
