//! What the kernel command line says about LNet: the parameters of Linux's modules `lnet` and `ksocklnd`, as a
//! Linux command line spells them.
//!
//! Parameters that have no effect here (those of health, of threads, of kernel buffers) are not options: an
//! unknown option is reported, and nobody believes in it.

mod table;

pub use table::OPTIONS;

use crate::lnet::{AddressChoice, LnetConfig, Tunables};
use crate::socklnd::{Accept, SocklndConfig};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use keelson_config::Config;
use keelson_lnet_wire::nid::NetId;
use keelson_lnet_wire::text::{self, Forwarding, Ip2Nets, NetworkSpec, Route};

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

/// The networks whose NIs take their NIDs from IPv6 addresses (`large`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Large {
    /// All of them.
    All,
    /// These.
    Nets(Vec<NetId>),
}

impl Default for Large {
    fn default() -> Large {
        Large::Nets(Vec::new())
    }
}

impl Large {
    /// Reads `all` or a list of networks.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Large, String> {
        if text == "all" {
            return Ok(Large::All);
        }
        let net = |name: &str| {
            name.trim().parse().map_err(|_| format!("'{name}' is neither all nor a network such as tcp1"))
        };
        text.split(',').map(net).collect::<Result<_, _>>().map(Large::Nets)
    }

    /// What NIs on `net` take if nobody says otherwise.
    pub fn address_on(&self, net: NetId) -> AddressChoice {
        match self {
            Large::All => AddressChoice::Large,
            Large::Nets(nets) if nets.contains(&net) => AddressChoice::Large,
            Large::Nets(_) => AddressChoice::Usual,
        }
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
    /// Those of them that use IPv6.
    pub large: Large,
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
            tunables: Tunables { conns_per_peer: 0, ..Tunables::default() },
            networks: Networks::default(),
            large: Large::default(),
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
        node.large = config.text("lnet.large").map(Large::parse).transpose()?.unwrap_or_default();
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
        assert_eq!((read.networks, read.large), (default.networks, default.large));
        assert_eq!(read.forwarding, default.forwarding);
        assert_eq!((read.routes, read.selftest), (default.routes, default.selftest));
        assert_eq!(read.shutdown_drain, default.shutdown_drain);
    }

    #[test]
    fn options_are_taken() {
        let node = read(
            "lnet.networks=\"tcp0(eth0),tcp1(eth1)\" lnet.forwarding=enabled lnet.routes=\"tcp3 2 10.2.0.9@tcp1\" \
             lnet.large_router_buffers=64 lnet.accept=all lnet.lnet_peer_discovery_disabled=1 \
             lnet.large=tcp1 ksocklnd.peer_credits=32 ksocklnd.sock_timeout=16 ksocklnd.rx_buffer_size=1M lnet.memory=1G",
        );
        assert_eq!(node.networks, Networks::Named(text::networks("tcp(eth0),tcp1(eth1)").unwrap()));
        assert_eq!(node.large.address_on(NetId::TCP), AddressChoice::Usual);
        assert_eq!(node.large.address_on("tcp1".parse().unwrap()), AddressChoice::Large);
        assert_eq!(read("lnet.large=all").large.address_on(NetId::TCP), AddressChoice::Large);
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
        assert_eq!(ip2nets.select(&["10.2.0.7".parse().unwrap()]).unwrap()[0].net, "tcp2".parse().unwrap());
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
            ("lnet.large=tcp,yes", "'yes' is neither all nor a network"),
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
