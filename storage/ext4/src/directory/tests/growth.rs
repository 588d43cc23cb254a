//! Names come and go: against a model, judged by e2fsck.

use super::*;
use crate::directory::VolumeError as Error;
use crate::layout::inode::INDEXED;

const VARIANTS: &[(&str, &[&str])] = &[
    ("1 KiB", &["-b", "1024"]),
    ("4 KiB", &["-b", "4096"]),
    ("1 KiB without checksums", &["-b", "1024", "-O", "^metadata_csum"]),
    ("2 KiB, TEA", &["-b", "2048", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef"]),
    ("1 KiB without index", &["-b", "1024", "-O", "^dir_index"]),
    ("1 KiB without types", &["-b", "1024", "-O", "^filetype"]),
];

#[test]
fn one_block_becomes_a_tree() {
    let mut fixture = Fixture::new(8, &["-b", "1024"]);
    fixture.compare();
    let mut number = 0;
    while fixture.inode().flags & INDEXED == 0 {
        fixture.insert(&name(number));
        number += 1;
        fixture.compare();
        fixture.check();
    }
    assert_eq!(fixture.inode().size, 3 * 1024, "the root and two halves");
    while !fixture.model.is_empty() {
        let first = fixture.model.keys().next().expect("not empty").clone();
        fixture.remove(&first);
    }
    fixture.compare();
    fixture.check();
    assert_eq!(fixture.inode().size, 3 * 1024, "blocks stay");
}

#[test]
fn random_changes_agree_with_a_model() {
    for (variant, arguments) in VARIANTS {
        let mut fixture = Fixture::new(16, arguments);
        if variant.contains("types") {
            fixture.run_random(300, 0);
            continue;
        }
        fixture.run_random(3000, FILE);
    }
}

impl Fixture {
    fn run_random(&mut self, steps: usize, file_type: u8) {
        for step in 0..steps {
            let number = self.below(steps / 3);
            let name = name(number);
            match (self.model.contains_key(&name), self.below(3)) {
                (false, _) => self.insert(&name),
                (true, 0) => self.replace(&name),
                (true, _) if file_type == FILE => self.remove(&name),
                (true, _) => {}
            }
            if step % (steps / 3) == steps / 3 - 1 {
                self.compare();
                self.check();
                self.reopen();
            }
        }
        self.compare();
    }
}

#[test]
fn wide_and_deep_trees() {
    // 123 entries in the root, 126 in each index block below: with long names about three to a block.
    let mut fixture = Fixture::new(48, &["-b", "1024"]);
    let long = |number: usize| {
        let mut name = format!("{number:08}").into_bytes();
        name.resize(200, b'n');
        name
    };
    for number in 0..9000 {
        fixture.insert(&long(number));
    }
    fixture.compare();
    fixture.check();
    for number in (0..9000).step_by(2) {
        fixture.remove(&long(number));
    }
    for number in 0..2000 {
        fixture.insert(format!("short {number}").as_bytes());
    }
    fixture.compare();
    fixture.check();
}

#[test]
fn twenty_thousand_names() {
    let mut fixture = Fixture::new(32, &["-b", "4096"]);
    for number in 0..20_000 {
        fixture.insert(format!("file-{number}").as_bytes());
    }
    fixture.compare();
    fixture.check();
    assert!(fixture.inode().size < 20_000 * 40, "blocks are used well");
}

#[test]
#[ignore = "long"]
fn two_hundred_thousand_names() {
    let mut fixture = Fixture::new(64, &["-b", "1024"]);
    for number in 0..200_000 {
        fixture.insert(format!("file-{number}").as_bytes());
    }
    fixture.compare();
    fixture.check();
}

#[test]
fn a_tree_has_an_end() {
    // Two levels of 1 KiB blocks, all long names: the root fills up before the filesystem does.
    let mut fixture = Fixture::new(48, &["-b", "1024", "-N", "64"]);
    let mut error = None;
    for number in 0..60_000 {
        let mut name = format!("{number:08}").into_bytes();
        name.resize(255, b'n');
        if let Err(said) = fixture.try_insert(&name) {
            error = Some(said);
            break;
        }
    }
    assert_eq!(error, Some(Error::NoSpace));
    assert!(fixture.model.len() > 10_000, "{} names", fixture.model.len());
    assert!(fixture.bench.engine.allocator.available() > 1000, "the filesystem has room");
    fixture.compare();
    fixture.check();
}

#[test]
fn what_fails_leaves_no_trace() {
    let mut fixture = Fixture::new(8, &["-b", "1024"]);
    let dir = fixture.dir;
    for number in 0..400 {
        let file = fixture.files[0];
        let before = fixture.bench.engine.journal.running.count;
        let size = fixture.inode().size;
        // Several changes, then the end.
        let failed = fixture.bench.run(|engine| {
            for extra in 0..10 {
                insert(engine, dir, &name(10_000 + number * 10 + extra), file)?;
            }
            let mut inode = engine.inode(dir)?;
            engine.dir_remove(&mut inode, &name(10_000 + number * 10 + 3))?;
            Err::<(), _>(Halt::Fail(Error::Quota))
        });
        assert_eq!(failed, Err(Error::Quota));
        assert_eq!((fixture.bench.engine.journal.running.count, fixture.inode().size), (before, size));
        fixture.insert(&name(number));
        if number % 100 == 99 {
            fixture.compare();
            fixture.check();
        }
    }
}

#[test]
fn a_full_filesystem_refuses_and_stays_whole() {
    let mut fixture = Fixture::new(2, &["-b", "1024", "-m", "0", "-N", "32", "-O", "^has_journal"]);
    let mut refused = 0;
    for number in 0..20_000 {
        match fixture.try_insert(&name(number)) {
            Ok(()) => {}
            Err(Error::NoSpace) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if refused > 200 {
            break;
        }
    }
    assert!(refused > 200);
    fixture.compare();
    fixture.check();
    for name in fixture.model.keys().cloned().collect::<Vec<_>>() {
        fixture.remove(&name);
    }
    fixture.compare();
    fixture.check();
}

#[test]
fn names_that_cannot_be() {
    let mut fixture = Fixture::new(8, &["-b", "1024"]);
    let dir = fixture.dir;
    for name in [&b""[..], b".", b"..", &[b'x'; 256]] {
        let refused = fixture.bench.run(|engine| insert(engine, dir, name, 12));
        assert_eq!(refused, Err(Error::Invalid), "{name:?}");
    }
    assert_eq!(fixture.lookup(b""), None);
    assert_eq!(fixture.lookup(&[b'x'; 300]), None);
    assert_eq!(fixture.lookup(b".."), Some(ROOT));
    for name in [&b"."[..], b".."] {
        let refused = fixture.bench.run(|engine| {
            let mut inode = engine.inode(dir)?;
            engine.dir_remove(&mut inode, name)
        });
        assert_eq!(refused, Err(Error::Invalid));
    }
    let missing = fixture.bench.run(|engine| {
        let mut inode = engine.inode(dir)?;
        engine.dir_remove(&mut inode, b"missing")
    });
    assert_eq!(missing, Err(Error::NotFound));
}

#[test]
fn dot_dot_of_a_tree_can_be_replaced() {
    for count in [1, 300] {
        let mut fixture = Fixture::new(8, &["-b", "1024"]);
        for number in 0..count {
            fixture.insert(&name(number));
        }
        let dir = fixture.dir;
        for parent in [11, ROOT] {
            let replaced = fixture.bench.run(|engine| {
                let inode = engine.inode(dir)?;
                engine.dir_replace(&inode, b"..", parent, crate::directory::TYPE_DIRECTORY)
            });
            replaced.expect("replace");
            assert_eq!(fixture.lookup(b".."), Some(parent));
        }
        fixture.compare();
        fixture.check();
    }
}
