//! Real Linux clients lock files over NFS version 3: what each gets is what it would get on a local file system, and
//! crashes of a client or of the server take no lock from a living holder and leave none to a dead one.
//!
//! Every test takes the server as a parameter. The `reference_` variants run against Linux's own server, whose behaviour
//! the tests were written by; `make soak` runs them, too.

mod contention;
mod crashes;
mod world;

use keelson_tests::server::Maker;

#[test]
fn contention_ends_as_on_a_local_file_system() {
    contention::scenarios_and_crowds(Maker::Appliance);
}

#[test]
fn power_cuts_take_locks_of_the_dead_and_of_nobody_else() {
    crashes::power_cuts(Maker::Appliance);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_contention_ends_as_on_a_local_file_system() {
    contention::scenarios_and_crowds(Maker::Linux);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_power_cuts_take_locks_of_the_dead_and_of_nobody_else() {
    crashes::power_cuts(Maker::Linux);
}
