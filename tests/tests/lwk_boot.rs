//! The tools that boot and stop LWK nodes, with real machines where they start some: nothing is left behind, whatever happens.

use keelson_qemu::Bench;
use keelson_tests::Appliance;
use keelson_tests::lwk::{Link, output, program};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const LWKCTL: &str = env!("CARGO_BIN_EXE_keelson-lwkctl");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// A host with a node table of its own.
struct Host {
    dir: PathBuf,
    path: String,
    _bench: Bench,
}

impl Host {
    /// `words` are the node's parameters in the table.
    fn new(name: &str, words: &str) -> Host {
        let bench = Bench::new(name);
        let dir = bench.dir().to_path_buf();
        let key = dir.join("key");
        fs::write(&key, format!("default {}\n", "5a".repeat(32))).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        // Nobody else gets it for a while.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = Host { dir, path: std::env::var("PATH").unwrap_or_default(), _bench: bench };
        fs::write(host.table(), format!("0 node 127.0.0.1:{port} {} {words}\n", key.display())).unwrap();
        host
    }

    /// A host whose node has no network and no key, but serial ports.
    fn serial(name: &str, words: &str) -> Host {
        let host = Host::new(name, "");
        fs::write(host.table(), format!("0 node unix:{} none {words}\n", host.sockets().display())).unwrap();
        host
    }

    /// Where the serial ports are.
    fn sockets(&self) -> PathBuf {
        self.dir.join("ports")
    }

    fn table(&self) -> PathBuf {
        self.dir.join("nodes")
    }

    /// Where the tools keep what they know.
    fn state(&self) -> PathBuf {
        self.dir.join("nodes.d")
    }

    fn tool(&self, tool: &str, words: &[&str]) -> Output {
        let mut command = Command::new(LWKCTL);
        command.arg(tool).args(words).current_dir(&self.dir);
        command.env("LWK_CONF", self.table()).env("LWK_IMAGE", Appliance::image("lwk-compute"));
        command.env("PATH", &self.path).env_remove("LWK_NODE").env_remove("LWK_STATE");
        output(command, b"")
    }

    /// Standard output of a tool that must succeed.
    fn done(&self, tool: &str, words: &[&str]) -> String {
        let output = self.tool(tool, words);
        assert_eq!(output.status.code(), Some(0), "{tool} {words:?}: {}", errors(&output));
        assert_eq!(errors(&output), "", "{tool} {words:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A tool must fail with this code and this message.
    fn refused(&self, tool: &str, words: &[&str], code: i32, message: &str) {
        let output = self.tool(tool, words);
        let said = errors(&output);
        assert!(said.contains(message), "{tool} {words:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{tool} {words:?}: {said}");
    }

    fn status(&self) -> String {
        self.done("ihkosctl", &["0", "get", "status"]).trim().to_owned()
    }

    fn pid(&self) -> u32 {
        fs::read_to_string(self.state().join("0/qemu.pid")).unwrap().trim().parse().unwrap()
    }

    fn hello(&self) {
        let hello = program(FOLDER, "hello.c", Link::Static, &[]);
        let said = self.tool("mcexec", &["--allow-root", "0", hello.to_str().unwrap(), "again"]);
        assert_eq!(said.status.code(), Some(42), "{}", errors(&said));
        assert!(String::from_utf8_lossy(&said.stdout).contains("1 arguments"));
    }

    /// Nothing of a node is there: no process, no file.
    fn assert_nothing_left(&self, pids: &[u32]) {
        for pid in pids {
            assert!(ended(*pid), "process {pid} is still there");
        }
        assert!(!self.state().exists(), "{:?}", fs::read_dir(self.state()).map(Iterator::collect::<Vec<_>>));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed must not leave a machine behind.
        self.tool("mcstop+release", &["-f"]);
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether a process is over. Who waits for it is not the tools' affair.
fn ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

fn command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let words: Vec<String> = words.collect();
    words[..words.len() - 1].to_vec()
}

/// The words of a line as a shell splits it.
fn words(line: &str) -> Vec<String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("printf '%s\\n' {line}"));
    let output = output(shell, b"");
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

#[test]
fn a_node_is_booted_booted_again_and_stopped() {
    let host = Host::new("lwk-boot", "boot=qemu accel=tcg");
    assert_eq!(host.done("mcstop+release", &[]), "");
    assert_eq!(host.status(), "INACTIVE");

    let options = ["-c", "1-2", "-m", "512M", "-q", "200"];
    let printed = host.done("mcreboot", &[&options[..], &["--print"]].concat());
    host.assert_nothing_left(&[]);
    let start = Instant::now();
    assert_eq!(host.done("mcreboot", &options), "");
    println!("mcreboot: {:.1} s", start.elapsed().as_secs_f64());
    let first = host.pid();
    assert_eq!(command_line(first), words(&printed));
    assert!(printed.contains("-smp 3 -m 512M ") && printed.contains("cpus=1-2"), "{printed}");
    assert!(printed.contains("ikc_vector=200"), "{printed}");
    assert_eq!(host.status(), "RUNNING");
    assert!(!host.state().join("0/psk").exists(), "the key is still in a file");
    host.hello();

    // What it was booted with is known; what is wrong does not end it.
    host.refused("mcreboot", &["-e", "prefault=some"], 2, "prefault=some: accepted is one of anon");
    host.refused("ihkosctl", &["0", "assign", "cpu", "3"], 5, "is RUNNING, must be INACTIVE");
    assert_eq!(host.pid(), first);
    host.done("mcreboot", &[]);
    let second = host.pid();
    assert!(second != first && ended(first));
    assert_eq!(command_line(second), words(&printed));
    host.hello();

    assert_eq!(host.done("mcstop+release", &[]), "");
    host.assert_nothing_left(&[first, second]);
    assert_eq!(host.status(), "INACTIVE");
    assert!(host.table().exists(), "the table is its owner's");
    host.done("mcstop+release", &[]);
}

#[test]
fn a_node_without_a_network_is_reached_by_serial_ports() {
    let host = Host::serial("lwk-boot-serial", "boot=qemu accel=tcg ports=3");
    host.refused(
        "mcreboot",
        &["-c", "1", "-e", "listen=8810"],
        2,
        "listen= names none; add serial:lwk to it",
    );
    host.done("mcreboot", &["-c", "1-2"]);
    let line = command_line(host.pid()).join(" ");
    assert!(line.contains("listen=serial:lwk") && !line.contains("netdev"), "{line}");
    let mut sockets: Vec<_> =
        fs::read_dir(host.sockets()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    sockets.sort();
    assert_eq!(sockets, ["lwk.bulk.0", "lwk.ctl.0", "lwk.hi.0", "lwk.hi.1", "lwk.hi.2"]);
    assert_eq!(fs::metadata(host.sockets()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(host.status(), "RUNNING");
    host.hello();
    let first = host.pid();
    host.done("mcreboot", &[]);
    assert!(ended(first));
    host.hello();
    let second = host.pid();
    host.done("mcstop+release", &[]);
    host.assert_nothing_left(&[second]);
    assert_eq!(fs::read_dir(host.sockets()).unwrap().count(), 0, "sockets are left");
    host.refused("mcexec", &["--allow-root", "0", "/bin/true"], 120, "no ports in ");
}

#[test]
fn mistakes_are_found_before_anything_starts() {
    let host = Host::new("lwk-boot-wrong", "boot=qemu accel=tcg");
    let other = host.dir.join("other.img");
    fs::write(&other, vec![0; 65536]).unwrap();
    let other = other.to_str().unwrap();
    for (options, message) in [
        (&["-e", "hugepages=3m"][..], "kargs: bad value hugepages=3m"),
        (&["-e", "helper=4"], "unknown option \"helper\"; did you mean helpers"),
        (&["-e", "svc=0,1", "-c", "1-2"], "processor 1 is a service core (svc=); it cannot be both"),
        (&["-c", "2-1"], "-c: 2-1 runs backwards"),
        (&["-c", "64"], "-c: \"64\" is not a processor"),
        (&["-m", "512M@63"], "this host has no NUMA node 63"),
        (&["-m", "32M"], "the node needs at least 64M"),
        (&["-r", "1:1"], "service core 0 carries the messages of all cores"),
        (&["-k"], "-k: a value must follow"),
        (&["--node", "other"], "node other: not in "),
    ] {
        host.refused("mcreboot", options, 2, message);
    }
    host.refused("mcreboot", &["--image", other], 1, "not an image of an LWK node");
    host.refused("mcreboot", &["--image", "/nowhere"], 1, "/nowhere: No such file");
    host.refused("ihkosctl", &["0", "kargs", "cpus=1"], 2, "hidos is missing");
    host.refused("ihkosctl", &["0", "load", other], 1, "not an image of an LWK node");
    assert_eq!(host.status(), "INACTIVE");
    host.done("mcstop+release", &[]);
    host.assert_nothing_left(&[]);
}

#[test]
fn a_node_that_does_not_come_up_leaves_nothing() {
    let host = Host::new("lwk-boot-late", "boot=qemu accel=tcg");
    // With this address nothing that QEMU forwards reaches it.
    let options = ["-c", "1", "-e", "ip=10.99.0.1/24:eth0", "--wait=3", "-v"];
    let late = host.tool("mcreboot", &options);
    let said = errors(&late);
    assert_eq!(late.status.code(), Some(6), "{said}");
    assert!(said.contains("node node: does not run after 3 seconds"), "{said}");
    assert!(said.contains("machine starts") && said.contains("undo MachineStarted"), "{said}");
    assert_eq!(host.status(), "INACTIVE");
    host.assert_nothing_left(&[]);
}

#[test]
fn step_by_step_like_mcreboot() {
    let host = Host::new("lwk-boot-steps", "boot=qemu accel=tcg");
    host.done("ihkconfig", &["0", "reserve", "mem", "512M@0"]);
    let image = Appliance::elf("lwk-compute");
    for words in [
        &["0", "load", image.to_str().unwrap()][..],
        &["0", "kargs", "hidos helpers=2"],
        &["0", "assign", "cpu", "1,3"],
        &["0", "assign", "cpu", "2"],
        &["0", "release", "cpu", "3"],
        &["0", "assign", "mem", "256M@0"],
        &["0", "set", "ikc_map", "1:0+2:0"],
    ] {
        host.done("ihkosctl", words);
    }
    assert_eq!(host.done("ihkosctl", &["0", "query", "cpu"]), "1-2\n");
    assert_eq!(host.done("ihkosctl", &["0", "query", "mem"]), "268435456@0\n");
    assert_eq!(host.done("ihkosctl", &["0", "get", "ikc_map"]), "1:0+2:0\n");
    assert!(host.done("ihkosctl", &["0", "get", "buildid"]).contains(" at "));
    host.done("ihkosctl", &["0", "boot"]);
    let (pid, start) = (host.pid(), Instant::now());
    while host.status() != "RUNNING" {
        assert!(["BOOTING", "RUNNING"].contains(&host.status().as_str()));
        assert!(start.elapsed() < Duration::from_secs(60), "it does not run");
    }
    let line = command_line(pid).join(" ");
    // The machine has what is reserved, its programs what is assigned.
    let kargs = "hidos helpers=2 hostname=node cpus=1-2 mem=256M@0";
    assert!(line.contains("-m 512M") && line.contains(kargs), "{line}");
    assert_eq!(host.done("ihkosctl", &["0", "query", "mem"]), "268435456@0\n");
    host.refused("ihkosctl", &["0", "boot"], 5, "is RUNNING, must be INACTIVE");
    // It returns before the node is off.
    host.done("ihkosctl", &["0", "shutdown"]);
    let start = Instant::now();
    while host.status() != "INACTIVE" {
        assert!(start.elapsed() < Duration::from_secs(40), "it does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(ended(pid));
    host.done("ihkosctl", &["0", "shutdown", "--wait"]);
    host.done("mcstop+release", &[]);
    host.assert_nothing_left(&[pid]);
}

#[test]
fn the_table_and_reservations() {
    let host = Host::new("lwk-boot-table", "");
    assert_eq!(host.done("ihkconfig", &["0", "create", "second", "address=127.0.0.1:7777", "smp=4"]), "1\n");
    assert_eq!(host.done("ihkconfig", &["0", "create"]), "2\n");
    assert_eq!(host.done("ihkconfig", &["0", "get", "os_instances"]), "0,1,2\n");
    let table = fs::read_to_string(host.table()).unwrap();
    let key = host.state().join("second.key");
    assert!(table.contains(&format!("1 second 127.0.0.1:7777 {} smp=4\n", key.display())), "{table}");
    assert!(table.contains("2 lwk2 127.0.0.1:8812 "), "{table}");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    host.refused("ihkconfig", &["0", "create", "second"], 2, "one of this name already");
    host.refused("ihkconfig", &["0", "create", "x", "speed=9"], 2, "speed=9: no such parameter");
    host.refused("ihkconfig", &["1", "get", "os_instances"], 2, "no such device");

    host.done("ihkconfig", &["0", "reserve", "mem", "512M@0"]);
    host.done("ihkconfig", &["0", "reserve", "cpu", "0"]);
    assert_eq!(host.done("ihkconfig", &["0", "query", "mem"]), "512M@0\n");
    assert_eq!(host.done("ihkconfig", &["0", "query", "cpu"]), "0\n");
    host.refused("ihkconfig", &["--node=1", "0", "reserve", "cpu", "0"], 5, "reserved for node node");
    host.refused("ihkconfig", &["0", "reserve", "cpu", "63"], 2, "no such processor");
    host.refused("ihkosctl", &["0", "assign", "mem", "1G"], 2, "only 512M is there");
    host.refused("ihkconfig", &["0", "release", "mem", "1G"], 2, "only 512M is there");
    host.done("ihkconfig", &["0", "release", "cpu", "all"]);
    assert_eq!(host.done("ihkconfig", &["0", "query", "cpu"]), "\n");

    host.done("ihkconfig", &["0", "destroy", "1"]);
    host.done("ihkconfig", &["0", "destroy", "2"]);
    assert!(!key.exists());
    assert_eq!(host.done("ihkconfig", &["0", "get", "os_instances"]), "0\n");
    host.done("ihkconfig", &["0", "destroy", "0"]);
    assert!(!host.table().exists());
    assert_eq!(host.done("ihkconfig", &["0", "get", "os_instances"]), "\n");
}

#[test]
fn a_machine_with_a_bmc() {
    let mut host =
        Host::new("lwk-boot-bmc", "boot=ipmi bmc=bmc0 bmc_user=root pxe=pxe/node pxe_image=lwk.img");
    let (tools, log) = (host.dir.join("bin"), host.dir.join("orders"));
    // What ipmitool would do: it notes its orders, and the power is what they make it.
    fs::create_dir_all(&tools).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{log}\ncase \"$*\" in\n\
         *'power status') cat {power} 2>/dev/null || echo Chassis Power is off;;\n\
         *'power on'|*'power cycle') echo Chassis Power is on >{power};;\n\
         *'power soft'|*'power off') rm -f {power};;\nesac\n",
        log = log.display(),
        power = host.dir.join("power").display()
    );
    fs::write(tools.join("ipmitool"), script).unwrap();
    fs::set_permissions(tools.join("ipmitool"), fs::Permissions::from_mode(0o755)).unwrap();
    host.path = format!("{}:{}", tools.display(), host.path);
    fs::create_dir_all(host.dir.join("pxe")).unwrap();

    let options = ["-c", "1-3", "--wait=1"];
    let printed = host.done("mcreboot", &[&options[..], &["--print"]].concat());
    let all = "ipmitool -I lanplus -H bmc0 -U root chassis";
    assert_eq!(printed, format!("{all} bootdev pxe\n{all} power status\n{all} power cycle\n"));
    assert!(!log.exists());

    host.done("ihkosctl", &["0", "kargs", "hidos helpers=1"]);
    host.done("ihkosctl", &["0", "assign", "mem", "1G@0,512M@1"]);
    host.done("ihkosctl", &["0", "boot"]);
    assert_eq!(host.status(), "BOOTING");
    let pxe = fs::read_to_string(host.dir.join("pxe/node")).unwrap();
    assert!(
        pxe.contains("KERNEL lwk.img\n") && pxe.contains("APPEND hidos helpers=1 hostname=node listen="),
        "{pxe}"
    );
    assert!(pxe.contains(" mem=1G@0,512M@1\n"), "{pxe}");
    // Nobody is there to run.
    host.refused("mcreboot", &options, 6, "does not run after 1 seconds");
    assert_eq!(host.status(), "INACTIVE");
    let orders = fs::read_to_string(&log).unwrap();
    let orders: Vec<&str> = orders.lines().filter(|line| !line.ends_with("status")).collect();
    let expected = ["bootdev pxe", "power on", "power off", "bootdev pxe", "power on", "power off"];
    assert_eq!(orders, expected.map(|order| format!("-I lanplus -H bmc0 -U root chassis {order}")));
    host.done("mcstop+release", &[]);
    host.assert_nothing_left(&[]);
}
