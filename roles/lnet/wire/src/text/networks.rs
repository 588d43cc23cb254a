//! `networks=`: which networks a node is on, and with which interfaces (LNet specification section 1.5).

use super::{MAX_LINE, NumberList, Problem, Source, TextError};
use crate::nid::NetId;
use alloc::string::String;
use alloc::vec::Vec;

/// A network and its interfaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkSpec {
    /// The network.
    pub net: NetId,
    /// Its interfaces, each with a NID of its own. None: the first suitable one.
    pub interfaces: Vec<InterfaceSpec>,
    /// CPU partitions to which the network is restricted.
    pub cpts: Option<NumberList>,
}

/// An interface of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSpec {
    /// Name, such as `eth0`.
    pub name: String,
    /// CPU partitions to which the interface is restricted.
    pub cpts: Option<NumberList>,
}

/// Reads the parameter `networks`: `NET[(IF[CPTS][,IF[CPTS]...])][CPTS]`, with commas between.
pub fn networks(text: &str) -> Result<Vec<NetworkSpec>, TextError> {
    let source = Source::new("networks", text, MAX_LINE)?;
    parse(source, text.trim_ascii())
}

/// Reads networks from a part of a text.
pub(super) fn parse(source: Source<'_>, mut rest: &str) -> Result<Vec<NetworkSpec>, TextError> {
    let mut specs = Vec::new();
    loop {
        let (spec, after) = network(source, rest)?;
        specs.push(spec);
        rest = after.trim_ascii_start();
        if rest.is_empty() {
            return Ok(specs);
        }
        rest = rest
            .strip_prefix(',')
            .ok_or_else(|| source.error(rest, Problem::AfterNetwork))?
            .trim_ascii_start();
    }
}

/// Reads one network from the front.
fn network<'a>(source: Source<'_>, text: &'a str) -> Result<(NetworkSpec, &'a str), TextError> {
    let (name, rest) = split_at_any(text, "(),[]");
    let name = name.trim_ascii_end();
    let net: NetId = name.parse().map_err(|problem| source.error(name, Problem::Name(problem)))?;
    if net == NetId::LOOPBACK {
        return Err(source.error(name, Problem::Loopback));
    }
    let (interfaces, rest) = match rest.strip_prefix('(') {
        Some(list) => interfaces(source, list)?,
        None => (Vec::new(), rest),
    };
    let (cpts, rest) = partitions(source, rest)?;
    Ok((NetworkSpec { net, interfaces, cpts }, rest))
}

/// Reads interfaces up to the closing parenthesis.
fn interfaces<'a>(source: Source<'_>, mut rest: &'a str) -> Result<(Vec<InterfaceSpec>, &'a str), TextError> {
    let mut specs = Vec::new();
    loop {
        let (name, after) = split_at_any(rest, "(),[]");
        let name = name.trim_ascii();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(source.error(rest, Problem::Interface));
        }
        let (cpts, after) = partitions(source, after)?;
        specs.push(InterfaceSpec { name: String::from(name), cpts });
        let after = after.trim_ascii_start();
        if let Some(after) = after.strip_prefix(')') {
            return Ok((specs, after));
        }
        rest = after.strip_prefix(',').ok_or_else(|| source.error(after, Problem::Interface))?;
    }
}

/// Reads a list of CPU partitions, if there is one.
fn partitions<'a>(source: Source<'_>, text: &'a str) -> Result<(Option<NumberList>, &'a str), TextError> {
    let Some(list) = text.strip_prefix('[') else {
        return Ok((None, text));
    };
    let (inner, rest) = list.split_once(']').ok_or_else(|| source.error(text, Problem::Bracket))?;
    let cpts = NumberList::parse(inner, MAX_CPT).map_err(|problem| source.error(inner, problem))?;
    Ok((Some(cpts), rest))
}

/// Highest CPU partition that can be named. A limit of this project.
const MAX_CPT: u32 = 4095;

/// Splits before the first of `ends`.
fn split_at_any<'a>(text: &'a str, ends: &str) -> (&'a str, &'a str) {
    text.split_at(text.find(|c| ends.contains(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Back to the text, in its plainest form.
    fn plain(text: &str) -> String {
        let mut plain = String::new();
        for NetworkSpec { net, interfaces, cpts } in networks(text).unwrap() {
            write!(plain, " {net}").unwrap();
            for InterfaceSpec { name, cpts } in interfaces {
                write!(plain, " {name}{}", cpts.map(|cpts| cpts.to_string()).unwrap_or_default()).unwrap();
            }
            write!(plain, "{};", cpts.map(|cpts| cpts.to_string()).unwrap_or_default()).unwrap();
        }
        plain
    }

    #[test]
    fn networks_parameter() {
        assert_eq!(plain("tcp"), " tcp;");
        assert_eq!(plain("tcp0(eth0,eth1),tcp1(eth2)[0-1]"), " tcp eth0 eth1; tcp1 eth2[0-1];");
        assert_eq!(plain("tcp(eth0[1],eth1[2,3])[0]"), " tcp eth0[1] eth1[2,3][0];");
        assert_eq!(plain("  tcp1 ( eth0 , bond0.7 ) , o2ib(ib0)  "), " tcp1 eth0 bond0.7; o2ib ib0;");
        assert_eq!(plain("tcp[1,2],tcp3"), " tcp[1,2]; tcp3;");
    }

    #[test]
    fn errors() {
        let error = |text: &str| {
            let error = networks(text).unwrap_err();
            (error.column, error.word, error.problem)
        };
        let name = Problem::Name(crate::names::NameError::Net);
        assert_eq!(error(""), (1, "".into(), name));
        assert_eq!(error("tcp,"), (5, "".into(), name));
        assert_eq!(error("eth0"), (1, "eth0".into(), name));
        assert_eq!(error("tcp70000"), (1, "tcp70000".into(), name));
        assert_eq!(error("tcp(eth0),lo"), (11, "lo".into(), Problem::Loopback));
        assert_eq!(error("tcp()"), (5, ")".into(), Problem::Interface));
        assert_eq!(error("tcp(eth0"), (9, "".into(), Problem::Interface));
        assert_eq!(error("tcp(eth0,)"), (10, ")".into(), Problem::Interface));
        assert_eq!(error("tcp(eth 0)"), (5, "eth 0)".into(), Problem::Interface));
        assert_eq!(error("tcp(eth0)x"), (10, "x".into(), Problem::AfterNetwork));
        assert_eq!(error("tcp(eth0)[0"), (10, "[0".into(), Problem::Bracket));
        assert_eq!(error("tcp(eth0)[z]"), (11, "z".into(), Problem::Number(MAX_CPT)));
    }
}
