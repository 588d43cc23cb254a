//! The role's options.

use crate::exports::{Netgroups, WildcardDots, parse_exports};
use crate::names::HostTable;
use crate::nsm::SimulatedCrash;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_config::{Config, Kind, OptionSpec};
use keelson_oncrpc::ServerOptions;

const OWNER: &str = "nfs-server";

/// Any port that can be listened on.
const PORT: Kind = Kind::Integer { min: 1, max: 65_535 };

/// A time that is over some day.
const SECONDS: Kind = Kind::Integer { min: 1, max: 86_400 };

/// What the command line may say about this role.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "nfs.exports",
        Kind::Custom { form: "\"/DIR CLIENT(OPTIONS) ...; /DIR2 ...\"", check: check_exports },
        "Directories to export, as exports(5) writes them; ';' separates them. \
         Example: nfs.exports=\"/ 10.0.0.0/8(rw,no_root_squash) *(ro)\".",
    )
    .repeatable()
    .owner(OWNER),
    OptionSpec::new(
        "nfs.exports_disk",
        Kind::Text,
        "A second disk (vdb) whose raw content is a text of exports(5), up to its first zero byte or 64K. \
         Without it exports are also read from /.keelson/exports of the filesystem.",
    )
    .owner(OWNER),
    OptionSpec::new(
        "nfs.netgroups",
        Kind::Custom { form: "\"NAME (HOST,,) NAME2 ...; ...\"", check: check_netgroups },
        "Groups of clients for @NAME in exports, as netgroup(5) writes them; ';' separates them.",
    )
    .owner(OWNER),
    OptionSpec::new(
        "nfs.hosts",
        Kind::Custom { form: "ADDRESS=NAME,...", check: check_hosts },
        "Names of clients for export lines that name hosts, so that no DNS is needed. A name without a dot is looked \
         for in the domain of hostname=, too.",
    )
    .owner(OWNER),
    OptionSpec::new(
        "nfs.wildcard_dots",
        Kind::Flag,
        "Wildcards in client names match dots too, as in today's exports(5).",
    )
    .default("off")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.rsize",
        Kind::Size { min: 4096, max: 1 << 20 },
        "Largest READ and WRITE over TCP; rounded down to a multiple of 4K. Over UDP it is 32K. Without it 1M, or \
         a 64th of the memory where that is less.",
    )
    .owner(OWNER),
    OptionSpec::new(
        "nfs.buffers",
        Kind::Size { min: 2 << 20, max: 1 << 30 },
        "Memory for large requests and replies of all clients together; more of them wait. Without it 24M, or an \
         eighth of the memory where that is less.",
    )
    .owner(OWNER),
    OptionSpec::new(
        "nfs.connections",
        Kind::Integer { min: 1, max: 65_536 },
        "Most TCP connections; beyond it the one that has been quiet longest gives way. Without it 1024, or one for \
         each 128K of memory where that is less, but 128 at least.",
    )
    .owner(OWNER),
    OptionSpec::new(
        "nfs.connections_per_host",
        Kind::Integer { min: 1, max: 65_536 },
        "Most TCP connections of one client address.",
    )
    .default("16")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.idle_timeout",
        SECONDS,
        "A TCP connection without any call for so many seconds is closed. Linux clients close theirs after 300.",
    )
    .default("360")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.stall_timeout",
        SECONDS,
        "A TCP connection whose client stops for so many seconds in the middle of a request, or does not read \
         replies, is closed; after 5 seconds while others wait for the buffers it holds.",
    )
    .default("60")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.tcp_keepalive",
        SECONDS,
        "A TCP peer that has been silent for so many seconds is asked whether it is still there.",
    )
    .default("60")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.tcp_user_timeout",
        SECONDS,
        "A TCP peer that owes an answer for so many seconds is given up (TCP_USER_TIMEOUT of tcp(7)).",
    )
    .default("120")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.grace",
        Kind::Integer { min: 0, max: 3600 },
        "Seconds after a restart in which clients reclaim their locks and nobody gets new ones. There are none \
         when no client had locks.",
    )
    .default("90")
    .owner(OWNER),
    OptionSpec::new(
        "nfs.simu_crash",
        Kind::Flag,
        "Serve SM_SIMU_CRASH, with which anybody can drop all locks: only for tests of clients.",
    )
    .default("off")
    .owner(OWNER),
    OptionSpec::new("nfs.port", PORT, "Port of NFS.").default("2049").owner(OWNER),
    OptionSpec::new("nfs.mountd_port", PORT, "Port of MOUNT.").default("20048").owner(OWNER),
    OptionSpec::new("nfs.nlm_port", PORT, "Port of NLM, the lock manager.").default("32803").owner(OWNER),
    OptionSpec::new("nfs.statd_port", PORT, "Port of NSM, the status monitor.").default("32765").owner(OWNER),
    OptionSpec::new("nfs.rquota_port", PORT, "Port of RQUOTA, which tells clients of quotas.")
        .default("875")
        .owner(OWNER),
];

/// A bad line would be left out; on the command line it is better to say so and not to serve.
fn check_exports(text: &str) -> Result<(), String> {
    match parse_exports(text).1.iter().find(|problem| problem.fatal) {
        Some(problem) => Err(problem.message.clone()),
        None => Ok(()),
    }
}

fn check_netgroups(text: &str) -> Result<(), String> {
    Netgroups::parse(text).1.into_iter().next().map_or(Ok(()), |(_, message)| Err(message))
}

fn check_hosts(text: &str) -> Result<(), String> {
    HostTable::parse(text).map(|_| ()).map_err(|entry| format!("'{entry}' is not ADDRESS=NAME"))
}

/// How to serve.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerConfig {
    /// Text in the grammar of exports(5); `;` ends a line too.
    pub exports: String,
    /// Raw content of the disk that `nfs.exports_disk` names, as far as it may hold text. `None`: the file
    /// `/.keelson/exports` is read.
    pub exports_disk: Option<Vec<u8>>,
    /// Text in the grammar of netgroup(5); `;` ends a line too.
    pub netgroups: String,
    /// Names of clients that need no DNS.
    pub hosts: HostTable,
    /// Whether wildcards in client names match dots.
    pub wildcard_dots: WildcardDots,
    /// Largest READ and WRITE in bytes over TCP, a multiple of 4096 up to 1 MiB. Over UDP it is 32 KiB.
    pub max_transfer: u32,
    /// Bytes of message buffers for all connections together.
    pub buffer_memory: usize,
    /// Connections of one client address.
    pub connections_per_host: usize,
    /// Connections.
    pub connections: usize,
    /// Calls executed at once, besides one of each connection.
    pub more_calls: usize,
    /// Replies kept of calls that must not be executed twice.
    pub kept_replies: usize,
    /// A connection without any call this long is closed.
    pub idle_timeout: Duration,
    /// A connection whose client stops this long in the middle of a message is closed.
    pub stall_timeout: Duration,
    /// A TCP peer that is silent this long is asked whether it is there.
    pub keepalive: Duration,
    /// A TCP peer that owes an answer this long is given up.
    pub user_timeout: Duration,
    /// Port of rpcbind.
    pub rpcbind_port: u16,
    /// Port of NFS.
    pub nfs_port: u16,
    /// Port of MOUNT.
    pub mountd_port: u16,
    /// Port of NLM.
    pub nlm_port: u16,
    /// Port of NSM.
    pub statd_port: u16,
    /// How long clients may reclaim locks after a restart.
    pub grace: Duration,
    /// Whether SM_SIMU_CRASH is served.
    pub simulated_crash: SimulatedCrash,
    /// What clients call this server. Notices of a restart carry it; without, they carry the address that
    /// the client uses.
    pub name: Option<String>,
    /// Port of RQUOTA.
    pub rquota_port: u16,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        let rpc = ServerOptions::default();
        ServerConfig {
            exports: String::new(),
            exports_disk: None,
            netgroups: String::new(),
            hosts: HostTable::default(),
            wildcard_dots: WildcardDots::default(),
            max_transfer: 1 << 20,
            buffer_memory: rpc.buffer_memory,
            connections_per_host: rpc.connections_per_host,
            connections: rpc.connections,
            more_calls: rpc.more_calls,
            kept_replies: rpc.kept_replies,
            idle_timeout: rpc.idle,
            stall_timeout: rpc.stall,
            keepalive: Duration::from_secs(60),
            user_timeout: Duration::from_secs(120),
            rpcbind_port: 111,
            nfs_port: 2049,
            mountd_port: 20_048,
            nlm_port: 32_803,
            statd_port: 32_765,
            grace: Duration::from_secs(90),
            simulated_crash: SimulatedCrash::Refused,
            name: None,
            rquota_port: 875,
        }
    }
}

impl ServerConfig {
    /// Room in a record besides the payload of a WRITE.
    const RECORD_HEAD: usize = 4096;

    /// What a machine with `ram` bytes of memory can afford: with everything at its limit, together with the file cache
    /// and the TCP connections, it must not run out of memory, which would end it.
    pub fn for_memory(ram: u64) -> ServerConfig {
        let default = ServerConfig::default();
        let part = |divisor: u64, most: usize| usize::try_from(ram / divisor).unwrap_or(usize::MAX).min(most);
        ServerConfig {
            max_transfer: part(64, default.max_transfer as usize) as u32,
            buffer_memory: part(8, default.buffer_memory),
            connections: part(128 << 10, default.connections).max(128),
            more_calls: part(512 << 10, default.more_calls),
            kept_replies: part(32 << 10, default.kept_replies),
            ..default
        }
    }

    /// Takes the role's options from the command line, of a machine with `ram` bytes of memory; whoever knows disks adds
    /// the content of `exports_disk`.
    ///
    /// # Panics
    ///
    /// When `config` was parsed without [`OPTIONS`].
    pub fn from_options(config: &Config, ram: u64) -> ServerConfig {
        let default = ServerConfig::for_memory(ram);
        let seconds = |name, default| {
            let given = config.integer(name).and_then(|seconds| u64::try_from(seconds).ok());
            given.map_or(default, Duration::from_secs)
        };
        let port =
            |name, default| config.integer(name).and_then(|port| u16::try_from(port).ok()).unwrap_or(default);
        let count = |name, default| {
            config.integer(name).and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
        };
        let size = |name| config.size(name).and_then(|size| usize::try_from(size).ok());
        let mut exports = String::new();
        for text in config.texts("nfs.exports") {
            exports.push_str(text);
            exports.push('\n');
        }
        ServerConfig {
            exports,
            exports_disk: None,
            netgroups: config.text("nfs.netgroups").unwrap_or_default().into(),
            hosts: HostTable::parse(config.text("nfs.hosts").unwrap_or_default()).unwrap_or_default(),
            wildcard_dots: if config.flag("nfs.wildcard_dots") {
                WildcardDots::Match
            } else {
                WildcardDots::Separate
            },
            max_transfer: size("nfs.rsize").map_or(default.max_transfer, |size| size as u32),
            buffer_memory: size("nfs.buffers").unwrap_or(default.buffer_memory),
            connections: count("nfs.connections", default.connections),
            connections_per_host: count("nfs.connections_per_host", default.connections_per_host),
            more_calls: default.more_calls,
            kept_replies: default.kept_replies,
            idle_timeout: seconds("nfs.idle_timeout", default.idle_timeout),
            stall_timeout: seconds("nfs.stall_timeout", default.stall_timeout),
            keepalive: seconds("nfs.tcp_keepalive", default.keepalive),
            user_timeout: seconds("nfs.tcp_user_timeout", default.user_timeout),
            rpcbind_port: default.rpcbind_port,
            nfs_port: port("nfs.port", default.nfs_port),
            mountd_port: port("nfs.mountd_port", default.mountd_port),
            nlm_port: port("nfs.nlm_port", default.nlm_port),
            statd_port: port("nfs.statd_port", default.statd_port),
            grace: seconds("nfs.grace", default.grace),
            simulated_crash: if config.flag("nfs.simu_crash") {
                SimulatedCrash::Allowed
            } else {
                SimulatedCrash::Refused
            },
            name: None,
            rquota_port: port("nfs.rquota_port", default.rquota_port),
        }
    }

    /// The server's domain: what its name has behind the first dot.
    pub(crate) fn domain(&self) -> Option<&str> {
        let (_, domain) = self.name.as_deref()?.trim_end_matches('.').split_once('.')?;
        (!domain.is_empty()).then_some(domain)
    }

    /// The limits of the RPC server.
    pub(crate) fn rpc_options(&self) -> ServerOptions {
        ServerOptions {
            max_record: self.max_transfer() as usize + Self::RECORD_HEAD,
            buffer_memory: self.buffer_memory,
            connections: self.connections,
            connections_per_host: self.connections_per_host,
            more_calls: self.more_calls,
            kept_replies: self.kept_replies,
            idle: self.idle_timeout,
            stall: self.stall_timeout,
            ..ServerOptions::default()
        }
    }

    /// The largest transfer, within what is possible.
    pub(crate) fn max_transfer(&self) -> u32 {
        self.max_transfer.clamp(4096, 1 << 20) & !4095
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound_and_its_defaults_are_ours() {
        assert_eq!(keelson_config::lint(&[OPTIONS]), [""; 0]);
        let config = Config::parse(&[OPTIONS], &["nfs"], "", b"");
        assert_eq!(ServerConfig::from_options(&config, 1 << 30), ServerConfig::default());
    }

    #[test]
    fn options_are_taken() {
        let line = b"nfs.exports=\"/ 10.0.0.0/8(rw,no_root_squash) *(ro)\" nfs.exports=/a nfs.rsize=64K \
                     nfs.hosts=10.0.0.5=mail nfs.wildcard_dots nfs.rquota_port=4000 \
                     nfs.netgroups=\"staff (mail,,); all staff\"";
        let config = Config::parse(&[OPTIONS], &["nfs"], "", line);
        assert!(config.problems().is_empty(), "{:?}", config.problems());
        let config = ServerConfig::from_options(&config, 1 << 30);
        assert_eq!(config.exports, "/ 10.0.0.0/8(rw,no_root_squash) *(ro)\n/a\n");
        assert_eq!((config.max_transfer, config.wildcard_dots), (65_536, WildcardDots::Match));
        assert_eq!((config.rquota_port, &config.netgroups[..]), (4000, "staff (mail,,); all staff"));
        assert!(config.hosts.name_of("10.0.0.5".parse().expect("an address")) == Some("mail"));
    }

    #[test]
    fn a_small_machine_promises_less_unless_told_otherwise() {
        let config = |line| Config::parse(&[OPTIONS], &["nfs"], "", line);
        let small = ServerConfig::from_options(&config(b"nfs.stall_timeout=7"), 16 << 20);
        assert_eq!((small.buffer_memory, small.connections, small.max_transfer), (2 << 20, 128, 256 << 10));
        assert_eq!((small.more_calls, small.stall_timeout), (32, Duration::from_secs(7)));
        let told =
            ServerConfig::from_options(&config(b"nfs.rsize=1M nfs.buffers=8M nfs.connections=9"), 16 << 20);
        assert_eq!((told.buffer_memory, told.connections, told.max_transfer), (8 << 20, 9, 1 << 20));
    }

    #[test]
    fn a_bad_netgroup_refuses_to_serve_and_says_why() {
        let config = Config::parse(&[OPTIONS], &["nfs"], "", b"nfs.netgroups=\"staff (mail\"");
        assert!(config.must_refuse());
        let problem = config.problems()[0].to_string();
        assert!(problem.contains("'(mail' is no (host,user,domain)"), "{problem}");
    }

    #[test]
    fn a_bad_export_refuses_to_serve_and_says_why() {
        let config = Config::parse(&[OPTIONS], &["nfs"], "", b"nfs.exports=\"/ *(rx)\"");
        assert!(config.must_refuse());
        assert!(config.problems()[0].to_string().contains("unknown option 'rx'"), "{:?}", config.problems());
    }
}
