//! Paths that lead nowhere, and how every call says so.

use super::calls::{CALLS, REMOVALS};
use super::{USER, as_user, file, folder, remove, say, sys};

pub fn ask() {
    let (longest, too_long) = ("n".repeat(255), "n".repeat(256));
    let deep = |length: usize| "./".repeat((length - 1) / 2) + if length % 2 == 1 { "a" } else { "ab" };
    let paths = [
        ("nothing", String::new()),
        ("below a file", "plain/x".into()),
        ("below nothing", "missing/x".into()),
        ("what is not there", "missing".into()),
        ("a name of 255 bytes", longest),
        ("a name of 256 bytes", too_long.clone()),
        ("below a name of 256 bytes", format!("{too_long}/x")),
        ("a path of 4095 bytes", deep(4095)),
        ("a path of 4096 bytes", deep(4096)),
        ("a loop", "loop".into()),
        ("below a loop", "loop/x".into()),
        ("a link to nothing", "dangling".into()),
        ("below a link to nothing", "dangling/x".into()),
        ("a file and a slash", "plain/".into()),
        ("nothing and a slash", "missing/".into()),
        ("a folder and a slash", "folder/".into()),
        (".", ".".into()),
        ("folder/.", "folder/.".into()),
        ("folder/..", "folder/..".into()),
    ];
    // What fails changes nothing; if it did, later answers would be others.
    let mut changed = true;
    for (what, path) in &paths {
        for (name, call) in CALLS.iter().chain(&REMOVALS) {
            if changed {
                prepare();
            }
            let answer = call(path);
            changed = answer.0 == 0;
            say(format_args!("paths, {name}, {what}"), answer);
        }
    }
    prepare();
    folder("closed", 0o666, USER);
    file("closed/x", 0o666, USER);
    for (name, call) in CALLS.iter().chain(&REMOVALS) {
        say(
            format_args!("paths, {name}, in a folder that may not be searched"),
            as_user(USER, || call("closed/x")),
        );
    }
    sys::chmod("closed", 0o755);
}

/// Everything the paths name, and nothing else.
fn prepare() {
    for entry in std::fs::read_dir(".").expect("the folder").flatten() {
        remove(entry.path().to_str().expect("a name of ours"));
    }
    file("plain", 0o644, USER);
    file("spare", 0o644, USER);
    folder("folder", 0o755, USER);
    sys::symlink("loop", "loop");
    sys::symlink("nowhere", "dangling");
    sys::chmod(".", 0o777);
}
