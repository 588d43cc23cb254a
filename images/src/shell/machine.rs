//! Commands about the machine itself, in every image.

use super::{Command, Kib};
use crate::Node;
use crate::shutdown::Then;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_kernel::irq::apic;
use keelson_kernel::panic::provoke;
use keelson_kernel::{console, crash, mm, numa, smp};

pub(super) fn commands(node: &Node) -> Vec<Command> {
    let (tasks, uptime, ram) = (node.handle.clone(), node.handle.clone(), node.machine.boot.ram());
    let role = node.role;
    let ends = |then| {
        let shutdown = node.shutdown.clone();
        move |_: &[&str]| {
            shutdown.request(then);
            String::new()
        }
    };
    Vec::from([
        Command::new("poweroff", "end the work and switch the machine off", ends(Then::PowerOff)),
        Command::new("reboot", "end the work and start the machine again", ends(Then::Reboot)),
        Command::new("panic", "panic on core [N], to see the report", |words| fail_on(words.first())),
        Command::new("fault", "write to unmapped memory", |_| provoke::page_fault()),
        Command::new("skew", "let the time stamp counter be an eighth too fast, to see what notices", |_| {
            provoke::skew();
            String::new()
        }),
        Command::new("overflow", "use up the stack", |_| provoke::stack_overflow()),
        Command::new("lockup", "keep core [N] busy for ever, to see the watchdog", |words| {
            lock_up(words.first())
        }),
        Command::new("dmesg", "the log's last 64 KiB", |_| {
            String::from_utf8_lossy(&console::log::tail(console::ring::LEAST)).into_owned()
        }),
        Command::new("crash", "what the last panic left: why, backtrace, log", |_| last_crash()),
        Command::new("mem", "memory in use", move |_| memory(ram)),
        Command::new("cpus", "cores that run", |_| cores()),
        Command::new("options", "the options of the kernel command line", move |_| {
            keelson_config::help(&role.tables())
        }),
        Command::new("top", "tasks and how often they ran", move |_| task_list(&tasks)),
        Command::new("uptime", "time since boot", move |_| {
            alloc::format!("{:?}", Duration::from_millis(uptime.now().as_millis()))
        }),
    ])
}

fn fail_on(core: Option<&&str>) -> String {
    match core.map(|text| text.parse()) {
        None | Some(Ok(0)) => panic!("asked for on the console"),
        Some(Ok(core)) => match smp::run_on(core, || panic!("asked for on the console")) {
            Ok(()) => String::new(),
            Err(error) => alloc::format!("core {core}: {error:?}"),
        },
        Some(Err(error)) => alloc::format!("no core number: {error}"),
    }
}

fn lock_up(core: Option<&&str>) -> String {
    match core.map(|text| text.parse()) {
        None | Some(Ok(0)) => provoke::lock_up(),
        Some(Ok(core)) => match smp::run_on(core, || provoke::lock_up()) {
            Ok(()) => String::new(),
            Err(error) => alloc::format!("core {core}: {error:?}"),
        },
        Some(Err(error)) => alloc::format!("no core number: {error}"),
    }
}

fn last_crash() -> String {
    match crash::found() {
        None => String::from("no record of a panic\n"),
        Some(crash::Record { headline, image, backtrace, log, .. }) => {
            alloc::format!(
                "*** {headline} ***\n{image}; backtrace:\n{backtrace}Last lines of the log:\n{log}"
            )
        }
    }
}

fn memory(ram: u64) -> String {
    let (frames, heap) = (mm::frames::statistics(), mm::heap::counts());
    let mut text = alloc::format!(
        "RAM {}, managed {}, free {}\nused {}, at most {}; allocations refused {}\n\
         heap {} of {} in {} allocations; {} made since boot\n",
        Kib(ram >> 10),
        Kib(frames.total * 4),
        Kib(frames.free * 4),
        Kib(frames.used() * 4),
        Kib(frames.high_water * 4),
        frames.failures,
        Kib(heap.used as u64 >> 10),
        Kib(heap.claimed as u64 >> 10),
        heap.allocations,
        heap.allocations_made,
    );
    let nodes = numa::nodes();
    for node in (0..nodes).filter(|_| nodes > 1) {
        let frames = mm::frames::statistics_of(node);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "NUMA node {node}: managed {}, free {}",
            Kib(frames.total * 4),
            Kib(frames.free * 4)
        );
    }
    text
}

fn cores() -> String {
    let mut text = String::new();
    for core in 0..smp::online() {
        let kind = if apic::x2apic() { "x2APIC" } else { "APIC" };
        let _ = writeln!(text, "core {core}: {kind} {}", smp::apic_id(core));
    }
    text
}

fn task_list(handle: &Handle) -> String {
    let mut text = String::new();
    handle.for_each_task(|name, polls| {
        let _ = writeln!(text, "{polls:>10} {name}");
    });
    text
}
