//! Every kept input once more: real messages, and what once failed. No libFuzzer, no C++.

use keelson_fuzz::{TARGETS, corpus, replay};
use std::path::PathBuf;

/// The files of a target, sorted.
fn files(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn replay_corpus(name: &str) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("a target");
    let files = files(name);
    assert!(!files.is_empty(), "{name} has no corpus: cargo run -p keelson-fuzz --example seeds");
    replay(*target, files);
    // What libFuzzer begins with.
    target(&[]);
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay_corpus(stringify!($name));
        })*

        #[test]
        fn no_target_is_left_out() {
            let here = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), here);
            for name in here {
                let size: u64 = files(name).iter().map(|file| file.metadata().expect("metadata").len()).sum();
                assert!(files(name).len() <= 60 && size <= 100 << 10, "corpus of {name}: {size} bytes");
            }
        }
    };
}

targets! { rpc xdr nfs3 mount nlm nsm rquota rpcbind exports ext4 cmdline lnet qnet_wire qnet_l4 qnet_kif qnet_io qnet_names qnet_options qnet_sh qnet_procs lwk_dump sntp syslog http ssh }
