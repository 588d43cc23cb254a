//! A service that counts: every message and pulse of it has a number, and the observer knows which were executed.
//!
//! ```text
//!   0 type = 0x400   2 kind   4 client   8 connection   12 number   16 settled   20 length   24 pattern ...
//! ```
//!
//! The reply begins with the same bytes up to the pattern, and the hash of everything that was read; an echo has the message behind
//! them.

use crate::ledger::Ledger;
use keelson_exec::Handle;
use keelson_qnet::api::{Message, NameAttach, Received};
use keelson_qnet_wire::Errno;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Type of the messages: none that resource managers know.
const TYPE: u16 = 0x400;
/// Bytes before the pattern.
pub const HEAD: usize = 24;
/// Bytes of a reply before the echo.
pub const REPLY_HEAD: usize = HEAD + 8;

/// What a message asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A reply without the message.
    Count = 0,
    /// The whole message back, with the reply.
    Echo = 1,
    /// The whole message back, written ahead of the reply.
    Written = 2,
    /// No reply until the client does not want to wait any more.
    Block = 3,
    /// A reply after a while.
    Slow = 4,
}

impl Kind {
    fn of(number: u16) -> Option<Kind> {
        [Kind::Count, Kind::Echo, Kind::Written, Kind::Block, Kind::Slow]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// What names a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tag {
    /// Number of the client: no two in a world have the same.
    pub client: u32,
    /// Number of its connection.
    pub connection: u32,
    /// Number of the message on it.
    pub number: u32,
    /// Messages up to this number had ended before it was sent: they are executed before it or never.
    pub settled: u32,
}

/// A message with a pattern.
pub fn message(kind: Kind, tag: Tag, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + length);
    bytes.extend(TYPE.to_le_bytes());
    bytes.extend((kind as u16).to_le_bytes());
    for word in [tag.client, tag.connection, tag.number, tag.settled, length as u32] {
        bytes.extend(word.to_le_bytes());
    }
    let mut state = u64::from(tag.client) << 40 ^ u64::from(tag.connection) << 20 ^ u64::from(tag.number) | 1;
    while bytes.len() < HEAD + length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend(&state.to_le_bytes()[1..]);
    }
    bytes.truncate(HEAD + length);
    bytes
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Messages of one connection.
#[derive(Default)]
struct Seen {
    numbers: BTreeSet<u32>,
    /// No number up to this may come any more.
    settled: u32,
}

/// What became of everything that was sent to the service of one node, over all its lives.
pub struct Executed {
    ledger: Rc<Ledger>,
    node: usize,
    /// What was executed, by client and connection.
    messages: RefCell<BTreeMap<(u32, u32), Seen>>,
    /// The last value received, and how many were, by client and connection.
    pulses: RefCell<BTreeMap<(u32, u32), (u32, u32)>>,
    /// Connections with messages in this life, that were not told to have ended.
    open: RefCell<BTreeMap<u32, (u32, u32)>>,
    blocked: Cell<usize>,
}

impl Executed {
    /// Nothing yet.
    pub fn new(ledger: &Rc<Ledger>, node: usize) -> Executed {
        Executed {
            ledger: ledger.clone(),
            node,
            messages: RefCell::default(),
            pulses: RefCell::default(),
            open: RefCell::default(),
            blocked: Cell::new(0),
        }
    }

    /// The power went.
    pub fn cut(&self) {
        self.open.borrow_mut().clear();
        self.blocked.set(0);
    }

    /// Connections that have not ended.
    pub fn open(&self) -> usize {
        self.open.borrow().len()
    }

    /// Requests that wait until their client does not.
    pub fn blocked(&self) -> usize {
        self.blocked.get()
    }

    /// How many messages of a connection were executed.
    pub fn messages(&self, client: u32, connection: u32) -> u32 {
        self.messages.borrow().get(&(client, connection)).map_or(0, |seen| seen.numbers.len() as u32)
    }

    /// How many of its pulses were received.
    pub fn pulses(&self, client: u32, connection: u32) -> u32 {
        self.pulses.borrow().get(&(client, connection)).map_or(0, |(_, count)| *count)
    }

    fn executed(&self, tag: Tag, scoid: u32) {
        self.ledger.note(|| format!("node {} executes {tag:?} of {scoid:#x}", self.node));
        let key = (tag.client, tag.connection);
        if *self.open.borrow_mut().entry(scoid).or_insert(key) != key {
            self.ledger.fail(format!("node {}: {tag:?} came by the connection of another client", self.node));
        }
        let mut messages = self.messages.borrow_mut();
        let seen = messages.entry(key).or_default();
        if !seen.numbers.insert(tag.number) {
            self.ledger.fail(format!("node {} executed {tag:?} twice", self.node));
        }
        if tag.number <= seen.settled {
            let settled = seen.settled;
            self.ledger.fail(format!("node {} executed {tag:?} after one sent behind {settled}", self.node));
        }
        seen.settled = seen.settled.max(tag.settled);
    }

    fn pulsed(&self, scoid: u32, value: u32) {
        self.ledger.note(|| format!("node {} has pulse {value} of {scoid:#x}", self.node));
        // The first message of a connection says whose it is.
        let key = self.open.borrow().get(&scoid).copied();
        let Some(key) = key else {
            return self
                .ledger
                .fail(format!("node {}: a pulse of {scoid:#x}, which nobody knows", self.node));
        };
        let mut pulses = self.pulses.borrow_mut();
        let (last, count) = pulses.entry(key).or_default();
        if value <= *last {
            let last = *last;
            self.ledger.fail(format!("node {}: pulse {value} of {key:?} after {last}", self.node));
        }
        (*last, *count) = (value, *count + 1);
    }

    fn disconnected(&self, scoid: u32) {
        self.ledger.note(|| format!("node {} is told that {scoid:#x} ended", self.node));
        // One that never sent anything is not known here.
        self.open.borrow_mut().remove(&scoid);
    }
}

/// Serves.
pub async fn serve(handle: Handle, name: NameAttach, executed: Rc<Executed>) {
    loop {
        match name.receive().await {
            Received::Message(message) => {
                let Some((kind, tag)) = decode(message.data()) else {
                    executed.ledger.fail(format!("node {}: a message nobody sent", executed.node));
                    message.error(Errno::EBADMSG);
                    continue;
                };
                executed.executed(tag, message.info().scoid as u32);
                handle.spawn("count", answer(handle.clone(), message, kind, executed.clone()));
            }
            Received::Pulse(pulse) => executed.pulsed(pulse.scoid, pulse.value as u32),
            Received::Disconnect { scoid } => executed.disconnected(scoid),
            Received::Unblock { .. } => {}
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// What a message says of itself.
pub fn decode(bytes: &[u8]) -> Option<(Kind, Tag)> {
    let [kind, client, connection, number, settled] = [0, 4, 8, 12, 16].map(|at| word(bytes, at));
    let tag = Tag { client: client?, connection: connection?, number: number?, settled: settled? };
    let kind = kind?;
    (kind & 0xffff == u32::from(TYPE)).then_some(())?;
    Some((Kind::of((kind >> 16) as u16)?, tag))
}

async fn answer(handle: Handle, message: Message, kind: Kind, executed: Rc<Executed>) {
    match kind {
        Kind::Block => {
            executed.blocked.set(executed.blocked.get() + 1);
            message.unblocked().await;
            executed.blocked.set(executed.blocked.get() - 1);
            return message.error(Errno::EINTR);
        }
        Kind::Slow => handle.sleep(Duration::from_millis(300)).await,
        Kind::Count | Kind::Echo | Kind::Written => {}
    }
    let mut bytes = vec![0; message.len()];
    // A client that is gone has nothing to read.
    let Ok(len) = message.read(0, &mut bytes).await else { return };
    bytes.truncate(len);
    let mut reply = bytes.get(..HEAD).unwrap_or_default().to_vec();
    reply.extend(hash(&bytes).to_le_bytes());
    match kind {
        Kind::Echo => reply.extend(&bytes),
        Kind::Written => {
            // The last part first: each has a place of its own.
            for (at, part) in bytes.chunks(30_000).enumerate().collect::<Vec<_>>().into_iter().rev() {
                if message.write(REPLY_HEAD + at * 30_000, part).await.is_err() {
                    return;
                }
            }
        }
        _ => {}
    }
    message.reply(len as i32, &reply);
}
