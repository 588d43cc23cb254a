//! `lnetctl`: from words to a command ([`grammar`]), and what the command does.

mod command;
pub mod grammar;

pub use command::{Command, RouteFilter, Tunable};

use super::control::{Control, Setting};
use super::failure::{Failure, errno};
use super::yaml::Yaml;
use super::{export, faults, import, views};
use crate::lnet::show::{GlobalStatus, NetStatus, PeerStatus, RouteStatus};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use keelson_lnet_wire::nid::Nid;

/// Does what a command says; returns what `lnetctl` prints: nothing where all went well and nothing was asked.
pub async fn run<C: Control>(control: &C, command: Command) -> String {
    match execute(control, command).await {
        Ok(yaml) => yaml,
        Err(yaml) => yaml.to_string(),
    }
}

async fn execute<C: Control>(control: &C, command: Command) -> Result<String, Yaml> {
    let failed = |operation: &'static str, what: &'static str, context: &'static str| {
        move |failure: Failure| failure.yaml(operation, what, context)
    };
    let shown = |what: &'static str, context: &'static str| match control.is_up() {
        true => Ok(()),
        false => Err(Failure::down().yaml("show", what, context)),
    };
    let done = Ok(String::new());
    match command {
        Command::Help(text) => return Ok(text.to_string()),
        Command::Configure(how) => {
            control.configure(how).map_err(failed("configure", "lnet", "LNet configure error"))?;
        }
        Command::Unconfigure(how) => {
            let failed = failed("unconfigure", "lnet", "LNet unconfigure error");
            control.unconfigure(how).await.map_err(failed)?;
        }
        Command::NetAdd(requests) => {
            let failed = failed("add", "net", "cannot add network");
            for request in requests {
                control.add_net(request).map_err(&failed)?;
            }
        }
        Command::NetDel { net, interfaces } => {
            control.del_net(net, &interfaces).map_err(failed("del", "net", "cannot del network"))?;
        }
        Command::NidDel(nids) => {
            let failed = failed("del", "net", "cannot del network");
            for nid in nids {
                control.del_nid(nid).map_err(&failed)?;
            }
        }
        Command::NetShow { net, detail } => {
            shown("net", "cannot get networks")?;
            let mut nets = control.nets();
            nets.retain(|status: &NetStatus| net.is_none_or(|net| net == status.net));
            return Ok(some(views::net(&nets, detail)));
        }
        Command::RouteAdd(routes) => {
            let failed = failed("add", "route", "cannot add route");
            for route in routes {
                control.add_route(route).map_err(&failed)?;
            }
        }
        Command::RouteDel { net, gateway } => {
            control.del_route(net, gateway).map_err(failed("del", "route", "cannot delete route"))?;
        }
        Command::RouteShow { filter, detail } => {
            shown("route", "cannot get routes")?;
            let mut routes = control.routes();
            routes.retain(|route| filter.fits(route));
            return Ok(some(views::route(&routes, detail)));
        }
        Command::PeerList => {
            shown("peer", "cannot get peers")?;
            return Ok(some(views::peer_list(&control.peers())));
        }
        Command::PeerShow { nid, detail } => {
            shown("peer", "cannot get peers")?;
            let mut peers = control.peers();
            peers.retain(|peer: &PeerStatus| {
                nid.is_none_or(|nid| peer.primary == nid || peer.nis.iter().any(|ni| ni.nid == nid))
            });
            if peers.is_empty()
                && let Some(nid) = nid
            {
                let failure = Failure::new(errno::ENOENT, format!("no peer {nid} is known"));
                return Err(failure.yaml("show", "peer", "cannot get peer information"));
            }
            return Ok(some(views::peer(&peers, detail)));
        }
        Command::PeerAdd(peer) => {
            control.add_peer(peer).map_err(failed("add", "peer", "cannot add peer"))?;
        }
        Command::PeerDel { primary, nids } => {
            control.del_peer(primary, &nids).map_err(failed("del", "peer", "cannot del peer"))?;
        }
        Command::RoutingShow => {
            shown("routing", "cannot get routing information")?;
            return Ok(views::routing(&control.routing()).to_string());
        }
        Command::Set(tunable, value) => set(control, tunable, value)?,
        Command::StatsShow => {
            shown("statistics", "cannot get lnet statistics")?;
            return Ok(views::statistics(&control.statistics()).to_string());
        }
        Command::StatsReset => control.reset_statistics(),
        Command::GlobalShow => {
            shown("global", "cannot get global information")?;
            return Ok(views::global(&control.global()).to_string());
        }
        Command::Ping { source, nids, timeout } => {
            return Ok(ask(control, Ask::Ping(source), &nids, timeout).await);
        }
        Command::Discover { nids, timeout } => return Ok(ask(control, Ask::Discover, &nids, timeout).await),
        Command::Fault(command) => return faults::lnetctl(control, command),
        Command::Export { backup } => {
            shown("export", "cannot export the configuration")?;
            return Ok(export::export(control, backup).to_string());
        }
        Command::Import { mode, text } => return Ok(import::import(control, mode, &text).await),
    }
    done
}

/// Nothing at all where there are no items, as on Linux.
fn some(yaml: Yaml) -> String {
    let empty = yaml.entries().iter().all(|(_, value)| matches!(value, Yaml::Seq(items) if items.is_empty()));
    if empty { String::new() } else { yaml.to_string() }
}

impl RouteFilter {
    fn fits(&self, route: &RouteStatus) -> bool {
        self.net.is_none_or(|net| net == route.net)
            && self.gateway.is_none_or(|gateway| gateway == route.gateway)
            && self.hops.is_none_or(|hops| route.hops == Some(hops))
            && self.priority.is_none_or(|priority| priority == route.priority)
    }
}

/// The two questions to other nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// From this NID, if one is given.
    Ping(Option<Nid>),
    Discover,
}

impl Ask {
    const fn name(self) -> &'static str {
        match self {
            Ask::Ping(_) => "ping",
            Ask::Discover => "discover",
        }
    }
}

/// Asks one node after another. Answers come together, failures each by itself.
pub(super) async fn ask<C: Control>(
    control: &C,
    what: Ask,
    nids: &[Nid],
    timeout: core::time::Duration,
) -> String {
    let (mut answers, mut failures) = (Vec::new(), String::new());
    for nid in nids {
        let answer = match what {
            Ask::Ping(source) => control.ping(source, *nid, timeout).await,
            Ask::Discover => control.discover(*nid, timeout).await,
        };
        match answer {
            Ok(info) => answers.push(views::ping_info(*nid, &info, what != Ask::Discover)),
            Err(failure) => {
                let context = format!("failed to {} {nid}", what.name());
                failures.push_str(&failure.yaml("manage", what.name(), &context).to_string());
            }
        }
    }
    let answers = some(Yaml::map().with(what.name(), Yaml::Seq(answers)));
    answers + &failures
}

/// `lnetctl set`.
pub(super) fn set<C: Control>(control: &C, tunable: Tunable, value: u32) -> Result<(), Yaml> {
    let result = match tunable {
        Tunable::Routing => control.set_routing(value != 0),
        Tunable::Buffers(buffers) => control.set_buffers(buffers),
        Tunable::Setting(setting) => in_range(setting, value).and_then(|()| control.set(setting, value)),
        Tunable::Without(name, current) => without_effect(name, current(&control.global()), value),
    };
    let what = tunable.name();
    result.map_err(|failure| failure.yaml("set", what, &format!("cannot set {what}")))
}

fn in_range(setting: Setting, value: u32) -> Result<(), Failure> {
    let (least, most) = match setting {
        Setting::Discovery | Setting::DropAsymRoute => (0, 1),
        Setting::TransactionTimeout => (1, 3600),
        Setting::MaxInterfaces => (16, 4096),
    };
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Failure::new(errno::ERANGE, format!("{value} is not between {least} and {most}")))
}

/// What cannot be changed may be set to what it is: scripts for Linux do that.
fn without_effect(name: &str, current: u32, value: u32) -> Result<(), Failure> {
    if value == current {
        return Ok(());
    }
    let text = format!(
        "{name} is always {current} here: this node keeps no health values and sends no message a second time"
    );
    Err(Failure::new(errno::EOPNOTSUPP, text))
}

/// Reads a setting that has no effect.
pub(super) type Current = fn(&GlobalStatus) -> u32;

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, lnetctl};
    use super::*;

    #[test]
    fn success_is_silent_and_reaches_the_node() {
        let fake = Fake::up();
        for line in [
            "net add --net tcp7 --if eth3 --peer-credits 32",
            "net del --net tcp7",
            "net add --net tcp8 --if eth1 --large",
            "net add --nid 2001:db8::1@tcp8,10.0.0.1@tcp9 --credits 64",
            "net del --nid 2001:db8::1@tcp8",
            "lnet configure --all --large",
            "route add --net tcp3 --gateway 10.1.0.9@tcp --hop 2 --priority 1",
            "route del --net tcp3 --gateway 10.1.0.9@tcp",
            "peer add --prim_nid 10.1.0.7@tcp --nid 10.2.0.7@tcp1,2001:db8::7@tcp1",
            "peer add --prim_nid 10.1.0.8@tcp --non_mr",
            "peer del --prim_nid 10.1.0.7@tcp --nid 10.2.0.7@tcp1",
            "peer del --prim_nid 10.1.0.8@tcp --force",
            "set routing 0",
            "set tiny_buffers 512",
            "set discovery 0",
            "set retry_count 0",
            "stats reset",
        ] {
            assert_eq!(lnetctl(&fake, line), "", "{line}");
        }
        let done = fake.done.borrow();
        assert_eq!(
            done.join("\n"),
            "add_net tcp7 eth3 peer_credits 32\ndel_net tcp7\nadd_net tcp8 eth1 large\n\
             add_net tcp8 2001:db8::1 credits 64\nadd_net tcp9 10.0.0.1 credits 64\ndel_nid 2001:db8::1@tcp8\n\
             configure all large\nadd_route tcp3 10.1.0.9@tcp hops 2 priority 1\n\
             del_route tcp3 10.1.0.9@tcp\n\
             add_peer 10.1.0.7@tcp 10.2.0.7@tcp1 2001:db8::7@tcp1\nadd_peer 10.1.0.8@tcp non_mr\n\
             del_peer 10.1.0.7@tcp 10.2.0.7@tcp1\ndel_peer 10.1.0.8@tcp\nset_routing false\nset_buffers tiny 512\nset Discovery 0\nreset"
        );
    }

    #[test]
    fn failures_are_yaml() {
        let fake = Fake::up();
        *fake.refuse.borrow_mut() = Some(Failure::new(errno::EEXIST, "there is an NI 10.1.0.1@tcp already"));
        assert_eq!(
            lnetctl(&fake, "net add --net tcp --if eth0"),
            "add:\n    - net:\n          errno: -17\n          descr: \"cannot add network: there is an NI \
             10.1.0.1@tcp already\"\n"
        );
        assert_eq!(
            lnetctl(&Fake::down(), "net show"),
            "show:\n    - net:\n          errno: -100\n          descr: \"cannot get networks: LNet is not up: \
             lnetctl lnet configure starts it\"\n"
        );
        assert!(lnetctl(&Fake::up(), "set retry_count 2").contains("errno: -95"));
        assert!(lnetctl(&Fake::up(), "set max_interfaces 1").contains("16 and 4096"));
    }

    #[test]
    fn routing_keeps_lnet_up_unless_told_explicitly() {
        let fake = Fake::up();
        let text = lnetctl(&fake, "lnet unconfigure");
        assert!(text.starts_with("unconfigure:\n    - lnet:\n          errno: -16\n"), "{text}");
        assert_eq!(lnetctl(&fake, "lnet unconfigure --force"), "");
        assert_eq!(lnetctl(&fake, "lnet unconfigure --drain"), "");
        assert_eq!(*fake.done.borrow(), ["unconfigure Now", "unconfigure Drain"]);
    }

    #[test]
    fn pings() {
        let fake = Fake::up();
        assert_eq!(
            lnetctl(&fake, "ping 10.1.0.2@tcp"),
            "\
ping:
    - primary nid: 10.1.0.2@tcp
      Multi-Rail: True
      peer ni:
        - nid: 0@lo
        - nid: 10.1.0.2@tcp
        - nid: 10.2.0.2@tcp1
"
        );
        assert_eq!(
            lnetctl(&fake, "ping 10.9.0.9@tcp"),
            "manage:\n    - ping:\n          errno: -110\n          descr: failed to ping 10.9.0.9@tcp: timed out\n"
        );
        lnetctl(&fake, "ping --source 10.1.0.1@tcp 10.1.0.2@tcp");
        assert_eq!(*fake.done.borrow(), ["ping 10.1.0.1@tcp 10.1.0.2@tcp"]);
        let text = lnetctl(&fake, "discover 10.1.0.2@tcp 10.9.0.9@tcp");
        assert!(text.starts_with("discover:\n    - primary nid: 10.1.0.2@tcp\n"), "{text}");
        assert!(!text.contains("0@lo") && text.contains("failed to discover 10.9.0.9@tcp"), "{text}");
    }

    #[test]
    fn selections() {
        let fake = Fake::up();
        let text = lnetctl(&fake, "net show --net tcp1");
        assert!(text.contains("tcp1") && !text.contains("0@lo"), "{text}");
        assert_eq!(lnetctl(&fake, "net show --net tcp9"), "");
        assert_eq!(lnetctl(&fake, "route show --net tcp9"), "");
        assert!(lnetctl(&fake, "peer show --nid 10.7.7.7@tcp").contains("errno: -2"));
        assert!(lnetctl(&fake, "peer show --nid 10.2.0.2@tcp1").contains("primary nid: 10.1.0.2@tcp"));
    }
}
