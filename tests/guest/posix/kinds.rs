//! What every call does with every kind of object.

use super::calls::{CALLS, REMOVALS};
use super::{USER, as_user, attributes, file, folder, remove, say, sys};

const KINDS: [(&str, fn(&str)); 9] = [
    ("a file", |path| file(path, 0o644, USER)),
    ("an empty folder", |path| folder(path, 0o755, USER)),
    ("a folder with something in it", |path| {
        folder(path, 0o755, USER);
        file(&format!("{path}/inside"), 0o644, USER);
    }),
    ("a link to a file", |path| {
        sys::symlink("aim", path);
    }),
    ("a link to a folder", |path| {
        sys::symlink("aim-folder", path);
    }),
    ("a FIFO", |path| {
        sys::mknod(path, sys::S_IFIFO);
    }),
    ("a device", |path| {
        sys::mknod(path, sys::S_IFCHR);
    }),
    ("a socket", |path| {
        sys::mknod(path, sys::S_IFSOCK);
    }),
    ("a file that may not be read", |path| file(path, 0o000, USER)),
];

/// Calls that change nothing.
const READERS: [&str; 6] = ["stat", "lstat", "access", "readlink", "open O_DIRECTORY", "open O_NOFOLLOW"];

pub fn ask() {
    sys::chmod(".", 0o777);
    for (what, make) in KINDS {
        let mut changed = true;
        for (name, call) in CALLS.iter().chain(&REMOVALS) {
            for user in [false, true] {
                if changed {
                    ["object", "spare", "fresh", "aim", "aim-folder"].into_iter().for_each(remove);
                    make("object");
                    file("spare", 0o644, USER);
                    file("aim", 0o644, USER);
                    folder("aim-folder", 0o755, USER);
                }
                let answer = if user { as_user(USER, || call("object")) } else { call("object") };
                // What fails changes nothing, nor do the first calls; if they did, later answers would be others.
                changed = answer.0 == 0 && !name.starts_with("open for") && !READERS.contains(name);
                let who = if user { "a user" } else { "root" };
                let after = attributes("object");
                say(format_args!("kinds, {name}, {what}, {who}"), format_args!("{answer}, then {after}"));
            }
        }
    }
}
