//! Transport: connections to and from peers, messages in order, over one link or several (sections 3 to 8).
//!
//! ```text
//!   open, accept     connections, both state tables of section 6.3           tx, rx: one connection
//!   transmit         queues, window, whose turn it is, fragments             links: what waits for room
//!   acks             ACK, NACK, timeouts, heartbeat, idle connections
//!   paths            which link, links that die and come back                (section 8)
//!   receive, gaps    reassembly, order, NACKs                                ranges, pool: memory
//!   shared           ACKs, one for several messages where the peer can read that
//!   claims           another address under the name of a node that seems alive      (sections 6.3, 9.4)
//!   down             the end of a connection, shutdown
//!   table, timers, limits, random, options, body
//! ```
//!
//! Principles:
//!
//! 1. **No input, output or clock of its own**: [`Transport::input`] is given frames and the time,
//!    [`Transport::poll`] says when it wants to run again, frames leave through [`LinkPort`]s. Whoever drives it calls
//!    `poll` after each batch of frames and requests; only then are doorbells rung.
//! 2. **A frame costs the same however many nodes and connections there are**: ids lead to slots, timers are a heap with
//!    one entry for each connection.
//! 3. **Nothing is allocated for a frame once a connection is warm**: queues keep their memory, buffers go around.
//! 4. **A peer spends its own**: memory, connections, retransmissions and answers are bounded for each.
//!
//! Not here: what messages mean (KIF), which names have which addresses (`nodes`).

mod accept;
mod acks;
mod body;
mod claims;
mod down;
mod frames;
mod gaps;
mod limits;
pub(crate) mod links;
mod open;
mod options;
mod paths;
mod pool;
mod random;
mod ranges;
mod receive;
mod rx;
mod shared;
mod table;
mod timers;
mod transmit;
mod tx;
mod usage;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use body::Body;
pub use options::{DupPolicy, MAX_HEAD, MAX_SENT, Options, RX_WINDOW};
pub use pool::{Buffer, Pool, RxMessage};
pub use usage::Occupancy;

pub(crate) use limits::Answer;

use crate::counters::Counters;
use crate::link::{LinkAddress, LinkId, LinkPort};
use crate::nodes::{Identity, Lookups, Nodes, QosTable, Queries, Requests, Resolver};
use crate::sessions::SessionEvent;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use claims::Claims;
use core::time::Duration;
use keelson_hal::{Entropy, Instant};
use keelson_qnet_wire::l4::{Kind, Packet};
use limits::Limits;
use links::Links;
use random::Random;
use rx::Rx;
use table::Table;
use timers::Timers;
use tx::Tx;

/// Where a frame came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    pub link: LinkId,
    pub from: LinkAddress,
    pub broadcast: bool,
}

/// Timers that exist once, behind those of the connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Single {
    Announce,
    Links,
    Lookups,
    Queries,
    Claims,
}

impl Single {
    const ALL: [Single; 5] =
        [Single::Announce, Single::Links, Single::Lookups, Single::Queries, Single::Claims];
}

/// How soon a link without room is tried again, if nobody polls earlier.
const ROOM_RETRY: Duration = Duration::from_millis(1);

/// What happened, with messages in the transport's own buffers.
pub type Event = SessionEvent<RxMessage>;

/// Transport and resolvers of a node.
pub struct Transport {
    pub(crate) now: Instant,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    pub(crate) random: Random,
    pub(crate) links: Links,
    pub(crate) identity: Identity,
    pub(crate) nodes: Nodes,
    pub(crate) qos: QosTable,
    pub(crate) tx: Table<Tx>,
    pub(crate) rx: Table<Rx>,
    pub(crate) timers: Timers,
    pub(crate) pool: Rc<Pool>,
    /// Bytes that connections hold beyond one message each.
    pub(crate) rx_common: usize,
    pub(crate) events: VecDeque<Event>,
    /// Connections made so far: makes their names unique.
    pub(crate) made: u32,
    pub(crate) limits: Limits,
    pub(crate) lookups: Lookups,
    pub(crate) queries: Queries,
    pub(crate) claims: Claims,
    pub(crate) requests: Requests,
    pub(crate) resolver: Option<Rc<dyn Resolver>>,
    pub(crate) duplicates: crate::nodes::Duplicates,
    pub(crate) stopped: bool,
}

impl Transport {
    /// A node without links. With a `resolver`, names are asked of it and not of the LAN (`bind=ip`).
    pub fn new(
        options: Options,
        identity: Identity,
        entropy: &dyn Entropy,
        resolver: Option<Rc<dyn Resolver>>,
        now: Instant,
    ) -> Transport {
        let mut random = Random::new(entropy);
        let tx = Table::new(options.max_connections, random.first_id());
        let rx = Table::new(options.max_connections, random.first_id());
        let timers = Timers::new(tx.slots() + rx.slots() + Single::ALL.len());
        let pool = Pool::new(options.max_msg as usize, options.rx_common.min(1 << 20));
        Transport {
            now,
            counters: Counters::default(),
            links: Links::default(),
            identity,
            nodes: Nodes::new(options.max_nodes),
            qos: QosTable::default(),
            tx,
            rx,
            timers,
            pool,
            rx_common: 0,
            events: VecDeque::new(),
            made: 0,
            limits: Limits::new(random.next()),
            lookups: Lookups::default(),
            queries: Queries::default(),
            claims: Claims::default(),
            requests: Requests::default(),
            resolver,
            duplicates: Default::default(),
            stopped: false,
            random,
            options,
        }
    }

    /// Takes in a frame: what lies behind link header and padding.
    pub fn input(
        &mut self,
        now: Instant,
        link: LinkId,
        from: LinkAddress,
        was_broadcast: bool,
        frame: &[u8],
    ) {
        self.now = now;
        // A frame of ours that came back, by a loop or a hub.
        if self.stopped || self.links.get(link).is_none() || self.links.is_own(from) {
            return;
        }
        let Ok(packet) = Packet::decode(frame) else {
            self.counters.rxd_bad_l4 += 1;
            return;
        };
        if packet.check_crc().is_err() || self.options.enforce_crc && !packet.has_crc() {
            self.counters.rxd_bad_crc += 1;
            self.counters.rxd_bad_l4 += 1;
            return;
        }
        self.counters.rxd_ok += 1;
        let arrival = Arrival { link, from, broadcast: was_broadcast };
        match packet.header.kind {
            Kind::User | Kind::UserData => self.on_user(arrival, &packet),
            Kind::Ack => self.on_ack(arrival, &packet.header),
            Kind::Nack => self.on_nack(arrival, &packet.header),
            Kind::TcsInit => self.on_init(arrival, &packet),
            Kind::TcsRemUp => self.on_rem_up(arrival, &packet.header),
            Kind::TcsUp => self.on_up(arrival, &packet.header),
            Kind::TcsDown | Kind::TcsRemDown => self.on_down(arrival, &packet.header),
            Kind::Lres => self.on_lr(arrival, &packet),
        }
    }

    /// Does what is due, sends what can be sent, rings the doorbells. Wants to be called again after each batch of
    /// frames or requests, when a link has room again, and at the time returned.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.now = now;
        // Nothing sets a deadline that is already over; the bound is for a clock that stands still.
        for _ in 0..4 * (self.tx.slots() + Single::ALL.len()) {
            let Some(key) = self.timers.pop(now) else { break };
            self.on_timer(key);
        }
        let mut waiting = false;
        for number in 0..links::MAX_LINKS {
            waiting |= self.pump(LinkId(number as u8));
        }
        self.links.flush();
        let retry = waiting.then(|| now + ROOM_RETRY);
        self.timers.next().into_iter().chain(retry).min()
    }

    fn on_timer(&mut self, key: usize) {
        let tx = self.tx.slots();
        if key < tx {
            if let Some(id) = self.tx.id_at(key) {
                self.on_tx_timer(id);
            }
            return;
        }
        let key = key - tx;
        if key < self.rx.slots() {
            if let Some(id) = self.rx.id_at(key) {
                self.on_rx_timer(id);
            }
            return;
        }
        match Single::ALL.get(key - self.rx.slots()) {
            Some(Single::Announce) => self.on_announce_timer(),
            Some(Single::Links) => self.on_links_timer(),
            Some(Single::Lookups) => self.on_lookups_timer(),
            Some(Single::Queries) => self.on_queries_timer(),
            Some(Single::Claims) => self.on_claims_timer(),
            None => {}
        }
    }

    pub(crate) fn tx_key(&self, id: u32) -> usize {
        self.tx.slot(id)
    }

    pub(crate) fn rx_key(&self, id: u32) -> usize {
        self.tx.slots() + self.rx.slot(id)
    }

    pub(crate) fn single_key(&self, single: Single) -> usize {
        self.tx.slots() + self.rx.slots() + single as usize
    }

    /// Binds a link. False when its number is taken or above 7.
    pub fn add_link(&mut self, now: Instant, id: LinkId, port: Rc<dyn LinkPort>) -> bool {
        self.now = now;
        let address = port.address();
        if !self.links.add(id, port) {
            return false;
        }
        self.identity.adapter(address);
        self.timers.bring_forward(self.single_key(Single::Links), now + self.options.tick);
        self.link_is_up(id);
        true
    }

    /// Removes a link from every connection. Those that had no other go down with ENETDOWN.
    pub fn remove_link(&mut self, now: Instant, id: LinkId) {
        self.now = now;
        if self.links.remove(id).is_some() {
            self.leave_link(id);
        }
    }

    /// The oldest event that was not taken yet.
    pub fn take_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let SessionEvent::Message { rx, message, .. } = &event {
            self.taken(*rx, message.buffer.room());
        }
        Some(event)
    }

    /// Counts a frame that was rejected at the driver's boundary.
    pub fn refused_frame(&mut self) {
        self.counters.rxd_bad_dr += 1;
    }

    /// The name of a link.
    pub fn link_name(&self, link: LinkId) -> Option<&str> {
        self.links.get(link).map(|link| link.port.name())
    }

    /// Whether frames wait for room on a link.
    pub fn is_waiting_for_room(&self) -> bool {
        self.links.iter().any(|link| link.is_up() && link.is_waiting())
    }

    /// Whether there are events.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Grows whenever there may be room for what was refused with `EAGAIN`.
    pub fn room_made(&self) -> u64 {
        self.counters.acks_rx + self.counters.tx_conn_deleted
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters { lr_evicted: self.nodes.evicted, ..self.counters }
    }

    /// The choices it runs with.
    pub fn options(&self) -> &Options {
        &self.options
    }
}
