//! Takes the snapshots of `show`, and does what an administrator may do to counters, peers and fault rules.

use super::Lnet;
use super::counters::Traffic;
use super::fault::{AddFaultError, FaultRule};
use super::ni::{Budgets, Ni};
use super::peer::PeerNi;
use super::show::{
    ContactStatus, CreditStatus, DropReasons, FaultStatus, GlobalStatus, ModuleStatus, NetStatus, NiStatus,
    PeerNiState, PeerNiStatus, PeerStatus, RouteStatus, RouterStatus, RoutingState, RoutingStatus,
    StatisticsStatus, TrafficStatus, TunablesStatus,
};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{NetId, Nid};

impl Lnet {
    /// All networks, loopback first, then in the order in which they were added.
    pub fn nets(&self) -> Vec<NetStatus> {
        let mut nets = vec![NetStatus { net: NetId::LOOPBACK, nis: vec![self.loopback_status()] }];
        for ni in self.nis.borrow().iter() {
            let status = self.ni_status(ni);
            match nets.iter_mut().find(|known| known.net == ni.net) {
                Some(known) => known.nis.push(status),
                None => nets.push(NetStatus { net: ni.net, nis: vec![status] }),
            }
        }
        nets
    }

    /// NIDs of this node without loopback: `lctl list_nids`.
    pub fn nids(&self) -> Vec<Nid> {
        self.nis.borrow().iter().map(|ni| ni.nid).collect()
    }

    fn since(&self, at: Option<Instant>) -> Option<Duration> {
        at.map(|at| self.handle.now() - at)
    }

    fn loopback_status(&self) -> NiStatus {
        NiStatus {
            id: None,
            nid: Nid::LOOPBACK,
            up: true,
            interface: None,
            traffic: TrafficStatus::default(),
            fatal_error: false,
            tunables: None,
            tx: CreditStatus::default(),
            last_alive: Some(Duration::ZERO),
            peers: 0,
        }
    }

    fn ni_status(&self, ni: &Ni) -> NiStatus {
        let tunables = &ni.tunables;
        NiStatus {
            id: ni.id,
            nid: ni.nid,
            up: ni.up.get(),
            interface: Some(ni.interface.clone()),
            traffic: ni.traffic.status(),
            fatal_error: !ni.up.get(),
            tunables: Some(TunablesStatus {
                peer_timeout: tunables.peer_timeout,
                peer_credits: tunables.peer_credits,
                peer_buffer_credits: tunables.peer_buffer_credits,
                credits: tunables.credits,
                conns_per_peer: tunables.conns_per_peer.into(),
            }),
            tx: ni.tx.status(),
            last_alive: self.since(ni.last_heard.get()),
            peers: self.peers.borrow().iter().filter(|peer| peer.ni.id == ni.id).count(),
        }
    }

    /// All routes, by network.
    pub fn routes(&self) -> Vec<RouteStatus> {
        let routes = self.routes.borrow();
        let status = |route: &Rc<super::routes::Route>| RouteStatus {
            net: route.config.net,
            gateway: route.config.gateway,
            hops: route.config.hops,
            priority: route.config.priority,
            up: route.is_up(),
            single_hop: route.single_hop(),
        };
        let mut all: Vec<RouteStatus> = routes.iter().map(status).collect();
        all.sort_by_key(|route| (route.net, route.priority, route.gateway));
        all
    }

    /// All gateways.
    pub fn routers(&self) -> Vec<RouterStatus> {
        let routes = self.routes.borrow();
        let status = |gateway: &Rc<super::routes::Gateway>| RouterStatus {
            nid: gateway.nid,
            routes: routes.iter().filter(|route| Rc::ptr_eq(&route.gateway, gateway)).count(),
            alive: gateway.alive.get(),
        };
        routes.gateways().iter().map(status).collect()
    }

    /// All nodes that are known, by their primary NID.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let nodes = self.nodes.borrow();
        let peers = self.peers.borrow();
        let mut all: Vec<PeerStatus> = Vec::new();
        for node in nodes.iter() {
            let nids = node.nids.borrow();
            let status = |nid: &Nid| match peers.find(nid) {
                Some(peer) => self.peer_ni_status(peer),
                None => unknown_peer_ni(*nid),
            };
            let nis = nids.iter().map(status).collect();
            all.push(PeerStatus {
                primary: node.primary.get(),
                multi_rail: node.is_multi_rail(),
                state: node.state.get(),
                nis,
            });
        }
        for peer in peers.iter().filter(|peer| nodes.find(&peer.nid).is_none()) {
            let nis = vec![self.peer_ni_status(peer)];
            all.push(PeerStatus { primary: peer.nid, multi_rail: false, state: 0, nis });
        }
        all.sort_by_key(|peer| peer.primary);
        // One NID may be reached through several NIs of ours.
        all.dedup_by(|later, first| {
            let same = later.primary == first.primary;
            if same {
                first.nis.append(&mut later.nis);
            }
            same
        });
        all
    }

    fn peer_ni_status(&self, peer: &Rc<PeerNi>) -> PeerNiStatus {
        let followed = self.forwards() || peer.routes.get() > 0;
        let state = match (followed, peer.is_dead()) {
            (false, _) => PeerNiState::NotAvailable,
            (true, false) => PeerNiState::Up,
            (true, true) => PeerNiState::Down,
        };
        PeerNiStatus {
            nid: peer.nid,
            state,
            tx: peer.tx.status(),
            tx_queued_bytes: peer.tx_bytes.get(),
            rtr: peer.router_credits(),
            refcount: Rc::strong_count(peer),
            traffic: peer.traffic.status(),
            last_alive: self.since(peer.last_heard.get()),
            lost_dropped: peer.lost_dropped.get(),
            lost_timeout: peer.lost_timeout.get(),
            lost_error: peer.lost_error.get(),
            parked: peer.lanes.iter().map(|lane| lane.queue.len()).sum(),
        }
    }

    /// Whether the node forwards, and its buffers.
    pub fn routing(&self) -> RoutingStatus {
        RoutingStatus {
            state: self.routing.get(),
            pools: self.books.pools.status(),
            payload_bytes: (self.pieces.allocated(), self.pieces.high_water()),
        }
    }

    /// Whether the node forwards.
    pub fn is_routing(&self) -> bool {
        self.routing.get() != RoutingState::Disabled
    }

    /// Counters of the node.
    pub fn statistics(&self) -> StatisticsStatus {
        self.books.statistics.status(self.requests.borrow().len())
    }

    /// Why messages were dropped.
    pub fn drops(&self) -> DropReasons {
        self.books.statistics.drop_reasons()
    }

    /// What became of the neighbours that made contact.
    pub fn contacts(&self) -> ContactStatus {
        self.books.statistics.contact_status()
    }

    /// Sets the node's counters to zero: writing to the file `stats`.
    pub fn clear_statistics(&self) {
        self.books.statistics.clear();
    }

    /// Sets all counters of NIs and peer NIs to zero: `lnetctl net set` and `peer set` have no such word, but
    /// `lnetctl stats reset` does.
    pub fn clear_traffic(&self) {
        self.nis.borrow().iter().for_each(|ni| ni.traffic.clear());
        self.peers.borrow().iter().map(|peer| &peer.traffic).for_each(Traffic::clear);
    }

    /// Sets the low-water marks of all peers' credits to what is left now: writing to the file `peers`.
    pub fn reset_peer_marks(&self) {
        self.peers.borrow().iter().for_each(|peer| peer.reset_min());
    }

    /// The same for NIs: writing to the file `nis`.
    pub fn reset_ni_marks(&self) {
        self.nis.borrow().iter().flat_map(|ni| Budgets::all(&ni.tx)).for_each(|tx| tx.credits.reset_min());
    }

    /// `global show`.
    pub fn globals(&self) -> GlobalStatus {
        let config = self.config.borrow();
        GlobalStatus {
            numa_range: 0,
            max_interfaces: config.max_interfaces,
            discovery: config.discovery.into(),
            drop_asym_route: config.drop_asym_route.into(),
            retry_count: 0,
            transaction_timeout: config.transaction_timeout.as_secs() as u32,
            health_sensitivity: 0,
            recovery_interval: 1,
            router_sensitivity: 100,
            lnd_timeout: config.lnd_timeout.as_secs() as u32,
            response_tracking: 3,
            recovery_limit: 0,
            max_recovery_ping_interval: 900,
        }
    }

    /// Module parameters in effect that `global show` does not tell.
    pub fn module(&self) -> ModuleStatus {
        let config = self.config.borrow();
        ModuleStatus {
            alive_router_check_interval: config.alive_router_check_interval.as_secs() as u32,
            router_ping_timeout: config.router_ping_timeout.as_secs() as u32,
            check_routers_before_use: config.check_routers_before_use,
            avoid_asym_router_failure: config.avoid_asym_router_failure,
            peer_buffer_credits: config.peer_buffer_credits,
        }
    }

    /// Adds a fault rule, behind those that are there.
    ///
    /// # Errors
    ///
    /// See [`AddFaultError`].
    pub fn add_fault(&self, rule: FaultRule) -> Result<(), AddFaultError> {
        self.faults.add(rule, self.handle.now())
    }

    /// Takes fault rules away; returns how many. What they hold back goes on in its time.
    pub fn del_faults(&self, which: impl Fn(&FaultRule) -> bool) -> usize {
        self.faults.remove(which)
    }

    /// Sets the counters of all fault rules to zero.
    pub fn reset_faults(&self) {
        self.faults.reset(self.handle.now());
    }

    /// All fault rules.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.faults.status()
    }
}

/// An NI of a node that we have no business with.
fn unknown_peer_ni(nid: Nid) -> PeerNiStatus {
    PeerNiStatus {
        nid,
        state: PeerNiState::NotAvailable,
        tx: CreditStatus::default(),
        tx_queued_bytes: 0,
        rtr: CreditStatus::default(),
        refcount: 0,
        traffic: TrafficStatus::default(),
        last_alive: None,
        lost_dropped: 0,
        lost_timeout: 0,
        lost_error: 0,
        parked: 0,
    }
}
