//! Fault rules: messages that are dropped or held back on purpose (LNet specification section 8.3).

use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid};

/// Which NIDs a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NidPattern {
    /// Every NID: `255.255.255.255@<?>`, or not given.
    Any,
    /// Every NID of a network: `255.255.255.255@tcp1`.
    Net(NetId),
    /// One NID.
    One(Nid),
}

/// How often a rule acts on what matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Often {
    /// On every message (`drop_all`).
    Always,
    /// On one message in so many, at a random place among them; 0 counts as 1.
    Rate(u32),
    /// On one message in so much time, at a random moment of it.
    Interval(Duration),
    /// On half of the messages, at random (`random`).
    Half,
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultAction {
    /// Loses the message, silently.
    Drop,
    /// Holds the message back for so long.
    Delay(Duration),
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultRule {
    /// What it does.
    pub action: FaultAction,
    /// Who sent the message (`fa_src`).
    pub source: NidPattern,
    /// Whom it is for (`fa_dst`).
    pub destination: NidPattern,
    /// The NI of ours that it came in at; `None` for all.
    pub local: Option<Nid>,
    /// Portals of PUTs and GETs, a bit each (`fa_ptl_mask`); 0 for all messages.
    pub portals: u64,
    /// Types (`fa_msg_mask`): ACK 1, PUT 2, GET 4, REPLY 8; 0 for all.
    pub types: u32,
    /// How often it acts.
    pub often: Often,
}
