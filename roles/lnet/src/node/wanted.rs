//! What the administrator wants of the node.

use super::address::Offer;
use crate::lnd::NiId;
use crate::lnet::{AddressChoice, RouteConfig, Tunables};
use crate::options::{Large, Networks};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use keelson_lnet_wire::nid::{NetId, Nid};
use keelson_lnet_wire::text::{NetworkSpec, Route};
use keelson_net::InterfaceStatus;

/// All of it.
#[derive(Default)]
pub struct Wanted {
    /// Networks that are still to be resolved to interfaces.
    pub networks: Option<Networks>,
    /// NIs.
    pub nis: Vec<WantedNi>,
    /// Routes.
    pub routes: Vec<WantedRoute>,
}

/// A network on an interface.
pub struct WantedNi {
    /// The network.
    pub net: NetId,
    /// The interface.
    pub interface: String,
    /// Which of its addresses.
    pub address: AddressChoice,
    /// Its tunables.
    pub tunables: Tunables,
    /// Its name and NID while LNet has it.
    pub served: Option<(NiId, Nid)>,
    /// Whether it was said what it lacks.
    pub complained: Cell<bool>,
}

/// A route.
pub struct WantedRoute {
    /// The route.
    pub config: RouteConfig,
    /// Whether it was said what it lacks.
    pub complained: Cell<bool>,
}

impl From<&Route> for RouteConfig {
    fn from(route: &Route) -> RouteConfig {
        let Route { net, gateway, hops, priority } = *route;
        RouteConfig { net, gateway, hops, priority }
    }
}

impl WantedNi {
    /// One that LNet does not have yet.
    pub fn new(net: NetId, interface: &str, address: AddressChoice, tunables: Tunables) -> WantedNi {
        let interface = String::from(interface);
        WantedNi { net, interface, address, tunables, served: None, complained: Cell::new(false) }
    }

    /// Says once what it waits for.
    pub fn wait(&self, interfaces: &[InterfaceStatus]) {
        let (net, interface) = (self.net, &self.interface);
        let Some(status) = interfaces.iter().find(|status| status.name == *interface) else {
            let names: Vec<_> = interfaces.iter().map(|status| status.name.as_str()).collect();
            return self.complain(&format!("there is no {interface}; there is {}", names.join(", ")));
        };
        if !self.complained.replace(true) {
            log::info!(target: "lnet", "LNet: {net} waits for {} of {interface}", self.address.lack(status.into()));
        }
    }

    /// Says once why it is not there.
    pub fn complain(&self, why: &str) {
        if !self.complained.replace(true) {
            log::error!(target: "lnet", "LNet: no NI on {}: {why}", self.net);
        }
    }
}

impl Wanted {
    /// One route more, unless it is wanted already.
    pub fn want_route(&mut self, config: RouteConfig) {
        let same =
            |known: &WantedRoute| (known.config.net, known.config.gateway) == (config.net, config.gateway);
        if !self.routes.iter().any(same) {
            self.routes.push(WantedRoute { config, complained: Cell::new(false) });
        }
    }

    /// One NI more, unless it is wanted already.
    pub fn want_ni(&mut self, wanted: WantedNi) {
        let same = |ni: &WantedNi| {
            (ni.net, &ni.interface, ni.address) == (wanted.net, &wanted.interface, wanted.address)
        };
        if !self.nis.iter().any(same) {
            self.nis.push(wanted);
        }
    }

    /// The NIs that networks mean, on these interfaces.
    pub fn want_networks(
        &mut self,
        networks: &Networks,
        interfaces: &[InterfaceStatus],
        large: &Large,
        tunables: Tunables,
    ) {
        match networks {
            Networks::Named(specs) => {
                let first = interfaces.first().map_or("eth0", |status| status.name.as_str());
                specs.iter().for_each(|spec| self.want_network(spec, first, large, tunables));
            }
            Networks::ByAddress(ip2nets) => {
                for entry in &ip2nets.entries {
                    let matches = |status: &&InterfaceStatus| {
                        Offer::from(*status).ipv4().is_some_and(|ip| entry.matches(&[ip]))
                    };
                    let Some(interface) = interfaces.iter().find(matches) else { continue };
                    for spec in &entry.networks {
                        // Entries are tested in order: a network that an earlier one gave is had.
                        if !self.nis.iter().any(|ni| ni.net == spec.net) {
                            self.want_network(spec, &interface.name, large, tunables);
                        }
                    }
                }
            }
        }
    }

    /// The interfaces of a network, or `otherwise` when it names none.
    fn want_network(&mut self, spec: &NetworkSpec, otherwise: &str, large: &Large, tunables: Tunables) {
        let address = large.address_on(spec.net);
        if spec.interfaces.is_empty() {
            self.want_ni(WantedNi::new(spec.net, otherwise, address, tunables));
        }
        for interface in &spec.interfaces {
            self.want_ni(WantedNi::new(spec.net, &interface.name, address, tunables));
        }
    }
}
