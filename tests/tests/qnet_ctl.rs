//! `qnetctl` and the appliance: a Linux host as a Qnet node, on a tap and on QEMU's sockets.

use keelson_qemu::{Bench, Cache, Drive, Ext4Spec, Machine, Namespace, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::qnet::console;
use keelson_tests::world::{SOON, assert_sound};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson-qnetctl");

/// An appliance with a disk at one end of a tap, the host at the other.
struct World {
    machine: Machine,
    namespace: Namespace,
    interface: String,
    bench: Bench,
}

impl World {
    fn new(name: &str) -> World {
        let bench = Bench::new(name);
        let namespace = Namespace::new().unwrap();
        let tap = namespace.tap(&["10.0.0.9/24"]).unwrap();
        let disk = bench.ext4("keel", &Ext4Spec::new(64 << 20)).unwrap();
        let line = "ip=10.0.0.1/24:eth0 hostname=keel qnet.options=auto_add=5";
        let machine = Appliance::qnet(&bench, "keel", line)
            .nic(Nic::tap(&tap, NicModel::Virtio))
            .drive(Drive::file(disk.path()).cache(Cache::Unsafe))
            .start()
            .unwrap();
        machine.expect("qnet: mounted", SOON).unwrap();
        let interface = tap.name().to_string();
        World { machine, namespace, interface, bench }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.namespace.command("env");
        // Whoever runs the tests in the background may have taught them to ignore Ctrl-C.
        command.args([
            "--default-signal=INT",
            PROGRAM,
            "--if",
            &self.interface,
            "--name",
            "host",
            "--uid",
            "0",
            "--gid",
            "0",
        ]);
        command.arg("--write").arg(self.capture()).args(words);
        command
    }

    /// Frames of the last command.
    fn capture(&self) -> PathBuf {
        self.bench.dir().join("qnetctl.pcap")
    }

    fn run(&self, words: &[&str]) -> Output {
        let output = self.command(words).stdin(Stdio::null()).output().unwrap();
        assert_well_formed(&self.capture());
        output
    }

    /// What a command that succeeds prints.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {} {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Status and complaint of one that does not.
    fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), errors)
    }
}

fn assert_well_formed(pcap: &Path) {
    let filter = "eth.type == 0x8204 && (_ws.malformed || !lwl4)";
    let output = Command::new("tshark")
        .arg("-r")
        .arg(pcap)
        .args(["-n", "-o", "lwl4.check_crc:FALSE", "-Y", filter])
        .output()
        .unwrap();
    let bad = String::from_utf8_lossy(&output.stdout);
    assert!(bad.is_empty(), "{bad}");
}

#[test]
fn a_host_uses_the_files_of_a_node() {
    let world = World::new("qnetctl-files");
    assert!(world.ok(&["ls", "/net"]).lines().any(|name| name == "keel"));
    assert!(world.ok(&["ls", "--names", "keel", "/net"]).contains("keel"));
    assert_eq!(world.ok(&["cat", "/net/keel/etc/TIMEZONE"]), "UTC0\n");
    let bytes: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 7) as u8).collect();
    let (local, back) = (world.bench.dir().join("local"), world.bench.dir().join("back"));
    std::fs::write(&local, &bytes).unwrap();
    world.ok(&["cp", local.to_str().unwrap(), "/net/keel/file"]);
    world.ok(&["cp", "/net/keel/file", back.to_str().unwrap()]);
    assert!(std::fs::read(&back).unwrap() == bytes);
    assert!(world.ok(&["stat", "/net/keel/file"]).contains("3145728"));
    world.ok(&["mkdir", "/net/keel/dir"]);
    assert_eq!(world.ok(&["ls", "/net/keel/dir"]), "");
    world.ok(&["rmdir", "/net/keel/dir"]);
    world.ok(&["rm", "/net/keel/file"]);
    let (status, errors) = world.fails(&["cat", "/net/keel/file"]);
    assert_eq!(status, 1);
    assert!(errors.contains("ENOENT"), "{errors}");
    let (status, errors) = world.fails(&["cat", "/net/nobody/file"]);
    assert_eq!(status, 3, "{errors}");
    assert_eq!(world.fails(&["cat"]).0, 2);
    let json = world.ok(&["--json", "ls", "/net/keel/etc"]);
    assert!(json.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{json}");
    assert_sound(&world.machine);
}

#[test]
fn a_host_looks_at_a_node() {
    let world = World::new("qnetctl-looks");
    let net = world.ok(&["pidin", "net"]);
    assert!(net.lines().any(|line| line.contains("keel") && line.contains("6.5.0")), "{net}");
    let processes = world.ok(&["pidin", "-n", "keel"]);
    assert!(processes.contains("procnto") && processes.contains("io-pkt-v4-hc"), "{processes}");
    assert!(world.ok(&["pidin", "-n", "keel", "mem"]).contains("lsm-qnet.so"));
    assert!(world.ok(&["stats", "keel"]).contains("running on keel"));
    let pings = world.ok(&["ping", "-c", "3", "keel"]);
    assert!(pings.contains("3") && pings.contains("ms"), "{pings}");
    let bench = world.ok(&["bench", "--count", "200", "keel"]);
    assert!(bench.contains("64"), "{bench}");
    // The way in works both ways.
    let serving =
        world.command(&["serve", "/etc"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let serving = Killed(serving);
    let text = keelson_tests::qnet::console_until(&world.machine, "cat /net/host/hostname", |text| {
        !text.concat().contains("No such file or directory")
    });
    assert_eq!(text.join("\n"), std::fs::read_to_string("/etc/hostname").unwrap().trim_end());
    drop(serving);
    assert_sound(&world.machine);
}

#[test]
fn a_host_runs_programs_on_a_node() {
    let world = World::new("qnetctl-runs");
    assert_eq!(world.ok(&["on", "-f", "keel", "echo", "a", "b"]), "a b\n");
    assert_eq!(world.ok(&["on", "-f", "keel", "hostname"]), "keel\n");
    assert_eq!(world.fails(&["on", "-f", "keel", "false"]).0, 1);
    let (status, errors) = world.fails(&["on", "-f", "keel", "nothing"]);
    assert!(status == 1 && errors.contains("ENOENT"), "{status} {errors}");
    // Input goes there, output comes back.
    let mut cat = world
        .command(&["on", "-f", "keel", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    cat.stdin.take().unwrap().write_all(b"through the node\n").unwrap();
    assert_eq!(String::from_utf8(cat.wait_with_output().unwrap().stdout).unwrap(), "through the node\n");
    assert_sound(&world.machine);
}

/// R23: ten megabytes of output, then Ctrl-C: everything has come, the program there has ended, and so has `on`.
#[test]
fn ctrl_c_ends_what_runs_there() {
    const SIZE: usize = 10 << 20;
    let world = World::new("qnetctl-interrupt");
    let local = world.bench.dir().join("large");
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 11) as u8).collect();
    std::fs::write(&local, &bytes).unwrap();
    world.ok(&["cp", local.to_str().unwrap(), "/net/keel/large"]);
    let words = ["on", "-f", "keel", "sh", "-c", "cat /large; sleep 1000"];
    let mut on = Killed(world.command(&words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut output = on.0.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut all).unwrap();
        all
    });
    let is_there = |name: &str| console(&world.machine, "pidin").iter().any(|line| line.contains(name));
    let deadline = Instant::now() + SOON;
    while !is_there("sleep") {
        assert!(Instant::now() < deadline, "{:#?}", console(&world.machine, "pidin"));
        std::thread::sleep(Duration::from_millis(200));
    }
    kill_process(Pid::from_child(&on.0), Signal::INT).unwrap();
    let deadline = Instant::now() + SOON;
    let status = loop {
        if let Some(status) = on.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "on does not end");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(!status.success());
    assert!(reader.join().unwrap() == bytes, "the output is not complete");
    let deadline = Instant::now() + SOON;
    while is_there("sleep") {
        assert!(Instant::now() < deadline, "the program still runs");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_sound(&world.machine);
}

/// Ends a program when the test does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}
