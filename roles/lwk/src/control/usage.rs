//! `rusage`: what the programs use together, under the names of IHK's `ihk_os_getrusage` (section 6.8).

use super::Control;
use crate::mm::{BySize, Mm};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use keelson_exec::yield_now;
use keelson_hal::user::PageSize;

/// Pages that are counted before others have their turn.
const PAGES_AT_ONCE: usize = 4096;
/// USER_HZ: `cpuacct_stat_*` counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Pages of programs by size: their own memory, and what they have mapped of files and shared memory.
#[derive(Default)]
struct Pages {
    own: BySize,
    mapped: BySize,
}

impl Control {
    /// All figures.
    pub(super) async fn usage(&self) -> Vec<(String, u64)> {
        let machine = &self.node.system.machine;
        let mut pages = Pages::default();
        for process in self.node.processes() {
            pages.add(&process.mm()).await;
        }
        self.note_memory();
        let mut pairs: Vec<(String, u64)> = Vec::new();
        let mut pair = |name: &str, value| pairs.push((String::from(name), value));
        for (name, counts) in [("memory_stat_rss", pages.own), ("memory_stat_mapped_file", pages.mapped)] {
            for (size, bytes) in [PageSize::Small, PageSize::Large, PageSize::Huge].into_iter().zip(counts.0)
            {
                pair(&format!("{name}[{}]", size.bytes()), bytes);
            }
        }
        let (used, total) = self.memory_use();
        pair("memory_total", total);
        pair("memory_usage", used);
        pair("memory_max_usage", self.most_memory.get());
        pair("memory_kmem_usage", self.kernel.memory_used());
        pair("memory_kmem_max_usage", self.most_kernel_memory.get());
        for node in 0..machine.nodes() {
            let (free, total) = machine.memory(node);
            pair(&format!("memory_numa_stat[{node}]"), total.saturating_sub(free));
        }
        let now = Duration::from_nanos(self.node.system.clock.now().as_nanos());
        let cores: Vec<_> = self.node.cores().map(|core| (core.number, core.usage(now))).collect();
        let ticks = |time: Duration| u64::try_from(time.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        pair("cpuacct_stat_system", ticks(cores.iter().map(|(_, usage)| usage.system).sum()));
        pair("cpuacct_stat_user", ticks(cores.iter().map(|(_, usage)| usage.user).sum()));
        pair("cpuacct_usage", nanoseconds(cores.iter().map(|(_, usage)| usage.user + usage.system).sum()));
        for (cpu, core) in self.node.settings.compute.iter().enumerate() {
            let usage =
                cores.iter().find(|(number, _)| number == core).map(|(_, usage)| *usage).unwrap_or_default();
            pair(&format!("cpuacct_usage_percpu[{cpu}]"), nanoseconds(usage.user + usage.system));
        }
        let (threads, most) = self.node.table.lock().thread_counts();
        pair("num_threads", threads as u64);
        pair("max_num_threads", most as u64);
        pairs
    }

    /// Bytes of the partition that are in use, and all.
    pub(super) fn memory_use(&self) -> (u64, u64) {
        let machine = &self.node.system.machine;
        (0..machine.nodes())
            .map(|node| machine.memory(node))
            .fold((0, 0), |(used, all), (free, total)| (used + total.saturating_sub(free), all + total))
    }

    /// Keeps the most that was in use at any look.
    pub(super) fn note_memory(&self) {
        self.most_memory.set(self.most_memory.get().max(self.memory_use().0));
        self.most_kernel_memory.set(self.most_kernel_memory.get().max(self.kernel.memory_used()));
    }
}

impl Pages {
    async fn add(&mut self, mm: &Arc<Mm>) {
        for area in mm.areas() {
            let counts = if area.object().is_some() { &mut self.mapped } else { &mut self.own };
            let mut at = area.start;
            while let Some(next) = mm.count_pages(&area, at, PAGES_AT_ONCE, counts) {
                at = next;
                yield_now().await;
            }
        }
    }
}
