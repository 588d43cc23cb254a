//! Which times each call changes, and who may set them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::Duration;

use super::sys::{self, Errno, NOW, OMIT};
use super::{OTHER, USER, as_user, file, folder, remove, say};

/// Longer than the coarsest clock of a server that counts in jiffies.
const TICK: Duration = Duration::from_millis(30);

/// Access, modification and change.
fn times(path: &str) -> Option<[(i64, i64); 3]> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some([
        (meta.atime(), meta.atime_nsec()),
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    ])
}

/// Letters of the times that differ: `m`, `c`. Access times are up to the mount options of the server.
fn changed(path: &str, before: Option<[(i64, i64); 3]>) -> String {
    match (before, times(path)) {
        (Some(before), Some(after)) => {
            let letters = [(1, 'm'), (2, 'c')];
            letters.iter().filter(|&&(i, _)| before[i] != after[i]).map(|&(_, letter)| letter).collect()
        }
        (None, None) => "-".into(),
        (None, Some(_)) => "new".into(),
        (Some(_), None) => "gone".into(),
    }
}

pub fn ask() {
    changes();
    setting();
}

fn changes() {
    let acts: [(&str, fn() -> Errno); 27] = [
        ("chmod", || sys::chmod("p/file", 0o600)),
        ("chmod to the same", || sys::chmod("p/file", 0o644)),
        ("chown", || sys::chown("p/file", 1, 2)),
        ("chown of nothing", || sys::chown("p/file", -1, -1)),
        ("chmod that fails", || as_user(OTHER, || sys::chmod("p/file", 0o600))),
        ("write", || sys::write("p/file", 0)),
        ("read", || sys::read("p/file")),
        ("open", || sys::open("p/file", sys::O_RDWR, 0)),
        ("open O_TRUNC", || sys::open("p/file", sys::O_RDWR | sys::O_TRUNC, 0)),
        ("truncate shorter", || sys::truncate("p/file", 1)),
        ("truncate longer", || sys::truncate("p/file", 100)),
        ("truncate to the same", || sys::truncate("p/file", 4)),
        ("link", || sys::link("p/file", "q/link")),
        ("link that fails", || sys::link("p/file", "q/other")),
        ("unlink", || sys::unlink("p/file")),
        ("unlink of one of two", || sys::unlink("p/twin")),
        ("rename within", || sys::rename("p/file", "p/new")),
        ("rename to another", || sys::rename("p/file", "q/new")),
        ("rename over", || sys::rename("p/file", "q/other")),
        ("rename that fails", || sys::rename("p/file", "q/none/x")),
        ("create", || sys::open("p/new", sys::O_WRONLY | sys::O_CREAT, 0o644)),
        ("mkdir", || sys::mkdir("p/new", 0o755)),
        ("mkdir that fails", || sys::mkdir("p/file", 0o755)),
        ("rmdir", || sys::rmdir("p/folder")),
        ("symlink", || sys::symlink("x", "p/new")),
        ("mknod", || sys::mknod("p/new", sys::S_IFIFO)),
        ("rename of a folder", || sys::rename("p/folder", "q/folder")),
    ];
    for (name, act) in acts {
        folder("p", 0o777, USER);
        folder("q", 0o777, USER);
        folder("p/folder", 0o755, USER);
        file("p/file", 0o644, USER);
        file("q/other", 0o644, USER);
        file("p/twin", 0o644, USER);
        sys::link("p/twin", "q/twin");
        let watched = ["p", "q", "p/file", "p/folder", "q/twin"];
        sleep(TICK);
        let before = watched.map(times);
        let answer = act();
        let mut found = String::new();
        for (path, before) in watched.iter().zip(before) {
            found += &format!(", {path} {}", changed(path, before));
        }
        say(format_args!("times, {name}"), format_args!("{answer}{found}"));
        remove("p");
        remove("q");
    }
}

fn setting() {
    let (now, left, set) = ((0, NOW), (0, OMIT), (1_234_567_890, 123_456_789));
    let what = [
        ("both now", now, now),
        ("both set", set, set),
        ("mtime set", left, set),
        ("atime set", set, left),
        ("mtime now", left, now),
        ("neither", left, left),
        ("before 1970", (-5, 0), (-5, 500)),
        ("after 2038", (1 << 32, 1), ((1 << 33) + 7, 2)),
        ("wrong nanoseconds", (0, 1_000_000_000), (0, 0)),
    ];
    let people = [("root", (0, &[0][..])), ("the owner", USER), ("somebody", OTHER)];
    for (who, somebody) in people {
        for mode in [0o644, 0o666, 0o444] {
            for (name, accessed, modified) in what {
                file("file", mode, USER);
                let before = times("file");
                let answer = as_user(somebody, || sys::utimes("file", accessed, modified));
                let after = fs::metadata("file").expect("the file");
                let seconds = |time: i64, nanoseconds: i64, wanted: (i64, i64)| match wanted.1 {
                    NOW | OMIT => "-".to_string(),
                    _ => format!("{time}.{nanoseconds:09}"),
                };
                let kept = before.is_some_and(|before| before[1] == (after.mtime(), after.mtime_nsec()));
                let (a, m) = match answer.0 {
                    0 => (
                        seconds(after.atime(), after.atime_nsec(), accessed),
                        seconds(after.mtime(), after.mtime_nsec(), modified),
                    ),
                    _ => ("-".into(), if kept { "kept".into() } else { "changed".to_string() }),
                };
                say(format_args!("times, {name}, {mode:o}, by {who}"), format_args!("{answer}, {a}, {m}"));
                remove("file");
            }
        }
    }
    sys::symlink("nowhere", "link");
    say("times, of a link to nothing", sys::utimes("link", set, set));
    say("times, of the link itself", sys::link_times("link", 1_000_000_007));
    say("times, which it has", format_args!("{:?}", times("link").map(|times| times[1].0)));
}
