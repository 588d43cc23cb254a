//! What the disks' drivers counted, for those who look and those who watch.

use crate::shell::Command;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use keelson_hal::{BlockCounters, BlockDevice};
use keelson_ops::metrics::{Exposition, Kind};

type Disks = Vec<Rc<dyn BlockDevice>>;

/// Name, meaning and place of a counter of a disk.
type Counter = (&'static str, &'static str, fn(&BlockCounters) -> u64);

/// The first under the names of Prometheus' node_exporter, which mean the same there.
const COUNTERS: [Counter; 9] = [
    ("node_disk_reads_completed_total", "Reads that the disk has done.", |c| c.reads),
    ("node_disk_read_bytes_total", "Bytes of these.", |c| c.read_bytes),
    ("node_disk_writes_completed_total", "Writes that the disk has done.", |c| c.writes),
    ("node_disk_written_bytes_total", "Bytes of these.", |c| c.written_bytes),
    ("node_disk_flush_requests_total", "Flushes of the disk's cache.", |c| c.flushes),
    ("keelson_block_errors_total", "Requests that the disk, or its driver, ended with an error.", |c| {
        c.errors
    }),
    ("keelson_block_abandoned_total", "Requests that nobody waited for any more.", |c| c.abandoned),
    ("keelson_block_doorbells_total", "Times the disk was told of work.", |c| c.doorbells),
    ("keelson_block_interrupts_total", "Interrupts that woke the disk's task.", |c| c.interrupts),
];

/// The source of what the disks' drivers count.
pub fn source(disks: &[Rc<dyn BlockDevice>]) -> impl Fn(&mut Exposition) + 'static {
    let disks = disks.to_vec();
    move |to: &mut Exposition| {
        let counters: Vec<_> = disks.iter().map(|disk| (disk.name(), disk.counters())).collect();
        for (name, help, count) in COUNTERS {
            let mut family = to.family(name, Kind::Counter, help);
            for (device, counters) in &counters {
                family.sample(&[("device", device)], count(counters));
            }
        }
        let mut family =
            to.family("node_disk_io_now", Kind::Gauge, "Requests that the disk has at the moment.");
        for (device, counters) in &counters {
            family.sample(&[("device", device)], counters.in_flight);
        }
    }
}

/// `iostat`.
pub fn command(disks: &[Rc<dyn BlockDevice>]) -> Command {
    let disks: Disks = disks.to_vec();
    Command::new("iostat", "disks, and what was read and written since boot", move |_| table(&disks))
}

fn table(disks: &Disks) -> String {
    if disks.is_empty() {
        return String::from("no disks");
    }
    let mut text = format!(
        "{:<8} {:>10} {:>9} {:>12} {:>9} {:>12} {:>9} {:>4} {:>7}",
        "Device", "MiB", "reads", "kB_read", "writes", "kB_wrtn", "flushes", "now", "errors"
    );
    for disk in disks {
        let (size, c) = (disk.geometry().sectors >> 11, disk.counters());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n{:<8} {:>10} {:>9} {:>12} {:>9} {:>12} {:>9} {:>4} {:>7}",
            disk.name(),
            size,
            c.reads,
            c.read_bytes >> 10,
            c.writes,
            c.written_bytes >> 10,
            c.flushes,
            c.in_flight,
            c.errors
        );
    }
    text
}
