//! What a message occupies until it is dropped.

use super::counters::Statistics;
use super::credits::Class;
use super::peer::{Charge, PeerNi};
use super::pools::{Buffer, Pools};
use alloc::rc::Rc;
use core::time::Duration;

/// What all messages of a node are counted in.
pub(crate) struct Books {
    pub statistics: Statistics,
    pub pools: Pools,
}

/// How far a message has come on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Stage {
    /// It has no send credit.
    #[default]
    None,
    /// It waits for a credit of the next hop.
    WaitsForPeer,
    /// It has that, and waits for one of the NI.
    WaitsForNi,
    /// The LND has it.
    Sending,
}

/// What LNet remembers with a message: the credits and the buffer it holds, to whom it is charged.
///
/// All of it is given back when the tag is dropped, wherever that happens, so that no path can leak credits.
#[derive(Default)]
pub struct Tag {
    /// Set for all but messages that were made outside LNet.
    books: Option<Rc<Books>>,
    /// The neighbour it came from.
    pub(crate) from: Option<Rc<PeerNi>>,
    /// The next hop; for what is delivered here, this node itself.
    pub(crate) to: Option<Rc<PeerNi>>,
    charge: Option<Charge>,
    buffer: Option<Buffer>,
    stage: Stage,
    class: Option<Class>,
    pub(crate) routed: bool,
    /// The own request that it makes, 0 for none.
    pub(crate) request: u64,
    /// The next hop is taken for dead: this message is to show whether it is.
    pub(crate) probe: bool,
    /// How long a fault rule holds it back.
    pub(crate) delay: Option<Duration>,
}

impl Tag {
    /// Of a message that comes in from `from`.
    pub(crate) fn incoming(books: &Rc<Books>, from: &Rc<PeerNi>) -> Tag {
        let mut tag = Tag::own(books);
        tag.from = Some(from.clone());
        tag
    }

    /// Of a message that this node says itself.
    pub(crate) fn own(books: &Rc<Books>) -> Tag {
        let statistics = &books.statistics;
        let now = statistics.in_memory.get() + 1;
        statistics.in_memory.set(now);
        statistics.in_memory_max.set(statistics.in_memory_max.get().max(now));
        let mut tag = Tag::default();
        tag.books = Some(books.clone());
        tag
    }

    /// From here on it counts as one that is forwarded.
    pub(crate) fn set_routed(&mut self) {
        if let Some(books) = &self.books {
            self.routed = true;
            books.statistics.routed_now.set(books.statistics.routed_now.get() + 1);
        }
    }

    /// A credit of the sender was taken.
    pub(crate) fn hold_credit(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// A buffer was taken for the next hop `to`.
    pub(crate) fn hold_buffer(&mut self, to: &Rc<PeerNi>, buffer: Buffer) {
        self.to = Some(to.clone());
        self.buffer = Some(buffer);
    }

    /// Hands what was charged to the sender of a request on to the answer.
    pub(crate) fn pass_credit(&mut self, answer: &mut Tag) {
        answer.from = self.from.clone();
        answer.charge = self.charge.take();
    }

    /// Sends it another way.
    pub(crate) fn redirect(&mut self, to: &Rc<PeerNi>) {
        if let (Some(books), Some(old), Some(buffer)) = (&self.books, &self.to, self.buffer) {
            books.pools.recharge(old, to, buffer);
        }
        self.to = Some(to.clone());
    }

    pub(crate) fn stage(&self) -> (Stage, Class) {
        (self.stage, self.class.unwrap_or(Class::Small))
    }

    pub(crate) fn set_stage(&mut self, stage: Stage, class: Class) {
        self.stage = stage;
        self.class = Some(class);
    }

    /// Gives the send credits back, to the counters only: whoever waits is not looked at.
    pub(crate) fn release_sending(&mut self) {
        let stage = core::mem::take(&mut self.stage);
        let (Some(to), Some(class)) = (&self.to, self.class) else { return };
        let (peer, ni) = (to.tx.of(class), to.ni.tx.of(class));
        match stage {
            Stage::None => return,
            Stage::WaitsForPeer => {}
            Stage::WaitsForNi => {
                peer.end();
                ni.credits.give();
            }
            Stage::Sending => {
                peer.end();
                ni.end();
                ni.credits.give();
            }
        }
        peer.credits.give();
    }

    /// Gives buffer and router credit back.
    fn release_holding(&mut self) {
        if let (Some(books), Some(to), Some(buffer)) = (&self.books, &self.to, self.buffer.take()) {
            books.pools.release(to, buffer);
        }
        if let (Some(from), Some(charge)) = (&self.from, self.charge.take()) {
            from.gate(charge).give();
        }
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        self.release_sending();
        self.release_holding();
        if let Some(books) = &self.books {
            let statistics = &books.statistics;
            statistics.in_memory.set(statistics.in_memory.get() - 1);
            if self.routed {
                statistics.routed_now.set(statistics.routed_now.get() - 1);
            }
        }
    }
}
