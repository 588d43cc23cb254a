//! Dumps of real nodes: idle, busy, waiting, and after their kernel gave up; what gdb and the tools find in them is so.

use keelson_qemu::Bench;
use keelson_tests::Appliance;
use keelson_tests::lwk::{Link, LwkNode, Shape, output, program};
use keelson_tests::world::SOON;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// Of the machines here.
const MEMORY: u64 = 512 << 20;
const CPUS: u32 = 4;
/// Threads of `busy.c`, each busy on a core of its own.
const COUNTING: usize = 2;
const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

fn run(mut command: Command) -> (i32, String, String) {
    command.env("LWK_IMAGE", Appliance::image("lwk-compute"));
    let ended = output(command, b"");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (ended.status.code().unwrap_or(-1), text(ended.stdout), text(ended.stderr))
}

/// Runs a tool with these words: exit code, output, errors.
fn tool(node: &LwkNode, words: &[&str]) -> (i32, String, String) {
    let mut command = node.tool(words[0]);
    command.args(&words[1..]);
    run(command)
}

/// The output of a tool that does what it is asked.
fn said(node: &LwkNode, words: &[&str]) -> String {
    let (code, out, errors) = tool(node, words);
    assert_eq!(code, 0, "{words:?}: {errors}");
    out
}

fn gdb(dump: &Path, commands: &[&str]) -> String {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-q", "-batch"]);
    for line in commands {
        command.args(["-ex", line]);
    }
    command.arg(Appliance::elf("lwk-compute")).arg(dump);
    let (_, out, errors) = run(command);
    out + &errors
}

/// A program on the node that has said something.
struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    line: String,
}

impl Running {
    fn start(node: &LwkNode, name: &str) -> Running {
        let program = program(FOLDER, name, Link::Static, &[]);
        let mut command = node.mcexec(&[], &program, &[]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running { child, stdout, line: String::new() };
        running.next();
        running
    }

    /// Waits for a line.
    fn next(&mut self) {
        self.line.clear();
        assert!(self.stdout.read_line(&mut self.line).unwrap() > 0, "the program has ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_is_dumped_and_goes_on() {
    let shape = Shape { cpus: CPUS, memory: (MEMORY >> 20) as u32, ..Shape::default() };
    let node = LwkNode::start("lwk-dump", LWKCTL, shape);
    let file = |name: &str| node.dir().join(name);
    let size = |name: &str| fs::metadata(file(name)).unwrap().len();

    let start = Instant::now();
    assert_eq!(said(&node, &["ihkosctl", "0", "dump", "idle"]), "");
    println!("idle, level 24: {} KiB in {:.2} s", size("idle") >> 10, start.elapsed().as_secs_f64());
    assert!(size("idle") < MEMORY / 10, "{} bytes", size("idle"));
    assert_eq!(fs::metadata(file("idle")).unwrap().permissions().mode() & 0o777, 0o600);
    cores_are_threads(&file("idle"));
    let start = Instant::now();
    assert_eq!(said(&node, &["ihkosctl", "0", "dump", "-d", "0", "idle0"]), "");
    println!("idle, level 0: {} KiB in {:.2} s", size("idle0") >> 10, start.elapsed().as_secs_f64());
    assert!(size("idle0") > MEMORY / 10 * 9);
    cores_are_threads(&file("idle0"));

    let (mut counting, marker) = (Running::start(&node, "busy.c"), Running::start(&node, "marker.c"));
    let (pid, address) = marker.line.trim().split_once(' ').unwrap();
    for (name, level) in [("busy", "24"), ("busy0", "0")] {
        assert_eq!(said(&node, &["ihkosctl", "0", "dump", "-d", level, name]), "");
        // The program did not notice.
        counting.next();
        cores_are_threads(&file(name));
        let ps = said(&node, &["eclair", "-d", name, "-x", "ps"]);
        for (pid, command) in
            [(pid, "lwk-marker-stat"), (&*counting.child.id().to_string(), "lwk-busy-static")]
        {
            let known =
                ps.lines().any(|row| row.contains(command) && row.split_whitespace().any(|word| word == pid));
            assert!(known, "{pid} {command}: {ps}");
        }
        for command in ["info", "threads", "cpus", "kmsg", "requests", "mem"] {
            assert!(!said(&node, &["eclair", "-d", name, "-x", command]).is_empty(), "{command}");
        }
        assert!(said(&node, &["eclair", "-d", name, "-x", &format!("maps {pid}")]).lines().count() > 2);
        assert!(said(&node, &["eclair", "-d", name, "-x", "kmsg"]).contains("hosts may connect"));
    }
    // The live node and both dumps agree where the page is; one has what is there, and the other has not.
    let live = said(&node, &["mcinspect", "--vtop", "-p", pid, "-v", address]);
    let physical = physical(&live);
    let shown = DIRECT_MAP + physical;
    let asked = format!("vtop {pid} {address}");
    for name in ["busy", "busy0"] {
        assert_eq!(said(&node, &["eclair", "-d", name, "-x", &asked]), live);
    }
    let words = said(&node, &["eclair", "-d", "busy0", "-x", &format!("x {shown:#x} 2")]);
    assert_eq!(words, format!("{shown:016x}: 6b65656c00000000 6b65656c00000001\n"));
    let (code, _, errors) = tool(&node, &["eclair", "-d", "busy", "-x", &format!("x {shown:#x} 2")]);
    assert!(code == 1 && errors.contains("is not in the dump"), "{errors}");
    assert!(said(&node, &["mcinspect", "--ps"]).contains("lwk-marker-stat"));
    let bt = said(&node, &["eclair", "-d", "busy", "-x", "bt all"]);
    assert!(bt.contains("lwk-busy-static"), "{bt}");

    // Whoever may only look may not look into memory.
    let key = file("watcher");
    fs::write(&key, format!("watcher {}\n", LwkNode::WATCHER)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let table = fs::read_to_string(file("nodes")).unwrap();
    fs::write(file("nodes"), format!("{table}1 watched 10.0.0.1:8810 {}\n", key.display())).unwrap();
    for words in [&["ihkosctl", "1", "dump", "never"][..], &["mcinspect", "--node=1", "--ps"]] {
        let (code, _, errors) = tool(&node, words);
        assert!(code == 4 && errors.contains("its key is not for admin"), "{words:?}: {code} {errors}");
    }
    assert!(!file("never").exists());
    waits_and_goes_on(&node, &mut counting, pid, shown);
}

/// A thread for each core, each with a backtrace that begins in the kernel, or in a program.
fn cores_are_threads(dump: &Path) {
    let text = gdb(dump, &["info threads", "thread apply all backtrace"]);
    assert_eq!(text.matches("\nThread ").count(), CPUS as usize, "{text}");
    // Those that run no program are in the kernel; the service core made the dump.
    let in_kernel = |part: &&str| part.contains("keelson_");
    assert!(text.split("\nThread ").skip(1).filter(in_kernel).count() + COUNTING >= CPUS as usize, "{text}");
    let service = text.split("\nThread ").find(|part| part.contains("(LWP 1000000)"));
    assert!(service.as_ref().is_some_and(in_kernel), "{text}");
}

/// What is behind the arrow.
fn physical(way: &str) -> u64 {
    let (_, rest) = way.rsplit_once("-> 0x").unwrap_or_else(|| panic!("{way}"));
    u64::from_str_radix(rest.split_whitespace().next().unwrap(), 16).unwrap()
}

fn waits_and_goes_on(node: &LwkNode, counting: &mut Running, pid: &str, shown: u64) {
    assert_eq!(said(node, &["ihkosctl", "0", "dump", "-i", "stub"]), "");
    assert!(fs::metadata(node.dir().join("stub")).unwrap().len() < 4 << 20);
    assert!(said(node, &["eclair", "-i", "-d", "stub", "-x", "ps"]).contains(pid));
    let words = said(node, &["eclair", "-i", "-d", "stub", "-x", &format!("x {shown:#x} 1")]);
    assert!(words.ends_with(" 6b65656c00000000\n"), "{words}");
    let bt = said(node, &["eclair", "-i", "-d", "stub", "-x", "bt all"]);
    assert!(bt.contains("keelson_"), "{bt}");
    assert_eq!(said(node, &["ihkosctl", "0", "thaw"]), "");
    // What it wrote before it was stopped may still be there to read.
    (0..20).for_each(|_| counting.next());
}

#[test]
fn a_kernel_that_gives_up_on_a_core_says_where() {
    let shape = Shape { cpus: CPUS, memory: (MEMORY >> 20) as u32, line: "panic=0" };
    let node = LwkNode::start("lwk-dump-panic", LWKCTL, shape);
    let counting = Running::start(&node, "busy.c");
    node.machine.console().send_line("fail 3").unwrap();
    node.machine.expect("asked for on the console", SOON).unwrap();
    node.machine.expect("panic: ", SOON).unwrap();
    let core = node.dir().join("vmcore");
    let arguments = format!("{{\"paging\":false,\"protocol\":\"file:{}\"}}", core.display());
    node.machine.qmp("dump-guest-memory", &arguments).unwrap();
    assert_eq!(said(&node, &["vmcore2mckdump", "vmcore", "mcdump"]), "mcdump: mcdump is extracted.\n");

    let info = said(&node, &["eclair", "-x", "info"]);
    let why = info.lines().find(|line| line.starts_with("panic ")).unwrap_or_default();
    assert!(why.contains("asked for on the console"), "{info}");
    let cpus = said(&node, &["eclair", "-x", "cpus"]);
    assert!(cpus.contains("core 3: panicked, in the kernel"), "{cpus}");
    assert_eq!(cpus.matches(": panicked").count(), 1, "{cpus}");
    // The first thread is the one that matters, in plain gdb too.
    for text in [said(&node, &["eclair", "-x", "bt"]), gdb(&node.dir().join("mcdump"), &["backtrace"])] {
        assert!(text.contains("fail_as_asked"), "{text}");
    }
    cores_are_threads(&node.dir().join("mcdump"));
    assert!(said(&node, &["eclair", "-x", "kmsg"]).contains("hosts may connect"));
    let ps = said(&node, &["eclair", "-x", "ps"]);
    assert!(ps.contains("lwk-busy-static") && ps.contains(&counting.child.id().to_string()), "{ps}");
}

/// A host that boots nodes itself.
struct Host {
    dir: PathBuf,
    _bench: Bench,
}

impl Host {
    fn new(name: &str) -> Host {
        let bench = Bench::new(name);
        let dir = bench.dir().to_path_buf();
        let key = dir.join("key");
        fs::write(&key, format!("default {}\n", "5a".repeat(32))).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let table = format!("0 node 127.0.0.1:{port} {} boot=qemu accel=tcg\n", key.display());
        fs::write(dir.join("nodes"), table).unwrap();
        Host { dir, _bench: bench }
    }

    fn tool(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(LWKCTL);
        command.args(words).current_dir(&self.dir).env("LWK_CONF", self.dir.join("nodes"));
        command.env_remove("LWK_NODE").env_remove("LWK_STATE");
        run(command)
    }

    fn said(&self, words: &[&str]) -> String {
        let (code, out, errors) = self.tool(words);
        assert_eq!(code, 0, "{words:?}: {errors}");
        out
    }

    /// Gives QEMU a command with arguments.
    fn qmp(&self, command: &str, arguments: &str) {
        let stream = UnixStream::connect(self.dir.join("nodes.d/0/qmp")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        lines.next().unwrap().unwrap();
        for line in [
            "{\"execute\":\"qmp_capabilities\"}",
            &format!("{{\"execute\":\"{command}\",\"arguments\":{arguments}}}"),
        ] {
            (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
            let answer = lines.find(|line| !line.as_ref().unwrap().contains("\"event\"")).unwrap().unwrap();
            assert!(answer.starts_with("{\"return\""), "{answer}");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed must not leave a machine behind.
        self.tool(&["mcstop+release", "-f"]);
    }
}

#[test]
fn a_machine_whose_node_does_not_answer_is_dumped() {
    let host = Host::new("lwk-dump-machine");
    host.said(&["mcreboot", "-c", "1-2", "-m", "256M"]);
    // Its machine is not asked while the node answers.
    let (code, _, errors) = host.tool(&["ihkosctl", "0", "dump", "alive"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    host.qmp("inject-nmi", "{}");
    let start = Instant::now();
    // Who asks it too soon gets no answer.
    while host.tool(&["ihkosctl", "0", "get", "status"]).1 != "PANIC\n" {
        assert!(start.elapsed() < SOON, "it does not give up");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The network card goes on without its kernel.
    host.qmp("stop", "{}");
    let (code, _, errors) = host.tool(&["ihkosctl", "0", "dump", "-d", "24", "kernel"]);
    assert!(
        code == 5 && errors.contains("its kernel gave up: nobody can tell its pages apart; say -d 0"),
        "{errors}"
    );
    let (code, out, errors) = host.tool(&["ihkosctl", "0", "dump", "mcdump"]);
    assert_eq!((code, out.as_str()), (0, ""), "{errors}");
    assert!(errors.contains("its kernel gave up; its whole machine is dumped (level 0)"), "{errors}");
    assert!(!host.dir.join("kernel").exists());

    // Whoever asks QEMU finds the same.
    let core = host.dir.join("vmcore");
    let arguments = format!("{{\"paging\":false,\"protocol\":\"file:{}\"}}", core.display());
    host.qmp("dump-guest-memory", &arguments);
    host.said(&["vmcore2mckdump", "vmcore", "again"]);
    let (one, other) =
        (fs::read(host.dir.join("mcdump")).unwrap(), fs::read(host.dir.join("again")).unwrap());
    assert_eq!(one.len(), other.len());
    let different = one.iter().zip(&other).filter(|(one, other)| one != other).count();
    // When it was made.
    assert!(different <= "2026-01-01T00:00:00.000000Z".len(), "{different} bytes differ");
    let cpus = host.said(&["eclair", "-x", "cpus"]);
    assert_eq!((cpus.matches(": panicked").count(), cpus.matches(": stopped").count()), (1, 2), "{cpus}");
    assert!(host.said(&["eclair", "-x", "bt"]).contains("keelson_"));
}
