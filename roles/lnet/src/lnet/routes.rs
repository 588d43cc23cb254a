//! Routes: which neighbour leads to a network that this node is not on (LNet specification sections 4.7, 5.2
//! and 5.9).

use super::config::RouteConfig;
use super::peer::PeerNi;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::cmp::Reverse;
use keelson_hal::Entropy;
use keelson_lnet_wire::nid::{NetId, Nid};
use keelson_lnet_wire::ping::{Features, PingInfo, Status};
use keelson_net::hash::{Key, KeyedMap};

/// A neighbour that forwards for us.
pub(crate) struct Gateway {
    pub nid: Nid,
    /// Answered its last check, or was heard of since.
    pub alive: Cell<bool>,
    /// What it said of itself last.
    pub info: RefCell<Option<PingInfo>>,
}

/// A route.
pub(crate) struct Route {
    pub config: RouteConfig,
    pub gateway: Rc<Gateway>,
    /// The gateway as a next hop.
    pub hop: Rc<PeerNi>,
    /// What the gateway's state comes to; see [`Route::refresh`].
    usable: Cell<bool>,
    /// The gateway is on the network itself.
    single_hop: Cell<bool>,
    sequence: Cell<u32>,
}

impl Route {
    fn hops(&self) -> u8 {
        self.config.hops.unwrap_or(1)
    }

    pub fn single_hop(&self) -> bool {
        self.single_hop.get()
    }

    /// Whether messages are sent over it.
    pub fn is_up(&self) -> bool {
        self.usable.get() && !self.hop.is_dead()
    }

    /// Works out again whether it may be used.
    fn refresh(&self, avoid_asym_router_failure: bool) {
        let info = self.gateway.info.borrow();
        let up_on = |net: NetId| {
            info.iter()
                .flat_map(|info| &info.entries)
                .any(|entry| entry.nid.net() == net && entry.status == Status::Up)
        };
        let listed =
            |net: NetId| info.iter().flat_map(|info| &info.entries).any(|entry| entry.nid.net() == net);
        self.single_hop.set(self.config.hops == Some(1) || listed(self.config.net));
        let told = match &*info {
            None => true,
            Some(told) => {
                let forwards = !told.features.contains(Features::RTE_DISABLED);
                let far_side = !avoid_asym_router_failure || !self.single_hop.get() || up_on(self.config.net);
                forwards && far_side && up_on(self.config.gateway.net())
            }
        };
        self.usable.set(self.gateway.alive.get() && told);
    }
}

/// Why a route is not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddRouteError {
    /// The target is `lo` or a wildcard.
    Target(NetId),
    /// The gateway is on the target network itself.
    GatewayOnTarget(Nid),
    /// This node is on the target network.
    TargetIsLocal(NetId),
    /// The gateway is on no network of this node.
    GatewayNotLocal(Nid),
    /// Our NIs on the gateway's network have addresses of the other kind only (IPv4, IPv6).
    GatewayFamily(Nid),
    /// The gateway is this node.
    GatewayIsSelf(Nid),
    /// There is this route already.
    Duplicate(NetId, Nid),
    /// Hops are 1 to 255.
    Hops,
    /// The table of peers is full.
    TooManyPeers,
}

impl core::fmt::Display for AddRouteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            AddRouteError::Target(net) => write!(f, "no route can lead to network {net}"),
            AddRouteError::GatewayOnTarget(nid) => {
                write!(
                    f,
                    "gateway {nid} is itself on the network it shall lead to: name a gateway on another one"
                )
            }
            AddRouteError::TargetIsLocal(net) => write!(f, "network {net} is local, it needs no route"),
            AddRouteError::GatewayNotLocal(nid) => {
                write!(f, "gateway {nid} is on no network of this node: add network {} first", nid.net())
            }
            AddRouteError::GatewayFamily(nid) => {
                let family = if nid.is_large() { "IPv6" } else { "IPv4" };
                write!(
                    f,
                    "gateway {nid} cannot be reached: no NI of this node on {} has an {family} NID",
                    nid.net()
                )
            }
            AddRouteError::GatewayIsSelf(nid) => write!(f, "gateway {nid} is this node"),
            AddRouteError::Duplicate(net, nid) => {
                write!(f, "there is a route to {net} through {nid} already")
            }
            AddRouteError::Hops => f.write_str("hops are 1 to 255"),
            AddRouteError::TooManyPeers => f.write_str("too many peers are known"),
        }
    }
}

impl core::error::Error for AddRouteError {}

/// All routes.
pub(crate) struct Routes {
    table: KeyedMap<NetId, Vec<Rc<Route>>>,
    gateways: Vec<Rc<Gateway>>,
    highest: Cell<u32>,
}

impl Routes {
    pub fn new(entropy: &dyn Entropy) -> Routes {
        Routes {
            table: KeyedMap::with_hasher(Key::new(entropy)),
            gateways: Vec::new(),
            highest: Cell::new(0),
        }
    }

    pub fn contains(&self, net: NetId, gateway: Nid) -> bool {
        self.table.get(&net).is_some_and(|routes| routes.iter().any(|route| route.config.gateway == gateway))
    }

    /// Adds a route, at a random place among its equals.
    pub fn add(
        &mut self,
        config: RouteConfig,
        hop: Rc<PeerNi>,
        alive: bool,
        avoid: bool,
        entropy: &dyn Entropy,
    ) {
        let known = self.gateways.iter().find(|gateway| gateway.nid == config.gateway).cloned();
        let gateway = known.unwrap_or_else(|| {
            let info = RefCell::new(None);
            let gateway = Rc::new(Gateway { nid: config.gateway, alive: Cell::new(alive), info });
            self.gateways.push(gateway.clone());
            gateway
        });
        hop.routes.set(hop.routes.get() + 1);
        let (usable, single_hop, sequence) = (Cell::new(false), Cell::new(false), Cell::new(0));
        let route = Rc::new(Route { config, gateway, hop, usable, single_hop, sequence });
        route.refresh(avoid);
        let routes = self.table.entry(config.net).or_default();
        let place = entropy.next_u64() as usize % (routes.len() + 1);
        routes.insert(place, route);
    }

    /// Takes routes away: all that `which` says.
    pub fn remove(&mut self, which: impl Fn(&Route) -> bool) -> usize {
        let mut removed = 0;
        self.table.retain(|_, routes| {
            routes.retain(|route| {
                let goes = which(route);
                if goes {
                    route.hop.routes.set(route.hop.routes.get() - 1);
                    removed += 1;
                }
                !goes
            });
            !routes.is_empty()
        });
        let table = &self.table;
        self.gateways
            .retain(|gateway| table.values().flatten().any(|route| Rc::ptr_eq(&route.gateway, gateway)));
        removed
    }

    /// The best way to `net` that is up (section 5.2): lower priority, fewer hops, fewer bytes that wait, more
    /// credits, least recently used.
    pub fn select(&self, net: NetId) -> Option<&Rc<PeerNi>> {
        self.select_if(net, |_| true)
    }

    /// The same among some gateways.
    pub fn select_if(&self, net: NetId, fits: impl Fn(&PeerNi) -> bool) -> Option<&Rc<PeerNi>> {
        let routes = self.table.get(&net)?;
        let rank = |route: &&Rc<Route>| {
            let credits: i64 = route.hop.tx.all().map(|sending| sending.credits.available()).sum();
            let bytes = route.hop.tx_bytes.get();
            (route.config.priority, route.hops(), bytes, Reverse(credits), route.sequence.get())
        };
        let mut up = routes.iter().filter(|route| route.is_up() && fits(&route.hop));
        let first = up.next()?;
        let best = match up.next() {
            None => first,
            Some(second) => up.chain([first, second]).min_by_key(rank)?,
        };
        self.highest.set(self.highest.get().wrapping_add(1));
        best.sequence.set(self.highest.get());
        Some(&best.hop)
    }

    /// Whether a route to `net` leads through this neighbour.
    pub fn leads_through(&self, net: NetId, hop: &Rc<PeerNi>) -> bool {
        hop.routes.get() > 0
            && self
                .table
                .get(&net)
                .is_some_and(|routes| routes.iter().any(|route| route.config.gateway == hop.nid))
    }

    pub fn gateways(&self) -> &[Rc<Gateway>] {
        &self.gateways
    }

    pub fn gateway(&self, nid: &Nid) -> Option<&Rc<Gateway>> {
        self.gateways.iter().find(|gateway| gateway.nid == *nid)
    }

    /// Works out again which routes through `gateway` are up; calls `changed` for each that is not as before.
    pub fn refresh(&self, gateway: &Gateway, avoid: bool, mut changed: impl FnMut(&Route)) {
        for route in self.table.values().flatten().filter(|route| route.gateway.nid == gateway.nid) {
            let before = route.usable.get();
            route.refresh(avoid);
            if route.usable.get() != before {
                changed(route);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rc<Route>> {
        self.table.values().flatten()
    }
}
