//! rpcbind, versions 2, 3 and 4 (RFC 1833): where the programs are. Read-only: SET and UNSET answer FALSE, and
//! calls on behalf of others (CALLIT, BCAST, INDIRECT) are not served, since they multiply traffic.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use keelson_hal::Clock;
use keelson_oncrpc::{Call, DecodeError, Decoder, Encoder, Failure, Program, Reply, Service};

/// Program number of rpcbind.
pub const RPCBIND_PROGRAM: u32 = 100_000;

/// IP protocol numbers, as version 2 uses them.
const TCP: u32 = 6;
const UDP: u32 = 17;

/// Longest string in an `rpcb`.
const MAX_STRING: usize = 1024;

/// The user that registered everything.
const OWNER: &str = "superuser";

/// A program on a port, over TCP and UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registration {
    pub program: u32,
    pub versions: &'static [u32],
    pub port: u16,
}

/// A transport as versions 3 and 4 name it (RFC 5665 section 4).
#[derive(Clone, Copy)]
struct NetId {
    name: &'static str,
    protocol: u32,
    family: &'static str,
    any: IpAddr,
}

const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

const NET_IDS: [NetId; 4] = [
    NetId { name: "tcp", protocol: TCP, family: "inet", any: ANY_V4 },
    NetId { name: "udp", protocol: UDP, family: "inet", any: ANY_V4 },
    NetId { name: "tcp6", protocol: TCP, family: "inet6", any: ANY_V6 },
    NetId { name: "udp6", protocol: UDP, family: "inet6", any: ANY_V6 },
];

/// The program.
pub(crate) struct Rpcbind {
    registrations: Vec<Registration>,
    clock: Rc<dyn Clock>,
}

/// The arguments of the look-ups of versions 3 and 4 that matter; address and owner are the caller's guess.
struct Rpcb<'a> {
    program: u32,
    version: u32,
    net_id: &'a [u8],
}

impl Rpcbind {
    /// Answers for what is registered, and for itself on `port`.
    pub fn new(port: u16, served: &[Registration], clock: Rc<dyn Clock>) -> Rpcbind {
        let itself = Registration { program: RPCBIND_PROGRAM, versions: &[2, 3, 4], port };
        let registrations = core::iter::once(itself).chain(served.iter().copied()).collect();
        Rpcbind { registrations, clock }
    }

    fn find(&self, program: u32) -> Option<&Registration> {
        self.registrations.iter().find(|registration| registration.program == program)
    }

    /// Every program and version with its port.
    fn each(&self) -> impl Iterator<Item = (u32, u32, u16)> {
        let versions = |one: &Registration| {
            let (program, port) = (one.program, one.port);
            one.versions.iter().map(move |version| (program, *version, port))
        };
        self.registrations.iter().flat_map(versions)
    }

    fn portmapper(&self, procedure: u32, mut input: Decoder<'_>, out: &mut Encoder) -> Result<(), Failure> {
        match procedure {
            1 | 2 => out.bool(false),
            3 => {
                let (program, _version, protocol) = (input.u32()?, input.u32()?, input.u32()?);
                let _port = input.u32()?;
                // With another version than asked for: the caller learns the range from PROG_MISMATCH.
                let found = self.find(program).filter(|_| matches!(protocol, TCP | UDP));
                out.u32(found.map_or(0, |registration| registration.port.into()));
            }
            4 => {
                for (program, version, port) in self.each() {
                    for protocol in [TCP, UDP] {
                        out.bool(true);
                        out.u32(program);
                        out.u32(version);
                        out.u32(protocol);
                        out.u32(port.into());
                    }
                }
                out.bool(false);
            }
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }

    fn rpcbind(&self, call: &Call<'_>, mut input: Decoder<'_>, out: &mut Encoder) -> Result<(), Failure> {
        let local = call.origin.local;
        match (call.procedure, call.version) {
            (1 | 2, _) => out.bool(false),
            (3, _) => out.opaque(self.address(&rpcb(&mut input)?, local, AnyVersion::Yes).as_bytes()),
            (9, 4) => out.opaque(self.address(&rpcb(&mut input)?, local, AnyVersion::No).as_bytes()),
            (4, _) => self.dump(out),
            (6, _) => out.u32(u32::try_from(self.clock.wall().as_secs()).unwrap_or(u32::MAX)),
            (7, _) => {
                let address = parse_universal(input.opaque(MAX_STRING)?);
                out.opaque(&address.map(socket_address).unwrap_or_default());
            }
            (8, _) => {
                let address = parse_socket_address(input.opaque(MAX_STRING)?);
                let text = address.map(|(ip, port)| universal(ip, port)).unwrap_or_default();
                out.opaque(text.as_bytes());
            }
            (11, 4) => self.address_list(&rpcb(&mut input)?, local, out),
            (12, 4) => put_statistics(out),
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }

    /// Where a program is, at the address that was called.
    fn address(&self, wanted: &Rpcb<'_>, local: IpAddr, any: AnyVersion) -> String {
        let known = NET_IDS.iter().any(|id| id.name.as_bytes() == wanted.net_id);
        let found = self.find(wanted.program).filter(|registration| {
            known && (any == AnyVersion::Yes || registration.versions.contains(&wanted.version))
        });
        found.map(|registration| universal(local, registration.port)).unwrap_or_default()
    }

    fn dump(&self, out: &mut Encoder) {
        for (program, version, port) in self.each() {
            for id in NET_IDS {
                out.bool(true);
                out.u32(program);
                out.u32(version);
                out.opaque(id.name.as_bytes());
                out.opaque(universal(id.any, port).as_bytes());
                out.opaque(OWNER.as_bytes());
            }
        }
        out.bool(false);
    }

    fn address_list(&self, wanted: &Rpcb<'_>, local: IpAddr, out: &mut Encoder) {
        let found = self.find(wanted.program).filter(|one| one.versions.contains(&wanted.version));
        let same_family = |id: &&NetId| id.any.is_ipv4() == local.is_ipv4();
        for id in found.iter().flat_map(|_| NET_IDS.iter().filter(same_family)) {
            let port = found.map_or(0, |registration| registration.port);
            out.bool(true);
            out.opaque(universal(local, port).as_bytes());
            out.opaque(id.name.as_bytes());
            // Semantics: connectionless 1, connection-oriented with orderly release 3.
            out.u32(if id.protocol == TCP { 3 } else { 1 });
            out.opaque(id.family.as_bytes());
            out.opaque(if id.protocol == TCP { b"tcp" } else { b"udp" });
        }
        out.bool(false);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AnyVersion {
    Yes,
    No,
}

impl Service for Rpcbind {
    fn programs(&self) -> &[Program] {
        &[Program { number: RPCBIND_PROGRAM, versions: &[2, 3, 4] }]
    }

    async fn call(&self, call: &Call<'_>, input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        match call.version {
            2 => self.portmapper(call.procedure, input, reply.results()),
            _ => self.rpcbind(call, input, reply.results()),
        }
    }
}

fn rpcb<'a>(input: &mut Decoder<'a>) -> Result<Rpcb<'a>, DecodeError> {
    let (program, version) = (input.u32()?, input.u32()?);
    let net_id = input.opaque(MAX_STRING)?;
    let (_address, _owner) = (input.opaque(MAX_STRING)?, input.opaque(MAX_STRING)?);
    Ok(Rpcb { program, version, net_id })
}

/// Statistics (`rpcb_stat_byvers`) of versions 2, 3 and 4: none are kept.
fn put_statistics(out: &mut Encoder) {
    /// Procedures of a version that are counted.
    const COUNTED: usize = 13;
    for _version in 0..3 {
        for _procedure in 0..COUNTED {
            out.u32(0);
        }
        out.u32(0);
        out.u32(0);
        out.bool(false);
        out.bool(false);
    }
}

/// Address and port as text (RFC 5665 section 5.2.3): `10.0.0.1.8.1` is port 2049.
fn universal(address: IpAddr, port: u16) -> String {
    let [high, low] = port.to_be_bytes();
    format!("{address}.{high}.{low}")
}

pub(crate) fn parse_universal(text: &[u8]) -> Option<(IpAddr, u16)> {
    let text = core::str::from_utf8(text).ok()?;
    let (rest, low) = text.rsplit_once('.')?;
    let (address, high) = rest.rsplit_once('.')?;
    Some((address.parse().ok()?, u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?])))
}

/// The bytes of a `sockaddr_in` or `sockaddr_in6` as they are on Linux x86, which is what TADDR2UADDR
/// exchanges.
fn socket_address((address, port): (IpAddr, u16)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    bytes.extend_from_slice(&(if address.is_ipv4() { 2u16 } else { 10 }).to_le_bytes());
    bytes.extend_from_slice(&port.to_be_bytes());
    match address {
        IpAddr::V4(address) => {
            bytes.extend_from_slice(&address.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        IpAddr::V6(address) => {
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&address.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    bytes
}

fn parse_socket_address(bytes: &[u8]) -> Option<(IpAddr, u16)> {
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match bytes.first()? {
        2 => Some((IpAddr::from(*bytes.get(4..)?.first_chunk::<4>()?), port)),
        10 => Some((IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?), port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn universal_addresses_round_trip() {
        for (address, text) in [("10.0.0.1", "10.0.0.1.8.1"), ("fd00::1", "fd00::1.8.1")] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(universal(address, 2049), text);
            assert_eq!(parse_universal(text.as_bytes()), Some((address, 2049)));
            assert_eq!(parse_socket_address(&socket_address((address, 2049))), Some((address, 2049)));
        }
        assert_eq!(parse_universal(b"10.0.0.1.8.256"), None);
        assert_eq!(parse_universal(b"x"), None);
        assert_eq!(parse_socket_address(&[2, 0, 0]), None);
    }
}
