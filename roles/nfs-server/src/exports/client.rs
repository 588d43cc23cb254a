//! Who an entry of an export line means.

use super::WildcardDots;
use super::netgroup::Netgroups;
use super::wildcard::matches_pattern;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

/// Priority of a kind of client; lower is more specific.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MatchClass {
    /// One host.
    Host,
    /// A network.
    Network,
    /// A name with wildcards.
    Wildcard,
    /// A netgroup.
    Netgroup,
    /// Everyone.
    Anyone,
}

/// A client as an export line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientSpec {
    /// An address.
    Address(IpAddr),
    /// A host name; a short one is of the server's own domain.
    Name(String),
    /// Addresses that agree with one in their first bits.
    Network {
        /// Any address of the network.
        address: IpAddr,
        /// Number of bits that must agree.
        prefix: u8,
    },
    /// A name with `*`, `?` or `[set]`.
    Wildcard(String),
    /// `@name`.
    Netgroup(String),
    /// `*`, or no client at all.
    Anyone,
}

impl ClientSpec {
    /// Parses the part before the parenthesis.
    pub fn parse(text: &str) -> Result<ClientSpec, String> {
        if matches!(text, "" | "*") {
            return Ok(ClientSpec::Anyone);
        }
        if let Some(group) = text.strip_prefix('@') {
            if group.is_empty() {
                return Err("client '@' names no netgroup".to_string());
            }
            return Ok(ClientSpec::Netgroup(group.to_string()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(ClientSpec::Address(address.to_canonical()));
        }
        if let Some((address, mask)) = text.split_once('/') {
            return network(address, mask).ok_or_else(|| {
                format!("client '{text}' is no network: expected a.b.c.d/prefix, a.b.c.d/mask or v6/prefix")
            });
        }
        let wild = |byte| matches!(byte, '*' | '?' | '[' | ']');
        match text
            .chars()
            .find(|byte| !(byte.is_ascii_alphanumeric() || "-_.".contains(*byte) || wild(*byte)))
        {
            Some(odd) => Err(format!("client '{text}' contains '{odd}'")),
            None if text.contains(wild) => Ok(ClientSpec::Wildcard(text.to_ascii_lowercase())),
            None => Ok(ClientSpec::Name(text.to_ascii_lowercase())),
        }
    }

    /// Its priority.
    pub fn class(&self) -> MatchClass {
        match self {
            ClientSpec::Address(_) | ClientSpec::Name(_) => MatchClass::Host,
            ClientSpec::Network { .. } => MatchClass::Network,
            ClientSpec::Wildcard(_) => MatchClass::Wildcard,
            ClientSpec::Netgroup(_) => MatchClass::Netgroup,
            ClientSpec::Anyone => MatchClass::Anyone,
        }
    }

    /// True when the client's name must be known to decide.
    pub fn needs_name(&self) -> bool {
        matches!(self, ClientSpec::Name(_) | ClientSpec::Wildcard(_) | ClientSpec::Netgroup(_))
    }

    /// Whether a client with these names is meant.
    pub fn matches(
        &self,
        client: IpAddr,
        names: &[String],
        dots: WildcardDots,
        netgroups: &Netgroups,
    ) -> bool {
        match self {
            ClientSpec::Address(address) => *address == client,
            // Hosts of many domains begin alike: a short name is nobody's here. Who has it says whoever resolves it.
            ClientSpec::Name(wanted) => names.iter().any(|name| name.eq_ignore_ascii_case(wanted)),
            ClientSpec::Network { address, prefix } => match (address, client) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    agree((a.to_bits() ^ b.to_bits()).into(), u32::from(*prefix) + 96)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => agree(a.to_bits() ^ b.to_bits(), u32::from(*prefix)),
                _ => false,
            },
            ClientSpec::Wildcard(pattern) => {
                names.iter().any(|name| matches_pattern(pattern, &name.to_ascii_lowercase(), dots))
            }
            ClientSpec::Netgroup(group) => {
                let names: Vec<String> = names.iter().cloned().chain([client.to_string()]).collect();
                netgroups.contains(group, &names)
            }
            ClientSpec::Anyone => true,
        }
    }
}

/// True when the first `prefix` of 128 bits do not differ.
fn agree(difference: u128, prefix: u32) -> bool {
    difference.leading_zeros() >= prefix
}

fn network(address: &str, mask: &str) -> Option<ClientSpec> {
    let address: IpAddr = address.parse().ok()?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match (address, mask.parse::<IpAddr>()) {
        (IpAddr::V4(_), Ok(IpAddr::V4(mask))) => {
            // Ones, then zeros.
            let ones = mask.to_bits().leading_ones();
            (ones + mask.to_bits().trailing_zeros() >= 32).then_some(ones as u8)?
        }
        _ if mask.bytes().all(|byte| byte.is_ascii_digit()) => mask.parse().ok()?,
        _ => return None,
    };
    (prefix <= widest).then_some(ClientSpec::Network { address, prefix })
}

impl fmt::Display for ClientSpec {
    /// As `showmount -e` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientSpec::Address(address) => address.fmt(f),
            ClientSpec::Name(text) | ClientSpec::Wildcard(text) => f.write_str(text),
            ClientSpec::Network { address, prefix } => write!(f, "{address}/{prefix}"),
            ClientSpec::Netgroup(name) => write!(f, "@{name}"),
            ClientSpec::Anyone => f.write_str("*"),
        }
    }
}
