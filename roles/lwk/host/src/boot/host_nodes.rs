//! The NUMA nodes of this host (Documentation/ABI/stable/sysfs-devices-node).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keelson_lwk::options::cpulist;

/// Where Linux tells of them.
const ROOT: &str = "/sys/devices/system/node";

/// The nodes that have memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostNodes {
    /// Their numbers; node 0 where nothing says so.
    pub numbers: Vec<u32>,
    /// Nodes of processors.
    pub of_cpu: BTreeMap<usize, u32>,
    /// Distances from one to another.
    pub distances: BTreeMap<(u32, u32), u32>,
}

impl HostNodes {
    /// Of this host.
    pub fn find() -> HostNodes {
        HostNodes::read(Path::new(ROOT))
    }

    fn read(root: &Path) -> HostNodes {
        let text = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        let list = |name: &str| cpulist::parse(text(name).trim()).unwrap_or_default();
        let number = |node: &usize| u32::try_from(*node).unwrap_or_default();
        let mut nodes =
            HostNodes { numbers: list("has_memory").iter().map(number).collect(), ..HostNodes::default() };
        // A row has a number for each node that is online.
        let columns: Vec<u32> = list("online").iter().map(number).collect();
        for from in &columns {
            let cpus = list(&format!("node{from}/cpulist"));
            nodes.of_cpu.extend(cpus.into_iter().map(|cpu| (cpu, *from)));
            let row = text(&format!("node{from}/distance"));
            let row = row.split_whitespace().filter_map(|distance| distance.parse().ok());
            nodes.distances.extend(columns.iter().zip(row).map(|(to, distance)| ((*from, *to), distance)));
        }
        if nodes.numbers.is_empty() {
            nodes.numbers.push(0);
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells() {
        let root = std::env::temp_dir().join(format!("keelson-host-nodes-{}", std::process::id()));
        assert_eq!(HostNodes::read(&root), HostNodes { numbers: vec![0], ..HostNodes::default() });
        for (name, text) in [
            ("has_memory", "0,2\n"),
            ("online", "0-2\n"),
            ("node0/cpulist", "0-1\n"),
            ("node0/distance", "10 20 31\n"),
            ("node1/cpulist", "2\n"),
            ("node2/cpulist", "\n"),
        ] {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let nodes = HostNodes::read(&root);
        assert_eq!(nodes.numbers, [0, 2]);
        assert_eq!(nodes.of_cpu.into_iter().collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 1)]);
        assert_eq!((nodes.distances.len(), nodes.distances[&(0, 2)]), (3, 31));
        fs::remove_dir_all(root).unwrap();
    }
}
