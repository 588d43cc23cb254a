//! What POSIX says of files, directories and permissions (`guest/posix`), asked by a Linux client over NFS version 3: the
//! appliance answers as Linux's own server does but for what is in [`differences`].
//!
//! Linux's answers are in `linux.txt`; the `reference_` test asks Linux again (`make soak` runs it).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::differences;

/// Asks everything: a line for each question with its answer.
pub const SCRIPT: &str = "mkdir -m 777 /mnt/posix && posix /mnt/posix && rmdir /mnt/posix";
const RECORDED: &str = include_str!("linux.txt");

/// What the appliance said.
pub fn compare(said: &str) {
    let (ours, theirs) = (answers(said), answers(RECORDED));
    assert!(ours.keys().eq(theirs.keys()), "all questions were asked of both");
    let mut found = vec![];
    for ((question, ours), theirs) in ours.iter().zip(theirs.values()) {
        if ours != theirs {
            found.push((*question, *ours, *theirs));
        }
    }
    let mut known = differences::known();
    known.sort_unstable();
    if found != known {
        found.iter().filter(|one| !known.contains(one)).for_each(|one| eprintln!("new: {one:?}"));
        known.iter().filter(|one| !found.contains(one)).for_each(|one| eprintln!("not found: {one:?}"));
        panic!("the differences are others than those known");
    }
}

/// What Linux said.
pub fn compare_with_record(said: &str) {
    if said != RECORDED {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linux.txt");
        fs::write(&file, said).unwrap();
        panic!("Linux answers otherwise than linux.txt says: {}", file.display());
    }
}

fn answers(said: &str) -> BTreeMap<&str, &str> {
    let lines = said.lines().map(|line| line.split_once(": ").expect("a question and an answer"));
    let answers: BTreeMap<&str, &str> = lines.collect();
    assert_eq!(answers.len(), said.lines().count(), "no question is asked twice");
    answers
}
