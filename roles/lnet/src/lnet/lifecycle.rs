//! Up and down: the node and its NIs.

use super::config::{LnetConfig, NiConfig};
use super::forwarding::DRAIN_STEP;
use super::ni::Ni;
use super::ping::Change;
use super::pools::Kind;
use super::show::RoutingState;
use super::{Life, Lnet};
use crate::lnd::{Lnd, LndNi, NiId, SendError};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::pin::Pin;
use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid, kind};

/// How often memory that was needed for a burst only is given back.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Why an NI is not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddNiError {
    /// There is an NI with this NID.
    Exists(Nid),
    /// Only TCP networks are driven here.
    Kind(NetId),
    /// A route leads to this network: it is remote.
    Routed(NetId),
    /// LNet is not up.
    Down,
}

impl fmt::Display for AddNiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddNiError::Exists(nid) => write!(f, "there is an NI {nid} already"),
            AddNiError::Kind(net) => {
                write!(f, "network {net} is not of type tcp, the only one that is driven")
            }
            AddNiError::Routed(net) => write!(f, "there are routes to {net}: delete them first"),
            AddNiError::Down => f.write_str("LNet is not up: lnetctl lnet configure starts it"),
        }
    }
}

impl core::error::Error for AddNiError {}

/// How LNet is brought down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Only if the node does not forward.
    IfNotRouting,
    /// It stops forwarding first, as `set routing 0` does: that takes minutes.
    Drain,
    /// At once, whatever is under way.
    Now,
}

/// Why LNet is not brought down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopError {
    /// The node forwards.
    Routing,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node routes: say lnetctl set routing 0 and wait until it is drained, or force it")
    }
}

impl core::error::Error for StopError {}

impl Lnet {
    /// Connects the network driver; once.
    pub fn attach(&self, lnd: Rc<dyn Lnd>) {
        if self.lnd.set(lnd).is_err() {
            log::error!(target: "lnet", "a second network driver was attached: ignored");
        }
    }

    /// Comes up, without any NI yet. Forwarding is as configured.
    pub fn start(&self) {
        if self.life.replace(Life::Running) == Life::Running {
            return;
        }
        let forwarding = self.config.borrow().forwarding;
        self.routing.set(if forwarding { RoutingState::Enabled } else { RoutingState::Disabled });
        let Some(me) = self.me.upgrade() else { return };
        let spawn = |name, task: Pin<Box<dyn Future<Output = ()>>>| {
            self.tasks.borrow_mut().push(self.handle.spawn(name, task));
        };
        spawn("lnet-self", Box::pin(me.clone().deliver_to_self()));
        spawn("lnet-delay", Box::pin(me.clone().release_delayed()));
        spawn("lnet-checker", Box::pin(me.clone().check_for_ever()));
        spawn("lnet-pusher", Box::pin(me.clone().push_for_ever()));
        spawn("lnet-contacts", Box::pin(me.clone().introduce_for_ever()));
        spawn("lnet-trim", Box::pin(me.trim_for_ever()));
        self.info_changed(Change::Contents);
    }

    /// Adds an NI and starts serving it.
    ///
    /// # Errors
    ///
    /// See [`AddNiError`].
    pub fn add_net(&self, config: NiConfig) -> Result<NiId, AddNiError> {
        if self.life.get() != Life::Running {
            return Err(AddNiError::Down);
        }
        let NiConfig { nid, interface, tunables } = config;
        if nid.net().kind() != kind::TCP {
            return Err(AddNiError::Kind(nid.net()));
        }
        if self.is_own(&nid) {
            return Err(AddNiError::Exists(nid));
        }
        if self.routes.borrow().iter().any(|route| route.config.net == nid.net()) {
            return Err(AddNiError::Routed(nid.net()));
        }
        let id = NiId(self.next_ni.get());
        self.next_ni.set(id.0 + 1);
        self.nis.borrow_mut().push(Rc::new(Ni::new(Some(id), nid, interface, tunables)));
        self.info_changed(Change::Contents);
        let incarnation = u64::try_from(self.clock.wall().as_nanos()).unwrap_or(u64::MAX);
        if let Some(lnd) = self.lnd.get() {
            lnd.add_ni(LndNi { id, nid, incarnation, conns_per_peer: tunables.conns_per_peer });
        }
        log::info!(
            target: "lnet",
            "LNet: Added LNI {nid} [{}/{}/{}/{}]",
            tunables.peer_credits, tunables.credits, tunables.peer_buffer_credits, tunables.peer_timeout
        );
        Ok(id)
    }

    /// Takes the NIs of a network away, and the routes that need it. Returns how many NIs there were.
    pub fn del_net(&self, net: NetId) -> usize {
        self.remove_nis(|ni| ni.net == net)
    }

    /// Takes one NI away.
    pub fn del_ni(&self, nid: Nid) -> bool {
        self.remove_nis(|ni| ni.nid == nid) > 0
    }

    fn remove_nis(&self, which: impl Fn(&Ni) -> bool) -> usize {
        let mut gone = Vec::new();
        self.nis.borrow_mut().retain(|ni| {
            let goes = which(ni);
            if goes {
                gone.push(ni.clone());
            }
            !goes
        });
        if gone.is_empty() {
            return 0;
        }
        gone.iter().for_each(|ni| ni.removed.set(true));
        self.info_changed(Change::Contents);
        let removed = self.routes.borrow_mut().remove(|route| route.hop.ni.removed.get());
        if removed > 0 {
            log::warn!(target: "lnet", "{removed} routes went with the network of their gateway");
        }
        let peers: Vec<_> = {
            let peers = self.peers.borrow();
            peers.iter().filter(|peer| peer.ni.removed.get()).cloned().collect()
        };
        for peer in peers {
            peer.died(self.handle.now());
            self.purge(&peer, SendError::Down);
        }
        for ni in &gone {
            self.purge_ni(ni);
            if let (Some(lnd), Some(id)) = (self.lnd.get(), ni.id) {
                lnd.remove_ni(id);
            }
            log::info!(target: "lnet", "LNet: Removed LNI {}", ni.nid);
        }
        self.peers.borrow_mut().retain(|peer| !peer.ni.removed.get());
        gone.len()
    }

    /// The link of an NI came up or went down: pings say so from now on, and multi-rail peers are told.
    pub fn link_changed(&self, ni: NiId, up: bool) {
        let ni = self.nis.borrow().iter().find(|known| known.id == Some(ni)).cloned();
        let Some(ni) = ni.filter(|ni| ni.up.get() != up) else { return };
        ni.up.set(up);
        match up {
            true => {
                log::info!(target: "lnet", "LNet: NI {} is up: the link of {} is back", ni.nid, ni.interface)
            }
            false => log::warn!(target: "lnet", "LNet: NI {} is down: {} has no link", ni.nid, ni.interface),
        }
        self.info_changed(Change::Status);
    }

    /// Goes down: all NIs, routes and requests go. It can be started again.
    ///
    /// # Errors
    ///
    /// [`StopError::Routing`] with [`Stop::IfNotRouting`].
    pub async fn stop(&self, how: Stop) -> Result<(), StopError> {
        if self.life.get() != Life::Running {
            return Ok(());
        }
        match how {
            Stop::IfNotRouting if self.forwards() => return Err(StopError::Routing),
            Stop::Drain if self.forwards() => {
                self.set_routing(false);
                while self.routing.get() == RoutingState::Stopping {
                    self.handle.sleep(DRAIN_STEP).await;
                }
            }
            _ => {}
        }
        self.life.set(Life::Stopped);
        self.routing.set(RoutingState::Disabled);
        self.routing_turn.set(self.routing_turn.get() + 1);
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
        self.books.pools.stir();
        self.requests.borrow_mut().fail_all();
        self.routes.borrow_mut().remove(|_| true);
        self.remove_nis(|_| true);
        self.faults.clear_held();
        self.contacts.clear();
        let to_self = core::mem::take(&mut *self.to_self.borrow_mut());
        drop(to_self);
        self.nodes.borrow_mut().clear();
        log::info!(target: "lnet", "LNet: LNET ready to unload");
        Ok(())
    }

    /// The settings.
    pub fn config(&self) -> LnetConfig {
        self.config.borrow().clone()
    }

    /// Changes settings while LNet runs. Buffer counts, timeouts and switches take effect at once; credits and
    /// limits of tables with what is added from now on.
    pub fn reconfigure(&self, change: impl FnOnce(&mut LnetConfig)) {
        let before = self.config();
        change(&mut self.config.borrow_mut());
        let after = self.config();
        let counts = |config: &LnetConfig| {
            [config.tiny_router_buffers, config.small_router_buffers, config.large_router_buffers]
        };
        for ((kind, before_count), count) in Kind::ALL.into_iter().zip(counts(&before)).zip(counts(&after)) {
            if before_count != count {
                self.books.pools.resize(kind, kind.buffers(count, after.memory));
            }
        }
        if before.discovery != after.discovery {
            self.info_changed(Change::Contents);
            self.queue_contacts();
        }
        if before.alive_router_check_interval != after.alive_router_check_interval {
            self.check_gateways.notify();
        }
    }

    async fn deliver_to_self(self: Rc<Self>) {
        loop {
            let ready = self.to_self_ready.notified();
            loop {
                let message = self.to_self.borrow_mut().pop_front();
                let Some(message) = message else { break };
                self.deliver(message);
            }
            ready.await;
        }
    }

    async fn release_delayed(self: Rc<Self>) {
        loop {
            let changed = self.faults.changed.notified();
            while let Some((message, error)) = self.faults.next_failed() {
                self.failed_on_purpose(message, error);
            }
            while let Some(message) = self.faults.due(self.handle.now()) {
                self.dispatch(message);
            }
            keelson_exec::select(changed, self.handle.sleep_until(self.faults.next_due())).await;
        }
    }

    /// Gives memory back that a burst left on the shelf.
    async fn trim_for_ever(self: Rc<Self>) {
        let mut forwarded = 0;
        loop {
            self.handle.sleep(TRIM_INTERVAL).await;
            let now = self.books.statistics.routed.count.get();
            if now == forwarded && self.books.statistics.routed_now.get() == 0 {
                self.pieces.trim(0);
            }
            forwarded = now;
        }
    }
}
