//! A connection from a peer: its state, messages that are not whole or not next (sections 6.3 and 7.2).

use super::options::RX_WINDOW;
use super::pool::Buffer;
use super::ranges::Ranges;
use super::shared::Owed;
use crate::link::{LinkAddress, LinkId};
use crate::sessions::{NodeNr, RxId};
use alloc::boxed::Box;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::Endian;
use keelson_qnet_wire::l4::Layer;

/// State of the acceptor.
///
/// ```text
///   (none) --INIT--> Half --UP or data--> Up --DOWN, new INIT, silence--> (removed, RxDown)
///                     `--5 ticks--> (removed)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RxState {
    /// TCS_REM_UP was sent, nothing came.
    Half,
    /// Messages flow.
    Up,
}

/// A message of which something arrived.
pub struct Assembly {
    pub buffer: Buffer,
    pub ranges: Ranges,
    /// Its length, once the last fragment said it.
    pub end: Option<u32>,
    pub layer: Layer,
    pub endian: Endian,
}

impl Assembly {
    pub fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.ranges.is_whole(end))
    }
}

/// A place in the window.
#[derive(Default)]
pub struct Slot {
    pub assembly: Option<Assembly>,
    /// The message that was asked for last, and when: outlives the message.
    pub nacked: Option<(u32, Instant)>,
}

/// A connection from a peer.
pub struct Rx {
    pub uid: RxId,
    pub node: NodeNr,
    pub qos_type: u16,
    pub qos_idx: u16,
    /// The peer's id for it.
    pub remote: u32,
    pub state: RxState,
    pub half_until: Instant,
    /// Number in the peer's TCS_INIT.
    pub isn: u32,
    /// Number of the next message to deliver.
    pub expected: u32,
    /// A message came.
    pub begun: bool,
    pub slots: Box<[Slot; RX_WINDOW as usize]>,
    /// Highest number of which anything came, counted from `expected`: that many slots may be in use.
    pub span: u32,
    /// Memory of messages that are not whole, not next, or not taken.
    pub held: usize,
    /// Messages delivered and not taken.
    pub untaken: u32,
    pub heard: Instant,
    /// Where the last frame came from: NACKs go there.
    pub link: LinkId,
    pub address: LinkAddress,
    /// The peer reads ACKs that stand for several messages.
    pub shares_acks: bool,
    /// An ACK that stands for several messages, not sent yet.
    pub owed: Option<Owed>,
    /// When to ask for what is missing.
    pub gap_at: Option<Instant>,
    /// What was missing when that was decided: everything before this number, and itself if its end was known.
    pub gap_limit: u32,
    pub gap_limit_ended: bool,
    /// How long frames may overtake each other here.
    pub reorder: Duration,
    /// Messages since the last NACK that proved to be too early.
    pub since_early: u32,
    /// Room for which the last message of several fragments asked.
    pub usual: usize,
}

impl Rx {
    /// Place of a message in the window.
    pub fn slot_mut(&mut self, seq: u32) -> Option<&mut Slot> {
        self.slots.get_mut((seq % RX_WINDOW) as usize)
    }

    pub fn slot(&self, seq: u32) -> Option<&Slot> {
        self.slots.get((seq % RX_WINDOW) as usize)
    }

    /// Whether the front message is whole.
    pub fn front_is_whole(&self) -> bool {
        let assembly = self.slot(self.expected).and_then(|slot| slot.assembly.as_ref());
        assembly.is_some_and(Assembly::is_whole)
    }

    /// Whether something is missing that should have come by now: a later message is here, or the end of the front
    /// message without all that precedes it.
    pub fn has_gap(&self) -> bool {
        let front = self.slot(self.expected).and_then(|slot| slot.assembly.as_ref());
        self.span > 1 || front.is_some_and(|front| front.end.is_some() && !front.is_whole())
    }
}
