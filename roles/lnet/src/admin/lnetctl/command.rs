//! A command of `lnetctl`, understood.

use super::super::control::{Buffers, Configure, NetRequest, Setting};
use super::super::faults::FaultCommand;
use super::super::import::Mode;
use super::Current;
use crate::lnet::{PeerConfig, RouteConfig, Stop};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_lnet_wire::nid::{NetId, Nid};

/// A command.
pub enum Command {
    /// Shows a text.
    Help(&'static str),
    /// `lnet configure`.
    Configure(Configure),
    /// `lnet unconfigure`.
    Unconfigure(Stop),
    /// `net add`: one, or one for each NID.
    NetAdd(Vec<NetRequest>),
    /// `net del`.
    NetDel {
        /// The network.
        net: NetId,
        /// Only on these; all when empty.
        interfaces: Vec<String>,
    },
    /// `net del --nid`.
    NidDel(Vec<Nid>),
    /// `net show`.
    NetShow {
        /// Only this one.
        net: Option<NetId>,
        /// `-v` level.
        detail: u32,
    },
    /// `route add`: one for each gateway.
    RouteAdd(Vec<RouteConfig>),
    /// `route del`.
    RouteDel {
        /// The network.
        net: NetId,
        /// Only through this one.
        gateway: Option<Nid>,
    },
    /// `route show`.
    RouteShow {
        /// Only these.
        filter: RouteFilter,
        /// `-v` level.
        detail: u32,
    },
    /// `peer list`.
    PeerList,
    /// `peer show`.
    PeerShow {
        /// Only this one.
        nid: Option<Nid>,
        /// `-v` level.
        detail: u32,
    },
    /// `peer add`.
    PeerAdd(PeerConfig),
    /// `peer del`.
    PeerDel {
        /// Its primary NID.
        primary: Nid,
        /// Only these; all of it when empty.
        nids: Vec<Nid>,
    },
    /// `routing show`.
    RoutingShow,
    /// `set`.
    Set(Tunable, u32),
    /// `stats show`.
    StatsShow,
    /// `stats reset`.
    StatsReset,
    /// `global show`.
    GlobalShow,
    /// `ping`.
    Ping {
        /// From this NID of ours, and through its NI.
        source: Option<Nid>,
        /// Whom.
        nids: Vec<Nid>,
        /// For each.
        timeout: Duration,
    },
    /// `discover`.
    Discover {
        /// Whom.
        nids: Vec<Nid>,
        /// For each.
        timeout: Duration,
    },
    /// `fault`.
    Fault(FaultCommand),
    /// `export`.
    Export {
        /// Only what `import` needs.
        backup: bool,
    },
    /// `import`.
    Import {
        /// What to do with it.
        mode: Mode,
        /// The YAML text.
        text: String,
    },
}

/// Which routes are meant.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RouteFilter {
    /// To this network.
    pub net: Option<NetId>,
    /// Through this one.
    pub gateway: Option<Nid>,
    /// Of so many hops.
    pub hops: Option<u8>,
    /// Of this priority.
    pub priority: Option<u32>,
}

/// What `set` sets.
#[derive(Clone, Copy)]
pub enum Tunable {
    /// `routing`.
    Routing,
    /// `tiny_buffers`, `small_buffers`, `large_buffers`.
    Buffers(Buffers),
    /// Others with an effect.
    Setting(Setting),
    /// Others without, and the value they have.
    Without(&'static str, Current),
}

impl Tunable {
    /// Finds a name, for this value.
    pub fn named(name: &str, value: u32) -> Option<Tunable> {
        let buffers = Buffers::default();
        Some(match name {
            "routing" => Tunable::Routing,
            "tiny_buffers" => Tunable::Buffers(Buffers { tiny: Some(value), ..buffers }),
            "small_buffers" => Tunable::Buffers(Buffers { small: Some(value), ..buffers }),
            "large_buffers" => Tunable::Buffers(Buffers { large: Some(value), ..buffers }),
            "discovery" => Tunable::Setting(Setting::Discovery),
            "drop_asym_route" => Tunable::Setting(Setting::DropAsymRoute),
            "transaction_timeout" => Tunable::Setting(Setting::TransactionTimeout),
            "max_interfaces" | "max_intf" => Tunable::Setting(Setting::MaxInterfaces),
            _ => Tunable::WITHOUT
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(name, current)| Tunable::Without(name, *current))?,
        })
    }

    /// Settings of Linux that have no effect here, and what `global show` says of them.
    pub const WITHOUT: &[(&'static str, Current)] = &[
        ("numa_range", |global| global.numa_range),
        ("retry_count", |global| global.retry_count),
        ("health_sensitivity", |global| global.health_sensitivity),
        ("recovery_interval", |global| global.recovery_interval),
        ("router_sensitivity", |global| global.router_sensitivity),
        ("response_tracking", |global| global.response_tracking),
        ("recovery_limit", |global| global.recovery_limit),
        ("max_recovery_ping_interval", |global| global.max_recovery_ping_interval),
        ("lnd_timeout", |global| global.lnd_timeout),
    ];

    /// As it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Tunable::Routing => "routing",
            Tunable::Buffers(Buffers { tiny: Some(_), .. }) => "tiny_buffers",
            Tunable::Buffers(Buffers { small: Some(_), .. }) => "small_buffers",
            Tunable::Buffers(_) => "large_buffers",
            Tunable::Setting(Setting::Discovery) => "discovery",
            Tunable::Setting(Setting::DropAsymRoute) => "drop_asym_route",
            Tunable::Setting(Setting::TransactionTimeout) => "transaction_timeout",
            Tunable::Setting(Setting::MaxInterfaces) => "max_interfaces",
            Tunable::Without(name, _) => name,
        }
    }
}
