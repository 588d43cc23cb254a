//! The time of day from others.

use crate::Node;
use crate::shell::Command;
use keelson_net::Stack;
use keelson_ops::sntp::{Servers, Sntp};

/// Starts asking who `ntp=` or DHCP names; returns the command that shows the time.
pub fn start(node: &Node, stack: &Stack) -> Command {
    let servers = Servers::from_options(&node.config);
    let sntp = Sntp::start(&node.handle, stack, node.machine.entropy.clone(), node.wall.clone(), servers);
    Command::new("time", "the time of day, who told it, and how good it is", move |_| sntp.status())
}
