//! The node as a whole: LNet, its socket LND and its services, on the interfaces of a network stack.
//!
//! What the administrator wants (networks on interfaces, routes) is kept apart from what is: an interface gets
//! its NI when it has an address and loses it with the address; a route is there while its gateway's
//! network is. Whatever happens to interfaces, one function ([`Node::reconcile`]) compares the two, so no
//! sequence of events is special.

mod address;
mod control;
mod wanted;

use crate::admin::Failure;
use crate::lnet::{AddRouteError, Lnet, NiConfig, Stop};
use crate::options::{Large, Networks, NodeConfig};
use crate::selftest::{Selftest, SelftestConfig};
use crate::socklnd::Socklnd;
use alloc::rc::{Rc, Weak};
use alloc::string::ToString;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::{Clock, Entropy, Link};
use keelson_lnet_wire::nid::Nid;
use keelson_lnet_wire::text::Forwarding;
use keelson_net::{InterfaceStatus, Stack};
use wanted::{Wanted, WantedNi};

/// How often the end of the node looks whether the router is empty.
const DRAIN_STEP: Duration = Duration::from_millis(100);
/// A router through which nothing has passed for so long is not used any more.
const IDLE: Duration = Duration::from_secs(1);
/// How long the connections may take to close in order when the node ends, and how often we look.
const CLOSING: Duration = Duration::from_secs(1);
const CLOSING_STEP: Duration = Duration::from_millis(10);

/// A node.
pub struct Node {
    me: Weak<Node>,
    handle: Handle,
    stack: Stack,
    config: NodeConfig,
    lnet: Rc<Lnet>,
    lnd: Rc<Socklnd<Lnet>>,
    wanted: RefCell<Wanted>,
    /// As configured, or all of them since `lnet configure --large`.
    large: RefCell<Large>,
    up: Cell<bool>,
}

impl Node {
    /// A node that is down; [`Node::start`] brings it up.
    pub fn new(
        handle: Handle,
        stack: Stack,
        clock: Rc<dyn Clock>,
        entropy: Rc<dyn Entropy>,
        config: NodeConfig,
    ) -> Rc<Node> {
        let lnet = Lnet::new(handle.clone(), clock, entropy, config.lnet.clone());
        let lnd = Socklnd::new(stack.clone(), handle.clone(), lnet.clone(), config.socklnd.clone());
        lnet.attach(lnd.clone());
        if config.selftest {
            let selftest = Selftest::new(&handle, lnet.clone(), &SelftestConfig::default());
            for (portal, service) in selftest.portals() {
                lnet.register(portal, service);
            }
        }
        let node = Rc::new_cyclic(|me| Node {
            me: me.clone(),
            handle: handle.clone(),
            stack,
            large: RefCell::new(config.large.clone()),
            config,
            lnet,
            lnd,
            wanted: RefCell::default(),
            up: Cell::new(false),
        });
        handle.spawn("lnet-interfaces", watch(node.me.clone(), node.stack.events()));
        node
    }

    /// LNet.
    pub fn lnet(&self) -> &Rc<Lnet> {
        &self.lnet
    }

    /// Its LND.
    pub fn socklnd(&self) -> &Rc<Socklnd<Lnet>> {
        &self.lnd
    }

    /// How long it forwards on while it is shut down.
    pub fn shutdown_drain(&self) -> Duration {
        self.config.shutdown_drain
    }

    /// Comes up with the networks and routes of its configuration, as far as their interfaces have addresses;
    /// the others follow.
    pub fn start(&self) {
        self.bring_up(true);
    }

    fn bring_up(&self, all: bool) {
        if all {
            let mut wanted = self.wanted.borrow_mut();
            for route in &self.config.routes {
                wanted.want_route(route.into());
            }
            wanted.networks = Some(self.config.networks.clone());
        }
        if !self.up.replace(true) {
            let forwarding = match self.config.forwarding {
                Forwarding::Enabled => true,
                Forwarding::Disabled => false,
                Forwarding::IfGateway => all && self.is_gateway(),
            };
            self.lnet.reconfigure(|config| config.forwarding = forwarding);
            self.lnet.start();
            log::info!(target: "lnet", "LNet: LNET configured{}", if forwarding { ", routing enabled" } else { "" });
        }
        self.reconcile();
    }

    async fn bring_down(&self, how: Stop) -> Result<(), Failure> {
        self.lnet.stop(how).await?;
        self.up.set(false);
        *self.wanted.borrow_mut() = Wanted::default();
        self.large.borrow_mut().clone_from(&self.config.large);
        Ok(())
    }

    /// Ends the node before its machine goes: peers that ask are told to use other routers, those that listen
    /// are told at once, and messages are still forwarded for as long as `NodeConfig::shutdown_drain` says, or until
    /// nobody sends any. A node that does not forward ends at once.
    pub async fn shut_down(&self) {
        if self.lnet.is_routing() {
            self.drain(self.config.shutdown_drain).await;
        }
        // Nothing refuses this.
        let _ = self.bring_down(Stop::Now).await;
        self.closed().await;
    }

    /// Tells the peers to use other routers and forwards on meanwhile: for `span`, and as long again if messages are
    /// still under way then. A router that nobody uses (any more) is done as soon as all peers that listen have been
    /// told: to those that only ask, it makes no difference when they find it gone.
    async fn drain(&self, span: Duration) {
        log::info!(
            target: "lnet",
            "LNet: routing on for at most {span:?}, then down; peers are told to use other routers"
        );
        self.lnet.set_routing(false);
        let began = self.handle.now();
        let (mut seen, mut active_at) = (self.lnet.routed(), began);
        while !span.is_zero() {
            self.handle.sleep(DRAIN_STEP).await;
            let (now, routed) = (self.handle.now(), self.lnet.routed());
            if routed.under_way > 0 || routed != seen {
                (seen, active_at) = (routed, now);
            }
            if now - active_at >= IDLE && self.lnet.everybody_knows() {
                log::info!(target: "lnet", "LNet: nothing is routed any more, after {:?}", now - began);
                return;
            }
            let limit = if routed.under_way > 0 { 2 * span } else { span };
            if now - began >= limit {
                return;
            }
        }
    }

    /// Waits until the peers have been told that their connections end. One that keeps a connection to a machine
    /// that is gone loses its next message on it, in the worst case its check of this router, which it then
    /// waits for until its transaction timeout (150 s from Lustre 2.16 on).
    async fn closed(&self) {
        let limit = self.handle.now() + CLOSING;
        while self.stack.connections() > 0 && self.handle.now() < limit {
            self.handle.sleep(CLOSING_STEP).await;
        }
    }

    /// Makes what is like what is wanted.
    fn reconcile(&self) {
        if !self.up.get() {
            return;
        }
        let interfaces = self.stack.interfaces();
        // Out of its cell: LNet is called below.
        let mut wanted = self.wanted.take();
        if let Some(networks) = wanted.networks.take() {
            wanted.want_networks(&networks, &interfaces, &self.large.borrow(), self.config.tunables);
            // Networks chosen by address are chosen anew with every address.
            wanted.networks = Some(networks).filter(|networks| matches!(networks, Networks::ByAddress(_)));
        }
        for ni in &mut wanted.nis {
            self.serve(ni, &interfaces);
        }
        let complete = wanted.nis.iter().all(|ni| ni.served.is_some());
        wanted.routes.retain_mut(|route| self.keep_route(route, complete));
        *self.wanted.borrow_mut() = wanted;
    }

    /// Gives an NI its place in LNet, takes it away, or tells of its link.
    fn serve(&self, ni: &mut WantedNi, interfaces: &[InterfaceStatus]) {
        let interface = interfaces.iter().find(|status| status.name == ni.interface);
        let in_use = ni.served.and_then(|(_, nid)| nid.ip());
        let nid = interface
            .and_then(|status| ni.address.choose(status.into(), in_use))
            .map(|address| Nid::new(ni.net, address));
        if let Some((_, served)) = ni.served
            && nid != Some(served)
        {
            log::warn!(target: "lnet", "LNet: {} has lost the address of {served}", ni.interface);
            self.lnet.del_ni(served);
            ni.served = None;
        }
        match (nid, ni.served) {
            (Some(nid), None) => {
                let link = interface.map_or(Link::Down, |interface| interface.link);
                let (interface, tunables) = (ni.interface.clone(), ni.tunables.on_link(link));
                let config = NiConfig { nid, interface, tunables };
                match self.lnet.add_net(config) {
                    Ok(id) => ni.served = Some((id, nid)),
                    Err(error) => ni.complain(&error.to_string()),
                }
            }
            (None, None) => ni.wait(interfaces),
            _ => {}
        }
        if let (Some((id, _)), Some(interface)) = (ni.served, interface) {
            self.lnet.link_changed(id, interface.up && interface.link != Link::Down);
        }
    }

    /// Adds a route that is wanted and not there. False when it will never be there.
    fn keep_route(&self, route: &mut wanted::WantedRoute, complete: bool) -> bool {
        if self.lnet.is_own(&route.config.gateway) {
            // Others come to their networks through us.
            if self.config.forwarding == Forwarding::IfGateway && !self.lnet.is_routing() {
                self.lnet.set_routing(true);
            }
            return false;
        }
        match self.lnet.add_route(route.config) {
            Ok(()) | Err(AddRouteError::Duplicate(..)) => true,
            // As on Linux: a list of routes for all nodes of a site is fine for this one.
            Err(AddRouteError::TargetIsLocal(_)) => false,
            Err(error @ (AddRouteError::GatewayNotLocal(_) | AddRouteError::GatewayFamily(_))) => {
                if complete && !route.complained.replace(true) {
                    log::warn!(target: "lnet", "LNet: no route to {} yet: {error}", route.config.net);
                }
                true
            }
            Err(error) => {
                log::error!(target: "lnet", "LNet: no route to {}: {error}", route.config.net);
                false
            }
        }
    }

    /// Whether one of the configured routes leads through this node, as far as its addresses are known.
    fn is_gateway(&self) -> bool {
        let interfaces = self.stack.interfaces();
        let ours = |ip| interfaces.iter().flat_map(|status| &status.addresses).any(|cidr| cidr.addr == ip);
        self.config.routes.iter().any(|route| route.gateway.ip().is_some_and(ours))
    }
}

async fn watch(node: Weak<Node>, mut events: keelson_net::Events) {
    loop {
        events.next().await;
        let Some(node) = node.upgrade() else { return };
        node.reconcile();
    }
}
