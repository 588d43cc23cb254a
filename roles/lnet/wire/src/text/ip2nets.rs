//! `ip2nets=`: one text for all nodes, from which each picks its networks by its addresses (LNet
//! specification section 1.6).

use super::numbers::decimal;
use super::{MAX_TEXT, NetworkSpec, NumberList, Problem, Source, TextError, networks};
use crate::nid::NetId;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// The entries of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ip2Nets {
    /// In the order in which they are tested.
    pub entries: Vec<Ip2NetsEntry>,
}

/// Networks for the nodes that have one of some addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ip2NetsEntry {
    /// What such a node is on.
    pub networks: Vec<NetworkSpec>,
    /// Patterns of which one must match one of the node's addresses.
    pub patterns: Vec<Ipv4Pattern>,
}

/// Four parts, each with the numbers that match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ipv4Pattern {
    parts: [NumberList; 4],
}

/// Reads the parameter `ip2nets`: entries of networks and one or more patterns, with semicolons or ends of
/// lines between.
pub fn ip2nets(text: &str) -> Result<Ip2Nets, TextError> {
    let source = Source::new("ip2nets", text, MAX_TEXT)?;
    let entries = source.entries().map(|words| entry(source, words?));
    Ok(Ip2Nets { entries: entries.collect::<Result<_, _>>()? })
}

fn entry(source: Source<'_>, words: &str) -> Result<Ip2NetsEntry, TextError> {
    let (spec, rest) = words.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((words, ""));
    let networks = networks::parse(source, spec)?;
    let pattern = |word: &str| Ipv4Pattern::parse(word).map_err(|problem| source.error(word, problem));
    let patterns = rest.split_ascii_whitespace().map(pattern).collect::<Result<Vec<_>, _>>()?;
    if patterns.is_empty() {
        return Err(source.error(words, Problem::NoPattern));
    }
    Ok(Ip2NetsEntry { networks, patterns })
}

impl Ip2Nets {
    /// The networks of a node with these addresses.
    ///
    /// # Errors
    ///
    /// The network that two matching entries contribute.
    pub fn select(&self, addresses: &[Ipv4Addr]) -> Result<Vec<NetworkSpec>, NetId> {
        let mut chosen: Vec<NetworkSpec> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.matches(addresses)) {
            for network in &entry.networks {
                if chosen.iter().any(|other| other.net == network.net) {
                    return Err(network.net);
                }
                chosen.push(network.clone());
            }
        }
        Ok(chosen)
    }
}

impl Ip2NetsEntry {
    /// Whether one of the patterns matches one of `addresses`.
    pub fn matches(&self, addresses: &[Ipv4Addr]) -> bool {
        self.patterns.iter().any(|pattern| addresses.iter().any(|address| pattern.matches(*address)))
    }
}

impl Ipv4Pattern {
    /// Reads four parts with dots between: each a number, `*` or a list in brackets.
    pub(super) fn parse(word: &str) -> Result<Ipv4Pattern, Problem> {
        let mut parts = word.split('.').map(part);
        let mut next = || parts.next().ok_or(Problem::Pattern)?;
        let four = [next()?, next()?, next()?, next()?];
        if parts.next().is_some() { Err(Problem::Pattern) } else { Ok(Ipv4Pattern { parts: four }) }
    }

    /// Whether the pattern matches.
    pub fn matches(&self, address: Ipv4Addr) -> bool {
        self.parts.iter().zip(address.octets()).all(|(part, octet)| part.contains(u32::from(octet)))
    }
}

fn part(text: &str) -> Result<NumberList, Problem> {
    if text == "*" {
        return Ok(NumberList::all(0, 255));
    }
    if let Some(inner) = text.strip_prefix('[') {
        return NumberList::parse(inner.strip_suffix(']').ok_or(Problem::Bracket)?, 255);
    }
    let number = decimal(text).filter(|number| *number <= 255).ok_or(Problem::Pattern)?;
    Ok(NumberList::all(number, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, address: &str| {
            Ipv4Pattern::parse(pattern).unwrap().matches(address.parse().unwrap())
        };
        assert!(matches("10.0.0.1", "10.0.0.1") && !matches("10.0.0.1", "10.0.0.2"));
        assert!(matches("10.*.*.*", "10.255.0.7") && !matches("10.*.*.*", "11.0.0.0"));
        assert!(matches("10.0.[1-9/2].*", "10.0.7.0") && !matches("10.0.[1-9/2].*", "10.0.6.0"));
        for word in ["10.0.0", "10.0.0.0.0", "10.0.0.256", "10.0.0.", "10.0.0.**", "10.0.0.-1", "x"] {
            assert_eq!(Ipv4Pattern::parse(word), Err(Problem::Pattern), "{word}");
        }
        assert_eq!(Ipv4Pattern::parse("10.0.0.[1"), Err(Problem::Bracket));
        assert_eq!(Ipv4Pattern::parse("10.0.0.[1-256]"), Err(Problem::Number(255)));
    }

    fn nets(text: &str, addresses: &[&str]) -> Result<Vec<String>, NetId> {
        let addresses: Vec<Ipv4Addr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let chosen = ip2nets(text).unwrap().select(&addresses)?;
        Ok(chosen.iter().map(|spec| spec.net.to_string()).collect())
    }

    #[test]
    fn every_matching_entry_contributes() {
        let text = "tcp1(eth1) 10.1.*.*; tcp2(eth2),tcp3 10.2.*.* 10.3.0.[1-9] # both\n o2ib *.*.*.*";
        assert_eq!(nets(text, &["10.1.0.1"]).unwrap(), ["tcp1", "o2ib"]);
        assert_eq!(nets(text, &["10.3.0.9", "10.1.0.1"]).unwrap(), ["tcp1", "tcp2", "tcp3", "o2ib"]);
        assert_eq!(nets(text, &["10.3.0.10"]).unwrap(), ["o2ib"]);
        assert_eq!(nets(text, &[]).unwrap(), [""; 0]);
        assert_eq!(nets("", &["10.0.0.1"]).unwrap(), [""; 0]);
    }

    #[test]
    fn no_network_comes_twice() {
        let text = "tcp1 10.1.*.*\ntcp1 10.2.*.*";
        assert_eq!(nets(text, &["10.1.0.1"]).unwrap(), ["tcp1"]);
        assert_eq!(nets(text, &["10.1.0.1", "10.2.0.1"]), Err(NetId::new(2, 1)));
    }

    #[test]
    fn errors() {
        let error = |text: &str| {
            let error = ip2nets(text).unwrap_err();
            (error.line, error.column, error.problem)
        };
        assert_eq!(error("tcp1"), (1, 1, Problem::NoPattern));
        assert_eq!(error("tcp1 10.0.0.1\ntcp2 10.0.0"), (2, 6, Problem::Pattern));
        assert_eq!(error("tcp1( 10.0.0.1"), (1, 6, Problem::Interface));
    }
}
