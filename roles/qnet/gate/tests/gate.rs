//! The short form, in processes of its own; the full one with `KEELSON_SOAK=1` and `--include-ignored`. That a seed is
//! replayed exactly.

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qnet-gate"));
    command.args(words).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a check; its output is shown when it fails.
fn gate(words: &[&str]) {
    let output = run(words);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "qnet-gate {words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
}

/// `KEELSON_QNET_SEEDS=0..20000` runs others than the usual ones.
#[test]
fn simulation() {
    match std::env::var("KEELSON_QNET_SEEDS") {
        Ok(seeds) => gate(&["simulation", "--seeds", &seeds, "--jobs", "2"]),
        Err(_) => gate(&["simulation", "--jobs", "2"]),
    }
}

#[test]
fn defects() {
    gate(&["defects", "--jobs", "2"]);
}

#[test]
#[ignore = "long: make soak"]
fn everything_in_full() {
    if std::env::var_os("KEELSON_SOAK").is_some() {
        gate(&["all", "--full", "--jobs", "2"]);
    }
}

#[test]
fn a_seed_is_replayed_exactly() {
    for seed in ["1", "5", "16"] {
        let words = ["simulation", "--seed", seed, "--verbose"];
        let (once, again) = (run(&words), run(&words));
        assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stdout));
        assert!(once.stderr.len() > 5_000, "a history of {} bytes", once.stderr.len());
        assert_eq!((once.stdout, once.stderr), (again.stdout, again.stderr), "seed {seed}");
    }
}
