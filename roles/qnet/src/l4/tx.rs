//! A connection to a peer: its state, what waits on it, what waits for an ACK (sections 6.3 and 7.1).

use super::body::Body;
use super::links::MAX_LINKS;
use super::options::MAX_HEAD;
use crate::link::LinkId;
use crate::sessions::{NodeNr, Qos, TxId};
use alloc::collections::VecDeque;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::l4::Layer;

/// State of the opener.
///
/// ```text
///   Resolving --address known--> InitSent --REM_UP--> Up
///       |                          |                   | REM_DOWN, silence, no link
///       `---- not found, refused, no answer ----> (removed, TxDown)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TxState {
    /// The peer's address is being asked for.
    Resolving,
    /// TCS_INIT was sent.
    InitSent {
        /// On which link.
        link: LinkId,
        /// How often on this link.
        tries: u32,
        /// When the answer is overdue.
        until: Instant,
    },
    /// Messages flow.
    Up,
}

/// How a link serves a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Path {
    /// The peer has not answered on it.
    #[default]
    Unknown,
    /// It works.
    Up {
        /// Message timeouts on it in a row.
        timeouts: u8,
    },
    /// It stopped working.
    Dead,
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing was sent.
    Queued,
    /// Its bytes below this were sent.
    Sending(u32),
    /// All was sent.
    Sent,
    /// The peer has it.
    Acked,
}

/// A message on its way.
pub struct Outgoing {
    pub layer: Layer,
    pub priority: u8,
    head: [u8; MAX_HEAD],
    head_len: u16,
    body: Body,
    pub progress: Progress,
    /// When to send the last fragment again; set when all was sent.
    pub deadline: Instant,
    pub rto: Duration,
    /// When its last byte was sent for the first time.
    pub sent_at: Instant,
    /// It was sent again: its ACK says nothing about the round trip.
    pub again: bool,
    /// Which link it went through last.
    pub via: LinkId,
    /// A later message was acknowledged, this one was probed for, and so far only later ones were answered
    /// (section 7.3).
    pub guarded: bool,
    pub probed: bool,
}

impl Outgoing {
    /// A message; `None` when its head is too long.
    pub fn new(layer: Layer, priority: u8, bytes: &[u8], body: Body) -> Option<Outgoing> {
        let mut head = [0; MAX_HEAD];
        head.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Outgoing {
            layer,
            priority: priority.min(63),
            head,
            head_len: bytes.len() as u16,
            body,
            progress: Progress::Queued,
            deadline: Instant::FAR_FUTURE,
            rto: Duration::ZERO,
            sent_at: Instant::ZERO,
            again: false,
            via: LinkId(0),
            guarded: false,
            probed: false,
        })
    }

    /// Bytes of the message.
    pub fn len(&self) -> u32 {
        (usize::from(self.head_len) + self.body.len()) as u32
    }

    /// The bytes from `start` to `end`: what of them lies in the head, and what in the body.
    pub fn part(&self, start: u32, end: u32) -> [&[u8]; 2] {
        let head_len = usize::from(self.head_len);
        let (start, end) = (start as usize, end as usize);
        let head = self.head.get(start.min(head_len)..end.min(head_len)).unwrap_or_default();
        let from = start.saturating_sub(head_len);
        let to = end.saturating_sub(head_len);
        [head, self.body.bytes().get(from..to).unwrap_or_default()]
    }

    /// It is acknowledged or given up: its bytes are not needed any more.
    pub fn let_go(&mut self) {
        self.body = Body::EMPTY;
        self.head_len = 0;
    }

    /// Whether it counts into the window.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.progress, Progress::Sending(_) | Progress::Sent)
    }
}

/// Messages that are not sent yet, counted by priority.
#[derive(Clone)]
pub struct Waiting {
    counts: [u16; 64],
    set: u64,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { counts: [0; 64], set: 0 }
    }

    /// One more.
    pub fn add(&mut self, priority: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(priority)) {
            *count += 1;
            self.set |= 1 << priority;
        }
    }

    /// One less.
    pub fn remove(&mut self, priority: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(priority)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.set &= !(1 << priority);
            }
        }
    }

    /// The most urgent: what is in front of an urgent message is as urgent.
    pub fn highest(&self) -> Option<u8> {
        self.set.checked_ilog2().map(|priority| priority as u8)
    }
}

/// Where a connection waits for its turn.
#[derive(Clone, Copy, Default)]
pub struct Turn {
    /// The link in whose list it is, and with which priority.
    pub place: Option<(LinkId, u8)>,
    /// For each link the lists, by priority, that name it: also those where it does not wait any more.
    pub listed: [u64; MAX_LINKS],
}

/// What an ACK released besides the message that it names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Released {
    /// How many messages.
    pub messages: u32,
    /// One of them was a question to the node itself (NR).
    pub question: bool,
}

/// A connection to a peer.
pub struct Tx {
    pub uid: TxId,
    pub node: NodeNr,
    pub qos: Qos,
    /// The link that the policy is about.
    pub link: Option<LinkId>,
    pub state: TxState,
    /// The peer's id for it.
    pub remote: u32,
    pub paths: [Path; MAX_LINKS],
    /// Messages in order; the first has the number `base`.
    pub queue: VecDeque<Outgoing>,
    pub base: u32,
    /// How many of them were begun.
    pub begun: usize,
    pub in_flight: usize,
    pub in_flight_bytes: usize,
    pub queued_bytes: usize,
    pub waiting: Waiting,
    pub srtt: Option<Duration>,
    /// Expiries of the oldest message in a row, and when the first of them was.
    pub silent: u32,
    pub silent_since: Instant,
    /// Probes that were answered only by ACKs of later messages, in a row.
    pub evidence: u8,
    pub turn: Turn,
    /// The link used last.
    pub last_link: LinkId,
    pub heard: Instant,
    /// When it was used last for anything but heartbeats.
    pub used: Instant,
    /// When links that do not work are probed.
    pub probe_at: Instant,
    /// Since when no link works, while something waits.
    pub stalled: Option<Instant>,
    /// Number of the heartbeat that is on its way.
    pub heartbeat: Option<u32>,
    /// Bytes that may be sent again for NACKs before `again_until`.
    pub again_budget: u32,
    pub again_until: Instant,
}

impl Tx {
    pub fn new(uid: TxId, node: NodeNr, qos: Qos, link: Option<LinkId>, now: Instant) -> Tx {
        Tx {
            uid,
            node,
            qos,
            link,
            state: TxState::Resolving,
            remote: 0,
            paths: [Path::Unknown; MAX_LINKS],
            queue: VecDeque::new(),
            base: 1,
            begun: 0,
            in_flight: 0,
            in_flight_bytes: 0,
            queued_bytes: 0,
            waiting: Waiting::new(),
            srtt: None,
            silent: 0,
            silent_since: now,
            evidence: 0,
            turn: Turn::default(),
            last_link: LinkId(0),
            heard: now,
            used: now,
            probe_at: Instant::FAR_FUTURE,
            stalled: None,
            heartbeat: None,
            again_budget: 0,
            again_until: Instant::ZERO,
        }
    }

    /// The message with a number, if it was begun and is not released.
    pub fn begun_message(&mut self, seq: u32) -> Option<(usize, &mut Outgoing)> {
        let index = seq.wrapping_sub(self.base) as usize;
        if index >= self.begun {
            return None;
        }
        self.queue.get_mut(index).map(|message| (index, message))
    }

    pub fn path(&self, link: LinkId) -> Path {
        self.paths.get(usize::from(link.0)).copied().unwrap_or_default()
    }

    pub fn set_path(&mut self, link: LinkId, path: Path) {
        if let Some(slot) = self.paths.get_mut(usize::from(link.0)) {
            *slot = path;
        }
    }

    /// Takes in a measured round trip.
    pub fn sample(&mut self, round_trip: Duration) {
        self.srtt = Some(match self.srtt {
            None => round_trip,
            Some(srtt) => srtt * 7 / 8 + round_trip / 8,
        });
    }

    /// Adds a message; it gets the next number, which is returned.
    pub fn push(&mut self, message: Outgoing) -> u32 {
        let seq = self.base.wrapping_add(self.queue.len() as u32);
        self.queued_bytes += message.len() as usize;
        self.waiting.add(message.priority);
        self.queue.push_back(message);
        seq
    }

    /// The message that is being sent or would be sent next.
    pub fn next_index(&self) -> usize {
        let last = self.begun.wrapping_sub(1);
        match self.queue.get(last).map(|message| message.progress) {
            Some(Progress::Sending(_)) => last,
            _ => self.begun,
        }
    }

    /// Releases all messages before one that was begun: its ACK stands for them.
    pub fn release_before(&mut self, seq: u32) -> Released {
        let mut released = Released::default();
        if self.begun_message(seq).is_none() {
            return released;
        }
        let is_before = |base: u32| (seq.wrapping_sub(base) as i32) > 0;
        while is_before(self.base) {
            let Some(front) = self.queue.front().filter(|front| front.progress == Progress::Sent) else {
                break;
            };
            released.messages += 1;
            released.question |= front.layer == Layer::Nr;
            self.release(0);
        }
        released
    }

    /// Releases a message that was begun: it is acknowledged.
    pub fn release(&mut self, index: usize) {
        let Some(message) = self.queue.get_mut(index).filter(|message| message.is_in_flight()) else {
            return;
        };
        let len = message.len() as usize;
        message.progress = Progress::Acked;
        message.let_go();
        if self.heartbeat == Some(self.base.wrapping_add(index as u32)) {
            self.heartbeat = None;
        }
        self.in_flight -= 1;
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(len);
        self.queued_bytes = self.queued_bytes.saturating_sub(len);
        while self.queue.front().is_some_and(|message| message.progress == Progress::Acked) {
            self.queue.pop_front();
            self.base = self.base.wrapping_add(1);
            self.begun -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_message() {
        let body = Body::from(vec![3, 4, 5, 6]);
        let mut message = Outgoing::new(Layer::Kif, 99, &[0, 1, 2], body).unwrap();
        assert_eq!((message.len(), message.priority), (7, 63));
        for start in 0..=7 {
            for end in start..=7 {
                let bytes = message.part(start, end).concat();
                assert_eq!(bytes, (start as u8..end as u8).collect::<Vec<_>>());
            }
        }
        message.let_go();
        assert_eq!(message.len(), 0);
        assert!(Outgoing::new(Layer::Kif, 0, &[0; MAX_HEAD + 1], Body::EMPTY).is_none());
    }

    #[test]
    fn numbers_and_release() {
        let mut tx = Tx::new(TxId(1), NodeNr(1), Qos::default(), None, Instant::ZERO);
        for priority in [10, 40, 5] {
            let message = Outgoing::new(Layer::Kif, priority, &[0; 7], Body::EMPTY).unwrap();
            tx.push(message);
        }
        assert_eq!((tx.next_index(), tx.waiting.highest(), tx.queued_bytes), (0, Some(40), 21));
        tx.begun = 2;
        (tx.in_flight, tx.in_flight_bytes) = (2, 14);
        tx.queue[0].progress = Progress::Sent;
        tx.queue[1].progress = Progress::Sending(3);
        assert_eq!(tx.next_index(), 1, "not finished");
        assert!(
            tx.begun_message(2).is_some() && tx.begun_message(3).is_none() && tx.begun_message(0).is_none()
        );
        tx.queue[1].progress = Progress::Sent;
        assert_eq!(tx.next_index(), 2);
        tx.release(1);
        assert_eq!((tx.base, tx.begun, tx.queue.len()), (1, 2, 3), "the first is still missing");
        tx.release(0);
        tx.release(0);
        assert_eq!((tx.base, tx.begun, tx.queue.len(), tx.in_flight, tx.queued_bytes), (3, 0, 1, 0, 7));
        for priority in [10, 40] {
            tx.waiting.remove(priority);
        }
        assert_eq!(tx.waiting.highest(), Some(5));
    }
}
