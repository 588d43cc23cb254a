//! The gate: what the ext4 engine must pass before anybody trusts a disk to it.
//!
//! Principles:
//!
//! 1. **Every run is a seed.** What fails prints the command that does it again, exactly.
//! 2. **Three judges**: a model that predicts every answer, e2fsck, and Linux on a loop mount (as root).
//! 3. **Nothing hangs.** Turns and virtual time of every call are bounded; long runs happen in child processes under a
//!    watchdog.
//! 4. **The harness is proven first**: the same runs must pass on Linux's own ext4 and on the volume in memory.
//!
//! | module | question |
//! |---|---|
//! | [`checks::runs`] | Do random operations do what the model says, live, remounted, and for Linux? |
//! | [`checks::cuts`] | Is what was acknowledged there after power cuts, in recovery too? |
//! | [`checks::simulation`] | The same with several clients on a disk that delays, reorders and tears. |
//! | [`checks::space`], [`checks::names`], [`checks::faults`], [`checks::variants`] | Full disks, large directories, I/O errors, what mke2fs can make. |
//! | [`checks::journals`] | Do we replay Linux's journals, and Linux ours? |
//! | [`fuzz`] | Does anything on the disk make us panic, loop or write where we must not? |
//! | [`speed`] | How fast beside Linux and the stop-gap crate, and how does it grow? |
//!
//! `cargo test -p keelson-ext4-gate --release` runs short forms; `KEELSON_SOAK=1` with `--include-ignored` the full ones;
//! `cargo run --release -p keelson-ext4-gate -- help` lists what can be run by hand.

#![deny(unsafe_code)]

pub mod backend;
pub mod checks;
pub mod command;
pub mod disk;
pub mod fuzz;
pub mod heap;
pub mod list;
pub mod model;
pub mod random;
pub mod speed;
pub mod supervise;
pub mod survey;
pub mod tools;
pub mod world;
