//! The node's network: every NIC the machine has, configured as the command line says.

mod ethtool;
mod ip;
mod pcap;

use crate::devices::Nic;
use crate::{Node, crash_dump};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use keelson_hal::NetFeatures;
use keelson_net::{InterfaceId, NetworkConfig, Stack};

pub use ethtool::ethtool;
pub use ip::ip;
pub use pcap::pcap;

/// TCP connections may take this part of the memory: thousands of them must not take what files and calls need.
const TCP_SHARE: u64 = 4;
/// The same where memory is less than [`SMALL`].
const SMALL_TCP_SHARE: u64 = 8;
const SMALL: u64 = 64 << 20;

/// Brings up a stack on all NICs as `eth0, eth1, ...`. That there is none is an error.
pub fn start(node: &Node, nics: Vec<Nic>) -> Stack {
    if nics.is_empty() {
        log::error!(target: "net", "no network device that a driver here knows: attach virtio-net, e1000, e1000e or igb");
    }
    attach(node, nics)
}

/// The same for roles that can do without.
pub fn attach(node: &Node, nics: Vec<Nic>) -> Stack {
    let stack = Stack::new(node.handle.clone(), node.machine.entropy.clone());
    let ram = node.machine.boot.ram();
    let limit = ram / if ram < SMALL { SMALL_TCP_SHARE } else { TCP_SHARE };
    stack.limit_tcp_memory(usize::try_from(limit).unwrap_or(usize::MAX));
    let config = NetworkConfig::from_config(&node.config).unwrap_or_else(|error| {
        // Every value was checked when the line was read.
        log::error!(target: "net", "{error}");
        NetworkConfig::default()
    });
    let names: Vec<_> = (0..nics.len()).map(|index| format!("eth{index}")).collect();
    for device in config.unknown_devices(|name| names.iter().any(|known| known == name)) {
        log::error!(target: "net", "option for {device}: no such device; there is {}", names.join(", "));
    }
    let mut again = Vec::new();
    for (index, (nic, name)) in nics.into_iter().zip(&names).enumerate() {
        log::info!(
            target: "net",
            "{name}: {} at {}, offloads {}",
            nic.device.driver(),
            nic.place,
            offloads(nic.device.features())
        );
        let id = stack.attach(name, nic.device, nic.interrupt);
        stack.set_bus_info(id, nic.place);
        again.push((id, nic.again));
        let refused =
            config.interface(index, name).and_then(|interface| stack.configure(id, &interface).err());
        for error in refused.unwrap_or_default() {
            log::error!(target: "net", "{name}: {error}");
        }
    }
    crash_dump::prepare(node, &stack, again);
    stack
}

/// What a device does for the stack, as words.
fn offloads(features: NetFeatures) -> String {
    let names: Vec<_> = features.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { String::from("none") } else { names.join(" ").to_ascii_lowercase() }
}

/// The interface of this name, or a complaint with those that there are.
fn find(stack: &Stack, name: &str) -> Result<InterfaceId, String> {
    stack.interface(name).ok_or_else(|| {
        let names: Vec<_> = stack.interfaces().into_iter().map(|status| status.name).collect();
        format!("{name}: no such interface; there is {}\n", names.join(", "))
    })
}

/// What `ss -tn` shows: the TCP connections, with the time since the peer last said something.
pub fn sockets(stack: &Stack) -> String {
    let mut text = format!(
        "{:<11}{:>8}{:>8}  {:<28} {:<28} {}\n",
        "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", "Silent"
    );
    for socket in stack.tcp_status() {
        let _ = writeln!(
            text,
            "{:<11}{:>8}{:>8}  {:<28} {:<28} {}s",
            socket.state,
            socket.receive_queue,
            socket.send_queue,
            format!("{}", socket.local),
            format!("{}", socket.remote),
            socket.silent.as_secs()
        );
    }
    text
}

/// What `netstat -s` shows: everything the stack counted, zeros left out.
pub fn statistics(stack: &Stack) -> String {
    let mut text = format!("{} TCP connections\n", stack.connections());
    stack.counters().for_each(|name, _, value| {
        if value != 0 {
            let _ = writeln!(text, "{value:>12} {name}");
        }
    });
    text
}
