//! `lctl`: the older tool, and its tables (LNet specification section 6.1).

use super::args;
use super::control::{Configure, Control};
use super::faults::{self, FaultCommand, FaultKind};
use super::lnetctl::grammar::{MOST_SECONDS, PING_TIMEOUT};
use crate::lnet::Stop;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid, ProcessId};

const HELP: &str = "\
lctl network up                        bring LNet up, with what the command line says
lctl network down [drain|force]        bring LNet down; a router only when drained, or by force
lctl list_nids [all]                   NIDs of this node; all: with 0@lo
lctl which_nid NID...                  the nearest of these NIDs
lctl ping NID [SECONDS]
lctl route_list | show_route
lctl [--net NET] peer_list | conn_list
lctl net_drop_add|net_delay_add -s NID -d NID (-r RATE | -i SECONDS) [-l SECONDS] [-p PORTAL] [-m TYPE]
lctl net_drop_del|net_delay_del (-a | -s NID -d NID)
lctl net_drop_list|net_delay_list, net_drop_reset|net_delay_reset
";

/// Does what the words behind `lctl` say; returns what it prints.
pub async fn run<C: Control>(control: &C, words: &[&str]) -> String {
    let result = match words {
        [] | ["help" | "--help" | "-h", ..] => Ok(HELP.to_string()),
        ["network", word, rest @ ..] => network(control, word, rest).await,
        ["ping", rest @ ..] => ping(control, rest).await,
        _ => at_once(control, words),
    };
    result.unwrap_or_else(|mistake| format!("lctl: {mistake}\n"))
}

fn at_once<C: Control>(control: &C, words: &[&str]) -> Result<String, String> {
    let (net, words) = match words {
        ["--net", net, rest @ ..] => (Some(args::read::<NetId>("net", net, "a network such as tcp1")?), rest),
        _ => (None, words),
    };
    let of_net = |nid: &Nid| net.is_none_or(|net| nid.net() == net);
    let fault = |command: &str, rest: &[&str]| {
        let (kind, verb) = match (command.strip_prefix("net_drop_"), command.strip_prefix("net_delay_")) {
            (Some(verb), _) => (FaultKind::Drop, verb),
            (_, Some(verb)) => (FaultKind::Delay, verb),
            _ => return Err(format!("'{command}' is no command here; lctl help lists all")),
        };
        Ok(faults::lctl(control, FaultCommand::parse(kind, verb, rest)?))
    };
    if !control.is_up() && !words.is_empty() {
        return Err("LNet is not up: lctl network up starts it".to_string());
    }
    match words {
        ["list_nids"] => Ok(list_nids(control, of_net, false)),
        ["list_nids", "all"] => Ok(list_nids(control, of_net, true)),
        ["which_nid", nids @ ..] => which_nid(control, nids),
        ["route_list" | "show_route"] => Ok(route_list(control)),
        ["peer_list"] => Ok(peer_list(control, of_net)),
        ["conn_list"] => Ok(conn_list(control, of_net)),
        [command, rest @ ..] => fault(command, rest),
        [] => Ok(HELP.to_string()),
    }
}

async fn network<C: Control>(control: &C, word: &str, rest: &[&str]) -> Result<String, String> {
    let how = match (word, rest) {
        ("up" | "configure", []) => {
            control
                .configure(Configure { all: true, large: false })
                .map_err(|failure| format!("LNet configure error: {failure}"))?;
            return Ok("LNET configured\n".to_string());
        }
        ("down" | "unconfigure", []) => Stop::IfNotRouting,
        ("down" | "unconfigure", ["drain"]) => Stop::Drain,
        ("down" | "unconfigure", ["force"]) => Stop::Now,
        _ => return Err("expected is network up, or network down [drain|force]".to_string()),
    };
    control.unconfigure(how).await.map_err(|failure| format!("LNet unconfigure error: {failure}"))?;
    Ok("LNET ready to unload\n".to_string())
}

async fn ping<C: Control>(control: &C, words: &[&str]) -> Result<String, String> {
    let (nid, timeout) = match words {
        [nid] => (nid, PING_TIMEOUT),
        [nid, seconds] => match args::read("timeout", seconds, "1 to 120 seconds")? {
            seconds @ 1..=MOST_SECONDS => (nid, Duration::from_secs(seconds)),
            seconds => return Err(format!("timeout '{seconds}': expected is 1 to {MOST_SECONDS} seconds")),
        },
        _ => return Err("expected is ping NID [SECONDS]".to_string()),
    };
    // A process may be named, too: its PID is of no interest.
    let nid = nid.parse().or_else(|_| nid.parse().map(|process: ProcessId| process.nid));
    let nid: Nid = nid.map_err(|error| error.to_string())?;
    match control.ping(None, nid, timeout).await {
        Ok(info) => {
            let nids = info.entries.iter().map(|entry| entry.nid);
            let line = |nid| format!("{}\n", ProcessId { nid, pid: info.pid });
            Ok(core::iter::once(Nid::LOOPBACK).chain(nids).map(line).collect())
        }
        Err(failure) => Ok(format!("failed to ping {nid}: {failure}\n")),
    }
}

fn list_nids<C: Control>(control: &C, of_net: impl Fn(&Nid) -> bool, loopback: bool) -> String {
    let nets = control.nets();
    let nids = nets.iter().flat_map(|net| &net.nis).map(|ni| ni.nid);
    let nids = nids.filter(|nid| of_net(nid) && (loopback || *nid != Nid::LOOPBACK));
    nids.map(|nid| format!("{nid}\n")).collect()
}

/// Ours are nearest, then those on our networks, then those behind the fewest routers.
fn which_nid<C: Control>(control: &C, words: &[&str]) -> Result<String, String> {
    let (nets, routes) = (control.nets(), control.routes());
    let distance = |nid: &Nid| {
        if nets.iter().flat_map(|net| &net.nis).any(|ni| ni.nid == *nid) {
            return Some(0);
        }
        if nets.iter().any(|net| net.net == nid.net()) {
            return Some(1);
        }
        let ways = routes.iter().filter(|route| route.up && route.net == nid.net());
        ways.map(|route| 1 + u32::from(route.hops.unwrap_or(1))).min()
    };
    let mut best: Option<(u32, Nid)> = None;
    for word in words {
        let nid = args::read("NID", word, "such as 10.0.0.1@tcp1")?;
        if let Some(distance) = distance(&nid)
            && best.is_none_or(|(nearest, _)| distance < nearest)
        {
            best = Some((distance, nid));
        }
    }
    match best {
        Some((_, nid)) => Ok(format!("{nid}\n")),
        None => Err("No reachable NID".to_string()),
    }
}

// Writing to a String cannot fail: results of `writeln!` below are dropped.

fn route_list<C: Control>(control: &C) -> String {
    let mut text = String::new();
    for route in control.routes() {
        let (net, gateway) = (route.net.to_string(), route.gateway.to_string());
        let hops = route.hops.map_or(-1, i32::from);
        let state = if route.up { "up" } else { "down" };
        let _ = writeln!(text, "net {net:>18} hops {hops} gw {gateway:>32} {state} pri {}", route.priority);
    }
    text
}

fn peer_list<C: Control>(control: &C, of_net: impl Fn(&Nid) -> bool) -> String {
    let mut text = String::new();
    for peer in control.lnd_peers().iter().filter(|peer| of_net(&peer.nid)) {
        let id = ProcessId::lustre(peer.nid).to_string();
        let remote = peer.nid.ip().map(|ip| ip.to_string()).unwrap_or_default();
        let (port, connections) = (control.lnd_port(), peer.connections);
        // The count in brackets: peers that an administrator made stay. There are none.
        let _ = writeln!(text, "{id:<20} [0]{}->{remote}:{port} #{connections}", peer.local);
    }
    if text.is_empty() { "<no peers>\n".to_string() } else { text }
}

fn conn_list<C: Control>(control: &C, of_net: impl Fn(&Nid) -> bool) -> String {
    let mut text = String::new();
    for conn in control.lnd_connections().iter().filter(|conn| of_net(&conn.nid)) {
        let id = ProcessId::lustre(conn.nid).to_string();
        let (tx, rx) = conn.rings;
        let _ = writeln!(
            text,
            "{id:<20} {}[0]{}->{}:{} {tx}/{rx} nonagle",
            conn.kind, conn.local, conn.remote, conn.port
        );
    }
    if text.is_empty() { "<no connections>\n".to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, lctl};

    #[test]
    fn tables() {
        let fake = Fake::up();
        assert_eq!(lctl(&fake, "list_nids"), "10.1.0.1@tcp\n10.2.0.1@tcp1\n");
        assert_eq!(lctl(&fake, "list_nids all"), "0@lo\n10.1.0.1@tcp\n10.2.0.1@tcp1\n");
        let expected = "\
net               tcp3 hops -1 gw                    10.2.0.9@tcp1 up pri 0
net               o2ib hops 2 gw                     10.1.0.9@tcp down pri 1
";
        assert_eq!(lctl(&fake, "route_list"), expected);
        assert_eq!(lctl(&fake, "show_route"), expected);
        assert_eq!(lctl(&fake, "--net tcp peer_list"), "12345-10.1.0.2@tcp   [0]10.1.0.1->10.1.0.2:988 #5\n");
        assert_eq!(lctl(&fake, "--net tcp1 peer_list"), "<no peers>\n");
        assert_eq!(
            lctl(&fake, "--net tcp conn_list"),
            "12345-10.1.0.2@tcp   C[0]10.1.0.1->10.1.0.2:1021 65536/262144 nonagle\n"
        );
        assert_eq!(lctl(&fake, "--net tcp1 conn_list"), "<no connections>\n");
    }

    #[test]
    fn pings() {
        let fake = Fake::up();
        assert_eq!(lctl(&fake, "ping 10.1.0.2@tcp"), "12345-0@lo\n12345-10.1.0.2@tcp\n12345-10.2.0.2@tcp1\n");
        assert_eq!(lctl(&fake, "ping 12345-10.1.0.2@tcp 5"), lctl(&fake, "ping 10.1.0.2@tcp"));
        assert_eq!(lctl(&fake, "ping 10.9.0.9@tcp"), "failed to ping 10.9.0.9@tcp: timed out\n");
        assert!(lctl(&fake, "ping 10.9.0.9@tcp 121").contains("1 to 120"));
        assert!(lctl(&fake, "ping").contains("ping NID"));
    }

    #[test]
    fn the_nearest_nid() {
        let fake = Fake::up();
        assert_eq!(lctl(&fake, "which_nid 10.5.0.1@tcp3 10.1.0.7@tcp"), "10.1.0.7@tcp\n");
        assert_eq!(lctl(&fake, "which_nid 10.1.0.7@tcp 10.2.0.1@tcp1"), "10.2.0.1@tcp1\n");
        assert_eq!(lctl(&fake, "which_nid 10.1.0.7@tcp9"), "lctl: No reachable NID\n");
    }

    #[test]
    fn up_and_down() {
        let fake = Fake::up();
        assert_eq!(lctl(&fake, "network up"), "LNET configured\n");
        assert!(lctl(&fake, "network down").starts_with("lctl: LNet unconfigure error: this node routes"));
        assert_eq!(lctl(&fake, "network down force"), "LNET ready to unload\n");
        assert_eq!(*fake.done.borrow(), ["configure all", "unconfigure Now"]);
        assert!(lctl(&fake, "network sideways").contains("network up"));
        assert!(lctl(&Fake::down(), "list_nids").contains("not up"));
        assert!(lctl(&fake, "dance").contains("'dance' is no command"));
    }
}
