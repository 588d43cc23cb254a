//! What other nodes see of this host: memory, processors, times (`pidin net`, `pidin info`).

use keelson_qnet::io::Io;
use keelson_qnet::node::Node;
use keelson_qnet::procs::{Cpu, MemoryInfo, MountRequest, System};
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::proc::MachineType;
use std::cell::RefCell;
use std::fs;
use std::future::ready;
use std::time::{Duration, SystemTime};

/// This host.
pub struct HostMachine {
    node: RefCell<Option<Node>>,
}

impl HostMachine {
    /// The host of a node.
    pub fn new(node: &Node) -> HostMachine {
        HostMachine { node: RefCell::new(Some(node.clone())) }
    }

    /// Lets go of the node, which has this.
    pub fn detach(&self) {
        self.node.borrow_mut().take();
    }

    fn of_node<T: Default>(&self, get: impl FnOnce(&Node) -> T) -> T {
        self.node.borrow().as_ref().map(get).unwrap_or_default()
    }
}

/// A number behind a label of a file in `/proc`.
fn field(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim_start_matches([':', ' ', '\t']).split([' ', '.']).next()?.parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processors(text: &str) -> Vec<Cpu> {
    let of = |block: &str| {
        let name = block.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.map_or("unknown", |name| name.trim_start_matches([':', ' ', '\t']));
        let number =
            |label| field(block, label).and_then(|value| u32::try_from(value).ok()).unwrap_or_default();
        Cpu { name: name.into(), model: number("model\t"), mhz: number("cpu MHz") }
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("processor"));
    let cpus: Vec<Cpu> = blocks.map(of).collect();
    if cpus.is_empty() { vec![Cpu { name: "unknown".into(), ..Cpu::default() }] } else { cpus }
}

impl System for HostMachine {
    fn memory(&self) -> MemoryInfo {
        let text = read("/proc/meminfo");
        let bytes = |label| field(&text, label).unwrap_or_default() * 1024;
        MemoryInfo { total: bytes("MemTotal"), free: bytes("MemAvailable") }
    }

    fn cpus(&self) -> Vec<Cpu> {
        processors(&read("/proc/cpuinfo"))
    }

    fn machine(&self) -> MachineType {
        if cfg!(target_arch = "aarch64") { MachineType::ARM } else { MachineType::X86 }
    }

    fn wall_time(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn boot_time(&self) -> Duration {
        Duration::from_secs(field(&read("/proc/stat"), "btime").unwrap_or_default())
    }

    fn release(&self) -> String {
        self.of_node(|node| node.config().release.clone())
    }

    fn version(&self) -> String {
        self.of_node(|node| node.config().built.clone())
    }

    fn host_name(&self) -> String {
        self.of_node(Node::host)
    }

    fn domain(&self) -> String {
        self.of_node(|node| node.config().domain.clone())
    }

    /// The name is the command line's.
    fn set_host_name(&self, _: &str) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn network_objects(&self) -> Vec<String> {
        Vec::new()
    }

    fn mount<'a>(&'a self, _: &'a MountRequest) -> Io<'a, ()> {
        Box::pin(ready(Err(Errno::ENODEV)))
    }

    fn umount<'a>(&'a self, _: &'a str) -> Io<'a, ()> {
        Box::pin(ready(Err(Errno::EPERM)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_cpuinfo() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A Processor\ncpu MHz\t\t: 2600.018\n\nprocessor\t: 1\n\n";
        let cpus = processors(text);
        assert_eq!(cpus[0], Cpu { name: "A Processor".into(), model: 85, mhz: 2600 });
        assert_eq!((cpus.len(), cpus[1].name.as_str(), cpus[1].mhz), (2, "unknown", 0));
        assert_eq!(processors("").len(), 1);
    }

    #[test]
    fn fields() {
        assert_eq!(field("MemTotal:   2048 kB\n", "MemTotal"), Some(2048));
        assert_eq!(field("btime 17\n", "btime"), Some(17));
        assert_eq!(field("x 1\n", "y"), None);
    }
}
