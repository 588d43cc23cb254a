//! The options themselves: names, what is accepted, defaults, help.

use super::Large;
use alloc::string::{String, ToString};
use keelson_config::{Kind, OptionSpec};
use keelson_lnet_wire::nid::kind;
use keelson_lnet_wire::text::{self, NetworkSpec};

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
        "Networks of this node and their interfaces, each of which gets a NID of its own from its IPv4 address, \
         or its IPv6 address if it has no other and does not ask for one by DHCP: \
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
        "lnet.large",
        Kind::Custom { form: "all or NET,...", check: check_large },
        "Networks whose interfaces get their NIDs from IPv6 addresses even if they have IPv4 addresses, as lnetctl \
         lnet configure --large asks for all of them; one without waits: lnet.large=tcp1. Peers need Lustre 2.16. \
         Keelson's own.",
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
        "Most seconds for which a router that is shut down forwards on, while it tells its peers to use others. It \
         ends sooner when all peers that listen have been told and nothing has been routed for a second. Keelson's \
         own; peers that only ask now and then need 120 while they use it."
        ,
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
        Kind::Integer { min: 0, max: 8 },
        "Connections of each bulk type that are opened to a peer; 0: by the speed of the link, 1 up to 3 Gbit/s, 2 \
         up to 15, 3 up to 63, 4 up to 255; 2 where the device does not tell its speed.",
    )
    .default("0")
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

fn check_large(value: &str) -> Result<(), String> {
    Large::parse(value).map(|_| ())
}

fn check_routes(value: &str) -> Result<(), String> {
    text::routes(value).map(|_| ()).map_err(|error| error.to_string())
}
