//! What the administrator's tools do to the node.

use super::Node;
use super::wanted::WantedNi;
use crate::admin::{Buffers, Configure, Control, Failure, NetRequest, Setting, errno};
use crate::lnd::{Lnd, LndConnectionStatus, LndPeerStatus};
use crate::lnet::show::{
    FaultStatus, GlobalStatus, NetStatus, PeerStatus, RouteStatus, RouterStatus, RoutingStatus,
    StatisticsStatus,
};
use crate::lnet::{AddressChoice, FaultRule, NiConfig, PeerConfig, RouteConfig, Stop};
use crate::options::Large;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{NetId, Nid, ProcessId};
use keelson_lnet_wire::ping::PingInfo;

/// Most buffers that a pool can be given.
const MOST_BUFFERS: u32 = 65_536;

impl Node {
    fn need_up(&self) -> Result<(), Failure> {
        if self.up.get() { Ok(()) } else { Err(Failure::down()) }
    }

    /// An interface that can have an NI now, and what the NI will be.
    fn new_ni(
        &self,
        request: &NetRequest,
        choice: AddressChoice,
        interface: &str,
    ) -> Result<NiConfig, Failure> {
        let interfaces = self.stack.interfaces();
        let Some(status) = interfaces.iter().find(|status| status.name == interface) else {
            let names: Vec<_> = interfaces.iter().map(|status| status.name.as_str()).collect();
            let text = format!("there is no interface {interface}; there is {}", names.join(", "));
            return Err(Failure::new(errno::ENODEV, text));
        };
        let Some(address) = choice.choose(status.into(), None) else {
            let text = format!("{interface} lacks {}", choice.lack(status.into()));
            return Err(Failure::new(errno::EADDRNOTAVAIL, text));
        };
        Ok(NiConfig {
            nid: Nid::new(request.net, address),
            interface: String::from(interface),
            tunables: request.tunables.apply(self.config.tunables).on_link(status.link),
        })
    }

    /// The interface to take when none is named: the one with that very address, else the first.
    fn default_interface(&self, choice: AddressChoice) -> Result<String, Failure> {
        let mut interfaces = self.stack.interfaces().into_iter();
        let (found, lack) = match choice {
            AddressChoice::Exactly(_) => (
                interfaces.find(|status| choice.choose(status.into(), None).is_some()),
                Failure::new(errno::EADDRNOTAVAIL, "no interface has that address"),
            ),
            _ => (interfaces.next(), Failure::new(errno::ENODEV, "there is no interface")),
        };
        found.map(|status| status.name).ok_or(lack)
    }

    /// Takes NIs of a network away, and what needs them.
    fn del_nis(&self, net: NetId, which: &dyn Fn(&WantedNi) -> bool) -> Result<(), Failure> {
        self.need_up()?;
        let mut wanted = self.wanted.take();
        let before = wanted.nis.len();
        wanted.nis.retain(|ni| {
            let goes = which(ni);
            if let Some((_, nid)) = ni.served.filter(|_| goes) {
                self.lnet.del_ni(nid);
            }
            !goes
        });
        let gone = before - wanted.nis.len();
        if !wanted.nis.iter().any(|ni| ni.net == net) {
            wanted.routes.retain(|route| route.config.gateway.net() != net);
        }
        // An administrator who takes networks away has other plans than `ip2nets`.
        wanted.networks = None;
        *self.wanted.borrow_mut() = wanted;
        match gone {
            0 => Err(Failure::new(errno::ENOENT, format!("there is no such NI on {net}"))),
            _ => Ok(()),
        }
    }
}

impl Control for Node {
    fn is_up(&self) -> bool {
        self.up.get()
    }

    fn configure(&self, how: Configure) -> Result<(), Failure> {
        if how.large {
            *self.large.borrow_mut() = Large::All;
        }
        self.bring_up(how.all);
        Ok(())
    }

    async fn unconfigure(&self, how: Stop) -> Result<(), Failure> {
        self.bring_down(how).await
    }

    fn nets(&self) -> Vec<NetStatus> {
        self.lnet.nets()
    }

    fn routes(&self) -> Vec<RouteStatus> {
        self.lnet.routes()
    }

    fn routers(&self) -> Vec<RouterStatus> {
        self.lnet.routers()
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.lnet.peers()
    }

    fn routing(&self) -> RoutingStatus {
        self.lnet.routing()
    }

    fn statistics(&self) -> StatisticsStatus {
        self.lnet.statistics()
    }

    fn global(&self) -> GlobalStatus {
        self.lnet.globals()
    }

    fn faults(&self) -> Vec<FaultStatus> {
        self.lnet.faults()
    }

    fn lnd_peers(&self) -> Vec<LndPeerStatus> {
        self.lnd.peers()
    }

    fn lnd_connections(&self) -> Vec<LndConnectionStatus> {
        self.lnd.connections()
    }

    fn lnd_port(&self) -> u16 {
        self.config.socklnd.accept_port
    }

    fn add_net(&self, request: NetRequest) -> Result<(), Failure> {
        self.need_up()?;
        let choice = match request.address {
            AddressChoice::Usual => self.large.borrow().address_on(request.net),
            choice => choice,
        };
        let mut interfaces = request.interfaces.clone();
        if interfaces.is_empty() {
            interfaces.push(self.default_interface(choice)?);
        }
        // All or nothing, as far as that can be known.
        let nis = interfaces.iter().map(|interface| self.new_ni(&request, choice, interface));
        for config in nis.collect::<Result<Vec<_>, _>>()? {
            let NiConfig { nid, tunables, interface } = config.clone();
            let id = self.lnet.add_net(config)?;
            let mut ni = WantedNi::new(request.net, &interface, choice, tunables);
            ni.served = Some((id, nid));
            self.wanted.borrow_mut().want_ni(ni);
        }
        self.reconcile();
        Ok(())
    }

    fn del_net(&self, net: NetId, interfaces: &[String]) -> Result<(), Failure> {
        let named = |ni: &WantedNi| interfaces.is_empty() || interfaces.contains(&ni.interface);
        self.del_nis(net, &|ni| ni.net == net && named(ni))
    }

    fn del_nid(&self, nid: Nid) -> Result<(), Failure> {
        self.del_nis(nid.net(), &|ni| ni.served.is_some_and(|(_, served)| served == nid))
    }

    fn add_route(&self, route: RouteConfig) -> Result<(), Failure> {
        self.need_up()?;
        self.lnet.add_route(route)?;
        self.wanted.borrow_mut().want_route(route);
        Ok(())
    }

    fn del_route(&self, net: NetId, gateway: Option<Nid>) -> Result<(), Failure> {
        self.need_up()?;
        let gone = self.lnet.del_route(net, gateway);
        let mut wanted = self.wanted.borrow_mut();
        let before = wanted.routes.len();
        wanted.routes.retain(|route| {
            route.config.net != net || gateway.is_some_and(|gateway| gateway != route.config.gateway)
        });
        match gone + before - wanted.routes.len() {
            0 => Err(Failure::new(errno::ENOENT, format!("there is no such route to {net}"))),
            _ => Ok(()),
        }
    }

    fn add_peer(&self, peer: PeerConfig) -> Result<(), Failure> {
        self.need_up()?;
        Ok(self.lnet.add_peer_config(&peer)?)
    }

    fn del_peer(&self, primary: Nid, nids: &[Nid]) -> Result<(), Failure> {
        self.need_up()?;
        Ok(self.lnet.del_peer(primary, nids)?)
    }

    fn set_routing(&self, on: bool) -> Result<(), Failure> {
        self.need_up()?;
        self.lnet.set_routing(on);
        Ok(())
    }

    fn set_buffers(&self, buffers: Buffers) -> Result<(), Failure> {
        self.need_up()?;
        let Buffers { tiny, small, large } = buffers;
        if let Some(count) = [tiny, small, large].into_iter().flatten().find(|count| *count > MOST_BUFFERS) {
            return Err(Failure::new(errno::ERANGE, format!("{count} is more than {MOST_BUFFERS} buffers")));
        }
        self.lnet.reconfigure(|config| {
            config.tiny_router_buffers = tiny.unwrap_or(config.tiny_router_buffers);
            config.small_router_buffers = small.unwrap_or(config.small_router_buffers);
            config.large_router_buffers = large.unwrap_or(config.large_router_buffers);
        });
        Ok(())
    }

    fn set(&self, setting: Setting, value: u32) -> Result<(), Failure> {
        self.need_up()?;
        self.lnet.reconfigure(|config| match setting {
            Setting::Discovery => config.discovery = value != 0,
            Setting::DropAsymRoute => config.drop_asym_route = value != 0,
            Setting::TransactionTimeout => config.transaction_timeout = Duration::from_secs(value.into()),
            Setting::MaxInterfaces => config.max_interfaces = value,
        });
        Ok(())
    }

    fn reset_statistics(&self) {
        self.lnet.clear_statistics();
        self.lnet.clear_traffic();
        self.lnet.reset_peer_marks();
        self.lnet.reset_ni_marks();
    }

    fn add_fault(&self, rule: FaultRule) -> Result<(), Failure> {
        self.need_up()?;
        Ok(self.lnet.add_fault(rule)?)
    }

    fn del_faults(&self, which: &dyn Fn(&FaultRule) -> bool) -> usize {
        self.lnet.del_faults(which)
    }

    fn reset_faults(&self) {
        self.lnet.reset_faults();
    }

    async fn ping(&self, source: Option<Nid>, nid: Nid, timeout: Duration) -> Result<PingInfo, Failure> {
        let to = ProcessId::lustre(nid);
        let info = match source {
            None => self.lnet.ping(to, timeout).await,
            Some(own) if self.lnet.is_own(&own) => self.lnet.ping_through(own, to, timeout).await,
            Some(other) => {
                return Err(Failure::new(errno::EINVAL, format!("{other} is no NID of this node")));
            }
        };
        Ok(info?)
    }

    async fn discover(&self, nid: Nid, timeout: Duration) -> Result<PingInfo, Failure> {
        Ok(self.lnet.discover(ProcessId::lustre(nid), timeout).await?)
    }

    fn now(&self) -> Instant {
        self.handle.now()
    }

    async fn sleep(&self, span: Duration) {
        self.handle.sleep(span).await;
    }
}
