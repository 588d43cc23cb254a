//! `ihkconfig 0 <verb>`: the node table of this host, and what is reserved for its nodes (section 6.2).

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keelson_hal::Entropy;
use keelson_lwk::options::{PORT, cpulist};

use super::host_nodes::HostNodes;
use super::memory::Memory;
use super::monitor;
use super::parameters;
use super::place::{Place, remove_file, write_file};
use super::problem::{Problem, end};
use super::qemu::Files;
use super::record::Record;
use super::status::{self, Status};
use super::stop::{self, Manner};
use super::verbs::{take_cpus, take_memory};
use super::words::{Item, Words};
use crate::link::HostEntropy;
use crate::nodes::{self, Address, Node};

const HELP: &str = "usage: ihkconfig [--conf=<file>] [--node=<name|index>] 0 <verb>
  create [name] [address=<host:port>|unix:<path>] [key=<file>|none] [boot=qemu|ipmi|manual] [name=value ...]
                                        a node of the table; prints its index. Without key= one is made
  destroy <index>                       ends it, removes it
  reserve cpu <list> | mem <size@numa>  cores of this host that it runs on, memory it may have
  release cpu|mem <list>|all
  query cpu|mem                         what is reserved
  get os_instances | get buildid
Reservations are those of node 0, or of --node or $LWK_NODE.";

/// How often another tool's end is waited for, and how long (McKernel's scripts).
const ATTEMPTS: u32 = 4;
const ATTEMPT: Duration = Duration::from_millis(250);

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    end("ihkconfig", perform(args))
}

fn perform(args: Vec<OsString>) -> Result<String, Problem> {
    let mut words = Words::new(args)?;
    let (mut conf, mut wanted, mut plain) = (None, None, Vec::new());
    while let Some(item) = words.item() {
        match item {
            Item::Word(word) => plain.push(word),
            Item::Option(option, value) => match option.as_str() {
                "--help" => return Ok(format!("{HELP}\n")),
                "--version" => return Ok(format!("ihkconfig {}\n", env!("CARGO_PKG_VERSION"))),
                "--conf" => conf = Some(words.value(&option, value)?.into()),
                "--node" => wanted = Some(words.value(&option, value)?),
                _ => return Err(Problem::usage(option, "no such option; --help lists them")),
            },
        }
    }
    let place = Place::new(conf)?;
    let wanted = wanted.or_else(|| std::env::var("LWK_NODE").ok()).unwrap_or_else(|| "0".into());
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    match &plain[..] {
        ["0", "create", words @ ..] => create(&place, words).map(|node| format!("{}\n", node.index)),
        ["0", "destroy", index] => destroy(&place, &place.node(index)?).map(|()| String::new()),
        ["0", "reserve", kind, list] => reserve(&place, &place.node(&wanted)?, kind, list),
        ["0", "release", kind, list] => release(&place, &place.node(&wanted)?, kind, list),
        ["0", "query", kind] => query(&place, &place.node(&wanted)?, kind),
        ["0", "get", "os_instances"] => {
            let nodes: Vec<String> = place.nodes()?.iter().map(|node| node.index.to_string()).collect();
            Ok(nodes.join(",") + "\n")
        }
        ["0", "get", "buildid"] => Ok(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        [device, _, ..] if *device != "0" => {
            Err(Problem::usage(device, "no such device; 0 is the table of this host"))
        }
        words => {
            Err(Problem::usage(format!("{:?}", words.join(" ")), "expected: 0 <verb>; --help lists them"))
        }
    }
}

/// The node that [`create`] would make of these words, with this index.
pub fn plan(place: &Place, index: u32, words: &[&str]) -> Result<Node, Problem> {
    let (mut name, mut address, mut key, mut parameters) = (None, None, None, Vec::new());
    for word in words {
        match word.split_once('=') {
            None if name.is_none() => name = Some((*word).to_owned()),
            None => return Err(Problem::usage(word, "a second name; expected: name=value")),
            Some(("address", value)) => {
                let parsed = Address::parse(value).map(Address::anchored);
                address =
                    Some(parsed.ok_or_else(|| Problem::usage(word, "accepted is host:port or unix:path"))?);
            }
            Some(("key", value)) => key = Some(value),
            Some(_) => parameters.push((*word).to_owned()),
        }
    }
    let name = name.unwrap_or_else(|| format!("lwk{index}"));
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.bytes().all(usual) || name.bytes().all(|byte| byte.is_ascii_digit()) {
        let reason = "accepted are letters, digits, '.', '_' and '-', and not digits alone";
        return Err(Problem::usage(format!("name {name:?}"), reason));
    }
    let words: Vec<&str> = parameters.iter().map(String::as_str).collect();
    parameters::parse(&words).map_err(|reason| Problem::usage(format!("node {name}"), reason))?;
    let key_file = match key {
        Some("none") => None,
        Some(path) => {
            let path = Path::new(path);
            Some(std::path::absolute(path).map_err(|error| Problem::failed(path.display(), error))?)
        }
        None => Some(own_key(place, &name)),
    };
    let port = u32::from(PORT).saturating_add(index).min(65_535);
    let address = address.unwrap_or_else(|| Address::Tcp(format!("127.0.0.1:{port}")));
    Ok(Node { index, name, address, key_file, parameters })
}

/// Where a key that was made here lies.
fn own_key(place: &Place, name: &str) -> PathBuf {
    place.state.join(format!("{name}.key"))
}

/// Adds a node to the table.
fn create(place: &Place, words: &[&str]) -> Result<Node, Problem> {
    let nodes = place.nodes()?;
    let index = (0..).find(|index| nodes.iter().all(|node| node.index != *index)).unwrap_or(0);
    let node = plan(place, index, words)?;
    if nodes.iter().any(|other| other.name == node.name) {
        return Err(Problem::usage(format!("node {}", node.name), "the table has one of this name already"));
    }
    let made = make_key(place, &node)?;
    let added = place.add(&node);
    if added.is_err() && made {
        forget_key(place, &node);
    }
    added.map(|()| node)
}

/// Makes the key of a node, if it is to have one of its own and has none. True when it was made.
pub fn make_key(place: &Place, node: &Node) -> Result<bool, Problem> {
    let Some(path) = node.key_file.as_ref().filter(|path| **path == own_key(place, &node.name)) else {
        return Ok(false);
    };
    if path.exists() {
        return Ok(false);
    }
    let here = |error: std::io::Error| Problem::failed(place.state.display(), error);
    DirBuilder::new().recursive(true).mode(0o755).create(&place.state).map_err(here)?;
    let mut secret = [0; 32];
    HostEntropy.fill(&mut secret);
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    write_file(path, format!("default {digits}\n").as_bytes(), 0o600)?;
    Ok(true)
}

/// Removes a key that was made here.
pub fn forget_key(place: &Place, node: &Node) {
    if let Some(path) = node.key_file.as_ref().filter(|path| path.parent() == Some(&place.state)) {
        remove_file(path);
        // It fails when there are others.
        let _ = fs::remove_dir(&place.state);
    }
}

/// Ends a node and removes it from the table.
fn destroy(place: &Place, node: &Node) -> Result<(), Problem> {
    let mut attempts = 0;
    let problem = loop {
        attempts += 1;
        match end_and_forget(place, node) {
            Ok(()) => break None,
            Err(problem) if attempts == ATTEMPTS => break Some(problem),
            Err(_) => std::thread::sleep(ATTEMPT),
        }
    };
    if let Some(problem) = problem {
        return Err(Problem::failed("error", format!("destroying OS instance {}: {problem}", node.index)));
    }
    place.remove(node.index)?;
    forget_key(place, node);
    Ok(())
}

fn end_and_forget(place: &Place, node: &Node) -> Result<(), Problem> {
    let _lock = place.lock_within(node, ATTEMPT)?;
    stop::stop(place, node, Manner::Orderly)?;
    monitor::stop(&Files::of(&place.directory(node.index)))?;
    place.forget(node.index)
}

/// Changes what is reserved for a node that is INACTIVE.
fn change(
    place: &Place,
    node: &Node,
    change: impl FnOnce(&mut Record) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let _lock = place.lock(node)?;
    let status = status::of(place, node)?;
    if status != Status::Inactive {
        let reason = format!("is {}, must be INACTIVE; shut it down first", status.word());
        return Err(Problem::state(format!("node {}", node.name), reason));
    }
    let directory = place.directory(node.index);
    let mut record = Record::load(&directory)?;
    change(&mut record)?;
    record.save(&directory)?;
    Ok(String::new())
}

fn reserve(place: &Place, node: &Node, kind: &str, list: &str) -> Result<String, Problem> {
    match kind {
        "cpu" => {
            let cpus = cpulist::parse(list).map_err(|reason| Problem::usage("cpu", reason))?;
            for cpu in &cpus {
                may_be_reserved(place, node, *cpu)?;
            }
            change(place, node, |record| {
                record.host_cpus.extend(
                    cpus.iter().filter(|cpu| !record.host_cpus.contains(cpu)).copied().collect::<Vec<_>>(),
                );
                Ok(())
            })
        }
        "mem" => {
            let memory = Memory::parse(list).map_err(|reason| Problem::usage("mem", reason))?;
            let there = HostNodes::find().numbers;
            if let Some(missing) = memory.0.keys().find(|node| !there.contains(node)) {
                return Err(Problem::usage("mem", format!("this host has no NUMA node {missing}")));
            }
            change(place, node, |record| {
                record.host_memory.add(&memory);
                Ok(())
            })
        }
        _ => Err(Problem::usage(kind, "accepted is cpu or mem")),
    }
}

/// A core that this host has, and no other node.
fn may_be_reserved(place: &Place, node: &Node, cpu: usize) -> Result<(), Problem> {
    let object = format!("cpu {cpu}");
    if !Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}")).exists() {
        return Err(Problem::usage(object, "this host has no such processor"));
    }
    for other in place.nodes()?.iter().filter(|other| other.index != node.index) {
        if Record::load(&place.directory(other.index))?.host_cpus.contains(&cpu) {
            return Err(Problem::state(
                object,
                format!("reserved for node {}; release it there", other.name),
            ));
        }
    }
    Ok(())
}

fn release(place: &Place, node: &Node, kind: &str, list: &str) -> Result<String, Problem> {
    change(place, node, |record| match kind {
        "cpu" => take_cpus(&mut record.host_cpus, list),
        "mem" => take_memory(&mut record.host_memory, list),
        _ => Err(Problem::usage(kind, "accepted is cpu or mem")),
    })
}

fn query(place: &Place, node: &Node, kind: &str) -> Result<String, Problem> {
    let record = Record::load(&place.directory(node.index))?;
    match kind {
        "cpu" => Ok(cpulist::format(&record.host_cpus) + "\n"),
        "mem" => Ok(format!("{}\n", record.host_memory)),
        _ => Err(Problem::usage(kind, "accepted is cpu or mem")),
    }
}

/// Whether a node has a key that can be read; one that is yet to be made cannot be wrong.
pub fn check_key(node: &Node) -> Result<(), Problem> {
    let Some(path) = node.key_file.as_ref().filter(|path| path.exists()) else { return Ok(()) };
    nodes::load_key(path).map(drop).map_err(|reason| Problem::failed(format!("node {}", node.name), reason))
}
