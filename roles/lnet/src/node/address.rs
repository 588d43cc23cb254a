//! Which address of its interface an NI takes into its NID.

use crate::lnet::AddressChoice;
use core::net::{IpAddr, Ipv4Addr};
use keelson_net::{Cidr, InterfaceStatus};

/// What an interface has to offer.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    addresses: &'a [Cidr],
    /// It asks for an IPv4 address.
    dhcp: bool,
}

impl<'a> From<&'a InterfaceStatus> for Offer<'a> {
    fn from(status: &'a InterfaceStatus) -> Offer<'a> {
        Offer { addresses: &status.addresses, dhcp: status.dhcp }
    }
}

impl Offer<'_> {
    /// The first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|cidr| match cidr.addr {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// The first IPv6 address that other links can reach: global or unique local.
    fn ipv6(&self) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().map(|cidr| cidr.addr);
        addresses.find(|address| matches!(address, IpAddr::V6(six) if !six.is_unicast_link_local()))
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|cidr| cidr.addr == address)
    }
}

impl AddressChoice {
    /// The address to take, if there is one. The one in use is kept as long as the interface has it, whatever
    /// other addresses come: a NID that changes costs all connections.
    pub(super) fn choose(&self, offer: Offer<'_>, in_use: Option<IpAddr>) -> Option<IpAddr> {
        if let Some(address) = in_use.filter(|address| offer.has(*address)) {
            return Some(address);
        }
        match *self {
            AddressChoice::Usual => match offer.ipv4() {
                Some(address) => Some(IpAddr::V4(address)),
                // An address from a router advertisement can be there before DHCP has answered.
                None if offer.dhcp => None,
                None => offer.ipv6(),
            },
            AddressChoice::Large => offer.ipv6(),
            AddressChoice::Exactly(address) => Some(address).filter(|address| offer.has(*address)),
        }
    }

    /// What an interface lacks when none is chosen, with its article.
    pub(super) fn lack(&self, offer: Offer<'_>) -> &'static str {
        match self {
            AddressChoice::Usual if offer.dhcp => "an IPv4 address",
            AddressChoice::Usual => "an address",
            AddressChoice::Large => "an IPv6 address",
            AddressChoice::Exactly(_) => "that address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AddressChoice::{Exactly, Large, Usual};

    fn choose(choice: AddressChoice, addresses: &[&str], dhcp: bool, in_use: Option<&str>) -> Option<String> {
        let addresses: Vec<Cidr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let offer = Offer { addresses: &addresses, dhcp };
        choice.choose(offer, in_use.map(ip)).map(|address| address.to_string())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const BOTH: &[&str] = &["fe80::1/64", "2001:db8::1/64", "10.0.0.1/24", "fd00::1/64", "10.0.0.2/24"];
    const SIX: &[&str] = &["fe80::1/64", "fd00::1/64"];

    #[test]
    fn ipv4_unless_there_is_none_or_ipv6_is_asked_for() {
        assert_eq!(choose(Usual, BOTH, false, None), Some("10.0.0.1".into()));
        assert_eq!(choose(Large, BOTH, false, None), Some("2001:db8::1".into()));
        assert_eq!(choose(Usual, SIX, false, None), Some("fd00::1".into()));
        assert_eq!(choose(Large, &["10.0.0.1/24", "fe80::1/64"], false, None), None);
        assert_eq!(choose(Usual, &["fe80::1/64"], false, None), None, "link-local only");
    }

    #[test]
    fn dhcp_is_waited_for() {
        assert_eq!(choose(Usual, SIX, true, None), None);
        assert_eq!(choose(Usual, BOTH, true, None), Some("10.0.0.1".into()));
        assert_eq!(choose(Large, SIX, true, None), Some("fd00::1".into()));
    }

    #[test]
    fn what_is_in_use_stays() {
        assert_eq!(choose(Usual, BOTH, false, Some("10.0.0.2")), Some("10.0.0.2".into()));
        assert_eq!(choose(Usual, BOTH, false, Some("fd00::1")), Some("fd00::1".into()));
        assert_eq!(choose(Usual, BOTH, false, Some("10.0.0.9")), Some("10.0.0.1".into()));
        assert_eq!(choose(Exactly(ip("fd00::1")), BOTH, false, None), Some("fd00::1".into()));
        assert_eq!(choose(Exactly(ip("fd00::9")), BOTH, false, None), None);
    }
}
