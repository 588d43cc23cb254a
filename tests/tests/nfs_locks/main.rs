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
fn locks_of_a_client_that_lost_power_are_free_after_its_reboot() {
    crashes::client_loses_power(Maker::Appliance);
}

#[test]
fn locks_outlive_a_power_cut_of_the_server() {
    crashes::server_loses_power(Maker::Appliance);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_contention_ends_as_on_a_local_file_system() {
    contention::scenarios_and_crowds(Maker::Linux);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_locks_of_a_client_that_lost_power_are_free_after_its_reboot() {
    crashes::client_loses_power(Maker::Linux);
}

#[test]
#[ignore = "the reference: what Linux's server does in the same test"]
fn reference_locks_outlive_a_power_cut_of_the_server() {
    crashes::server_loses_power(Maker::Linux);
}
