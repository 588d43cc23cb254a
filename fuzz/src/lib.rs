//! Fuzz targets: hostile bytes for everything that parses what others send, what an administrator writes, or what lies
//! on a disk.
//!
//! Principles:
//!
//! 1. **An input is a story.** Where there is state it is a sequence of calls, with valid handles among them, so that
//!    more than the first check is reached. What an input does depends on nothing else: time, randomness and peers are
//!    simulated.
//! 2. **Not crashing is not enough.** Each target says what must hold besides: replies decode, buffers are given back,
//!    strangers get nothing, what is printed parses again. Heap and turns are bounded.
//! 3. **What was found stays found.** `corpus/TARGET` holds real messages and every input that once failed;
//!    `cargo test` replays them without libFuzzer.
//!
//! ```text
//!  cargo test -p keelson-fuzz                    replay the corpus (stable Rust, no C++)
//!  make fuzz SECONDS_EACH=60                     let libFuzzer look for more
//!  cargo fuzz run -s none nfs3                   the same for one target, where cargo-fuzz is installed
//!  cargo run -p keelson-fuzz --bin nfs3 FILE     do again what an input does
//!  cargo run -p keelson-fuzz --example seeds     write the corpus of real messages anew
//! ```
//!
//! Not here: sanitizers (they need unstable Rust, and the code under test is safe Rust), the network stack's packets
//! (`net/tests` and `tests/tests/bad_frames.rs` have those).

#![forbid(unsafe_code)]

pub mod input;
mod machine;
mod peer;
mod results;
mod service;
pub mod targets;
mod world;

use keelson_ext4_gate::heap;
use std::path::{Path, PathBuf};

/// Heap that one input may take, in bytes: what a server takes by itself, its buffers, and some.
const MOST_HEAP: usize = 256 << 20;

/// What a target does with an input. It panics when something does not hold.
pub type Target = fn(&[u8]);

/// All targets by name. A target has a file in `fuzz_targets` and a directory in `corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("rpc", targets::rpc),
    ("xdr", targets::xdr),
    ("nfs3", targets::nfs3),
    ("mount", targets::mount),
    ("nlm", targets::nlm),
    ("nsm", targets::nsm),
    ("rquota", targets::rquota),
    ("rpcbind", targets::rpcbind),
    ("exports", targets::exports),
    ("ext4", targets::ext4),
    ("cmdline", targets::cmdline),
    ("lnet", targets::lnet),
    ("qnet_wire", targets::qnet_wire),
    ("qnet_l4", targets::qnet_l4),
    ("qnet_kif", targets::qnet_kif),
    ("qnet_io", targets::qnet_io),
    ("qnet_names", targets::qnet_names),
    ("qnet_options", targets::qnet_options),
    ("qnet_sh", targets::qnet_sh),
    ("qnet_procs", targets::qnet_procs),
    ("lwk_dump", targets::lwk_dump),
    ("sntp", targets::sntp),
    ("syslog", targets::syslog),
    ("http", targets::http),
    ("ssh", targets::ssh),
];

/// Runs a target on an input, within bounds.
pub fn run(target: Target, input: &[u8]) {
    heap::limit_to(MOST_HEAP);
    target(input);
}

/// Where the kept inputs of a target are.
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// Runs a target on files, in the order given.
///
/// # Panics
///
/// When a file cannot be read, or an input shows a defect.
pub fn replay(target: Target, files: impl IntoIterator<Item = PathBuf>) {
    for file in files {
        let input = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        println!("{} ({} bytes)", file.display(), input.len());
        run(target, &input);
    }
}

/// The program of a target: libFuzzer's where that drives, else one that runs the files named as arguments.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::run($crate::targets::$name, input));

        #[cfg(not(fuzzing))]
        fn main() {
            $crate::replay($crate::targets::$name, std::env::args_os().skip(1).map(Into::into));
        }
    };
}
