//! What can be said to `lnetctl` (LNet specification section 1.9).

use super::super::args::{self, Args, Opt};
use super::super::control::{Configure, NetRequest, TunableChanges};
use super::super::faults::FaultCommand;
use super::super::import::Mode;
use super::command::{Command, RouteFilter, Tunable};
use crate::lnet::{AddressChoice, PeerConfig, RouteConfig, Stop};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid};

/// How long `ping` waits if nobody says otherwise (section 5.7).
pub const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `discover` does: it is two requests.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a ping may be asked to wait (section 6.1).
pub const MOST_SECONDS: u64 = 120;

/// What [`parse`] says to `help` or nothing.
pub const HELP: &str = "\
lnetctl lnet configure [--all] [--large]    bring LNet up; --all: with what the command line says; --large: with IPv6
lnetctl lnet unconfigure [--drain|--force]  bring LNet down; a router only when drained, or by force
lnetctl net show [--net NET] [-v LEVEL]
lnetctl net add --net NET [--if IF,...] [--large] [--peer-timeout S] [--peer-credits N]
                [--peer-buffer-credits N] [--credits N] [--conns-per-peer N]
lnetctl net add --nid NID,... [...]
lnetctl net del --net NET [--if IF,...] | --nid NID,...
lnetctl route show [--net NET] [--gateway NID] [--hop N] [--priority N] [-v]
lnetctl route add --net NET --gateway NID[,...] [--hop N] [--priority N]
lnetctl route del --net NET [--gateway NID]
lnetctl peer list | peer show [--nid NID] [-v LEVEL]
lnetctl peer add --prim_nid NID [--nid NID,...] [--non_mr]
lnetctl peer del --prim_nid NID [--nid NID,...]
lnetctl routing show
lnetctl set routing|tiny_buffers|small_buffers|large_buffers|discovery|drop_asym_route|transaction_timeout|
            max_interfaces N
lnetctl stats show | stats reset
lnetctl global show
lnetctl ping [--source NID] [--timeout SECONDS] NID...
lnetctl discover [--timeout SECONDS] NID...
lnetctl fault drop|delay add|del|show|reset ...
lnetctl export [--backup]
lnetctl import [--add|--del|--show|--exec] <<END     then YAML, then END
";

/// Reads the words behind `lnetctl`.
///
/// # Errors
///
/// What to print: the mistake, and how it is said right.
pub fn parse(words: &[&str]) -> Result<Command, String> {
    command(words).map_err(|mistake| {
        let usage = usage(words.first().copied().unwrap_or_default());
        format!("lnetctl: {mistake}\n{usage}\n")
    })
}

/// The lines of [`HELP`] about a command.
fn usage(section: &str) -> String {
    let mut about = false;
    let lines = HELP.lines().filter(|line| {
        if let Some(names) = line.strip_prefix("lnetctl ").and_then(|line| line.split(' ').next()) {
            about = names.split('|').any(|name| name == section);
        }
        about
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { "lnetctl help lists all commands".to_string() } else { lines.join("\n") }
}

fn command(words: &[&str]) -> Result<Command, String> {
    let (section, rest) = match words {
        [] | ["help" | "--help" | "-h", ..] => return Ok(Command::Help(HELP)),
        [section, rest @ ..] => (*section, rest),
    };
    // `net show` and so on: a verb follows.
    let (verb, rest) = match section {
        "lnet" | "net" | "route" | "peer" | "routing" | "stats" | "global" => match rest {
            [verb, rest @ ..] => (*verb, rest),
            [] => return Err(format!("{section} what?")),
        },
        _ => ("", rest),
    };
    match (section, verb) {
        ("lnet", "configure") => {
            let args = args::parse(rest, &[Opt::flag("all", 'a'), Opt::flag("large", 'l')])?;
            args.no_rest()?;
            Ok(Command::Configure(Configure { all: args.has("all"), large: args.has("large") }))
        }
        ("lnet", "unconfigure") => unconfigure(rest),
        ("net", "add") => net_add(rest),
        ("net", "del") => {
            let args = args::parse(rest, &[NET, INTERFACE, OWN_NID])?;
            args.no_rest()?;
            match own_nids(&args)? {
                None => Ok(Command::NetDel { net: net(&args)?, interfaces: interfaces(&args) }),
                Some(_) if args.has("if") => Err("--if is invalid with --nid option".to_string()),
                Some(nids) => Ok(Command::NidDel(nids)),
            }
        }
        ("net", "show") => {
            let args = args::parse(rest, &[NET, Opt::VERBOSE])?;
            args.no_rest()?;
            Ok(Command::NetShow { net: args.read("net", NET_FORM)?, detail: args.detail()? })
        }
        ("route", "add") => route_add(rest),
        ("route", "del") => {
            let args = args::parse(rest, &[NET, GATEWAY])?;
            args.no_rest()?;
            Ok(Command::RouteDel { net: net(&args)?, gateway: args.read("gateway", NID_FORM)? })
        }
        ("route", "show") => {
            let args = args::parse(rest, &[NET, GATEWAY, HOP, PRIORITY, Opt::VERBOSE])?;
            args.no_rest()?;
            let filter = RouteFilter {
                net: args.read("net", NET_FORM)?,
                gateway: args.read("gateway", NID_FORM)?,
                hops: args.read("hop", HOP_FORM)?,
                priority: args.read("priority", PRIORITY_FORM)?,
            };
            Ok(Command::RouteShow { filter, detail: args.detail()? })
        }
        ("peer", "list") => nothing_more(rest, Command::PeerList),
        ("peer", "show") => {
            let args = args::parse(rest, &[Opt::value("nid", 'n'), Opt::VERBOSE])?;
            args.no_rest()?;
            Ok(Command::PeerShow { nid: args.read("nid", NID_FORM)?, detail: args.detail()? })
        }
        ("peer", "add") => peer_add(rest),
        ("peer", "del") => {
            // Nothing that force would be needed for: no primary NID is locked here.
            let args = args::parse(rest, &[PRIMARY, PEER_NIDS, Opt::flag("force", 'f')])?;
            let (primary, nids) = peer_nids(&args)?;
            Ok(Command::PeerDel { primary, nids })
        }
        ("routing", "show") => nothing_more(rest, Command::RoutingShow),
        ("stats", "show") => nothing_more(rest, Command::StatsShow),
        ("stats", "reset") => nothing_more(rest, Command::StatsReset),
        ("global", "show") => nothing_more(rest, Command::GlobalShow),
        ("set", _) => set(rest),
        ("ping", _) => {
            let args = args::parse(rest, &[TIMEOUT, Opt::value("source", 's')])?;
            let (nids, timeout) = whom(&args, PING_TIMEOUT)?;
            Ok(Command::Ping { source: args.read("source", NID_FORM)?, nids, timeout })
        }
        ("discover", _) => {
            let args = args::parse(rest, &[TIMEOUT])?;
            let (nids, timeout) = whom(&args, DISCOVER_TIMEOUT)?;
            Ok(Command::Discover { nids, timeout })
        }
        ("fault", _) => FaultCommand::from_lnetctl(rest).map(Command::Fault),
        ("export", _) => {
            let args = args::parse(rest, &[Opt::flag("backup", 'b')])?;
            args.no_rest().map_err(|_| "there are no files here: the text is shown".to_string())?;
            Ok(Command::Export { backup: args.has("backup") })
        }
        ("import", _) => import(rest),
        (_, "") => Err(format!("'{section}' is no command here")),
        _ => Err(format!("'{section} {verb}' is no command here")),
    }
}

const NET: Opt = Opt::value("net", 'n');
const INTERFACE: Opt = Opt::value("if", 'i');
/// In place of network and interface, as with Lustre: it has no letter there either.
const OWN_NID: Opt = Opt::value("nid", ' ');
const PRIMARY: Opt = Opt::value("prim_nid", 'k');
const PEER_NIDS: Opt = Opt::value("nid", 'n');
const TIMEOUT: Opt = Opt::value("timeout", 't');
const GATEWAY: Opt = Opt::value("gateway", 'g');
const HOP: Opt = Opt::value("hop", 'c');
const PRIORITY: Opt = Opt::value("priority", 'p');
const NET_FORM: &str = "a network such as tcp1";
const NID_FORM: &str = "a NID such as 10.0.0.1@tcp1";
const HOP_FORM: &str = "1 to 255";
const PRIORITY_FORM: &str = "a number, lower is preferred";
const COUNT_FORM: &str = "a number";

fn nothing_more(rest: &[&str], command: Command) -> Result<Command, String> {
    match rest.first() {
        None => Ok(command),
        Some(word) => Err(format!("'{word}' was not expected")),
    }
}

fn net(args: &Args<'_>) -> Result<NetId, String> {
    args.need("net", NET_FORM)
}

fn interfaces(args: &Args<'_>) -> Vec<String> {
    args.all("if")
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect()
}

/// NIDs that NIs of this node have or shall have.
fn own_nids(args: &Args<'_>) -> Result<Option<Vec<Nid>>, String> {
    if !args.has("nid") {
        return Ok(None);
    }
    if args.has("net") {
        return Err("--net is invalid with --nid option".to_string());
    }
    let nids = args.all("nid").flat_map(|list| list.split(','));
    nids.map(|nid| args::read("nid", nid, NID_FORM)).collect::<Result<_, _>>().map(Some)
}

fn unconfigure(words: &[&str]) -> Result<Command, String> {
    let args = args::parse(words, &[Opt::flag("drain", 'd'), Opt::flag("force", 'f')])?;
    args.no_rest()?;
    match (args.has("drain"), args.has("force")) {
        (true, true) => Err("--drain and --force exclude each other".to_string()),
        (true, false) => Ok(Command::Unconfigure(Stop::Drain)),
        (false, true) => Ok(Command::Unconfigure(Stop::Now)),
        (false, false) => Ok(Command::Unconfigure(Stop::IfNotRouting)),
    }
}

fn net_add(words: &[&str]) -> Result<Command, String> {
    let known = [
        NET,
        INTERFACE,
        OWN_NID,
        // Lustre has it with `lnet configure` only; 'l' is free here.
        Opt::flag("large", 'l'),
        Opt::value("peer-timeout", 't'),
        Opt::value("peer-credits", 'c'),
        Opt::value("peer-buffer-credits", 'b'),
        Opt::value("credits", 'r'),
        Opt::value("conns-per-peer", 'm'),
        // Accepted and without effect: there are no CPU partitions.
        Opt::value("cpt", 's'),
    ];
    let args = args::parse(words, &known)?;
    args.no_rest()?;
    let tunables = TunableChanges {
        credits: args.read("credits", COUNT_FORM)?,
        peer_credits: args.read("peer-credits", COUNT_FORM)?,
        peer_buffer_credits: args.read("peer-buffer-credits", COUNT_FORM)?,
        peer_timeout: args.read("peer-timeout", "seconds")?,
        conns_per_peer: args.read("conns-per-peer", "0 to 8")?,
    };
    check_tunables(&tunables)?;
    let interfaces = interfaces(&args);
    let Some(nids) = own_nids(&args)? else {
        let address = if args.has("large") { AddressChoice::Large } else { AddressChoice::Usual };
        return Ok(Command::NetAdd(Vec::from([NetRequest {
            net: net(&args)?,
            interfaces,
            address,
            tunables,
        }])));
    };
    if args.has("large") {
        return Err("--large is invalid with --nid option".to_string());
    }
    let request = |nid: Nid| {
        let address = nid.ip().ok_or_else(|| format!("nid '{nid}' has no address"))?;
        let (interfaces, address) = (interfaces.clone(), AddressChoice::Exactly(address));
        Ok(NetRequest { net: nid.net(), interfaces, address, tunables })
    };
    nids.into_iter().map(request).collect::<Result<_, String>>().map(Command::NetAdd)
}

/// Zero credits would stop all traffic; what is too much is what an option refuses, too.
pub(in crate::admin) fn check_tunables(tunables: &TunableChanges) -> Result<(), String> {
    let within = |name: &str, value: Option<u32>, least: u32, most: u32| match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(format!("{name} '{value}': expected is {least} to {most}"))
        }
        _ => Ok(()),
    };
    within("credits", tunables.credits, 1, 65_536)?;
    within("peer_credits", tunables.peer_credits, 1, 65_536)?;
    within("peer_buffer_credits", tunables.peer_buffer_credits, 0, 65_536)?;
    within("peer_timeout", tunables.peer_timeout, 0, 86_400)?;
    within("conns_per_peer", tunables.conns_per_peer.map(u32::from), 0, 8)
}

fn route_add(words: &[&str]) -> Result<Command, String> {
    let args = args::parse(words, &[NET, GATEWAY, HOP, PRIORITY])?;
    args.no_rest()?;
    let net = net(&args)?;
    let hops = match args.get("hop") {
        None | Some("-1") => None,
        Some(text) => Some(args::read("hop", text, HOP_FORM)?),
    };
    if hops == Some(0) {
        return Err(format!("hop '0': expected is {HOP_FORM}"));
    }
    let priority = args.read("priority", PRIORITY_FORM)?.unwrap_or(0);
    let gateways = args.all("gateway").flat_map(|list| list.split(','));
    let route =
        |gateway| Ok(RouteConfig { net, gateway: args::read("gateway", gateway, NID_FORM)?, hops, priority });
    let routes = gateways.map(route).collect::<Result<Vec<_>, String>>()?;
    if routes.is_empty() {
        return Err(format!("--gateway is missing: {NID_FORM}"));
    }
    Ok(Command::RouteAdd(routes))
}

fn peer_add(words: &[&str]) -> Result<Command, String> {
    let known = [PRIMARY, PEER_NIDS, Opt::flag("non_mr", 'm'), Opt::flag("lock_prim", 'l')];
    let args = args::parse(words, &known)?;
    if args.has("lock_prim") {
        return Err("--lock_prim is not needed: a peer that is added keeps its primary NID".to_string());
    }
    let (primary, nids) = peer_nids(&args)?;
    Ok(Command::PeerAdd(PeerConfig { primary, nids, multi_rail: !args.has("non_mr") }))
}

/// The NIDs of a peer.
fn peer_nids(args: &Args<'_>) -> Result<(Nid, Vec<Nid>), String> {
    args.no_rest()?;
    let primary = args.get("prim_nid").ok_or("--prim_nid must be specified")?;
    let primary = primary.parse().map_err(|_| format!("badly formatted primary NID: {primary}"))?;
    let nids = args.all("nid").flat_map(|list| list.split(','));
    let nids = nids.map(|nid| args::read("nid", nid, NID_FORM)).collect::<Result<_, _>>()?;
    Ok((primary, nids))
}

fn set(words: &[&str]) -> Result<Command, String> {
    let [name, value] = words else {
        return Err("set what, to what?".to_string());
    };
    let value = args::read(name, value, COUNT_FORM)?;
    match Tunable::named(name, value) {
        Some(Tunable::Routing) if value > 1 => Err(format!("routing '{value}': expected is 0 or 1")),
        Some(tunable) => Ok(Command::Set(tunable, value)),
        None => Err(format!("'{name}' cannot be set")),
    }
}

fn whom(args: &Args<'_>, timeout: Duration) -> Result<(Vec<Nid>, Duration), String> {
    let timeout = match args.read::<u64>("timeout", "seconds, up to 120")? {
        None => timeout,
        Some(seconds @ 1..=MOST_SECONDS) => Duration::from_secs(seconds),
        Some(seconds) => return Err(format!("timeout '{seconds}': expected is 1 to {MOST_SECONDS} seconds")),
    };
    let nids = args.rest.iter().flat_map(|list| list.split(',')).map(|nid| args::read("NID", nid, NID_FORM));
    let nids = nids.collect::<Result<Vec<_>, _>>()?;
    if nids.is_empty() { Err(format!("whom? Expected is {NID_FORM}")) } else { Ok((nids, timeout)) }
}

fn import(words: &[&str]) -> Result<Command, String> {
    let known = [
        Opt::flag("add", 'a'),
        Opt::flag("del", 'd'),
        Opt::flag("show", 's'),
        Opt::flag("exec", 'e'),
        Opt::flag("help", 'h'),
    ];
    let args = args::parse(words, &known)?;
    let modes = [("add", Mode::Add), ("del", Mode::Del), ("show", Mode::Show), ("exec", Mode::Exec)];
    let mut given = modes.into_iter().filter(|(name, _)| args.has(name)).map(|(_, mode)| mode);
    let mode = given.next().unwrap_or(Mode::Add);
    if given.next().is_some() {
        return Err("--add, --del, --show and --exec exclude each other".to_string());
    }
    match args.rest.as_slice() {
        [text] => Ok(Command::Import { mode, text: text.to_string() }),
        _ => {
            Err("there are no files here: end the line with <<END, then type the YAML, then END".to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        match parse(&words) {
            Ok(_) => panic!("{line} was accepted"),
            Err(text) => text,
        }
    }

    #[test]
    fn mistakes_name_the_word_and_show_the_usage() {
        for (line, says) in [
            ("net", "net what?\nlnetctl net show"),
            ("net sow", "'net sow' is no command here\nlnetctl net show"),
            ("nets", "'nets' is no command here\nlnetctl help"),
            ("net add --if eth0", "--net is missing: a network such as tcp1"),
            ("net add --net eth0", "net 'eth0': expected is a network"),
            ("net add --net tcp --nid 10.0.0.1@tcp", "--net is invalid with --nid option"),
            ("net add --nid 10.0.0.1@tcp --large", "--large is invalid with --nid"),
            ("net add --nid 0@lo", "has no address"),
            ("net del --nid 10.0.0.1@tcp --if eth0", "--if is invalid with --nid"),
            ("net add --net tcp --peer-credits 0", "peer_credits '0': expected is 1 to 65536"),
            ("route add --net tcp3", "--gateway is missing"),
            ("route add --net tcp3 --gateway x@y --hop 1", "gateway 'x@y'"),
            ("route add --net tcp3 --gateway 10.0.0.1@tcp --hop 256", "hop '256': expected is 1 to 255"),
            ("set routing 2", "0 or 1"),
            ("set colour 2", "'colour' cannot be set"),
            ("set routing", "set what, to what?"),
            ("ping", "whom?"),
            ("ping --timeout 1000 10.0.0.1@tcp", "1 to 120"),
            ("peer add --nid 10.0.0.1@tcp", "--prim_nid must be specified\nlnetctl peer list"),
            ("peer add --prim_nid x", "badly formatted primary NID: x"),
            ("peer add --prim_nid 10.0.0.1@tcp --lock_prim", "keeps its primary NID"),
            ("peer add --prim_nid 10.0.0.1@tcp --force", "--force is no option"),
            ("peer del --prim_nid 10.0.0.1@tcp --non_mr", "--non_mr is no option"),
            ("discover --source 10.0.0.1@tcp 10.0.0.2@tcp", "--source is no option"),
            ("ping --source x@y 10.0.0.2@tcp", "source 'x@y'"),
            ("peer show 10.0.0.1@tcp", "'10.0.0.1@tcp' was not expected"),
            ("export /root/lnet.yaml", "no files here"),
            ("import", "<<END"),
            ("lnet unconfigure --drain --force", "exclude"),
            ("fault", "lnetctl fault drop|delay"),
        ] {
            let text = mistake(line);
            assert!(text.starts_with("lnetctl: ") && text.contains(says), "{line}: {text}");
        }
    }

    #[test]
    fn routes_of_several_gateways() {
        let words = ["route", "add", "-n", "tcp3", "-g", "10.0.0.1@tcp,10.0.0.2@tcp", "--hop=-1", "-p", "4"];
        let Ok(Command::RouteAdd(routes)) = parse(&words) else { panic!("not understood") };
        assert_eq!(routes.len(), 2);
        assert_eq!((routes[1].hops, routes[1].priority), (None, 4));
    }

    #[test]
    fn every_command_of_the_help_is_known() {
        for line in HELP.lines().filter(|line| line.starts_with("lnetctl")) {
            let words: Vec<_> = line.split_whitespace().skip(1).take(2).collect();
            let section = words[0].split('|').next().unwrap();
            let text = match parse(&[section, words.get(1).unwrap_or(&"")]) {
                Ok(_) => continue,
                Err(text) => text,
            };
            assert!(!text.contains(&format!("'{section}' is no command")), "{line}: {text}");
        }
    }
}
