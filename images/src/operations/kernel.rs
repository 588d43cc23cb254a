//! What the kernel counts, as metrics.

use crate::Node;
use crate::watchdog::Standing;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use keelson_drivers::virtio::console::Port;
use keelson_exec::Handle;
use keelson_hal::user::CoreEntries;
use keelson_hal::{Clock, Console, Instant};
use keelson_kernel::mm::{PAGE_SIZE, frames, heap};
use keelson_kernel::{console, smp};
use keelson_ops::metrics::{Exposition, Kind};
use log::Level;

/// The source of what the kernel counts.
pub(super) fn source(node: &Node, consoles: &[Rc<Port>]) -> impl Fn(&mut Exposition) + 'static {
    let (role, ram) = (node.role.name, node.machine.boot.ram());
    let (handle, clock) = (node.handle.clone(), node.machine.clock.clone());
    let (consoles, dog) = (named(node, consoles), node.watchdog.clone());
    move |to: &mut Exposition| {
        let build =
            [("role", role), ("version", env!("CARGO_PKG_VERSION")), ("build", env!("KEELSON_BUILT"))];
        to.family("keelson_build_info", Kind::Gauge, "What this image is; always 1.").sample(&build, 1_u64);
        time(to, &*clock);
        cores(to);
        memory(to, ram);
        tasks(to, &handle);
        watchdog(to, &dog);
        log_and_consoles(to, &consoles);
    }
}

/// All consoles, under the names that metrics have for them.
fn named(node: &Node, consoles: &[Rc<Port>]) -> Vec<(String, Rc<dyn Console>)> {
    let serial = node.console.clone().map(|console| (String::from("serial"), console as Rc<dyn Console>));
    let virtio = consoles.iter().enumerate();
    let virtio =
        virtio.map(|(index, console)| (format!("virtio{index}"), console.clone() as Rc<dyn Console>));
    serial.into_iter().chain(virtio).collect()
}

fn time(to: &mut Exposition, clock: &dyn Clock) {
    let uptime = clock.now() - Instant::ZERO;
    to.gauge("keelson_uptime_seconds", "Time since the image was entered.", uptime);
    to.gauge("node_time_seconds", "System time in seconds since epoch (1970).", clock.wall());
    let boot = clock.wall().saturating_sub(uptime);
    to.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", boot);
}

fn cores(to: &mut Exposition) {
    let online = smp::online();
    to.gauge("keelson_cores", "Processors that run.", online);
    let help = "Time of a processor since it was started: at rest (idle), and everything else (busy).";
    let mut family = to.family("keelson_cpu_seconds_total", Kind::Counter, help);
    for core in 0..online {
        let (cpu, time) = (core.to_string(), smp::core_time(core));
        family.sample(&[("cpu", &cpu), ("mode", "idle")], time.idle);
        family.sample(&[("cpu", &cpu), ("mode", "busy")], time.busy);
    }
    type Count = fn(&CoreEntries) -> u64;
    let sources: [(&str, Count); 6] = [
        ("timer", |entries| entries.timer),
        ("device", |entries| entries.device),
        ("call", |entries| entries.doorbell),
        ("shootdown", |entries| entries.shootdown),
        ("nmi", |entries| entries.nmi),
        ("spurious", |entries| entries.spurious),
    ];
    let mut family = to.family(
        "keelson_interrupts_total",
        Kind::Counter,
        "Interrupts of a processor, by source; call: by another one.",
    );
    for core in 0..online {
        let (cpu, entries) = (core.to_string(), smp::cpu(core).entries.read());
        for (source, count) in &sources {
            family.sample(&[("cpu", &cpu), ("source", source)], count(&entries));
        }
    }
    let help = "How often a processor's timer was set, which a virtual machine traps.";
    let mut family = to.family("keelson_timer_sets_total", Kind::Counter, help);
    for core in 0..online {
        family.sample(&[("cpu", &core.to_string())], smp::cpu(core).timer.sets());
    }
}

fn memory(to: &mut Exposition, ram: u64) {
    let (frames, heap) = (frames::statistics(), heap::counts());
    to.gauge("keelson_memory_bytes", "Memory of the machine, as the firmware reports it.", ram);
    to.gauge("keelson_memory_managed_bytes", "Memory that the kernel hands out.", frames.total * PAGE_SIZE);
    to.gauge("keelson_memory_free_bytes", "Memory that the kernel has left.", frames.free * PAGE_SIZE);
    let help = "The most memory that was ever handed out at once.";
    to.gauge("keelson_memory_used_max_bytes", help, frames.high_water * PAGE_SIZE);
    let help = "Requests for memory in one piece that were refused.";
    to.counter("keelson_memory_refused_total", help, frames.failures);
    to.gauge("keelson_heap_used_bytes", "Bytes in live allocations of the heap.", heap.used);
    let help =
        "Memory that the heap has taken; it gives none back, so this is also the most that it ever needed.";
    to.gauge("keelson_heap_claimed_bytes", help, heap.claimed);
    to.gauge("keelson_heap_allocations", "Live allocations of the heap.", heap.allocations);
    to.counter("keelson_heap_allocations_total", "Allocations made.", heap.allocations_made);
}

fn tasks(to: &mut Exposition, handle: &Handle) {
    let polls = handle.polls();
    let help = "Tasks of the first processor's executor, by name.";
    let mut family = to.family("keelson_tasks", Kind::Gauge, help);
    for (name, (tasks, _)) in &polls {
        family.sample(&[("task", name)], *tasks);
    }
    let help = "How often tasks of that name had their turn, ended ones included.";
    let mut family = to.family("keelson_task_polls_total", Kind::Counter, help);
    for (name, (_, polls)) in &polls {
        family.sample(&[("task", name)], *polls);
    }
}

fn watchdog(to: &mut Exposition, dog: &Standing) {
    let help = "After how long a hardware watchdog resets a machine that hangs; 0 without one.";
    to.gauge("keelson_watchdog_timeout_seconds", help, dog.timeout());
    let help = "How often the watchdog was fed.";
    to.counter("keelson_watchdog_feeds_total", help, dog.fed());
    let help = "How often the watchdog was not fed because a processor did not answer.";
    to.counter("keelson_watchdog_withheld_total", help, dog.withheld());
    let help = "1 when the last boot was ended by the watchdog.";
    to.gauge("keelson_watchdog_has_reset", help, u64::from(dog.has_reset()));
}

fn log_and_consoles(to: &mut Exposition, consoles: &[(String, Rc<dyn Console>)]) {
    let mut family = to.family("keelson_log_records_total", Kind::Counter, "Lines of the log, by level.");
    let levels = [
        (Level::Error, "error"),
        (Level::Warn, "warn"),
        (Level::Info, "info"),
        (Level::Debug, "debug"),
        (Level::Trace, "trace"),
    ];
    for (level, name) in levels {
        family.sample(&[("level", name)], console::log::records(level));
    }
    let log = console::log::counts();
    to.counter("keelson_log_bytes_total", "Bytes of the log.", log.bytes);
    let help = "Bytes of the log that made way for later ones.";
    to.counter("keelson_log_forgotten_bytes_total", help, log.forgotten);
    let help = "Bytes that a console did not take in time, so that they were dropped.";
    let mut family = to.family("keelson_console_dropped_bytes_total", Kind::Counter, help);
    for (name, console) in consoles {
        family.sample(&[("console", name)], console.dropped());
    }
}
