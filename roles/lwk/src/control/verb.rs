//! Verbs, as tools write them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_config::parse_unsigned;
use keelson_lwk_wire::dump::{Level, MAX_MEMORY};
use keelson_lwk_wire::handshake::Roles;
use keelson_lwk_wire::messages::Ctrl;

/// Longest time between two looks for cores that hang: a day, as `mon_interval` (section 2).
const LONGEST_INTERVAL: u64 = 86_400;

/// What a tool wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// `get status`
    Status,
    /// `get buildid`
    BuildId,
    /// `query cpu`
    Cpus,
    /// `query mem`
    Memory,
    /// `query_free_mem`
    FreeMemory,
    /// `cores`: state and counter of each (section 10)
    Cores,
    /// `kmsg [-f] [--after=SEQUENCE]`
    Kmsg {
        /// Go on with the lines that come.
        follow: bool,
        /// Begin behind this line.
        after: Option<u64>,
    },
    /// `clear_kmsg`
    ClearKmsg,
    /// `ps`
    Processes,
    /// `rusage`
    Usage,
    /// `noise`
    Noise,
    /// `noise reset`
    ResetNoise,
    /// `intr CORE VECTOR [--force]`
    Interrupt {
        /// The core, as the machine counts.
        core: usize,
        /// The interrupt vector.
        vector: u8,
        /// Also where a program runs.
        force: bool,
    },
    /// `freeze`
    Freeze,
    /// `thaw`
    Thaw,
    /// `shutdown [-f]`
    Shutdown {
        /// Programs are not asked to end first.
        force: bool,
    },
    /// `dump [-d 0|24] [-i]`
    Dump {
        /// What it holds; without, what the command line says.
        level: Option<Level>,
        /// The machine stays stopped, until `thaw`.
        stay: bool,
    },
    /// `memory PHYSICAL LENGTH`
    PhysicalMemory {
        /// First byte.
        physical: u64,
        /// Bytes.
        len: usize,
    },
    /// `info`
    Info,
    /// `events [-i SECONDS]`
    Events {
        /// How often it is looked for cores that hang; not, without.
        interval: Option<Duration>,
    },
}

impl Verb {
    /// The role that it needs: to look takes `monitor`, to change something or to see memory `admin` (section 5.3).
    pub fn role(self) -> Roles {
        match self {
            Verb::ClearKmsg
            | Verb::ResetNoise
            | Verb::Interrupt { .. }
            | Verb::Freeze
            | Verb::Thaw
            | Verb::Shutdown { .. }
            | Verb::Dump { .. }
            | Verb::PhysicalMemory { .. }
            | Verb::Info => Roles::ADMIN,
            _ => Roles::MONITOR,
        }
    }
}

/// A role, as key files name it.
pub fn role_name(role: Roles) -> &'static str {
    if role == Roles::ADMIN { "admin" } else { "monitor" }
}

/// Reads a verb, and whether its answer is to be JSON.
///
/// # Errors
///
/// In words: what is not understood, and what would be.
pub fn parse(ctrl: &Ctrl) -> Result<(Verb, bool), String> {
    let mut words: Vec<&str> = ctrl.args.iter().map(String::as_str).collect();
    let all = words.len();
    words.retain(|word| *word != "--json");
    let json = words.len() < all;
    let verb = match (ctrl.verb.as_str(), &words[..]) {
        ("get", ["status"]) => Verb::Status,
        ("get", ["buildid"]) => Verb::BuildId,
        ("get", _) => return Err("get: accepted are status and buildid".to_string()),
        ("query", ["cpu"]) => Verb::Cpus,
        ("query", ["mem"]) => Verb::Memory,
        ("query", _) => return Err("query: accepted are cpu and mem".to_string()),
        ("query_free_mem", []) => Verb::FreeMemory,
        ("cores", []) => Verb::Cores,
        ("clear_kmsg", []) => Verb::ClearKmsg,
        ("ps", []) => Verb::Processes,
        ("rusage", []) => Verb::Usage,
        ("noise", []) => Verb::Noise,
        ("noise", ["reset"]) => Verb::ResetNoise,
        ("noise", _) => return Err("noise: accepted is nothing or reset".to_string()),
        ("intr", words) => interrupt(words)?,
        ("freeze", []) => Verb::Freeze,
        ("thaw", []) => Verb::Thaw,
        ("shutdown", []) => Verb::Shutdown { force: false },
        ("shutdown", ["-f"]) => Verb::Shutdown { force: true },
        ("shutdown", _) => return Err("shutdown: accepted is -f".to_string()),
        ("kmsg", words) => kmsg(words)?,
        ("dump", words) => dump(words)?,
        ("memory", [physical, len]) => memory(physical, len)?,
        ("memory", _) => return Err("memory: accepted are a physical address and a length".to_string()),
        ("info", []) => Verb::Info,
        ("events", []) => Verb::Events { interval: None },
        ("events", ["-i", seconds]) => match seconds.parse() {
            Ok(seconds @ 1..=LONGEST_INTERVAL) => {
                Verb::Events { interval: Some(Duration::from_secs(seconds)) }
            }
            _ => return Err(format!("events: -i {seconds}: accepted are 1 to {LONGEST_INTERVAL} seconds")),
        },
        ("events", _) => return Err("events: accepted is -i SECONDS".to_string()),
        (
            verb @ ("query_free_mem" | "cores" | "clear_kmsg" | "ps" | "rusage" | "freeze" | "thaw" | "info"),
            [word, ..],
        ) => return Err(format!("{verb}: {word}: nothing may follow")),
        (verb, _) => return Err(format!("{verb}: the node does not know this verb")),
    };
    Ok((verb, json))
}

fn dump(words: &[&str]) -> Result<Verb, String> {
    let (mut level, mut stay) = (None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-i" | "--interactive" => stay = true,
            "-d" => {
                let text = words.next().copied().unwrap_or_default();
                let known = text.parse().ok().and_then(Level::from_raw);
                level = Some(known.ok_or_else(|| format!("dump: -d {text}: accepted are 0 and 24"))?);
            }
            _ => return Err(format!("dump: {word}: accepted are -d 0|24 and -i")),
        }
    }
    Ok(Verb::Dump { level, stay })
}

fn interrupt(words: &[&str]) -> Result<Verb, String> {
    let mut rest = Vec::from(words);
    rest.retain(|word| *word != "--force");
    let force = rest.len() < words.len();
    let [core, vector] = rest[..] else {
        return Err("intr: accepted are a core, a vector, and --force".to_string());
    };
    let wrong = |word: &str, what: &str| format!("intr: {word}: accepted is {what}");
    let core = parse_unsigned(core)
        .and_then(|core| usize::try_from(core).ok())
        .ok_or_else(|| wrong(core, "the number of a core"))?;
    let vector = parse_unsigned(vector)
        .and_then(|vector| u8::try_from(vector).ok())
        .ok_or_else(|| wrong(vector, "the number of an interrupt vector, up to 255"))?;
    Ok(Verb::Interrupt { core, vector, force })
}

fn memory(physical: &str, len: &str) -> Result<Verb, String> {
    let Some(physical) = parse_unsigned(physical) else {
        return Err(format!("memory: {physical}: accepted is an address, as 4096 or 0x1000"));
    };
    match parse_unsigned(len).and_then(|len| usize::try_from(len).ok()) {
        Some(len @ 1..=MAX_MEMORY) => Ok(Verb::PhysicalMemory { physical, len }),
        _ => Err(format!("memory: {len}: accepted are 1 to {MAX_MEMORY} bytes")),
    }
}

fn kmsg(words: &[&str]) -> Result<Verb, String> {
    let (mut follow, mut after) = (false, None);
    for word in words {
        match word.strip_prefix("--after=") {
            None if *word == "-f" => follow = true,
            Some(number) if number.parse::<u64>().is_ok() => after = number.parse().ok(),
            _ => return Err(format!("kmsg: {word}: accepted are -f and --after=SEQUENCE")),
        }
    }
    Ok(Verb::Kmsg { follow, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Verb, bool), String> {
        let mut words = line.split(' ').map(String::from);
        parse(&Ctrl { verb: words.next().unwrap_or_default(), args: words.collect() })
    }

    #[test]
    fn verbs_and_their_roles() {
        for (line, verb, role) in [
            ("get status", Verb::Status, Roles::MONITOR),
            ("kmsg -f --after=7", Verb::Kmsg { follow: true, after: Some(7) }, Roles::MONITOR),
            ("noise reset", Verb::ResetNoise, Roles::ADMIN),
            ("shutdown -f", Verb::Shutdown { force: true }, Roles::ADMIN),
            ("dump", Verb::Dump { level: None, stay: false }, Roles::ADMIN),
            ("dump -i -d 0", Verb::Dump { level: Some(Level::All), stay: true }, Roles::ADMIN),
            ("dump -d 24", Verb::Dump { level: Some(Level::Kernel), stay: false }, Roles::ADMIN),
            ("memory 0x1000 16", Verb::PhysicalMemory { physical: 4096, len: 16 }, Roles::ADMIN),
            ("info", Verb::Info, Roles::ADMIN),
            ("intr 2 0xef", Verb::Interrupt { core: 2, vector: 239, force: false }, Roles::ADMIN),
            ("intr --force 2 49", Verb::Interrupt { core: 2, vector: 49, force: true }, Roles::ADMIN),
            ("events -i 5", Verb::Events { interval: Some(Duration::from_secs(5)) }, Roles::MONITOR),
        ] {
            assert_eq!(read(line), Ok((verb, false)), "{line}");
            assert_eq!(verb.role(), role, "{line}");
        }
        assert_eq!(read("ps --json"), Ok((Verb::Processes, true)));
        for wrong in [
            "",
            "get",
            "get kargs",
            "query",
            "ps x",
            "kmsg -x",
            "kmsg --after=-1",
            "events -i 0",
            "events -i 86401",
            "events -i",
            "freeze now",
            "noise x",
            "shutdown now",
            "dump -d",
            "dump -d 1",
            "dump 0",
            "memory",
            "memory 0",
            "memory 0 0",
            "memory x 1",
            "memory -1 1",
            "memory 0 262145",
            "info x",
            "intr",
            "intr 1",
            "intr 1 256",
            "intr 1 -1",
            "intr x 64",
            "intr 1 64 65",
            "intr 1 64 --now",
            "reboot",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
