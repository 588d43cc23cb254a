//! The grammar of `ip=`.

use super::ConfigError;
use crate::addr::{Cidr, is_host};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// How an interface gets its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Autoconf {
    /// As written (`off`, `none`, `static`).
    #[default]
    Off,
    /// From a DHCP server (`dhcp`, `on`, `any`).
    Dhcp,
}

/// One `ip=` option.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IpOption {
    /// Our address and its network.
    pub address: Option<Cidr>,
    /// Linux: the NFS root server. Not used here.
    pub server: Option<IpAddr>,
    /// Default router.
    pub gateway: Option<IpAddr>,
    /// Our name.
    pub hostname: Option<String>,
    /// The interface; see the module documentation for what is meant without one.
    pub device: Option<String>,
    /// DHCP or not.
    pub autoconf: Autoconf,
    /// At most two DNS servers.
    pub nameservers: Vec<IpAddr>,
    /// An NTP server.
    pub ntp: Option<IpAddr>,
}

impl IpOption {
    /// Reads the value of `ip=`.
    pub fn parse(value: &str) -> Result<IpOption, ConfigError> {
        let fields = fields(value)?;
        match fields.as_slice() {
            [word] if !word.contains('/') && word.parse::<IpAddr>().is_err() => {
                Ok(IpOption { autoconf: autoconf(word)?, ..IpOption::default() })
            }
            [first, ..] if first.contains('/') => short(&fields, value),
            [device, method] if address("device", device).is_err() && autoconf(method).is_ok() => {
                let device = Some(self::device(device)?);
                Ok(IpOption { device, autoconf: autoconf(method)?, ..IpOption::default() })
            }
            _ => full(&fields, value),
        }
    }
}

/// `address/prefix[:device[:autoconf]]`.
fn short(fields: &[&str], value: &str) -> Result<IpOption, ConfigError> {
    const FORM: &str = "<address>/<prefix>, optionally followed by :<device>";
    let cidr: Cidr = fields[0].parse().map_err(|_| ConfigError::new("address", fields[0], FORM))?;
    if !is_host(cidr.addr) {
        return Err(ConfigError::new("address", fields[0], "an address that an interface can have"));
    }
    let mut option = IpOption { address: Some(cidr), ..IpOption::default() };
    match fields[1..] {
        [] => {}
        [device] => option.device = Some(self::device(device)?),
        _ => return Err(ConfigError::new("ip", value, FORM)),
    }
    Ok(option)
}

/// The ten fields of Linux, of which any number from the end may be missing.
fn full(fields: &[&str], value: &str) -> Result<IpOption, ConfigError> {
    if fields.len() > 10 {
        return Err(ConfigError::new(
            "ip",
            value,
            "at most ten fields separated by \":\" (IPv6 in brackets)",
        ));
    }
    let field = |n: usize| fields.get(n).copied().filter(|text| !text.is_empty());
    let client = field(0).map(|text| address("client address", text)).transpose()?;
    // Linux: an unspecified client address means "not known".
    let client = client.filter(|client| !client.is_unspecified());
    let mask = field(3);
    let optional = |n: usize, name: &'static str| {
        let parsed = field(n).map(|text| address(name, text)).transpose();
        parsed.map(|addr: Option<IpAddr>| addr.filter(|addr| !addr.is_unspecified()))
    };
    let method = field(6).map(autoconf).transpose()?;
    let mut option = IpOption {
        address: client.map(|client| with_mask(client, mask)).transpose()?,
        server: optional(1, "server address")?,
        gateway: optional(2, "gateway")?,
        hostname: field(4).map(hostname).transpose()?,
        device: field(5).map(device).transpose()?,
        // As in Linux, an address that is not given is asked for.
        autoconf: method.unwrap_or(if client.is_none() { Autoconf::Dhcp } else { Autoconf::Off }),
        nameservers: Vec::new(),
        ntp: optional(9, "NTP server")?,
    };
    option.nameservers.extend(optional(7, "DNS server")?);
    option.nameservers.extend(optional(8, "DNS server")?);
    Ok(option)
}

/// An address with a netmask, which may be written as a prefix length; without one the classful mask
/// (as Linux does), or 64 bits.
fn with_mask(addr: IpAddr, mask: Option<&str>) -> Result<Cidr, ConfigError> {
    if !is_host(addr) {
        let text = alloc::format!("{addr}");
        return Err(ConfigError::new("client address", &text, "an address that an interface can have"));
    }
    let prefix = match (addr, mask) {
        (_, Some(mask)) => prefix_len(mask, addr.is_ipv4()),
        (IpAddr::V4(addr), None) => Some(match addr.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            _ => 24,
        }),
        (IpAddr::V6(_), None) => Some(64),
    };
    let accepted = "a netmask like 255.255.255.0 or a prefix length";
    let wrong = || ConfigError::new("netmask", mask.unwrap_or(""), accepted);
    prefix.and_then(|prefix| Cidr::new(addr, prefix)).ok_or_else(wrong)
}

fn prefix_len(text: &str, v4: bool) -> Option<u8> {
    if let Ok(prefix) = text.parse::<u8>() {
        return Some(prefix);
    }
    let bits = text.parse::<Ipv4Addr>().ok().filter(|_| v4)?.to_bits();
    (bits.leading_ones() == bits.count_ones()).then_some(bits.leading_ones() as u8)
}

/// Splits at the colons that are not inside brackets.
pub(super) fn fields(value: &str) -> Result<Vec<&str>, ConfigError> {
    let (mut fields, mut start, mut depth) = (Vec::new(), 0, 0i32);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            b':' if depth == 0 => {
                fields.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if !(0..=1).contains(&depth) {
            break;
        }
    }
    if depth != 0 {
        return Err(ConfigError::new("ip", value, "balanced in its brackets"));
    }
    fields.push(&value[start..]);
    Ok(fields)
}

/// An address; IPv6 in brackets or, where nothing follows, without.
pub(super) fn address(field: &'static str, text: &str) -> Result<IpAddr, ConfigError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| ConfigError::new(field, text, "an IP address (IPv6 in brackets)"))
}

/// The name of an interface.
pub(super) fn device(text: &str) -> Result<String, ConfigError> {
    let valid = (1..16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if valid && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::new("device", text, "an interface name like eth0"))
    }
}

/// A host name (RFC 1123 section 2.1).
pub(super) fn hostname(text: &str) -> Result<String, ConfigError> {
    let valid = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(valid) {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::new("hostname", text, "a name of letters, digits, \"-\" and \".\""))
    }
}

fn autoconf(text: &str) -> Result<Autoconf, ConfigError> {
    match text {
        "dhcp" | "on" | "any" => Ok(Autoconf::Dhcp),
        "off" | "none" | "static" => Ok(Autoconf::Off),
        _ => Err(ConfigError::new("autoconf", text, "dhcp, on, any, off, none or static")),
    }
}
