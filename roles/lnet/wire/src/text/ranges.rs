//! Ranges of NIDs, to say whom a rule concerns (LNet specification sections 1.4 and 8.3).

use super::numbers::decimal;
use super::{Ipv4Pattern, MAX_TEXT, NumberList, Problem, Source, TextError};
use crate::names::NameError;
use crate::nid::{NetId, Nid, kind};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// Some NIDs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NidRange {
    /// `*`: all.
    All,
    /// `*@net`; also `255.255.255.255@net`, as rules for fault injection have it.
    Net(NetId),
    /// `10.0.[1-4].*@net`.
    Pattern(NetId, Ipv4Pattern),
    /// `10.0.0.0/16@net`, and single IPv6 addresses.
    Prefix(NetId, IpAddr, u8),
    /// `[1-9]@net` on networks whose addresses are numbers.
    Numbers(NetId, NumberList),
}

/// A list of ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NidRanges {
    /// The ranges as they were listed.
    pub ranges: Vec<NidRange>,
}

/// Reads ranges with white space between.
pub fn nid_ranges(text: &str) -> Result<NidRanges, TextError> {
    let source = Source::new("nids", text, MAX_TEXT)?;
    let range = |word: &str| NidRange::parse(word).map_err(|problem| source.error(word, problem));
    Ok(NidRanges { ranges: text.split_ascii_whitespace().map(range).collect::<Result<_, _>>()? })
}

impl NidRanges {
    /// Whether `nid` is in one of the ranges.
    pub fn contains(&self, nid: &Nid) -> bool {
        self.ranges.iter().any(|range| range.contains(nid))
    }
}

impl NidRange {
    fn parse(word: &str) -> Result<NidRange, Problem> {
        if word == "*" {
            return Ok(NidRange::All);
        }
        let (address, net) = match word.split_once('@') {
            Some((address, net)) => (address, net.parse().map_err(Problem::Name)?),
            None => (word, NetId::TCP),
        };
        if address == "*" || address.parse() == Ok(Ipv4Addr::BROADCAST) {
            return Ok(NidRange::Net(net));
        }
        if let Some((address, prefix)) = address.split_once('/')
            && !address.contains('[')
        {
            return prefixed(net, address, prefix);
        }
        if address.contains(':') {
            let address = address.parse().map_err(|_| Problem::Name(NameError::Address))?;
            return Ok(NidRange::Prefix(net, IpAddr::V6(address), 128));
        }
        if address.contains('.') {
            return Ok(NidRange::Pattern(net, Ipv4Pattern::parse(address)?));
        }
        let inner = match address.strip_prefix('[') {
            Some(list) => list.strip_suffix(']').ok_or(Problem::Bracket)?,
            None => address,
        };
        if net.kind() == kind::TCP {
            return Err(Problem::Range);
        }
        NumberList::parse(inner, u32::MAX).map(|numbers| NidRange::Numbers(net, numbers))
    }

    /// Whether `nid` is in the range.
    pub fn contains(&self, nid: &Nid) -> bool {
        match self {
            NidRange::All => true,
            NidRange::Net(net) => nid.net() == *net,
            NidRange::Pattern(net, pattern) => {
                nid.net() == *net && matches!(nid.ip(), Some(IpAddr::V4(ip)) if pattern.matches(ip))
            }
            NidRange::Prefix(net, start, bits) => {
                nid.net() == *net && nid.ip().is_some_and(|ip| same_prefix(ip, *start, *bits))
            }
            NidRange::Numbers(net, numbers) => {
                nid.net() == *net && nid.nid4().is_some_and(|nid4| numbers.contains(nid4 as u32))
            }
        }
    }
}

fn prefixed(net: NetId, address: &str, prefix: &str) -> Result<NidRange, Problem> {
    let address: IpAddr = address.parse().map_err(|_| Problem::Range)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = decimal(prefix).and_then(|bits| u8::try_from(bits).ok()).filter(|bits| *bits <= longest);
    let bits = bits.ok_or(Problem::Prefix)?;
    Ok(NidRange::Prefix(net, address, bits))
}

fn same_prefix(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let differ = one.to_bits() ^ other.to_bits();
            differ.leading_zeros() >= bits
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(ranges: &str, nid: &str) -> bool {
        nid_ranges(ranges).unwrap().contains(&nid.parse().unwrap())
    }

    #[test]
    fn what_ranges_contain() {
        let inside = [
            ("*", "10.0.0.1@tcp1"),
            ("*", "fd00::1@tcp"),
            ("*@tcp1", "10.0.0.1@tcp1"),
            ("*@tcp", "fd00::1@tcp"),
            ("255.255.255.255@tcp", "10.0.0.1@tcp"),
            ("10.0.[0-3].*@tcp1", "10.0.3.77@tcp1"),
            ("10.0.0.[2-8/2]", "10.0.0.4@tcp"),
            ("192.168.0.0/16@tcp", "192.168.255.1@tcp"),
            ("0.0.0.0/0@tcp", "1.2.3.4@tcp"),
            ("10.0.0.1/32@tcp", "10.0.0.1@tcp"),
            ("fd00::1@tcp", "fd00::1@tcp"),
            ("fd00::/8@tcp", "fdff::1@tcp"),
            ("[1-9]@gni", "7@gni"),
            ("7@gni", "7@gni"),
            ("10.9.9.9@tcp \n 10.0.0.1@tcp", "10.0.0.1@tcp"),
        ];
        for (ranges, nid) in inside {
            assert!(contains(ranges, nid), "{ranges} {nid}");
        }
        let outside = [
            ("", "10.0.0.1@tcp"),
            ("*@tcp1", "10.0.0.1@tcp"),
            ("10.0.[0-3].*@tcp1", "10.0.4.77@tcp1"),
            ("10.0.[0-3].*@tcp1", "10.0.3.77@tcp2"),
            ("0.0.0.0/0@tcp", "::1@tcp"),
            ("192.168.0.0/16@tcp", "192.169.0.1@tcp"),
            ("fd00::/8@tcp", "fe00::1@tcp"),
            ("[1-9]@gni", "10@gni"),
        ];
        for (ranges, nid) in outside {
            assert!(!contains(ranges, nid), "{ranges} {nid}");
        }
    }

    #[test]
    fn errors() {
        let error = |text: &str| {
            let error = nid_ranges(text).unwrap_err();
            (error.column, error.problem)
        };
        assert_eq!(error("10.0.0.1@tcp x@tcp"), (14, Problem::Range));
        assert_eq!(error("10.0.0@tcp"), (1, Problem::Pattern));
        assert_eq!(error("10.0.0.0/33@tcp"), (1, Problem::Prefix));
        assert_eq!(error("10.0.0.0/+3@tcp"), (1, Problem::Prefix));
        assert_eq!(error("10.0.*.0/8@tcp"), (1, Problem::Range));
        assert_eq!(error("fd00::/129@tcp"), (1, Problem::Prefix));
        assert_eq!(error("fd00::[1-2]@tcp"), (1, Problem::Name(NameError::Address)));
        assert_eq!(error("*@nowhere"), (1, Problem::Name(NameError::Net)));
        assert_eq!(error("[1-9]@tcp"), (1, Problem::Range));
        assert_eq!(error("[1-9@gni"), (1, Problem::Bracket));
    }
}
