//! One node, watched: its log, its events, and whether it is there.
//!
//! The node may come and go. What it logged while nobody was connected comes afterwards, as far as it still has it, and nothing
//! comes twice.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::Roles;
use keelson_lwk_wire::messages::{Event, EventKind, KmsgLine, Message, Ping};

use super::options::Options;
use super::syslog::{Entry, Syslog};
use crate::nodes::Node;
use crate::tools::ihkosctl::event_name;
use crate::tools::remote::{Answer, Remote};
use crate::tools::{Problem, code};

/// How often a node is asked whether it is there, and how often in vain before it is not.
const PING: Duration = Duration::from_secs(5);
const PINGS: u32 = 3;
/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(200);
/// Time between two attempts to connect: doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Severities of syslog(3).
const CRITICAL: u8 = 2;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

/// A node that is watched.
pub struct Watch<'a> {
    node: &'a Node,
    options: &'a Options,
    syslog: &'a Syslog,
    stop: &'a AtomicBool,
    /// The boot that `after` is of, and the last line that was passed on.
    boot: [u8; 16],
    after: Option<u64>,
    /// What a person is told when it changes.
    reachable: bool,
    hooks: Vec<Child>,
}

impl<'a> Watch<'a> {
    /// Nothing is known of the node yet.
    pub fn new(node: &'a Node, options: &'a Options, syslog: &'a Syslog, stop: &'a AtomicBool) -> Watch<'a> {
        Watch { node, options, syslog, stop, boot: [0; 16], after: None, reachable: true, hooks: Vec::new() }
    }

    /// Watches it until it is told to stop.
    pub fn run(mut self) {
        let mut wait = FIRST_WAIT;
        while !self.stopped() {
            let ended = match Remote::connect(self.node, Roles::MONITOR, self.options.common.timeout) {
                Ok(remote) => {
                    wait = FIRST_WAIT;
                    self.reached();
                    self.session(remote)
                }
                Err(problem) => Err(problem),
            };
            if let Err(problem) = ended {
                self.lost(&problem);
            }
            self.pause(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        for mut hook in self.hooks {
            // Whether it is at its end is its own matter.
            let _ = hook.try_wait();
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.stopped() {
            thread::sleep(LOOK.min(time));
        }
    }

    fn reached(&mut self) {
        if !self.reachable {
            self.say(NOTICE, "event", "the node is there again");
        }
        self.reachable = true;
    }

    fn lost(&mut self, problem: &Problem) {
        if self.options.common.verbose {
            eprintln!("ihkmond: {problem}");
        }
        // Once for each time it goes.
        if core::mem::replace(&mut self.reachable, false) {
            self.say(WARNING, "event", &format!("{problem}"));
        }
    }

    /// One connection, until it ends.
    fn session(&mut self, mut remote: Remote) -> Result<(), Problem> {
        if remote.hello.boot_id != self.boot {
            (self.boot, self.after) = (remote.hello.boot_id, None);
        }
        let log = if self.options.log {
            let after = self.after.map(|after| format!("--after={after}"));
            let words: Vec<String> = ["-f".into()].into_iter().chain(after).collect();
            Some(remote.send("kmsg", &words)?)
        } else {
            None
        };
        let seconds = self.options.interval.map(|interval| interval.as_secs().to_string());
        let words: Vec<String> = seconds.map(|seconds| vec!["-i".into(), seconds]).unwrap_or_default();
        let events = remote.send("events", &words)?;
        let (mut asked, mut unanswered) = (Instant::now(), 0);
        while !self.stopped() {
            self.hooks.retain_mut(|hook| matches!(hook.try_wait(), Ok(None)));
            if asked.elapsed() >= PING {
                if unanswered == PINGS {
                    return Err(self.silent());
                }
                remote.frame(&Header::new(FrameType::Ping), &Ping::default())?;
                (asked, unanswered) = (Instant::now(), unanswered + 1);
            }
            let Some(frame) = remote.receive(LOOK)? else { continue };
            // Whatever it says, it is there.
            unanswered = 0;
            if frame.header.kind == FrameType::Event {
                if let Ok(event) = Event::decode(&frame.payload) {
                    self.event(event.kind, &event.text);
                }
                continue;
            }
            for id in log.into_iter().chain([events]) {
                if let Some(Answer::Lines(lines)) = remote.answer(id, &frame)? {
                    self.lines(&lines);
                }
            }
        }
        Ok(())
    }

    fn lines(&mut self, lines: &[KmsgLine]) {
        for line in lines {
            let (seconds, micros) = (line.time / 1_000_000_000, line.time % 1_000_000_000 / 1000);
            // The node's time and core belong to what it says.
            let text = format!("[{seconds:5}.{micros:06}] {} {}", line.core, line.text);
            if !self.say(line.severity, "kmsg", &text) {
                return;
            }
            self.after = Some(line.sequence);
        }
    }

    /// It does not answer any more, though the connection stands.
    fn silent(&mut self) -> Problem {
        let name = format!("node {}", self.node.name);
        if self.options.interval.is_some() {
            self.event(EventKind::Hungup, "the node does not answer (unreachable)");
        }
        Problem::new(code::TIMEOUT, name, format!("does not answer {PINGS} times in {PING:?} each"))
    }

    fn event(&mut self, kind: EventKind, text: &str) {
        let severity = match kind {
            EventKind::Panic | EventKind::Hungup => CRITICAL,
            EventKind::Oom => ERROR,
            EventKind::KmsgFull | EventKind::Stalled => WARNING,
        };
        let name = event_name(kind);
        self.say(severity, "event", &format!("{name}: {text}"));
        if matches!(kind, EventKind::Panic | EventKind::Hungup | EventKind::Oom)
            && let Some(command) = &self.options.on_event
        {
            let hook = Command::new("sh")
                .args(["-c", command])
                .env("LWK_EVENT", name)
                .env("LWK_NODE", &self.node.name)
                .env("LWK_INDEX", self.node.index.to_string())
                .env("LWK_TEXT", text)
                .stdin(Stdio::null())
                .spawn();
            match hook {
                Ok(hook) => self.hooks.push(hook),
                Err(error) => drop(self.say(ERROR, "event", &format!("--on-event: sh: {error}"))),
            }
        }
    }

    fn say(&self, severity: u8, kind: &'static str, text: &str) -> bool {
        let (host, instance) = (&self.node.name, self.node.index);
        let entry = Entry { severity, time: SystemTime::now(), host, instance, kind, text };
        self.syslog.send(&entry, self.stop)
    }
}
