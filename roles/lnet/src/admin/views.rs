//! Snapshots as the YAML of `lnetctl` (LNet specification sections 6.2 to 6.6): keys, order and levels of detail.

mod net;
mod peer;
mod route;
mod totals;

pub use net::{net, tunables};
pub use peer::{peer, peer_list, ping_info, state};
pub use route::{buffers, route, routing};
pub use totals::{global, statistics};

use super::yaml::Yaml;
use crate::lnet::show::{ByType, TrafficStatus};

/// The health of everything: this node keeps no health values.
const HEALTHY: u32 = 1000;

/// `statistics` of an NI or a peer NI.
fn counts(traffic: &TrafficStatus) -> Yaml {
    Yaml::map()
        .with("send_count", traffic.sent.total())
        .with("recv_count", traffic.received.total())
        .with("drop_count", traffic.dropped.total())
}

/// `sent_stats`, `received_stats`, `dropped_stats`.
fn counts_by_type(traffic: &TrafficStatus) -> Yaml {
    Yaml::map()
        .with("sent_stats", by_type(&traffic.sent))
        .with("received_stats", by_type(&traffic.received))
        .with("dropped_stats", by_type(&traffic.dropped))
}

fn by_type(counts: &ByType) -> Yaml {
    Yaml::map()
        .with("put", counts.put)
        .with("get", counts.get)
        .with("reply", counts.reply)
        .with("ack", counts.ack)
        .with("hello", 0u32)
}

/// As Python writes it, which is how Linux writes it here.
pub fn truth(is: bool) -> &'static str {
    if is { "True" } else { "False" }
}
