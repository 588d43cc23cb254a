//! What every image offers to those who run it, whatever its role: commands about the network, pages for whoever watches it by
//! HTTP, the log to other hosts, the time from them.

pub mod counted;
pub mod disks;
mod kernel;
pub mod lnet;
mod net;
pub mod nfs;
pub mod nfsstat;
pub mod qnet;
mod ssh;
mod syslog;
mod time;
mod watch;

pub use watch::{Standing, Watch, watch};

use crate::shell::Command;
use crate::{Node, network};
use alloc::vec::Vec;
use keelson_net::Stack;

/// Starts what the command line asks for of this, and returns the shell's commands for it and about the network.
pub fn start(node: &Node, stack: &Stack) -> Vec<Command> {
    let (addresses, statistics, sockets) = (stack.clone(), stack.clone(), stack.clone());
    let (devices, frames, wall, role) = (stack.clone(), stack.clone(), node.wall.clone(), node.role.name);
    // The option has a default.
    let ssh_port =
        node.config.integer("ssh.port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    Vec::from([
        Command::new(
            "ip",
            "[-s] addr|link|route|neigh: show; link set, addr add|del: change",
            move |words| network::ip(&addresses, words),
        ),
        Command::new("ethtool", "[-i|-k|-g|-S] DEV: a network device and what it counted", move |words| {
            network::ethtool(&devices, words)
        }),
        Command::streaming(
            "pcap",
            "DEV [-c COUNT] [-s BYTES] [FILTER]: frames as a file, over ssh",
            move |words| network::pcap(&frames, wall.clone(), ssh_port, role, words),
        ),
        Command::new("netstat", "what the network stack counted", move |_| network::statistics(&statistics)),
        Command::new("ss", "TCP connections", move |_| network::sockets(&sockets)),
        syslog::start(node, stack),
        time::start(node, stack),
    ])
}
