//! The node itself, asked whether it runs, and to end.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::{Purpose, Roles};
use keelson_lwk_wire::messages::{Ctrl, CtrlAnswer, CtrlReply, Message};

use crate::link::{Lane, LinkError};
use crate::nodes::{self, Node};

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
    let (node, verb) = (node.clone(), verb.to_owned());
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let (sender, receiver) = mpsc::channel();
    // A read of a connection that somebody forwards may never end; the thread ends with the tool.
    thread::spawn(move || {
        let answer = talk(&node, Ctrl { verb, args }, roles).unwrap_or_else(|error| match error {
            LinkError::Lost(error) => Answer::Silent(error.to_string()),
            error => Answer::Stranger(error.to_string()),
        });
        // Nobody listens any more when it took too long.
        let _ = sender.send(answer);
    });
    receiver.recv_timeout(time).unwrap_or_else(|_| Answer::Silent("no answer".into()))
}

fn talk(node: &Node, ctrl: Ctrl, roles: Roles) -> Result<Answer, LinkError> {
    let key = node.key_file.as_deref().map(nodes::load_key).transpose();
    let key = match key {
        Ok(key) => key,
        Err(text) => return Ok(Answer::Stranger(text)),
    };
    let lane = Lane::connect(&node.address, key.as_ref(), Purpose::Control(roles))?.lane;
    lane.send(&Header::new(FrameType::Ctrl).id(1), &ctrl)?;
    loop {
        let frame = lane.receive()?;
        if frame.header.kind != FrameType::CtrlReply {
            continue;
        }
        let reply =
            CtrlReply::decode(&frame.payload).map_err(|_| LinkError::Protocol("CTRL_REPLY".into()))?;
        return Ok(match reply.answer {
            CtrlAnswer::Text(text) => Answer::Text(text),
            CtrlAnswer::Binary(_) => Answer::Refused("it answers with bytes".into()),
            CtrlAnswer::Failed { error, text } => Answer::Refused(format!("{text} ({error})")),
        });
    }
}
