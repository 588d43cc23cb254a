//! Peer NIs: the neighbours, as seen from one NI of this node, and the table of them.

use super::counters::{Count, Traffic};
use super::credits::{Class, Gate};
use super::ni::{Budgets, Ni};
use super::pools::Lane;
use super::show::CreditStatus;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;
use keelson_hal::{Entropy, Instant};
use keelson_lnet_wire::nid::Nid;
use keelson_net::hash::{Key, KeyedMap};

/// A dead next hop gets one message in so much time, to see whether it is alive again; what the LND does with
/// it is bounded by its own back-off.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The table of peers is searched for forgettable ones at most once in so much time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Requests to this node that one neighbour may have under way.
const LOCAL_CREDITS: u32 = 64;

/// What a message of a neighbour is charged as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Charge {
    /// Routed.
    Routed(Class),
    /// For this node.
    Local,
}

/// A neighbour.
pub struct PeerNi {
    pub(crate) nid: Nid,
    /// The NI of ours that it is reached through.
    pub(crate) ni: Rc<Ni>,
    pub(crate) tx: Budgets,
    /// Bytes that wait in `tx`, payload and 72 for each header.
    pub(crate) tx_bytes: Cell<u64>,
    /// Router credits for small and bulk messages, and the same for what is for this node.
    gates: [Gate; 3],
    /// What it holds of the pools, as a next hop.
    pub(crate) lanes: [Lane; 3],
    /// Whether there is a connection.
    pub(crate) connected: Cell<bool>,
    /// When it made contact, until it has been told what this router is ([`super::contact`]).
    pub(crate) contact: Cell<Option<Instant>>,
    dead: Cell<bool>,
    probe_at: Cell<Instant>,
    pub(crate) last_heard: Cell<Option<Instant>>,
    /// Routes through it.
    pub(crate) routes: Cell<u32>,
    pub(crate) traffic: Traffic,
    pub(crate) lost_dropped: Count,
    pub(crate) lost_timeout: Count,
    pub(crate) lost_error: Count,
}

impl PeerNi {
    pub(crate) fn new(ni: Rc<Ni>, nid: Nid, node_buffer_credits: u32) -> PeerNi {
        let tunables = &ni.tunables;
        let routed = match (tunables.peer_buffer_credits, node_buffer_credits) {
            (0, 0) => tunables.peer_credits,
            (0, node) => node,
            (own, _) => own,
        };
        PeerNi {
            nid,
            tx: Budgets::new(tunables.peer_credits),
            tx_bytes: Cell::new(0),
            gates: [Class::Small.router_credits(routed.max(1)), routed.max(1), LOCAL_CREDITS].map(Gate::new),
            lanes: Default::default(),
            connected: Cell::new(false),
            contact: Cell::new(None),
            dead: Cell::new(false),
            probe_at: Cell::new(Instant::ZERO),
            last_heard: Cell::new(None),
            routes: Cell::new(0),
            traffic: Traffic::default(),
            lost_dropped: Count::default(),
            lost_timeout: Count::default(),
            lost_error: Count::default(),
            ni,
        }
    }

    /// Its NID.
    pub fn nid(&self) -> Nid {
        self.nid
    }

    pub(crate) fn gate(&self, charge: Charge) -> &Gate {
        let [small, bulk, local] = &self.gates;
        match charge {
            Charge::Routed(Class::Small) => small,
            Charge::Routed(Class::Bulk) => bulk,
            Charge::Local => local,
        }
    }

    pub(crate) fn router_credits(&self) -> CreditStatus {
        let [small, bulk, _] = &self.gates;
        super::credits::worse(bulk.credits.status(), small.credits.status())
    }

    /// Sets all low-water marks to what is available now.
    pub(crate) fn reset_min(&self) {
        self.gates.iter().for_each(|gate| gate.credits.reset_min());
        self.tx.all().for_each(|sending| sending.credits.reset_min());
    }

    /// Something was received from it.
    pub(crate) fn heard(&self, now: Instant) {
        self.last_heard.set(Some(now));
        self.ni.last_heard.set(Some(now));
        self.dead.set(false);
    }

    /// It was lost, or could not be reached.
    pub(crate) fn died(&self, now: Instant) {
        self.dead.set(true);
        self.probe_at.set(now + PROBE_INTERVAL);
        self.lanes.iter().for_each(Lane::stir);
    }

    /// A connection was made.
    pub(crate) fn revive(&self) {
        self.dead.set(false);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.get() || self.ni.removed.get()
    }

    /// Whether routed messages for it are dropped. With a peer timeout of 0 nobody is ever taken for dead.
    pub(crate) fn is_given_up(&self) -> bool {
        self.ni.removed.get() || (self.dead.get() && self.ni.tunables.peer_timeout != 0)
    }

    /// Whether a routed message may be sent to it although it is given up: now and then, to see whether it is
    /// alive again.
    pub(crate) fn takes_probe(&self, now: Instant) -> bool {
        let probe = !self.ni.removed.get() && now >= self.probe_at.get();
        if probe {
            self.probe_at.set(now + PROBE_INTERVAL);
        }
        probe
    }

    /// Whether nothing would be lost by forgetting it.
    fn is_forgettable(self: &Rc<Self>, now: Instant) -> bool {
        let silent = self.last_heard.get().is_none_or(|at| now - at > Duration::from_secs(180))
            && !self.connected.get();
        silent && self.routes.get() == 0 && Rc::strong_count(self) == 1
    }
}

/// The peer NIs with one NID: one for each NI of ours on its network.
struct Rails {
    first: Rc<PeerNi>,
    more: Vec<Rc<PeerNi>>,
}

impl Rails {
    fn iter(&self) -> impl Iterator<Item = &Rc<PeerNi>> {
        core::iter::once(&self.first).chain(&self.more)
    }

    fn best(&self) -> &Rc<PeerNi> {
        if self.more.is_empty() {
            return &self.first;
        }
        let rank = |rail: &&Rc<PeerNi>| {
            let backlog = rail.tx_bytes.get();
            (rail.is_dead(), !rail.ni.up.get(), !rail.connected.get(), backlog)
        };
        self.iter().min_by_key(rank).unwrap_or(&self.first)
    }
}

/// All neighbours, by NID.
pub(crate) struct Peers {
    table: KeyedMap<Nid, Rails>,
    count: usize,
    max: usize,
    swept: Instant,
}

impl Peers {
    pub fn new(entropy: &dyn Entropy, max: usize) -> Peers {
        Peers { table: KeyedMap::with_hasher(Key::new(entropy)), count: 0, max, swept: Instant::ZERO }
    }

    /// The best way to a neighbour that is known.
    pub fn find(&self, nid: &Nid) -> Option<&Rc<PeerNi>> {
        self.table.get(nid).map(Rails::best)
    }

    /// The neighbour as seen from one NI.
    pub fn find_at(&self, ni: &Ni, nid: &Nid) -> Option<&Rc<PeerNi>> {
        self.table.get(nid)?.iter().find(|peer| peer.ni.id == ni.id)
    }

    /// Adds a neighbour; `None` when the table is full of peers that are in use.
    pub fn add(&mut self, peer: PeerNi, now: Instant) -> Option<Rc<PeerNi>> {
        if self.count >= self.max && !self.sweep(now) {
            return None;
        }
        let peer = Rc::new(peer);
        self.count += 1;
        match self.table.get_mut(&peer.nid) {
            Some(rails) => rails.more.push(peer.clone()),
            None => {
                self.table.insert(peer.nid, Rails { first: peer.clone(), more: Vec::new() });
            }
        }
        Some(peer)
    }

    /// Forgets peers without connection, credits or recent messages; true when there is room then.
    fn sweep(&mut self, now: Instant) -> bool {
        if now - self.swept < SWEEP_INTERVAL {
            return false;
        }
        self.swept = now;
        self.retain(|peer| !peer.is_forgettable(now));
        self.count < self.max
    }

    /// Keeps only some.
    pub fn retain(&mut self, keep: impl Fn(&Rc<PeerNi>) -> bool) {
        self.table.retain(|_, rails| {
            rails.more.retain(&keep);
            if !keep(&rails.first) {
                match rails.more.pop() {
                    Some(next) => rails.first = next,
                    None => return false,
                }
            }
            true
        });
        self.count = self.table.values().map(|rails| 1 + rails.more.len()).sum();
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rc<PeerNi>> {
        self.table.values().flat_map(Rails::iter)
    }
}
