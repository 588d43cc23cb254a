//! Whole nodes: on links in memory, and on network stacks joined by simulated wires.

#[path = "node/world.rs"]
mod world;

#[path = "node/files.rs"]
mod files;
#[path = "node/foreign.rs"]
mod foreign;
#[path = "node/life.rs"]
mod life;
#[path = "node/names.rs"]
mod names;
#[path = "node/stacks.rs"]
mod stacks;
