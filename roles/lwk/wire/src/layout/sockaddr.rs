//! Socket addresses.

use alloc::vec::Vec;

use super::{get, put};

/// Address families.
pub mod family {
    /// AF_UNSPEC
    pub const UNSPEC: u16 = 0;
    /// AF_UNIX
    pub const UNIX: u16 = 1;
    /// AF_INET
    pub const INET: u16 = 2;
    /// AF_INET6
    pub const INET6: u16 = 10;
    /// AF_NETLINK
    pub const NETLINK: u16 = 16;
}

/// A socket address of one of the families that programs use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sockaddr {
    /// `AF_UNSPEC`: connect(2) with it dissolves an association.
    Unspec,
    /// Unnamed, of 2 bytes.
    UnixUnnamed,
    /// A path, without its NUL.
    UnixPath(Vec<u8>),
    /// A name in the abstract name space, without the NUL before it.
    UnixAbstract(Vec<u8>),
    /// IPv4.
    Inet {
        /// Address.
        ip: [u8; 4],
        /// Port.
        port: u16,
    },
    /// IPv6.
    Inet6 {
        /// Address.
        ip: [u8; 16],
        /// Port.
        port: u16,
        /// Flow information, as it is in memory.
        flow: u32,
        /// Scope.
        scope: u32,
    },
    /// Netlink.
    Netlink {
        /// Port id.
        pid: u32,
        /// Multicast groups.
        groups: u32,
    },
}

/// Most bytes of an address: `struct sockaddr_storage`.
const MAX_LEN: usize = 128;

impl Sockaddr {
    /// From the bytes a program gave; `None` when they are too few for their family, or the family is another.
    pub fn parse(bytes: &[u8]) -> Option<Sockaddr> {
        if bytes.len() > MAX_LEN {
            return None;
        }
        let family = u16::from_le_bytes(*bytes.first_chunk()?);
        match family {
            family::UNSPEC => Some(Sockaddr::Unspec),
            family::UNIX => parse_unix(bytes.get(2..)?),
            family::INET if bytes.len() >= 16 => {
                Some(Sockaddr::Inet { port: u16::from_be_bytes(get(bytes, 2)), ip: get(bytes, 4) })
            }
            family::INET6 if bytes.len() >= 24 => Some(Sockaddr::Inet6 {
                port: u16::from_be_bytes(get(bytes, 2)),
                flow: u32::from_le_bytes(get(bytes, 4)),
                ip: get(bytes, 8),
                scope: if bytes.len() >= 28 { u32::from_le_bytes(get(bytes, 24)) } else { 0 },
            }),
            family::NETLINK if bytes.len() >= 12 => Some(Sockaddr::Netlink {
                pid: u32::from_le_bytes(get(bytes, 4)),
                groups: u32::from_le_bytes(get(bytes, 8)),
            }),
            _ => None,
        }
    }

    /// As the kernel returns it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let with = |family: u16, len: usize| {
            let mut bytes = alloc::vec![0; len];
            put(&mut bytes, 0, &family.to_le_bytes());
            bytes
        };
        match self {
            Sockaddr::Unspec => with(family::UNSPEC, 2),
            Sockaddr::UnixUnnamed => with(family::UNIX, 2),
            Sockaddr::UnixPath(path) => {
                let mut bytes = with(family::UNIX, 2);
                bytes.extend_from_slice(path);
                bytes.push(0);
                bytes
            }
            Sockaddr::UnixAbstract(name) => {
                let mut bytes = with(family::UNIX, 3);
                bytes.extend_from_slice(name);
                bytes
            }
            Sockaddr::Inet { ip, port } => {
                let mut bytes = with(family::INET, 16);
                put(&mut bytes, 2, &port.to_be_bytes());
                put(&mut bytes, 4, ip);
                bytes
            }
            Sockaddr::Inet6 { ip, port, flow, scope } => {
                let mut bytes = with(family::INET6, 28);
                put(&mut bytes, 2, &port.to_be_bytes());
                put(&mut bytes, 4, &flow.to_le_bytes());
                put(&mut bytes, 8, ip);
                put(&mut bytes, 24, &scope.to_le_bytes());
                bytes
            }
            Sockaddr::Netlink { pid, groups } => {
                let mut bytes = with(family::NETLINK, 12);
                put(&mut bytes, 4, &pid.to_le_bytes());
                put(&mut bytes, 8, &groups.to_le_bytes());
                bytes
            }
        }
    }
}

fn parse_unix(name: &[u8]) -> Option<Sockaddr> {
    match name {
        [] => Some(Sockaddr::UnixUnnamed),
        [0, name @ ..] => (name.len() <= 107).then(|| Sockaddr::UnixAbstract(name.to_vec())),
        name => {
            let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
            (path.len() <= 108).then(|| Sockaddr::UnixPath(path.to_vec()))
        }
    }
}
