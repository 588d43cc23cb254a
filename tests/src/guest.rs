//! Programs for Linux guests, compiled from `tests/guest/` when a test needs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{fs, process};

/// Compiles a program (`guest/NAME.rs` or `guest/NAME/main.rs`: one source tree, no crates) so that it runs in any Linux
/// guest, and returns where it is. `folder` is for the result: `CARGO_TARGET_TMPDIR` of the test.
///
/// # Panics
///
/// When it does not compile.
pub fn program(folder: &str, name: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);
    let mut compiled = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let program = Path::new(folder).join(name);
    if compiled.contains(&program) {
        return program;
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let source = [sources.join(name).join("main.rs"), sources.join(format!("{name}.rs"))];
    let source = source.iter().find(|source| source.exists()).expect("the source of a guest's program");
    // Other test processes may use the one that is there.
    let fresh = program.with_extension(process::id().to_string());
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--edition",
        "2024",
        "-O",
        "-Dwarnings",
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
        "-o",
    ]);
    let status = rustc.arg(&fresh).arg(source).status().expect("rustc");
    assert!(status.success(), "{} does not compile", source.display());
    fs::rename(&fresh, &program).expect("replace the program");
    compiled.push(program.clone());
    program
}
