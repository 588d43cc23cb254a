//! The shell over SSH, entered by Debian's client.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keelson_qemu::{Bench, Exit, Machine, MachineSpec, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::world::{SOON, assert_sound, shell};

/// How a role's machine is made.
type Maker = fn(&Bench, &str, &str) -> MachineSpec;

/// A folder with keys, of which alice's may enter.
struct Keys {
    folder: PathBuf,
    bench: Bench,
}

impl Keys {
    fn new(name: &str) -> Keys {
        let bench = Bench::new(name);
        let folder = bench.dir().join("keys");
        fs::create_dir_all(&folder).unwrap();
        for name in ["alice", "mallory", "host"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(folder.join(name))
                .status();
            assert!(made.expect("ssh-keygen (package openssh-client)").success());
        }
        Keys { folder, bench }
    }

    /// The option that lets alice in.
    fn option(&self) -> String {
        format!("ssh.keys=\"{}\"", fs::read_to_string(self.folder.join("alice.pub")).unwrap().trim())
    }

    fn start(&self, make: Maker, append: &str) -> Machine {
        let machine = self.spec(make, append).start().unwrap();
        machine.expect("sshd: listening on port 22, host key SHA256:", SOON).unwrap();
        machine
    }

    fn spec(&self, make: Maker, append: &str) -> MachineSpec {
        let line = format!("ip=10.0.2.15/24:eth0 gw=10.0.2.2 {append}");
        make(&self.bench, "node", &line).nic(Nic::user(NicModel::Virtio).forward_tcp(22))
    }

    /// `ssh` to this machine with `key`.
    fn ssh(&self, machine: &Machine, key: &str, options: &[&str], words: &[&str]) -> Command {
        let address = address(machine);
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &address.port().to_string(), "-i"]).arg(self.folder.join(key));
        for option in ["IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=accept-new"] {
            ssh.args(["-o", option]);
        }
        let known = self.folder.join("known_hosts");
        // The port is another in every run of a machine.
        ssh.args(["-o", "HostKeyAlias=node", "-o", &format!("UserKnownHostsFile={}", known.display())]);
        ssh.args(options).arg(format!("root@{}", address.ip())).args(words);
        ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ssh
    }

    fn exec(&self, machine: &Machine, line: &str) -> Output {
        self.ssh(machine, "alice", &[], &[line]).output().unwrap()
    }

    /// What a command answers that ends well.
    fn answer(&self, machine: &Machine, line: &str) -> String {
        let output = self.exec(machine, line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

fn address(machine: &Machine) -> SocketAddr {
    machine.forwarded_tcp(22).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that holds for every role.
fn entered(name: &str, make: Maker, append: &str, unknown_status: i32) {
    let keys = Keys::new(name);
    let machine = keys.start(make, &format!("{} {append}", keys.option()));
    machine.expect("the host key is of this boot", SOON).unwrap();
    assert_eq!(keys.answer(&machine, "help"), shell(&machine, "help").join("\n") + "\n");
    assert!(keys.answer(&machine, "ip addr show eth0").contains("inet 10.0.2.15/24"));
    machine.expect("sshd: alice entered from 10.0.2.2:", SOON).unwrap();
    assert_eq!(keys.exec(&machine, "frobnicate").status.code(), Some(unknown_status));
    // Line by line, ended by the end of input (Ctrl-D at a terminal).
    let mut typing = keys.ssh(&machine, "alice", &["-T"], &[]).stdin(Stdio::piped()).spawn().unwrap();
    typing.stdin.take().unwrap().write_all(b"uptime\nip addr show eth0\n").unwrap();
    let session = typing.wait_with_output().unwrap();
    assert_eq!(session.status.code(), Some(0));
    let said = text(&session.stdout);
    assert!(said.starts_with("> ") && said.contains("inet 10.0.2.15/24") && said.ends_with("> "), "{said}");
    interfaces_are_changed_while_it_runs(&keys, &machine);
    frames_are_captured(&keys, &machine);
    // Others.
    let refused = keys.ssh(&machine, "mallory", &[], &["help"]).output().unwrap();
    assert_eq!((text(&refused.stdout).as_str(), refused.status.code()), ("", Some(255)));
    machine.expect("is none of those that may enter", SOON).unwrap();
    assert_sound(&machine);
    // The node may be gone before the client has its status.
    keys.exec(&machine, "poweroff");
    assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
}

fn interfaces_are_changed_while_it_runs(keys: &Keys, machine: &Machine) {
    let lines = |line: &str| keys.answer(machine, line);
    for mtu in [1280, 1500] {
        assert_eq!(lines(&format!("ip link set eth0 mtu {mtu}")), "");
        assert!(lines("ip link show eth0").contains(&format!("mtu {mtu}")));
    }
    assert_eq!(lines("ip addr add 10.0.3.1/24 dev eth0"), "");
    assert!(lines("ip route").contains("10.0.3.0/24 dev eth0 src 10.0.3.1"));
    assert_eq!(lines("ip addr del 10.0.3.1/24 dev eth0"), "");
    assert!(!lines("ip addr").contains("10.0.3.1"));
    // Not over the interface itself. The console shows the log, too.
    let says = |line: &str, what: &str| shell(machine, line).iter().any(|line| line.contains(what));
    shell(machine, "ip link set eth0 down");
    assert!(says("ip link show eth0", "<DOWN,"));
    shell(machine, "ip link set eth0 up");
    assert!(lines("ip link show eth0").contains("<UP,LOWER_UP>"));
    assert!(lines("ethtool -i eth0").contains("driver: virtio_net\n"));
    assert!(lines("ethtool -i eth0").contains("bus-info: 0000:"));
    let counted = lines("ethtool -S eth0");
    let received = counted.lines().find_map(|line| line.trim().strip_prefix("rx_packets: "));
    assert!(received.is_some_and(|count| count.parse::<u64>().unwrap() > 50), "{counted}");
}

fn frames_are_captured(keys: &Keys, machine: &Machine) {
    let file = keys.folder.join("frames.pcapng");
    // The session's own: only a filter that names its port shows them.
    let captured = keys.exec(machine, "pcap eth0 -c 8 -s 100 tcp port 22");
    assert_eq!(captured.status.code(), Some(0), "{}", text(&captured.stderr));
    machine.expect("eth0: 8 frames captured, ", SOON).unwrap();
    fs::write(&file, captured.stdout).unwrap();
    let words =
        ["-T", "fields", "-e", "frame.interface_name", "-e", "tcp.port", "-e", "frame.time_epoch", "-r"];
    let read = Command::new("tshark").args(words).arg(&file).output().expect("tshark");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let lines = text(&read.stdout);
    assert_eq!(lines.lines().count(), 8, "{lines}{}", text(&read.stderr));
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields[0], "eth0");
        assert!(fields[1].split(',').any(|port| port == "22"), "{line}");
        assert!((fields[2].parse::<f64>().unwrap() - now).abs() < 300.0, "{line}: it is {now}");
    }
    assert!(keys.answer(machine, "pcap eth7").contains("no such interface"));
    // A terminal has no place for a file.
    let line = shell(machine, "pcap eth0").join(" ");
    assert!(line.contains("use: ssh ADDRESS pcap eth0 >FILE"), "{line}");
    // Who goes away ends the capture.
    let mut client = keys.ssh(machine, "alice", &[], &["pcap eth0"]).spawn().unwrap();
    let mut magic = [0; 4];
    client.stdout.take().unwrap().read_exact(&mut magic).unwrap();
    assert_eq!(magic, [0x0a, 0x0d, 0x0d, 0x0a]);
    client.kill().unwrap();
    client.wait().unwrap();
    machine.expect("frames captured, 0 dropped", SOON).unwrap();
}

#[test]
fn the_nfs_server_is_entered() {
    entered("ssh-nfs", Appliance::nfs, "", 1);
}

#[test]
fn the_router_is_entered() {
    entered("ssh-lnet", Appliance::lnet, "lnet.networks=\"tcp0(eth0)\"", 1);
}

#[test]
fn the_compute_node_is_entered() {
    entered(
        "ssh-lwk",
        |bench, name, append| Appliance::lwk(bench, name, append).memory_mib(512),
        "insecure=1",
        1,
    );
}

#[test]
fn the_qnet_node_is_entered() {
    // Other lines are its own shell's.
    entered("ssh-qnet", Appliance::qnet, "", 0);
}

#[test]
fn programs_read_what_is_piped() {
    let keys = Keys::new("ssh-pipe");
    let machine = keys.start(Appliance::qnet, &keys.option());
    let mut cat = keys.ssh(&machine, "alice", &[], &["cat | grep b"]).stdin(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all("abc\nxyz\ncab\n".repeat(100).as_bytes()).unwrap();
    let output = cat.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "abc\ncab\n".repeat(100));
    // A client that goes takes its program along.
    let mut waiting = keys.ssh(&machine, "alice", &[], &["echo begun; sleep 600"]).spawn().unwrap();
    waiting.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    machine.expect("ended: closed by the peer", SOON).unwrap();
    assert!(!shell(&machine, "pidin").concat().contains("sleep"));
    assert_sound(&machine);
}

#[test]
fn without_keys_the_port_is_closed() {
    let keys = Keys::new("ssh-closed");
    for (append, complaint) in [
        ("", None),
        ("ssh.port=22", Some("sshd: not listening: nobody may enter; add ssh.keys=")),
        ("ssh.keys=\"ssh-rsa AAAA bob\"", Some("\"ssh-rsa\" keys are not supported")),
    ] {
        let machine = keys.spec(Appliance::nfs, append).start().unwrap();
        machine.expect("not serving: no disk", SOON).unwrap();
        machine.expect("> ", SOON).unwrap();
        if let Some(complaint) = complaint {
            assert!(machine.console().contains(complaint), "{}", machine.console().transcript());
        }
        // QEMU accepts for the machine, and hangs up when that refuses.
        let mut stream = TcpStream::connect(address(&machine)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert_eq!(text(&said), "", "{append}");
        assert!(!machine.console().contains("sshd: listening"));
        machine.kill();
    }
}

#[test]
fn the_host_key_outlives_the_boot() {
    let keys = Keys::new("ssh-hostkey");
    let file = fs::read_to_string(keys.folder.join("host")).unwrap();
    let body: String = file.lines().filter(|line| !line.starts_with("-----")).collect();
    let disk = keys.folder.join("initrd");
    fs::write(&disk, format!("{}\nssh.hostkey={body}\n", keys.option())).unwrap();
    let fingerprint =
        Command::new("ssh-keygen").arg("-lf").arg(keys.folder.join("host.pub")).output().unwrap();
    let fingerprint = text(&fingerprint.stdout).split(' ').nth(1).unwrap().to_string();
    for strict in ["StrictHostKeyChecking=accept-new", "StrictHostKeyChecking=yes"] {
        let machine = keys.spec(Appliance::lnet, "").initrd(&disk).start().unwrap();
        machine.expect(&format!("sshd: listening on port 22, host key {fingerprint}"), SOON).unwrap();
        let output = keys.ssh(&machine, "alice", &["-o", strict], &["uptime"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let transcript = machine.console().transcript();
        assert!(!transcript.contains(&body[70..110]) && !transcript.contains("of this boot"), "{transcript}");
        machine.kill();
    }
    // Without it there is another, which the client refuses.
    let machine = keys.start(Appliance::lnet, &keys.option());
    let changed = keys.exec(&machine, "uptime");
    assert_eq!(changed.status.code(), Some(255));
    assert!(text(&changed.stderr).contains("HOST IDENTIFICATION HAS CHANGED"), "{}", text(&changed.stderr));
}

/// A shell that stays open.
struct Open {
    child: Child,
}

impl Open {
    fn new(keys: &Keys, machine: &Machine) -> Open {
        let child = keys.ssh(machine, "alice", &["-T"], &[]).stdin(Stdio::piped()).spawn().unwrap();
        let mut open = Open { child };
        assert_eq!(open.hear(), "");
        open
    }

    /// Reads to the prompt.
    fn hear(&mut self) -> String {
        let out = self.child.stdout.as_mut().unwrap();
        let mut said = Vec::new();
        while !(said == b"> " || said.ends_with(b"\n> ")) {
            let mut byte = [0];
            out.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {:?}", text(&said)));
            said.push(byte[0]);
        }
        text(&said).trim_end_matches("> ").to_string()
    }

    fn type_in(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_more_than_eight_is_refused() {
    let keys = Keys::new("ssh-crowd");
    let machine = keys.start(Appliance::lnet, &keys.option());
    let mut open: Vec<Open> = (0..8).map(|_| Open::new(&keys, &machine)).collect();
    assert_eq!(keys.exec(&machine, "uptime").status.code(), Some(255));
    machine.expect("sshd: refused 10.0.2.2:", SOON).unwrap();
    assert!(machine.console().contains("8 connections are open; end one with exit"));
    for shell in &mut open {
        shell.type_in("uptime");
        assert!(shell.hear().ends_with("s\n"), "the others go on");
    }
    let mut last = open.pop().unwrap();
    last.type_in("exit");
    assert_eq!(last.child.wait().unwrap().code(), Some(0));
    machine.expect("sshd: alice from 10.0.2.2:", SOON).unwrap();
    keys.answer(&machine, "uptime");
    assert_sound(&machine);
}

#[test]
fn the_silent_are_dropped() {
    let keys = Keys::new("ssh-silent");
    let machine = keys.start(Appliance::lnet, &keys.option());
    let began = Instant::now();
    let mut stream = TcpStream::connect(address(&machine)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("SSH-2.0-Keelson_") && said.ends_with("\r\n"), "{said:?}");
    assert!(began.elapsed() >= Duration::from_secs(19), "{:?}", began.elapsed());
    machine.expect("no login in time", SOON).unwrap();
    // What is no SSH ends at once.
    let mut web = TcpStream::connect(address(&machine)).unwrap();
    web.set_read_timeout(Some(SOON)).unwrap();
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = web.read_to_end(&mut Vec::new());
    machine.expect("what came is no SSH", SOON).unwrap();
    keys.answer(&machine, "uptime");
    assert_sound(&machine);
}

#[test]
fn much_output_reaches_a_slow_client() {
    let keys = Keys::new("ssh-slow");
    let machine = keys.start(Appliance::lnet, &format!("{} log=debug", keys.option()));
    // Enough for the log to be full.
    for _ in 0..40 {
        shell(&machine, "options");
    }
    let mut slow = keys.ssh(&machine, "alice", &[], &["options; dmesg"]).spawn().unwrap();
    slow.kill().unwrap();
    slow.wait().unwrap();
    let mut dmesg = keys.ssh(&machine, "alice", &[], &["dmesg"]).spawn().unwrap();
    let mut out = dmesg.stdout.take().unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 1021]);
    loop {
        match out.read(&mut piece).unwrap() {
            0 => break,
            count => all.extend_from_slice(&piece[..count]),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(dmesg.wait().unwrap().code(), Some(0));
    assert!(text(&all).contains("sshd: alice entered"), "{} bytes", all.len());
    // The same again is the same, but for what was logged since.
    let again = keys.answer(&machine, "dmesg");
    let line = text(&all).lines().rev().nth(3).unwrap().to_string();
    assert!(again.contains(&line), "{line}");
    assert_sound(&machine);
}
