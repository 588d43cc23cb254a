//! What the kernel knows of a network interface of this namespace: asked by rtnetlink, as `ip link` does.
//!
//! Constants: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h.

use keelson_qnet_wire::frame::Mac;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADERS: usize = 16 + 16;

/// A network interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its address.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: usize,
}

/// Looks an interface up.
pub fn find(name: &str) -> io::Result<Interface> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request(name), SendFlags::empty())?;
    let mut answer = vec![0; 32_768];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    parse(answer.get(..len).unwrap_or_default())
}

fn request(name: &str) -> Vec<u8> {
    let attribute_len = 4 + name.len() + 1;
    let total = HEADERS + attribute_len.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(total);
    bytes.extend((total as u32).to_ne_bytes());
    bytes.extend(RTM_GETLINK.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence and port numbers, then the interface by nothing but its name.
    bytes.extend([0; 8 + 16]);
    bytes.extend((attribute_len as u16).to_ne_bytes());
    bytes.extend(IFLA_IFNAME.to_ne_bytes());
    bytes.extend(name.bytes());
    bytes.resize(total, 0);
    bytes
}

fn parse(answer: &[u8]) -> io::Result<Interface> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is malformed");
    let kind = u16_at(answer, 4).ok_or_else(malformed)?;
    if kind == NLMSG_ERROR {
        let code = u32_at(answer, 16).ok_or_else(malformed)? as i32;
        return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
    }
    if kind != RTM_NEWLINK {
        return Err(malformed());
    }
    let (mut mac, mut mtu) = (None, None);
    let mut rest = answer.get(HEADERS..).ok_or_else(malformed)?;
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let value = rest.get(4..usize::from(len)).ok_or_else(malformed)?;
        match kind {
            IFLA_ADDRESS => mac = value.try_into().ok().map(Mac),
            IFLA_MTU => mtu = u32_at(value, 0),
            _ => {}
        }
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    let no_ethernet = || io::Error::new(io::ErrorKind::InvalidInput, "it has no Ethernet address");
    Ok(Interface { mac: mac.ok_or_else(no_ethernet)?, mtu: mtu.ok_or_else(malformed)? as usize })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface() {
        let lo = find("lo").unwrap();
        assert_eq!(lo.mac, Mac([0; 6]));
        assert!(lo.mtu >= 16_384, "{lo:?}");
    }

    #[test]
    fn what_is_not_there() {
        assert_eq!(find("no-such-if0").unwrap_err().raw_os_error(), Some(19), "ENODEV");
    }

    #[test]
    fn malformed_answers() {
        for len in 0..64 {
            let mut bytes = vec![0xff; len];
            bytes.iter_mut().skip(4).take(2).zip(RTM_NEWLINK.to_ne_bytes()).for_each(|(to, from)| *to = from);
            assert!(parse(&bytes).is_err(), "{len}");
        }
    }
}
