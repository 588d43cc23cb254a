//! Programs that the node runs, compiled with Debian's compilers from `tests/lwk/` when a test needs them, and what they do when
//! they run on the host.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::{fs, process, thread};

/// How a program is linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// At a fixed address, with everything in it.
    Static,
    /// The same at any address.
    StaticPie,
    /// As compilers do by themselves: position-independent, with the dynamic loader.
    Dynamic,
}

impl Link {
    /// All of them.
    pub const ALL: [Link; 3] = [Link::Static, Link::StaticPie, Link::Dynamic];

    fn words(self) -> &'static [&'static str] {
        match self {
            Link::Static => &["-static", "-no-pie"],
            Link::StaticPie => &["-static-pie"],
            Link::Dynamic => &[],
        }
    }
}

/// Compiles `tests/lwk/NAME` (`.c`, or `.cc` for C++) and returns where the program is. `folder` is for the result:
/// `CARGO_TARGET_TMPDIR` of the test. `words` are further arguments of the compiler.
///
/// # Panics
///
/// When it does not compile.
pub fn program(folder: &str, name: &str, link: Link, words: &[&str]) -> PathBuf {
    let compiler = match name {
        name if name.ends_with(".cc") => "g++",
        name if name.starts_with("mpi-") => "mpicc.mpich",
        _ => "gcc",
    };
    program_by(compiler, folder, name, link, words)
}

/// The same by a compiler of the caller's choice.
///
/// # Panics
///
/// When it does not compile.
pub fn program_by(compiler: &str, folder: &str, name: &str, link: Link, words: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);
    let mut compiled = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let stem = name.split('.').next().unwrap_or(name);
    let program = Path::new(folder).join(format!("lwk-{stem}-{link:?}-{compiler}").to_lowercase());
    if compiled.contains(&program) {
        return program;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("lwk").join(name);
    // Other test processes may run the one that is there.
    let fresh = program.with_extension(process::id().to_string());
    let output = Command::new(compiler)
        .args(["-O2", "-g", "-o"])
        .arg(&fresh)
        .arg(&source)
        .args(link.words())
        .args(words)
        .args(["-lm", "-lpthread"])
        .output()
        .unwrap_or_else(|error| {
            panic!("{compiler}: {error}; install it (Debian packages gcc, g++, libmpich-dev, libopenmpi-dev)")
        });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} does not compile: {errors}", source.display());
    fs::rename(&fresh, &program).expect("replace the program");
    compiled.push(program.clone());
    program
}

/// Runs a command with this input.
///
/// # Panics
///
/// When it cannot be started.
pub fn output(mut command: Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let input = input.to_vec();
    // A program may end before it has read everything, or write before it reads.
    let feeder = thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, &input)));
    let output = child.wait_with_output().expect("the child's end");
    feeder.join().expect("the thread that feeds it");
    output
}
