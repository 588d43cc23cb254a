//! Addresses with prefixes, and the link-layer addresses that go with them.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use keelson_hal::MacAddress;

/// An address and the length of its network's prefix: `10.1.0.1/24`, `fe80::1/64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Cidr {
    /// The address, host part included.
    pub addr: IpAddr,
    /// Bits of the network part: 0 to 32 or 128.
    pub prefix: u8,
}

impl Cidr {
    /// `None` when the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Cidr> {
        (prefix <= if addr.is_ipv4() { 32 } else { 128 }).then_some(Cidr { addr, prefix })
    }

    /// The address alone: a prefix of 32 or 128 bits.
    pub fn host(addr: IpAddr) -> Cidr {
        Cidr { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } }
    }

    /// Everything: `0.0.0.0/0` or `::/0`, the family being that of `addr`.
    pub fn default_route(addr: IpAddr) -> Cidr {
        match addr {
            IpAddr::V4(_) => Cidr { addr: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 },
            IpAddr::V6(_) => Cidr { addr: Ipv6Addr::UNSPECIFIED.into(), prefix: 0 },
        }
    }

    /// True when `other` is in this network.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.addr, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The network: the host part is zero.
    pub fn network(&self) -> Cidr {
        let host = u32::from(self.prefix);
        let addr = match self.addr {
            IpAddr::V4(addr) => {
                Ipv4Addr::from_bits(addr.to_bits() & !u32::MAX.checked_shr(host).unwrap_or(0)).into()
            }
            IpAddr::V6(addr) => {
                Ipv6Addr::from_bits(addr.to_bits() & !u128::MAX.checked_shr(host).unwrap_or(0)).into()
            }
        };
        Cidr { addr, prefix: self.prefix }
    }

    /// The network's directed broadcast address; IPv4 networks of at least four addresses have one.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(addr) if self.prefix <= 30 => {
                Some(Ipv4Addr::from_bits(addr.to_bits() | (u32::MAX >> self.prefix)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// The text is not `address/prefix`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CidrParseError;

impl FromStr for Cidr {
    type Err = CidrParseError;

    /// `address/prefix`; the address may stand in brackets.
    fn from_str(text: &str) -> Result<Cidr, CidrParseError> {
        let (addr, prefix) = text.rsplit_once('/').ok_or(CidrParseError)?;
        let addr = addr.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(addr);
        let addr = addr.parse().map_err(|_| CidrParseError)?;
        let prefix = prefix.parse().map_err(|_| CidrParseError)?;
        Cidr::new(addr, prefix).ok_or(CidrParseError)
    }
}

/// The group MAC address of a multicast address (RFC 1112 section 6.4, RFC 2464 section 7).
pub(crate) fn multicast_mac(group: IpAddr) -> MacAddress {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let o = group.octets();
            MacAddress([0x33, 0x33, o[12], o[13], o[14], o[15]])
        }
    }
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    const BASE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(BASE | (addr.to_bits() & 0xff_ffff))
}

/// Prefix (64 bits) and modified EUI-64 of a MAC address (RFC 4291 appendix A).
pub(crate) fn with_interface_id(prefix: Ipv6Addr, mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits((prefix.to_bits() & !u128::from(u64::MAX)) | u128::from(id))
}

/// The link-local address every interface has (RFC 4862 section 5.3).
pub(crate) fn link_local(mac: MacAddress) -> Ipv6Addr {
    with_interface_id(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

/// Neither a group, nor broadcast, nor unspecified, nor loopback: an address a host on a link may have.
pub(crate) fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => {
            !(a.is_multicast()
                || a.is_broadcast()
                || a.is_unspecified()
                || a.is_loopback()
                || a.octets()[0] >= 240)
        }
        IpAddr::V6(a) => !(a.is_multicast() || a.is_unspecified() || a.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_hosts() {
        let net: Cidr = "10.1.0.1/24".parse().unwrap();
        assert!(net.contains("10.1.0.255".parse().unwrap()));
        assert!(!net.contains("10.1.1.1".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert_eq!(net.broadcast(), Some(Ipv4Addr::new(10, 1, 0, 255)));
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()));
        assert!("[2001:db8::1]/64".parse::<Cidr>().unwrap().contains("2001:db8::9".parse().unwrap()));
        assert!("10.0.0.1/33".parse::<Cidr>().is_err());
    }

    #[test]
    fn link_layer_addresses_match_the_rfc_examples() {
        let mac = MacAddress([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(link_local(mac), "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap());
        let node = solicited_node("4037::1:800:200e:8c6c".parse().unwrap());
        assert_eq!(node, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(node.into()), MacAddress([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }
}
