//! What a compute node counts, as metrics.

use alloc::string::ToString;
use core::sync::atomic::Ordering;
use core::time::Duration;
use keelson_hal::user::CoreEntries;
use keelson_lwk::node::Node;
use keelson_lwk::session::{Delegated, ServerCounters};
use keelson_ops::metrics::{Exposition, Kind};

/// Programs, and the processors and memory that they have.
pub(super) fn programs(to: &mut Exposition, node: &Node) {
    let settings = &node.settings;
    to.family("keelson_lwk_cores", Kind::Gauge, "Processors, by what they are for.")
        .sample(&[("for", "programs")], settings.compute.len())
        .sample(&[("for", "services")], settings.service.len());
    let processes = node.processes();
    to.gauge("keelson_lwk_processes", "Processes of programs.", processes.len());
    let threads: usize = processes.iter().map(|process| process.threads().len()).sum();
    to.gauge("keelson_lwk_threads", "Threads of programs.", threads);
    cores(to, node);
    let machine = &node.system.machine;
    let memory = || (0..machine.nodes()).map(|numa| (numa.to_string(), machine.memory(numa)));
    let mut family = to.family("keelson_lwk_memory_bytes", Kind::Gauge, "Memory for programs, by NUMA node.");
    for (numa, (_, total)) in memory() {
        family.sample(&[("node", &numa)], total);
    }
    let help = "Memory for programs that none has, by NUMA node.";
    let mut family = to.family("keelson_lwk_memory_free_bytes", Kind::Gauge, help);
    for (numa, (free, _)) in memory() {
        family.sample(&[("node", &numa)], free);
    }
    let help = "System calls that were refused because the kernel had no memory for what they would make.";
    to.counter("keelson_lwk_scarce_calls_total", help, node.refusals.calls());
}

/// What the processors that run threads of programs did.
fn cores(to: &mut Exposition, node: &Node) {
    let now = Duration::from_nanos(node.system.clock.now().as_nanos());
    let help =
        "Time that threads of programs had on a processor, in ring 3 (user) and in the kernel (system).";
    let mut family = to.family("keelson_lwk_cpu_seconds_total", Kind::Counter, help);
    for core in node.cores() {
        let (cpu, usage) = (core.number.to_string(), core.usage(now));
        family.sample(&[("cpu", &cpu), ("mode", "user")], usage.user);
        family.sample(&[("cpu", &cpu), ("mode", "system")], usage.system);
    }
    type Count = fn(&CoreEntries) -> u64;
    let counts: [(&str, &str, Count); 3] = [
        ("syscalls", "System calls of programs, by processor.", |entries| entries.syscalls),
        ("page_faults", "Page faults of programs, by processor.", |entries| entries.page_faults),
        ("exceptions", "Other exceptions of programs, by processor.", |entries| entries.exceptions),
    ];
    for (name, help, count) in counts {
        let mut family = to.family(format_args!("keelson_lwk_{name}_total"), Kind::Counter, help);
        for core in node.cores() {
            let entries = node.system.machine.entries(core.number);
            family.sample(&[("cpu", &core.number.to_string())], count(&entries));
        }
    }
}

/// Connections of hosts, and what programs had them do.
pub(super) fn hosts(to: &mut Exposition, server: ServerCounters, calls: &Delegated) {
    to.counter("keelson_lwk_host_connections_total", "Connections of hosts that came.", server.connections);
    let help = "Connections of hosts that were refused or ended, by reason.";
    to.family("keelson_lwk_host_refused_total", Kind::Counter, help)
        .sample(&[("reason", "key")], server.auth_refused)
        .sample(&[("reason", "protocol")], server.violations)
        .sample(&[("reason", "busy")], server.busy)
        .sample(&[("reason", "late")], server.late);
    let help = "Bytes on serial ports that belonged to no connection: what others had left there.";
    to.counter("keelson_lwk_serial_skipped_bytes_total", help, server.skipped);
    let help = "System calls that programs left to a host: sent to it, or answered with what it had said shortly before.";
    to.family("keelson_lwk_delegated_calls_total", Kind::Counter, help)
        .sample(&[("answer", "host")], calls.sent.load(Ordering::Relaxed))
        .sample(&[("answer", "remembered")], calls.remembered.load(Ordering::Relaxed));
}
