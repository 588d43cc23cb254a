//! What every image offers to those who run it, whatever its role: commands about the network, and pages for whoever watches
//! it by HTTP.

mod kernel;
pub mod lnet;
mod net;
pub mod nfs;
pub mod qnet;
mod watch;

pub use watch::{Standing, Watch, watch};

use crate::network;
use crate::shell::Command;
use alloc::vec::Vec;
use keelson_net::Stack;

/// The shell's commands about the network.
pub fn commands(stack: &Stack) -> Vec<Command> {
    let (addresses, statistics, sockets) = (stack.clone(), stack.clone(), stack.clone());
    Vec::from([
        Command::new(
            "ip",
            "[-s] addr|link|route|neigh: show; link set, addr add|del: change",
            move |words| network::ip(&addresses, words),
        ),
        Command::new("netstat", "what the network stack counted", move |_| network::statistics(&statistics)),
        Command::new("ss", "TCP connections", move |_| network::sockets(&sockets)),
    ])
}
