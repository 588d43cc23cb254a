//! Everything that can be run by name, with the seeds of its short and its full form.

use crate::simulation::Simulation;
use keelson_ext4_gate::list::Check;
use std::time::Duration;

/// All checks.
pub const CHECKS: &[Check] = &[Check {
    package: env!("CARGO_PKG_NAME"),
    name: "simulation",
    about: "the whole role: clients on a lossy wire, power cuts of server and clients, torn writes",
    short: 0..10_000,
    full: 0..200_000,
    limit: Duration::from_secs(60),
    run: |case| Simulation { seed: case.seed, verbose: case.verbose }.carry_out(),
}];
