//! A node that a tool asks.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::bytes::Malformed;
use keelson_lwk_wire::frame::{Flags, Frame, FrameType, Header};
use keelson_lwk_wire::handshake::{Hello, Purpose, Roles};
use keelson_lwk_wire::messages::{Ctrl, CtrlAnswer, CtrlReply, Kmsg, KmsgLine, Message};

use super::options::Common;
use super::{Problem, code};
use crate::link::{Connected, Lane, LinkError};
use crate::nodes::{self, Node};

/// The nodes of the table.
pub fn table(common: &Common) -> Result<Vec<Node>, Problem> {
    let conf = common.conf.clone().or_else(|| std::env::var_os("LWK_CONF").map(PathBuf::from));
    let conf = conf.unwrap_or_else(|| nodes::DEFAULT_CONF.into());
    nodes::load(&conf).map_err(|text| match text.split_once(": ") {
        Some((object, reason)) => Problem::new(code::FAILED, object, reason),
        None => Problem::new(code::FAILED, conf.display(), text),
    })
}

/// The node of the table that is meant by a name or an index.
pub fn find(table: Vec<Node>, wanted: &str) -> Result<Node, Problem> {
    let index: Option<u32> = wanted.parse().ok();
    let found = table.into_iter().find(|node| Some(node.index) == index || node.name == wanted);
    found.ok_or_else(|| Problem::new(code::USAGE, wanted, "no such node in the table"))
}

/// A connection to a node, for a role.
pub struct Remote {
    /// What the node said of itself.
    pub hello: Hello,
    name: String,
    lane: Lane,
    timeout: Duration,
    next: u64,
}

impl Remote {
    /// Connects.
    pub fn connect(node: &Node, roles: Roles, timeout: Duration) -> Result<Remote, Problem> {
        let name = format!("node {}", node.name);
        let key = node.key_file.as_deref().map(nodes::load_key).transpose();
        let key = key.map_err(|text| Problem::new(code::DENIED, &name, text))?;
        let connected = Lane::connect_within(&node.address, key.as_ref(), Purpose::Control(roles), timeout);
        let Connected { lane, node: hello, .. } = connected.map_err(|error| lost(&name, &error))?;
        Ok(Remote { hello, name, lane, timeout, next: 1 })
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a verb; the number of the request.
    pub fn send(&mut self, verb: &str, args: &[String]) -> Result<u64, Problem> {
        let id = self.next;
        self.next += 1;
        let ctrl = Ctrl { verb: verb.to_owned(), args: args.to_vec() };
        self.frame(&Header::new(FrameType::Ctrl).id(id), &ctrl)?;
        Ok(id)
    }

    /// Sends anything.
    pub fn frame<'a>(&self, header: &Header, message: &impl Message<'a>) -> Result<(), Problem> {
        self.lane.send(header, message).map_err(|error| lost(&self.name, &LinkError::Lost(error)))
    }

    /// The next frame; `None` when nothing comes for so long.
    pub fn receive(&self, time: Duration) -> Result<Option<Frame>, Problem> {
        let limited = self.lane.limit_reads(Some(time));
        limited.map_err(|error| lost(&self.name, &LinkError::Lost(error)))?;
        match self.lane.receive() {
            Ok(frame) if frame.header.kind == FrameType::Bye => {
                Err(Problem::new(code::UNREACHABLE, &self.name, "it ended the connection"))
            }
            Ok(frame) => Ok(Some(frame)),
            Err(LinkError::Lost(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Err(error) => Err(lost(&self.name, &error)),
        }
    }

    /// What a frame of an answer says; `Ok(None)` for one of another request.
    pub fn answer(&self, id: u64, frame: &Frame) -> Result<Option<Answer>, Problem> {
        let nonsense = |_: Malformed| self.nonsense();
        if frame.header.id != id {
            return Ok(None);
        }
        Ok(Some(match frame.header.kind {
            FrameType::Kmsg => Answer::Lines(Kmsg::decode(&frame.payload).map_err(nonsense)?.lines),
            FrameType::CtrlReply => match CtrlReply::decode(&frame.payload).map_err(nonsense)?.answer {
                CtrlAnswer::Text(text) if frame.header.flags.contains(Flags::MORE) => Answer::Part(text),
                CtrlAnswer::Text(text) => Answer::Last(text),
                CtrlAnswer::Binary(bytes) => {
                    Answer::Bytes { bytes, more: frame.header.flags.contains(Flags::MORE) }
                }
                CtrlAnswer::Failed { error, text } => return Err(refused(&self.name, error, &text)),
            },
            _ => return Ok(None),
        }))
    }

    /// Asks, and waits for the whole answer.
    pub fn ask(&mut self, verb: &str, args: &[String]) -> Result<String, Problem> {
        let id = self.send(verb, args)?;
        let deadline = Instant::now() + self.timeout;
        let mut text = String::new();
        loop {
            match self.next(id, verb, deadline)? {
                Answer::Part(part) => text += &part,
                Answer::Last(part) => return Ok(text + &part),
                Answer::Lines(_) => {}
                Answer::Bytes { .. } => return Err(self.nonsense()),
            }
        }
    }

    /// Asks for bytes that are answered at once.
    pub fn ask_bytes(&mut self, verb: &str, args: &[String]) -> Result<Vec<u8>, Problem> {
        let id = self.send(verb, args)?;
        match self.next(id, verb, Instant::now() + self.timeout)? {
            Answer::Bytes { bytes, more: false } => Ok(bytes),
            _ => Err(self.nonsense()),
        }
    }

    /// The next answer to a request, while the time of the options lasts from now on.
    pub fn next_answer(&self, id: u64, verb: &str) -> Result<Answer, Problem> {
        self.next(id, verb, Instant::now() + self.timeout)
    }

    fn next(&self, id: u64, verb: &str, deadline: Instant) -> Result<Answer, Problem> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = if left.is_zero() { None } else { self.receive(left)? };
            let Some(frame) = frame else {
                let reason = format!("no answer to {verb} within {} seconds", self.timeout.as_secs());
                return Err(Problem::new(code::TIMEOUT, &self.name, reason));
            };
            if let Some(answer) = self.answer(id, &frame)? {
                return Ok(answer);
            }
        }
    }

    /// What is said of an answer that is none.
    pub fn nonsense(&self) -> Problem {
        Problem::new(code::FAILED, &self.name, "it answers nonsense")
    }
}

/// A part of an answer.
pub enum Answer {
    /// More follows.
    Part(String),
    /// The end.
    Last(String),
    /// Bytes.
    Bytes {
        /// They.
        bytes: Vec<u8>,
        /// More follows.
        more: bool,
    },
    /// Of the log; more follows.
    Lines(Vec<KmsgLine>),
}

fn lost(name: &str, error: &LinkError) -> Problem {
    match error {
        LinkError::Lost(error) => {
            Problem::new(code::UNREACHABLE, name, format!("cannot be reached: {error}"))
        }
        LinkError::Auth(text) => Problem::new(code::DENIED, name, format!("does not accept the key: {text}")),
        LinkError::Protocol(text) => Problem::new(code::FAILED, name, text),
    }
}

fn refused(name: &str, error: Errno, text: &str) -> Problem {
    let code = match error {
        Errno::EPERM | Errno::EACCES => code::DENIED,
        Errno::EBUSY | Errno::ESHUTDOWN => code::STATE,
        Errno::ETIMEDOUT => code::TIMEOUT,
        Errno::EINVAL => code::USAGE,
        _ => code::FAILED,
    };
    Problem::new(code, name, text)
}
