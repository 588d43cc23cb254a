//! Routes: the longest prefix wins, and a packet leaves by the interface its source address is on.

use crate::addr::Cidr;
use crate::ip::Net;
use crate::link::Nic;
use crate::registry::InterfaceId;
use crate::stack::Stack;
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

/// How packets get to another host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The interface that they leave by.
    pub interface: InterfaceId,
    /// Who gets them on that link: the other host, or a router.
    pub next_hop: IpAddr,
    /// The address of ours that they are from.
    pub source: IpAddr,
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
        self.path_over(Nic::running, dst, src)
    }

    /// [`Net::path`] over those interfaces only that are `usable`.
    fn path_over(&self, usable: impl Fn(&Nic) -> bool, dst: IpAddr, src: Option<IpAddr>) -> Option<Path> {
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
        for (index, nic) in self.nics.iter().enumerate().filter(|(_, nic)| usable(nic)) {
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
            if to.contains(dst) && self.nics.get(interface.index()).is_some_and(&usable) {
                offer(interface.index(), u16::from(to.prefix) * 2, via.unwrap_or(dst));
            }
        }
        best.map(|(_, path)| path)
    }

    /// The way to `dst` and the address of ours to use, which is `src` when given.
    pub fn path_and_source(&self, dst: IpAddr, src: Option<IpAddr>) -> Option<(Path, IpAddr)> {
        let path = self.path(dst, src)?;
        let source = src.or_else(|| self.nics[path.nic].source(dst))?;
        Some((path, source))
    }
}

impl Stack {
    /// The way that packets to `dst` take now. Where only interfaces without a carrier lead there, it is the one that they take when
    /// the carriers are back: for those who have the time, and for the dump of a kernel that fails, which resets the NIC.
    ///
    /// `None` when no interface that is up leads there, or the one that does has no address to use. Groups, broadcasts and IPv6
    /// link-local addresses are on every link, and get any.
    pub fn way_to(&self, dst: IpAddr) -> Option<Way> {
        let net = &self.shared.state.borrow().net;
        let path = net.path(dst, None).or_else(|| net.path_over(Nic::is_up, dst, None))?;
        let source = net.nics[path.nic].source(dst)?;
        Some(Way { interface: InterfaceId(path.nic), next_hop: path.next_hop, source })
    }
}
