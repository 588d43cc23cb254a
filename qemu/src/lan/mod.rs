//! A virtual Ethernet switch that lives in the test process.
//!
//! A [`Lan`] is one learning switch on a thread of its own; several LANs are several switches. Each [`Port`] is a
//! unix socket that one QEMU NIC (`-netdev stream`) or one [`Endpoint`](crate::Endpoint) connects to. When the
//! other side goes away the port waits for the next, so a killed machine comes back on its old port.
//!
//! Every link can be impaired in either direction, cut, counted and captured. Frames cross an unimpaired switch
//! without allocation; frames on delayed links are copied once.

mod frames;
mod impair;
mod pcap;
mod switch;

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use frames::{FrameReader, FrameWriter, MAX_FRAME};
pub use impair::{Fate, Impairer, Impairment};
pub use pcap::Pcap;

use crate::error::{Error, Result};
use switch::{Command, Switch};

/// A virtual Ethernet switch; clones are the same switch.
#[derive(Clone)]
pub struct Lan(Arc<Inner>);

struct Inner {
    name: String,
    dir: PathBuf,
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
    ports: AtomicUsize,
}

/// One port of a [`Lan`], the switch end of one cable; clones are the same port.
#[derive(Clone)]
pub struct Port {
    lan: Lan,
    index: usize,
    name: String,
    counters: Arc<Counters>,
}

/// Which way frames go, seen from what is connected to the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent by the machine at the port.
    Out,
    /// Received by the machine at the port.
    In,
}

/// How much of a link is written to its pcap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Nothing; for benchmarks.
    Off,
    /// The first 192 bytes of every frame (the default).
    Headers,
    /// Whole frames.
    Full,
}

/// Counters of a link, as [`Port::stats`] reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames the machine at the port sent.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames delivered to the machine at the port.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames lost on purpose: impairment or a cut link.
    pub impaired: u64,
    /// Frames for this port while nothing was connected to it.
    pub unplugged: u64,
    /// Frames lost because the machine did not take them fast enough (8 MiB were waiting).
    pub overrun: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub frames_out: AtomicU64,
    pub bytes_out: AtomicU64,
    pub frames_in: AtomicU64,
    pub bytes_in: AtomicU64,
    pub impaired: AtomicU64,
    pub unplugged: AtomicU64,
    pub overrun: AtomicU64,
}

impl Lan {
    /// Starts a switch that keeps its sockets and captures in `dir`.
    pub fn new(name: &str, dir: &Path) -> Result<Lan> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::errno(format!("create the wake-up of switch {name}")))?;
        let wake = Arc::new(wake);
        let (commands, receiver) = mpsc::channel();
        let switch = Switch::new(receiver, wake.clone());
        let thread = thread::Builder::new()
            .name(format!("lan-{name}"))
            .spawn(move || switch.run())
            .map_err(Error::io(format!("start the thread of switch {name}")))?;
        Ok(Lan(Arc::new(Inner {
            name: name.into(),
            dir: dir.into(),
            commands,
            wake,
            thread: Mutex::new(Some(thread)),
            ports: AtomicUsize::new(0),
        })))
    }

    /// Adds a port. The name appears in the file name of its capture.
    pub fn port(&self, name: &str) -> Result<Port> {
        let index = self.0.ports.fetch_add(1, Ordering::Relaxed);
        let counters = Arc::new(Counters::default());
        let port = Port { lan: self.clone(), index, name: name.into(), counters };
        let listener = UnixListener::bind(port.socket())
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(Error::io(format!("open port {name} of switch {}", self.0.name)))?;
        let (pcap, counters) = (port.pcap_path(), port.counters.clone());
        self.tell(|done| Command::Add { index, listener, counters, pcap, done });
        Ok(port)
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// CPU time the switch's thread has used.
    pub fn cpu_time(&self) -> Duration {
        let (used, answer) = mpsc::sync_channel(1);
        self.tell(|done| Command::CpuTime { used, done });
        answer.try_recv().unwrap_or_default()
    }

    /// Hands the switch a command and waits until it has been carried out.
    fn tell(&self, command: impl FnOnce(mpsc::SyncSender<()>) -> Command) {
        let (done, carried_out) = mpsc::sync_channel(1);
        if self.0.commands.send(command(done)).is_ok() {
            let _ = rustix::io::write(&*self.0.wake, &1u64.to_ne_bytes());
            let _ = carried_out.recv();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (done, _ended) = mpsc::sync_channel(1);
        let _ = self.commands.send(Command::End { done });
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) {
            let _ = thread.join();
        }
    }
}

impl Port {
    /// The unix socket to connect to.
    pub fn socket(&self) -> PathBuf {
        self.lan.0.dir.join(format!("{}-{}.sock", self.lan.0.name, self.index))
    }

    /// Connects from within the test process and waits until the switch knows; frames are exchanged with [`FrameReader`] and [`FrameWriter`].
    pub fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.socket());
        let stream = stream.map_err(Error::io(format!("connect to port {}", self.name)))?;
        self.lan.tell(|done| Command::Settle { done });
        Ok(stream)
    }

    /// Where this link's capture is; everything that passed until now is in it.
    pub fn pcap(&self) -> PathBuf {
        self.lan.tell(|done| Command::Settle { done });
        self.pcap_path()
    }

    fn pcap_path(&self) -> PathBuf {
        self.lan.0.dir.join(format!("{}-{}-{}.pcap", self.lan.0.name, self.index, self.name))
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A MAC address that no other port of the bench's switches has (locally administered, stable between runs).
    pub fn default_mac(&self) -> [u8; 6] {
        let lan = self.lan.0.name.bytes().fold(0u16, |hash, byte| hash.wrapping_mul(31) ^ u16::from(byte));
        let (lan, port) = (lan.to_be_bytes(), (self.index as u16).to_be_bytes());
        [0x52, 0x4b, lan[0], lan[1], port[0], port[1]]
    }

    /// Impairs both directions of the link (with different dice). `Impairment::default()` heals it.
    pub fn impair(&self, rule: Impairment, seed: u64) {
        self.impair_one(Direction::Out, rule.clone(), seed);
        self.impair_one(Direction::In, rule, seed ^ 0x5555_5555_5555_5555);
    }

    /// Impairs one direction of the link.
    pub fn impair_one(&self, direction: Direction, rule: Impairment, seed: u64) {
        self.lan.tell(|done| Command::Impair { index: self.index, direction, rule, seed, done });
    }

    /// Pulls the cable: nothing passes any more, and frames on their way to the machine are lost.
    ///
    /// The machine's NIC still sees a carrier; see [`Machine::set_link`](crate::Machine::set_link) for that.
    pub fn cut(&self) {
        self.lan.tell(|done| Command::Cut { index: self.index, cut: true, done });
    }

    /// Puts the cable back.
    pub fn restore(&self) {
        self.lan.tell(|done| Command::Cut { index: self.index, cut: false, done });
    }

    /// Starts the capture anew with this much of each frame, or ends it.
    pub fn capture(&self, capture: Capture) {
        self.lan.tell(|done| Command::Capture { index: self.index, capture, done });
    }

    /// What passed so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        Stats {
            frames_out: read(&c.frames_out),
            bytes_out: read(&c.bytes_out),
            frames_in: read(&c.frames_in),
            bytes_in: read(&c.bytes_in),
            impaired: read(&c.impaired),
            unplugged: read(&c.unplugged),
            overrun: read(&c.overrun),
        }
    }
}

#[cfg(test)]
mod tests;
