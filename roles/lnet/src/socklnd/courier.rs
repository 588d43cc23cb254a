//! Tells LNet what went wrong from a task of its own: LNet is never called back out of a call that it made.

use super::signal::Signal;
use crate::lnd::{LndUpper, NiId, SendError};
use crate::message::Message;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;
use keelson_lnet_wire::nid::{Nid, ProcessId};

/// What LNet is told.
pub(super) enum Notice {
    /// A message is not sent.
    Lost(NiId, Nid, Message, SendError),
    /// The first connection.
    Up(NiId, ProcessId),
    /// The last connection, or the failure to get one; whether that says something about the peer's health.
    Down(NiId, Nid, bool),
}

/// Notices under way, in order.
#[derive(Default)]
pub(super) struct Courier {
    notices: RefCell<VecDeque<Notice>>,
    posted: Signal,
}

impl Courier {
    pub fn post(&self, notice: Notice) {
        self.notices.borrow_mut().push_back(notice);
        self.posted.raise();
    }

    pub async fn run<U: LndUpper>(self: Rc<Self>, upper: Rc<U>) {
        loop {
            let notice = self.notices.borrow_mut().pop_front();
            match notice {
                Some(Notice::Lost(ni, to, message, error)) => upper.finished(ni, to, message, Err(error)),
                Some(Notice::Up(ni, peer)) => upper.peer_up(ni, peer),
                Some(Notice::Down(ni, nid, failed)) => upper.peer_down(ni, nid, failed),
                None => self.posted.wait().await,
            }
        }
    }
}
