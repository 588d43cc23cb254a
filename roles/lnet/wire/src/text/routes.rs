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

/// Splits a priority off. Colons of an IPv6 address stand before its `@`; a bare address has one colon at
/// most. Linux takes the first colon of all for the priority's, so that its module parameter cannot name IPv6
/// gateways (`lnetctl route add` can): what it takes means the same here.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NameError;

    /// Back to text: network, hops or -, gateway, priority.
    fn plain(text: &str) -> Vec<String> {
        let routes = routes(text).unwrap();
        let line = |route: &Route| {
            let Route { net, hops, gateway, priority } = route;
            let hops = hops.map_or(String::from("-"), |hops| hops.to_string());
            format!("{net} {hops} {gateway} {priority}")
        };
        routes.iter().map(line).collect()
    }

    #[test]
    fn routes_parameter() {
        assert_eq!(plain("tcp2 10.0.0.1@tcp1"), ["tcp2 - 10.0.0.1@tcp1 0"]);
        assert_eq!(plain("tcp2 255 10.0.0.1@tcp1:7"), ["tcp2 255 10.0.0.1@tcp1 7"]);
        assert_eq!(plain("tcp2 1 10.0.0.1"), ["tcp2 1 10.0.0.1@tcp 0"]);
        assert_eq!(plain("tcp2 10.0.0.1:4294967295"), ["tcp2 - 10.0.0.1@tcp 4294967295"]);
        assert_eq!(plain("tcp2 fd00::1@tcp1:5"), ["tcp2 - fd00::1@tcp1 5"]);
        assert_eq!(plain("tcp2 fd00::1"), ["tcp2 - fd00::1@tcp 0"]);
        assert_eq!(plain("gni 3 7@kfi"), ["gni 3 7@kfi 0"]);
        assert_eq!(plain(" # nothing\n;"), [""; 0]);
    }

    #[test]
    fn brackets_multiply_networks_and_gateways() {
        assert_eq!(
            plain("tcp[2-3] 10.0.0.[1,2]@tcp1; o2ib 10.0.0.9@tcp1"),
            [
                "tcp2 - 10.0.0.1@tcp1 0",
                "tcp2 - 10.0.0.2@tcp1 0",
                "tcp3 - 10.0.0.1@tcp1 0",
                "tcp3 - 10.0.0.2@tcp1 0",
                "o2ib - 10.0.0.9@tcp1 0",
            ]
        );
    }

    /// All gateways of an entry have the priority of the last, as on Linux.
    #[test]
    fn one_priority_an_entry() {
        let priorities =
            |text: &str| routes(text).unwrap().iter().map(|route| route.priority).collect::<Vec<_>>();
        assert_eq!(priorities("tcp2 10.0.0.1@tcp1:1 10.0.0.2@tcp1:2"), [2, 2]);
        assert_eq!(priorities("tcp2 10.0.0.1@tcp1:1 10.0.0.2@tcp1"), [0, 0]);
        assert_eq!(priorities("tcp2 10.0.0.1@tcp1:1; tcp2 10.0.0.2@tcp1:2"), [1, 2]);
    }

    #[test]
    fn errors() {
        let error = |text: &str| {
            let error = routes(text).unwrap_err();
            (error.column, error.word, error.problem)
        };
        assert_eq!(error("tcp2"), (1, "tcp2".into(), Problem::NoGateway));
        assert_eq!(error("tcp2 3"), (1, "tcp2 3".into(), Problem::NoGateway));
        assert_eq!(error("tcp2 0 10.0.0.1@tcp1"), (6, "0".into(), Problem::Hops));
        assert_eq!(error("tcp2 256 10.0.0.1@tcp1"), (6, "256".into(), Problem::Hops));
        assert_eq!(error("tcp2 99999999999 10.0.0.1@tcp1"), (6, "99999999999".into(), Problem::Hops));
        assert_eq!(error("lo 10.0.0.1@tcp1"), (1, "lo".into(), Problem::Loopback));
        assert_eq!(error("* 10.0.0.1@tcp1"), (1, "*".into(), Problem::Name(NameError::Net)));
        assert_eq!(error("tcp2 10.0.0.1@tcp2"), (6, "10.0.0.1@tcp2".into(), Problem::GatewayOnTarget));
        assert_eq!(error("tcp[0-1] 10.0.0.1"), (10, "10.0.0.1".into(), Problem::GatewayOnTarget));
        assert_eq!(
            error("tcp2 10.0.0.[255-256]@tcp1"),
            (6, "10.0.0.256@tcp1".into(), Problem::Name(NameError::Address))
        );
        assert_eq!(error("tcp2 10.0.0.1@tcp1:"), (20, "".into(), Problem::Priority));
        assert_eq!(error("tcp2 10.0.0.1@tcp1:-1"), (20, "-1".into(), Problem::Priority));
        assert_eq!(error("tcp2 10.0.0.1@tcp1:4294967296"), (20, "4294967296".into(), Problem::Priority));
        for gateway in ["<?>", "0@lo", "255.255.255.255@tcp1"] {
            assert_eq!(error(&format!("tcp2 {gateway}")), (6, gateway.into(), Problem::Gateway));
        }
        assert_eq!(error("tcp[2 10.0.0.1@tcp1"), (1, "tcp[2".into(), Problem::Bracket));
    }

    #[test]
    fn hostile_brackets_cost_little() {
        let problem = |text: &str| routes(text).unwrap_err().problem;
        assert_eq!(problem("tcp[0-65535] 10.0.0.1@o2ib"), Problem::TooMany(super::super::MAX_EXPANSION));
        assert_eq!(problem("tcp[1-4000] 10.0.[0-3].[1-254]@o2ib"), Problem::TooMany(MAX_ROUTES));
        let many = "tcp[1-4000] 10.0.0.[1-4]@o2ib\n".repeat(3);
        assert_eq!(problem(&many), Problem::TooMany(MAX_ROUTES));
    }
}
