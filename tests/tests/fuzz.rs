//! libFuzzer for some seconds on every fuzz target (`fuzz/`), from the kept corpus on.
//!
//! | variable | seconds for each target |
//! |---|---|
//! | none | 5 |
//! | `KEELSON_SOAK` | 300, or what it says if that is less and not 1 |
//! | `KEELSON_FUZZ_SECONDS` | what it says |
//!
//! The targets are built here as cargo-fuzz 0.13 builds them, so that nobody needs to install that: stable Rust with the
//! coverage that LLVM can add to any crate. What is found lies in `fuzz/artifacts/TARGET`, where cargo-fuzz leaves it
//! too; inputs that reach something new are kept in `tests/out/fuzz`, not in the corpus.

use keelson_tests::soak;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What cargo-fuzz passes: counters on every edge, a table of them, and sight of comparisons.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// The only one that the kernel is for; a target of its own keeps the flags away from build scripts.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Seconds for one input: none takes a tenth of it on a slow machine.
const LONGEST: u32 = 30;
/// Megabytes that a process may take: the longest runs end far below.
const MOST_MEMORY: u32 = 1500;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn seconds() -> u32 {
    let given = std::env::var("KEELSON_FUZZ_SECONDS").ok();
    match given {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("KEELSON_FUZZ_SECONDS={text} is no number")),
        None => soak::time().map_or(5, |time| time.as_secs().min(300) as u32),
    }
}

/// The directory of the programs, built once; or what is in the way.
fn programs() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref().unwrap_or_else(|problem| panic!("{problem}"))
}

fn build() -> Result<PathBuf, String> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        return Err(format!("{compiler} is missing, which libFuzzer is built with: apt-get install g++"));
    }
    let target = root().join("target/fuzz");
    let mut cargo = Command::new(env!("CARGO"));
    // The compiler beside it: what `rustc` means to rustup depends on the directory, and some crates have one of their own there.
    let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
    if compiler.exists() {
        cargo.env("RUSTC", compiler);
    }
    cargo.current_dir(root()).args(["build", "--quiet", "--package", "keelson-fuzz", "--bins"]);
    cargo.args(["--profile", "fuzz", "--target", TRIPLE, "--target-dir"]).arg(&target);
    cargo.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    match cargo.output() {
        Ok(Output { status, .. }) if status.success() => Ok(target.join(TRIPLE).join("fuzz")),
        Ok(output) => {
            Err(format!("the fuzz targets do not build: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) => Err(format!("{cargo:?}: {error}")),
    }
}

/// What libFuzzer said.
struct Run {
    output: String,
}

impl Run {
    /// The number behind the last `key`.
    fn last(&self, key: &str) -> Option<u64> {
        number(self.output.rsplit_once(key)?.1)
    }

    /// The number behind the first `key`.
    fn first(&self, key: &str) -> Option<u64> {
        number(self.output.split_once(key)?.1)
    }

    /// The end, which names what was found.
    fn end(&self) -> String {
        let lines: Vec<_> = self.output.lines().rev().filter(|line| !line.contains("NEW")).take(60).collect();
        lines.into_iter().rev().fold(String::new(), |mut text, line| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
            text
        })
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = text.trim_start();
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn fuzz(target: &str) {
    let program = programs().join(target);
    let corpus = root().join("fuzz/corpus").join(target);
    let artifacts = root().join("fuzz/artifacts").join(target);
    let new = root().join("tests/out/fuzz").join(target);
    for directory in [&artifacts, &new] {
        std::fs::create_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    }
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={}", seconds())).arg(format!("-timeout={LONGEST}"));
    command.arg(format!("-rss_limit_mb={MOST_MEMORY}")).arg("-print_final_stats=1");
    command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(&new).arg(&corpus);
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let run = Run { output: String::from_utf8_lossy(&output.stderr).into_owned() };
    assert!(
        output.status.success(),
        "{target} found something: {}\nkeep the input that is named above: \
         cp fuzz/artifacts/{target}/crash-... fuzz/corpus/{target}/found-...\n\
         do it again: cargo run -p keelson-fuzz --bin {target} FILE",
        run.end()
    );
    let runs = run.last("stat::number_of_executed_units:").unwrap_or_default();
    let (before, after) = (run.first("cov: ").unwrap_or_default(), run.last("cov: ").unwrap_or_default());
    println!("{target}: {runs} inputs in {} s, coverage {before} to {after}", seconds());
    let kept = std::fs::read_dir(&corpus).map(Iterator::count).unwrap_or_default() as u64;
    assert!(before > 50, "{target} is not instrumented: {}", run.end());
    assert!(runs > kept && kept > 0, "{target} ran no more than its corpus: {}", run.end());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*

        #[test]
        fn no_target_is_left_out() {
            let files = std::fs::read_dir(root().join("fuzz/fuzz_targets")).expect("the targets");
            let stem = |path: PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let found: BTreeSet<_> = files.map(|file| stem(file.expect("a target").path())).collect();
            assert_eq!(found, [$(stringify!($name)),*].map(String::from).into());
        }
    };
}

targets! { rpc xdr nfs3 mount nlm nsm rquota rpcbind exports ext4 cmdline lnet qnet_wire qnet_l4 qnet_kif qnet_io qnet_names qnet_options qnet_sh qnet_procs lwk_dump sntp syslog http ssh }
