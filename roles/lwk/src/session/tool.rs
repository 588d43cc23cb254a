//! A tool that asked something, and the way of the answers to it.

use super::{Message, Session};
use crate::Errno;
use crate::timers::Timers;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_lwk_wire::handshake::Roles;
use keelson_lwk_wire::messages::{CtrlAnswer, CtrlReply, Event, Kmsg};

/// Bytes of text in one part of an answer.
const PART: usize = 256 << 10;
/// Messages that may wait for a tool that is slow to read.
const BACKLOG: usize = 8;
/// How often it is looked whether it has read some.
const LOOK: Duration = Duration::from_millis(5);

/// A request of a tool.
pub struct Tool {
    session: Arc<Session>,
    id: u64,
    /// What it may ask for.
    pub roles: Roles,
}

impl Tool {
    /// Request `id` of whoever is at the other end of a session.
    pub fn new(session: Arc<Session>, id: u64, roles: Roles) -> Tool {
        Tool { session, id, roles }
    }

    /// Answers, and is done.
    pub fn text(&self, text: &str) {
        let mut rest = text;
        while rest.len() > PART {
            let (part, more) = rest.split_at(rest.floor_char_boundary(PART));
            self.session.send(Message::ControlPart(self.id, reply(part)));
            rest = more;
        }
        self.session.send(Message::Control(self.id, reply(rest)));
    }

    /// Says why it was not done.
    pub fn fail(&self, error: Errno, text: &str) {
        let answer = CtrlAnswer::Failed { error, text: text.chars().take(1000).collect() };
        self.session.send(Message::Control(self.id, CtrlReply { answer }));
    }

    /// Sends bytes; more follow.
    pub fn bytes_part(&self, bytes: Vec<u8>) {
        self.session.send(Message::ControlPart(self.id, CtrlReply { answer: CtrlAnswer::Binary(bytes) }));
    }

    /// Answers with bytes, and is done.
    pub fn bytes(&self, bytes: Vec<u8>) {
        self.session.send(Message::Control(self.id, CtrlReply { answer: CtrlAnswer::Binary(bytes) }));
    }

    /// Sends lines of the log.
    pub fn kmsg(&self, lines: Kmsg) {
        self.session.send(Message::Kmsg(self.id, lines));
    }

    /// Tells what happened.
    pub fn event(&self, event: Event) {
        self.session.send(Message::Event(self.id, event));
    }

    /// False when nobody is at the other end any more.
    pub fn is_there(&self) -> bool {
        self.session.is_alive()
    }

    /// Waits until nobody is there any more.
    pub async fn gone(&self) {
        self.session.ended().await;
    }

    /// True when it has read most of what it was sent.
    pub fn has_room(&self) -> bool {
        self.session.backlog() < BACKLOG
    }

    /// Waits until it has read most of what it was sent, or is gone.
    pub async fn room(&self, timers: &Timers) {
        while self.is_there() && !self.has_room() {
            timers.at(timers.now() + LOOK).await;
        }
    }
}

fn reply(text: &str) -> CtrlReply {
    CtrlReply { answer: CtrlAnswer::Text(String::from(text)) }
}
