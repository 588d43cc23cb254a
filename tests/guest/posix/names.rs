//! Renames and links between all kinds, link counts, and limits.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{USER, file, folder, remove, say, sys};

const KINDS: [(&str, fn(&str)); 6] = [
    ("nothing", |_| ()),
    ("a file", |path| file(path, 0o644, USER)),
    ("an empty folder", |path| folder(path, 0o755, USER)),
    ("a full folder", |path| {
        folder(path, 0o755, USER);
        file(&format!("{path}/inside"), 0o644, USER);
    }),
    ("a link", |path| {
        sys::symlink("nowhere", path);
    }),
    ("a FIFO", |path| {
        sys::mknod(path, sys::S_IFIFO);
    }),
];

pub fn ask() {
    for (what, make) in KINDS {
        for (onto, make_target) in KINDS {
            for (name, call) in [("rename", sys::rename as fn(&str, &str) -> sys::Errno), ("link", sys::link)]
            {
                folder("from", 0o755, USER);
                folder("to", 0o755, USER);
                make("from/one");
                make_target("to/other");
                let answer = call("from/one", "to/other");
                let counts = [links("from"), links("to"), links("from/one"), links("to/other")];
                say(
                    format_args!("names, {name} of {what} onto {onto}"),
                    format_args!("{answer}, links {counts:?}"),
                );
                remove("from");
                remove("to");
            }
        }
    }
    within_itself();
    lengths();
}

/// 0: there is none.
fn links(path: &str) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.nlink())
}

fn within_itself() {
    folder("a", 0o755, USER);
    folder("a/b", 0o755, USER);
    folder("a/b/c", 0o755, USER);
    file("a/file", 0o644, USER);
    for (old, new) in [
        ("a", "a/b"),
        ("a", "a/b/new"),
        ("a", "a"),
        ("a/b", "a/b/c"),
        ("a/b/c", "a/b"),
        ("a/b/c", "a"),
        ("a/file", "a/file"),
        ("a/file", "a"),
        ("a/.", "x"),
        ("a/..", "x"),
        ("a", "a/."),
        ("a", "a/.."),
        ("a/b", "."),
        (".", "x"),
    ] {
        say(format_args!("names, rename of {old} to {new}"), sys::rename(old, new));
        let there = ["a", "a/b", "a/b/c", "a/file"].map(links);
        say(format_args!("names, links after rename of {old} to {new}"), format_args!("{there:?}"));
    }
    say("names, link of a file to itself", sys::link("a/file", "a/file"));
    say("names, a second name", sys::link("a/file", "second"));
    say("names, rename between two names", sys::rename("second", "a/file"));
    say("names, both are there", format_args!("{:?}", [links("second"), links("a/file")]));
    say("names, link of a folder", sys::link("a", "second-folder"));
    say("names, rmdir of a/b", sys::rmdir("a/b"));
    say("names, rmdir of a/b/c/.", sys::rmdir("a/b/c/."));
    say("names, rmdir of a/b/c/..", sys::rmdir("a/b/c/.."));
    say("names, rmdir of a file", sys::rmdir("a/file"));
    say("names, unlink of a folder", sys::unlink("a/b"));
    remove("a");
    remove("second");
}

fn lengths() {
    for length in [254, 255, 256] {
        let name = "l".repeat(length);
        say(
            format_args!("names, create with {length} bytes"),
            sys::open(&name, sys::O_WRONLY | sys::O_CREAT, 0o644),
        );
        say(format_args!("names, mkdir with {length} bytes"), sys::mkdir(&format!("{}d", &name[1..]), 0o755));
        remove(&name);
        remove(&format!("{}d", &name[1..]));
    }
    for length in [1, 59, 60, 255, 1023, 1024, 4094, 4095] {
        let made = sys::symlink(&"t".repeat(length), "link");
        let found = fs::read_link("link").map_or(0, |target| target.as_os_str().len());
        say(format_args!("names, symlink to {length} bytes"), format_args!("{made}, {found}"));
        remove("link");
    }
    say("names, symlink to nothing", sys::symlink("", "link"));
    say("names, truncate to less than nothing", {
        file("file", 0o644, USER);
        sys::truncate("file", -1)
    });
    for shift in [31, 32, 40, 43, 44, 45, 62] {
        let answer = sys::truncate("file", (1 << shift) + 1);
        let length = fs::metadata("file").map_or(0, |meta| meta.len());
        say(format_args!("names, truncate beyond 2^{shift}"), format_args!("{answer}, {length}"));
        sys::truncate("file", 0);
    }
    // A chain of links is followed for so long, and not for longer.
    for i in 0..45 {
        sys::symlink(
            if i == 0 { "file".into() } else { format!("chain{}", i - 1) }.as_str(),
            &format!("chain{i}"),
        );
    }
    for i in [0, 20, 38, 39, 40, 41, 44] {
        say(
            format_args!("names, chain of {} links", i + 1),
            sys::open(&format!("chain{i}"), sys::O_RDONLY, 0),
        );
    }
}
