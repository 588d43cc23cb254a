//! The benchmarks: the NFS appliance beside Linux knfsd under the same client, and the LNet router beside a Linux
//! LNet router ([`lnet`]), each in one run; the Qnet node beside TCP and NFS ([`qnet`]), and the LWK node beside a Linux
//! guest that runs the same programs ([`lwk`]). All roles boot alike ([`paths`]).
//!
//! Rates on a busy host swing twofold from one second to the next. What holds is **the CPU time of the server's
//! QEMU process per unit of work**: it is printed beside every rate, and it is what to compare between
//! commits. Both servers are up all the time and take turns row by row, so that whatever else the host does meets
//! both; of several rounds the median counts.

mod boot;
mod crowd;
pub mod lnet;
pub mod lwk;
pub mod paths;
mod profile;
pub mod qnet;
mod report;
mod rows;
mod servers;

pub use report::{Cost, CrowdCost, Report, Title};
pub use rows::{Row, Work, rows};
pub use servers::{Servers, Side};

use keelson_qemu::Result;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows whose name contains one of these texts; all when there is none.
    pub only: Vec<String>,
    /// How often each row is measured on each server; long ones less often ([`Row::rounds`]).
    pub rounds: usize,
    /// Another image of the appliance to compare with, instead of Linux: one from before a change.
    pub against: Option<PathBuf>,
    /// Without anything to compare with (LNet only).
    pub alone: bool,
    /// Sample where the appliance spends its time; slows everything down.
    pub profile: bool,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }
}

/// Runs the plan for the NFS server and prints as it goes.
pub fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::new("server", if plan.against.is_some() { "other" } else { "knfsd" });
    let servers = Servers::start(plan, &mut report)?;
    report.heading();
    let mut growth = Vec::new();
    for row in rows().iter().filter(|row| plan.wants(&row.name)) {
        let mut costs: [Vec<Cost>; 2] = Default::default();
        for round in 0..plan.rounds.min(row.rounds) {
            for (side, costs) in servers.sides().iter().zip(&mut costs) {
                if plan.profile && !std::ptr::eq(side, &servers.sides()[0]) {
                    continue;
                }
                (row.prepare)(&servers, side, round)?;
                // What preparing left behind shall not be counted: delayed acknowledgements, timers.
                thread::sleep(Duration::from_millis(200));
                let profile = plan.profile.then(|| profile::Plan::new("nfs-server", &row.name));
                costs.push(measure(&servers, side, row, round, profile)?);
            }
        }
        if !plan.profile {
            let [ours, theirs] = costs.map(|costs| Cost::median(&costs));
            // Another image of ours shall not be better.
            let target = if plan.against.is_some() { 1.0 } else { row.target };
            report.row(Title { name: &row.name, unit: row.unit, target }, ours, theirs);
            if let Some((what, size)) = row.crowd {
                growth.push(CrowdCost { what, size, ours, theirs: Some(theirs) });
            }
        }
    }
    if !growth.is_empty() {
        println!();
        report.quantities();
        report.growth("clients", crowd::MOST, &growth);
    }
    report.end();
    Ok(())
}

fn measure(
    servers: &Servers,
    side: &Side,
    row: &Row,
    round: usize,
    profile: Option<profile::Plan>,
) -> Result<Cost> {
    let machine = side.machine();
    let before = machine.usage()?.cpu;
    let time = match profile {
        Some(profile) => profile.during(machine, || (row.run)(servers, side, round))?,
        None => (row.run)(servers, side, round)?,
    };
    Ok(Cost { time, cpu: machine.usage()?.cpu - before }.per(row.amount))
}
