//! The log on its way to other hosts: syslog over UDP (RFC 5424, RFC 5426).
//!
//! ```text
//!   kernel's log -> LogReader -> level -> rate -> is the host in reach? -> message -> UDP
//!   (a ring)        lines, what was lost          else wait; the ring keeps what follows
//! ```
//!
//! Each host has a task with a reader of its own, which begins with the first line of this boot: the lines of before the network
//! are sent, too. While there is no way to the host the task waits and takes nothing more out of the ring; what the ring could not
//! keep is counted and said. Nobody who logs waits for any of this, and nothing here logs but its start.
//!
//! Not here: syslog over TCP or TLS; who must not lose a line reads the log by other means.

pub mod message;
mod options;
pub mod received;

pub use options::{OPTIONS, Settings};

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::Instant;
use keelson_hal::log::{KernelLog, LogEntry, LogReader, WARNING};
use keelson_net::{Reach, SendError, Stack, UdpOptions, UdpSocket};
use message::Message;

/// Bytes of one line of the log; what is longer is cut when it is sent.
const LINE: usize = 4 << 10;
/// Bytes that are taken out of the log at once.
const CHUNK: usize = 8 << 10;
/// How often is looked for more.
const LOOK: Duration = Duration::from_millis(100);
/// How often is looked whether the host is in reach: the stack asks for a neighbour once a second.
const AGAIN: Duration = Duration::from_millis(200);
/// Lines that are sent at once, and the pause behind them: 1,000 lines in a second at most, so that a log in full cry takes
/// neither the network nor the receiver away from others.
const BURST: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// What has become of the lines for a host.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Messages that went out; what the network did with them nobody knows.
    pub sent: u64,
    /// Lines that are less severe than wanted.
    pub unwanted: u64,
    /// Lines that the ring lost before they could be sent.
    pub lost: u64,
    /// Attempts that found no way to the host, or no room in the transmit queue; the line was sent later.
    pub deferred: u64,
}

/// Sends the log to all hosts of the settings. Clones are the same.
#[derive(Clone)]
pub struct Syslog {
    senders: Rc<[Rc<Sender>]>,
}

/// A host and the way to it.
struct Sender {
    host: SocketAddr,
    settings: Settings,
    app: &'static str,
    handle: Handle,
    stack: Stack,
    log: Rc<dyn KernelLog>,
    counters: Cell<Counters>,
    /// How the host is reached now.
    reach: Cell<Reach>,
    /// All lines up to here were sent.
    position: Cell<u64>,
    sequence: Cell<u32>,
    /// The target of the last line that had one.
    kind: RefCell<String>,
}

impl Syslog {
    /// Starts a task for each host. `app` is what the lines are said to be from: the role.
    pub fn start(
        handle: &Handle,
        stack: &Stack,
        log: Rc<dyn KernelLog>,
        app: &'static str,
        settings: &Settings,
    ) -> Syslog {
        let sender = |host: &SocketAddr| {
            log::info!(
                target: "syslog",
                "the log goes to {host} as {}, severity {} and graver",
                settings.facility_name(),
                settings.level
            );
            Rc::new(Sender {
                host: *host,
                settings: settings.clone(),
                app,
                handle: handle.clone(),
                stack: stack.clone(),
                log: log.clone(),
                counters: Cell::default(),
                reach: Cell::new(Reach::NoRoute),
                position: Cell::new(0),
                sequence: Cell::new(0),
                kind: RefCell::default(),
            })
        };
        let senders: Rc<[_]> = settings.hosts.iter().map(sender).collect();
        for sender in senders.iter() {
            handle.spawn("syslog", sender.clone().run());
        }
        Syslog { senders }
    }

    /// What has become of the lines, by host.
    pub fn counters(&self) -> Vec<(SocketAddr, Counters)> {
        self.senders.iter().map(|sender| (sender.host, sender.counters.get())).collect()
    }

    /// The same for people.
    pub fn status(&self) -> String {
        let mut text = String::new();
        for sender in self.senders.iter() {
            let Counters { sent, unwanted, lost, deferred } = sender.counters.get();
            let reach = match sender.reach.get() {
                Reach::NoRoute => "no route there".to_string(),
                Reach::Asking => "the next host on the way does not answer yet".to_string(),
                Reach::Known(source) => format!("from {source}"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{} ({}, severity {} and graver): {reach}\n  {sent} sent, {unwanted} less severe, {lost} lost, {deferred} deferred",
                sender.host,
                sender.settings.facility_name(),
                sender.settings.level,
            );
        }
        if text.is_empty() { "the log goes nowhere; loghost=ADDRESS sends it\n".to_string() } else { text }
    }

    /// Waits until what the log has now was sent to all hosts that are in reach: the last words before the end.
    pub async fn drained(&self) {
        let end = self.senders.first().map_or(0, |sender| sender.log.copy_from(u64::MAX, &mut []).1);
        for sender in self.senders.iter() {
            while matches!(sender.reach.get(), Reach::Known(_)) && sender.position.get() < end {
                sender.handle.sleep(PAUSE).await;
            }
        }
    }
}

impl Sender {
    async fn run(self: Rc<Self>) {
        // Nothing is received: what comes is dropped, and counted by the stack.
        let nothing = UdpOptions { queue: 0, queue_bytes: 0 };
        let socket = loop {
            match self.stack.bind_udp(0, nothing) {
                Ok(socket) => break socket,
                Err(_) => self.handle.sleep(AGAIN).await,
            }
        };
        let mut reader = LogReader::new(0, LINE, CHUNK);
        let mut left = BURST;
        let mut message = String::with_capacity(message::LONGEST);
        loop {
            let entries = reader.read(&*self.log);
            let at_end = entries.is_empty();
            for entry in entries {
                if !self.is_wanted(&entry) {
                    continue;
                }
                self.deliver(&socket, &entry, &mut message).await;
                left -= 1;
                if left == 0 {
                    self.handle.sleep(PAUSE).await;
                    left = BURST;
                }
            }
            self.position.set(reader.position());
            if at_end {
                self.handle.sleep(LOOK).await;
                left = BURST;
            }
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Whether an entry is severe enough; notes what it says for those that follow.
    fn is_wanted(&self, entry: &LogEntry) -> bool {
        let severity = match entry {
            LogEntry::Line(line) => {
                if let (Some(target), _) = line.parts() {
                    let mut kind = self.kind.borrow_mut();
                    kind.clear();
                    kind.push_str(target);
                }
                line.severity
            }
            LogEntry::Lost { lines, .. } => {
                self.count(|counters| counters.lost += lines);
                WARNING
            }
        };
        let wanted = severity <= self.settings.level;
        self.count(|counters| counters.unwanted += u64::from(!wanted));
        wanted
    }

    /// Sends an entry, when there is a way to the host.
    async fn deliver(&self, socket: &UdpSocket, entry: &LogEntry, message: &mut String) {
        loop {
            let reach = self.stack.reach(self.host.ip());
            self.reach.set(reach);
            if let Reach::Known(source) = reach {
                let sequence = message::next(self.sequence.get());
                self.write(entry, source, sequence, message);
                match socket.send(Some(source), self.host, message.as_bytes()) {
                    Ok(()) => {
                        self.sequence.set(sequence);
                        return self.count(|counters| counters.sent += 1);
                    }
                    // A message is shorter than any datagram may be.
                    Err(SendError::TooLong(_)) => return,
                    Err(SendError::Dropped | SendError::NoRoute(_)) => {}
                }
            }
            self.count(|counters| counters.deferred += 1);
            self.handle.sleep(AGAIN).await;
        }
    }

    fn write(&self, entry: &LogEntry, source: IpAddr, sequence: u32, message: &mut String) {
        let name = self.stack.hostname();
        let host = if name.is_empty() { source.to_string() } else { name };
        let clock = self.handle.clock();
        let wall = |time: Instant| {
            let ago = clock.now().saturating_since(time);
            clock.wall_is_known().then(|| clock.wall().saturating_sub(ago))
        };
        let (facility, app) = (self.settings.facility, self.app);
        let kind = self.kind.borrow();
        match entry {
            LogEntry::Line(line) => Message {
                facility,
                severity: line.severity,
                wall: wall(line.time),
                since_boot: line.time,
                host: &host,
                app,
                kind: &kind,
                sequence,
                text: line.parts().1,
            }
            .write(message),
            LogEntry::Lost { lines, .. } => {
                let (now, lines) = (clock.now(), *lines);
                let were = if lines == 1 { "line of the log was" } else { "lines of the log were" };
                Message {
                    facility,
                    severity: WARNING,
                    wall: wall(now),
                    since_boot: now,
                    host: &host,
                    app,
                    kind: "syslog",
                    sequence,
                    text: &format!("{lines} {were} lost before they could be sent"),
                }
                .write(message);
            }
        }
    }
}
