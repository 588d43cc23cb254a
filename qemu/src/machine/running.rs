//! A running machine: buttons, console, exit status, cost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::qmp::Qmp;
use super::spawn::spawn;
use super::spec::MachineSpec;
use super::usage::Usage;
use crate::console::{Console, Line};
use crate::error::{Error, Result};

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It powered itself off (ACPI), or was told to quit.
    PowerOff,
    /// It wrote 0x10 to isa-debug-exit: the test inside passed (status 33).
    Pass,
    /// It wrote 0x11 to isa-debug-exit: the test inside failed (status 35).
    Fail,
    /// Another exit status, of QEMU or of isa-debug-exit (2 x value + 1).
    Status(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl Exit {
    fn from_status(status: ExitStatus) -> Exit {
        match (status.code(), status.signal()) {
            (Some(0), _) => Exit::PowerOff,
            (Some(33), _) => Exit::Pass,
            (Some(35), _) => Exit::Fail,
            (Some(code), _) => Exit::Status(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        }
    }
}

/// A running QEMU. Dropping it kills it.
pub struct Machine {
    spec: MachineSpec,
    console: Console,
    child: Mutex<Child>,
    pid: u32,
    qmp: Mutex<Qmp>,
    channels: HashMap<String, UnixStream>,
    started: Instant,
}

impl Machine {
    /// How long QEMU may take to connect its sockets; generous for a loaded host.
    const CONNECT: Duration = Duration::from_secs(30);

    pub(super) fn start(spec: MachineSpec) -> Result<Machine> {
        let mut sockets: Vec<String> = vec!["qmp".into()];
        sockets.extend(spec.channels.iter().cloned());
        if spec.has_virtio_console() {
            sockets.push("hvc0".into());
        }
        // The bench listens and QEMU connects, so nothing has to be tried again until it is there.
        let mut listeners = Vec::new();
        for name in sockets {
            let path = spec.socket(&name);
            let _ = fs::remove_file(&path);
            let listener =
                UnixListener::bind(&path).map_err(Error::io(format!("listen at {}", path.display())))?;
            listeners.push((name, listener));
        }
        let console = spec.bench.console(&spec.name);
        let mut command = spec.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = spawn(command).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                what: "setpriv or qemu-system-x86_64".into(),
                remedy: "apt-get install util-linux qemu-system-x86".into(),
            },
            _ => Error::Io { doing: "start QEMU".into(), source },
        })?;
        if let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            console.attach(stdout, "");
            console.attach(stderr, "qemu: ");
            console.attach_input(stdin);
        }
        let connected = connect(&spec.name, &mut child, listeners);
        let (qmp, streams) = match connected {
            Ok(connected) => connected,
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                // QEMU's own words say it best; give them a moment to arrive.
                thread::sleep(Duration::from_millis(50));
                let what = format!("QEMU did not come up ({e}):\n{}", console.transcript());
                return Err(Error::machine(&spec.name, what));
            }
        };
        if let Some(stream) = streams.get("hvc0") {
            let stream = stream.try_clone().map_err(Error::io("open hvc0"))?;
            console.attach(stream, "hvc0: ");
        }
        Ok(Machine {
            pid: child.id(),
            console,
            child: Mutex::new(child),
            qmp: Mutex::new(qmp),
            channels: streams,
            started,
            spec,
        })
    }

    /// The name given to the machine.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Shorthand for [`Console::expect`].
    pub fn expect(&self, pattern: &str, timeout: Duration) -> Result<Line> {
        self.console.expect(pattern, timeout)
    }

    /// When QEMU was started; boot times count from here.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The host's side of virtio-serial port `name`. What is written to `hvc0` is typed into the virtio console;
    /// its output is read already.
    pub fn channel(&self, name: &str) -> Result<UnixStream> {
        let stream = self.channels.get(name);
        let stream = stream.ok_or_else(|| Error::machine(self.name(), format!("has no channel {name}")))?;
        stream.try_clone().map_err(Error::io(format!("open channel {name}")))
    }

    /// A file of the machine's own in the bench's directory.
    pub(super) fn file(&self, what: &str) -> PathBuf {
        self.spec.bench.dir().join(format!("{}-{what}", self.spec.name))
    }

    /// Where TCP port `guest` of the machine is reached (see [`Nic::forward_tcp`](super::Nic::forward_tcp)).
    pub fn forwarded_tcp(&self, guest: u16) -> Result<SocketAddr> {
        self.spec.forwarded("tcp", guest)
    }

    /// Where UDP port `guest` of the machine is reached.
    pub fn forwarded_udp(&self, guest: u16) -> Result<SocketAddr> {
        self.spec.forwarded("udp", guest)
    }

    /// Presses the power button (ACPI); the machine may take its time.
    pub fn power_button(&self) -> Result<()> {
        self.qmp("system_powerdown", "{}").map(drop)
    }

    /// Presses the reset button.
    pub fn reset(&self) -> Result<()> {
        self.console.note("---- reset ----");
        self.qmp("system_reset", "{}").map(drop)
    }

    /// Stops all CPUs of the machine (its peers see it go silent).
    pub fn pause(&self) -> Result<()> {
        self.qmp("stop", "{}").map(drop)
    }

    /// Lets the CPUs go on.
    pub fn resume(&self) -> Result<()> {
        self.qmp("cont", "{}").map(drop)
    }

    /// Sets the carrier that NIC number `nic` (0 is the first) sees.
    pub fn set_link(&self, nic: usize, up: bool) -> Result<()> {
        self.qmp("set_link", &format!("{{\"name\":\"nic{nic}\",\"up\":{up}}}")).map(drop)
    }

    /// Sends any QMP command; `arguments` is a JSON object. Returns QEMU's answer.
    pub fn qmp(&self, command: &str, arguments: &str) -> Result<String> {
        self.qmp.lock().expect("qmp").command(command, arguments)
    }

    /// CPU time and memory used so far.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid).ok_or_else(|| Error::machine(self.name(), "has ended; its usage is gone"))
    }

    /// Waits for the machine to end by itself.
    pub fn wait(&self, timeout: Duration) -> Result<Exit> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut child = self.child.lock().expect("child");
            if let Some(status) = child.try_wait().map_err(Error::io("wait for QEMU"))? {
                return Ok(Exit::from_status(status));
            }
            drop(child);
            if Instant::now() >= deadline {
                return Err(Error::Timeout {
                    waiting_for: format!("the end of machine {}", self.name()),
                    after: timeout,
                    seen: self.console.transcript(),
                });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// True while QEMU runs.
    pub fn is_running(&self) -> bool {
        matches!(self.child.lock().expect("child").try_wait(), Ok(None))
    }

    /// Cuts the power: SIGKILL, nothing is flushed. What QEMU had written stays in the host's page cache; use a
    /// [`VolatileDisk`](crate::VolatileDisk) to lose what was not flushed.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("child");
        if let Ok(None) = child.try_wait() {
            self.console.note("---- power cut ----");
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    /// Cuts the power and starts the same machine again, on the same ports and disks.
    pub fn restart(self) -> Result<Machine> {
        self.kill();
        let spec = self.spec.clone();
        drop(self);
        Machine::start(spec)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Takes QEMU's connections, of which `qmp` is the control connection.
fn connect(
    machine: &str,
    child: &mut Child,
    listeners: Vec<(String, UnixListener)>,
) -> Result<(Qmp, HashMap<String, UnixStream>)> {
    let mut streams = HashMap::new();
    for (name, listener) in listeners {
        let stream = accept(machine, child, &listener, &name)?;
        streams.insert(name, stream);
    }
    let qmp = streams.remove("qmp").ok_or_else(|| Error::machine(machine, "has no control connection"))?;
    Ok((Qmp::new(machine, qmp)?, streams))
}

/// Accepts QEMU's connection, unless QEMU ends first.
fn accept(machine: &str, child: &mut Child, listener: &UnixListener, what: &str) -> Result<UnixStream> {
    let deadline = Instant::now() + Machine::CONNECT;
    while Instant::now() < deadline {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }));
        if !fds[0].revents().is_empty() {
            let (stream, _) = listener.accept().map_err(Error::io(format!("accept QEMU's {what}")))?;
            return Ok(stream);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::machine(machine, format!("QEMU ended with {status}")));
        }
    }
    Err(Error::machine(machine, format!("QEMU did not connect its {what} socket")))
}
