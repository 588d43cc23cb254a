//! `lnetctl export`: the configuration as one text (LNet specification section 6.6).

use super::control::Control;
use super::views;
use super::yaml::Yaml;
use crate::lnet::peer_state;
use crate::lnet::show::{GlobalStatus, NetStatus, NiStatus, PeerStatus, RouteStatus, RoutingState};
use alloc::vec::Vec;

/// Everything there is to see, or for a backup what `import` needs to make it again.
pub fn export<C: Control>(control: &C, backup: bool) -> Yaml {
    let (nets, routes, routing) = (control.nets(), control.routes(), control.routing());
    if !backup {
        return views::net(&nets, 2)
            .and(views::route(&routes, 1))
            .and(views::routing(&routing))
            .and(views::peer(&control.peers(), 3))
            .and(views::global(&control.global()));
    }
    let enable = u32::from(matches!(routing.state, RoutingState::Enabled | RoutingState::Starting));
    let peers = control.peers();
    let peers: Vec<Yaml> = peers.iter().filter(|peer| is_configured(peer.state)).map(peer).collect();
    let nets = nets.iter().filter(|net| net.nis.iter().any(is_real)).map(net);
    let yaml = Yaml::map().with("net", Yaml::seq(nets));
    let yaml = if peers.is_empty() { yaml } else { yaml.with("peer", Yaml::Seq(peers)) };
    yaml.with("route", Yaml::seq(routes.iter().map(route)))
        .with("routing", Yaml::map().with("enable", enable))
        .and(views::buffers(&routing))
        .with("global", settings(&control.global()))
}

/// Loopback comes by itself.
fn is_real(ni: &NiStatus) -> bool {
    ni.tunables.is_some()
}

fn net(net: &NetStatus) -> Yaml {
    let ni = |ni: &NiStatus| {
        let interface = ni.interface.as_deref().unwrap_or_default();
        // Without it, `import` would take the IPv4 address of an interface that has both.
        let nid = if ni.nid.is_large() { Yaml::map().with("nid", ni.nid) } else { Yaml::map() };
        nid.with("interfaces", Yaml::map().with("0", interface)).and(views::tunables(ni))
    };
    Yaml::map().with("net type", net.net).with("local NI(s)", Yaml::seq(net.nis.iter().map(ni)))
}

/// Whether a peer was named by an administrator, by its `peer state`: the others are learnt again.
pub(super) fn is_configured(state: u32) -> bool {
    state & peer_state::CONFIGURED != 0
}

fn peer(peer: &PeerStatus) -> Yaml {
    let nids = peer.nis.iter().map(|ni| Yaml::map().with("nid", ni.nid));
    Yaml::map()
        .with("primary nid", peer.primary)
        .with("Multi-Rail", views::truth(peer.multi_rail))
        .with("peer ni", Yaml::seq(nids))
}

fn route(route: &RouteStatus) -> Yaml {
    Yaml::map()
        .with("net", route.net)
        .with("gateway", route.gateway)
        .with("hop", route.hops.map_or(-1, i64::from))
        .with("priority", route.priority)
}

/// Only those that have an effect.
fn settings(global: &GlobalStatus) -> Yaml {
    Yaml::map()
        .with("max_interfaces", global.max_interfaces)
        .with("discovery", global.discovery)
        .with("drop_asym_route", global.drop_asym_route)
        .with("transaction_timeout", global.transaction_timeout)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, lnetctl};

    #[test]
    fn a_backup_is_what_import_needs() {
        let expected = "\
net:
    - net type: tcp
      local NI(s):
        - interfaces:
              0: eth0
          tunables:
              peer_timeout: 180
              peer_credits: 8
              peer_buffer_credits: 0
              credits: 256
          lnd tunables:
              conns_per_peer: 2
    - net type: tcp1
      local NI(s):
        - interfaces:
              0: eth1
          tunables:
              peer_timeout: 180
              peer_credits: 8
              peer_buffer_credits: 0
              credits: 256
          lnd tunables:
              conns_per_peer: 2
route:
    - net: tcp3
      gateway: 10.2.0.9@tcp1
      hop: -1
      priority: 0
    - net: o2ib
      gateway: 10.1.0.9@tcp
      hop: 2
      priority: 1
routing:
    enable: 1
buffers:
    tiny: 2048
    small: 16384
    large: 1024
global:
    max_interfaces: 200
    discovery: 1
    drop_asym_route: 0
    transaction_timeout: 150
";
        assert_eq!(lnetctl(&Fake::up(), "export --backup"), expected);
    }

    #[test]
    fn everything_in_the_order_of_linux() {
        let text = lnetctl(&Fake::up(), "export");
        let sections: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(sections, ["net:", "route:", "routing:", "buffers:", "peer:", "global:"]);
    }
}
