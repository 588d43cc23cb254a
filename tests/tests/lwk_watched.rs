//! mcexec's --profile and --trace: what a program's calls were, and what they took.

use keelson_tests::lwk::{Link, LwkNode, Shape, output, program};
use std::fs;
use std::path::Path;

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// Runs the program with these options; what it and mcexec said on standard error.
fn watched(node: &LwkNode, options: &[&str], program: &Path) -> String {
    let file = node.dir().join("seen");
    let ended = output(node.mcexec(options, program, &[file.to_str().unwrap()]), b"");
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(0), &b"done\n"[..]), "{options:?}: {errors}");
    errors
}

/// The columns of a call in a table of `--profile`, times left out: calls, errors, delegated.
fn row(table: &str, call: &str) -> Option<[u64; 3]> {
    let line = table.lines().find(|line| line.split_whitespace().last() == Some(call))?;
    let columns: Vec<&str> = line.split_whitespace().collect();
    Some([3, 4, 5].map(|index| columns[index].parse().unwrap()))
}

#[test]
fn calls_of_a_program_are_counted_and_shown() {
    let program = program(FOLDER, "watched.c", Link::Static, &["-pthread"]);
    let node = LwkNode::start("lwk-watched", LWKCTL, Shape { cpus: 4, ..Shape::default() });

    // A table for each process, the child's first as it ends first.
    let said = watched(&node, &["--profile"], &program);
    let tables: Vec<&str> = said.split("system calls of process ").skip(1).collect();
    let [child, parent] = tables[..] else { panic!("two tables: {said}") };
    assert_eq!(row(child, "getuid"), Some([1, 0, 0]), "{child}");
    assert_eq!(row(parent, "getpid"), Some([100, 0, 0]), "{parent}");
    assert_eq!(row(parent, "getppid"), Some([5, 0, 0]), "{parent}");
    assert_eq!(row(parent, "pwrite64"), Some([1, 0, 1]), "{parent}");
    assert_eq!(row(parent, "pread64"), Some([1, 0, 1]), "{parent}");
    let [opened, failed, delegated] = row(parent, "openat").expect("openat");
    assert!(opened >= 4 && failed == 3 && delegated == opened, "{parent}");
    assert_eq!(row(parent, "getuid"), None, "{parent}");
    let [calls, errors, _] = row(parent, "total").expect("a sum");
    assert!(calls > 110 && errors >= 3, "{parent}");

    let said = watched(&node, &["--profile=json"], &program);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[1].contains(r#"{"name":"getpid","number":39,"calls":100,"errors":0,"time":"#), "{said}");

    // Lines go to a file, those of the child too, and in the order of their ends.
    let trace = node.dir().join("trace");
    let said = watched(&node, &[&format!("--trace={}", trace.display())], &program);
    assert_eq!(said, "");
    let text = fs::read_to_string(&trace).unwrap();
    let find = |wanted: &[&str]| {
        let found = text.lines().position(|line| wanted.iter().all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("{wanted:?} in\n{text}"))
    };
    let written = find(&["] pwrite64(", ", \"seen\\n\", 5, 0) = 5 <", "> D 0."]);
    let read = find(&["] pread64(", ", \"seen\\n\", 64, 0) = 5 <", "> D 0."]);
    let refused = find(&[
        "] openat(AT_FDCWD, \"/there/is/no such file\", 0, ",
        ") = -1 ENOENT (No such file or directory) <",
        "> D 0.",
    ]);
    let local = find(&["] getuid() = ", "> L"]);
    let ended = find(&["] exit_group(7) = ? <", "> L"]);
    assert!(written < read && read < refused && refused < local && local < ended, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("] getpid() = ")).count(), 100, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("] getppid() = ")).count(), 5);
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains("] exit_group(0) = ? <") && last.ends_with("> L"), "{text}");

    // Without a file they are where the program's errors are, and both can be had.
    let said = watched(&node, &["--trace", "--profile"], &program);
    assert!(said.contains("] pwrite64(") && said.contains("system calls of process "), "{said}");
}
