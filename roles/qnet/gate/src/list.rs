//! Everything that can be run by name, with the seeds of its short and its full form.

use crate::defects::DEFECTS;
use crate::scenarios::{bulk, claims, clients, death, defects, handshake, links, steady};
use crate::simulation::Simulation;
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::{Case, Check};
use std::ops::Range;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

const fn scenario(
    name: &'static str,
    about: &'static str,
    short: Range<u64>,
    full: Range<u64>,
    run: fn(&Case) -> Result<String>,
) -> Check {
    Check { package: env!("CARGO_PKG_NAME"), name, about, short, full, limit: MINUTE.saturating_mul(10), run }
}

/// All checks.
pub const CHECKS: &[Check] = &[
    scenario(
        "simulation",
        "whole nodes: clients with files and messages, bad wires, power cuts, cables, interfaces",
        0..2_000,
        0..200_000,
        |case| Simulation { seed: case.seed, verbose: case.verbose, defect: None }.carry_out(),
    ),
    scenario(
        "defects",
        "planted defects, one for each seed: each must be found",
        0..DEFECTS.len() as u64,
        0..DEFECTS.len() as u64,
        |case| defects::find(case.seed, case.verbose),
    ),
    scenario(
        "r1",
        "16 MiB each way at 1, 5, 10 and 20 % loss; from seed 4 on, 1 MiB",
        0..12,
        0..40,
        bulk::r1,
    ),
    scenario("r2", "10,000 pulses (short: 2,000) while frames are doubled", 0..20, 0..100, bulk::r2),
    scenario(
        "r3",
        "1,000 messages of 20 kB (short: 150) while frames overtake each other",
        0..10,
        0..100,
        bulk::r3,
    ),
    scenario("r4", "no ACK for a second: what was asked for happens once", 0..20, 0..500, handshake::r4),
    scenario("r5", "the first REM_UP or UP is lost", 0..20, 0..500, handshake::r5),
    scenario("r6", "damaged frames with CRC", 0..6, 0..100, bulk::r6),
    scenario("r7", "a node dies during a read", 0..100, 0..5_000, death::r7),
    scenario("r8", "idle nodes die", 0..60, 0..2_000, death::r8),
    scenario("r9", "a node is there again within a second", 0..100, 0..5_000, death::r9),
    scenario(
        "claims",
        "a node comes back with another adapter, or another one comes under its name (section 9.4)",
        0..100,
        0..5_000,
        claims::claims,
    ),
    scenario(
        "r11",
        "a client with open files and a blocked read is killed, or its node",
        0..40,
        0..2_000,
        clients::r11,
    ),
    scenario("r12", "a client does not want to wait any more", 0..100, 0..5_000, clients::r12),
    scenario("r18", "an interface is unmounted during a transfer", 0..40, 0..2_000, links::r18),
    scenario("r20", "a node of the other byte order", 0..4, 0..100, handshake::r20),
    scenario("r22", "64 clients that are killed at random", 0..4, 0..20, clients::r22),
    scenario("r24", "the cable is out and back, and the network asked to go on", 0..40, 0..2_000, links::r24),
    scenario("blocked", "a node dies while a client waits for it in silence", 0..40, 0..2_000, |case| {
        death::blocked(case.seed, None, case.verbose)
    }),
    scenario("one-way", "a server that cannot open the connection back", 0..10, 0..1_000, death::one_way),
    scenario("steady", "the same work again and again: no more memory (R25)", 0..2, 0..8, steady::steady),
];
