//! `ihkosctl <index> <verb>`: one verb for one node (section 6.3).

use std::ffi::OsString;
use std::time::{Duration, Instant};

use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::Roles;
use keelson_lwk_wire::messages::{Event, EventKind, KmsgLine, Message, Ping};

use super::json::quoted;
use super::options::{Common, Usage};
use super::remote::{Answer, Remote};
use super::{Manual, Problem, Stop, code, dump, options, print};
use crate::boot::place::Place;
use crate::boot::verbs;
use crate::nodes::Node;

const MANUAL: Manual = Manual {
    tool: "ihkosctl",
    help: "usage: ihkosctl [options] <node> <verb>
  get status               INACTIVE BOOTING RUNNING SHUTDOWN PANIC HUNGUP FREEZING FROZEN
  get buildid
  query cpu | query mem    the partition: processors, memory by NUMA node
  query_free_mem           memory that no program has, by NUMA node
  cores                    what each core does
  ps                       programs and threads
  rusage                   what programs use
  noise [reset]            what interrupted each core
  intr <core> <vector> [--force]   interrupts a core, to see it counted; by force also one that runs a program
  kmsg [-f]                the log of the node, and on as it grows
  clear_kmsg               the log begins here
  events [-i <seconds>]    what happens; looks for cores that hang
  freeze | thaw            all programs stop, and go on
  dump [-d 0|24] [-i] [<file>]   memory of the kernel, or all (0), for eclair; -i: the node waits for eclair -i, until thaw
  shutdown [-f] [--wait]   programs end, by force, and the node switches off
and of the record and the machine of a node that does not run:
  load <image>             the boot file, which must be one of an LWK node
  kargs \"<string>\"         kernel arguments; hidos must be among them
  assign cpu <list> | mem <size@numa>
  release cpu|mem <list>|all
  set ikc_map <map> | get ikc_map
  boot
options:
  --conf=<file>            node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf
  --timeout=<seconds>      for each answer of the node (10)
  --json  -v  --version  --help",
};

/// How long `shutdown --wait` waits: the programs' 10 seconds, and the machine's end.
const END: Duration = Duration::from_secs(60);
/// How often it asks whether the node is still there, and how often in vain before it is not.
const PING: Duration = Duration::from_secs(1);
const PINGS: u32 = 3;

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    MANUAL.run(args, perform)
}

/// The role that a verb needs; `None` for what is no verb of a node that runs.
fn role(verb: &str, args: &[String]) -> Option<Roles> {
    match (verb, args.first().map(String::as_str)) {
        ("noise", Some("reset")) | ("clear_kmsg" | "intr" | "freeze" | "thaw" | "shutdown", _) => {
            Some(Roles::ADMIN)
        }
        ("get" | "query" | "query_free_mem" | "cores" | "ps" | "rusage" | "noise" | "kmsg" | "events", _) => {
            Some(Roles::MONITOR)
        }
        _ => None,
    }
}

fn perform(args: Vec<OsString>) -> Result<i32, Stop> {
    let (common, words) = options::parse(args, true, |_, _| Ok(false))?;
    let mut words = words.into_iter();
    let wanted = common.node.clone().or_else(|| words.next());
    let wanted = wanted.ok_or_else(|| Usage::Wrong("expected: <node> <verb>".into()))?;
    let verb = words.next().ok_or_else(|| Usage::Wrong(format!("{wanted}: which verb?")))?;
    let mut args: Vec<String> = words.collect();
    let place = Place::new(common.conf.clone())?;
    let node = place.node(&wanted)?;
    if let Some(result) = verbs::ihkosctl(&verb, &args, &place, &node) {
        print(&result?)?;
        return Ok(code::OK);
    }
    if verb == "dump" {
        return dump::run(&place, &node, &common, &args);
    }
    let Some(roles) = role(&verb, &args) else {
        return Err(Usage::Wrong(format!("{verb}: no such verb")).into());
    };
    if verb == "kmsg" || verb == "events" {
        return stream(&node, roles, &common, &verb, &args);
    }
    let wait = verb == "shutdown" && args.iter().any(|word| word == "--wait");
    args.retain(|word| !wait || word != "--wait");
    if common.json {
        args.push("--json".into());
    }
    let mut remote = Remote::connect(&node, roles, common.timeout)?;
    print(&remote.ask(&verb, &args)?)?;
    if wait {
        wait_for_end(&node, &remote)?;
    }
    Ok(code::OK)
}

/// Shows lines of the log, or events, as they come.
fn stream(node: &Node, roles: Roles, common: &Common, verb: &str, args: &[String]) -> Result<i32, Stop> {
    let mut remote = Remote::connect(node, roles, common.timeout)?;
    let id = remote.send(verb, args)?;
    let endless = verb == "events" || args.iter().any(|word| word == "-f");
    loop {
        let Some(frame) = remote.receive(common.timeout)? else {
            if endless {
                // Whether it is there at all.
                remote.frame(&Header::new(FrameType::Ping), &Ping::default())?;
                continue;
            }
            let reason = format!("no answer to {verb} within {} seconds", common.timeout.as_secs());
            return Err(Problem::new(code::TIMEOUT, format!("node {}", node.name), reason).into());
        };
        if frame.header.kind == FrameType::Event {
            let event = Event::decode(&frame.payload).map_err(|_| {
                Problem::new(code::FAILED, format!("node {}", node.name), "it answers nonsense")
            })?;
            print(&event_line(&event, common.json))?;
            continue;
        }
        match remote.answer(id, &frame)? {
            Some(Answer::Lines(lines)) => {
                let text: String = lines.iter().map(|line| log_line(line, common.json)).collect();
                print(&text)?;
            }
            Some(Answer::Last(_)) => return Ok(code::OK),
            Some(Answer::Part(_) | Answer::Bytes { .. }) | None => {}
        }
    }
}

/// Waits until the node does not answer any more.
fn wait_for_end(node: &Node, remote: &Remote) -> Result<(), Problem> {
    let (start, mut unanswered) = (Instant::now(), 0);
    while start.elapsed() < END {
        let sent = remote.frame(&Header::new(FrameType::Ping), &Ping::default());
        if sent.is_err() || unanswered == PINGS {
            return Ok(());
        }
        match remote.receive(PING) {
            Ok(Some(_)) => {
                unanswered = 0;
                std::thread::sleep(PING / 5);
            }
            Ok(None) => unanswered += 1,
            Err(_) => return Ok(()),
        }
    }
    let reason = format!("it is still there after {} seconds", END.as_secs());
    Err(Problem::new(code::TIMEOUT, format!("node {}", node.name), reason))
}

/// Names of severities (syslog(3)).
pub const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// A line of the log for people, or for programs.
fn log_line(line: &KmsgLine, json: bool) -> String {
    let (seconds, micros) = (line.time / 1_000_000_000, line.time % 1_000_000_000 / 1000);
    let severity = SEVERITIES.get(usize::from(line.severity)).copied().unwrap_or("info");
    if json {
        return format!(
            "{{\"sequence\":{},\"time\":{seconds}.{micros:06},\"core\":{},\"severity\":\"{severity}\",\"text\":{}}}\n",
            line.sequence,
            line.core,
            quoted(&line.text)
        );
    }
    format!("[{seconds:5}.{micros:06}] {} {severity:<7} {}\n", line.core, line.text)
}

/// The name of an event.
pub fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Oom => "OOM",
        EventKind::Hungup => "HUNGUP",
        EventKind::KmsgFull => "KMSG_FULL",
        EventKind::Panic => "PANIC",
        EventKind::Stalled => "STALLED",
    }
}

fn event_line(event: &Event, json: bool) -> String {
    let name = event_name(event.kind);
    match json {
        true => format!("{{\"event\":\"{name}\",\"text\":{}}}\n", quoted(&event.text)),
        false => format!("{name} {}\n", event.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people_and_programs() {
        let line =
            KmsgLine { sequence: 9, time: 12_345_678_900, severity: 4, core: 2, text: "net: \"x\"".into() };
        assert_eq!(log_line(&line, false), "[   12.345678] 2 warning net: \"x\"\n");
        assert_eq!(
            log_line(&line, true),
            "{\"sequence\":9,\"time\":12.345678,\"core\":2,\"severity\":\"warning\",\"text\":\"net: \\\"x\\\"\"}\n"
        );
        let event = Event { kind: EventKind::Hungup, text: "core 1".into() };
        assert_eq!(event_line(&event, false), "HUNGUP core 1\n");
    }

    #[test]
    fn verbs_need_roles() {
        let role_of = |line: &str| {
            let mut words = line.split(' ').map(String::from);
            role(&words.next().unwrap(), &words.collect::<Vec<_>>())
        };
        assert_eq!(role_of("noise"), Some(Roles::MONITOR));
        assert_eq!(role_of("noise reset"), Some(Roles::ADMIN));
        assert_eq!(role_of("kmsg -f"), Some(Roles::MONITOR));
        assert_eq!(role_of("shutdown -f"), Some(Roles::ADMIN));
        assert_eq!(role_of("intr 1 49"), Some(Roles::ADMIN));
        assert_eq!(role_of("reboot"), None);
    }
}
