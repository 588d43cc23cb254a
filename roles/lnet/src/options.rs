//! What the kernel command line says about LNet: the parameters of Linux's modules `lnet` and `ksocklnd`, as a
//! Linux command line spells them.
//!
//! Parameters that have no effect here (those of health, of threads, of kernel buffers) are not options: an
//! unknown option is reported, and nobody believes in it.

use crate::lnet::{LnetConfig, Tunables};
use crate::socklnd::{Accept, SocklndConfig};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_config::{Config, Kind, OptionSpec};
use keelson_lnet_wire::nid::{NetId, kind};
use keelson_lnet_wire::text::{self, Forwarding, Ip2Nets, NetworkSpec, Route};

const LNET: &str = "lnet";
const KSOCKLND: &str = "ksocklnd";

/// Router buffers of a pool, credits.
const COUNT: Kind = Kind::Integer { min: 0, max: 65_536 };
/// Seconds, up to a day.
const SECONDS: Kind = Kind::Integer { min: 0, max: 86_400 };
/// A span that must not be zero.
const SOME_SECONDS: Kind = Kind::Integer { min: 1, max: 3600 };
/// Milliseconds, up to an hour.
const MILLISECONDS: Kind = Kind::Integer { min: 1, max: 3_600_000 };
/// A ring of a connection.
const RING: Kind = Kind::Size { min: 16 << 10, max: 16 << 20 };

/// What the command line may say about the node.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "lnet.networks",
        Kind::Custom { form: "NET[(INTERFACE,...)],...", check: check_networks },
        "Networks of this node and their interfaces, each of which gets a NID of its own from its IPv4 address: \
         lnet.networks=\"tcp0(eth0),tcp1(eth1)\". Without interfaces: the first one. Lists of CPU partitions are \
         accepted and without effect.",
    )
    .owner(LNET),
    OptionSpec::new(
        "lnet.ip2nets",
        Kind::Custom { form: "\"NET[(INTERFACE)] PATTERN ...; ...\"", check: check_ip2nets },
        "The same for many nodes at once: networks of those that have an address like 10.1.*.* or \
         10.1.[2-4/2].*. Not together with lnet.networks. With neither the network is tcp, on eth0.",
    )
    .owner(LNET),
    OptionSpec::new(
        "lnet.routes",
        Kind::Custom { form: "\"NET [HOPS] GATEWAY[:PRIORITY] ...; ...\"", check: check_routes },
        "Ways to networks behind other routers: lnet.routes=\"tcp3 2 10.2.0.9@tcp1; tcp[4-6] 10.1.0.[7-8]@tcp\". A \
         gateway that is this very node makes it forward.",
    )
    .owner(LNET),
    OptionSpec::new(
        "lnet.forwarding",
        Kind::Choice(&["enabled", "disabled"]),
        "Whether messages for other nodes are passed on. Not given: if lnet.routes names this node as a gateway.",
    )
    .owner(LNET),
    OptionSpec::new(
        "lnet.tiny_router_buffers",
        COUNT,
        "Messages without payload that may be in the router at once; 0: by lnet.memory, at most 2048.",
    )
    .default("0")
    .owner(LNET),
    OptionSpec::new(
        "lnet.small_router_buffers",
        COUNT,
        "The same for payloads up to 4096 bytes; 0: by lnet.memory, at most 16384.",
    )
    .default("0")
    .owner(LNET),
    OptionSpec::new(
        "lnet.large_router_buffers",
        COUNT,
        "The same for payloads up to 1 MiB; 0: by lnet.memory, at most 1024. Memory is taken as it is needed.",
    )
    .default("0")
    .owner(LNET),
    OptionSpec::new(
        "lnet.memory",
        Kind::Size { min: 8 << 20, max: 1 << 40 },
        "Bytes that payloads on their way through the router may take. Without it a third of the machine's \
         memory, at most 96M for each started gigabyte. Keelson's own.",
    )
    .owner(LNET),
    OptionSpec::new(
        "lnet.peer_buffer_credits",
        COUNT,
        "Routed messages of each peer that may be in the router at once, where ksocklnd.peer_buffer_credits \
         does not say; 0: ksocklnd.peer_credits.",
    )
    .default("0")
    .owner(LNET),
    OptionSpec::new(
        "lnet.accept",
        Kind::Choice(&["secure", "all", "none"]),
        "Whose connections are taken: those from source ports up to 1023, all, or none.",
    )
    .default("secure")
    .owner(LNET),
    OptionSpec::new(
        "lnet.accept_port",
        Kind::Integer { min: 1, max: 65_535 },
        "TCP port that is listened on and connected to.",
    )
    .default("988")
    .owner(LNET),
    OptionSpec::new(
        "lnet.accept_backlog",
        Kind::Integer { min: 1, max: 4096 },
        "Connections that may wait to be accepted.",
    )
    .default("127")
    .owner(LNET),
    OptionSpec::new(
        "lnet.accept_timeout",
        SOME_SECONDS,
        "Seconds that each step of a peer's connection request may take.",
    )
    .default("5")
    .owner(LNET),
    OptionSpec::new(
        "lnet.check_routers_before_use",
        Kind::Flag,
        "Gateways are not used before they have answered once.",
    )
    .default("off")
    .owner(LNET),
    OptionSpec::new(
        "lnet.alive_router_check_interval",
        SECONDS,
        "Seconds between checks of each gateway; 0 checks none.",
    )
    .default("60")
    .owner(LNET),
    OptionSpec::new(
        "lnet.router_ping_timeout",
        SOME_SECONDS,
        "Seconds that a gateway may take to answer a check.",
    )
    .default("50")
    .owner(LNET),
    OptionSpec::new(
        "lnet.avoid_asym_router_failure",
        Kind::Flag,
        "A gateway whose own interface on the far network is down is not used.",
    )
    .default("on")
    .owner(LNET),
    OptionSpec::new(
        "lnet.lnet_drop_asym_route",
        Kind::Flag,
        "Messages for this node that came through a router by which it would not answer are dropped.",
    )
    .default("off")
    .owner(LNET),
    OptionSpec::new(
        "lnet.lnet_peer_discovery_disabled",
        Kind::Flag,
        "This node does not take part in discovery: its NIDs look like those of separate nodes.",
    )
    .default("off")
    .owner(LNET),
    OptionSpec::new(
        "lnet.lnet_interfaces_max",
        Kind::Integer { min: 16, max: 4096 },
        "Most NIDs that are taken from what a peer says of itself.",
    )
    .default("200")
    .owner(LNET),
    OptionSpec::new(
        "lnet.lnet_transaction_timeout",
        SOME_SECONDS,
        "Seconds after which a request of this node's own has failed.",
    )
    .default("150")
    .owner(LNET),
    OptionSpec::new(
        "lnet.selftest",
        Kind::Flag,
        "Answers lnet_selftest, as a Linux node with that module loaded does, so that lst can load this node.",
    )
    .default("on")
    .owner(LNET),
    OptionSpec::new(
        "lnet.shutdown_drain",
        Kind::Integer { min: 0, max: 600 },
        "Seconds for which a router that is shut down forwards on, while it tells its peers to use others. \
         Keelson's own; peers that only ask now and then need 120.",
    )
    .default("10")
    .owner(LNET),
    OptionSpec::new(
        "ksocklnd.credits",
        Kind::Integer { min: 1, max: 65_536 },
        "Messages under way on an interface at once.",
    )
    .default("256")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.peer_credits",
        Kind::Integer { min: 1, max: 65_536 },
        "Messages under way to a peer at once.",
    )
    .default("8")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.peer_buffer_credits",
        COUNT,
        "Routed messages of a peer that may be in the router at once; 0: lnet.peer_buffer_credits.",
    )
    .default("0")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.peer_timeout",
        SECONDS,
        "Seconds of silence after which a peer may be taken for dead; 0: none ever is, and what is routed to \
         it waits.",
    )
    .default("180")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.conns_per_peer",
        Kind::Integer { min: 1, max: 8 },
        "Connections of each bulk type that are opened to a peer.",
    )
    .default("2")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.sock_timeout",
        SOME_SECONDS,
        "Seconds after which a peer that takes nothing, stops within a message or cannot be reached is given up.",
    )
    .default("50")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.min_bulk",
        Kind::Integer { min: 0, max: 1 << 20 },
        "Bytes from which on a message takes a bulk connection, headers included.",
    )
    .default("1024")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.min_reconnectms",
        MILLISECONDS,
        "Milliseconds between the first attempts to connect; they double.",
    )
    .default("1000")
    .owner(KSOCKLND),
    OptionSpec::new("ksocklnd.max_reconnectms", MILLISECONDS, "Milliseconds that they double up to.")
        .default("60000")
        .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.keepalive",
        SECONDS,
        "Seconds after which a silent peer is sent a sign of life; 0 sends none.",
    )
    .default("30")
    .owner(KSOCKLND),
    OptionSpec::new(
        "ksocklnd.enable_csum",
        Kind::Flag,
        "Checksums of messages that have one are verified. None are ever sent.",
    )
    .default("off")
    .owner(KSOCKLND),
    OptionSpec::new("ksocklnd.rx_buffer_size", RING, "Bytes of a connection's receive buffer.")
        .default("256K")
        .owner(KSOCKLND),
    OptionSpec::new("ksocklnd.tx_buffer_size", RING, "Bytes of a connection's send buffer.")
        .default("256K")
        .owner(KSOCKLND),
];

/// Only one type of network is driven here.
fn driven(networks: &[NetworkSpec]) -> Result<(), String> {
    match networks.iter().find(|spec| spec.net.kind() != kind::TCP) {
        None => Ok(()),
        Some(spec) => {
            Err(alloc::format!("network {} is not of type tcp, the only one that is driven", spec.net))
        }
    }
}

fn check_networks(value: &str) -> Result<(), String> {
    driven(&text::networks(value).map_err(|error| error.to_string())?)
}

fn check_ip2nets(value: &str) -> Result<(), String> {
    text::ip2nets(value)
        .map_err(|error| error.to_string())?
        .entries
        .iter()
        .try_for_each(|entry| driven(&entry.networks))
}

fn check_routes(value: &str) -> Result<(), String> {
    text::routes(value).map(|_| ()).map_err(|error| error.to_string())
}

/// How the networks of a node are chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Networks {
    /// These (`networks`).
    Named(Vec<NetworkSpec>),
    /// Those that its addresses select (`ip2nets`).
    ByAddress(Ip2Nets),
}

impl Default for Networks {
    /// Network tcp on the first interface, as on Linux.
    fn default() -> Networks {
        Networks::Named(Vec::from([NetworkSpec { net: NetId::TCP, interfaces: Vec::new(), cpts: None }]))
    }
}

/// A node as its administrator wants it.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Settings of LNet.
    pub lnet: LnetConfig,
    /// Settings of the socket LND.
    pub socklnd: SocklndConfig,
    /// Tunables of NIs that do not say otherwise.
    pub tunables: Tunables,
    /// Its networks.
    pub networks: Networks,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Whether it forwards. Decides instead of `lnet.forwarding`, which follows from it.
    pub forwarding: Forwarding,
    /// Whether it answers lnet_selftest.
    pub selftest: bool,
    /// How long it forwards on while it is shut down.
    pub shutdown_drain: Duration,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            lnet: LnetConfig::default(),
            socklnd: SocklndConfig::default(),
            tunables: Tunables::default(),
            networks: Networks::default(),
            routes: Vec::new(),
            forwarding: Forwarding::IfGateway,
            selftest: true,
            shutdown_drain: Duration::from_secs(10),
        }
    }
}

impl NodeConfig {
    /// Takes the role's options from the command line, on a machine with so many bytes of memory.
    ///
    /// # Errors
    ///
    /// Options that contradict each other, in words. Values were checked when the line was read.
    ///
    /// # Panics
    ///
    /// When `config` was parsed without [`OPTIONS`].
    pub fn from_options(config: &Config, ram: u64) -> Result<NodeConfig, String> {
        let mut node = NodeConfig::default();
        let networks = config.text("lnet.networks").map(text::networks).transpose();
        let ip2nets = config.text("lnet.ip2nets").map(text::ip2nets).transpose();
        let words = |error: text::TextError| error.to_string();
        node.networks = match (networks.map_err(words)?, ip2nets.map_err(words)?) {
            (Some(_), Some(_)) => {
                return Err("lnet.networks and lnet.ip2nets are both given: leave one out".to_string());
            }
            (Some(networks), None) => Networks::Named(networks),
            (None, Some(ip2nets)) => Networks::ByAddress(ip2nets),
            (None, None) => Networks::default(),
        };
        node.routes = text::routes(config.text("lnet.routes").unwrap_or_default()).map_err(words)?;
        node.forwarding =
            text::forwarding(config.choice("lnet.forwarding").unwrap_or_default()).map_err(words)?;
        node.selftest = config.flag("lnet.selftest");
        node.shutdown_drain = seconds(config, "lnet.shutdown_drain");
        lnet(config, ram, &mut node.lnet);
        socklnd(config, &mut node.socklnd);
        let number = |name| count(config, name);
        node.tunables = Tunables {
            credits: number("ksocklnd.credits"),
            peer_credits: number("ksocklnd.peer_credits"),
            peer_buffer_credits: number("ksocklnd.peer_buffer_credits"),
            peer_timeout: number("ksocklnd.peer_timeout"),
            conns_per_peer: u8::try_from(number("ksocklnd.conns_per_peer")).unwrap_or(u8::MAX),
        };
        node.lnet.lnd_timeout = node.socklnd.timeout;
        Ok(node)
    }
}

/// An integer option with a default and a range within `u32`.
fn count(config: &Config, name: &str) -> u32 {
    config.integer(name).and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

fn seconds(config: &Config, name: &str) -> Duration {
    Duration::from_secs(count(config, name).into())
}

fn lnet(config: &Config, ram: u64, lnet: &mut LnetConfig) {
    let memory = config.size("lnet.memory").unwrap_or_else(|| default_memory(ram));
    lnet.memory = usize::try_from(memory).unwrap_or(usize::MAX);
    lnet.tiny_router_buffers = count(config, "lnet.tiny_router_buffers");
    lnet.small_router_buffers = count(config, "lnet.small_router_buffers");
    lnet.large_router_buffers = count(config, "lnet.large_router_buffers");
    lnet.peer_buffer_credits = count(config, "lnet.peer_buffer_credits");
    lnet.discovery = !config.flag("lnet.lnet_peer_discovery_disabled");
    lnet.drop_asym_route = config.flag("lnet.lnet_drop_asym_route");
    lnet.avoid_asym_router_failure = config.flag("lnet.avoid_asym_router_failure");
    lnet.check_routers_before_use = config.flag("lnet.check_routers_before_use");
    lnet.alive_router_check_interval = seconds(config, "lnet.alive_router_check_interval");
    lnet.router_ping_timeout = seconds(config, "lnet.router_ping_timeout");
    lnet.transaction_timeout = seconds(config, "lnet.lnet_transaction_timeout");
    lnet.max_interfaces = count(config, "lnet.lnet_interfaces_max");
}

/// A third of the machine, but no more than what a router of its size can have under way.
fn default_memory(ram: u64) -> u64 {
    let most = (96 << 20) * ram.div_ceil(1 << 30).max(1);
    (ram / 3).clamp(8 << 20, most)
}

fn socklnd(config: &Config, socklnd: &mut SocklndConfig) {
    let milliseconds = |name| Duration::from_millis(count(config, name).into());
    let size =
        |name, default| config.size(name).and_then(|size| usize::try_from(size).ok()).unwrap_or(default);
    socklnd.accept = match config.choice("lnet.accept") {
        Some("all") => Accept::All,
        Some("none") => Accept::None,
        _ => Accept::Secure,
    };
    socklnd.accept_port = u16::try_from(count(config, "lnet.accept_port")).unwrap_or(socklnd.accept_port);
    socklnd.accept_backlog = count(config, "lnet.accept_backlog") as usize;
    socklnd.accept_timeout = seconds(config, "lnet.accept_timeout");
    socklnd.timeout = seconds(config, "ksocklnd.sock_timeout");
    socklnd.min_bulk = count(config, "ksocklnd.min_bulk") as usize;
    socklnd.min_reconnect = milliseconds("ksocklnd.min_reconnectms");
    socklnd.max_reconnect = milliseconds("ksocklnd.max_reconnectms").max(socklnd.min_reconnect);
    socklnd.keepalive = seconds(config, "ksocklnd.keepalive");
    socklnd.enable_csum = config.flag("ksocklnd.enable_csum");
    socklnd.receive_buffer = size("ksocklnd.rx_buffer_size", socklnd.receive_buffer);
    socklnd.send_buffer = size("ksocklnd.tx_buffer_size", socklnd.send_buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: u64 = 1 << 30;

    fn read(line: &str) -> NodeConfig {
        let config = Config::parse(&[OPTIONS], &["lnet", "ksocklnd"], "", line.as_bytes());
        assert!(config.problems().is_empty(), "{:?}", config.problems());
        NodeConfig::from_options(&config, RAM).unwrap()
    }

    #[test]
    fn the_table_is_sound_and_its_defaults_are_those_of_the_code() {
        assert_eq!(keelson_config::lint(&[OPTIONS]), [""; 0]);
        let (read, default) = (read(""), NodeConfig::default());
        assert_eq!((read.lnet, read.tunables), (default.lnet, default.tunables));
        assert_eq!(format!("{:?}", read.socklnd), format!("{:?}", default.socklnd));
        assert_eq!((read.networks, read.forwarding), (default.networks, default.forwarding));
        assert_eq!((read.routes, read.selftest), (default.routes, default.selftest));
        assert_eq!(read.shutdown_drain, default.shutdown_drain);
    }

    #[test]
    fn options_are_taken() {
        let node = read(
            "lnet.networks=\"tcp0(eth0),tcp1(eth1)\" lnet.forwarding=enabled lnet.routes=\"tcp3 2 10.2.0.9@tcp1\" \
             lnet.large_router_buffers=64 lnet.accept=all lnet.lnet_peer_discovery_disabled=1 \
             ksocklnd.peer_credits=32 ksocklnd.sock_timeout=16 ksocklnd.rx_buffer_size=1M lnet.memory=1G",
        );
        assert_eq!(node.networks, Networks::Named(text::networks("tcp(eth0),tcp1(eth1)").unwrap()));
        assert_eq!((node.routes.len(), node.routes[0].hops), (1, Some(2)));
        assert_eq!(node.forwarding, Forwarding::Enabled);
        assert_eq!((node.lnet.large_router_buffers, node.lnet.memory), (64, 1 << 30));
        assert!(!node.lnet.discovery);
        assert_eq!((node.socklnd.accept, node.socklnd.receive_buffer), (Accept::All, 1 << 20));
        assert_eq!((node.tunables.peer_credits, node.tunables.credits), (32, 256));
        assert_eq!(
            (node.socklnd.timeout, node.lnet.lnd_timeout),
            (Duration::from_secs(16), Duration::from_secs(16))
        );
    }

    #[test]
    fn networks_by_address() {
        let Networks::ByAddress(ip2nets) =
            read("lnet.ip2nets=\"tcp1(eth0) 10.1.*.*; tcp2 10.2.*.*\"").networks
        else {
            panic!("ip2nets were given");
        };
        assert_eq!(ip2nets.select(&["10.2.0.7".parse().unwrap()]).unwrap()[0].net, NetId::new(kind::TCP, 2));
    }

    #[test]
    fn contradictions_and_mistakes_are_named() {
        let parse = |line: &str| Config::parse(&[OPTIONS], &["lnet", "ksocklnd"], "", line.as_bytes());
        let both = parse("lnet.networks=tcp lnet.ip2nets=\"tcp 10.*.*.*\"");
        assert!(NodeConfig::from_options(&both, RAM).unwrap_err().contains("leave one out"));
        for (line, says) in [
            ("lnet.networks=o2ib(ib0)", "network o2ib is not of type tcp"),
            ("lnet.networks=eth0", "a network is a type such as tcp"),
            ("lnet.routes=\"tcp3 10.2.0.9@tcp3\"", "tcp3"),
            ("lnet.forwarding=yes", "enabled"),
            ("ksocklnd.peer_credits=0", "from 1"),
            ("lnet.tiny_router_buffer=5", "lnet.tiny_router_buffers"),
        ] {
            let config = parse(line);
            assert!(config.must_refuse(), "{line}");
            let problem = config.problems()[0].to_string();
            assert!(problem.contains(says), "{line}: {problem}");
        }
    }

    #[test]
    fn memory_follows_the_machine() {
        assert_eq!(default_memory(64 << 20), (64 << 20) / 3);
        assert_eq!(default_memory(1 << 30), 96 << 20);
        assert_eq!(default_memory(16 << 30), 16 * (96 << 20));
    }
}
