//! The short form, in processes of its own; the full one with `KEELSON_SOAK` and `--include-ignored`. That a seed is
//! replayed exactly.

use keelson_ext4_gate::command::long_form;
use std::path::Path;
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
    if let Some(words) = long_form() {
        let words: Vec<&str> = ["all"].into_iter().chain(words.iter().map(String::as_str)).collect();
        gate(&words);
    }
}

/// Another implementation reads what the nodes send: Wireshark's dissector, in a sample of worlds and scenarios.
#[test]
fn frames_are_well_formed() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("qnet-gate-captures");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for (check, seeds) in [
        ("simulation", 0..8),
        ("claims", 0..4),
        ("r3", 0..1),
        ("r5", 0..2),
        ("r9", 0..1),
        ("r11", 0..2),
        ("r12", 0..1),
        ("r24", 0..1),
    ] {
        for seed in seeds {
            let mut command = Command::new(env!("CARGO_BIN_EXE_qnet-gate"));
            command.args([check, "--seed", &seed.to_string()]).env("KEELSON_QNET_CAPTURE", &directory);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{check} {seed}: {}", String::from_utf8_lossy(&output.stdout));
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                kinds.extend(dissected(&path));
                // They are large.
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
    // TCS_INIT, REM_UP, UP, DOWN, REM_DOWN, USER, ACK, NACK, LRES.
    let all = ["0x01", "0x02", "0x03", "0x04", "0x05", "0x08", "0x09", "0x0a", "0x0b"];
    assert!(kinds.iter().eq(all.iter()), "{kinds:?}");
}

/// Types of the frames of a capture, in which tshark must find nothing wrong.
fn dissected(pcap: &Path) -> std::collections::BTreeSet<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(pcap).args(["-n", "-o", "lwl4.check_crc:FALSE", "-T", "fields"]);
    command.args(["-e", "qnet6.l4.type", "-e", "_ws.malformed", "-e", "_ws.col.Info"]);
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "tshark cannot be run ({error}); install it with: apt-get install --no-install-recommends tshark"
        )
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark on {}: {errors}", pcap.display());
    let mut kinds = std::collections::BTreeSet::new();
    for (number, line) in String::from_utf8_lossy(&output.stdout).lines().enumerate() {
        let mut fields = line.split('\t');
        let (kind, malformed) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        assert!(
            !kind.is_empty() && malformed.is_empty(),
            "frame {} of {}: {line}",
            number + 1,
            pcap.display()
        );
        kinds.insert(kind.to_string());
    }
    kinds
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
