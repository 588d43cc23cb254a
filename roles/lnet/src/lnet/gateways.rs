//! Gateways: whether the routers that we send through are alive (LNet specification section 5.9).

use super::nodes::Node;
use super::peer::PeerNi;
use super::routes::{AddRouteError, Gateway, Route};
use super::send::NoHop;
use super::{Lnet, RouteConfig};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::{Either, select};
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{NetId, Nid, ProcessId, kind};
use keelson_lnet_wire::ping::PingInfo;

/// Checks that are asked for out of turn come at least so far apart.
const CHECK_PACE: Duration = Duration::from_secs(1);

impl Lnet {
    /// Adds a route. Its gateway is checked at once.
    ///
    /// # Errors
    ///
    /// The rules of LNet specification section 1.7.
    pub fn add_route(&self, route: RouteConfig) -> Result<(), AddRouteError> {
        let RouteConfig { net, gateway, hops, .. } = route;
        if hops == Some(0) {
            return Err(AddRouteError::Hops);
        }
        if matches!(net.kind(), kind::LO | kind::ANY) || net == NetId::ANY {
            return Err(AddRouteError::Target(net));
        }
        if gateway.net() == net {
            return Err(AddRouteError::GatewayOnTarget(gateway));
        }
        if self.is_local(net) {
            return Err(AddRouteError::TargetIsLocal(net));
        }
        if self.is_own(&gateway) {
            return Err(AddRouteError::GatewayIsSelf(gateway));
        }
        if !self.is_local(gateway.net()) {
            return Err(AddRouteError::GatewayNotLocal(gateway));
        }
        if self.routes.borrow().contains(net, gateway) {
            return Err(AddRouteError::Duplicate(net, gateway));
        }
        let hop = self.next_hop(&gateway, None).map_err(|error| match error {
            NoHop::TableFull => AddRouteError::TooManyPeers,
            NoHop::NoFamily | NoHop::NoRoute | NoHop::Loop => AddRouteError::GatewayFamily(gateway),
        })?;
        let (alive, avoid) = {
            let config = self.config.borrow();
            (!config.check_routers_before_use, config.avoid_asym_router_failure)
        };
        self.routes.borrow_mut().add(route, hop, alive, avoid, &*self.entropy);
        self.check_gateways.notify();
        Ok(())
    }

    /// Takes a route away; without a gateway all routes to the network. Returns how many there were.
    pub fn del_route(&self, net: NetId, gateway: Option<Nid>) -> usize {
        let goes = |route: &Route| {
            route.config.net == net && gateway.is_none_or(|gateway| gateway == route.config.gateway)
        };
        self.routes.borrow_mut().remove(goes)
    }

    /// Checks all gateways again and again: in their interval, and soon when there is a reason.
    pub(super) async fn check_for_ever(self: Rc<Self>) {
        loop {
            let reason = self.check_gateways.notified();
            let started = self.handle.now();
            let interval = self.config.borrow().alive_router_check_interval;
            if interval > Duration::ZERO {
                let gateways: Vec<Rc<Gateway>> = self.routes.borrow().gateways().to_vec();
                for gateway in gateways {
                    let lnet = self.clone();
                    self.handle.spawn("lnet-check", async move { lnet.check(&gateway).await });
                }
            }
            let deadline = if interval > Duration::ZERO { started + interval } else { Instant::FAR_FUTURE };
            if let Either::First(()) = select(reason, self.handle.sleep_until(deadline)).await {
                self.handle.sleep_until(started + CHECK_PACE).await;
            }
        }
    }

    async fn check(&self, gateway: &Rc<Gateway>) {
        let timeout = self.config.borrow().router_ping_timeout;
        let to = ProcessId::lustre(gateway.nid);
        match self.discover(to, timeout).await {
            // What it said was taken up on the way: see `gateway_says`.
            Ok(_) => {}
            Err(error) => {
                if gateway.alive.replace(false) {
                    let nid = gateway.nid;
                    log::warn!(target: "lnet", "gateway {nid} fails its check: {error}; its routes are not used");
                    self.refresh_routes(gateway);
                }
            }
        }
    }

    /// A gateway has answered a ping or pushed its information.
    pub(super) fn gateway_says(&self, source: Nid, node: &Node, info: &PingInfo) {
        let gateways: Vec<Rc<Gateway>> = {
            let routes = self.routes.borrow();
            let own = |gateway: &&Rc<Gateway>| gateway.nid == source || node.has(&gateway.nid);
            routes.gateways().iter().filter(own).cloned().collect()
        };
        for gateway in gateways {
            gateway.info.replace(Some(info.clone()));
            gateway.alive.set(true);
            self.refresh_routes(&gateway);
        }
    }

    /// A message of another network came through a gateway: it is alive.
    pub(super) fn gateway_forwards(&self, peer: &PeerNi) {
        let gateway = self.routes.borrow().gateway(&peer.nid).cloned();
        if let Some(gateway) = gateway.filter(|gateway| !gateway.alive.replace(true)) {
            self.refresh_routes(&gateway);
        }
    }

    fn refresh_routes(&self, gateway: &Gateway) {
        let avoid = self.config.borrow().avoid_asym_router_failure;
        self.routes.borrow().refresh(gateway, avoid, |route| {
            let RouteConfig { net, gateway, .. } = route.config;
            let state = if route.is_up() { "up" } else { "down" };
            log::info!(target: "lnet", "route to {net} through {gateway} is {state}");
        });
    }
}
