//! What there is to see of a node, as plain data: copies taken at one moment, for whoever prints them.
//!
//! Field names are those of `lnetctl` where it has one (LNet specification section 6). How they are laid out as
//! YAML or as lines of a file is decided where they are printed.

use crate::lnd::NiId;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid};

/// Messages by type; as in `sent_stats`, `received_stats` and `dropped_stats`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ByType {
    /// PUTs.
    pub put: u64,
    /// GETs.
    pub get: u64,
    /// REPLYs.
    pub reply: u64,
    /// ACKs.
    pub ack: u64,
}

impl ByType {
    /// All of them: `send_count`, `recv_count` or `drop_count`.
    pub fn total(&self) -> u64 {
        self.put + self.get + self.reply + self.ack
    }

    /// The sum of both, type by type.
    pub fn plus(&self, other: &ByType) -> ByType {
        ByType {
            put: self.put + other.put,
            get: self.get + other.get,
            reply: self.reply + other.reply,
            ack: self.ack + other.ack,
        }
    }
}

/// Messages of an NI or a peer NI, routed ones included.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TrafficStatus {
    /// `sent_stats`.
    pub sent: ByType,
    /// `received_stats`.
    pub received: ByType,
    /// `dropped_stats`.
    pub dropped: ByType,
}

/// Credits of one kind. Below zero: so many messages wait.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CreditStatus {
    /// What there is when nothing is under way.
    pub max: i64,
    /// What is left.
    pub available: i64,
    /// The least that was ever left.
    pub min: i64,
}

/// Tunables of an NI, with the values in effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunablesStatus {
    /// Seconds without a sign of life after which a peer may be taken for dead; 0: never.
    pub peer_timeout: u32,
    /// Send credits towards each peer NI.
    pub peer_credits: u32,
    /// Router credits of each sending peer NI; 0: the node's `peer_buffer_credits`, else `peer_credits`.
    pub peer_buffer_credits: u32,
    /// Send credits of the NI.
    pub credits: u32,
    /// Connections of each bulk type that are opened to a peer.
    pub conns_per_peer: u32,
}

/// A network: an item of `net:`. The loopback network comes first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetStatus {
    /// `net type`.
    pub net: NetId,
    /// `local NI(s)`.
    pub nis: Vec<NiStatus>,
}

/// An NI of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NiStatus {
    /// Its name between LNet and LND; `None` for loopback.
    pub id: Option<NiId>,
    /// Its NID.
    pub nid: Nid,
    /// `status`: what ping information says of it.
    pub up: bool,
    /// Name of its interface; none for loopback.
    pub interface: Option<String>,
    /// Its messages.
    pub traffic: TrafficStatus,
    /// `fatal_error`: the link is down.
    pub fatal_error: bool,
    /// `None` for loopback, which has none.
    pub tunables: Option<TunablesStatus>,
    /// Send credits.
    pub tx: CreditStatus,
    /// Time since the last message came in; `None` before the first.
    pub last_alive: Option<Duration>,
    /// Peer NIs reached through it.
    pub peers: usize,
}

/// A route: an item of `route:`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteStatus {
    /// The network it leads to.
    pub net: NetId,
    /// The neighbour that forwards.
    pub gateway: Nid,
    /// As configured; `None` (shown as -1, or 4294967295) when not.
    pub hops: Option<u8>,
    /// Lower is preferred.
    pub priority: u32,
    /// Whether messages are sent over it.
    pub up: bool,
    /// Whether the gateway is itself on the network; `type` is single-hop then, else multi-hop.
    pub single_hop: bool,
}

/// A gateway: a line of the file `routers`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterStatus {
    /// Its NID.
    pub nid: Nid,
    /// Routes through it.
    pub routes: usize,
    /// Whether the last check succeeded, or it has been heard of since.
    pub alive: bool,
}

/// What is known of a peer NI's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerNiState {
    /// `up`.
    Up,
    /// `down`: routed messages for it are dropped.
    Down,
    /// `NA`: not followed, as this node does not route and the peer is no gateway.
    NotAvailable,
}

/// A node: an item of `peer:`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// `primary nid`.
    pub primary: Nid,
    /// `Multi-Rail`.
    pub multi_rail: bool,
    /// `peer state`: bits of section 6.5, see [`super::peer_state`].
    pub state: u32,
    /// `peer ni`.
    pub nis: Vec<PeerNiStatus>,
}

/// An NI of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerNiStatus {
    /// Its NID.
    pub nid: Nid,
    /// `state`.
    pub state: PeerNiState,
    /// `max_ni_tx_credits`, `available_tx_credits`, `min_tx_credits`.
    pub tx: CreditStatus,
    /// `tx_q_num_of_buf`: bytes that wait to be sent, 72 for each header.
    pub tx_queued_bytes: u64,
    /// `available_rtr_credits`, `min_rtr_credits`.
    pub rtr: CreditStatus,
    /// References, as in `refcount`.
    pub refcount: usize,
    /// Its messages.
    pub traffic: TrafficStatus,
    /// Time since it was last heard of; `None` if never.
    pub last_alive: Option<Duration>,
    /// `dropped` of `health stats`: messages for it that were lost for want of a connection.
    pub lost_dropped: u64,
    /// `network timeout` of `health stats`: messages for it that were lost because it took no data.
    pub lost_timeout: u64,
    /// `error` of `health stats`: messages for it that were lost with their connection.
    pub lost_error: u64,
    /// Messages whose sender is held back because this peer NI has as much of the buffers as it may.
    pub parked: usize,
}

/// One of the three pools of router buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolStatus {
    /// `tiny`, `small` or `large`.
    pub name: &'static str,
    /// `npages`, of 4096 bytes.
    pub pages: u32,
    /// `nbuffers`: what may be occupied at once.
    pub buffers: u32,
    /// `credits`: free buffers; below zero, with none free, so many messages wait.
    pub credits: i64,
    /// `mincredits`.
    pub min_credits: i64,
    /// Messages that wait, for a free buffer or because their next hop has its share.
    pub parked: u32,
    /// Buffers that were taken from the reserve by messages that had waited too long, ever.
    pub rescued: u64,
}

/// Whether this node forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoutingState {
    /// It does not.
    Disabled,
    /// It does, but does not say so yet.
    Starting,
    /// It does.
    Enabled,
    /// It does, but says that it does not: peers shall turn to other routers.
    Stopping,
}

/// `routing show`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoutingStatus {
    /// `enable` is 1 in all states but [`RoutingState::Disabled`].
    pub state: RoutingState,
    /// Tiny, small, large.
    pub pools: [PoolStatus; 3],
    /// Bytes of memory allocated for payloads, and the most that ever was.
    pub payload_bytes: (usize, usize),
}

/// `stats show`, in the order in which it prints.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StatisticsStatus {
    /// Messages in memory.
    pub msgs_alloc: u64,
    /// The most that ever were.
    pub msgs_max: u64,
    /// Answers that are waited for.
    pub rst_alloc: u64,
    /// Kept for its name; nothing counts it, as on Linux.
    pub errors: u64,
    /// Own messages sent.
    pub send_count: u64,
    /// Always 0: this node does not send again.
    pub resend_count: u64,
    /// Own requests whose answer did not come in time.
    pub response_timeout_count: u64,
    /// Always 0.
    pub local_interrupt_count: u64,
    /// Messages lost because an NI of this node went away.
    pub local_dropped_count: u64,
    /// Always 0.
    pub local_aborted_count: u64,
    /// Messages that no route was found for.
    pub local_no_route_count: u64,
    /// Always 0.
    pub local_timeout_count: u64,
    /// Messages that could not be sent for another reason.
    pub local_error_count: u64,
    /// Messages lost because there was no connection to the next hop.
    pub remote_dropped_count: u64,
    /// Messages lost with their connection.
    pub remote_error_count: u64,
    /// Always 0.
    pub remote_timeout_count: u64,
    /// Messages lost because the next hop took no data.
    pub network_timeout_count: u64,
    /// Always 0.
    pub failed_resends: u64,
    /// Always 0.
    pub successful_resends: u64,
    /// Own messages received.
    pub recv_count: u64,
    /// Messages forwarded.
    pub route_count: u64,
    /// Messages dropped.
    pub drop_count: u64,
    /// Payload of own PUTs and REPLYs sent.
    pub send_length: u64,
    /// Payload of own PUTs and REPLYs received.
    pub recv_length: u64,
    /// Payload forwarded.
    pub route_length: u64,
    /// Payload dropped.
    pub drop_length: u64,
}

/// Why messages were dropped: each counts in `drop_count` too.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DropReasons {
    /// For another node of the network it came from (row 5 of section 4.5).
    pub misdirected: u64,
    /// Not for this node, and this node does not forward (row 7).
    pub not_routing: u64,
    /// A fault rule said so (row 8).
    pub fault_rule: u64,
    /// The table of peers is full (row 10).
    pub no_peer: u64,
    /// Came through a router that is no gateway of ours (row 11).
    pub asymmetric: u64,
    /// Nothing of ours waits for it, or accepts it.
    pub unmatched: u64,
    /// No route to its network, or none that is alive.
    pub no_route: u64,
    /// Came from the very gateway that leads to its network.
    pub loops: u64,
    /// The next hop is dead.
    pub next_hop_dead: u64,
    /// The next hop was lost, or could not be reached, with the message on its way.
    pub send_failed: u64,
    /// A NID that does not fit the header on the next hop's connections.
    pub not_expressible: u64,
}

/// What became of the neighbours that made contact with this router, of whom each connects, is asked what it is, and
/// told that this is a router.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ContactStatus {
    /// Neighbours that have connected, or were connected to, after being without connection.
    pub made: u64,
    /// They had told of themselves before their turn came, as those do that check this router.
    pub spoke_first: u64,
    /// They were asked and told.
    pub told: u64,
    /// They were asked, and take no part in discovery.
    pub without_discovery: u64,
    /// They did not answer in time, or did not acknowledge.
    pub failed: u64,
    /// Their connections had ended before their turn came.
    pub gone: u64,
    /// There was no room for them.
    pub left_out: u64,
}

/// `global show`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GlobalStatus {
    /// Kept for its name; always 0.
    pub numa_range: u32,
    /// Most NIDs that are taken from a peer's ping information.
    pub max_interfaces: u32,
    /// 1 when this node takes part in discovery.
    pub discovery: u32,
    /// 1 when messages that come by another way than ours to their sender are dropped.
    pub drop_asym_route: u32,
    /// Kept for its name: this node does not send again.
    pub retry_count: u32,
    /// Seconds after which an own request has failed.
    pub transaction_timeout: u32,
    /// Kept for its name: health is always 1000.
    pub health_sensitivity: u32,
    /// Kept for its name.
    pub recovery_interval: u32,
    /// Kept for its name.
    pub router_sensitivity: u32,
    /// Seconds after which the LND gives up on a connection.
    pub lnd_timeout: u32,
    /// Kept for its name.
    pub response_tracking: u32,
    /// Kept for its name.
    pub recovery_limit: u32,
    /// Kept for its name.
    pub max_recovery_ping_interval: u32,
}

/// Seconds of the router checker and its like, and the buffer counts that were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleStatus {
    /// `alive_router_check_interval`, in seconds.
    pub alive_router_check_interval: u32,
    /// `router_ping_timeout`, in seconds.
    pub router_ping_timeout: u32,
    /// `check_routers_before_use`.
    pub check_routers_before_use: bool,
    /// `avoid_asym_router_failure`.
    pub avoid_asym_router_failure: bool,
    /// `peer_buffer_credits` of the node; 0: as the NI says.
    pub peer_buffer_credits: u32,
}

/// A fault rule with its counters (section 8.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultStatus {
    /// The rule.
    pub rule: super::FaultRule,
    /// `fs_count`: messages that matched.
    pub matched: u64,
    /// `fs_put`, `fs_get`, `fs_reply`, `fs_ack`.
    pub by_type: ByType,
    /// `ds_dropped` or `ls_delayed`: messages that it acted on.
    pub acted: u64,
}
