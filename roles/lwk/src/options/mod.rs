//! What the kernel command line says about the node (section 2). The host's tools check it with the same code before they boot a
//! node.

pub mod cpulist;
mod keys;
mod listen;
pub mod memory;
pub mod nodes;
mod table;

pub use keys::Keys;
pub use listen::Listen;
pub use table::{OPTIONS, key};

use crate::control::Checks;
use crate::mm::{Prefault, ShmSettings};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_config::Config;
use keelson_hal::user::PageSize;
use keelson_lwk_wire::dump::Level;

/// Port where hosts connect.
pub const PORT: u16 = 8810;

/// How a node divides and uses its machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Processors that serve the network, hosts and time; the first one booted.
    pub service: Vec<usize>,
    /// Processors that run programs, in the order that programs number them.
    pub compute: Vec<usize>,
    /// Bytes of each NUMA node that programs may have; `None` for all that the kernel does not need.
    pub memory: Option<Vec<u64>>,
    /// Whether programs may have the host do something.
    pub delegation: bool,
    /// Where hosts connect.
    pub listen: Listen,
    /// Threads that may run on one compute core.
    pub oversubscribe: usize,
    /// Whether those take turns.
    pub time_sharing: bool,
    /// What processors for programs do while they have nothing to do.
    pub idle: Idle,
    /// Threads of a process that may run on service cores beside it.
    pub helpers: usize,
    /// Sizes of pages for programs, largest first.
    pub page_sizes: Vec<PageSize>,
    /// Large pages without being asked for.
    pub thp: bool,
    /// Which memory is there as soon as it is mapped.
    pub prefault: Prefault,
    /// Whether fork copies a page when it is written, instead of at once.
    pub fork_cow: bool,
    /// Limits of System V shared memory.
    pub shm: ShmSettings,
    /// What the node looks for by itself.
    pub checks: Checks,
    /// What a dump holds when nobody says.
    pub dump_level: Level,
    /// Vector by which cores call each other; `None` for the kernel's own.
    pub call_vector: Option<u8>,
    /// Bytes of the log that are kept.
    pub log_size: usize,
    /// Whether processors may run faster than their nominal frequency.
    pub turbo: bool,
    /// Whether what a host says about files is believed for a while.
    pub attribute_cache: bool,
    /// Whether a host need not prove that it knows the key.
    pub insecure: bool,
    /// Whether frames without a key carry a checksum beside TCP's.
    pub crc: bool,
}

/// What a processor does while it has nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idle {
    /// What suits the machine.
    #[default]
    Auto,
    /// It looks for work all the time.
    Poll,
    /// MWAIT.
    Mwait,
    /// It halts.
    Halt,
}

/// Why a command line cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsError {
    /// The option.
    pub option: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl core::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cmdline: {}: {}", self.option, self.reason)
    }
}

impl core::error::Error for SettingsError {}

impl Settings {
    /// Reads the options for a machine with `cores` processors and so many bytes of memory on each NUMA node, if that is known.
    pub fn from_options(
        config: &Config,
        cores: usize,
        memory: Option<&[u64]>,
    ) -> Result<Settings, SettingsError> {
        let (service, compute) = partition(config, cores)?;
        let listen = Listen::parse(config.text("listen").unwrap_or_default());
        let listen = listen.map_err(|reason| error("listen", reason))?;
        let integer = |name| config.integer(name).and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        Ok(Settings {
            service,
            compute,
            memory: shares(config, memory).map_err(|reason| error("mem", reason))?,
            delegation: config.flag("hidos"),
            listen,
            oversubscribe: match config.text("allow_oversubscribe") {
                Some(text) => oversubscribe(text).map_err(|reason| error("allow_oversubscribe", reason))?,
                None => 1,
            },
            time_sharing: config.flag("time_sharing"),
            idle: match config.choice("idle") {
                _ if config.flag("idle_halt") => Idle::Halt,
                Some("poll") => Idle::Poll,
                Some("mwait") => Idle::Mwait,
                Some("halt") => Idle::Halt,
                _ => Idle::Auto,
            },
            helpers: integer("helpers"),
            page_sizes: page_sizes(config.text("hugepages").unwrap_or_default())
                .map_err(|reason| error("hugepages", reason))?,
            thp: config.flag("thp"),
            prefault: match config.choice("prefault") {
                _ if config.flag("anon_on_demand") => Prefault::None,
                Some("none") => Prefault::None,
                Some("all") => Prefault::All,
                _ => Prefault::Anon,
            },
            fork_cow: config.choice("fork") == Some("cow"),
            shm: ShmSettings { most: config.size("shmall"), forced: config.flag("shm_rmid_forced") },
            checks: Checks {
                hangs: seconds(config, "mon_interval"),
                stalls: seconds(config, "stall_timeout"),
            },
            dump_level: if config.choice("dump_level") == Some("0") { Level::All } else { Level::Kernel },
            call_vector: config.integer("ikc_vector").and_then(|vector| u8::try_from(vector).ok()),
            log_size: config
                .size("kmsg_size")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or_default(),
            turbo: config.flag("turbo"),
            attribute_cache: config.flag("attrcache"),
            insecure: config.flag("insecure"),
            crc: config.flag("crc"),
        })
    }
}

/// A span that is off at zero and below.
fn seconds(config: &Config, option: &str) -> Option<Duration> {
    let seconds = config.integer(option).and_then(|seconds| u64::try_from(seconds).ok());
    seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn error(option: &'static str, reason: String) -> SettingsError {
    SettingsError { option, reason }
}

/// Service and compute cores.
fn partition(config: &Config, cores: usize) -> Result<(Vec<usize>, Vec<usize>), SettingsError> {
    let list = |option: &'static str| -> Result<Option<Vec<usize>>, SettingsError> {
        let Some(text) = config.text(option).filter(|text| *text != "auto") else { return Ok(None) };
        let list = cpulist::parse(text).map_err(|reason| error(option, reason))?;
        match list.iter().find(|core| **core >= cores) {
            Some(core) => {
                Err(error(option, format!("there is no processor {core}; the machine has {cores}, from 0")))
            }
            None => Ok(Some(list)),
        }
    };
    let service = list("svc")?.unwrap_or_else(|| Vec::from([0]));
    if !service.contains(&0) {
        return Err(error("svc", "processor 0 started the machine and must be one of them".to_string()));
    }
    let compute = match list("cpus")? {
        Some(compute) => compute,
        None => (0..cores).filter(|core| !service.contains(core)).collect(),
    };
    if let Some(both) = compute.iter().find(|core| service.contains(core)) {
        return Err(error("cpus", format!("processor {both} is a service core (svc=); it cannot be both")));
    }
    if compute.is_empty() {
        let reason = format!("no processor is left for programs; the machine has {cores}, give it one more");
        return Err(error("cpus", reason));
    }
    Ok((service, compute))
}

/// What programs get of a machine with so much memory; nothing is compared where that is not known.
fn shares(config: &Config, present: Option<&[u64]>) -> Result<Option<Vec<u64>>, String> {
    let Some(text) = config.text("mem").filter(|text| *text != "all") else { return Ok(None) };
    let sizes = memory::parse(text)?;
    present.map(|present| memory::shares(&sizes, present)).transpose()
}

/// Bare is 2, as McKernel doubles its threads.
fn oversubscribe(text: &str) -> Result<usize, String> {
    match text {
        "" => Ok(2),
        _ => match text.parse() {
            Ok(threads @ 2..=64) => Ok(threads),
            _ => Err("accepted is nothing (2), or threads per processor from 2 to 64".to_string()),
        },
    }
}

fn page_sizes(text: &str) -> Result<Vec<PageSize>, String> {
    let mut sizes = Vec::new();
    for word in text.split(',') {
        let size = match word {
            "1g" => PageSize::Huge,
            "2m" => PageSize::Large,
            "4k" => PageSize::Small,
            _ => return Err(format!("{word:?} is none of 1g, 2m and 4k")),
        };
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    if !sizes.contains(&PageSize::Small) {
        // Parts of large pages can always be changed by themselves.
        sizes.push(PageSize::Small);
    }
    sizes.sort_by(|a, b| b.cmp(a));
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mckernels_words_are_understood() {
        assert_eq!(settings("anon_on_demand", 2).unwrap().prefault, Prefault::None);
        assert_eq!(settings("prefault=all", 2).unwrap().prefault, Prefault::All);
        assert_eq!(settings("idle=poll", 2).unwrap().idle, Idle::Poll);
        assert_eq!(settings("idle=poll idle_halt", 2).unwrap().idle, Idle::Halt);
        assert!(settings("allow_oversubscribe", 2).unwrap().time_sharing);
        assert!(!settings("allow_oversubscribe time_sharing=0", 2).unwrap().time_sharing);
    }

    #[test]
    fn the_node_looks_by_itself_when_it_is_told_to() {
        let checks = |line: &str| settings(line, 2).unwrap().checks;
        assert_eq!(checks(""), Checks::default());
        assert_eq!(checks("mon_interval=-1 stall_timeout=0"), Checks::default());
        let checks = checks("mon_interval=30 stall_timeout=5");
        assert_eq!(
            (checks.hangs, checks.stalls),
            (Some(Duration::from_secs(30)), Some(Duration::from_secs(5)))
        );
    }

    fn settings(line: &str, cores: usize) -> Result<Settings, SettingsError> {
        Settings::from_options(
            &Config::parse(&[OPTIONS], &["lwk"], "", line.as_bytes()),
            cores,
            Some(&[1 << 30; 2]),
        )
    }

    #[test]
    fn programs_do_not_see_the_key() {
        let public =
            |line: &str| Config::parse(&[OPTIONS], &["lwk"], "helpers=2", line.as_bytes()).public_line();
        assert_eq!(public("listen=9 psk=0123abcd insecure=1"), "helpers=2 listen=9 insecure=1");
        assert_eq!(public("psk=\"01 23\" listen=9"), "helpers=2 listen=9");
        assert_eq!(public("\"psk=01 23\" listen=9"), "helpers=2 listen=9");
        assert_eq!(public("x=\"a psk=b\""), "helpers=2 x=\"a psk=b\"");
        assert_eq!(public("pks=0123abcd listen=9"), "helpers=2 listen=9");
    }

    #[test]
    fn everything_but_the_first_processor_computes() {
        let plain = settings("", 5).unwrap();
        assert_eq!((plain.service, plain.compute), (vec![0], vec![1, 2, 3, 4]));
        assert_eq!((plain.oversubscribe, plain.helpers), (1, 4));
        assert_eq!(plain.listen, Listen { port: Some(PORT), serial: None });
        assert_eq!(plain.memory, None);
        assert_eq!(plain.page_sizes, [PageSize::Huge, PageSize::Large, PageSize::Small]);
        assert!(plain.delegation && plain.thp && !plain.fork_cow && !plain.insecure && !plain.crc);
        assert_eq!((plain.call_vector, plain.log_size), (None, (4 << 20) - 4096));
    }

    #[test]
    fn the_partition_is_what_the_line_says() {
        let plain = settings("", 2).unwrap();
        let chosen =
            settings("svc=0,4 cpus=3,1-2 allow_oversubscribe hugepages=2m fork=cow prefault=none", 8)
                .unwrap();
        assert_eq!((chosen.service, chosen.compute), (vec![0, 4], vec![3, 1, 2]));
        assert_eq!((chosen.oversubscribe, chosen.page_sizes.len()), (2, 2));
        assert!(chosen.fork_cow);
        assert_eq!(settings("mem=all", 2).unwrap().memory, None);
        assert_eq!(settings("mem=3M@1,4M@1", 2).unwrap().memory, Some(vec![0, 6 << 20]));
        assert_eq!((plain.prefault, chosen.prefault), (Prefault::Anon, Prefault::None));
        assert_eq!(
            (plain.dump_level, settings("dump_level=0", 2).unwrap().dump_level),
            (Level::Kernel, Level::All)
        );
        assert_eq!(settings("allow_oversubscribe=16", 2).unwrap().oversubscribe, 16);
    }

    #[test]
    fn segments_are_limited_and_may_go_by_themselves() {
        assert_eq!(settings("", 2).unwrap().shm, ShmSettings::default());
        let shm = settings("shmall=256M shm_rmid_forced=1", 2).unwrap().shm;
        assert_eq!(shm, ShmSettings { most: Some(256 << 20), forced: true });
    }

    #[test]
    fn vectors_and_sizes_out_of_range_keep_the_node_from_running() {
        let chosen = settings("ikc_vector=0xef kmsg_size=64K", 2).unwrap();
        assert_eq!((chosen.call_vector, chosen.log_size), (Some(239), 64 << 10));
        for line in ["ikc_vector=63", "ikc_vector=240", "ikc_vector=x", "kmsg_size=63K", "kmsg_size=65M"] {
            assert!(Config::parse(&[OPTIONS], &["lwk"], "", line.as_bytes()).must_refuse(), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (line, cores, message) in [
            ("", 1, "cmdline: cpus: no processor is left for programs; the machine has 1, give it one more"),
            ("cpus=1-4", 4, "cmdline: cpus: there is no processor 4; the machine has 4, from 0"),
            ("svc=1", 4, "cmdline: svc: processor 0 started the machine and must be one of them"),
            ("mem=512M@2", 2, "cmdline: mem: there is no NUMA node 2; the machine has 2, from 0"),
            (
                "mem=1G@1",
                2,
                "cmdline: mem: 1024M of NUMA node 1 is too much; of its 1024M programs can have 960M, the rest is the kernel's",
            ),
            ("svc=0,1 cpus=1-3", 4, "cmdline: cpus: processor 1 is a service core (svc=); it cannot be both"),
        ] {
            assert_eq!(settings(line, cores).unwrap_err().to_string(), message, "{line}");
        }
    }
}
