//! The log to other hosts.

use crate::Node;
use crate::shell::Command;
use alloc::rc::Rc;
use keelson_kernel::console;
use keelson_net::Stack;
use keelson_ops::syslog::{Settings, Syslog};

/// Starts what `loghost=` asks for; returns the command that shows what has become of the lines.
pub fn start(node: &Node, stack: &Stack) -> Command {
    let settings = Settings::from_options(&node.config);
    let log = Rc::new(console::log::Reading);
    let syslog = Syslog::start(&node.handle, stack, log, node.role.name, &settings);
    let last = syslog.clone();
    node.shutdown.last_words(async move { last.drained().await });
    Command::new("syslog", "where the log goes, and what has become of it", move |_| syslog.status())
}
