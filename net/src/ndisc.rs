//! Neighbour discovery (RFC 4861) and stateless address autoconfiguration (RFC 4862), the host's part.
//!
//! Every message must carry hop limit 255, so that it cannot come from beyond the link. A router
//! advertisement gives a default route, and addresses for its prefixes of 64 bits with the autonomous flag;
//! both end with their lifetimes. Not here: duplicate address detection, redirects, RDNSS, Secure ND.

use crate::addr::{Cidr, is_host, solicited_node, with_interface_id};
use crate::addresses::Address;
use crate::ip::header::{Packet, be16};
use crate::ip::{Net, Origin, Route, RouteEntry};
use crate::link::{ALL_NODES, ALL_ROUTERS};
use crate::registry::InterfaceId;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use keelson_hal::{Instant, MacAddress};

const ROUTER_SOLICIT: u8 = 133;
const ROUTER_ADVERT: u8 = 134;
const NEIGHBOUR_SOLICIT: u8 = 135;
const NEIGHBOUR_ADVERT: u8 = 136;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
const OPTION_PREFIX: u8 = 3;
/// Solicited and override flags of an advertisement.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Addresses taken from advertisements, and default routers kept: a hostile router must not grow lists.
const MAX_SLAAC_ADDRESSES: usize = 4;
const MAX_ROUTERS: usize = 4;
/// RFC 4862 section 5.5.3 (e): an unauthenticated advertisement cannot cut a lifetime below this.
const TWO_HOURS: Duration = Duration::from_secs(7200);

impl Net {
    pub(crate) fn send_neighbour_solicit(
        &mut self,
        now: Instant,
        nic: usize,
        target: Ipv6Addr,
        unicast: bool,
    ) {
        let Some(source) = self.nics[nic].source_v6(target) else { return };
        let to = if unicast { target } else { solicited_node(target) };
        let message = message(NEIGHBOUR_SOLICIT, 0, target, OPTION_SOURCE_MAC, self.nics[nic].mac);
        self.send_ndisc(now, nic, source.into(), to.into(), message);
    }

    /// Asks for routers; called at start and repeated while none has answered.
    pub(crate) fn send_router_solicit(&mut self, now: Instant, nic: usize) {
        let source = self.nics[nic].link_local();
        let mut message = Vec::from([ROUTER_SOLICIT, 0, 0, 0, 0, 0, 0, 0, OPTION_SOURCE_MAC, 1]);
        message.extend_from_slice(&self.nics[nic].mac.0);
        self.send_ndisc(now, nic, source.into(), ALL_ROUTERS.into(), message);
    }

    /// Announces an address of ours to all nodes.
    pub(crate) fn announce_v6(&mut self, now: Instant, nic: usize, addr: Ipv6Addr) {
        let message = message(NEIGHBOUR_ADVERT, OVERRIDE, addr, OPTION_TARGET_MAC, self.nics[nic].mac);
        self.send_ndisc(now, nic, addr.into(), ALL_NODES.into(), message);
    }

    pub(crate) fn ndisc_input(
        &mut self,
        now: Instant,
        nic: usize,
        packet: &Packet<'_>,
        source_mac: MacAddress,
    ) {
        let valid = packet.hop_limit == 255 && packet.payload[1] == 0 && !source_mac.is_multicast();
        let (true, IpAddr::V6(src)) = (valid, packet.src) else {
            self.counters.icmp_invalid += 1;
            return;
        };
        let handled = match packet.payload[0] {
            ROUTER_ADVERT => self.router_advert(now, nic, src, packet.payload),
            NEIGHBOUR_SOLICIT => self.neighbour_solicit(now, nic, src, packet.payload),
            _ => self.neighbour_advert(now, nic, packet.payload),
        };
        if handled.is_none() {
            self.counters.icmp_invalid += 1;
        }
    }

    fn neighbour_solicit(&mut self, now: Instant, nic: usize, src: Ipv6Addr, body: &[u8]) -> Option<()> {
        let target = target(body)?;
        if !self.nics[nic].has_address(target.into()) {
            return Some(());
        }
        let sender = option(body.get(24..)?, OPTION_SOURCE_MAC).and_then(link_address);
        // An unspecified source is a duplicate address detection: the answer goes to everybody.
        let (to, flags) =
            if src.is_unspecified() { (ALL_NODES, OVERRIDE) } else { (src, SOLICITED | OVERRIDE) };
        if let Some(mac) = sender
            && is_host(src.into())
        {
            self.neighbour_found(now, nic, src.into(), mac, true);
        }
        self.counters.arp_replies += 1;
        let message = message(NEIGHBOUR_ADVERT, flags, target, OPTION_TARGET_MAC, self.nics[nic].mac);
        self.send_ndisc(now, nic, target.into(), to.into(), message);
        Some(())
    }

    fn neighbour_advert(&mut self, now: Instant, nic: usize, body: &[u8]) -> Option<()> {
        let target = target(body)?;
        if self.nics[nic].has_address(target.into()) {
            let name = &self.nics[nic].name;
            log::warn!(target: "net", "{name}: another node uses our address {target} too");
            return Some(());
        }
        if let Some(mac) = option(body.get(24..)?, OPTION_TARGET_MAC).and_then(link_address) {
            self.neighbour_found(now, nic, target.into(), mac, false);
        }
        Some(())
    }

    fn router_advert(&mut self, now: Instant, nic: usize, src: Ipv6Addr, body: &[u8]) -> Option<()> {
        let options = body.get(16..)?;
        if !src.is_unicast_link_local() || !self.nics[nic].slaac {
            return Some(());
        }
        self.nics[nic].router_solicits = 0;
        if let Some(mac) = option(options, OPTION_SOURCE_MAC).and_then(link_address) {
            self.neighbour_found(now, nic, src.into(), mac, true);
        }
        self.set_router(nic, src, now, Duration::from_secs(be16(body, 6).into()));
        for prefix in all_options(options).filter(|(kind, _)| *kind == OPTION_PREFIX) {
            self.slaac_prefix(now, nic, prefix.1);
        }
        Some(())
    }

    fn set_router(&mut self, nic: usize, router: Ipv6Addr, now: Instant, lifetime: Duration) {
        let route = Route {
            to: Cidr::default_route(router.into()),
            via: Some(router.into()),
            interface: InterfaceId(nic),
        };
        self.routes.retain(|entry| entry.route != route || entry.origin != Origin::RouterAdvertisement);
        let routers = self.routes.iter().filter(|entry| entry.origin == Origin::RouterAdvertisement);
        if lifetime > Duration::ZERO && routers.count() < MAX_ROUTERS {
            let origin = Origin::RouterAdvertisement;
            self.routes.push(RouteEntry { route, origin, valid_until: now + lifetime });
        }
    }

    /// RFC 4862 section 5.5.3 for one prefix information option (RFC 4861 section 4.6.2).
    fn slaac_prefix(&mut self, now: Instant, nic: usize, option: &[u8]) {
        let Some(option) = option.first_chunk::<32>() else { return };
        let autonomous = option[3] & 0x40 != 0;
        let valid = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&option[16..32]);
        let prefix = Ipv6Addr::from(prefix);
        if !autonomous || option[2] != 64 || prefix.is_unicast_link_local() || !is_host(prefix.into()) {
            return;
        }
        let valid_until = match valid {
            u32::MAX => Instant::FAR_FUTURE,
            seconds => now + Duration::from_secs(seconds.into()),
        };
        let nic_state = &mut self.nics[nic];
        let addr = IpAddr::V6(with_interface_id(prefix, nic_state.mac));
        if let Some(end) = nic_state.addresses.valid_until(addr) {
            if *end != Instant::FAR_FUTURE || valid == u32::MAX {
                *end = valid_until.max((*end).min(now + TWO_HOURS));
            }
            return;
        }
        let learned = nic_state.addresses.iter().filter(|own| own.valid_until != Instant::FAR_FUTURE);
        if valid > 0 && learned.count() < MAX_SLAAC_ADDRESSES {
            nic_state.addresses.push(Address { cidr: Cidr { addr, prefix: 64 }, valid_until });
            self.new_addresses.push((InterfaceId(nic), Cidr { addr, prefix: 64 }));
        }
    }
}

/// A solicitation or advertisement: header, target, one link-layer address option; checksum still zero.
fn message(kind: u8, flags: u8, target: Ipv6Addr, option: u8, mac: MacAddress) -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[option, 1]);
    message.extend_from_slice(&mac.0);
    message
}

fn target(body: &[u8]) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let target = Ipv6Addr::from(octets);
    (!target.is_multicast()).then_some(target)
}

fn option(options: &[u8], wanted: u8) -> Option<&[u8]> {
    all_options(options).find(|(kind, _)| *kind == wanted).map(|(_, option)| option)
}

fn link_address(option: &[u8]) -> Option<MacAddress> {
    let mac = MacAddress(option.get(2..8)?.try_into().ok()?);
    (!mac.is_multicast()).then_some(mac)
}

/// The options as (type, whole option); ends at the first malformed one.
fn all_options(mut options: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        let [kind, units] = *options.first_chunk::<2>()?;
        let (option, rest) = options.split_at_checked(usize::from(units) * 8).filter(|_| units > 0)?;
        options = rest;
        Some((kind, option))
    })
}
