//! LNet proper: interfaces, peers, credits, routes; what is forwarded and what is for this node.
//!
//! ```text
//!   receive   judges what arrives                                                        <- LndUpper
//!     |-> park      takes credits and buffers for it, waits for them
//!     |-> send      next hop, send credits, what became of a message                     -> Lnd
//!     |     `-- routes, gateways       other routers, and whether they are alive
//!     `-> local     what is for this node; its own requests
//!           |-- ping, nodes            pings, discovery, pushes
//!           `-- requests               what waits for an answer
//!   credits, pools, tag    what a message may occupy, and gives back when it is dropped
//!   ni, peer               interfaces and neighbours
//!   configured             peers by name
//!   contact                telling neighbours what this router is
//!   fault                  messages lost or delayed on purpose
//!   lifecycle, forwarding  up, down, interfaces, drain
//!   show, snapshot         all of it as plain data
//! ```
//!
//! Principles:
//!
//! 1. **Nothing is dropped for want of room.** Whoever sends too much is not read (`park`); what a message
//!    occupies is bounded for its sender, for its next hop and in all (`pools`).
//! 2. **Nobody pays for others.** A next hop that takes nothing keeps a share of the buffers, not all of them;
//!    small messages and bulk have separate credits throughout.
//! 3. **A message owns what it occupies** (`tag`): whoever drops it, it is all given back.
//! 4. **One message costs the same whatever the number of peers**, and allocates nothing once the node is warm.
//!
//! Not here: health values and resending (a router never sends a message a second time), user-defined selection
//! policies, multi-rail forwarding (the header is never changed), network types other than TCP.

mod config;
mod configured;
mod contact;
mod counters;
mod credits;
mod fault;
mod forwarding;
mod gateways;
mod health;
mod lifecycle;
mod local;
mod ni;
mod nodes;
mod park;
mod peer;
mod ping;
mod pools;
mod receive;
mod requests;
mod routes;
mod send;
pub mod show;
mod snapshot;
mod tag;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::{AddressChoice, LnetConfig, NiConfig, RouteConfig, Tunables};
pub use configured::{PeerConfig, PeerError};
pub use fault::{AddFaultError, FaultAction, FaultRule, NidPattern, Often};
pub use forwarding::Routed;
pub use health::{HealthError, HealthErrors};
pub use lifecycle::{AddNiError, Stop, StopError};
pub use local::PutArgs;
pub use peer::PeerNi;
pub use requests::RequestError;
pub use routes::AddRouteError;
pub use tag::Tag;

/// Why a GET failed: the errors of all requests are the same.
pub type GetError = RequestError;

use crate::buffers::Pieces;
use crate::lnd::Lnd;
use crate::message::Message;
use crate::portal::Portal;
use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, OnceCell, RefCell};
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, TaskHandle};
use keelson_hal::{Clock, Entropy};
use keelson_lnet_wire::message::PORTALS;
use keelson_lnet_wire::nid::Nid;

/// Bits of `peer state` (LNet specification section 6.5).
pub mod peer_state {
    /// The peer's NIDs belong together.
    pub const MULTI_RAIL: u32 = 1 << 0;
    /// The peer, or this node, does not take part in discovery.
    pub const NO_DISCOVERY: u32 = 1 << 1;
    /// The peer forwards.
    pub const ROUTER_ENABLED: u32 = 1 << 2;
    /// An administrator named it.
    pub const CONFIGURED: u32 = 1 << 3;
    /// What it said of itself is known.
    pub const DISCOVERED: u32 = 1 << 4;
    /// It is being asked.
    pub const DISCOVERING: u32 = 1 << 6;
    /// The list of its NIDs is what it said last.
    pub const NIDS_UPTODATE: u32 = 1 << 8;
    /// A ping is under way.
    pub const PING_SENT: u32 = 1 << 9;
    /// A push is under way.
    pub const PUSH_SENT: u32 = 1 << 10;
    /// The last ping failed.
    pub const PING_FAILED: u32 = 1 << 11;
    /// The last push failed.
    pub const PUSH_FAILED: u32 = 1 << 12;
}

/// Whether the node is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Running,
    Stopped,
}

/// The LNet of a node.
pub struct Lnet {
    me: Weak<Lnet>,
    handle: Handle,
    clock: Rc<dyn Clock>,
    entropy: Rc<dyn Entropy>,
    config: RefCell<LnetConfig>,
    lnd: OnceCell<Rc<dyn Lnd>>,
    books: Rc<tag::Books>,
    pieces: Rc<Pieces>,
    /// This node as a next hop: what is for it is charged to it.
    this_node: Rc<PeerNi>,
    nis: RefCell<Vec<Rc<ni::Ni>>>,
    next_ni: Cell<u32>,
    peers: RefCell<peer::Peers>,
    routes: RefCell<routes::Routes>,
    nodes: RefCell<nodes::Nodes>,
    requests: RefCell<requests::Requests>,
    portals: RefCell<Vec<Option<Rc<dyn Portal>>>>,
    own: RefCell<ping::OwnInfo>,
    life: Cell<Life>,
    routing: Cell<show::RoutingState>,
    /// Goes up with each change of `routing`, so that a change under way knows that it was overtaken.
    routing_turn: Cell<u64>,
    faults: fault::Faults,
    to_self: RefCell<VecDeque<Message>>,
    to_self_ready: Notify,
    push_wanted: Notify,
    contacts: contact::Contacts,
    check_gateways: Notify,
    tasks: RefCell<Vec<TaskHandle>>,
}

impl Lnet {
    /// A node that is down, without networks.
    pub fn new(
        handle: Handle,
        clock: Rc<dyn Clock>,
        entropy: Rc<dyn Entropy>,
        config: LnetConfig,
    ) -> Rc<Lnet> {
        let buffers = [
            pools::Kind::Tiny.buffers(config.tiny_router_buffers, config.memory),
            pools::Kind::Small.buffers(config.small_router_buffers, config.memory),
            pools::Kind::Large.buffers(config.large_router_buffers, config.memory),
        ];
        let statistics = counters::Statistics::default();
        let books = Rc::new(tag::Books { statistics, pools: pools::Pools::new(buffers) });
        let loopback = ni::Ni::new(None, Nid::LOOPBACK, String::new(), Tunables::default());
        Rc::new_cyclic(|me| Lnet {
            me: me.clone(),
            books,
            pieces: Pieces::new(),
            this_node: Rc::new(PeerNi::new(Rc::new(loopback), Nid::LOOPBACK, 0)),
            nis: RefCell::new(Vec::new()),
            next_ni: Cell::new(1),
            peers: RefCell::new(peer::Peers::new(&*entropy, config.max_peers)),
            routes: RefCell::new(routes::Routes::new(&*entropy)),
            nodes: RefCell::new(nodes::Nodes::new(&*entropy, config.max_peers)),
            requests: RefCell::new(requests::Requests::new(&*entropy)),
            portals: RefCell::new((0..PORTALS).map(|_| None).collect()),
            own: RefCell::new(ping::OwnInfo { sequence: 1, told: false, bytes: Vec::new(), generation: 0 }),
            life: Cell::new(Life::Stopped),
            routing: Cell::new(show::RoutingState::Disabled),
            routing_turn: Cell::new(0),
            faults: fault::Faults::new(entropy.next_u64()),
            to_self: RefCell::new(VecDeque::new()),
            to_self_ready: Notify::new(),
            push_wanted: Notify::new(),
            contacts: contact::Contacts::default(),
            check_gateways: Notify::new(),
            tasks: RefCell::new(Vec::new()),
            lnd: OnceCell::new(),
            config: RefCell::new(config),
            handle,
            clock,
            entropy,
        })
    }

    /// The node's memory for payloads.
    pub fn pieces(&self) -> &Rc<Pieces> {
        &self.pieces
    }

    /// Whether a NID is one of ours.
    pub fn is_own(&self, nid: &Nid) -> bool {
        self.nis.borrow().iter().any(|ni| ni.nid == *nid)
    }
}
