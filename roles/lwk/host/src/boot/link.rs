//! The node itself, asked whether it runs, and to end.

use std::time::Duration;

use keelson_lwk_wire::handshake::Roles;

use super::problem::code;
use crate::nodes::Node;
use crate::tools::remote::Remote;

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The node's text.
    Text(String),
    /// It is there, and says that it does not.
    Refused(String),
    /// It is not there, or not yet.
    Silent(String),
    /// It does not know the key, or speaks something else: waiting changes nothing.
    Stranger(String),
}

/// Asks a node with one verb, for so long at most.
pub fn ask(node: &Node, verb: &str, args: &[&str], roles: Roles, time: Duration) -> Answer {
    let is_silence = |problem: i32| matches!(problem, code::UNREACHABLE | code::TIMEOUT);
    let mut remote = match Remote::connect(node, roles, time) {
        Ok(remote) => remote,
        Err(problem) if is_silence(problem.code) => return Answer::Silent(problem.reason),
        Err(problem) => return Answer::Stranger(problem.reason),
    };
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    match remote.ask(verb, &args) {
        Ok(text) => Answer::Text(text),
        Err(problem) if is_silence(problem.code) => Answer::Silent(problem.reason),
        Err(problem) => Answer::Refused(problem.reason),
    }
}
