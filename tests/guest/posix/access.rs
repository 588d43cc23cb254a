//! Who may do what in whose folder: modes of folders, sticky folders, groups.

use super::{OTHER, THIRD, USER, as_user, file, folder, remove, say, sys};

type Somebody = (u32, &'static [u32]);

/// Mode and owner of the folder.
const FOLDERS: [(&str, u32, Somebody); 8] = [
    ("its own folder", 0o755, USER),
    ("its own folder without w", 0o555, USER),
    ("somebody's folder", 0o755, THIRD),
    ("everybody's folder", 0o777, THIRD),
    ("a folder of its group", 0o770, (1002, &[77])),
    ("a sticky folder", 0o1777, THIRD),
    ("its own sticky folder", 0o1777, USER),
    ("a sticky folder of its group", 0o1775, (1002, &[77])),
];

const OBJECTS: [(&str, Somebody); 2] = [("its own", USER), ("somebody's", OTHER)];

type Act = (&'static str, fn() -> sys::Errno);

const ACTS: [Act; 11] = [
    ("unlink", || sys::unlink("place/file")),
    ("rmdir", || sys::rmdir("place/folder")),
    ("rename in it", || sys::rename("place/file", "place/new")),
    ("rename of a folder in it", || sys::rename("place/folder", "place/new")),
    ("rename out of it", || sys::rename("place/file", "home/new")),
    ("rename of a folder out of it", || sys::rename("place/folder", "home/new")),
    ("rename over it", || sys::rename("home/mine", "place/file")),
    ("rename of a folder over it", || sys::rename("home/my-folder", "place/folder")),
    ("link in it", || sys::link("place/file", "place/new")),
    ("create", || sys::open("place/new", sys::O_WRONLY | sys::O_CREAT, 0o644)),
    ("mkdir", || sys::mkdir("place/new", 0o755)),
];

pub fn ask() {
    sys::chmod(".", 0o755);
    for (where_, mode, owner) in FOLDERS {
        for (whose, object_owner) in OBJECTS {
            for (name, act) in ACTS {
                remove("place");
                remove("home");
                folder("place", mode, owner);
                file("place/file", 0o644, object_owner);
                folder("place/folder", 0o755, object_owner);
                folder("home", 0o755, USER);
                file("home/mine", 0o644, USER);
                folder("home/my-folder", 0o755, USER);
                say(format_args!("access, {name}, {whose}, {where_}"), as_user(USER, act));
            }
        }
    }
    // Reading, writing and executing by owner, group and others.
    remove("place");
    folder("place", 0o755, USER);
    for mode in [0o000, 0o400, 0o200, 0o100, 0o040, 0o020, 0o004, 0o002, 0o077, 0o707, 0o770] {
        file("place/file", mode, USER);
        for (who, somebody) in [
            ("owner", USER),
            ("group", (1003, &[1000][..])),
            ("one more group", (1003, &[1, 1000][..])),
            ("others", OTHER),
        ] {
            let answers = as_user(somebody, || [sys::read("place/file"), sys::write("place/file", 0)]);
            say(
                format_args!("access, read and write, mode {mode:04o}, {who}"),
                format_args!("{}, {}", answers[0], answers[1]),
            );
        }
        sys::chmod("place", mode);
        for (who, somebody) in [("owner", USER), ("others", OTHER)] {
            let answers = as_user(somebody, || {
                [
                    sys::open("place", sys::O_RDONLY | sys::O_DIRECTORY, 0),
                    sys::open("place/file", sys::O_RDONLY, 0),
                    sys::mkdir("place/new", 0o755),
                ]
            });
            say(
                format_args!("access, list, search, create, mode {mode:04o}, {who}"),
                format_args!("{}, {}, {}", answers[0], answers[1], answers[2]),
            );
            sys::chmod("place", 0o755);
            remove("place/new");
            sys::chmod("place", mode);
        }
        sys::chmod("place", 0o755);
    }
}
