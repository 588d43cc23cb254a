//! Fault rules in words and as YAML (LNet specification section 8.3).

use super::args::{self, Args, Opt};
use super::control::Control;
use super::failure::{Failure, errno};
use super::yaml::Yaml;
use crate::lnet::show::FaultStatus;
use crate::lnet::{FaultAction, FaultRule, HealthError, HealthErrors, NidPattern, Often};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;
use keelson_lnet_wire::message::PORTALS;
use keelson_lnet_wire::nid::{NetId, Nid};

/// Rules that drop, or rules that delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// `drop`.
    Drop,
    /// `delay`.
    Delay,
}

/// A command about the rules of a kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultCommand {
    /// One rule more.
    Add(FaultRule),
    /// Those of this source and destination; all when not given.
    Del(FaultKind, Option<(NidPattern, NidPattern)>),
    /// Shows them.
    Show(FaultKind),
    /// Sets their counters back.
    Reset(FaultKind),
}

/// How it is said right.
const USAGE: &str = "expected is drop|delay add -s NID -d NID (-r RATE | -i SECONDS | -x | -n) [-l SECONDS] \
                     [-p PORTAL] [-m PUT|GET|ACK|REPLY] [-o LOCAL_NID] [-e HEALTH_ERROR], del (-a | -s NID -d NID), show or reset";

impl FaultCommand {
    /// Reads the words behind `lnetctl fault`.
    pub fn from_lnetctl(words: &[&str]) -> Result<FaultCommand, String> {
        let (kind, verb, rest) = match words {
            ["drop", verb, rest @ ..] => (FaultKind::Drop, *verb, rest),
            ["delay", verb, rest @ ..] => (FaultKind::Delay, *verb, rest),
            _ => return Err(USAGE.to_string()),
        };
        FaultCommand::parse(kind, verb, rest)
    }

    /// Reads the words behind `net_drop_VERB` and `net_delay_VERB`.
    pub fn parse(kind: FaultKind, verb: &str, words: &[&str]) -> Result<FaultCommand, String> {
        match verb {
            "add" => rule(kind, words).map(FaultCommand::Add),
            "del" => {
                let args = args::parse(words, &[SOURCE, DESTINATION, Opt::flag("all", 'a')])?;
                args.no_rest()?;
                let pair = match (args.get("source"), args.get("dest")) {
                    (None, None) if args.has("all") => None,
                    (Some(source), Some(destination)) => Some((pattern(source)?, pattern(destination)?)),
                    _ => return Err("del needs -a, or -s NID and -d NID".to_string()),
                };
                Ok(FaultCommand::Del(kind, pair))
            }
            "show" | "list" => Ok(FaultCommand::Show(kind)),
            "reset" => Ok(FaultCommand::Reset(kind)),
            _ => Err(USAGE.to_string()),
        }
    }
}

const SOURCE: Opt = Opt::value("source", 's');
const DESTINATION: Opt = Opt::value("dest", 'd');

fn rule(kind: FaultKind, words: &[&str]) -> Result<FaultRule, String> {
    let known = [
        SOURCE,
        DESTINATION,
        Opt::value("rate", 'r'),
        Opt::value("interval", 'i'),
        Opt::value("latency", 'l'),
        Opt::value("portal", 'p'),
        Opt::value("message", 'm'),
        Opt::value("local_nid", 'o'),
        Opt::value("health_error", 'e'),
        Opt::flag("random", 'n'),
        Opt::flag("drop_all", 'x'),
    ];
    let args = args::parse(words, &known)?;
    args.no_rest()?;
    let errors = health_errors(&args)?;
    let action = match (kind, args.read("latency", "seconds")?) {
        (FaultKind::Drop, None) if errors.is_empty() => FaultAction::Drop,
        (FaultKind::Drop, None) if args.has("drop_all") => {
            return Err("--drop_all loses messages as they arrive, --health_error when they are sent: \
                        give --rate, --interval or --random"
                .to_string());
        }
        (FaultKind::Drop, None) => FaultAction::Fail(errors),
        (FaultKind::Delay, _) if !errors.is_empty() => {
            return Err("a delay rule has no health error".to_string());
        }
        (FaultKind::Drop, Some(_)) => return Err("a drop rule has no latency".to_string()),
        (FaultKind::Delay, Some(seconds @ 1..=3600)) => FaultAction::Delay(Duration::from_secs(seconds)),
        (FaultKind::Delay, _) => return Err("a delay rule needs --latency, 1 to 3600 seconds".to_string()),
    };
    Ok(FaultRule {
        action,
        source: pattern(args.get("source").ok_or("--source is missing")?)?,
        destination: pattern(args.get("dest").ok_or("--dest is missing")?)?,
        local: args.read("local_nid", "a NID of this node")?,
        portals: portals(&args)?,
        types: types(&args)?,
        often: often(&args)?,
    })
}

fn often(args: &Args<'_>) -> Result<Often, String> {
    let rate = args.read::<u32>("rate", "one message in so many")?;
    let interval = args.read::<u32>("interval", "seconds")?;
    match (rate, interval, args.has("drop_all"), args.has("random")) {
        (Some(rate @ 1..), None, false, false) => Ok(Often::Rate(rate)),
        (None, Some(seconds @ 1..=86_400), false, false) => {
            Ok(Often::Interval(Duration::from_secs(seconds.into())))
        }
        (None, None, true, false) => Ok(Often::Always),
        (None, None, false, true) => Ok(Often::Half),
        _ => {
            Err("exactly one of --rate N, --interval SECONDS, --drop_all and --random is needed".to_string())
        }
    }
}

fn health_errors(args: &Args<'_>) -> Result<HealthErrors, String> {
    let mut errors = HealthErrors::default();
    for name in args.all("health_error").flat_map(|list| list.split(',')) {
        if !errors.add(name) {
            let names: Vec<_> = HealthError::ALL.into_iter().map(HealthError::name).collect();
            return Err(format!("health_error '{name}': expected is {} or random", names.join(", ")));
        }
    }
    Ok(errors)
}

fn portals(args: &Args<'_>) -> Result<u64, String> {
    let bit = |text| match args::read::<u32>("portal", text, "0 to 63")? {
        portal if portal < PORTALS => Ok(1u64 << portal),
        portal => Err(format!("portal '{portal}': expected is 0 to 63")),
    };
    args.all("portal").flat_map(|list| list.split(',')).try_fold(0, |mask, text| Ok(mask | bit(text)?))
}

fn types(args: &Args<'_>) -> Result<u32, String> {
    args.all("message").flat_map(|list| list.split(',')).try_fold(0, |mask, name| {
        let bit = match name.to_ascii_uppercase().as_str() {
            "ACK" => 1,
            "PUT" => 2,
            "GET" => 4,
            "REPLY" => 8,
            _ => return Err(format!("message '{name}': expected is PUT, GET, ACK or REPLY")),
        };
        Ok(mask | bit)
    })
}

/// `*`, `*@tcp`, `255.255.255.255@tcp` or a NID.
fn pattern(text: &str) -> Result<NidPattern, String> {
    if matches!(text, "*" | "any" | "<?>") {
        return Ok(NidPattern::Any);
    }
    let wrong = || format!("'{text}': expected is a NID, *@NET or *");
    match text.split_once('@') {
        Some(("*" | "255.255.255.255", net)) => {
            net.parse::<NetId>().map(NidPattern::Net).map_err(|_| wrong())
        }
        _ => text.parse::<Nid>().map(NidPattern::One).map_err(|_| wrong()),
    }
}

fn pattern_text(pattern: &NidPattern) -> String {
    match pattern {
        NidPattern::Any => Nid::ANY.to_string(),
        NidPattern::Net(net) => format!("255.255.255.255@{net}"),
        NidPattern::One(nid) => nid.to_string(),
    }
}

fn kind_of(rule: &FaultRule) -> FaultKind {
    match rule.action {
        FaultAction::Drop | FaultAction::Fail(_) => FaultKind::Drop,
        FaultAction::Delay(_) => FaultKind::Delay,
    }
}

/// Does what a command says, for either tool; `show` makes the text of what is shown.
fn run<C: Control>(
    control: &C,
    command: FaultCommand,
    show: impl Fn(&[FaultStatus]) -> String,
) -> Result<String, (&'static str, Failure)> {
    match command {
        FaultCommand::Add(rule) => control.add_fault(rule).map_err(|failure| ("add", failure))?,
        FaultCommand::Del(kind, pair) => {
            let meant = |rule: &FaultRule| {
                kind_of(rule) == kind && pair.is_none_or(|pair| (rule.source, rule.destination) == pair)
            };
            let count = control.del_faults(&meant);
            if count == 0 && pair.is_some() {
                return Err(("del", Failure::new(errno::ENOENT, "there is no such rule")));
            }
        }
        FaultCommand::Show(kind) => {
            let mut faults = control.faults();
            faults.retain(|fault| kind_of(&fault.rule) == kind);
            return Ok(show(&faults));
        }
        FaultCommand::Reset(_) => control.reset_faults(),
    }
    Ok(String::new())
}

/// `lnetctl fault`.
pub fn lnetctl<C: Control>(control: &C, command: FaultCommand) -> Result<String, Yaml> {
    let show = |faults: &[FaultStatus]| match faults {
        [] => String::new(),
        _ => Yaml::map().with("fault", Yaml::seq(faults.iter().map(yaml))).to_string(),
    };
    run(control, command, show)
        .map_err(|(verb, failure)| failure.yaml(verb, "fault", &format!("cannot {verb} fault rule")))
}

/// `lctl net_drop_*` and `net_delay_*`.
pub fn lctl<C: Control>(control: &C, command: FaultCommand) -> String {
    let show = |faults: &[FaultStatus]| {
        let mut text = String::new();
        for fault in faults {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line(fault));
        }
        text
    };
    match run(control, command, show) {
        Ok(text) => text,
        Err((verb, failure)) => format!("failed to {verb} the rule: {failure}\n"),
    }
}

fn yaml(fault: &FaultStatus) -> Yaml {
    let rule = &fault.rule;
    let (kind, prefix, acted) = match kind_of(rule) {
        FaultKind::Drop => ("drop", "da", "ds_dropped"),
        FaultKind::Delay => ("delay", "la", "ls_delayed"),
    };
    let (rate, interval) = match rule.often {
        Often::Rate(rate) => (rate, 0),
        Often::Interval(span) => (0, span.as_secs()),
        Often::Always => (1, 0),
        Often::Half => (2, 0),
    };
    let mut yaml = Yaml::map()
        .with("rule_type", kind)
        .with("fa_src", pattern_text(&rule.source))
        .with("fa_dst", pattern_text(&rule.destination));
    if let Some(local) = rule.local {
        yaml = yaml.with("fa_local_nid", local);
    }
    yaml = yaml
        .with("fa_ptl_mask", format!("{:#x}", rule.portals))
        .with("fa_msg_mask", format!("{:#x}", rule.types))
        .with(&format!("{prefix}_rate"), rate)
        .with(&format!("{prefix}_interval"), interval);
    match rule.action {
        FaultAction::Drop => {}
        FaultAction::Fail(errors) => yaml = yaml.with("da_health_error_mask", errors.to_string()),
        FaultAction::Delay(latency) => yaml = yaml.with("la_latency", latency.as_secs()),
    }
    yaml.with(acted, fault.acted)
        .with("fs_count", fault.matched)
        .with("fs_put", fault.by_type.put)
        .with("fs_ack", fault.by_type.ack)
        .with("fs_get", fault.by_type.get)
        .with("fs_reply", fault.by_type.reply)
}

/// A rule and its counters on a line; the layout is Keelson's own.
fn line(fault: &FaultStatus) -> String {
    let rule = &fault.rule;
    let often = match rule.often {
        Often::Rate(rate) => format!("1/{rate}"),
        Often::Interval(span) => format!("every {} s", span.as_secs()),
        Often::Always => String::from("all"),
        Often::Half => String::from("random"),
    };
    let what = match rule.action {
        FaultAction::Drop => String::from("dropped"),
        FaultAction::Fail(errors) => format!("failed with {errors}"),
        FaultAction::Delay(latency) => format!("delayed by {} s", latency.as_secs()),
    };
    format!(
        "{}->{} ({often}) ptl {:#x} msg {:#x}: {}/{} {what}, PUT {}, ACK {}, GET {}, REPLY {}",
        pattern_text(&rule.source),
        pattern_text(&rule.destination),
        rule.portals,
        rule.types,
        fault.acted,
        fault.matched,
        fault.by_type.put,
        fault.by_type.ack,
        fault.by_type.get,
        fault.by_type.reply
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Fake};
    use super::*;

    fn add(line: &str) -> Result<FaultRule, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match FaultCommand::from_lnetctl(&words)? {
            FaultCommand::Add(rule) => Ok(rule),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_are_read() {
        let read =
            add("drop add -s *@tcp -d 10.2.0.2@tcp1 -r 10 -p 4,28 -m PUT -m get -o 10.1.0.1@tcp").unwrap();
        let rule = FaultRule {
            action: FaultAction::Drop,
            source: NidPattern::Net(testing::net("tcp")),
            destination: NidPattern::One(testing::nid("10.2.0.2@tcp1")),
            local: Some(testing::nid("10.1.0.1@tcp")),
            portals: 1 << 4 | 1 << 28,
            types: 6,
            often: Often::Rate(10),
        };
        assert_eq!(read, rule);
        let read = add("delay add --source * --dest 255.255.255.255@tcp1 --interval 3 --latency 5").unwrap();
        assert_eq!(read.action, FaultAction::Delay(Duration::from_secs(5)));
        assert_eq!((read.source, read.often), (NidPattern::Any, Often::Interval(Duration::from_secs(3))));
        let mut errors = HealthErrors::default();
        assert!(errors.add("local_error") && errors.add("remote_timeout"));
        let read = add("drop add -s * -d * -r 3 -e local_error -e remote_timeout").unwrap();
        assert_eq!(read.action, FaultAction::Fail(errors));
        let random = add("drop add -s * -d * -n -e random").unwrap();
        assert_eq!(random.action, FaultAction::Fail(HealthErrors::RANDOM));
        assert_eq!(add("drop add -s * -d * -x").unwrap().often, Often::Always);
        assert_eq!(add("drop add -s * -d * --random").unwrap().often, Often::Half);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, says) in [
            ("drop add -d * -r 1", "--source is missing"),
            ("drop add -s * -d *", "exactly one of"),
            ("drop add -s * -d * -r 1 -i 1", "exactly one of"),
            ("drop add -s * -d * -r 0", "exactly one of"),
            ("drop add -s * -d * -r 1 -l 1", "no latency"),
            ("delay add -s * -d * -r 1", "needs --latency"),
            ("drop add -s x@y -d * -r 1", "'x@y': expected is a NID"),
            ("drop add -s * -d * -r 1 -p 64", "portal '64'"),
            ("drop add -s * -d * -r 1 -m HELLO", "message 'HELLO'"),
            (
                "drop add -s * -d * -r 1 -e local_fault",
                "health_error 'local_fault': expected is local_interrupt,",
            ),
            ("drop add -s * -d * -x -e local_error", "--drop_all loses messages as they arrive"),
            ("delay add -s * -d * -r 1 -l 1 -e local_error", "no health error"),
            ("drop del", "-a, or -s NID"),
            ("drop", "expected is drop|delay add"),
        ] {
            let error = add(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn rules_are_shown() {
        let expected = "\
fault:
    - rule_type: drop
      fa_src: 255.255.255.255@tcp
      fa_dst: 10.2.0.2@tcp1
      fa_ptl_mask: 0x0
      fa_msg_mask: 0x2
      da_rate: 10
      da_interval: 0
      ds_dropped: 3
      fs_count: 30
      fs_put: 30
      fs_ack: 0
      fs_get: 0
      fs_reply: 0
";
        assert_eq!(testing::lnetctl(&Fake::up(), "fault drop show"), expected);
        let delay = testing::lnetctl(&Fake::up(), "fault delay show");
        assert!(delay.contains("la_interval: 3\n      la_latency: 5\n      ls_delayed: 2\n"), "{delay}");
        assert_eq!(
            testing::lctl(&Fake::up(), "net_drop_list"),
            "255.255.255.255@tcp->10.2.0.2@tcp1 (1/10) ptl 0x0 msg 0x2: 3/30 dropped, PUT 30, ACK 0, GET 0, REPLY 0\n"
        );
    }

    #[test]
    fn rules_are_deleted_by_what_they_say() {
        let fake = Fake::up();
        assert_eq!(testing::lnetctl(&fake, "fault drop del -s *@tcp -d 10.2.0.2@tcp1"), "");
        assert!(testing::lnetctl(&fake, "fault drop del -s *@tcp -d 10.2.0.3@tcp1").contains("errno: -2"));
        assert_eq!(testing::lctl(&fake, "net_delay_del -a"), "");
    }
}
