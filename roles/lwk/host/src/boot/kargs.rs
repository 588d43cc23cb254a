//! The kernel's command line: checked with the kernel's own parser and the image's own tables before anything starts.

use keelson_config::{Config, Kind, OptionSpec, same_key, words};
use keelson_lwk::options::{Listen, PORT, Settings, cpulist};

use super::memory::Memory;
use super::parameters::{Boot, Qemu};
use super::problem::Problem;
use super::record::Record;
use crate::nodes::{Address, Node};

/// The role, its command line before the one of the loader, and the first part of its own options: `LWK_COMPUTE` in
/// images/src/roles.rs.
pub const ROLE: &str = "lwk-compute";
const DEFAULT_LINE: &str = "ip=dhcp";
const PREFIXES: &[&str] = &["lwk"];

/// What a virtual machine listens on whose address is one of serial ports.
const SERIAL: &str = "serial:lwk";

/// Tables of everything in the image. Those of dumps, of the remote console and of SSH are the image's own: their values are
/// checked at boot.
pub const TABLES: &[&[OptionSpec]] = &[
    keelson_kernel::options::OPTIONS,
    keelson_net::OPTIONS,
    keelson_ops::http::OPTIONS,
    keelson_ops::syslog::OPTIONS,
    keelson_ops::sntp::OPTIONS,
    DUMP,
    CONSOLE,
    SSH,
    keelson_lwk::options::OPTIONS,
];
const DUMP: &[OptionSpec] =
    &[OptionSpec::new("dump", Kind::Text, "Where a kernel that fails sends its memory.").owner("operations")];
const CONSOLE: &[OptionSpec] = &[
    OptionSpec::new("console.port", Kind::Text, "TCP port of the remote console.").owner("console"),
    OptionSpec::new("console.allow", Kind::Text, "Who may connect to it.").repeatable().owner("console"),
];
const SSH: &[OptionSpec] = &[
    OptionSpec::new("ssh.keys", Kind::Text, "Who may enter by SSH.").repeatable().owner("ssh"),
    OptionSpec::new("ssh.port", Kind::Text, "TCP port of the SSH server.").owner("ssh"),
    OptionSpec::new("ssh.hostkey", Kind::Text, "What the node proves itself with.").secret().owner("ssh"),
];

/// What the firmware of a virtual machine keeps of its memory, at most.
const FIRMWARE: u64 = 2 << 20;

/// What a node is told, and what follows from it for its machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The whole command line.
    pub text: String,
    /// Processors that the machine needs.
    pub processors: usize,
    /// Where the node listens.
    pub listen: Listen,
}

/// Whether an image has this option at all.
pub fn declared(name: &str) -> bool {
    TABLES.iter().copied().flatten().any(|spec| same_key(spec.name, name))
}

/// Reads a line as the image does. Whatever has no effect, or not the one that was meant, is an error.
fn parse(text: &str) -> Result<Config, Problem> {
    let config = Config::parse(TABLES, PREFIXES, DEFAULT_LINE, text.as_bytes());
    match config.problems().first() {
        Some(problem) => Err(Problem::usage("kargs", problem)),
        None => Ok(config),
    }
}

/// Checks the string of `ihkosctl kargs`.
pub fn check(text: &str) -> Result<(), Problem> {
    if text.contains('\n') {
        return Err(Problem::usage("kargs", "one line only"));
    }
    let config = parse(text)?;
    if !config.is_set("hidos") || !config.flag("hidos") {
        return Err(Problem::usage("kargs", "hidos is missing: without it no host may connect; add it"));
    }
    if config.text("psk").is_some() {
        let reason =
            "psk= would let everybody read the key; it goes to the node by the key file of the table";
        return Err(Problem::usage("kargs", reason));
    }
    Ok(())
}

/// The whole line for a node.
pub fn line(record: &Record, node: &Node, boot: &Boot) -> Result<Line, Problem> {
    let kargs = record.kargs.clone().unwrap_or_else(|| "hidos".into());
    check(&kargs)?;
    let mut text = kargs.clone();
    let mut add = |name: &str, value: &str| {
        if !words(&kargs).any(|word| same_key(word.key, name)) {
            text += &format!(" {name}={value}");
        }
    };
    add("hostname", &node.name);
    match (&node.address, boot) {
        (Address::Unix(_), Boot::Qemu(_)) => add("listen", SERIAL),
        (Address::Tcp(address), _) if !forwarded(boot) => {
            let port = address.rsplit_once(':').map_or("", |(_, port)| port);
            if port != PORT.to_string() {
                add("listen", port);
            }
        }
        _ => {}
    }
    if !record.cpus.is_empty() {
        // The last one counts.
        text += &format!(" cpus={}", cpulist::format(&record.cpus));
    }
    let of_machine = machine_memory(record, boot);
    if let Some(memory) = share(record, of_machine.as_ref()) {
        text += &format!(" mem={memory}");
    }
    if !record.ikc_map.is_empty() && declared("ikc_map") {
        text += &format!(" ikc_map={}", record.ikc_map);
    }
    let config = parse(&text)?;
    let listen = Listen::parse(config.text("listen").unwrap_or_default());
    let listen = listen.map_err(|reason| Problem::usage("kargs: listen", reason))?;
    reaches(node, boot, &listen)?;
    // To a socket of this host nobody comes whom its directory does not let.
    let is_open = listen.port.is_some();
    if node.key_file.is_none() && is_open && !config.flag("insecure") {
        let reason =
            "the table names no key file for it; name one, or add insecure=1 to the kernel arguments";
        return Err(Problem::usage(format!("node {}", node.name), reason));
    }
    let processors = processors(&config, record, boot)?;
    let present: Option<Vec<u64>> =
        of_machine.map(|memory| memory.0.values().map(|bytes| bytes.saturating_sub(FIRMWARE)).collect());
    Settings::from_options(&config, processors, present.as_deref())
        .map_err(|error| Problem::usage(format!("kargs: {}", error.option), error.reason))?;
    Ok(Line { text, processors, listen })
}

/// Whether a virtual machine listens where its address is.
fn reaches(node: &Node, boot: &Boot, listen: &Listen) -> Result<(), Problem> {
    let Boot::Qemu(qemu) = boot else { return Ok(()) };
    let wrong = |reason: &str| Err(Problem::usage(format!("node {}", node.name), reason));
    match &node.address {
        Address::Unix(_) if listen.serial.is_none() => wrong(
            "its address is one of serial ports, but listen= names none; add serial:lwk to it, or leave it out",
        ),
        Address::Tcp(_) if listen.port.is_none() => {
            wrong("its address is one of TCP, but listen= has no port; add one to it, or leave it out")
        }
        Address::Tcp(_) if listen.serial.is_some() => {
            wrong("listen=serial: needs an address unix:DIR, where its ports will be")
        }
        Address::Tcp(_) if qemu.ports.is_some() => {
            wrong("ports= needs an address unix:DIR, where they will be")
        }
        _ => Ok(()),
    }
}

/// Memory of a virtual machine; of others it is seen when they run.
fn machine_memory(record: &Record, boot: &Boot) -> Option<Memory> {
    matches!(boot, Boot::Qemu(_)).then(|| record.machine_memory())
}

/// `mem=` for what is assigned, by NUMA nodes of the machine: the nodes of this host that a virtual one has memory of are its
/// nodes 0, 1, ... All that it has is what it is made of, and its kernel needs some of it: then nothing is said.
fn share(record: &Record, of_machine: Option<&Memory>) -> Option<Memory> {
    if record.memory.is_empty() || of_machine == Some(&record.memory) {
        return None;
    }
    let Some(machine) = of_machine else { return Some(record.memory.clone()) };
    // What the machine lacks keeps its number, and is refused with it.
    let number = |node: u32| machine.0.keys().position(|known| *known == node).map_or(node, |at| at as u32);
    Some(Memory(record.memory.0.iter().map(|(node, bytes)| (number(*node), *bytes)).collect()))
}

/// Whether QEMU forwards a port of its own to the node's.
fn forwarded(boot: &Boot) -> bool {
    matches!(boot, Boot::Qemu(Qemu { tap: None, .. }))
}

/// How many processors the machine has: as many as it was given, or as its lists need.
fn processors(config: &Config, record: &Record, boot: &Boot) -> Result<usize, Problem> {
    let highest = |name: &'static str| -> Result<Option<usize>, Problem> {
        let text = config.text(name).filter(|text| *text != "auto");
        let list = text.map(cpulist::parse).transpose();
        let list = list.map_err(|reason| Problem::usage(format!("kargs: {name}"), reason))?;
        Ok(list.and_then(|list| list.into_iter().max()))
    };
    let (service, compute) = (highest("svc")?.unwrap_or(0), highest("cpus")?);
    let given = match boot {
        Boot::Qemu(qemu) => qemu.processors,
        // What the machine has is seen when it runs.
        Boot::Ipmi(_) | Boot::Manual => Some(cpulist::MAX_CORES),
    };
    let reserved = Some(record.host_cpus.len()).filter(|count| *count > 0);
    let all = || std::thread::available_parallelism().map_or(2, usize::from);
    // One of them at least computes.
    let wanted = given.or(reserved).unwrap_or_else(|| if compute.is_some() { 1 } else { all() });
    let least = compute.unwrap_or(service + 1).max(service) + 1;
    Ok(if given.is_some() { wanted } else { wanted.max(least).min(cpulist::MAX_CORES) })
}

/// Checks a map of `set ikc_map`, `CPULIST:CPU+...`: what every core's messages are carried by now is service core 0.
pub fn check_ikc_map(map: &str) -> Result<(), Problem> {
    let wrong = |reason: String| Problem::usage("ikc_map", reason);
    let mut seen = Vec::new();
    for part in map.split('+') {
        let (cores, target) = part.split_once(':').ok_or_else(|| {
            wrong(format!("{part:?}: expected: a list of cores, a colon and a service core"))
        })?;
        for core in cpulist::parse(cores).map_err(wrong)? {
            if seen.contains(&core) {
                return Err(wrong(format!("core {core} is there twice")));
            }
            seen.push(core);
        }
        if target != "0" && !declared("ikc_map") {
            let reason = format!("{part}: service core 0 carries the messages of all cores; {target} cannot");
            return Err(wrong(reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, key: bool) -> Node {
        Node {
            index: 0,
            name: "n0".into(),
            address: Address::parse(address).unwrap(),
            key_file: key.then(|| "/k".into()),
            parameters: Vec::new(),
        }
    }

    fn qemu() -> Boot {
        Boot::Qemu(Qemu::default())
    }

    #[test]
    fn the_tables_are_those_of_the_image() {
        let roles = include_str!("../../../../../images/src/roles.rs");
        let role =
            roles.split("pub const LWK_COMPUTE").nth(1).and_then(|rest| rest.split("};").next()).unwrap();
        for line in [
            format!("name: {ROLE:?},"),
            format!("default_line: {DEFAULT_LINE:?},"),
            format!("prefixes: &{PREFIXES:?},"),
        ] {
            assert!(role.contains(&line), "{line} is not what images/src/roles.rs has: {role}");
        }
        let tables = |text: &str, start: &str| -> Vec<String> {
            let list = text.split(start).nth(1).and_then(|rest| rest.split(']').next()).unwrap();
            list.split(',').map(str::trim).filter(|table| !table.is_empty()).map(String::from).collect()
        };
        let expected = [
            "keelson_kernel::options::OPTIONS",
            "keelson_net::OPTIONS",
            "keelson_ops::http::OPTIONS",
            "keelson_ops::syslog::OPTIONS",
            "keelson_ops::sntp::OPTIONS",
            "crash_dump::OPTIONS",
            "shell::REMOTE_OPTIONS",
            "shell::SSH_OPTIONS",
        ];
        assert_eq!(tables(roles, "pub const COMMON: &[&[OptionSpec]] = &["), expected);
        assert_eq!(tables(role, "options: &["), ["keelson_lwk::options::OPTIONS"]);
        for (table, image) in [
            (DUMP, include_str!("../../../../../images/src/crash_dump.rs")),
            (CONSOLE, include_str!("../../../../../images/src/shell/remote.rs")),
            (SSH, include_str!("../../../../../images/src/shell/ssh.rs")),
        ] {
            assert_eq!(image.matches("OptionSpec::new(").count(), table.len());
            assert!(table.iter().all(|spec| image.contains(&format!("{:?},", spec.name))));
        }
        assert_eq!(keelson_config::lint(TABLES), [""; 0]);
    }

    #[test]
    fn good_arguments_pass() {
        for good in [
            "hidos",
            "hidos=1 allow_oversubscribe=4",
            "svc=0 hidos lwk.echo log=info,net=debug",
            "hidos ip=dhcp",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        for (bad, message) in [
            ("", "hidos is missing"),
            ("hidos=0", "hidos is missing"),
            ("hidos helper=0", "unknown option \"helper\"; did you mean helpers"),
            ("hidos turbox", "word \"turbox\" ignored"),
            ("hidos prefault=some", "bad value prefault=some: accepted is one of anon, none, all"),
            ("hidos helpers", "option helpers needs a value"),
            ("hidos lwk.unknown=1", "unknown option \"lwk.unknown\""),
            ("hidos cpus=4-1", "4-1 runs backwards; write 1-4"),
            ("hidos\ncpus=1", "one line only"),
        ] {
            let text = check(bad).unwrap_err().to_string();
            assert!(text.starts_with("kargs: ") && text.contains(message), "{bad}: {text}");
        }
        let key = format!("hidos insecure=1 psk={}", "0".repeat(64));
        assert!(check(&key).unwrap_err().reason.contains("everybody"));
    }

    #[test]
    fn a_line_follows_from_the_record() {
        let record = Record { cpus: vec![1, 2], ..Record::default() };
        let made = line(&record, &node("127.0.0.1:18824", true), &qemu()).unwrap();
        let text = "hidos hostname=n0 cpus=1-2".into();
        assert_eq!(made, Line { text, processors: 3, listen: Listen { port: Some(PORT), serial: None } });

        let boot = Boot::Qemu(Qemu { tap: Some("tap0".into()), processors: Some(4), ..Qemu::default() });
        let record = Record { kargs: Some("hidos hostname=x".into()), ..record };
        let made = line(&record, &node("10.0.0.1:99", true), &boot).unwrap();
        assert_eq!(
            made,
            Line {
                text: "hidos hostname=x listen=99 cpus=1-2".into(),
                processors: 4,
                listen: Listen { port: Some(99), serial: None }
            }
        );

        let record =
            Record { kargs: Some("hidos svc=0,5".into()), host_cpus: vec![0, 1], ..Record::default() };
        assert_eq!(line(&record, &node("a:1", true), &qemu()).unwrap().processors, 7);
        let record = Record { host_cpus: vec![4, 5, 6, 7], ..Record::default() };
        assert_eq!(line(&record, &node("a:1", true), &qemu()).unwrap().processors, 4);
    }

    #[test]
    fn a_machine_listens_where_its_address_is() {
        let made = |address: &str, key: bool, kargs: &str, boot: &Boot| {
            let record = Record { kargs: (!kargs.is_empty()).then(|| kargs.to_owned()), ..Record::default() };
            let made = line(&record, &node(address, key), boot).map_err(|problem| problem.to_string())?;
            Ok::<_, String>((made.text, made.listen.port, made.listen.serial.unwrap_or_default()))
        };
        let serial = |address: &str, key: bool, kargs: &str| made(address, key, kargs, &qemu());
        // Nobody needs a key who may open the sockets.
        for key in [true, false] {
            let expected = ("hidos hostname=n0 listen=serial:lwk".to_owned(), None, "lwk".to_owned());
            assert_eq!(serial("unix:/run/x", key, ""), Ok(expected));
        }
        let both = serial("unix:/run/x", true, "hidos listen=99,serial:x").unwrap();
        assert_eq!(both, ("hidos listen=99,serial:x hostname=n0".to_owned(), Some(99), "x".to_owned()));
        let ports = Boot::Qemu(Qemu { ports: Some(2), ..Qemu::default() });
        for (result, message) in [
            (serial("unix:/run/x", false, "hidos listen=99,serial:x"), "names no key file"),
            (serial("unix:/run/x", true, "hidos listen=99"), "listen= names none; add serial:lwk to it"),
            (serial("a:1", true, "hidos listen=serial:x"), "listen= has no port; add one to it"),
            (serial("a:1", true, "hidos listen=8810,serial:x"), "needs an address unix:DIR"),
            (made("a:1", true, "", &ports), "ports= needs an address unix:DIR"),
            (serial("unix:/run/x", true, "hidos listen=serial:"), "bad value listen=serial:"),
        ] {
            let text = result.unwrap_err();
            assert!(text.contains(message), "{text}");
        }
    }

    #[test]
    fn programs_get_what_is_assigned() {
        let mem = |reserved: &str, assigned: &str, boot: &Boot| {
            let memory =
                |list: &str| if list.is_empty() { Memory::default() } else { Memory::parse(list).unwrap() };
            let record =
                Record { host_memory: memory(reserved), memory: memory(assigned), ..Record::default() };
            let made = line(&record, &node("a:1", true), boot).map_err(|problem| problem.to_string())?;
            Ok(made.text.split(' ').find_map(|word| word.strip_prefix("mem=")).unwrap_or_default().to_owned())
        };
        let ipmi = Boot::Ipmi(Default::default());
        for (reserved, assigned, boot, expected) in [
            ("", "", &qemu(), ""),
            // The machine is made of it.
            ("", "512M@0,1G@1", &qemu(), ""),
            ("1G@0", "1G@0", &qemu(), ""),
            ("2G@0", "1G@0", &qemu(), "1G@0"),
            // The host's nodes 1 and 3 are the machine's 0 and 1.
            ("1G@1,2G@3", "512M@1,1G@3", &qemu(), "512M@0,1G@1"),
            ("1G@1,2G@3", "1G@3", &qemu(), "1G@1"),
            ("", "512M@0,1G@1", &ipmi, "512M@0,1G@1"),
        ] {
            assert_eq!(mem(reserved, assigned, boot), Ok(expected.to_owned()), "{reserved} {assigned}");
        }
        for (reserved, assigned) in [("1G@0", "1022M@0"), ("512M@0", "1G@0"), ("1G@0", "512M@1")] {
            let text: Result<String, String> = mem(reserved, assigned, &qemu());
            assert!(text.clone().unwrap_err().starts_with("kargs: mem: "), "{text:?}");
        }
        let record = Record { kargs: Some("hidos mem=0@0".into()), ..Record::default() };
        let problem = line(&record, &node("a:1", true), &qemu()).unwrap_err().to_string();
        assert!(problem.contains("is nothing; the least is 2M"), "{problem}");
    }

    #[test]
    fn a_line_that_cannot_be_is_refused() {
        let small = Boot::Qemu(Qemu { processors: Some(2), ..Qemu::default() });
        for (record, key, boot, message) in [
            (Record::default(), false, qemu(), "no key file"),
            (Record { cpus: vec![0, 1], ..Record::default() }, true, qemu(), "processor 0 is a service core"),
            (Record { cpus: vec![1, 2], ..Record::default() }, true, small, "there is no processor 2"),
            (Record { kargs: Some("cpus=1".into()), ..Record::default() }, true, qemu(), "hidos is missing"),
        ] {
            let text = line(&record, &node("a:1", key), &boot).unwrap_err().to_string();
            assert!(text.contains(message), "{text}");
        }
    }

    #[test]
    fn maps_of_messages() {
        assert_eq!(check_ikc_map("1-2:0+3:0"), Ok(()));
        for bad in ["", "1", "1:1", "1-2:0+2:0", "x:0", "1:"] {
            assert!(check_ikc_map(bad).is_err(), "{bad}");
        }
    }
}
