//! Modes, owners and groups: who may set them, what is inherited, and when set-user-ID and set-group-ID go.

use super::{OTHER, USER, as_user, attributes, file, folder, remove, say, sys};

/// A user that has nothing to do with the file.
const STRANGER: (u32, &[u32]) = (1009, &[1009]);

pub fn ask() {
    sys::chmod(".", 0o777);
    let people = [("root", (0, &[0][..])), ("the owner", USER), ("a stranger", STRANGER)];
    for (who, somebody) in people {
        for mode in [0o0, 0o777, 0o4755, 0o2755, 0o1755, 0o6711, 0o7777] {
            change("chmod", who, somebody, 0o644, mode);
            remove("folder");
            folder("folder", 0o755, USER);
            let answer = as_user(somebody, || sys::chmod("folder", mode));
            say(
                format_args!("modes, chmod {mode:o} of a folder by {who}"),
                format_args!("{answer}, {}", attributes("folder")),
            );
        }
        for (uid, gid) in [
            (-1, -1),
            (1000, -1),
            (1001, -1),
            (-1, 1000),
            (-1, 77),
            (-1, 1001),
            (1000, 77),
            (0, 0),
            (4_000_000_000, 4_000_000_001),
        ] {
            for mode in [0o644, 0o6755, 0o6745, 0o2644] {
                file("file", mode, USER);
                let answer = as_user(somebody, || sys::chown("file", uid, gid));
                say(
                    format_args!("modes, chown {uid}:{gid} of {mode:o} by {who}"),
                    format_args!("{answer}, {}", attributes("file")),
                );
                remove("file");
            }
            folder("set", 0o6755, USER);
            let answer = as_user(somebody, || sys::chown("set", uid, gid));
            say(
                format_args!("modes, chown {uid}:{gid} of a folder 6755 by {who}"),
                format_args!("{answer}, {}", attributes("set")),
            );
            remove("set");
        }
    }
    privileges_lost_by_writing();
    inherited();
}

fn change(what: &str, who: &str, somebody: (u32, &[u32]), from: u32, mode: u32) {
    for group in [1000, 77, 1001] {
        file("file", from, USER);
        sys::chown("file", 1000, group);
        let answer = as_user(somebody, || sys::chmod("file", mode));
        say(
            format_args!("modes, {what} {mode:o} of group {group} by {who}"),
            format_args!("{answer}, {}", attributes("file")),
        );
        remove("file");
    }
}

fn privileges_lost_by_writing() {
    for mode in [0o6777, 0o4777, 0o2777, 0o2767, 0o1777, 0o6666] {
        for (who, somebody) in [("root", (0, &[0][..])), ("the owner", USER), ("somebody", OTHER)] {
            let acts: [(&str, fn() -> sys::Errno); 6] = [
                ("write", || sys::write("file", 0)),
                ("append", || sys::write("file", sys::O_APPEND)),
                ("truncate", || sys::truncate("file", 1)),
                ("open O_TRUNC", || sys::open("file", sys::O_WRONLY | sys::O_TRUNC, 0)),
                ("link", || sys::link("file", "link")),
                ("utimensat", || sys::utimes("file", (0, sys::NOW), (0, sys::NOW))),
            ];
            for (name, act) in acts {
                remove("link");
                file("file", mode, USER);
                let answer = as_user(somebody, act);
                say(
                    format_args!("modes, {mode:o} after {name} by {who}"),
                    format_args!("{answer}, {}", attributes("file")),
                );
                remove("file");
            }
        }
    }
    remove("link");
}

fn inherited() {
    for mask in [0, 0o022, 0o077, 0o777] {
        for mode in [0o755, 0o2775] {
            for (who, somebody) in [("root", (0, &[0][..])), ("a user", USER)] {
                folder("parent", mode, USER);
                sys::chown("parent", 1000, 77);
                sys::chmod("parent", mode);
                sys::umask(mask);
                as_user(somebody, || {
                    sys::open("parent/file", sys::O_WRONLY | sys::O_CREAT, 0o6777);
                    sys::open("parent/exclusive", sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL, 0o2777);
                    sys::mkdir("parent/folder", 0o3777);
                    sys::mknod("parent/fifo", sys::S_IFIFO);
                    sys::symlink("x", "parent/link");
                });
                sys::umask(0);
                for name in ["file", "exclusive", "folder", "fifo", "link"] {
                    let new = attributes(&format!("parent/{name}"));
                    say(format_args!("modes, new {name} in {mode:o} with umask {mask:o} by {who}"), new);
                }
                remove("parent");
            }
        }
    }
}
