//! What POSIX says of files, directories and permissions (`guest/posix`), asked by a Linux client over NFS version 3: the
//! appliance answers as Linux's own server does but for what is in [`differences`].
//!
//! Linux's answers are in `linux.txt`; the `reference_` test asks Linux again (`make soak` runs it).

mod differences;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use keelson_qemu::{Bench, LinuxGuest, LinuxSpec};
use keelson_tests::guest::program;
use keelson_tests::server::{ADDRESS, Maker, Server};

/// For what takes a minute on a quiet host.
const LONG: Duration = Duration::from_secs(600);
const RECORDED: &str = include_str!("linux.txt");

#[test]
fn the_appliance_answers_as_linux_does() {
    let said = ask(Maker::Appliance);
    let (ours, theirs) = (answers(&said), answers(RECORDED));
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

#[test]
#[ignore = "the reference: what Linux's server says"]
fn reference_linux_answers_as_recorded() {
    let said = ask(Maker::Linux);
    if said != RECORDED {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linux.txt");
        fs::write(&file, said).unwrap();
        panic!("Linux answers otherwise than linux.txt says: {}", file.display());
    }
}

/// Asks everything of a server: a line for each question with its answer.
fn ask(maker: Maker) -> String {
    let bench = Bench::new("nfs-posix");
    let lan = bench.lan("lan").unwrap();
    let spec = LinuxSpec::new("client").on(&lan, "10.0.0.2/24");
    let spec = spec.file(&program(env!("CARGO_TARGET_TMPDIR"), "posix"), "/usr/bin/posix");
    let (client, server): (LinuxGuest, Server) = thread::scope(|scope| {
        let client = scope.spawn(|| LinuxGuest::boot(&bench, spec).unwrap());
        let server = Server::start(maker, &bench, &lan);
        (client.join().unwrap(), server)
    });
    let start = Instant::now();
    let script = format!(
        "mount -t nfs -o vers=3,proto=tcp,nolock {ADDRESS}:/ /mnt && mkdir -m 777 /mnt/posix && \
         posix /mnt/posix && rmdir /mnt/posix && umount /mnt"
    );
    let said = client.ok(&script, LONG).unwrap();
    eprintln!("{:6.1} s  {} answers", start.elapsed().as_secs_f64(), said.lines().count());
    server.finish();
    said
}

fn answers(said: &str) -> BTreeMap<&str, &str> {
    let lines = said.lines().map(|line| line.split_once(": ").expect("a question and an answer"));
    let answers: BTreeMap<&str, &str> = lines.collect();
    assert_eq!(answers.len(), said.lines().count(), "no question is asked twice");
    answers
}
