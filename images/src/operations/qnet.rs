//! What the Qnet node counts, as metrics, and whether it is there for others.

use alloc::string::String;
use keelson_ops::metrics::{Exposition, Kind};
use keelson_qnet::api::Reading;
use keelson_qnet::node::Node;
use keelson_qnet::procs::Processes;

/// Whether Qnet is mounted, if it is asked for, and one of its links works.
pub fn check(node: &Node, wanted: bool) -> Result<(), String> {
    if !wanted {
        return Ok(());
    }
    if !node.is_mounted() {
        return Err(String::from("Qnet is not mounted; the log says why (dmesg)"));
    }
    if !node.links().iter().any(|(_, port)| port.is_up()) {
        return Err(String::from("none of Qnet's links works; look at cables and the switch's ports"));
    }
    Ok(())
}

/// Writes what the node counts. While Qnet is not mounted, what its transport counts is zero.
pub fn collect(node: &Node, processes: Option<&Processes>, to: &mut Exposition) {
    to.gauge("keelson_qnet_mounted", "1 while Qnet is mounted.", node.is_mounted());
    let mut family = to.family("keelson_qnet_link_up", Kind::Gauge, "1 while a link of Qnet works.");
    for (_, port) in node.links() {
        family.sample(&[("link", port.name())], port.is_up());
    }
    let (transport, nodes) = match node.network() {
        Some(network) => network.look(|transport| (transport.counters(), transport.nodes().count())),
        None => Default::default(),
    };
    to.gauge("keelson_qnet_nodes", "Nodes that this one knows, itself included.", nodes);
    transport.each(|name, help, value| {
        to.counter(format_args!("keelson_qnet_{name}_total"), help, value);
    });
    node.kernel().counters().each(|name, help, reading| match reading {
        Reading::Count(count) => to.counter(format_args!("keelson_qnet_kif_{name}_total"), help, count),
        Reading::Gauge(gauge) => {
            to.gauge(format_args!("keelson_qnet_kif_{name}"), help, gauge.now);
            to.gauge(
                format_args!("keelson_qnet_kif_{name}_max"),
                "The most of them that ever were.",
                gauge.high,
            );
        }
    });
    let io = node.dispatcher().counters();
    for (name, help, value) in [
        ("messages", "Messages that the resource managers answered.", io.messages),
        ("errors", "Those that were answered with an error.", io.errors),
        ("malformed", "Messages that could not be understood.", io.malformed),
        ("refused", "Opens refused because there were too many.", io.refused),
        ("other_stat", "Requests for the layout of stat of 64-bit clients.", io.other_stat),
    ] {
        to.counter(format_args!("keelson_qnet_io_{name}_total"), help, value);
    }
    to.gauge(
        "keelson_qnet_io_open_files",
        "Open files of this node's resource managers.",
        node.dispatcher().open_files(),
    );
    let (running, zombies) = processes.map_or((0, 0), |processes| (processes.running(), processes.zombies()));
    to.family("keelson_qnet_processes", Kind::Gauge, "Processes, by state.")
        .sample(&[("state", "running")], running)
        .sample(&[("state", "zombie")], zombies);
}
