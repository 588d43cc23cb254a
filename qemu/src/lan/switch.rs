//! The switch itself: one thread that polls every port, learns addresses and moves frames.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Capture, Counters, Direction, FrameReader, FrameWriter, Impairer, Impairment, Pcap};

/// Captures are brought to disk when nothing has happened for this long, and before a command is answered: a
/// write for every frame would cost more than the frame.
const CAPTURE_REST: Duration = Duration::from_millis(10);

/// What the switch can be told; `done` is answered when it is in effect.
pub enum Command {
    Add {
        index: usize,
        listener: UnixListener,
        counters: Arc<Counters>,
        pcap: PathBuf,
        done: mpsc::SyncSender<()>,
    },
    Impair {
        index: usize,
        direction: Direction,
        rule: Impairment,
        seed: u64,
        done: mpsc::SyncSender<()>,
    },
    Cut {
        index: usize,
        cut: bool,
        done: mpsc::SyncSender<()>,
    },
    Capture {
        index: usize,
        capture: Capture,
        done: mpsc::SyncSender<()>,
    },
    CpuTime {
        used: mpsc::SyncSender<Duration>,
        done: mpsc::SyncSender<()>,
    },
    /// Nothing but to answer.
    Settle {
        done: mpsc::SyncSender<()>,
    },
    End {
        done: mpsc::SyncSender<()>,
    },
}

pub struct Switch {
    commands: mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    fabric: Fabric,
}

/// Everything frames touch.
#[derive(Default)]
struct Fabric {
    ports: Vec<Option<PortState>>,
    /// Which port a source address was last seen on.
    learned: HashMap<[u8; 6], usize>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    sequence: u64,
    /// Some capture has more than is on disk.
    captures_dirty: bool,
}

struct PortState {
    listener: UnixListener,
    stream: Option<UnixStream>,
    tx: FrameWriter,
    cut: bool,
    out_rule: Option<Impairer>,
    in_rule: Option<Impairer>,
    counters: Arc<Counters>,
    pcap_path: PathBuf,
    pcap: Option<Pcap<BufWriter<File>>>,
}

/// A frame on a slow link, ordered by arrival, then by when it was sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due: Instant,
    sequence: u64,
    leg: Leg,
    port: usize,
    frame: Box<[u8]>,
}

/// Which half of its way a frame is on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leg {
    /// From the machine at `port` to the switch.
    ToSwitch,
    /// From the switch to the machine at `port`.
    ToMachine,
}

impl Switch {
    pub fn new(commands: mpsc::Receiver<Command>, wake: Arc<OwnedFd>) -> Switch {
        Switch { commands, wake, fabric: Fabric::default() }
    }

    /// Moves frames until told to end.
    pub fn run(mut self) {
        // Beside the fabric, not in it: frames are borrowed from a reader while the fabric moves them.
        let mut readers: Vec<FrameReader> = Vec::new();
        let mut ready: Vec<(usize, bool)> = Vec::new();
        loop {
            self.fabric.flush();
            self.wait(&mut ready);
            while let Ok(command) = self.commands.try_recv() {
                self.fabric.flush_captures();
                // Whoever gives a command and plugged something in before may rely on it being plugged in.
                for (index, reader) in readers.iter_mut().enumerate() {
                    self.fabric.accept(index, reader);
                }
                if !self.carry_out(command) {
                    return;
                }
                readers.resize_with(self.fabric.ports.len(), FrameReader::default);
            }
            let now = (Instant::now(), SystemTime::now());
            for &(index, is_listener) in &ready {
                if is_listener {
                    self.fabric.accept(index, &mut readers[index]);
                } else {
                    self.fabric.receive(index, &mut readers[index], now);
                }
            }
            self.fabric.deliver_due(now);
        }
    }

    /// Sleeps until a port, a delayed frame or a command needs attention. Fills in (port, is it the listener?).
    fn wait(&mut self, ready: &mut Vec<(usize, bool)>) {
        ready.clear();
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        let mut whose = vec![];
        for (index, port) in self.fabric.ports.iter().enumerate() {
            let Some(port) = port else { continue };
            fds.push(PollFd::new(&port.listener, PollFlags::IN));
            whose.push((index, true));
            if let Some(stream) = &port.stream {
                let mut events = PollFlags::IN;
                events.set(PollFlags::OUT, !port.tx.is_empty());
                fds.push(PollFd::new(stream, events));
                whose.push((index, false));
            }
        }
        let due = self.fabric.delayed.peek();
        let due = due.map(|Reverse(first)| first.due.saturating_duration_since(Instant::now()));
        let rest = self.fabric.captures_dirty.then_some(CAPTURE_REST);
        let left = due.into_iter().chain(rest).min();
        let timeout = left
            .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        // An error (EINTR) leaves the events empty and is tried again.
        let quiet = poll(&mut fds, timeout.as_ref()) == Ok(0);
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
        }
        let in_or_gone = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        for (fd, who) in fds[1..].iter().zip(&whose) {
            if fd.revents().intersects(in_or_gone) {
                ready.push(*who);
            }
        }
        if quiet && due.is_none_or(|due| due >= CAPTURE_REST) {
            self.fabric.flush_captures();
        }
        // The old connection's last frames come before a new connection's first.
        ready.sort();
    }

    fn carry_out(&mut self, command: Command) -> bool {
        // It may start a capture.
        self.fabric.captures_dirty = true;
        match command {
            Command::Add { index, listener, counters, pcap, done } => {
                let ports = &mut self.fabric.ports;
                if ports.len() <= index {
                    ports.resize_with(index + 1, || None);
                }
                ports[index] = Some(PortState::new(listener, counters, pcap));
                let _ = done.send(());
            }
            Command::Impair { index, direction, rule, seed, done } => {
                if let Some(port) = self.fabric.port(index) {
                    let impairer = (rule != Impairment::default()).then(|| Impairer::new(rule, seed));
                    match direction {
                        Direction::Out => port.out_rule = impairer,
                        Direction::In => port.in_rule = impairer,
                    }
                }
                let _ = done.send(());
            }
            Command::Cut { index, cut, done } => {
                if let Some(port) = self.fabric.port(index) {
                    port.cut = cut;
                }
                let _ = done.send(());
            }
            Command::Capture { index, capture, done } => {
                if let Some(port) = self.fabric.port(index) {
                    port.start_capture(capture);
                }
                let _ = done.send(());
            }
            Command::CpuTime { used, done } => {
                let _ = used.send(crate::host::thread_cpu_time());
                let _ = done.send(());
            }
            Command::Settle { done } => {
                let _ = done.send(());
            }
            Command::End { done } => {
                let _ = done.send(());
                return false;
            }
        }
        true
    }
}

impl PortState {
    fn new(listener: UnixListener, counters: Arc<Counters>, pcap_path: PathBuf) -> PortState {
        let mut port = PortState {
            listener,
            stream: None,
            tx: FrameWriter::default(),
            cut: false,
            out_rule: None,
            in_rule: None,
            counters,
            pcap_path,
            pcap: None,
        };
        port.start_capture(Capture::Headers);
        port
    }

    /// A capture that can not be written is no reason to stop a test: it is left out.
    fn start_capture(&mut self, capture: Capture) {
        let snap = match capture {
            Capture::Off => {
                self.pcap = None;
                return;
            }
            Capture::Headers => 192,
            Capture::Full => super::MAX_FRAME,
        };
        self.pcap = Pcap::create(&self.pcap_path, snap).ok();
    }

    fn record(&mut self, at: SystemTime, frame: &[u8]) {
        if let Some(pcap) = &mut self.pcap
            && pcap.record(at, frame).is_err()
        {
            self.pcap = None;
        }
    }
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

impl Fabric {
    fn port(&mut self, index: usize) -> Option<&mut PortState> {
        self.ports.get_mut(index)?.as_mut()
    }

    /// Writes out what waits.
    fn flush(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            if let Some(stream) = &mut port.stream
                && !port.tx.is_empty()
                && port.tx.flush(stream).is_err()
            {
                port.stream = None;
                port.tx.clear();
            }
        }
    }

    fn flush_captures(&mut self) {
        if std::mem::take(&mut self.captures_dirty) {
            for pcap in self.ports.iter_mut().flatten().filter_map(|port| port.pcap.as_mut()) {
                let _ = pcap.flush();
            }
        }
    }

    /// A machine was plugged in; whatever was connected before is unplugged.
    fn accept(&mut self, index: usize, reader: &mut FrameReader) {
        let Some(port) = self.port(index) else { return };
        while let Ok((stream, _)) = port.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                reader.clear();
                port.tx.clear();
                port.stream = Some(stream);
            }
        }
    }

    /// Takes what the machine at a port has sent.
    fn receive(&mut self, index: usize, reader: &mut FrameReader, now: (Instant, SystemTime)) {
        let Some(mut stream) = self.port(index).and_then(|port| port.stream.take()) else { return };
        let mut alive = match reader.fill(&mut stream) {
            Ok(n) => n > 0,
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => self.ingress(index, frame, now),
                Ok(None) => break,
                Err(_) => {
                    alive = false;
                    break;
                }
            }
        }
        if let Some(port) = self.port(index) {
            if alive {
                port.stream = Some(stream);
            } else {
                reader.clear();
                port.tx.clear();
            }
        }
    }

    /// A frame leaves the machine at `from`.
    fn ingress(&mut self, from: usize, frame: &[u8], now: (Instant, SystemTime)) {
        self.captures_dirty = true;
        let Some(port) = self.port(from) else { return };
        count(&port.counters.frames_out, 1);
        count(&port.counters.bytes_out, frame.len());
        port.record(now.1, frame);
        if port.cut {
            count(&port.counters.impaired, 1);
            return;
        }
        match &mut port.out_rule {
            None => self.forward(from, frame, now),
            Some(_) => self.impair(Leg::ToSwitch, from, frame, now),
        }
    }

    /// A frame has reached the switch.
    fn forward(&mut self, from: usize, frame: &[u8], now: (Instant, SystemTime)) {
        // A frame too short for addresses (truncated on its way) is nobody's.
        let (Some(destination), Some(source)) = (address(frame, 0), address(frame, 6)) else { return };
        if source[0] & 1 == 0 {
            self.learned.insert(source, from);
        }
        match self.learned.get(&destination) {
            Some(&to) if to == from => {}
            Some(&to) => self.egress(to, frame, now),
            None => {
                for to in (0..self.ports.len()).filter(|&to| to != from) {
                    self.egress(to, frame, now);
                }
            }
        }
    }

    /// A frame leaves the switch for the machine at `to`.
    fn egress(&mut self, to: usize, frame: &[u8], now: (Instant, SystemTime)) {
        match self.port(to).map(|port| port.in_rule.is_some()) {
            None => {}
            Some(false) => self.deliver(to, frame, now),
            Some(true) => self.impair(Leg::ToMachine, to, frame, now),
        }
    }

    /// A frame arrives at the machine at `to`.
    fn deliver(&mut self, to: usize, frame: &[u8], now: (Instant, SystemTime)) {
        self.captures_dirty = true;
        let Some(port) = self.port(to) else { return };
        if port.cut {
            count(&port.counters.impaired, 1);
        } else if port.stream.is_none() {
            count(&port.counters.unplugged, 1);
        } else if port.tx.push(frame) {
            port.record(now.1, frame);
            count(&port.counters.frames_in, 1);
            count(&port.counters.bytes_in, frame.len());
        } else {
            count(&port.counters.overrun, 1);
        }
    }

    /// Throws the dice of a link for a frame.
    fn impair(&mut self, leg: Leg, port: usize, frame: &[u8], now: (Instant, SystemTime)) {
        let Some(state) = self.port(port) else { return };
        let rule = match leg {
            Leg::ToSwitch => &mut state.out_rule,
            Leg::ToMachine => &mut state.in_rule,
        };
        let Some(rule) = rule else { return };
        let fate = rule.judge(now.0, frame.len());
        if fate.arrivals[0].is_none() {
            count(&state.counters.impaired, 1);
        }
        let mut frame: Box<[u8]> = frame[..fate.cut_to.unwrap_or(frame.len())].into();
        if let Some(byte) = fate.flip.and_then(|bit| frame.get_mut(bit / 8).map(|byte| (byte, bit % 8))) {
            *byte.0 ^= 1 << byte.1;
        }
        for due in fate.arrivals.into_iter().flatten() {
            self.sequence += 1;
            let sequence = self.sequence;
            self.delayed.push(Reverse(Delayed { due, sequence, leg, port, frame: frame.clone() }));
        }
    }

    /// Lets delayed frames arrive whose time has come.
    fn deliver_due(&mut self, now: (Instant, SystemTime)) {
        while self.delayed.peek().is_some_and(|Reverse(first)| first.due <= now.0) {
            let Some(Reverse(Delayed { leg, port, frame, .. })) = self.delayed.pop() else { break };
            match leg {
                Leg::ToSwitch => self.forward(port, &frame, now),
                Leg::ToMachine => self.deliver(port, &frame, now),
            }
        }
    }
}

fn address(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}
