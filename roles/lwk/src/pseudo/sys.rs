//! /sys: processors, NUMA nodes and sizes of pages (Documentation/ABI/stable/sysfs-devices-system-cpu and -node).
//!
//! The tree does not change while the node runs, so it is made once. Only amounts of memory are read anew.

use super::status::{list, mask};
use super::text::Text;
use super::{CacheView, Content, CpuView, Entries, Entry, Made, NodeView};
use crate::Errno;
use crate::files::FileType;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

/// The tree below /sys.
#[derive(Default)]
pub struct SysTree {
    nodes: BTreeMap<String, SysNode>,
}

enum SysNode {
    Directory(Vec<(String, FileType)>),
    Text(Vec<u8>),
    Link(Vec<u8>),
    NodeMemory(usize),
}

impl SysTree {
    /// The tree of a node. It stays: ENOMEM where the kernel is short of memory.
    pub fn new(view: &dyn NodeView) -> Result<SysTree, Errno> {
        if view.is_short() {
            return Err(Errno::ENOMEM);
        }
        let mut tree = SysTree::default();
        tree.nodes.insert(String::new(), SysNode::Directory(Vec::new()));
        let (cpus, nodes) = (view.cpus()?, view.memory());
        tree.processors(&cpus);
        for (number, cpu) in cpus.iter().enumerate() {
            tree.processor(number, cpu, &cpus);
        }
        let all_nodes: Vec<usize> = (0..nodes.len()).collect();
        let base = "devices/system/node";
        tree.line(base, "online", list(&all_nodes));
        tree.line(base, "possible", list(&all_nodes));
        for (number, node) in nodes.iter().enumerate() {
            let path = format!("{base}/node{number}");
            let own: Vec<usize> = (0..cpus.len()).filter(|cpu| cpus[*cpu].numa == number).collect();
            tree.line(&path, "cpumap", mask(&own, cpus.len()));
            tree.line(&path, "cpulist", list(&own));
            let distances: Vec<String> = node.distances.iter().map(u32::to_string).collect();
            tree.line(&path, "distance", distances.join(" "));
            tree.add(&path, "meminfo", SysNode::NodeMemory(number));
            tree.line(
                &path,
                "numastat",
                "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0",
            );
            for size in &view.facts().large_pages {
                let pool = format!("{path}/hugepages/hugepages-{}kB", size >> 10);
                for file in ["nr_hugepages", "free_hugepages", "surplus_hugepages"] {
                    tree.line(&pool, file, "0");
                }
            }
            for cpu in own {
                tree.link(&path, &format!("cpu{cpu}"), &format!("../../cpu/cpu{cpu}"));
            }
            tree.link("bus/node/devices", &format!("node{number}"), &format!("../../../{path}"));
        }
        for size in &view.facts().large_pages {
            let pool = format!("kernel/mm/hugepages/hugepages-{}kB", size >> 10);
            let files = [
                "nr_hugepages",
                "free_hugepages",
                "resv_hugepages",
                "surplus_hugepages",
                "nr_overcommit_hugepages",
            ];
            files.iter().for_each(|file| tree.line(&pool, file, "0"));
        }
        let thp = "kernel/mm/transparent_hugepage";
        tree.line(thp, "enabled", "[always] madvise never");
        tree.line(thp, "defrag", "[always] defer defer+madvise madvise never");
        tree.line(thp, "hpage_pmd_size", "2097152");
        tree.line(thp, "shmem_enabled", "[always] within_size advise never deny force");
        tree.line(thp, "use_zero_page", "0");
        let all: Vec<usize> = (0..cpus.len()).collect();
        tree.line("fs/cgroup", "cpuset.cpus.effective", list(&all));
        let with_memory: Vec<usize> = (0..nodes.len()).filter(|node| nodes[*node].total != 0).collect();
        tree.line("fs/cgroup", "cpuset.mems.effective", list(&with_memory));
        tree.line("fs/cgroup", "memory.max", "max");
        tree.add("class", "net", SysNode::Directory(Vec::new()));
        tree.add("class", "block", SysNode::Directory(Vec::new()));
        Ok(tree)
    }

    fn processors(&mut self, cpus: &[CpuView]) {
        let base = "devices/system/cpu";
        let all: Vec<usize> = (0..cpus.len()).collect();
        for file in ["online", "possible", "present"] {
            self.line(base, file, list(&all));
        }
        self.line(base, "offline", "");
        self.line(base, "kernel_max", cpus.len().saturating_sub(1));
        self.line(base, "num_processors", cpus.len());
    }

    fn processor(&mut self, number: usize, cpu: &CpuView, cpus: &[CpuView]) {
        let path = format!("devices/system/cpu/cpu{number}");
        self.line(&path, "online", "1");
        self.link(&path, &format!("node{}", cpu.numa), &format!("../../node/node{}", cpu.numa));
        self.link("bus/cpu/devices", &format!("cpu{number}"), &format!("../../../{path}"));
        let topology = format!("{path}/topology");
        self.line(&topology, "physical_package_id", cpu.package);
        self.line(&topology, "die_id", cpu.die);
        self.line(&topology, "core_id", cpu.core);
        self.line(&topology, "cluster_id", 65535);
        type Same = fn(&CpuView, &CpuView) -> bool;
        let same_package: Same = |a, b| a.package == b.package;
        let same_die: Same = |a, b| a.package == b.package && a.die == b.die;
        let same_core: Same = |a, b| a.package == b.package && a.core == b.core;
        let sets: [(&str, &str, Same); 6] = [
            ("core_siblings", "core_siblings_list", same_package),
            ("thread_siblings", "thread_siblings_list", same_core),
            ("core_cpus", "core_cpus_list", same_core),
            ("die_cpus", "die_cpus_list", same_die),
            ("package_cpus", "package_cpus_list", same_package),
            ("cluster_cpus", "cluster_cpus_list", same_core),
        ];
        for (as_mask, as_list, same) in sets {
            let set: Vec<usize> = (0..cpus.len()).filter(|other| same(cpu, &cpus[*other])).collect();
            self.line(&topology, as_mask, mask(&set, cpus.len()));
            self.line(&topology, as_list, list(&set));
        }
        for (index, cache) in cpu.caches.iter().enumerate() {
            self.cache(&format!("{path}/cache/index{index}"), cache, cpus.len());
        }
    }

    fn cache(&mut self, path: &str, cache: &CacheView, cpus: usize) {
        self.line(path, "level", cache.level);
        self.line(path, "type", cache.kind);
        self.line(path, "size", format!("{}K", cache.size >> 10));
        self.line(path, "id", cache.id);
        self.line(path, "coherency_line_size", cache.line);
        self.line(path, "number_of_sets", cache.sets);
        self.line(path, "physical_line_partition", 1);
        self.line(path, "ways_of_associativity", cache.ways);
        self.line(path, "shared_cpu_map", mask(&cache.shared, cpus));
        self.line(path, "shared_cpu_list", list(&cache.shared));
    }

    fn line(&mut self, directory: &str, name: &str, text: impl Display) {
        self.add(directory, name, SysNode::Text(format!("{text}\n").into_bytes()));
    }

    fn link(&mut self, directory: &str, name: &str, target: &str) {
        self.add(directory, name, SysNode::Link(target.as_bytes().to_vec()));
    }

    /// Adds an entry and the directories on the way to it.
    fn add(&mut self, directory: &str, name: &str, node: SysNode) {
        if !self.nodes.contains_key(directory) {
            let (parent, own) = directory.rsplit_once('/').unwrap_or(("", directory));
            self.add(parent, own, SysNode::Directory(Vec::new()));
        }
        let kind = match node {
            SysNode::Directory(_) => FileType::Directory,
            SysNode::Link(_) => FileType::Link,
            SysNode::Text(_) | SysNode::NodeMemory(_) => FileType::Regular,
        };
        if let Some(SysNode::Directory(entries)) = self.nodes.get_mut(directory) {
            entries.push((name.to_string(), kind));
        }
        let path = if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") };
        self.nodes.insert(path, node);
    }

    /// What lies at a path below /sys, without a slash in front.
    pub fn find(&self, path: &str) -> Option<Entry> {
        Some(match self.nodes.get(path)? {
            SysNode::Directory(entries) => Entry::Directory(Entries::from(entries.clone())),
            SysNode::Text(text) => Entry::File(0o444, Content::Bytes(text.clone())),
            SysNode::Link(target) => Entry::Link(target.clone()),
            SysNode::NodeMemory(number) => Entry::File(0o444, Content::Numa(*number)),
        })
    }

    /// Where a link leads to.
    pub fn link_at(&self, path: &str) -> Option<&[u8]> {
        match self.nodes.get(path)? {
            SysNode::Link(target) => Some(target),
            _ => None,
        }
    }
}

/// meminfo of a NUMA node.
pub fn memory(view: &dyn NodeView, number: usize) -> Made {
    let Some(node) = view.memory().into_iter().nth(number) else { return Ok(Text::default()) };
    let used = node.total - node.free.min(node.total);
    let fields = [
        ("MemTotal", node.total),
        ("MemFree", node.free),
        ("MemUsed", used),
        ("FilePages", node.cached + node.shared),
        ("AnonPages", node.anonymous),
        ("Shmem", node.shared),
    ];
    let mut out = Text::default();
    for (name, bytes) in fields {
        writeln!(out, "Node {number} {:<15} {:>8} kB", format!("{name}:"), bytes >> 10)?;
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Surp"] {
        writeln!(out, "Node {number} {:<15} {:>5}", format!("{name}:"), 0)?;
    }
    Ok(out)
}
