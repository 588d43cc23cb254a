//! Names: a table of hosts, and a stub resolver (RFC 1035) for the rest.
//!
//! Queries go from a fresh random port with a random transaction number, so that an answer cannot be forged
//! without seeing the question. An answer counts when it comes from the server asked and repeats the
//! question. Not here: caching, search lists, TCP after a truncated answer (what came is used), DNSSEC.

use crate::registry::InterfaceId;
use crate::stack::{Shared, Stack};
use crate::udp::{UdpOptions, UdpSocket};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use smoltcp::wire::{
    DnsFlags, DnsOpcode, DnsPacket, DnsQueryType, DnsQuestion, DnsRcode, DnsRecord, DnsRecordData, DnsRepr,
};

const DNS_PORT: u16 = 53;
/// How long each server is waited for, and how often the list is gone through.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// Longest name in wire form (RFC 1035 section 2.3.4), and longest label.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// Answers looked at, and links of a CNAME chain followed.
const MAX_RECORDS: usize = 64;
/// Servers asked.
const MAX_SERVERS: usize = 4;

/// Why a name or address was not resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResolveError {
    /// Not a host name.
    InvalidName,
    /// No server is known.
    NoServer,
    /// No server answered.
    TimedOut,
    /// The name does not exist, or has no address.
    NotFound,
    /// The servers could not say.
    ServerFailed,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResolveError::InvalidName => "not a host name",
            ResolveError::NoServer => "no name server is configured (nameserver=)",
            ResolveError::TimedOut => "no name server answered",
            ResolveError::NotFound => "no such host",
            ResolveError::ServerFailed => "the name servers failed",
        })
    }
}

impl core::error::Error for ResolveError {}

/// Hosts, servers, our own name.
#[derive(Default)]
pub(crate) struct Names {
    servers: Vec<IpAddr>,
    /// Servers from leases, asked after the configured ones.
    leased: Vec<(InterfaceId, IpAddr)>,
    hosts: Vec<(String, IpAddr)>,
    pub hostname: String,
}

impl Names {
    /// Replaces the servers that came with the lease of an interface.
    pub fn set_leased(&mut self, id: InterfaceId, servers: &[Ipv4Addr]) {
        self.leased.retain(|(interface, _)| *interface != id);
        self.leased.extend(servers.iter().map(|server| (id, IpAddr::V4(*server))));
    }

    fn servers(&self) -> Vec<IpAddr> {
        let all = self.servers.iter().chain(self.leased.iter().map(|(_, server)| server));
        let mut servers: Vec<IpAddr> = Vec::new();
        for server in all {
            if !servers.contains(server) && servers.len() < MAX_SERVERS {
                servers.push(*server);
            }
        }
        servers
    }
}

impl Stack {
    /// Adds a name server, to be asked after those already known.
    pub fn add_nameserver(&self, server: IpAddr) {
        let mut state = self.shared.state.borrow_mut();
        if !state.names.servers.contains(&server) {
            state.names.servers.push(server);
        }
    }

    /// The name servers in the order they are asked.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        self.shared.state.borrow().names.servers()
    }

    /// Sets our own name, as told to DHCP servers.
    pub fn set_hostname(&self, name: &str) {
        self.shared.state.borrow_mut().names.hostname = name.to_string();
    }

    /// Our own name: configured, or from a lease; empty when unknown.
    pub fn hostname(&self) -> String {
        self.shared.state.borrow().names.hostname.clone()
    }

    /// Adds a line of the hosts table, which is looked at before any server.
    pub fn add_host(&self, name: &str, addr: IpAddr) {
        self.shared.state.borrow_mut().names.hosts.push((name.to_string(), addr));
    }

    /// The addresses of a host; IPv4 first. A literal address is its own.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Ok(addr) = name.parse() {
            return Ok(vec![addr]);
        }
        let known: Vec<IpAddr> = {
            let state = self.shared.state.borrow();
            let own = state.names.hosts.iter().filter(|(host, _)| host.eq_ignore_ascii_case(name));
            own.map(|(_, addr)| *addr).collect()
        };
        if !known.is_empty() {
            return Ok(known);
        }
        let wire = encode_name(name).ok_or(ResolveError::InvalidName)?;
        let mut found = Vec::new();
        let mut failure = None;
        for kind in [DnsQueryType::A, DnsQueryType::Aaaa] {
            match query(&self.shared, &wire, kind).await {
                Ok(answer) => found.extend(answer.addresses),
                Err(error) => failure = failure.or(Some(error)),
            }
            // A server that does not answer one question will not answer the next.
            if failure == Some(ResolveError::TimedOut) {
                break;
            }
        }
        if found.is_empty() { Err(failure.unwrap_or(ResolveError::NotFound)) } else { Ok(found) }
    }

    /// The name of a host.
    pub async fn reverse(&self, addr: IpAddr) -> Result<String, ResolveError> {
        let known = {
            let state = self.shared.state.borrow();
            state.names.hosts.iter().find(|(_, own)| *own == addr).map(|(host, _)| host.clone())
        };
        if let Some(name) = known {
            return Ok(name);
        }
        let wire = encode_name(&reverse_name(addr)).ok_or(ResolveError::InvalidName)?;
        let answer = query(&self.shared, &wire, DnsQueryType::Unknown(TYPE_PTR)).await?;
        answer.name.ok_or(ResolveError::NotFound)
    }
}

/// PTR (RFC 1035 section 3.2.2).
const TYPE_PTR: u16 = 12;

/// What an answer said.
#[derive(Default, Debug, PartialEq, Eq)]
struct Answer {
    addresses: Vec<IpAddr>,
    name: Option<String>,
}

/// Asks the servers in turn.
async fn query(
    shared: &alloc::rc::Rc<Shared>,
    name: &[u8],
    kind: DnsQueryType,
) -> Result<Answer, ResolveError> {
    let servers = shared.state.borrow().names.servers();
    if servers.is_empty() {
        return Err(ResolveError::NoServer);
    }
    let mut failure = ResolveError::TimedOut;
    for _ in 0..ROUNDS {
        for server in &servers {
            let socket = UdpSocket::bind(shared.clone(), 0, UdpOptions { queue: 8, ..UdpOptions::default() });
            let Ok(socket) = socket else { return Err(ResolveError::ServerFailed) };
            let id = shared.entropy.next_u64() as u16;
            let peer = SocketAddr::new(*server, DNS_PORT);
            if socket.send(None, peer, &question(id, name, kind)).is_err() {
                continue;
            }
            let answer = async {
                loop {
                    let datagram = socket.receive().await;
                    if datagram.peer == peer
                        && let Some(outcome) = parse(&datagram.payload, id, name, kind)
                    {
                        return outcome;
                    }
                }
            };
            match shared.handle.timeout(PATIENCE, answer).await {
                Ok(Err(ResolveError::ServerFailed)) => failure = ResolveError::ServerFailed,
                Ok(outcome) => return outcome,
                Err(_) => {}
            }
        }
    }
    Err(failure)
}

fn question(id: u16, name: &[u8], kind: DnsQueryType) -> Vec<u8> {
    let repr = DnsRepr {
        transaction_id: id,
        opcode: DnsOpcode::Query,
        flags: DnsFlags::RECURSION_DESIRED,
        question: DnsQuestion { name, type_: kind },
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DnsPacket::new_unchecked(&mut bytes[..]));
    bytes
}

/// Reads an answer; `None` when it does not belong to the question.
fn parse(bytes: &[u8], id: u16, name: &[u8], kind: DnsQueryType) -> Option<Result<Answer, ResolveError>> {
    let packet = DnsPacket::new_checked(bytes).ok()?;
    let is_answer = packet.flags().contains(DnsFlags::RESPONSE) && packet.opcode() == DnsOpcode::Query;
    if packet.transaction_id() != id || !is_answer || packet.question_count() != 1 {
        return None;
    }
    let (mut rest, asked) = DnsQuestion::parse(packet.payload()).ok()?;
    if asked.type_ != kind || !same_name(&packet, asked.name, name) {
        return None;
    }
    match packet.rcode() {
        DnsRcode::NoError => {}
        DnsRcode::NXDomain => return Some(Err(ResolveError::NotFound)),
        _ => return Some(Err(ResolveError::ServerFailed)),
    }
    let mut answer = Answer::default();
    // The chain of aliases ends at this name; records come in order in practice, and are used only then.
    let mut owner = Vec::from(name);
    for _ in 0..usize::from(packet.answer_record_count()).min(MAX_RECORDS) {
        let Ok((after, record)) = DnsRecord::parse(rest) else { break };
        rest = after;
        if !same_name(&packet, record.name, &owner) {
            continue;
        }
        match record.data {
            DnsRecordData::A(addr) if kind == DnsQueryType::A => answer.addresses.push(addr.into()),
            DnsRecordData::Aaaa(addr) if kind == DnsQueryType::Aaaa => answer.addresses.push(addr.into()),
            DnsRecordData::Cname(alias) => match flatten(&packet, alias) {
                Some(alias) => owner = alias,
                None => break,
            },
            DnsRecordData::Other(DnsQueryType::Unknown(TYPE_PTR), target) if answer.name.is_none() => {
                answer.name = flatten(&packet, target).and_then(|wire| decode_name(&wire));
            }
            _ => {}
        }
    }
    let empty = answer.addresses.is_empty() && answer.name.is_none();
    Some(if empty { Err(ResolveError::NotFound) } else { Ok(answer) })
}

/// The wire form of a name that may be compressed, without compression.
fn flatten(packet: &DnsPacket<&[u8]>, name: &[u8]) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    for label in packet.parse_name(name) {
        let label = label.ok()?;
        if label.len() > MAX_LABEL || wire.len() + label.len() + 2 > MAX_NAME {
            return None;
        }
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Some(wire)
}

fn same_name(packet: &DnsPacket<&[u8]>, name: &[u8], wire: &[u8]) -> bool {
    flatten(packet, name).is_some_and(|flat| flat.eq_ignore_ascii_case(wire))
}

/// `host.domain` as labels with lengths.
fn encode_name(name: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let allowed = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if label.is_empty() || label.len() > MAX_LABEL || !allowed {
            return None;
        }
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    (wire.len() <= MAX_NAME).then_some(wire)
}

fn decode_name(wire: &[u8]) -> Option<String> {
    let (mut rest, mut name) = (wire, String::new());
    while let Some((&len, after)) = rest.split_first()
        && len > 0
    {
        let (label, next) = after.split_at_checked(len.into())?;
        if !label.iter().all(u8::is_ascii_graphic) || label.contains(&b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(core::str::from_utf8(label).ok()?);
        rest = next;
    }
    (!name.is_empty()).then_some(name)
}

/// `1.0.0.10.in-addr.arpa` (RFC 1035 section 3.5), `...ip6.arpa` (RFC 3596 section 2.5).
fn reverse_name(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, d] = addr.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(addr) => reverse_v6(addr),
    }
}

fn reverse_v6(addr: Ipv6Addr) -> String {
    let mut name = String::with_capacity(72);
    for byte in addr.octets().iter().rev() {
        name += &format!("{:x}.{:x}.", byte & 15, byte >> 4);
    }
    name + "ip6.arpa"
}

#[cfg(test)]
mod tests;
