//! The addresses of an interface: hundreds of them cost a packet no more than one does.

use crate::addr::Cidr;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::ops::Deref;
use keelson_hal::Instant;

/// An address of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub cidr: Cidr,
    /// When it ends, for an address from a router advertisement; DHCP ends its own.
    pub valid_until: Instant,
}

/// The addresses in the order they were added, with what every packet asks of them kept beside.
#[derive(Default)]
pub(crate) struct Addresses {
    list: Vec<Address>,
    sorted: Vec<IpAddr>,
    /// One address for each different network.
    networks: Vec<Cidr>,
}

impl Deref for Addresses {
    type Target = [Address];

    fn deref(&self) -> &[Address] {
        &self.list
    }
}

impl Addresses {
    pub fn push(&mut self, address: Address) {
        self.list.push(address);
        self.index();
    }

    /// False when there was no such address.
    pub fn remove(&mut self, cidr: Cidr) -> bool {
        let before = self.list.len();
        self.list.retain(|own| own.cidr != cidr);
        self.index();
        self.list.len() != before
    }

    /// The end of an address, to be changed.
    pub fn valid_until(&mut self, addr: IpAddr) -> Option<&mut Instant> {
        self.list.iter_mut().find(|own| own.cidr.addr == addr).map(|own| &mut own.valid_until)
    }

    pub fn has(&self, addr: IpAddr) -> bool {
        self.sorted.binary_search(&addr).is_ok()
    }

    pub fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        self.networks.iter().any(|network| network.broadcast() == Some(addr))
    }

    /// The longest prefix of a network that `addr` is in.
    pub fn prefix_to(&self, addr: IpAddr) -> Option<u8> {
        let around = self.networks.iter().filter(|network| network.contains(addr));
        around.map(|network| network.prefix).max()
    }

    fn index(&mut self) {
        self.sorted.clear();
        self.sorted.extend(self.list.iter().map(|own| own.cidr.addr));
        self.sorted.sort_unstable();
        self.networks.clear();
        for Address { cidr, .. } in &self.list {
            if !self.networks.iter().any(|known| known.prefix == cidr.prefix && known.contains(cidr.addr)) {
                self.networks.push(*cidr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Addresses {
        let mut addresses = Addresses::default();
        for text in list {
            let cidr = text.parse().unwrap();
            addresses.push(Address { cidr, valid_until: Instant::FAR_FUTURE });
        }
        addresses
    }

    #[test]
    fn networks_are_counted_once_and_the_longest_prefix_wins() {
        let mut own = addresses(&["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/16", "fe80::1/64"]);
        assert_eq!(own.networks.len(), 3);
        assert_eq!(own.prefix_to("10.0.0.9".parse().unwrap()), Some(24));
        assert_eq!(own.prefix_to("10.0.1.9".parse().unwrap()), Some(16));
        assert_eq!(own.prefix_to("fe80::9".parse().unwrap()), Some(64));
        assert_eq!(own.prefix_to("11.0.0.1".parse().unwrap()), None);
        assert!(
            own.is_broadcast(Ipv4Addr::new(10, 0, 0, 255))
                && own.is_broadcast(Ipv4Addr::new(10, 0, 255, 255))
        );
        assert!(own.remove("10.0.0.1/24".parse().unwrap()) && !own.remove("10.0.0.1/24".parse().unwrap()));
        assert!(!own.has("10.0.0.1".parse().unwrap()) && own.has("10.0.0.2".parse().unwrap()));
        assert!(own.is_broadcast(Ipv4Addr::new(10, 0, 0, 255)), "10.0.0.2 is still there");
    }
}
