//! What the node is and does: its status, its partition, its cores.

use super::Control;
use super::report::Table;
use crate::cores::{Core, CoreState};
use crate::options::cpulist;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

impl Control {
    /// One word, as IHK's (section 6.3).
    pub fn status(&self) -> &'static str {
        if self.node.is_closed() {
            "SHUTDOWN"
        } else if !self.hung.borrow().is_empty() {
            "HUNGUP"
        } else if !self.node.is_frozen() {
            "RUNNING"
        } else if self.node.still_running() > 0 && !self.is_held() {
            "FREEZING"
        } else {
            "FROZEN"
        }
    }

    /// The compute cores, as `cpus=` has them.
    pub(super) fn cpus(&self) -> String {
        cpulist::format(&self.node.settings.compute)
    }

    /// Memory for programs by NUMA node, as `mem=` has it.
    pub(super) fn memory(&self) -> String {
        self.by_node(|(_, total)| total)
    }

    /// Memory that no program has, by NUMA node.
    pub(super) fn free_memory(&self) -> String {
        self.by_node(|(free, _)| free)
    }

    /// Of nodes that have memory for programs.
    fn by_node(&self, bytes: impl Fn((u64, u64)) -> u64) -> String {
        let machine = &self.node.system.machine;
        let memory = (0..machine.nodes()).map(|node| (node, machine.memory(node)));
        let nodes = memory.filter(|(_, (_, total))| *total != 0);
        nodes.map(|(node, memory)| format!("{}@{node}", bytes(memory))).collect::<Vec<_>>().join(",")
    }

    /// State and counter of each core (section 10).
    pub(super) fn cores(&self) -> Table {
        let rows = self.node.cores().map(|core| {
            let state = self.state_of(core);
            let hung = self.hung.borrow().contains(&core.number);
            let state = if hung { "hungup".into() } else { format!("{state:?}").to_lowercase() };
            Vec::from([
                (core.number as u64).into(),
                self.cpu_name(core.number).into(),
                state.into(),
                core.progress().into(),
                (core.threads() as u64).into(),
            ])
        });
        Table { titles: &["CORE", "CPU", "STATE", "COUNTER", "THREADS"], rows: rows.collect() }
    }

    /// What a core does; a frozen node says so instead of what its cores did before.
    fn state_of(&self, core: &Core) -> CoreState {
        let running = || {
            let processes = self.node.processes();
            let mut threads = processes.iter().flat_map(|process| process.threads());
            threads.any(|thread| {
                thread.times.is_running()
                    && thread.core.load(core::sync::atomic::Ordering::Relaxed) == core.number
            })
        };
        match self.node.is_frozen() {
            false => core.state(),
            true if running() => CoreState::Freezing,
            true => CoreState::Frozen,
        }
    }

    /// The logical CPU of a core; `svcN` for a service core.
    pub(super) fn cpu_name(&self, core: usize) -> String {
        match self.node.settings.compute.iter().position(|compute| *compute == core) {
            Some(cpu) => cpu.to_string(),
            None => format!("svc{core}"),
        }
    }
}
