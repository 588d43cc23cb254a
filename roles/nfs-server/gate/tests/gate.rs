//! The short form, in processes of its own; the full one with `KEELSON_SOAK` and `--include-ignored`. That a seed is
//! replayed exactly.

use keelson_ext4_gate::command::long_form;
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfs-gate"));
    command.args(words).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a check; its output is shown when it fails.
fn gate(words: &[&str]) {
    let output = run(words);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "nfs-gate {words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn simulation() {
    gate(&["simulation", "--jobs", "2"]);
}

#[test]
#[ignore = "long: make soak"]
fn simulation_in_full() {
    if let Some(words) = long_form() {
        let words: Vec<&str> = ["simulation"].into_iter().chain(words.iter().map(String::as_str)).collect();
        gate(&words);
    }
}

#[test]
fn a_seed_is_replayed_exactly() {
    for seed in ["1", "5", "16"] {
        let words = ["simulation", "--seed", seed, "--verbose"];
        let (once, again) = (run(&words), run(&words));
        assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stdout));
        assert!(once.stderr.len() > 10_000, "a history of {} bytes", once.stderr.len());
        // Line by line, so that a failure can be read.
        let lines = |output: &Output| -> Vec<String> {
            String::from_utf8_lossy(&output.stderr).lines().map(String::from).collect()
        };
        for (one, two) in lines(&once).iter().zip(&lines(&again)) {
            assert_eq!(one, two, "seed {seed}");
        }
        assert_eq!((once.stdout, once.stderr.len()), (again.stdout, again.stderr.len()));
    }
}
