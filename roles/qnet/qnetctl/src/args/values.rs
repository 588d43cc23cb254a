//! Values of options and operands.

use super::UsageError;
use crate::transport::{Ends, Peer};
use keelson_qnet_wire::frame::Mac;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

fn refused(name: &str, value: &str, remedy: &str) -> UsageError {
    UsageError::new(format!("{name}: \"{value}\" is no value for it; {remedy}"))
}

/// A number, decimal, or hexadecimal behind 0x.
pub fn number<T>(name: &str, value: &str) -> Result<T, UsageError>
where
    T: FromStr + TryFrom<u64>,
{
    let hexadecimal = value
        .strip_prefix("0x")
        .map(|digits| u64::from_str_radix(digits, 16).ok().and_then(|number| T::try_from(number).ok()));
    hexadecimal
        .unwrap_or_else(|| value.parse().ok())
        .ok_or_else(|| refused(name, value, "give a number, such as 7 or 0x1f, that is in its range"))
}

/// Seconds, with a fraction perhaps.
pub fn seconds(name: &str, value: &str) -> Result<Duration, UsageError> {
    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| refused(name, value, "give seconds, such as 2 or 0.5"))
}

/// Milliseconds, with a fraction perhaps.
pub fn milliseconds(name: &str, value: &str) -> Result<Duration, UsageError> {
    let span = value.parse::<f64>().ok().and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    span.ok_or_else(|| refused(name, value, "give milliseconds, such as 2 or 0.5"))
}

/// A probability.
pub fn probability(name: &str, value: &str) -> Result<f64, UsageError> {
    let parsed = match value.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok().map(|percent| percent / 100.0),
        None => value.parse().ok(),
    };
    parsed
        .filter(|probability| (0.0..=1.0).contains(probability))
        .ok_or_else(|| refused(name, value, "give a probability from 0 to 1, or a percentage, such as 5%"))
}

/// An Ethernet address of one station.
pub fn mac(name: &str, value: &str) -> Result<Mac, UsageError> {
    let parts: Option<Vec<u8>> = value.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let mac: Option<[u8; 6]> = parts.and_then(|parts| parts.try_into().ok());
    mac.filter(|mac| mac[0] & 1 == 0)
        .map(Mac)
        .ok_or_else(|| refused(name, value, "give the address of one station, such as 02:00:00:00:00:01"))
}

/// An IPv4 address.
pub fn ipv4(name: &str, value: &str) -> Result<Ipv4Addr, UsageError> {
    value.parse().map_err(|_| refused(name, value, "give an IPv4 address, such as 10.0.0.1"))
}

/// A node and its address.
pub fn host(name: &str, value: &str) -> Result<(String, Ipv4Addr), UsageError> {
    let (node, address) = value
        .split_once('=')
        .ok_or_else(|| refused(name, value, "give NODE=ADDRESS, such as beta=10.0.0.2"))?;
    Ok((node.to_string(), ipv4(name, address)?))
}

/// Where a stream leads: the address, and whether to wait there.
pub fn stream(name: &str, value: &str) -> Result<(Peer, bool), UsageError> {
    let (address, listens) = match value.strip_prefix("listen:") {
        Some(address) => (address, true),
        None => (value, false),
    };
    let peer = match (unix(address), address.parse()) {
        (Some(path), _) => Peer::Unix(path),
        (None, Ok(address)) => Peer::Inet(address),
        _ => return Err(refused(name, value, "give HOST:PORT, a path with a slash, or listen: and either")),
    };
    Ok((peer, listens))
}

/// Both ends of datagrams.
pub fn datagrams(name: &str, value: &str) -> Result<Ends, UsageError> {
    let refuse = || refused(name, value, "give OURS,QEMUS as HOST:PORT or paths, or one multicast address");
    let Some((ours, theirs)) = value.split_once(',') else {
        return match value.parse() {
            Ok(SocketAddr::V4(group)) if group.ip().is_multicast() => Ok(Ends::Group(group)),
            _ => Err(refuse()),
        };
    };
    if let (Some(ours), Some(theirs)) = (unix(ours), unix(theirs)) {
        return Ok(Ends::Unix(ours, theirs));
    }
    let (ours, theirs): (SocketAddr, SocketAddr) =
        (ours.parse().map_err(|_| refuse())?, theirs.parse().map_err(|_| refuse())?);
    let same =
        matches!((ours.ip(), theirs.ip()), (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)));
    if same { Ok(Ends::Inet(ours, theirs)) } else { Err(refuse()) }
}

fn unix(value: &str) -> Option<PathBuf> {
    let path = value.strip_prefix("unix:").or_else(|| value.contains('/').then_some(value))?;
    Some(PathBuf::from(path))
}

/// Bytes as hexadecimal digits; blanks and colons between them are left out.
pub fn hex(name: &str, value: &str) -> Result<Vec<u8>, UsageError> {
    let refuse = || refused(name, value, "give pairs of hexadecimal digits, such as 0b016f6b");
    let digits: Option<Vec<u8>> = value
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(refuse)?;
    Ok(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
