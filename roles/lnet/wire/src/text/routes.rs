//! `routes=`: which gateways lead to which networks (LNet specification section 1.7).

use super::expand::expand;
use super::numbers::decimal;
use super::{MAX_ROUTES, MAX_TEXT, Problem, Source, TextError};
use crate::nid::{NetId, Nid};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// A way to a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where it leads.
    pub net: NetId,
    /// Number of routers on the way, 1 to 255, if the text tells.
    pub hops: Option<u8>,
    /// The next router.
    pub gateway: Nid,
    /// Lower ones are preferred.
    pub priority: u32,
}

/// Reads the parameter `routes`: entries of `NET [HOPS] GATEWAY[:PRIORITY] [GATEWAY[:PRIORITY]...]`, with
/// semicolons or ends of lines between.
///
/// Every network of an entry gets a route over every gateway, networks first. As on Linux, all gateways of an
/// entry have the priority of the last one: those of different priority need an entry each. Whether a network
/// is local and a gateway this very node is for the node to judge.
pub fn routes(text: &str) -> Result<Vec<Route>, TextError> {
    let source = Source::new("routes", text, MAX_TEXT)?;
    let mut routes = Vec::new();
    for words in source.entries() {
        entry(source, words?, &mut routes)?;
    }
    Ok(routes)
}

fn entry(source: Source<'_>, entry: &str, routes: &mut Vec<Route>) -> Result<(), TextError> {
    let mut words = entry.split_ascii_whitespace();
    let nets = nets(source, words.next().unwrap_or_default())?;
    let mut words = words.peekable();
    let hops = match words.next_if(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(word) => Some(hops(word).ok_or_else(|| source.error(word, Problem::Hops))?),
        None => None,
    };
    let mut gateways = Vec::new();
    let mut last_priority = 0;
    for word in words {
        let (names, priority) = split_priority(word);
        last_priority = match priority {
            Some(priority) => decimal(priority).ok_or_else(|| source.error(priority, Problem::Priority))?,
            None => 0,
        };
        for gateway in self::gateways(source, names, &nets)? {
            gateways.push(gateway);
        }
        if routes.len().saturating_add(nets.len().saturating_mul(gateways.len())) > MAX_ROUTES {
            return Err(source.error(word, Problem::TooMany(MAX_ROUTES)));
        }
    }
    if gateways.is_empty() {
        return Err(source.error(entry, Problem::NoGateway));
    }
    let priority = last_priority;
    let to = |net| gateways.iter().map(move |gateway| Route { net, hops, gateway: *gateway, priority });
    routes.extend(nets.iter().flat_map(|net| to(*net)));
    Ok(())
}

fn nets(source: Source<'_>, word: &str) -> Result<Vec<NetId>, TextError> {
    let names = expand(word).map_err(|problem| source.error(word, problem))?;
    let net = |name: &str| match name.parse() {
        Ok(NetId::LOOPBACK) => Err(source.error_in(word, name, Problem::Loopback)),
        Ok(net) => Ok(net),
        Err(problem) => Err(source.error_in(word, name, Problem::Name(problem))),
    };
    names.iter().map(|name| net(name)).collect()
}

fn gateways(source: Source<'_>, word: &str, nets: &[NetId]) -> Result<Vec<Nid>, TextError> {
    let names = expand(word).map_err(|problem| source.error(word, problem))?;
    let gateway = |name: &str| {
        let error = |problem| source.error_in(word, name, problem);
        let nid: Nid = name.parse().map_err(|problem| error(Problem::Name(problem)))?;
        if nid == Nid::ANY || nid == Nid::LOOPBACK || nid.ip() == Some(IpAddr::V4(Ipv4Addr::BROADCAST)) {
            return Err(error(Problem::Gateway));
        }
        if nets.contains(&nid.net()) { Err(error(Problem::GatewayOnTarget)) } else { Ok(nid) }
    };
    names.iter().map(|name| gateway(name)).collect()
}

fn hops(word: &str) -> Option<u8> {
    decimal(word).and_then(|hops| u8::try_from(hops).ok()).filter(|hops| *hops > 0)
}

/// Splits a priority off. Colons of an IPv6 address stand before its `@`; a bare address has one colon at most.
fn split_priority(word: &str) -> (&str, Option<&str>) {
    let start = match word.find('@') {
        Some(at) => at,
        None if word.matches(':').count() == 1 => 0,
        None => return (word, None),
    };
    match word.get(start..).and_then(|tail| tail.find(':')) {
        Some(colon) => {
            let (names, priority) = word.split_at(start + colon);
            (names, priority.get(1..))
        }
        None => (word, None),
    }
}
