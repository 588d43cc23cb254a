//! The short forms, each in processes of their own; the full ones with `KEELSON_SOAK` and `--include-ignored`.

use keelson_ext4_gate::command::long_form;
use std::process::Command;

/// Runs a check; its output is shown when it fails.
fn gate(words: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gate"));
    let output = command.args(words).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "gate {words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The long form of a check, if it is asked for.
fn in_full(check: &str) {
    if let Some(words) = long_form() {
        let words: Vec<&str> = [check].into_iter().chain(words.iter().map(String::as_str)).collect();
        gate(&words);
    }
}

/// A short and a full test for each check.
macro_rules! checks {
    ($($name:ident)*) => {
        mod short {
            $(#[test]
            fn $name() {
                super::gate(&[stringify!($name)]);
            })*
        }
        mod full {
            $(#[test]
            #[ignore = "long: make soak"]
            fn $name() {
                super::in_full(stringify!($name));
            })*
        }
    };
}

checks! { harness runs cuts simulation space names faults variants refused journals orphans fuzz }

#[test]
#[ignore = "long: make soak"]
fn speed() {
    if std::env::var_os("KEELSON_SOAK").is_some() {
        gate(&["speed"]);
        gate(&["growth"]);
    }
}
