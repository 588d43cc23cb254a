//! Text of `/proc/qnetstats` (section 16).
//!
//! Users filter it with `grep -e ok -e bad`: besides the frame counters of the original, only lines that start with
//! `rxd bad` have these words. No other name here contains them, not even inside another word.

use super::Node;
use crate::api::{Counters as KifCounters, PeerProfile as KifProfile};
use crate::counters::Counters;
use crate::l4::{Occupancy, Transport};
use crate::link::{LinkAddress, LinkId};
use crate::nodes::{Duplicate, Entry, NodeState};
use crate::sessions::NodeNr;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};
use keelson_qnet_wire::{Endian, Mac};

/// Names are in a column of this width.
const COLUMN: usize = 30;
/// Values of the kernel interface and of connections are.
const VALUE: usize = 11;

/// The whole text; empty while Qnet is not mounted.
pub(super) fn text(node: &Node) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_to(node, &mut out);
    out
}

fn write_to(node: &Node, out: &mut String) -> fmt::Result {
    let Some(network) = node.network() else { return Ok(()) };
    let config = node.config();
    writeln!(out, "**** Qnet compiled on {} running on {}", config.built, node.name())?;
    let (transport, occupancy) = network.look(|transport| (transport.counters(), transport.occupancy()));
    kernel_interface(out, &node.kernel().counters(), &transport)?;
    transport_lines(out, &transport)?;
    held(out, &occupancy)?;
    node.dispatcher().counters().write_to(out)?;
    line(out, "io open_files", &node.dispatcher().open_files())?;
    network.look(|transport| {
        transport.duplicates().iter().try_for_each(|other| duplicate(out, transport, other))?;
        transport.nodes().try_for_each(|entry| {
            let profile = node.kernel().peer_profile(NodeNr(entry.nr));
            peer(out, transport, entry, &profile)
        })
    })
}

fn line(out: &mut String, name: &str, value: &dyn Display) -> fmt::Result {
    writeln!(out, "{name:<COLUMN$}: {value:>VALUE$}")
}

/// Lines of both levels that begin with `kif`. That nodes come and go is known best by the transport.
fn kernel_interface(out: &mut String, kif: &KifCounters, transport: &Counters) -> fmt::Result {
    let mut result = Ok(());
    let mut nodes = Some(transport.lines().filter(|(name, _)| name.starts_with("kif ")));
    kif.for_each(|name, value| {
        let is_of_nodes = name.starts_with("kif nd_");
        if is_of_nodes && let Some(mut nodes) = nodes.take() {
            result = result.and(nodes.try_for_each(|(name, value)| line(out, name, &value)));
        }
        if !is_of_nodes {
            result = result.and(line(out, name, value));
        }
    });
    result
}

/// Connections, frames, names. Frame counters have no colon, as in the original.
fn transport_lines(out: &mut String, counters: &Counters) -> fmt::Result {
    for (name, value) in counters.lines().filter(|(name, _)| !name.starts_with("kif ")) {
        if name.starts_with("txd ") || name.starts_with("rxd ") {
            writeln!(out, "{name:<COLUMN$}  {value}")?;
        } else {
            line(out, name, &value)?;
        }
    }
    Ok(())
}

/// What is in use now.
fn held(out: &mut String, now: &Occupancy) -> fmt::Result {
    line(out, "qos tx_conn", &now.tx)?;
    line(out, "qos rx_conn", &now.rx)?;
    line(out, "l4 outbound_msgs", &now.outbound_messages)?;
    line(out, "l4 outbound_bytes", &now.outbound_bytes)?;
    line(out, "l4 buffers", &now.buffers)?;
    line(out, "lr nodes", &now.nodes)
}

fn duplicate(out: &mut String, transport: &Transport, other: &Duplicate) -> fmt::Result {
    let link = link_name(transport, other.link);
    writeln!(out, "duplicate {}: {} on {link}", other.name, Address(other.address))
}

/// A few lines for each node that is in `/net`.
fn peer(out: &mut String, transport: &Transport, entry: &Entry, kif: &KifProfile) -> fmt::Result {
    writeln!(out, "node {}", entry.shown(transport.identity().domain()))?;
    line(out, "  nd", &entry.nr)?;
    line(out, "  remote nd", &entry.remote_nd)?;
    line(out, "  state", &state(entry.state))?;
    line(out, "  epoch", &entry.epoch)?;
    line(out, "  connections", &format_args!("{} tx, {} rx", entry.tx.len(), entry.rx.len()))?;
    if let Some(srtt) = entry.srtt {
        line(out, "  srtt us", &srtt.as_micros())?;
    }
    for number in 0..crate::node::MAX_LINKS as u8 {
        if let Some(address) = entry.address(LinkId(number)) {
            let name = link_name(transport, LinkId(number));
            line(out, &alloc::format!("  {name}"), &Address(address))?;
        }
    }
    if let Some((link, address)) = entry.other {
        line(out, &alloc::format!("  {} also", link_name(transport, link)), &Address(address))?;
    }
    let flags = profile(entry, kif);
    if !flags.is_empty() {
        line(out, "  profile", &flags.join(" "))?;
    }
    Ok(())
}

/// Where a node differs from ours (section 28).
fn profile(entry: &Entry, kif: &KifProfile) -> Vec<&'static str> {
    let (l4, ours) = (&entry.profile, crate::nodes::PeerProfile::default());
    let differences = [
        (entry.dup, "duplicate"),
        (l4.endian == Endian::Big, "big-endian"),
        (l4.lr_form != ours.lr_form, "lr-form"),
        (l4.tcs_flags != ours.tcs_flags || l4.tcs_layer != ours.tcs_layer, "tcs-form"),
        (l4.first_is_isn, "first-is-isn"),
        (l4.ack_cumulative, "ack-cumulative"),
        (l4.ack_flags != ours.ack_flags || l4.ack_echoes_layer, "ack-form"),
        (l4.window_halved > 0, "window-halved"),
        (kif.cs_swapped, "cs-swapped"),
        (kif.version != KifProfile::default().version, "kif-version"),
    ];
    differences.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name).collect()
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Learned => "learned",
        NodeState::Resolving => "resolving",
        NodeState::Up => "up",
        NodeState::Failed => "failed",
    }
}

fn link_name(transport: &Transport, link: LinkId) -> &str {
    transport.link_name(link).unwrap_or("gone")
}

struct Address(LinkAddress);

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            LinkAddress::Mac(mac) => Mac(mac).fmt(f),
            LinkAddress::Ipv4(address) => address.fmt(f),
        }
    }
}
