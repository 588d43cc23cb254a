//! Which frames to capture, in the words of pcap-filter(7), without its parentheses and arithmetic.

use crate::addr::Cidr;
use crate::ip::header::{be16, protocol};
use crate::link::{ETH_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::iter::Peekable;
use core::net::IpAddr;
use keelson_hal::MacAddress;

/// Most conditions of a filter: each is looked at for every frame.
const TERMS_MAX: usize = 16;
/// Byte of the IPv6 header that names what follows it, and the header's length (RFC 8200 section 3).
const V6_NEXT: usize = 6;
const V6_HEADER: usize = 40;
/// ICMPv6 (RFC 4443 section 1).
const ICMP_V6: u8 = 58;

/// One condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Primitive {
    EtherType(u16),
    Protocol(u8),
    Mac(MacAddress),
    Net(Cidr),
    /// Of TCP or UDP, or of one of them.
    Port(Option<u8>, u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Term {
    /// Joined to those before it by `or`, not by `and`.
    is_alternative: bool,
    is_negated: bool,
    primitive: Primitive,
}

/// A condition on frames. The default lets all of them pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    terms: Vec<Term>,
}

/// What is wrong with the words of a filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FilterError {
    /// This word begins no condition.
    Unknown(String),
    /// The condition wants a value of this kind and has this word, or nothing.
    Value(&'static str, String),
    /// There is no `and` or `or` before this word.
    Join(String),
    /// More conditions than are taken.
    TooMany,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Unknown(word) => write!(
                f,
                "{word:?} begins no condition: host ADDR, net ADDR/PREFIX, [tcp|udp] port N, ether host MAC, ether proto N, arp, ip, ip6, \
                 tcp, udp, icmp or icmp6, each perhaps behind not"
            ),
            FilterError::Value(kind, word) => write!(f, "{word:?} is not {kind}"),
            FilterError::Join(word) => write!(f, "{word:?}: conditions are joined by and, or or"),
            FilterError::TooMany => write!(f, "more than {TERMS_MAX} conditions"),
        }
    }
}

impl core::error::Error for FilterError {}

impl Filter {
    /// Reads a filter: conditions, each perhaps negated, joined by `and` and `or`, which bind alike and from the left, as
    /// they do in pcap-filter(7). No words are the filter that lets everything pass.
    ///
    /// # Errors
    ///
    /// Says which word is not understood.
    pub fn parse(words: &[&str]) -> Result<Filter, FilterError> {
        let mut terms = Vec::new();
        let mut words = words.iter().copied().peekable();
        while let Some(mut word) = words.next() {
            let mut is_alternative = false;
            if !terms.is_empty() {
                is_alternative = match word {
                    "and" | "&&" => false,
                    "or" | "||" => true,
                    other => return Err(FilterError::Join(other.to_string())),
                };
                word = words.next().unwrap_or("");
            }
            let mut is_negated = false;
            while let "not" | "!" = word {
                is_negated = !is_negated;
                word = words.next().unwrap_or("");
            }
            if terms.len() == TERMS_MAX {
                return Err(FilterError::TooMany);
            }
            terms.push(Term { is_alternative, is_negated, primitive: primitive(word, &mut words)? });
        }
        Ok(Filter { terms })
    }

    /// Whether it asks for a TCP or UDP port.
    pub fn names_port(&self, port: u16) -> bool {
        self.terms.iter().any(|term| matches!(term.primitive, Primitive::Port(_, named) if named == port))
    }

    /// The same without what goes over a TCP port.
    pub fn without_tcp_port(mut self, port: u16) -> Filter {
        let primitive = Primitive::Port(Some(protocol::TCP), port);
        self.terms.push(Term { is_alternative: false, is_negated: true, primitive });
        self
    }

    /// Whether a frame, Ethernet header first, passes.
    pub fn matches(&self, frame: &[u8]) -> bool {
        let mut result = true;
        for term in &self.terms {
            // What is decided already needs no look.
            if result == term.is_alternative {
                continue;
            }
            result = term.primitive.matches(frame) != term.is_negated;
        }
        result
    }
}

fn primitive<'a>(
    word: &str,
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
) -> Result<Primitive, FilterError> {
    let port = |word: &str| word.parse().map_err(|_| FilterError::Value("a port", word.to_string()));
    let of_protocol = match word {
        "tcp" => Some(protocol::TCP),
        "udp" => Some(protocol::UDP),
        _ => None,
    };
    if of_protocol.is_some() && words.next_if_eq(&"port").is_some() {
        return Ok(Primitive::Port(of_protocol, port(words.next().unwrap_or(""))?));
    }
    let mut value = || words.next().unwrap_or("");
    Ok(match word {
        "arp" => Primitive::EtherType(ETHERTYPE_ARP),
        "ip" => Primitive::EtherType(ETHERTYPE_IPV4),
        "ip6" => Primitive::EtherType(ETHERTYPE_IPV6),
        "tcp" => Primitive::Protocol(protocol::TCP),
        "udp" => Primitive::Protocol(protocol::UDP),
        "icmp" => Primitive::Protocol(protocol::ICMP),
        "icmp6" => Primitive::Protocol(ICMP_V6),
        "port" => Primitive::Port(None, port(value())?),
        "host" => {
            let word = value();
            let addr: IpAddr =
                word.parse().map_err(|_| FilterError::Value("an address", word.to_string()))?;
            Primitive::Net(Cidr { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } })
        }
        "net" => {
            let word = value();
            Primitive::Net(word.parse().map_err(|_| FilterError::Value("ADDRESS/PREFIX", word.to_string()))?)
        }
        "ether" => match value() {
            "host" => {
                let word = value();
                Primitive::Mac(
                    mac(word).ok_or_else(|| FilterError::Value("an Ethernet address", word.to_string()))?,
                )
            }
            "proto" => {
                let word = value();
                let number = match word.strip_prefix("0x") {
                    Some(digits) => u16::from_str_radix(digits, 16),
                    None => word.parse(),
                };
                Primitive::EtherType(
                    number.map_err(|_| FilterError::Value("an EtherType", word.to_string()))?,
                )
            }
            other => return Err(FilterError::Value("host or proto", other.to_string())),
        },
        other => return Err(FilterError::Unknown(other.to_string())),
    })
}

fn mac(text: &str) -> Option<MacAddress> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddress(bytes))
}

impl Primitive {
    fn matches(self, frame: &[u8]) -> bool {
        let Some((header, payload)) = frame.split_at_checked(ETH_HEADER) else { return false };
        let ethertype = be16(header, 12);
        match self {
            Primitive::EtherType(wanted) => ethertype == wanted,
            Primitive::Mac(mac) => header[..6] == mac.0 || header[6..12] == mac.0,
            Primitive::Protocol(wanted) => transport(ethertype, payload).is_some_and(|(is, _)| is == wanted),
            Primitive::Net(net) => addresses(ethertype, payload)
                .is_some_and(|pair| pair.iter().any(|address| net.contains(*address))),
            Primitive::Port(of, wanted) => {
                transport(ethertype, payload).is_some_and(|(protocol, segment)| {
                    of.map_or(matches!(protocol, protocol::TCP | protocol::UDP), |of| of == protocol)
                        && segment.len() >= 4
                        && (be16(segment, 0) == wanted || be16(segment, 2) == wanted)
                })
            }
        }
    }
}

/// The protocol of an IP packet and what follows its header: nothing behind a fragment other than the first.
fn transport(ethertype: u16, packet: &[u8]) -> Option<(u8, &[u8])> {
    match ethertype {
        ETHERTYPE_IPV4 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let is_first = be16(packet.get(..8)?, 6) & 0x1fff == 0;
            let segment = if is_first { packet.get(header..)? } else { &[] };
            Some((*packet.get(9)?, segment))
        }
        ETHERTYPE_IPV6 => Some((*packet.get(V6_NEXT)?, packet.get(V6_HEADER..)?)),
        _ => None,
    }
}

/// Source and destination of an IP packet, sender and target of ARP.
fn addresses(ethertype: u16, packet: &[u8]) -> Option<[IpAddr; 2]> {
    let v4 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
    Some(match ethertype {
        ETHERTYPE_IPV4 => [v4(12)?, v4(16)?],
        ETHERTYPE_ARP => [v4(14)?, v4(24)?],
        ETHERTYPE_IPV6 => [v6(8)?, v6(24)?],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn filter(line: &str) -> Result<Filter, FilterError> {
        Filter::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// An IPv4 packet from 10.0.0.1 to 10.0.0.2 from port 1000 to 22.
    fn v4(protocol: u8, fragment: u16) -> Vec<u8> {
        let mut packet = [0; 28];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[1000u16.to_be_bytes(), 22u16.to_be_bytes()].concat());
        ethernet(ETHERTYPE_IPV4, &packet)
    }

    #[test]
    fn frames_pass_as_tcpdump_lets_them() {
        let tcp = v4(protocol::TCP, 0);
        for (line, passes) in [
            ("", true),
            ("tcp", true),
            ("udp", false),
            ("not udp", true),
            ("not not udp", false),
            ("port 22", true),
            ("port 1000 and host 10.0.0.2", true),
            ("tcp port 22", true),
            ("udp port 22 or arp", false),
            ("port 23", false),
            ("not port 22", false),
            ("net 10.0.0.0/8", true),
            ("net 11.0.0.0/8 or ip", true),
            // From the left: (tcp or arp) and udp.
            ("tcp or arp and udp", false),
            ("udp and arp or tcp", true),
            ("ether host 02:00:00:00:00:02 && ether proto 0x800", true),
            ("ether host 02:00:00:00:00:03", false),
            ("ip6 || icmp", false),
        ] {
            assert_eq!(filter(line).unwrap().matches(&tcp), passes, "{line}");
        }
        let later_fragment = v4(protocol::TCP, 100);
        assert!(filter("tcp").unwrap().matches(&later_fragment));
        assert!(!filter("port 22").unwrap().matches(&later_fragment));
        assert!(filter("ether proto 33284").unwrap().matches(&ethernet(0x8204, &[])));
        assert!(filter("port 22").unwrap().names_port(22));
        assert!(!filter("tcp or arp").unwrap().without_tcp_port(22).matches(&tcp));
        assert!(filter("tcp or arp").unwrap().without_tcp_port(23).matches(&tcp));
    }

    #[test]
    fn arp_and_version_6_have_addresses() {
        let mut arp = [0; 28];
        arp[24..28].copy_from_slice(&[10, 0, 0, 9]);
        assert!(filter("host 10.0.0.9").unwrap().matches(&ethernet(ETHERTYPE_ARP, &arp)));
        let mut packet = [0; 44];
        packet[V6_NEXT] = ICMP_V6;
        packet[8..24].copy_from_slice(&"fe80::1".parse::<core::net::Ipv6Addr>().unwrap().octets());
        let frame = ethernet(ETHERTYPE_IPV6, &packet);
        assert!(filter("icmp6 and host fe80::1 and net fe80::/64").unwrap().matches(&frame));
        assert!(!filter("icmp").unwrap().matches(&frame));
    }

    #[test]
    fn mistakes_are_named() {
        let many = format!("arp{}", " or arp".repeat(TERMS_MAX));
        for (line, error) in [
            ("tpc", FilterError::Unknown("tpc".into())),
            ("not", FilterError::Unknown("".into())),
            ("tcp and", FilterError::Unknown("".into())),
            ("ip port 22", FilterError::Join("port".into())),
            ("port ssh", FilterError::Value("a port", "ssh".into())),
            ("host", FilterError::Value("an address", "".into())),
            ("net 10", FilterError::Value("ADDRESS/PREFIX", "10".into())),
            ("ether dst x", FilterError::Value("host or proto", "dst".into())),
            ("ether host 1:2:3", FilterError::Value("an Ethernet address", "1:2:3".into())),
            ("ether proto 0x", FilterError::Value("an EtherType", "0x".into())),
            (&many, FilterError::TooMany),
        ] {
            assert_eq!(filter(line), Err(error), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_frame_upsets_it(frame in proptest::collection::vec(0u8.., 0..80), ethertype in 0usize..4) {
            let filter = filter("not tcp and not port 1 and not host 1.2.3.4 and not icmp6 and not net ::/1").unwrap();
            let mut frame = frame;
            if frame.len() > 14 && ethertype < 3 {
                let wanted = [ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP][ethertype];
                frame[12..14].copy_from_slice(&wanted.to_be_bytes());
            }
            filter.matches(&frame);
        }
    }
}
