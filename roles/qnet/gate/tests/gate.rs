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
    assert!(
        output.status.success(),
        "qnet-gate {words:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `KEELSON_QNET_SEEDS=0..20000` runs others than the usual ones.
#[test]
fn simulation() {
    match std::env::var("KEELSON_QNET_SEEDS") {
        Ok(seeds) => gate(&["simulation", "--seeds", &seeds, "--jobs", "2"]),
        Err(_) => gate(&["simulation", "--jobs", "2"]),
    }
}

macro_rules! scenarios {
    ($($name:ident $check:literal)*) => {
        $(#[test]
        fn $name() {
            gate(&[$check, "--jobs", "2"]);
        })*

        #[test]
        fn no_check_is_left_out() {
            let known = keelson_qnet_gate::list::CHECKS.iter().map(|check| check.name);
            let here = ["simulation", $($check),*];
            assert_eq!(known.collect::<Vec<_>>(), here);
        }
    };
}

scenarios! {
    defects "defects"
    r1_loss "r1"
    r2_duplication "r2"
    r3_reordering "r3"
    r4_no_acks "r4"
    r5_lost_handshake "r5"
    r6_damage "r6"
    r7_death_during_a_read "r7"
    r8_death_when_idle "r8"
    r9_reboot "r9"
    claimed_names "claims"
    r11_killed_clients "r11"
    r12_interrupted_clients "r12"
    r18_unmounted_interfaces "r18"
    r20_the_other_byte_order "r20"
    r22_many_clients "r22"
    r24_flush "r24"
    blocked_clients "blocked"
    one_way "one-way"
    steady "steady"
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
