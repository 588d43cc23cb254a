//! `lnetctl import`: a configuration from YAML (LNet specification section 1.9).
//!
//! Besides what `export` writes, the form of distributions' route files is taken, a line for each network:
//! `tcp1: { gateway: 10.1.1.2@tcp0, hop: 2, priority: 3 }`.
//!
//! Sections are taken in the order in which they need each other (for `--del` the other way round), whatever their
//! order in the text. What Linux
//! exports and nobody needs to import (statistics, states, peers that were learnt) is passed over; a key that
//! is not known at all is an error, as it may be a misspelt one.

use super::control::{Buffers, Control, NetRequest, TunableChanges};
use super::failure::{Failure, errno};
use super::lnetctl::{self, Ask, Tunable, grammar};
use super::yaml::{self, Yaml};
use super::{export, views};
use crate::lnet::{AddressChoice, PeerConfig, RouteConfig};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid};

/// What is done with what the text names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is added.
    Add,
    /// It is taken away.
    Del,
    /// It is shown.
    Show,
    /// `ping:` and `discover:` are done.
    Exec,
}

impl Mode {
    const fn verb(self) -> &'static str {
        match self {
            Mode::Add => "add",
            Mode::Del => "del",
            Mode::Show => "show",
            Mode::Exec => "exec",
        }
    }
}

/// Sections, in the order in which they need each other.
const SECTIONS: &[&str] = &["net", "global", "buffers", "peer", "route", "routing"];
/// Sections of Linux that are passed over.
const PASSED_OVER: &[&str] = &["udsp", "ping", "discover", "statistics"];

/// Takes a text; returns what `lnetctl` prints. What fails does not keep the rest from being done.
pub async fn import<C: Control>(control: &C, mode: Mode, text: &str) -> String {
    let document = match yaml::parse(text) {
        Ok(document) => document,
        Err(error) => return report(mode, "yaml", Failure::new(errno::EINVAL, error.to_string())),
    };
    if mode == Mode::Exec {
        return exec(control, &document).await;
    }
    let mut printed = String::new();
    let mut run = |section: &'static str, result: Result<String, Failure>| match result {
        Ok(text) => printed.push_str(&text),
        Err(failure) => printed.push_str(&report(mode, section, failure)),
    };
    let mut sections = SECTIONS.to_vec();
    if mode == Mode::Del {
        // A network takes the routes through it along.
        sections.reverse();
    }
    for section in sections {
        if let Some(value) = document.get(section) {
            each(control, mode, section, value, |result| run(section, result));
        }
    }
    for (key, value) in document.entries() {
        if SECTIONS.contains(&key.as_str()) || PASSED_OVER.contains(&key.as_str()) {
            continue;
        }
        match key.parse::<NetId>() {
            Ok(net) if mode != Mode::Show => {
                for item in value.items() {
                    run("route", route(control, mode, Some(net), item));
                }
            }
            _ => run("yaml", Err(unknown(key, "at the top"))),
        }
    }
    printed
}

fn report(mode: Mode, section: &str, failure: Failure) -> String {
    failure.yaml(mode.verb(), section, &format!("cannot {} {section}", mode.verb())).to_string()
}

fn unknown(key: &str, place: &str) -> Failure {
    Failure::new(errno::EINVAL, format!("unknown key '{key}' {place}"))
}

/// Does the items of a section, one by one.
fn each<C: Control>(
    control: &C,
    mode: Mode,
    section: &str,
    value: &Yaml,
    mut result: impl FnMut(Result<String, Failure>),
) {
    if mode == Mode::Show {
        return result(Ok(show(control, section)));
    }
    match section {
        "net" => {
            for item in value.items() {
                net(control, mode, item, &mut result);
            }
        }
        "peer" => value.items().iter().for_each(|item| result(peer(control, mode, item))),
        "route" => value.items().iter().for_each(|item| result(route(control, mode, None, item))),
        "routing" => result(routing(control, mode, value)),
        "buffers" if mode == Mode::Add => result(buffers(control, value)),
        "global" if mode == Mode::Add => {
            for (key, value) in value.entries() {
                result(global(control, key, value));
            }
        }
        // Numbers cannot be taken away.
        _ => {}
    }
}

fn show<C: Control>(control: &C, section: &str) -> String {
    let yaml = match section {
        "net" => views::net(&control.nets(), 1),
        "peer" => views::peer(&control.peers(), 1),
        "route" => views::route(&control.routes(), 1),
        "routing" => views::routing(&control.routing()),
        "global" => views::global(&control.global()),
        _ => return String::new(),
    };
    yaml.to_string()
}

/// The text of a key, if it stands there; a value that is no text is an error.
fn text<'a>(item: &'a Yaml, key: &str) -> Result<Option<&'a str>, Failure> {
    match item.get(key) {
        None => Ok(None),
        Some(value) => value
            .text()
            .map(Some)
            .ok_or_else(|| Failure::new(errno::EINVAL, format!("{key}: expected is a value"))),
    }
}

fn read<T: core::str::FromStr>(item: &Yaml, key: &str, wanted: &str) -> Result<Option<T>, Failure> {
    let read =
        |text: &str| super::args::read(key, text, wanted).map_err(|text| Failure::new(errno::EINVAL, text));
    text(item, key)?.map(read).transpose()
}

fn need<T>(value: Option<T>, key: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::new(errno::EINVAL, format!("{key} is missing")))
}

/// Every key must be one of these.
fn only(item: &Yaml, place: &str, keys: &[&str]) -> Result<(), Failure> {
    match item.entries().iter().find(|(key, _)| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, _)) => Err(unknown(key, place)),
    }
}

/// A network: every NI of it is a request of its own.
fn net<C: Control>(control: &C, mode: Mode, item: &Yaml, result: &mut impl FnMut(Result<String, Failure>)) {
    let net =
        only(item, "in net", &["net type", "net", "local NI(s)", "interfaces", "tunables", "lnd tunables"])
            .and_then(|()| Ok(read::<NetId>(item, "net type", NET)?.or(read(item, "net", NET)?)))
            .and_then(|net| need(net, "net type"));
    let net = match net {
        Ok(NetId::LOOPBACK) => return,
        Ok(net) => net,
        Err(failure) => return result(Err(failure)),
    };
    // The NIs stand in a list; in a short form the net has interfaces itself.
    let nis = item.get("local NI(s)").map_or(core::slice::from_ref(item), Yaml::items);
    for ni in nis {
        result(local_ni(control, mode, net, ni).map(|()| String::new()));
    }
}

const NET: &str = "a network such as tcp1";
const NID: &str = "a NID such as 10.0.0.1@tcp1";
/// Keys of an NI, those after `nid` without meaning for an import.
const NI_KEYS: &[&str] = &[
    "interfaces",
    "tunables",
    "lnd tunables",
    "net type",
    "net",
    "nid",
    "status",
    "statistics",
    "sent_stats",
    "received_stats",
    "dropped_stats",
    "health stats",
    "dev cpt",
    "tcp bonding",
    "CPT",
    "udsp info",
];

fn local_ni<C: Control>(control: &C, mode: Mode, net: NetId, ni: &Yaml) -> Result<(), Failure> {
    only(ni, "in local NI(s)", NI_KEYS)?;
    let interfaces = ni.get("interfaces").map(Yaml::entries).unwrap_or_default();
    let name = |(_, value): &(String, Yaml)| value.text().filter(|name| !name.is_empty()).map(String::from);
    let interfaces: Vec<String> = interfaces.iter().filter_map(name).collect();
    let nid: Option<Nid> = read(ni, "nid", NID)?;
    if let Some(nid) = nid.filter(|nid| nid.net() != net) {
        return Err(Failure::new(errno::EINVAL, format!("nid {nid} is not on {net}")));
    }
    if mode == Mode::Del {
        return match nid {
            Some(nid) => control.del_nid(nid),
            None => control.del_net(net, &interfaces),
        };
    }
    let nothing = Yaml::map();
    let tunables = ni.get("tunables").unwrap_or(&nothing);
    let lnd = ni.get("lnd tunables").unwrap_or(&nothing);
    only(
        tunables,
        "in tunables",
        &["peer_timeout", "peer_credits", "peer_buffer_credits", "credits", "CPT"],
    )?;
    only(lnd, "in lnd tunables", &["conns_per_peer", "timeout", "tos"])?;
    let tunables = TunableChanges {
        credits: read(tunables, "credits", "a number")?,
        peer_credits: read(tunables, "peer_credits", "a number")?,
        peer_buffer_credits: read(tunables, "peer_buffer_credits", "a number")?,
        peer_timeout: read(tunables, "peer_timeout", "seconds")?,
        conns_per_peer: read(lnd, "conns_per_peer", "0 to 8")?,
    };
    grammar::check_tunables(&tunables).map_err(|text| Failure::new(errno::EINVAL, text))?;
    // A NID tells the interface where there is none, else only the kind of its address: that may have changed.
    let address = match nid {
        Some(nid) if interfaces.is_empty() => nid.ip().map_or(AddressChoice::Usual, AddressChoice::Exactly),
        Some(nid) if nid.is_large() => AddressChoice::Large,
        _ => AddressChoice::Usual,
    };
    control.add_net(NetRequest { net, interfaces, address, tunables })
}

fn route<C: Control>(control: &C, mode: Mode, net: Option<NetId>, item: &Yaml) -> Result<String, Failure> {
    only(item, "in route", &["net", "gateway", "hop", "priority", "state", "type", "health_sensitivity"])?;
    let net = need(net.or(read(item, "net", NET)?), "net")?;
    let gateway: Nid = need(read(item, "gateway", NID)?, "gateway")?;
    if mode == Mode::Del {
        return control.del_route(net, Some(gateway)).map(|()| String::new());
    }
    // Undefined is -1, or the same number without its sign.
    let hops = match text(item, "hop")? {
        None | Some("-1" | "4294967295") => None,
        Some(_) => read(item, "hop", "1 to 255")?,
    };
    let priority = read(item, "priority", "a number")?.unwrap_or(0);
    control.add_route(RouteConfig { net, gateway, hops, priority }).map(|()| String::new())
}

/// A peer that was named; one that was learnt says so in its state, and is passed over.
fn peer<C: Control>(control: &C, mode: Mode, item: &Yaml) -> Result<String, Failure> {
    only(item, "in peer", &["primary nid", "Multi-Rail", "peer state", "peer ni", "peer_ni", "udsp info"])?;
    if read(item, "peer state", "a number")?.is_some_and(|state| !export::is_configured(state)) {
        return Ok(String::new());
    }
    let primary: Nid = need(read(item, "primary nid", NID)?, "primary nid")?;
    if mode == Mode::Del {
        return control.del_peer(primary, &[]).map(|()| String::new());
    }
    let multi_rail = match text(item, "Multi-Rail")? {
        None | Some("True" | "true" | "1") => true,
        Some("False" | "false" | "0") => false,
        Some(_) => return Err(Failure::new(errno::EINVAL, "Multi-Rail: expected is True or False")),
    };
    let nis = item.get("peer ni").or_else(|| item.get("peer_ni")).map(Yaml::items).unwrap_or_default();
    let nids = nis.iter().map(|ni| read(ni, "nid", NID).and_then(|nid| need(nid, "nid")));
    let mut nids = nids.collect::<Result<Vec<Nid>, _>>()?;
    nids.retain(|nid| *nid != primary);
    control.add_peer(PeerConfig { primary, nids, multi_rail }).map(|()| String::new())
}

fn routing<C: Control>(control: &C, mode: Mode, value: &Yaml) -> Result<String, Failure> {
    let Some(enable) = value.items().iter().find_map(|item| item.get("enable")) else {
        return Ok(String::new());
    };
    let on = match enable.text() {
        Some("1") => true,
        Some("0") => false,
        _ => return Err(Failure::new(errno::EINVAL, "enable: expected is 0 or 1")),
    };
    control.set_routing(on && mode == Mode::Add).map(|()| String::new())
}

fn buffers<C: Control>(control: &C, value: &Yaml) -> Result<String, Failure> {
    only(value, "in buffers", &["tiny", "small", "large"])?;
    let count = |key| read(value, key, "a number");
    let buffers = Buffers { tiny: count("tiny")?, small: count("small")?, large: count("large")? };
    control.set_buffers(buffers).map(|()| String::new())
}

/// Failures come as YAML already: they are handed on as text.
fn global<C: Control>(control: &C, key: &str, value: &Yaml) -> Result<String, Failure> {
    let text = value.text().unwrap_or_default();
    let number =
        super::args::read(key, text, "a number").map_err(|text| Failure::new(errno::EINVAL, text))?;
    match Tunable::named(key, number) {
        Some(Tunable::Routing | Tunable::Buffers(_)) | None => Err(unknown(key, "in global")),
        Some(tunable) => Ok(match lnetctl::set(control, tunable, number) {
            Ok(()) => String::new(),
            Err(yaml) => yaml.to_string(),
        }),
    }
}

async fn exec<C: Control>(control: &C, document: &Yaml) -> String {
    let mut printed = String::new();
    for (section, what) in [("ping", Ask::Ping(None)), ("discover", Ask::Discover)] {
        for item in document.get(section).map(Yaml::items).unwrap_or_default() {
            let nid = read(item, "primary nid", NID).and_then(|nid| need(nid, "primary nid"));
            match nid {
                Ok(nid) => printed.push_str(&lnetctl::ask(control, what, &[nid], EXEC_TIMEOUT).await),
                Err(failure) => printed.push_str(&report(Mode::Exec, section, failure)),
            }
        }
    }
    printed
}

/// For each node of a text.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, import, lnetctl};

    #[test]
    fn what_was_exported_is_imported() {
        let fake = Fake::up();
        let expected = "\
add_net tcp eth0 credits 256 peer_credits 8 peer_buffer_credits 0 peer_timeout 180 conns_per_peer 2
add_net tcp1 eth1 credits 256 peer_credits 8 peer_buffer_credits 0 peer_timeout 180 conns_per_peer 2
set MaxInterfaces 200
set Discovery 1
set DropAsymRoute 0
set TransactionTimeout 150
set_buffers tiny 2048 small 16384 large 1024
add_route tcp3 10.2.0.9@tcp1 hops -1 priority 0
add_route o2ib 10.1.0.9@tcp hops 2 priority 1
set_routing true";
        for options in ["--backup", ""] {
            let text = lnetctl(&fake, &format!("export {options}"));
            fake.done.borrow_mut().clear();
            assert_eq!(import(&fake, "", &text), "", "{options}");
            assert_eq!(fake.done.borrow().join("\n"), expected, "{options}");
        }
    }

    #[test]
    fn what_is_named_is_taken_away() {
        let fake = Fake::up();
        let text = lnetctl(&fake, "export --backup");
        assert_eq!(import(&fake, "--del", &text), "");
        assert_eq!(
            *fake.done.borrow(),
            [
                "set_routing false",
                "del_route tcp3 10.2.0.9@tcp1",
                "del_route o2ib 10.1.0.9@tcp",
                "del_net tcp eth0",
                "del_net tcp1 eth1"
            ]
        );
    }

    /// An interface may have addresses of both kinds: the NID says which.
    #[test]
    fn nids_choose_addresses() {
        let ni = |net: &str, nid: &str, interface: &str| {
            format!("net:\n    - net type: {net}\n      local NI(s):\n        - nid: {nid}\n{interface}")
        };
        let eth0 = "          interfaces:\n              0: eth0\n";
        for (text, done) in [
            (ni("tcp", "10.1.0.1@tcp", eth0), "add_net tcp eth0"),
            (ni("tcp", "2001:db8::1@tcp", eth0), "add_net tcp eth0 large"),
            (ni("tcp", "2001:db8::1@tcp", ""), "add_net tcp 2001:db8::1"),
        ] {
            let fake = Fake::up();
            assert_eq!(import(&fake, "", &text), "");
            assert_eq!(*fake.done.borrow(), [done]);
        }
        let fake = Fake::up();
        assert_eq!(import(&fake, "--del", &ni("tcp", "2001:db8::1@tcp", eth0)), "");
        assert_eq!(*fake.done.borrow(), ["del_nid 2001:db8::1@tcp"]);
        let printed = import(&fake, "", &ni("tcp1", "10.1.0.1@tcp", eth0));
        assert!(printed.contains("nid 10.1.0.1@tcp is not on tcp1"), "{printed}");
    }

    /// Peers that were learnt say so in their state, as in the text of `export`; they are learnt again.
    #[test]
    fn peers_that_were_named() {
        let text = "\
peer:
    - primary nid: 10.1.0.2@tcp
      Multi-Rail: True
      peer state: 281
      peer ni:
        - nid: 10.1.0.2@tcp
          state: up
        - nid: 2001:db8::2@tcp1
    - primary nid: 10.1.0.3@tcp
      peer state: 273
    - primary nid: 10.1.0.4@tcp
      Multi-Rail: False
";
        let fake = Fake::up();
        assert_eq!(import(&fake, "", text), "");
        assert_eq!(
            *fake.done.borrow(),
            ["add_peer 10.1.0.2@tcp 2001:db8::2@tcp1", "add_peer 10.1.0.4@tcp non_mr"]
        );
        fake.done.borrow_mut().clear();
        assert_eq!(import(&fake, "--del", text), "");
        assert_eq!(*fake.done.borrow(), ["del_peer 10.1.0.2@tcp", "del_peer 10.1.0.4@tcp"]);
        let printed = import(&fake, "", "peer:\n    - primary nid: x\n    - Multi-Rail: maybe\n");
        assert!(
            printed.contains("primary nid 'x'") && printed.contains("primary nid is missing"),
            "{printed}"
        );
    }

    #[test]
    fn route_files() {
        let fake = Fake::up();
        let text = "tcp1: { gateway: 10.1.1.2@tcp0, hop: 2, priority: 3 }\n";
        assert_eq!(import(&fake, "", text), "");
        assert_eq!(*fake.done.borrow(), ["add_route tcp1 10.1.1.2@tcp hops 2 priority 3"]);
    }

    #[test]
    fn mistakes_are_named_and_do_not_stop_the_rest() {
        let text = "\
net:
    - net type: tcp4
      local NI(s):
        - interfaces:
              0: eth0
          tunables:
              credit: 7
    - net type: tcp5
      local NI(s):
        - interfaces:
              0: eth5
routes:
    - net: tcp3
route:
    - net: tcp3
      hop: 300
      gateway: 10.0.0.1@tcp
    - net: tcp6
";
        let fake = Fake::up();
        let printed = import(&fake, "", text);
        for says in [
            "\"cannot add net: unknown key 'credit' in tunables\"",
            "\"cannot add yaml: unknown key 'routes' at the top\"",
            "\"cannot add route: hop '300': expected is 1 to 255\"",
            "\"cannot add route: gateway is missing\"",
        ] {
            assert!(printed.contains(says), "{says} is not in:\n{printed}");
        }
        assert_eq!(*fake.done.borrow(), ["add_net tcp5 eth5"]);
        let printed = import(&fake, "", "net:\n\t- net type: tcp\n");
        assert!(printed.contains("line 2: a tab cannot indent"), "{printed}");
    }

    #[test]
    fn shown_and_executed() {
        let fake = Fake::up();
        let shown = import(&fake, "--show", "net:\nrouting:\n");
        assert!(
            shown.starts_with("net:\n    - net type: lo\n") && shown.contains("- enable: 1\n"),
            "{shown}"
        );
        let text = "ping:\n    - primary nid: 10.1.0.2@tcp\n    - primary nid: 10.9.9.9@tcp\n";
        let printed = import(&fake, "--exec", text);
        assert!(printed.contains("- nid: 10.2.0.2@tcp1") && printed.contains("errno: -110"), "{printed}");
    }
}
