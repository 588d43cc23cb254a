//! `mcexec`: runs a program on an LWK node, and is its proxy here (section 6.1).

pub mod inherit;
pub mod launch;
pub mod options;
pub mod rank;
pub mod search;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::Purpose;
use keelson_lwk_wire::messages::{Exit, LaunchAck, LaunchFlags, Message};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::link::{Connected, Lane, LinkError};
use crate::nodes::{self, Address, Node};
use crate::proxy::confine::{Root, Rules};
use crate::proxy::fork::STATE;
use crate::proxy::handles::{Handle, Handles};
use crate::proxy::signals::{Relay, end_as, inherited_masks};
use crate::proxy::{Dial, Events, Family, ForkState, Outcome, Proxy, Settings};
use options::{Options, Usage};

/// Exit codes of mcexec itself.
pub mod code {
    /// The node is lost, or cannot be reached.
    pub const LOST: i32 = 120;
    /// The node does not accept the key.
    pub const AUTH: i32 = 121;
    /// No free cores or memory, or a bad `-n`.
    pub const RESOURCES: i32 = 122;
    /// Protocol or version.
    pub const PROTOCOL: i32 = 123;
    /// The node did not answer LAUNCH in time.
    pub const TIMEOUT: i32 = 124;
    /// Usage, or a problem here.
    pub const USAGE: i32 = 125;
    /// Not executable, or not an ELF file that the node supports.
    pub const NOT_EXECUTABLE: i32 = 126;
    /// Not found.
    pub const NOT_FOUND: i32 = 127;
}

/// Attempts when the process id is taken on the node (section 5.10).
const PID_ATTEMPTS: u32 = 16;
/// Longer than the threads of a session need to end.
const ENDING: Duration = Duration::from_secs(3);
/// In the environment of such an attempt: how many there were.
const ATTEMPT: &str = "LWK_MCEXEC_ATTEMPT";

/// Why it ends before or instead of the program.
pub struct Stop {
    code: i32,
    text: String,
}

impl Stop {
    fn new(code: i32, text: impl std::fmt::Display) -> Stop {
        Stop { code, text: text.to_string() }
    }

    fn here(error: impl std::fmt::Display) -> Stop {
        Stop::new(code::USAGE, error)
    }

    fn link(node: &str, error: &LinkError) -> Stop {
        let code = match error {
            LinkError::Lost(_) => code::LOST,
            LinkError::Auth(_) => code::AUTH,
            LinkError::Protocol(_) => code::PROTOCOL,
        };
        Stop::new(code, format!("node {node}: {error}"))
    }
}

/// Runs with these arguments. Returns the exit status, or dies by the program's signal.
pub fn run(args: Vec<OsString>) -> i32 {
    let masks = inherited_masks();
    // First of all, before anything else is opened.
    let fds = inherit::numbers();
    let result = match std::env::var(STATE) {
        Ok(number) => run_further(&number),
        Err(_) => match Options::parse(args) {
            Ok(options) => run_first(options, masks, fds),
            Err(Usage::Help) => {
                println!("{}", options::HELP);
                return 0;
            }
            Err(Usage::Version) => {
                println!("mcexec {}", env!("CARGO_PKG_VERSION"));
                return 0;
            }
            Err(Usage::Wrong(text)) => Err(Stop::new(code::USAGE, format!("{text}\n{}", options::USAGE))),
            Err(Usage::Processes) => Err(Stop::new(code::RESOURCES, "-n: invalid number of processes")),
        },
    };
    match result {
        Ok(status) => status,
        Err(stop) => {
            // Standard error may be closed; where it is the program's, this goes nowhere and has been said already.
            let _ = writeln!(std::io::stderr(), "mcexec: {}", stop.text);
            stop.code
        }
    }
}

/// Finds the node that is meant.
fn find_node(options: &Options) -> Result<Node, Stop> {
    let conf = options.conf.clone().or_else(|| std::env::var_os("LWK_CONF").map(PathBuf::from));
    let table = nodes::load(&conf.unwrap_or_else(|| nodes::DEFAULT_CONF.into())).map_err(Stop::here)?;
    let by_rank = rank::node(options, &rank::environment).map_err(Stop::here)?;
    let named = options.node.clone().or(by_rank).or_else(|| std::env::var("LWK_NODE").ok());
    let wanted = named.unwrap_or_else(|| "0".into());
    let index: Option<u32> = wanted.parse().ok();
    let found = table.into_iter().find(|node| Some(node.index) == index || node.name == wanted);
    found.ok_or_else(|| Stop::here(format!("{wanted}: no such node")))
}

/// Runs all threads of this proxy, and those of its children, on one processor of the host.
fn stay_on(cpu: u32) -> Result<(), Stop> {
    let wrong = |why: String| Stop::here(format!("--proxy-cpu: {cpu}: {why}"));
    let cpu_index = usize::try_from(cpu).ok().filter(|index| *index < CpuSet::MAX_CPU);
    let mut set = CpuSet::new();
    set.set(cpu_index.ok_or_else(|| wrong("no such processor".into()))?);
    sched_setaffinity(None, &set).map_err(|error| wrong(error.to_string()))
}

fn run_first(options: Options, masks: (u64, u64), fds: Vec<i32>) -> Result<i32, Stop> {
    if rustix::process::geteuid().is_root() && !options.allow_root {
        return Err(Stop::here("not as root (but see --allow-root)"));
    }
    if let Some(cpu) = options.proxy_cpu {
        stay_on(cpu)?;
    }
    let node = find_node(&options)?;
    let key_file = options.key.clone().or_else(|| node.key_file.clone());
    let key = key_file.as_deref().map(nodes::load_key).transpose().map_err(Stop::here)?;
    // Keys are in this process's memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stop::here)?;
    let root = options.root.as_deref().map(Root::open).transpose();
    let root = root.map_err(|error| Stop::here(format!("--root: {error}")))?;
    let rules = Rules {
        root,
        read_only: options.read_only,
        deny_net: options.deny_net,
        flat_ioctl: options.flat_ioctl(),
    };
    let program = search::find(&rules, &options.program, &options.args)?;
    let create = |path: &PathBuf| {
        File::create(path).map_err(|error| Stop::here(format!("--trace: {}: {error}", path.display())))
    };
    let trace = options.trace.as_ref().map(create).transpose()?.map(Arc::new);

    let connected = match Lane::connect(&node.address, key.as_ref(), Purpose::Launch) {
        Err(LinkError::Lost(_)) if options.linux_fallback => {
            // It only returns when it failed.
            return Err(Stop::here(Command::new(&options.program).args(&options.args).exec()));
        }
        Err(error) => return Err(Stop::link(&node.name, &error)),
        Ok(connected) => connected,
    };
    let relay = Relay::block().map_err(|fail| Stop::here(fail.0))?;
    let rlimits = launch::rlimits();
    raise_descriptor_limit();
    let handles = Handles::new();
    let exported = inherit::export(&handles, &fds).map_err(|fail| Stop::here(fail.0))?;
    let executable = handles.add(Handle::new(program.file.as_fd().try_clone_to_owned().map_err(Stop::here)?));
    let executable = executable.map_err(|fail| Stop::here(fail.0))?;
    let launch = launch::build(&options, &program, executable, exported, masks, rlimits);
    let family = Family {
        address: node.address.clone().anchored(),
        node: node.name.clone(),
        key,
        workers: options.workers(),
        core_pattern: options.core_pattern(),
        shows: options.launch.flags.intersects(LaunchFlags::PROFILE | LaunchFlags::TRACE),
        trace,
    };
    let (proxy, events) = start(connected, handles, rules, family)?;
    proxy.send(&Header { pid: launch.pid, ..Header::new(FrameType::Launch) }.id(1), &launch);
    let end = match await_launch(&events, &options, &node)? {
        Launched::Started(end) => end.map(|end| *end),
        Launched::PidTaken => {
            give_up(proxy, &node.address);
            return Err(again());
        }
    };
    for number in fds {
        inherit::release(number).map_err(|fail| Stop::here(fail.0))?;
    }
    finish(&proxy, &events, end, &node.name, relay, options.noise_audit)
}

/// A proxy for a forked child.
fn run_further(number: &str) -> Result<i32, Stop> {
    let state = ForkState::take(number).map_err(Stop::here)?;
    let handles = state.handles().map_err(|fail| Stop::here(fail.0))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stop::here)?;
    let relay = Relay::block().map_err(|fail| Stop::here(fail.0))?;
    let ForkState { family, ticket, port, rules, .. } = state;
    let node = family.node.clone();
    let purpose = Purpose::Fork(ticket);
    let connected = Lane::connect_claimed(port, &family.address, family.key.as_ref(), purpose);
    let connected = connected.map_err(|error| Stop::link(&node, &error))?;
    let (proxy, events) = start(connected, handles, rules, family)?;
    finish(&proxy, &events, None, &node, relay, false)
}

/// Starts the engine.
fn start(
    connected: Connected,
    handles: Handles,
    rules: Rules,
    family: Family,
) -> Result<(Arc<Proxy>, Events), Stop> {
    let Connected { lane, grant, .. } = connected;
    if family.shows {
        handles.keep_complaints();
    }
    // Who answered the first time: by then a name may be another's, and finding that out takes time.
    let address = lane.peer().map_or_else(|| family.address.clone(), |peer| Address::Tcp(peer.to_string()));
    let dial = Dial { address, key: family.key.clone(), ticket: grant.bulk };
    let settings = Settings {
        rules,
        workers: family.workers as usize,
        core_pattern: family.core_pattern.clone(),
        family: Some(family),
        bulk: Some(dial),
    };
    Proxy::start(lane, handles, settings).map_err(|fail| Stop::here(fail.0))
}

/// Descriptors that are ours beside those of the program: connections, signals, what workers have open for a moment, and what a
/// proxy passes to the next one.
const OWN_DESCRIPTORS: u64 = 256;

/// As many descriptors as are allowed: those of the program are here, and ours too. Who may also raises what is allowed, so
/// that a program whose limits are equal can have as many as they say. Nobody else can have them in another place: a limit is one of numbers.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map(|most| most.saturating_add(OWN_DESCRIPTORS));
    if setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted }).is_err() {
        // It works, or there are fewer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// Tells where the program's errors go, since that is where ours belong: standard error itself may be the program's alone now.
fn say(proxy: &Proxy, stop: Stop) -> Stop {
    proxy.handles.complain(&format!("mcexec: {}", stop.text));
    stop
}

/// What the node made of LAUNCH.
enum Launched {
    /// A program, and its end when that is here too.
    Started(Option<Box<Outcome>>),
    /// Nothing: another process has this process id on the node.
    PidTaken,
}

/// Waits for LAUNCH_ACK.
fn await_launch(events: &Events, options: &Options, node: &Node) -> Result<Launched, Stop> {
    let deadline = Instant::now() + Duration::from_secs(options.timeout);
    let (frame, end) = loop {
        if let Ok(frame) = events.launch_acks.recv_timeout(Duration::from_millis(20)) {
            break (frame, None);
        }
        if let Ok(outcome) = events.outcomes.try_recv() {
            // A short program may be over by now: what was said before its end is here then.
            match events.launch_acks.try_recv() {
                Ok(frame) => break (frame, Some(outcome)),
                Err(_) => return Err(lost(&node.name, outcome)),
            }
        }
        if Instant::now() >= deadline {
            return Err(Stop::new(code::TIMEOUT, format!("node {}: no answer to LAUNCH", node.name)));
        }
    };
    match LaunchAck::decode(&frame.payload) {
        Ok(LaunchAck::Started { .. }) => Ok(Launched::Started(end.map(Box::new))),
        Ok(LaunchAck::Refused { error: Errno::EAGAIN, .. }) => Ok(Launched::PidTaken),
        Ok(LaunchAck::Refused { error, text }) => {
            let code = match error {
                Errno::ENOEXEC => code::NOT_EXECUTABLE,
                Errno::EACCES | Errno::EPERM => code::AUTH,
                Errno::EBUSY | Errno::ENOMEM | Errno::EINVAL => code::RESOURCES,
                Errno::ENOENT => code::NOT_FOUND,
                _ => code::PROTOCOL,
            };
            Err(Stop::new(code, format!("node {}: {text} ({error})", node.name)))
        }
        Err(error) => Err(Stop::new(code::PROTOCOL, format!("LAUNCH_ACK: {error}"))),
    }
}

/// Ends a session that nothing was launched in. A serial port is free then for the next attempt, as soon as no thread has it.
fn give_up(proxy: Arc<Proxy>, address: &Address) {
    proxy.end(Outcome::Lost("its process id is taken on the node".into()));
    let gone = Arc::downgrade(&proxy);
    drop(proxy);
    let deadline = Instant::now() + ENDING;
    while matches!(address, Address::Unix(_)) && gone.strong_count() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Another process has this process id on the node: once more as a child, which has another one.
fn again() -> Stop {
    let attempt: u32 = std::env::var(ATTEMPT).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if attempt >= PID_ATTEMPTS {
        return Stop::new(code::RESOURCES, "process id is taken on the node");
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("mcexec").args(std::env::args_os().skip(if called_as_lwkctl() { 2 } else { 1 }));
    match command.env(ATTEMPT, (attempt + 1).to_string()).status() {
        Ok(status) => {
            std::process::exit(end_as(std::os::unix::process::ExitStatusExt::into_raw(status) as u32))
        }
        Err(error) => Stop::here(error),
    }
}

fn called_as_lwkctl() -> bool {
    let own = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&own).file_name() != Some("mcexec".as_ref())
}

fn lost(node: &str, outcome: Outcome) -> Stop {
    match outcome {
        Outcome::Lost(text) => Stop::new(code::LOST, format!("node {node} lost ({text})")),
        Outcome::Protocol(text) => Stop::new(code::PROTOCOL, format!("node {node}: {text}")),
        Outcome::Exited(_) => Stop::new(code::PROTOCOL, format!("node {node}: EXIT before LAUNCH_ACK")),
    }
}

/// Serves until the program is over, if that is not known yet.
fn finish(
    proxy: &Arc<Proxy>,
    events: &Events,
    end: Option<Outcome>,
    node: &str,
    relay: Relay,
    audit: bool,
) -> Result<i32, Stop> {
    relay.start(proxy.clone()).map_err(|fail| Stop::here(fail.0))?;
    if audit {
        proxy.handles.keep_complaints();
    }
    match end.map_or_else(|| events.outcomes.recv(), Ok) {
        Ok(Outcome::Exited(exit)) => {
            if audit {
                print_audit(proxy, &exit);
            }
            for line in String::from_utf8_lossy(&exit.said).lines() {
                proxy.handles.complain(&format!("mcexec: node {node}: {line}"));
            }
            if let Some(path) = proxy.core_file() {
                proxy.handles.complain(&format!("mcexec: core dumped, {}", path.display()));
            }
            Ok(end_as(exit.status))
        }
        Ok(outcome) => Err(say(proxy, lost(node, outcome))),
        Err(_) => Err(say(proxy, Stop::new(code::LOST, format!("node {node} lost")))),
    }
}

fn print_audit(proxy: &Proxy, exit: &Exit) {
    for core in &exit.audit {
        proxy.handles.complain(&format!(
            "core {}: timer {} device {} doorbell {} kick {} tlb {} nmi {} spurious {} faults {} exceptions {} syscalls {}",
            core.core,
            core.timer,
            core.device,
            core.doorbell,
            core.kick,
            core.shootdown,
            core.nmi,
            core.spurious,
            core.page_faults,
            core.exceptions,
            core.syscalls
        ));
    }
}
