//! Everything that can be run by name, with the seeds of its short and its full form.

use crate::defects::DEFECTS;
use crate::simulation::Simulation;
use keelson_ext4_gate::list::Check;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// All checks.
pub const CHECKS: &[Check] = &[
    Check {
        package: env!("CARGO_PKG_NAME"),
        name: "simulation",
        about: "whole nodes: clients with files and messages, bad wires, power cuts, cables, interfaces",
        short: 0..2_000,
        full: 0..200_000,
        limit: MINUTE,
        run: |case| Simulation { seed: case.seed, verbose: case.verbose, defect: None }.carry_out(),
    },
    Check {
        package: env!("CARGO_PKG_NAME"),
        name: "defects",
        about: "planted defects, seed by seed: each must be found",
        short: 0..DEFECTS.len() as u64,
        full: 0..DEFECTS.len() as u64,
        limit: MINUTE,
        run: |case| crate::scenarios::defects::find(case.seed, case.verbose),
    },
];
