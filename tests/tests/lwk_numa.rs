//! The LWK node on a machine with two NUMA nodes: programs see them, and their memory lies where they want it.

use keelson_tests::lwk::{Link, LwkNode, Shape, program};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// Two nodes of 1 GiB: processors 0 to 2, of which the first is the service core, and 3 to 4.
const NODES: &[&str] = &[
    "-object",
    "memory-backend-ram,id=mem0,size=1G",
    "-object",
    "memory-backend-ram,id=mem1,size=1G",
    "-numa",
    "node,nodeid=0,memdev=mem0,cpus=0-2",
    "-numa",
    "node,nodeid=1,memdev=mem1,cpus=3-4",
    "-numa",
    "dist,src=0,dst=1,val=21",
];

fn node(name: &str, line: &str) -> LwkNode {
    let words: Vec<String> = NODES.iter().map(|word| (*word).to_owned()).collect();
    LwkNode::start_with(name, LWKCTL, Shape { cpus: 5, memory: 2048, line }, &words)
}

fn numa() -> PathBuf {
    program(FOLDER, "numa.c", Link::Static, &[])
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn done(node: &LwkNode, program: &Path, words: &[&str]) -> String {
    let output = node.run(program, words, b"");
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output)
}

fn tool(node: &LwkNode, words: &[&str]) -> String {
    let output = node.tool("ihkosctl").args(words).output().expect("the host's tools");
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output)
}

/// Bytes by NUMA node, from `BYTES@NODE,...`.
fn by_node(list: &str) -> Vec<(u64, u64)> {
    let parts = list.trim().split(',').map(|part| part.split_once('@').expect("bytes and a node"));
    parts.map(|(bytes, node)| (node.parse().unwrap(), bytes.parse().unwrap())).collect()
}

/// The figures of the last line of `numa bind` and `numa prefer`: MiB on each node.
fn last(said: &str) -> [u64; 2] {
    let line = said.lines().last().expect("a line");
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // "N MiB on node 0, M MiB on node 1": the comma keeps the 0 out.
    [numbers[0], numbers[1]]
}

#[test]
fn memory_lies_where_programs_want_it() {
    let node = node("lwk-numa", "");
    let cat = |file: &str| done(&node, Path::new("/bin/busybox"), &["cat", file]);
    let of = |file: &str| cat(&format!("/sys/devices/system/node/{file}"));
    assert_eq!(of("online"), "0-1\n");
    // Programs number their processors from 0.
    assert_eq!((of("node0/cpulist"), of("node1/cpulist")), ("0-1\n".into(), "2-3\n".into()));
    assert_eq!((of("node0/distance"), of("node1/distance")), ("10 21\n".into(), "21 10\n".into()));
    for number in 0..2 {
        let memory = of(&format!("node{number}/meminfo"));
        let total = memory.lines().next().and_then(|line| line.split_whitespace().nth(3)).expect("MemTotal");
        let total: u64 = total.parse().expect("a number");
        assert!((900 << 10..=1 << 20).contains(&total), "{memory}");
    }
    let memory = by_node(&tool(&node, &["0", "query", "mem"]));
    assert_eq!(memory.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [0, 1]);

    let lies = |kib: [u64; 2]| format!("{} KiB on node 0, {} KiB on node 1", kib[0], kib[1]);
    assert_eq!(
        done(&node, &numa(), &["touch", "4"]),
        format!(
            "cpu 1 of node 0: {here}\ncpu 2 of node 1: {there}\ncpu 3 of node 1: {there}\ncpu 0 of node 0: {here}\n",
            here = lies([4096, 0]),
            there = lies([0, 4096])
        )
    );
    let said = done(&node, &numa(), &["policies"]);
    let mut lines = said.lines();
    let mut next = || lines.next().unwrap_or_else(|| panic!("{said}"));
    assert_eq!(next(), "allowed: 3");
    assert_eq!(next(), format!("bind to 1: {}", lies([0, 8192])));
    let maps = next();
    assert!(maps.contains(" bind:1 ") && maps.contains(" N1=4 ") && !maps.contains(" N0="), "{maps}");
    assert_eq!(next(), format!("interleave: {}", lies([8192, 8192])));
    assert_eq!(next(), format!("preferred 1: {}", lies([0, 4096])));
    assert_eq!(next(), format!("preferred 1, small: {}", lies([0, 20])));
    assert_eq!(next(), format!("preferred 0: {}", lies([4096, 0])));
    assert_eq!(next(), format!("default: {}", lies([2048, 0])));
    assert_eq!(next(), "bind to 2: Invalid argument");
    assert_eq!(next(), "moved: 1, 0 to 1, 7");

    // The launcher's wish is the policy of the process.
    let output = keelson_tests::lwk::output(node.mcexec(&["-m", "1"], &numa(), &["touch", "1"]), b"");
    assert_eq!(text(&output), format!("cpu 0 of node 0: {}\n", lies([0, 4096])));
    let refused = keelson_tests::lwk::output(node.mcexec(&["-m", "2"], &numa(), &["touch", "1"]), b"");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no such NUMA node"), "{refused:?}");

    // More than a node has: from the next one where that is allowed.
    let [first, second] = last(&done(&node, &numa(), &["prefer", "1152"]));
    assert!(first > 64 && second > 900 && first + second == 1152, "{first} {second}");
}

#[test]
fn programs_get_what_the_command_line_says() {
    let node = node("lwk-numa-share", "mem=512M@0,128M@1,64M@1");
    assert_eq!(tool(&node, &["0", "query", "mem"]), "536870912@0,201326592@1\n");
    // A process that is gone leaves nothing behind but a few pages of its file.
    let used = |node: &LwkNode| (192 << 20) - by_node(&tool(node, &["0", "query_free_mem"]))[1].1;
    assert_eq!(used(&node), 0);

    let demanded = |mib| done(&node, &numa(), &["demand", mib]);
    assert_eq!(demanded("128"), "huge: 0 KiB on node 0, 131072 KiB on node 1\n");
    assert_eq!(demanded("256"), "huge: Cannot allocate memory\n");
    let ended = node.run(&numa(), &["bind", "256"], b"");
    assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
    let [first, second] = last(&text(&ended));
    assert!(first == 0 && (128..=192).contains(&second), "{ended:?}");
    let [first, second] = last(&done(&node, &numa(), &["prefer", "256"]));
    assert!((188..=192).contains(&second) && first + second == 256, "{first} {second}");
    assert!(used(&node) < 4 << 20, "{}", used(&node));

    let rusage = tool(&node, &["0", "rusage"]);
    let figure = |name: &str| -> u64 {
        let line =
            rusage.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {rusage}"));
        line.split_whitespace().last().and_then(|number| number.parse().ok()).expect("a number")
    };
    assert_eq!((figure("memory_total"), figure("memory_numa_stat[1]")), (704 << 20, used(&node)));
}
