//! What the LNet router counts, as metrics, and whether it routes.

use alloc::format;
use alloc::string::{String, ToString};
use keelson_lnet::lnet::show::{ByType, NetStatus, NiStatus, PoolStatus, RoutingState, RoutingStatus};
use keelson_lnet::node::Node;
use keelson_ops::metrics::{Exposition, Kind, Value};

/// Whether the node has networks, and all of them are up.
pub fn check(node: &Node) -> Result<(), String> {
    let nets = node.lnet().nets();
    let mut own = own(&nets).peekable();
    if own.peek().is_none() {
        return Err(String::from(
            "no network is up; name some in lnet.networks=, or give their interfaces an address (lnetctl net show)",
        ));
    }
    match own.find(|(_, ni)| !ni.up || ni.fatal_error) {
        Some((_, ni)) => Err(format!("{} is down; look at the link of its interface", ni.nid)),
        None => Ok(()),
    }
}

/// NIs but loopback, with their networks.
fn own(nets: &[NetStatus]) -> impl Iterator<Item = (&NetStatus, &NiStatus)> {
    nets.iter().flat_map(|net| net.nis.iter().map(move |ni| (net, ni))).filter(|(_, ni)| ni.id.is_some())
}

/// Writes what the node counts.
pub fn collect(node: &Node, to: &mut Exposition) {
    let lnet = node.lnet();
    messages(node, to);
    networks(to, &lnet.nets());
    let (up, down): (usize, usize) = lnet
        .routes()
        .iter()
        .fold((0, 0), |(up, down), route| if route.up { (up + 1, down) } else { (up, down + 1) });
    to.family("keelson_lnet_routes", Kind::Gauge, "Routes, by whether messages are sent over them.")
        .sample(&[("state", "up")], up)
        .sample(&[("state", "down")], down);
    let gateways = lnet.routers();
    let alive = gateways.iter().filter(|gateway| gateway.alive).count();
    to.family("keelson_lnet_gateways", Kind::Gauge, "Gateways of routes, by whether they are alive.")
        .sample(&[("state", "up")], alive)
        .sample(&[("state", "down")], gateways.len() - alive);
    buffers(to, &lnet.routing());
    node.socklnd().counters().each(|name, help, value| {
        to.counter(format_args!("keelson_socklnd_{name}_total"), help, value);
    });
}

/// Messages and what became of them; `lnetctl stats reset` sets these back.
fn messages(node: &Node, to: &mut Exposition) {
    let (s, d) = (node.lnet().statistics(), node.lnet().drops());
    let help = "Messages: own ones sent and received, those of others routed, and those dropped.";
    let mut family = to.family("keelson_lnet_messages_total", Kind::Counter, help);
    for (fate, count) in [
        ("sent", s.send_count),
        ("received", s.recv_count),
        ("routed", s.route_count),
        ("dropped", s.drop_count),
    ] {
        family.sample(&[("fate", fate)], count);
    }
    let help = "Payload of these messages.";
    let mut family = to.family("keelson_lnet_payload_bytes_total", Kind::Counter, help);
    for (fate, bytes) in [
        ("sent", s.send_length),
        ("received", s.recv_length),
        ("routed", s.route_length),
        ("dropped", s.drop_length),
    ] {
        family.sample(&[("fate", fate)], bytes);
    }
    let mut family = to.family("keelson_lnet_dropped_total", Kind::Counter, "Messages dropped, by reason.");
    for (reason, count) in [
        ("misdirected", d.misdirected),
        ("not_routing", d.not_routing),
        ("fault_rule", d.fault_rule),
        ("no_peer", d.no_peer),
        ("asymmetric", d.asymmetric),
        ("unmatched", d.unmatched),
        ("no_route", d.no_route),
        ("loop", d.loops),
        ("next_hop_dead", d.next_hop_dead),
        ("send_failed", d.send_failed),
        ("not_expressible", d.not_expressible),
    ] {
        family.sample(&[("reason", reason)], count);
    }
    let help =
        "Messages lost on their way out, and own requests without an answer, by error as lnetctl names it.";
    let mut family = to.family("keelson_lnet_errors_total", Kind::Counter, help);
    for (error, count) in [
        ("response_timeout", s.response_timeout_count),
        ("local_dropped", s.local_dropped_count),
        ("local_no_route", s.local_no_route_count),
        ("local_error", s.local_error_count),
        ("remote_dropped", s.remote_dropped_count),
        ("remote_error", s.remote_error_count),
        ("network_timeout", s.network_timeout_count),
    ] {
        family.sample(&[("error", error)], count);
    }
    to.gauge("keelson_lnet_messages", "Messages in memory.", s.msgs_alloc);
    to.gauge("keelson_lnet_messages_max", "The most messages that ever were in memory.", s.msgs_max);
    let c = node.lnet().contacts();
    let help = "Neighbours that made contact with this router, by what became of it.";
    let mut family = to.family("keelson_lnet_contacts_total", Kind::Counter, help);
    for (outcome, count) in [
        ("made", c.made),
        ("spoke_first", c.spoke_first),
        ("told", c.told),
        ("without_discovery", c.without_discovery),
        ("failed", c.failed),
        ("gone", c.gone),
        ("left_out", c.left_out),
    ] {
        family.sample(&[("outcome", outcome)], count);
    }
}

fn networks(to: &mut Exposition, nets: &[NetStatus]) {
    type Show = fn(&NiStatus) -> Value;
    let gauges: [(&str, &str, Show); 5] = [
        ("up", "1 while a network interface of LNet is up.", |ni| (ni.up && !ni.fatal_error).into()),
        ("peers", "Peers reached through it.", |ni| ni.peers.into()),
        ("credits_max", "Its send credits when nothing is under way.", |ni| ni.tx.max.into()),
        ("credits", "Its send credits that are left; below zero, so many messages wait.", |ni| {
            ni.tx.available.into()
        }),
        ("credits_min", "The least of its send credits that ever were left.", |ni| ni.tx.min.into()),
    ];
    for (name, help, show) in gauges {
        let mut family = to.family(format_args!("keelson_lnet_ni_{name}"), Kind::Gauge, help);
        for (net, ni) in own(nets) {
            family.sample(&[("net", &net.net.to_string()), ("nid", &ni.nid.to_string())], show(ni));
        }
    }
    let help = "Messages of an interface of LNet, routed ones included, by type.";
    let mut family = to.family("keelson_lnet_ni_messages_total", Kind::Counter, help);
    for (_, ni) in own(nets) {
        let (nid, traffic) = (ni.nid.to_string(), ni.traffic);
        for (fate, of) in
            [("sent", traffic.sent), ("received", traffic.received), ("dropped", traffic.dropped)]
        {
            let ByType { put, get, reply, ack } = of;
            for (kind, count) in [("put", put), ("get", get), ("reply", reply), ("ack", ack)] {
                family.sample(&[("nid", &nid), ("fate", fate), ("type", kind)], count);
            }
        }
    }
}

fn buffers(to: &mut Exposition, routing: &RoutingStatus) {
    let enabled = routing.state == RoutingState::Enabled;
    to.gauge("keelson_lnet_routing", "1 while the node forwards and says so.", enabled);
    type Show = fn(&PoolStatus) -> Value;
    let gauges: [(&str, &str, Show); 4] = [
        ("", "Router buffers that may be occupied at once, by pool.", |pool| pool.buffers.into()),
        ("_free", "Router buffers that are free; below zero, so many messages wait.", |pool| {
            pool.credits.into()
        }),
        ("_free_min", "The fewest that ever were free.", |pool| pool.min_credits.into()),
        ("_waiting", "Messages that wait, for a buffer or because their next hop has its share.", |pool| {
            pool.parked.into()
        }),
    ];
    for (name, help, show) in gauges {
        let mut family = to.family(format_args!("keelson_lnet_buffers{name}"), Kind::Gauge, help);
        for pool in &routing.pools {
            family.sample(&[("pool", pool.name)], show(pool));
        }
    }
    let help = "Buffers taken from the reserve by messages that had waited too long.";
    let mut family = to.family("keelson_lnet_buffers_rescued_total", Kind::Counter, help);
    for pool in &routing.pools {
        family.sample(&[("pool", pool.name)], pool.rescued);
    }
    let (now, most) = routing.payload_bytes;
    to.gauge("keelson_lnet_buffer_bytes", "Memory allocated for payloads.", now);
    to.gauge("keelson_lnet_buffer_bytes_max", "The most memory that ever was allocated for payloads.", most);
}
