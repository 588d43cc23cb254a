//! The node builder: what every image does before its role starts.
//!
//! An image is a [`Role`] and a `main` that calls [`Node::start`], builds drivers and the role on the node, and
//! ends in [`Node::run`]. The first lines of the log name the image, its command line and its machine, so
//! that a log found later explains itself.
//!
//! Not here: which drivers and services an image has; that is the binary's.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod crash_dump;
pub mod devices;
pub mod echo;
pub mod initrd;
pub mod lwk;
pub mod network;
pub mod operations;
pub mod qnet;
pub mod roles;
mod screen;
pub mod shell;
pub mod shutdown;
pub mod storage;
pub mod wall;
pub mod watchdog;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::time::Duration;
use initrd::Initrd;
use keelson_config::{Config, OptionSpec};
use keelson_exec::{Executor, Handle};
use keelson_hal::{Clock, Instant};
use keelson_kernel::console::SerialConsole;
use keelson_kernel::options::{self, ConsoleChoice, PanicAction};
use keelson_kernel::time::{self, Watch};
use keelson_kernel::{Machine, console, crash, mm, panic, postmortem, smp};
use keelson_ops::timeline::Timeline;
use shutdown::Shutdown;
use wall::Wall;

/// The example role of the page for contributors compiles.
#[cfg(doctest)]
#[doc = include_str!("../../CONTRIBUTING.md")]
pub struct Contributing;

/// What an image is; see [`roles`].
pub struct Role {
    /// Name: `nfs-server`.
    pub name: &'static str,
    /// Command line that the loader's is added to; the loader's wins.
    pub default_line: &'static str,
    /// Tables of the options that the role's own parts read, beside those of [`roles::COMMON`].
    pub options: &'static [&'static [OptionSpec]],
    /// First parts of the role's own dotted options: mistakes in these keep the role from serving.
    pub prefixes: &'static [&'static str],
}

/// A started machine with its configuration and executor.
pub struct Node {
    /// The machine.
    pub machine: Machine,
    /// The effective command line, checked.
    pub config: Rc<Config>,
    /// What the loader brought beside the image; empty when that was nothing.
    pub initrd: Initrd,
    /// The serial console that `console=` names first; `None` without one.
    pub console: Option<Rc<SerialConsole>>,
    /// The first core's executor: spawn, sleep, time.
    pub handle: Handle,
    /// Where the end is asked for.
    pub shutdown: Shutdown,
    /// The wall clock, to be set.
    pub wall: Rc<Wall>,
    /// How the hardware watchdog fares, if there is one.
    pub watchdog: Rc<watchdog::Standing>,
    /// When the start had come how far.
    pub timeline: Timeline,
    /// What the SSH server counts, open or not.
    pub ssh: Rc<keelson_ssh::Counters>,
    role: &'static Role,
    executor: Executor,
}

impl Role {
    /// All tables of options of the image: those of all images, then the role's.
    pub fn tables(&self) -> Vec<&'static [OptionSpec]> {
        roles::COMMON.iter().chain(self.options).copied().collect()
    }
}

impl Node {
    /// Reads the command line, makes it take effect, and says what was started on what.
    pub fn start(machine: Machine, role: &'static Role) -> Node {
        postmortem::set_build(env!("KEELSON_BUILT"));
        crash::set_image(role.name, env!("CARGO_PKG_VERSION"), env!("KEELSON_BUILT"));
        let read = machine.boot.blob.as_ref().map(|place| Initrd::read(&mm::DirectMap, place));
        let (initrd, refused) = match read {
            Some(Err(error)) => (Initrd::default(), Some(error)),
            Some(Ok(initrd)) => (initrd, None),
            None => (Initrd::default(), None),
        };
        let config = Rc::new(parse(role, machine.boot.cmdline_bytes(), &initrd));
        console::log::set_filter(options::log_filter(&config));
        panic::set_action(PanicAction::of(&config));
        let executor = Executor::new(machine.clock.clone(), Some(smp::kicker(0)));
        let console = open_console(&machine, &config);
        let shutdown = Shutdown::default();
        let timeline = Timeline::default();
        timeline.reached("image entered", Instant::ZERO);
        let handle = executor.handle();
        let (wall, ssh, watchdog) = (Rc::default(), Rc::default(), Rc::default());
        let node = Node {
            machine,
            config,
            initrd,
            console,
            handle,
            shutdown,
            wall,
            watchdog,
            timeline,
            ssh,
            role,
            executor,
        };
        node.announce();
        screen::start(&node);
        if let Some(watch) = time::choose(&node.config) {
            node.handle.spawn("clock", watch_clock(node.handle.clone(), node.wall.clone(), watch));
        }
        if let Some(problem) = node.machine.boot.blob_problem {
            log::warn!(target: "config", "{problem}");
        }
        if let Some(error) = refused {
            log::warn!(target: "config", "{error}");
        }
        node
    }

    fn announce(&self) {
        let boot = self.machine.boot;
        log::info!(target: "kernel", "Keelson {} {}", env!("CARGO_PKG_VERSION"), self.role.name);
        crash::tell();
        options::report(&self.config);
        if self.config.flag("help") {
            console::write(keelson_config::help(&self.role.tables()).as_bytes());
        }
        log::info!(
            target: "kernel",
            "booted by {:?} (loader {:#04x}) at {:#x}; {} MiB of memory, {} used; {} of {} cores; TSC {} MHz",
            boot.protocol,
            boot.loader,
            boot.image.start,
            boot.ram() >> 20,
            shell::Kib(mm::frames::statistics().used() * 4),
            smp::online(),
            self.machine.platform.processors.len().max(1),
            time::tsc_hz() / 1_000_000,
        );
        for function in &self.machine.pci.functions {
            log::debug!(
                target: "pci",
                "{}: {:04x}:{:04x} class {:02x}{:02x}",
                function.address,
                function.vendor,
                function.device,
                function.class.base,
                function.class.sub
            );
        }
        let now = self.machine.clock.now();
        log::info!(target: "kernel", "machine ready after {} ms", now.as_millis());
        self.timeline.reached("machine ready", now);
    }

    /// Runs the node's tasks for ever.
    pub fn run(self) -> ! {
        self.executor.run(&self.machine.park)
    }
}

/// How often the time stamp counter is compared with another clock.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Looks after the time stamp counter for as long as time is read from it.
async fn watch_clock(handle: Handle, wall: Rc<Wall>, mut watch: Watch) {
    while time::look(&mut watch) {
        handle.sleep(WATCH_PERIOD).await;
    }
    wall.source_changed();
}

/// Opens the first serial port of `console=`. A virtio console is the binary's to open: it needs a driver.
fn open_console(machine: &Machine, config: &Config) -> Option<Rc<SerialConsole>> {
    let (index, baud, is_named) = ConsoleChoice::all(config).find_map(|choice| match choice {
        ConsoleChoice::Serial { index, baud } => Some((index, baud, true)),
        ConsoleChoice::Auto => Some((0, None, false)),
        ConsoleChoice::Screen | ConsoleChoice::Virtio => None,
    })?;
    let console = SerialConsole::open(machine.platform, index.into(), baud);
    if console.is_none() && is_named {
        log::warn!(target: "kernel", "console=ttyS{index}: the machine has no such serial port");
    }
    console.map(Rc::new)
}

/// The image's options, read from the role's default line, the loader's and the initial RAM disk.
fn parse(role: &Role, loader_line: &[u8], initrd: &Initrd) -> Config {
    let mut config = Config::parse(&role.tables(), role.prefixes, role.default_line, loader_line);
    config.read(initrd.words().as_bytes(), role.prefixes);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_line_wins() {
        let role = Role { name: "test", default_line: "panic=5 log=warn", options: &[], prefixes: &[] };
        let config = parse(&role, b"panic=exit", &Initrd::default());
        assert_eq!(PanicAction::of(&config), PanicAction::Exit);
        assert_eq!(config.effective_line(), "panic=5 log=warn panic=exit");
    }
}
