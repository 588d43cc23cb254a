//! Planted defects, one for each seed: some world must go wrong.

use super::death::blocked;
use crate::defects::DEFECTS;
use crate::simulation::Simulation;
use keelson_ext4_gate::checks::Result;

/// Worlds that are tried.
const WORLDS: u64 = 60;

/// Looks for the first world in which a defect is noticed.
pub fn find(number: u64, verbose: bool) -> Result<String> {
    let defect = DEFECTS[number as usize % DEFECTS.len()];
    for seed in 0..WORLDS {
        let found = Simulation { seed, verbose, defect: Some(defect) }.carry_out();
        // Some things are only a matter of time.
        if let Err(said) = found.and_then(|_| blocked(seed, Some(defect), verbose)) {
            return Ok(format!("{defect:?} found by seed {seed}: {said}"));
        }
    }
    Err(format!("{defect:?} is not noticed in {WORLDS} worlds"))
}
