//! What an administrator decides, with the defaults of Linux (LNet specification sections 1.9, 3.13, 5 and
//! appendix C).

use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;
use keelson_hal::{Link, LinkSpeed};
use keelson_lnet_wire::nid::{NetId, Nid};

/// Settings of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LnetConfig {
    /// `forwarding`: whether the node routes from its start.
    pub forwarding: bool,
    /// Bytes that payloads under way may take; what is not given below is derived from it.
    pub memory: usize,
    /// `tiny_router_buffers`; 0: by `memory`, at most Linux's 2048.
    pub tiny_router_buffers: u32,
    /// `small_router_buffers`; 0: by `memory`, at most Linux's 16384.
    pub small_router_buffers: u32,
    /// `large_router_buffers`; 0: by `memory`, at most Linux's 1024.
    pub large_router_buffers: u32,
    /// `peer_buffer_credits` of the node, for NIs that do not say; 0: their `peer_credits`.
    pub peer_buffer_credits: u32,
    /// `lnet_peer_discovery_disabled`, the other way round: whether pings tell that this node takes part in
    /// discovery, and pushes are sent.
    pub discovery: bool,
    /// `lnet_drop_asym_route`.
    pub drop_asym_route: bool,
    /// `avoid_asym_router_failure`.
    pub avoid_asym_router_failure: bool,
    /// `check_routers_before_use`.
    pub check_routers_before_use: bool,
    /// `alive_router_check_interval`; zero: gateways are not checked.
    pub alive_router_check_interval: Duration,
    /// `router_ping_timeout`.
    pub router_ping_timeout: Duration,
    /// `lnet_transaction_timeout`: how long an own request waits for its answer if its caller does not say.
    pub transaction_timeout: Duration,
    /// `lnet_interfaces_max`: entries that are accepted in a peer's ping information.
    pub max_interfaces: u32,
    /// How long `set routing 0` keeps forwarding although pings say otherwise, at least (section 5.12).
    pub drain_at_least: Duration,
    /// The same, at most: by then what is still in the buffers is given up.
    pub drain_at_most: Duration,
    /// How long a bulk message may keep its sender waiting for a buffer before it may take one of the reserve;
    /// a small one a tenth of it.
    pub rescue_after: Duration,
    /// Own requests that may wait for an answer at once.
    pub max_requests: usize,
    /// Peer NIs that are remembered at once.
    pub max_peers: usize,
    /// What `global show` tells as `lnd_timeout`.
    pub lnd_timeout: Duration,
}

impl Default for LnetConfig {
    fn default() -> LnetConfig {
        LnetConfig {
            forwarding: false,
            memory: 96 << 20,
            tiny_router_buffers: 0,
            small_router_buffers: 0,
            large_router_buffers: 0,
            peer_buffer_credits: 0,
            discovery: true,
            drop_asym_route: false,
            avoid_asym_router_failure: true,
            check_routers_before_use: false,
            alive_router_check_interval: Duration::from_secs(60),
            router_ping_timeout: Duration::from_secs(50),
            transaction_timeout: Duration::from_secs(150),
            max_interfaces: 200,
            drain_at_least: Duration::from_secs(110),
            drain_at_most: Duration::from_secs(330),
            rescue_after: Duration::from_secs(3),
            max_requests: 1024,
            max_peers: 8192,
            lnd_timeout: Duration::from_secs(50),
        }
    }
}

/// Tunables of an NI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunables {
    /// Messages given to the LND at once, over all peers.
    pub credits: u32,
    /// The same for each peer NI.
    pub peer_credits: u32,
    /// Routed messages of each peer NI in the buffers at once; 0: the node's value.
    pub peer_buffer_credits: u32,
    /// Seconds after which a silent peer may be taken for dead; 0: no peer ever is.
    pub peer_timeout: u32,
    /// Connections of each bulk type opened to a peer. 0, by the speed of the link, is for [`Tunables::on_link`] to
    /// resolve.
    pub conns_per_peer: u8,
}

impl Default for Tunables {
    fn default() -> Tunables {
        Tunables {
            credits: 256,
            peer_credits: 8,
            peer_buffer_credits: 0,
            peer_timeout: 180,
            conns_per_peer: USUAL_CONNECTIONS,
        }
    }
}

/// Connections to a peer over a link whose speed is not known.
const USUAL_CONNECTIONS: u8 = 2;

impl Tunables {
    /// What they come to on a link of this speed (LNet specification section 3.7): one connection of each bulk type up
    /// to 3 Gbit/s, and one more whenever it is four times as fast.
    pub fn on_link(self, link: Link) -> Tunables {
        let conns_per_peer = match (self.conns_per_peer, link) {
            (0, Link::Up(LinkSpeed(0)) | Link::Down) => USUAL_CONNECTIONS,
            (0, Link::Up(LinkSpeed(speed))) => (speed / 1000).max(1).ilog2() as u8 / 2 + 1,
            (count, _) => count,
        };
        Tunables { conns_per_peer: conns_per_peer.min(MOST_CONNECTIONS), ..self }
    }
}

/// Most connections of a type.
const MOST_CONNECTIONS: u8 = 8;

/// Which of its interface's addresses an NI takes into its NID. Link-local ones never are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum AddressChoice {
    /// IPv4 where there is one or DHCP may give one, else IPv6.
    #[default]
    Usual,
    /// IPv6: what `lnetctl lnet configure --large` asks for.
    Large,
    /// This very one: `lnetctl net add --nid`.
    Exactly(IpAddr),
}

/// An NI to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NiConfig {
    /// Its NID: the network, and the address of its interface.
    pub nid: Nid,
    /// Name of its interface.
    pub interface: String,
    /// Its tunables.
    pub tunables: Tunables,
}

/// A route to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteConfig {
    /// The network it leads to.
    pub net: NetId,
    /// The neighbour that forwards; its network is one of ours.
    pub gateway: Nid,
    /// 1 to 255; `None` when undefined, which counts as 1 in comparisons.
    pub hops: Option<u8>,
    /// Lower is preferred.
    pub priority: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_speed_of_the_link() {
        let automatic = Tunables { conns_per_peer: 0, ..Tunables::default() };
        let on = |link| automatic.on_link(link).conns_per_peer;
        let speeds = [10, 1000, 3999, 4000, 10_000, 15_999, 16_000, 40_000, 100_000, 400_000, u32::MAX];
        let counts = speeds.map(|speed| on(Link::Up(LinkSpeed(speed))));
        assert_eq!(counts, [1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8]);
        assert_eq!((on(Link::Down), on(Link::Up(LinkSpeed(0)))), (2, 2));
        let four = Tunables { conns_per_peer: 4, ..automatic };
        assert_eq!(four.on_link(Link::Up(LinkSpeed(1000))).conns_per_peer, 4);
    }
}
