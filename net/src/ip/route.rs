//! Routes: the longest prefix wins, and a packet leaves by the interface its source address is on.

use crate::addr::Cidr;
use crate::ip::Net;
use crate::registry::InterfaceId;
use core::net::IpAddr;
use keelson_hal::Instant;

/// A route to a network through a router or directly over an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The network.
    pub to: Cidr,
    /// The router; `None` when the network is on the link itself.
    pub via: Option<IpAddr>,
    /// The interface.
    pub interface: InterfaceId,
}

/// Who added a route or address, so that the same can take it away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Static,
    Dhcp,
    RouterAdvertisement,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteEntry {
    pub route: Route,
    pub origin: Origin,
    pub valid_until: Instant,
}

/// Where a packet goes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub nic: usize,
    pub next_hop: IpAddr,
}

impl Net {
    /// The way to `dst` for a packet from `src`. An interface that has `src` is preferred over a longer
    /// prefix elsewhere (the strong host model, RFC 1122 section 3.3.4.2), so that replies go out where the
    /// request came in.
    pub fn path(&self, dst: IpAddr, src: Option<IpAddr>) -> Option<Path> {
        let owner = |nic: usize| src.is_some_and(|src| self.nics[nic].has_address(src));
        let mut best: Option<((bool, u16), Path)> = None;
        let mut offer = |nic: usize, prefix: u16, next_hop: IpAddr| {
            let rank = (owner(nic), prefix);
            if best.is_none_or(|(best_rank, _)| rank > best_rank) {
                best = Some((rank, Path { nic, next_hop }));
            }
        };
        let on_every_link = match dst {
            IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
            IpAddr::V6(dst) => dst.is_multicast() || dst.is_unicast_link_local(),
        };
        for (index, nic) in self.nics.iter().enumerate().filter(|(_, nic)| nic.running()) {
            if on_every_link {
                offer(index, 0, dst);
                continue;
            }
            if let Some(prefix) = nic.addresses.prefix_to(dst) {
                // A network of our own beats a route to the same network.
                offer(index, u16::from(prefix) * 2 + 1, dst);
            }
        }
        for entry in &self.routes {
            let Route { to, via, interface } = entry.route;
            if to.contains(dst) && self.nics.get(interface.index()).is_some_and(|nic| nic.running()) {
                offer(interface.index(), u16::from(to.prefix) * 2, via.unwrap_or(dst));
            }
        }
        best.map(|(_, path)| path)
    }

    /// The way to `dst` and the address of ours to use, which is `src` when given.
    pub fn path_and_source(&self, dst: IpAddr, src: Option<IpAddr>) -> Option<(Path, IpAddr)> {
        let path = self.path(dst, src)?;
        let nic = &self.nics[path.nic];
        let source = match (src, dst) {
            (Some(src), _) => src,
            (None, IpAddr::V4(dst)) => nic.source_v4(dst)?.into(),
            (None, IpAddr::V6(dst)) => nic.source_v6(dst)?.into(),
        };
        Some((path, source))
    }
}
