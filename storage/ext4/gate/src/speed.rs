//! How fast: ours beside the stop-gap crate and Linux's ext4 on a loop mount, in the same run; and how it grows.
//!
//! Wall time on a busy host says little; what counts is **CPU time per operation**, and for ours that without the
//! device's share: the appliance's disk is not a file.

mod clients;
mod grow;
mod meter;
mod rows;
mod table;

pub use grow::growth;
pub use meter::{Cost, Meter};

use crate::backend::{Backend, Linux, Rsext4, own};
use crate::disk::{FileDisk, Flush};
use crate::heap;
use crate::tools::{Image, may_mount};
use crate::world::World;
use rows::{ROWS, Stage};
use std::rc::Rc;
use table::Table;

/// Those who are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Our engine.
    Own,
    /// The stop-gap crate.
    Rsext4,
    /// Linux on a loop mount.
    Linux,
}

/// Size of the disks.
const MEBIBYTES: u64 = 1024;

/// A filesystem to be measured.
struct Opened {
    backend: Box<dyn Backend>,
    disk: Option<Rc<FileDisk>>,
}

fn open(side: Side, image: &Image) -> Result<Opened, String> {
    let disk = || FileDisk::open(image.path(), Flush::Real).map_err(|error| error.to_string());
    Ok(match side {
        Side::Own => {
            let disk = disk()?;
            let own = own::mount(&World::new(1), disk.clone(), own::Memory::Ample)?.quick();
            Opened { backend: Box::new(own), disk: Some(disk) }
        }
        Side::Rsext4 => {
            let disk = disk()?;
            let mounted = Rsext4::mount(disk.clone()).map_err(|error| format!("rsext4: {error}"))?;
            Opened { backend: Box::new(mounted), disk: Some(disk) }
        }
        Side::Linux => Opened { backend: Box::new(Linux::mount(image.path(), "noatime")?), disk: None },
    })
}

/// Prints the table of all rows, of ours `alone` or of all; false when a figure of the gate is missed.
pub fn compare(rounds: usize, files: usize, alone: bool) -> bool {
    let sides: &[Side] = match (alone, may_mount()) {
        (true, _) => &[Side::Own],
        (false, true) => &[Side::Own, Side::Rsext4, Side::Linux],
        (false, false) => &[Side::Own, Side::Rsext4],
    };
    let mut table = Table::new(ROWS, sides.len());
    for round in 0..rounds {
        for (place, side) in sides.iter().enumerate() {
            if let Err(said) = measure(*side, place, files, &mut table) {
                println!("{side:?}, round {round}: {said}");
                if *side == Side::Own {
                    return false;
                }
            }
        }
    }
    table.print();
    let mut good = table.judge();
    match clients::creates_per_flush_pair(64) {
        Ok(count) => {
            good &= table::limit("64 creators: creates per pair of flushes", count, 20.0, table::Better::More)
        }
        Err(said) => {
            println!("64 creators: {said}");
            good = false;
        }
    }
    println!(
        "{}",
        if good { "\nevery figure of the gate is met" } else { "\nfigures of the gate are missed" }
    );
    good
}

fn measure(side: Side, place: usize, files: usize, table: &mut Table) -> Result<(), String> {
    let image = Image::make(MEBIBYTES, &["-b", "4096"]);
    heap::start_peak();
    let before = heap::now();
    let meter = Meter::start(None);
    let opened = open(side, &image)?;
    let disk = opened.disk.clone();
    table.put("mount", place, meter.stop(None, 1.0));
    let mut stage = Stage::new(opened.backend, files)?;
    for row in ROWS.iter().filter(|row| row.run.is_some()) {
        let Some(run) = row.run else { continue };
        let meter = Meter::start(disk.as_deref());
        let amount = run(&mut stage).map_err(|error| format!("{}: {error}", row.name))?;
        table.put(row.name, place, meter.stop(disk.as_deref(), amount));
    }
    table.heap(place, heap::peak().saturating_sub(before));
    let meter = Meter::start(disk.as_deref());
    stage.backend.finish().map_err(|error| format!("unmount: {error}"))?;
    table.put("unmount", place, meter.stop(disk.as_deref(), 1.0));
    Ok(())
}
