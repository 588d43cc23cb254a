//! What state a node is in, as far as this host can tell without it.

use std::time::Duration;

use keelson_lwk_wire::handshake::Roles;

use super::link::{self, Answer};
use super::parameters::{self, Boot};
use super::place::{Place, write_file};
use super::problem::Problem;
use super::process::Process;
use super::qemu::Files;
use super::{ipmi, start};
use crate::nodes::Node;

/// How long a node that boots may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The state, in IHK's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// There is no machine, or its power is off.
    Inactive,
    /// The machine is on, the node does not answer yet.
    Booting,
    /// It has answered since it was booted: it knows more itself.
    Running,
    /// It is being ended.
    Shutdown,
    /// The kernel gave up.
    Panic,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Inactive => "INACTIVE",
            Status::Booting => "BOOTING",
            Status::Running => "RUNNING",
            Status::Shutdown => "SHUTDOWN",
            Status::Panic => "PANIC",
        }
    }
}

/// The state of a node.
pub fn of(place: &Place, node: &Node) -> Result<Status, Problem> {
    let files = Files::of(&place.directory(node.index));
    let answers = || {
        let answer = link::ask(node, "get", &["status"], Roles::MONITOR, ANSWER);
        matches!(answer, Answer::Text(_) | Answer::Refused(_))
    };
    match parameters::read(node)? {
        Boot::Qemu(_) if Process::of(&files.pid, &files.pid).is_none() => return Ok(Status::Inactive),
        Boot::Qemu(_) => {}
        Boot::Ipmi(ipmi) if !ipmi::is_on(&ipmi)? => return Ok(Status::Inactive),
        Boot::Ipmi(_) => {}
        Boot::Manual => return Ok(if answers() { Status::Running } else { Status::Inactive }),
    }
    if files.stopping.exists() {
        return Ok(Status::Shutdown);
    }
    if start::console_verdict(&files).is_some() {
        return Ok(Status::Panic);
    }
    if files.running.exists() {
        return Ok(Status::Running);
    }
    if !start::may_answer(&files) || !answers() {
        return Ok(Status::Booting);
    }
    write_file(&files.running, b"", 0o644)?;
    Ok(Status::Running)
}
