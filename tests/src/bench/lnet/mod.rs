//! The benchmark of the LNet router: the appliance beside a Linux node that routes, in one run, under the same load.
//!
//! Each router has two networks of its own. On one are crowds of 1, 8 and 64 nodes, on the other a node that all of
//! them talk to; all nodes are threads of the bench itself. What a message costs must not depend on the number of
//! peers, so that the costs with most of them and with one are compared.
//!
//! Costs are counted per routed message: a PUT and its ACK are two, and so are a ping and its answer.

mod routers;
mod rows;

use super::report::{Cost, CrowdCost, Report, Title};
use super::{Plan, profile};
use keelson_qemu::Result;
use routers::{Side, peer_folder};
use rows::{Row, rows};
use std::thread;
use std::time::Duration;

/// Numbers of peers.
const PEERS: [usize; 3] = [1, 8, 64];

/// Runs the plan and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let alone = plan.alone || plan.profile;
    let linux = if alone || plan.against.is_some() { None } else { Some(peer_folder()?) };
    let mut report = Report::new("router", if plan.against.is_some() { "other" } else { "linux" });
    let mut sides = vec![Side::keelson("ours", None)?];
    if let Some(image) = &plan.against {
        sides.push(Side::keelson("other", Some(image))?);
    } else if let Some(folder) = &linux {
        sides.push(Side::linux(folder)?);
    }
    let both = |of: &dyn Fn(&Side) -> Result<f64>| -> Result<(f64, Option<f64>)> {
        Ok((of(&sides[0])?, sides.get(1).map(of).transpose()?))
    };
    // Another image of ours shall not be better; Linux shall be worse by far.
    let aim = |target: f64| if plan.against.is_some() { 1.0 } else { target };
    report.quantities();
    let (ours, theirs) = both(&|side| Ok(side.boot.0))?;
    report.quantity("boot to first routed ping", "ms", ours, theirs, aim(0.2));
    let (ours, theirs) = both(&|side| Ok(side.boot.1))?;
    report.quantity("CPU time of that", "ms", ours, theirs, aim(0.2));
    let (ours, theirs) = both(&|side| side.image_mib())?;
    report.quantity("image (Linux: kernel + initramfs)", "MiB", ours, theirs, 1.0);
    report.limit("... at most", "MiB", ours, 4.0);
    let (ours, theirs) = both(&|side| Ok(side.idle_mib))?;
    report.quantity("memory used at idle", "MiB", ours, theirs, aim(0.1));

    report.heading();
    let mut growth = Vec::new();
    let rows: Vec<Row> = rows().into_iter().filter(|row| plan.wants(&row.name)).collect();
    // Each round has all rows, so that those which are compared with each other had the same times on the host.
    let mut costs: Vec<[Vec<Cost>; 2]> = rows.iter().map(|_| Default::default()).collect();
    for _ in 0..plan.rounds {
        for (row, costs) in rows.iter().zip(&mut costs) {
            for (side, costs) in sides.iter().zip(costs) {
                costs.push(measure(side, row, plan.profile)?);
            }
        }
    }
    for (row, costs) in rows.iter().zip(costs).filter(|_| !plan.profile) {
        let [ours, theirs] = costs.map(|costs| (!costs.is_empty()).then(|| Cost::median(&costs)));
        let ours = ours.expect("there is at least one round");
        report.row(Title { name: &row.name, unit: row.unit, target: aim(row.target) }, ours, theirs);
        if !row.what.is_empty() {
            growth.push(CrowdCost { what: row.what, size: row.peers, ours, theirs });
        }
    }

    println!();
    report.quantities();
    report.growth("peers", PEERS[PEERS.len() - 1], &growth);
    let added: Result<Vec<_>> = sides.iter().map(|side| side.added_latency(plan.rounds)).collect();
    let added = added?;
    report.quantity("added to a PUT and its ACK", "ms", added[0], added.get(1).copied(), 1.0);
    let (ours, theirs) = both(&|side| side.peak_memory_mib())?;
    report.quantity("memory used, at most (Linux: now)", "MiB", ours, theirs, aim(0.1));
    let (ours, theirs) = both(&|side| side.resident_mib())?;
    report.quantity("resident memory of QEMU", "MiB", ours, theirs, 1.0);
    report.end();
    Ok(())
}

fn measure(side: &Side, row: &Row, profiled: bool) -> Result<Cost> {
    // Connections exist, and the emulator has translated the code.
    side.load(row, row.each().div_ceil(8))?;
    // What warming up left behind shall not be counted: delayed acknowledgements, timers.
    thread::sleep(Duration::from_millis(200));
    let before = side.machine().usage()?.cpu;
    let work = || side.load(row, row.each());
    let time = if profiled {
        profile::Plan::new("lnet-router", &row.name).during(side.machine(), work)?
    } else {
        work()?
    };
    Ok(Cost { time, cpu: side.machine().usage()?.cpu - before }.per(row.amount()))
}
