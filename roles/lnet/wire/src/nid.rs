//! Networks, network identifiers (NIDs) and process identifiers: values and wire forms.
//!
//! LNet specification sections 1.1 to 1.4. How they are written as text is in `names`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// PID of the Lustre kernel services, and of everything a router sends or answers (section 1.4).
pub const LUSTRE_PID: u32 = 12345;
/// Set in the PID of a process that connected from an unreserved port (section 1.4).
pub const USERSPACE_FLAG: u32 = 0x8000_0000;

/// Network types with a meaning here (section 1.3). All others are opaque.
pub mod kind {
    /// Sockets, the only type this project drives.
    pub const TCP: u8 = 2;
    /// InfiniBand verbs.
    pub const O2IB: u8 = 5;
    /// The node itself.
    pub const LO: u8 = 9;
    /// Marks the "any" NID.
    pub const ANY: u8 = 0xff;
}

/// A network: type in bits 31..16, number in bits 15..0 (section 1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NetId(u32);

impl NetId {
    /// `tcp`, that is type tcp, number 0.
    pub const TCP: NetId = NetId::new(kind::TCP, 0);
    /// `lo`, the network of [`Nid::LOOPBACK`].
    pub const LOOPBACK: NetId = NetId::new(kind::LO, 0);
    /// Matches every network; the network of [`Nid::ANY`].
    pub const ANY: NetId = NetId(u32::MAX);

    /// Network `number` of type `kind`.
    pub const fn new(kind: u8, number: u16) -> NetId {
        NetId((kind as u32) << 16 | number as u32)
    }

    /// From the 32-bit form.
    pub const fn from_u32(raw: u32) -> NetId {
        NetId(raw)
    }

    /// The 32-bit form.
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// Network type, see [`kind`].
    pub const fn kind(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Network number.
    pub const fn number(self) -> u16 {
        self.0 as u16
    }
}

/// A network identifier: one interface of one node.
///
/// Holds the large form of section 1.2: size (address bytes beyond 4), network type, network number
/// (big-endian), 16 bytes of address of which the first `size + 4` count and the rest is zero. Ordering is
/// lexicographic over these 20 bytes, which is what decides a connection race (section 3.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nid {
    bytes: [u8; 20],
}

/// A NID of this size does not fit a layout with room for a 4-byte address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotExpressible;

impl Nid {
    /// Matches every NID; all ones in the 64-bit form.
    pub const ANY: Nid =
        Nid { bytes: [0, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
    /// `0@lo`: the node itself.
    pub const LOOPBACK: Nid =
        Nid { bytes: [0, kind::LO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
    /// Length of the large form.
    pub const LARGE_LEN: usize = 20;

    /// The NID of `ip` on `net`. On [`NetId::ANY`] every address is [`Nid::ANY`].
    pub const fn new(net: NetId, ip: IpAddr) -> Nid {
        match ip {
            IpAddr::V4(ip) => Nid::from_nid4((net.0 as u64) << 32 | ip.to_bits() as u64),
            IpAddr::V6(ip) if net.kind() != kind::ANY => {
                let [high, low] = net.number().to_be_bytes();
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
                let bytes = [12, net.kind(), high, low, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
                Nid { bytes }
            }
            IpAddr::V6(_) => Nid::ANY,
        }
    }

    /// From the 64-bit form (section 1.1). Bits 63..56 have no meaning there and are ignored.
    pub const fn from_nid4(nid4: u64) -> Nid {
        let [_, kind, high, low, a, b, c, d] = nid4.to_be_bytes();
        if kind == kind::ANY {
            return Nid::ANY;
        }
        Nid { bytes: [0, kind, high, low, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// The 64-bit form; none when the address has more than 4 bytes.
    pub const fn nid4(&self) -> Option<u64> {
        match self.bytes {
            [0, kind::ANY, ..] => Some(u64::MAX),
            [0, kind, high, low, a, b, c, d, ..] => {
                Some(u64::from_be_bytes([0, kind, high, low, a, b, c, d]))
            }
            _ => None,
        }
    }

    /// From the large form (section 1.2); none when its size is above 12. Address bytes beyond the size are
    /// cleared, and every "any" becomes [`Nid::ANY`], so that equal NIDs are equal bytes.
    pub fn from_large(bytes: &[u8; 20]) -> Option<Nid> {
        let [size, kind, ..] = *bytes;
        if size > 12 {
            return None;
        }
        if kind == kind::ANY {
            return Some(Nid::ANY);
        }
        let mut nid = Nid { bytes: *bytes };
        nid.bytes.iter_mut().skip(usize::from(size) + 8).for_each(|byte| *byte = 0);
        Some(nid)
    }

    /// The large form.
    pub const fn large(&self) -> [u8; 20] {
        self.bytes
    }

    /// Whether the address has more than 4 bytes, so that only [`Nid::large`] can express it.
    pub const fn is_large(&self) -> bool {
        self.nid4().is_none()
    }

    /// The network; [`NetId::ANY`] for [`Nid::ANY`].
    pub const fn net(&self) -> NetId {
        let [_, kind, high, low, ..] = self.bytes;
        if kind == kind::ANY { NetId::ANY } else { NetId::new(kind, u16::from_be_bytes([high, low])) }
    }

    /// The address, when it has the size of an IP address and the network is neither `lo` nor "any".
    pub const fn ip(&self) -> Option<IpAddr> {
        match self.bytes {
            [_, kind::LO | kind::ANY, ..] => None,
            [0, _, _, _, a, b, c, d, ..] => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            [12, _, _, _, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] => {
                Some(IpAddr::V6(Ipv6Addr::from_octets([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])))
            }
            _ => None,
        }
    }
}

/// A process on a node: what a message is addressed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessId {
    /// The node's interface.
    pub nid: Nid,
    /// The process, [`LUSTRE_PID`] as a rule.
    pub pid: u32,
}

impl ProcessId {
    /// The Lustre services of `nid`.
    pub const fn lustre(nid: Nid) -> ProcessId {
        ProcessId { nid, pid: LUSTRE_PID }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nid(text: &str) -> Nid {
        text.parse().unwrap()
    }

    #[test]
    fn order_is_that_of_addresses() {
        assert!(nid("10.0.0.2@tcp") > nid("10.0.0.1@tcp"));
        assert!(nid("10.0.1.0@tcp") > nid("10.0.0.255@tcp"));
        assert!(nid("200.0.0.1@tcp") > nid("10.0.0.1@tcp"));
        assert!(nid("10.0.0.1@tcp1") > nid("10.0.0.2@tcp"), "the network first");
        assert!(nid("::1@tcp") > nid("255.0.0.1@tcp"), "the size before all");
    }

    #[test]
    fn equal_nids_have_equal_bytes() {
        let mut bytes = nid("10.0.0.1@tcp").large();
        bytes[8] = 7;
        assert_eq!(Nid::from_large(&bytes), Some(nid("10.0.0.1@tcp")));
        bytes[0] = 2;
        assert_eq!(Nid::from_large(&bytes).unwrap().large()[8], 7, "6 bytes of address");
        bytes[1] = kind::ANY;
        assert_eq!(Nid::from_large(&bytes), Some(Nid::ANY));
        bytes[0] = 13;
        assert_eq!(Nid::from_large(&bytes), None);
        assert_eq!(Nid::from_nid4(0x00ff_0000_0000_0001), Nid::ANY);
        assert_eq!(Nid::from_nid4(0xaa02_0000_0a00_0001), nid("10.0.0.1@tcp"));
    }

    #[test]
    fn parts() {
        let six = nid("2001:db8::1@tcp7");
        assert_eq!((six.net(), six.ip()), (NetId::new(2, 7), "2001:db8::1".parse().ok()));
        assert!(six.is_large() && !Nid::ANY.is_large());
        assert_eq!((Nid::ANY.net(), Nid::ANY.ip()), (NetId::ANY, None));
        assert_eq!((Nid::LOOPBACK.net(), Nid::LOOPBACK.ip()), (NetId::LOOPBACK, None));
        assert_eq!(Nid::new(NetId::ANY, "10.0.0.1".parse().unwrap()), Nid::ANY);
        assert_eq!(Nid::new(NetId::ANY, "::1".parse().unwrap()), Nid::ANY);
    }
}
