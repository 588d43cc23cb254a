//! What the tools ask of a node.

use super::Failure;
use crate::lnd::{LndConnectionStatus, LndPeerStatus};
use crate::lnet::show::{
    FaultStatus, GlobalStatus, NetStatus, PeerStatus, RouteStatus, RouterStatus, RoutingStatus,
    StatisticsStatus,
};
use crate::lnet::{AddressChoice, FaultRule, PeerConfig, RouteConfig, Stop, Tunables};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{NetId, Nid};
use keelson_lnet_wire::ping::PingInfo;

/// Tunables of an NI to be added: what is not given is as configured for the node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TunableChanges {
    /// `credits`.
    pub credits: Option<u32>,
    /// `peer_credits`.
    pub peer_credits: Option<u32>,
    /// `peer_buffer_credits`.
    pub peer_buffer_credits: Option<u32>,
    /// `peer_timeout`, in seconds.
    pub peer_timeout: Option<u32>,
    /// `conns_per_peer`.
    pub conns_per_peer: Option<u8>,
}

impl TunableChanges {
    /// These tunables with the changes.
    pub fn apply(&self, tunables: Tunables) -> Tunables {
        Tunables {
            credits: self.credits.unwrap_or(tunables.credits),
            peer_credits: self.peer_credits.unwrap_or(tunables.peer_credits),
            peer_buffer_credits: self.peer_buffer_credits.unwrap_or(tunables.peer_buffer_credits),
            peer_timeout: self.peer_timeout.unwrap_or(tunables.peer_timeout),
            conns_per_peer: self.conns_per_peer.unwrap_or(tunables.conns_per_peer),
        }
    }
}

/// A network to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetRequest {
    /// The network.
    pub net: NetId,
    /// Interfaces, each of which gets a NID from an address of it. None: the first one.
    pub interfaces: Vec<String>,
    /// Which of its addresses.
    pub address: AddressChoice,
    /// Tunables of the NIs.
    pub tunables: TunableChanges,
}

/// How LNet is brought up.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Configure {
    /// With the networks and routes of the command line.
    pub all: bool,
    /// NIs get their NIDs from IPv6 addresses, until LNet is brought down.
    pub large: bool,
}

/// Numbers of router buffers; what is not given stays.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Buffers {
    /// Without payload.
    pub tiny: Option<u32>,
    /// Up to 4096 bytes.
    pub small: Option<u32>,
    /// Up to 1 MiB.
    pub large: Option<u32>,
}

/// A setting of the node that can be changed while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Whether it takes part in discovery.
    Discovery,
    /// Whether messages that came by a way that is not ours are dropped.
    DropAsymRoute,
    /// Seconds that its own requests may take.
    TransactionTimeout,
    /// NIDs accepted from a peer.
    MaxInterfaces,
}

/// A node, as its tools see it.
pub trait Control: 'static {
    /// Whether LNet is up.
    fn is_up(&self) -> bool;

    /// Brings LNet up. If it is up, the networks and routes of the command line that are missing are added where
    /// they are asked for.
    fn configure(&self, how: Configure) -> Result<(), Failure>;

    /// Brings LNet down.
    async fn unconfigure(&self, how: Stop) -> Result<(), Failure>;

    /// The networks, loopback first; none when LNet is down, like all that follow.
    fn nets(&self) -> Vec<NetStatus>;
    /// The routes.
    fn routes(&self) -> Vec<RouteStatus>;
    /// The gateways.
    fn routers(&self) -> Vec<RouterStatus>;
    /// The peers.
    fn peers(&self) -> Vec<PeerStatus>;
    /// Forwarding and its buffers.
    fn routing(&self) -> RoutingStatus;
    /// What was counted.
    fn statistics(&self) -> StatisticsStatus;
    /// Settings.
    fn global(&self) -> GlobalStatus;
    /// Fault rules.
    fn faults(&self) -> Vec<FaultStatus>;
    /// Peers of the socket LND.
    fn lnd_peers(&self) -> Vec<LndPeerStatus>;
    /// Its connections.
    fn lnd_connections(&self) -> Vec<LndConnectionStatus>;
    /// The port that it connects to.
    fn lnd_port(&self) -> u16;

    /// Adds a network, or interfaces to it.
    fn add_net(&self, request: NetRequest) -> Result<(), Failure>;
    /// Takes a network away, or only what is on these interfaces.
    fn del_net(&self, net: NetId, interfaces: &[String]) -> Result<(), Failure>;
    /// Takes away the NI with this NID.
    fn del_nid(&self, nid: Nid) -> Result<(), Failure>;
    /// Adds a route.
    fn add_route(&self, route: RouteConfig) -> Result<(), Failure>;
    /// Takes away the routes to a network, or the one by this gateway.
    fn del_route(&self, net: NetId, gateway: Option<Nid>) -> Result<(), Failure>;
    /// Adds a peer, or NIDs to it.
    fn add_peer(&self, peer: PeerConfig) -> Result<(), Failure>;
    /// Takes a peer away, or some of its NIDs.
    fn del_peer(&self, primary: Nid, nids: &[Nid]) -> Result<(), Failure>;
    /// Starts or stops forwarding.
    fn set_routing(&self, on: bool) -> Result<(), Failure>;
    /// Changes the numbers of buffers.
    fn set_buffers(&self, buffers: Buffers) -> Result<(), Failure>;
    /// Changes a setting.
    fn set(&self, setting: Setting, value: u32) -> Result<(), Failure>;
    /// Sets counters and low-water marks back.
    fn reset_statistics(&self);

    /// Adds a fault rule.
    fn add_fault(&self, rule: FaultRule) -> Result<(), Failure>;
    /// Takes away the rules that are meant; says how many.
    fn del_faults(&self, which: &dyn Fn(&FaultRule) -> bool) -> usize;
    /// Sets their counters back.
    fn reset_faults(&self);

    /// Asks a node what it is; from this NID of ours and through its NI, if one is given.
    async fn ping(&self, source: Option<Nid>, nid: Nid, timeout: Duration) -> Result<PingInfo, Failure>;
    /// The same, and remembers it, and tells it what we are.
    async fn discover(&self, nid: Nid, timeout: Duration) -> Result<PingInfo, Failure>;

    /// The time.
    fn now(&self) -> Instant;
    /// Waits.
    async fn sleep(&self, span: Duration);
}
