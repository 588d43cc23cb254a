//! A node at one end of a tap, the host that launches programs at the other.

use super::output;
use crate::Appliance;
use crate::world::SOON;
use keelson_qemu::{Bench, Error, Machine, MachineSpec, Namespace, Nic, NicModel, Result, Tap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;
use std::{fs, thread};

/// What a node is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// CPUs; the first is the service core.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// Words of the command line beyond network and key.
    pub line: &'a str,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Shape { cpus: 4, memory: 1024, line: "" }
    }
}

/// A running node.
pub struct LwkNode {
    /// The machine.
    pub machine: Machine,
    /// Where the host's end of the cable is.
    pub namespace: Namespace,
    /// The cable, unless hosts come by serial ports.
    tap: Option<Tap>,
    /// Files of this test: keys, node table, what programs write.
    dir: PathBuf,
    lwkctl: PathBuf,
    // Last: everything above lives in it.
    _bench: Bench,
}

/// Address and name of the node.
const OWN: &str = "ip=10.0.0.1/24:eth0 hostname=node";

/// A key, for tests: nothing here is secret.
pub(super) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

impl LwkNode {
    /// The digits of a further key of the node, named `watcher`, that is good for `monitor` only.
    pub const WATCHER: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeffe0e1e2e3e4e5e6e7e8e9eaebecedeeef";
    /// Of one named `readable`, whose holders do without encryption.
    const READABLE: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

    /// Boots a node and waits until hosts may connect. `lwkctl` is the host's program.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start(name: &str, lwkctl: &str, shape: Shape<'_>) -> LwkNode {
        LwkNode::start_with(name, lwkctl, shape, &[])
    }

    /// The same with words for QEMU.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_with(name: &str, lwkctl: &str, shape: Shape<'_>, words: &[String]) -> LwkNode {
        LwkNode::boot(name, lwkctl, shape, words, true)
    }

    /// A node that lets every host in and proves nothing to it (`insecure=1`).
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_open(name: &str, lwkctl: &str, shape: Shape<'_>) -> LwkNode {
        LwkNode::boot(name, lwkctl, shape, &[], false)
    }

    fn boot(name: &str, lwkctl: &str, shape: Shape<'_>, words: &[String], keyed: bool) -> LwkNode {
        let bench = Bench::new(name);
        let namespace = Namespace::new().unwrap();
        let tap = namespace.tap(&["10.0.0.9/24"]).unwrap();
        let dir = bench.dir().to_path_buf();
        let readable = format!("readable {} mac\n", LwkNode::READABLE);
        let keys = format!("default {KEY}\nwatcher {} monitor\n{readable}", LwkNode::WATCHER);
        fs::write(dir.join("psk"), keys).unwrap();
        let key = dir.join("key");
        fs::write(&key, format!("default {KEY}\n")).unwrap();
        restrict(&key);
        let unencrypted = LwkNode::unencrypted_key_in(&dir);
        fs::write(&unencrypted, readable).unwrap();
        restrict(&unencrypted);
        let known = if keyed { key.display().to_string() } else { "none".into() };
        fs::write(dir.join("nodes"), format!("0 node 10.0.0.1:8810 {known}\n")).unwrap();
        let spec = match keyed {
            true => LwkNode::spec(&bench, "node", &tap, shape),
            false => LwkNode::plain(&bench, "node", &tap, shape, &format!("{OWN} insecure=1 {}", shape.line)),
        };
        let spec = spec.args(words.iter().map(String::as_str));
        let machine = spec.start().unwrap();
        machine.expect("lwk: hosts may connect", SOON).unwrap();
        LwkNode { machine, namespace, tap: Some(tap), dir, lwkctl: lwkctl.into(), _bench: bench }
    }

    /// A node without network and key, which hosts reach by serial ports that have these names behind `lwk.`.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_serial(name: &str, lwkctl: &str, shape: Shape<'_>, ports: &[&str]) -> LwkNode {
        let bench = Bench::new(name);
        let dir = bench.dir().to_path_buf();
        let sockets = dir.join("ports");
        fs::create_dir(&sockets).unwrap();
        fs::write(dir.join("nodes"), format!("0 node unix:{} none\n", sockets.display())).unwrap();
        let mut words = vec!["-device".into(), "virtio-serial-pci,id=serial".into()];
        for port in ports {
            let socket = sockets.join(format!("lwk.{port}"));
            let chardev = format!("socket,id={port},path={},server=on,wait=off", socket.display());
            let device = format!("virtserialport,bus=serial.0,chardev={port},name=lwk.{port}");
            words.extend(["-chardev".into(), chardev, "-device".into(), device]);
        }
        let line = format!("hostname=node listen=serial:lwk {}", shape.line);
        let spec = Appliance::lwk(&bench, "node", &line).cpus(shape.cpus).memory_mib(shape.memory);
        let machine = spec.args(words.iter().map(String::as_str)).start().unwrap();
        machine.expect("lwk: hosts may connect", SOON).unwrap();
        let namespace = Namespace::new().unwrap();
        LwkNode { machine, namespace, tap: None, dir, lwkctl: lwkctl.into(), _bench: bench }
    }

    /// Pulls the cable, or plugs it in again: the host's end says nothing, and hears nothing.
    ///
    /// # Panics
    ///
    /// When the host's end cannot be changed, or there is none.
    pub fn plug(&self, connected: bool) {
        let state = if connected { "up" } else { "down" };
        let tap = self.tap.as_ref().expect("a cable");
        self.namespace.ip(&["link", "set", tap.name(), state]).unwrap();
    }

    /// The machine of a node, on a tap.
    pub fn spec(bench: &Bench, name: &str, tap: &Tap, shape: Shape<'_>) -> MachineSpec {
        LwkNode::machine(bench, name, tap, shape, &format!("{OWN} {}", shape.line))
    }

    /// The same with this command line.
    pub(super) fn machine(bench: &Bench, name: &str, tap: &Tap, shape: Shape<'_>, line: &str) -> MachineSpec {
        let key = bench.dir().join("psk");
        let spec = LwkNode::plain(bench, name, tap, shape, line);
        spec.args(["-fw_cfg", &format!("name=opt/lwk/psk,file={}", key.display())])
    }

    /// The same without keys.
    fn plain(bench: &Bench, name: &str, tap: &Tap, shape: Shape<'_>, line: &str) -> MachineSpec {
        Appliance::lwk(bench, name, line)
            .cpus(shape.cpus)
            .memory_mib(shape.memory)
            .nic(Nic::tap(tap, NicModel::Virtio))
    }

    /// A directory for what programs write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a key whose holders do without encryption, for `mcexec --key`.
    pub fn unencrypted_key(&self) -> PathBuf {
        LwkNode::unencrypted_key_in(&self.dir)
    }

    fn unencrypted_key_in(dir: &Path) -> PathBuf {
        dir.join("readable")
    }

    /// A tool of the host, in the namespace of the cable.
    pub fn tool(&self, tool: &str) -> Command {
        let mut command = self.namespace.command("env");
        // Whoever runs the tests in the background may have taught them to ignore Ctrl-C.
        command.arg("--default-signal=INT").arg(format!("LWK_CONF={}", self.dir.join("nodes").display()));
        command.arg(&self.lwkctl).arg(tool).current_dir(&self.dir);
        command
    }

    /// `mcexec` with options.
    pub fn mcexec(&self, options: &[&str], program: &Path, words: &[&str]) -> Command {
        let mut command = self.tool("mcexec");
        // Tests run as root, whose rights mcexec does not lend to anybody unasked.
        command.arg("--allow-root").args(options).arg("0").arg(program).args(words);
        command
    }

    /// Runs a program on the node.
    pub fn run(&self, program: &Path, words: &[&str], input: &[u8]) -> Output {
        output(self.mcexec(&[], program, words), input)
    }

    /// Starts the quanta of `fwq.c`, which end long after a test, and waits until they are under way.
    ///
    /// # Panics
    ///
    /// When they do not begin.
    pub fn computing(&self, fwq: &Path) -> Child {
        let mut command = self.mcexec(&[], fwq, &["1000000"]);
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = piped.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "begin\n");
        running
    }

    /// Runs a program on the host, in the same place.
    pub fn reference(&self, program: &Path, words: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.dir);
        output(command, input)
    }

    /// Seconds that so many bytes take over TCP, half of them to the node and half back: so many means of as many exchanges each.
    /// The node must have been started with `lwk.echo`.
    ///
    /// # Errors
    ///
    /// When there is no such service.
    pub fn round_trip(&self, bytes: usize, exchanges: u32, means: u32) -> Result<Vec<f64>> {
        let timed = self.namespace.run(|| round_trip(bytes / 2, exchanges, means))?;
        timed.map_err(|source| Error::Io { doing: "exchange bytes with the node's port 7".into(), source })
    }

    /// Runs a program here and there, and wants the same output and end.
    ///
    /// # Panics
    ///
    /// When they differ.
    pub fn same(&self, program: &Path, words: &[&str], input: &[u8]) -> Output {
        let (ours, linux) = (self.run(program, words, input), self.reference(program, words, input));
        let (out, expected) = (String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&linux.stdout));
        let errors = String::from_utf8_lossy(&ours.stderr);
        assert_eq!(out, expected, "{} {words:?}, standard error:\n{errors}", program.display());
        assert_eq!(errors, String::from_utf8_lossy(&linux.stderr), "{} {words:?}", program.display());
        assert_eq!(ours.status, linux.status, "{} {words:?}", program.display());
        ours
    }
}

/// Keys are for their owner only.
pub(super) fn restrict(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn round_trip(half: usize, exchanges: u32, means: u32) -> io::Result<Vec<f64>> {
    /// So much fits into the buffers on the way: no thread is needed, whose start would count.
    const AT_ONCE: usize = 16 << 10;
    let stream = TcpStream::connect(("10.0.0.1", 7))?;
    stream.set_nodelay(true)?;
    let (sent, mut received) = (vec![1; half], vec![0; half]);
    let mut each = Vec::new();
    for _ in 0..means {
        let start = Instant::now();
        for _ in 0..exchanges {
            if half <= AT_ONCE {
                (&stream).write_all(&sent)?;
                (&stream).read_exact(&mut received)?;
                continue;
            }
            thread::scope(|scope| {
                // What comes back must be taken while the rest is sent.
                let sending = scope.spawn(|| (&stream).write_all(&sent));
                (&stream).read_exact(&mut received)?;
                sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })?;
        }
        each.push(start.elapsed().as_secs_f64() / f64::from(exchanges));
    }
    Ok(each)
}
