//! What POSIX says of files, directories and permissions, as one line for each question: `SUBJECT: ANSWER`. Two servers
//! are alike when all lines are. Compiled statically by the tests (`rustc`, no crates) and put into the guest.
//!
//! `posix FOLDER`: asks everything in a new folder below this one, as root and as users 1000 to 1002.

mod access;
mod calls;
mod kinds;
mod modes;
mod names;
mod paths;
mod sys;
mod times;

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Somebody with a group of its own and one that others have, too.
pub const USER: (u32, &[u32]) = (1000, &[1000, 77]);
/// Somebody else.
pub const OTHER: (u32, &[u32]) = (1001, &[1001]);
/// The owner of folders that neither of them owns.
pub const THIRD: (u32, &[u32]) = (1002, &[1002]);

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    sys::umask(0);
    let groups: [(&str, fn()); 6] = [
        ("paths", paths::ask),
        ("kinds", kinds::ask),
        ("access", access::ask),
        ("modes", modes::ask),
        ("names", names::ask),
        ("times", times::ask),
    ];
    for (name, ask) in groups {
        let place = format!("{folder}/{name}");
        fs::create_dir(&place).expect("a new folder");
        std::env::set_current_dir(&place).expect("the new folder");
        ask();
        std::env::set_current_dir("/").expect("the root");
        fs::remove_dir_all(&place).expect("remove the folder");
    }
}

/// Prints an answer.
pub fn say(subject: impl Display, answer: impl Display) {
    println!("{subject}: {answer}");
}

/// Asks as somebody else.
pub fn as_user<R>((uid, groups): (u32, &[u32]), ask: impl FnOnce() -> R) -> R {
    sys::become_user(uid, groups);
    let answer = ask();
    sys::become_user(0, &[0]);
    answer
}

/// Makes a file with these attributes.
pub fn file(path: &str, mode: u32, owner: (u32, &[u32])) {
    fs::write(path, "text").unwrap_or_else(|error| panic!("make {path}: {error}"));
    own(path, mode, owner);
}

/// Makes a folder with these attributes.
pub fn folder(path: &str, mode: u32, owner: (u32, &[u32])) {
    fs::create_dir(path).unwrap_or_else(|error| panic!("make {path}: {error}"));
    own(path, mode, owner);
}

fn own(path: &str, mode: u32, (uid, groups): (u32, &[u32])) {
    let owned = sys::chown(path, uid.into(), groups[0].into());
    let set = sys::chmod(path, mode);
    assert!(owned.0 == 0 && set.0 == 0, "own {path}: {owned}, {set}");
}

/// Removes whatever is there.
pub fn remove(path: &str) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).expect("remove a folder"),
        Ok(_) => fs::remove_file(path).expect("remove a file"),
        Err(_) => {}
    }
}

/// Mode, owner and group.
pub fn attributes(path: &str) -> String {
    match fs::symlink_metadata(path) {
        Ok(meta) => format!("{:o} {} {}", meta.mode(), meta.uid(), meta.gid()),
        Err(error) => format!("{}", sys::Errno(error.raw_os_error().unwrap_or(-1))),
    }
}
