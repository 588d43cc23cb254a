//! Processes of the program, their directories, and a second opinion on what they captured.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program.
pub const QNETCTL: &str = env!("CARGO_BIN_EXE_qnetctl");

/// A directory of one test, removed at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qnetctl-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as a word of a command line.
    pub fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A directory to be served.
    pub fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        std::fs::create_dir_all(tree.join("etc")).unwrap();
        std::fs::write(tree.join("etc/TIMEZONE"), b"UTC0\n").unwrap();
        std::fs::write(tree.join("big"), pattern(1_500_000)).unwrap();
        std::os::unix::fs::symlink("etc/TIMEZONE", tree.join("zone")).unwrap();
        tree
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that are different everywhere.
pub fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The program with transports of its own, and a file that it captures to.
pub struct Host<'a> {
    pub directory: &'a Directory,
    pub name: &'a str,
    pub transport: Vec<String>,
    /// In a namespace of its own, or not.
    pub namespace: Option<&'a keelson_qemu::Namespace>,
}

impl Host<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.namespace {
            Some(namespace) => namespace.command("env"),
            None => Command::new("env"),
        };
        // Whoever runs the tests in the background may have taught them to ignore Ctrl-C.
        command
            .args(["--default-signal=INT", QNETCTL])
            .args(&self.transport)
            .args(["--name", self.name, "--write"])
            .arg(self.capture())
            .args(words);
        command
    }

    /// Where it captures to; each run anew.
    pub fn capture(&self) -> PathBuf {
        self.directory.path(&format!("{}.pcap", self.name))
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that is to succeed; what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}, {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that is to fail: its exit status, and what it said.
    pub fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).trim().into())
    }

    /// Runs a command with input.
    pub fn with_input(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts a command that goes on.
    pub fn start(&self, words: &[&str]) -> Running {
        let child = self.command(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        Running(child)
    }

    /// Serves a directory from now on.
    pub fn serve(&self, directory: &Path) -> Running {
        let mut running = self.start(&["serve", &directory.display().to_string()]);
        let line = running.line();
        assert!(
            line.starts_with("serving ") && line.ends_with(&format!("as /net/{}\n", self.name)),
            "{line}"
        );
        running
    }
}

/// A process that goes on until this is dropped.
pub struct Running(pub Child);

impl Running {
    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        // One byte at a time: what follows is for others.
        let mut one = BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap());
        one.read_line(&mut line).unwrap();
        line
    }

    /// Everything that it prints until it ends.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two ends of QEMU's datagrams.
pub fn datagrams<'a>(directory: &'a Directory, names: [&'a str; 2]) -> [Host<'a>; 2] {
    let [a, b] = names.map(|name| directory.word(&format!("{name}.sock")));
    let ends = [format!("{a},{b}"), format!("{b},{a}")];
    let [first, second] = ends.map(|ends| vec!["--qemu-dgram".to_string(), ends]);
    [
        Host { directory, name: names[0], transport: first, namespace: None },
        Host { directory, name: names[1], transport: second, namespace: None },
    ]
}

/// Another implementation reads a capture: how many frames there are, none of them malformed.
pub fn check_capture(path: &Path) -> usize {
    let output =
        Command::new("tshark").arg("-r").arg(path).args(["-n", "-V", "-o", "lwl4.check_crc:FALSE"]).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "tshark cannot be run ({error}); install it with: apt-get install --no-install-recommends tshark"
        )
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let (mut frames, mut qnet) = (0, 0);
    for line in text.lines() {
        frames += usize::from(line.starts_with("Frame "));
        qnet += usize::from(line.starts_with("QNX6 QNET LWL4"));
        assert!(!line.contains("Malformed"), "{}: {line}", path.display());
    }
    assert_eq!(frames, qnet, "every frame of {} is Qnet's", path.display());
    frames
}
