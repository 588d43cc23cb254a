//! The Qnet gate: whole nodes, from the resource managers down to the frame, on wires that lose, double, reorder, damage
//! and break, in nodes that lose power.
//!
//! Principles:
//!
//! 1. **One seed is one world.** Two to four nodes on one wire or two; a transport, a kernel, a dispatcher, files and a
//!    counting service on each. Power, cables and interfaces come and go at any moment. A seed that fails is replayed
//!    exactly.
//! 2. **Clients believe what they are told, and only that.** What was acknowledged must have happened once; what failed
//!    may have happened, at most once.
//! 3. **An observer sees every execution** ([`service`], [`ledger`]) and judges it by what clients sent.
//! 4. **In the end nothing is left**: when everybody has closed everything, all tables are as they were, on all nodes.
//! 5. **The gate is tried out**: [`defects`] are planted, and each must be found.
//!
//! | promise | judge |
//! |---|---|
//! | an acknowledged write is there, once, and in order | [`files`] |
//! | a name changes once | [`files`] |
//! | messages and pulses of a connection: once, in order; all of them if it ends well | [`service`], [`caller`] |
//! | a reply belongs to its request | [`caller`] |
//! | dead nodes give the errors of section 18, in time | [`caller`], [`files`], [`scenarios`] |
//! | tables return to baseline; heap does not grow | [`machine`], [`scenarios`] |
//! | the behaviour of section 26, test by test | [`scenarios`] |
//!
//! `cargo test -p keelson-qnet-gate` runs the short form; `KEELSON_QNET_SEEDS=0..20000` chooses the seeds of the
//! simulation; `cargo run --release -p keelson-qnet-gate -- simulation --seed N --verbose` tells the history of a seed, and
//! `KEELSON_QNET_CAPTURE=DIRECTORY` keeps its frames as pcap files.
//!
//! Not here: R10, R13 to R17, R19 and R21 (`l4/tests`, `tests` of the role, `fuzz`), R23 (needs a shell), R25 (the full
//! form of the scenario `steady`).

#![forbid(unsafe_code)]

pub mod caller;
mod capture;
pub mod defects;
pub mod directory;
pub mod errors;
pub mod files;
pub mod lab;
pub mod ledger;
pub mod list;
pub mod machine;
pub mod plan;
pub mod scenarios;
pub mod service;
pub mod simulation;
pub mod wire;
