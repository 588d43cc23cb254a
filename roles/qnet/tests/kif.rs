//! Message passing between the kernels of two or three nodes, over sessions in memory.

#[path = "kif/world.rs"]
mod world;

#[path = "kif/ends.rs"]
mod ends;
#[path = "kif/events.rs"]
mod events;
#[path = "kif/hostile.rs"]
mod hostile;
#[path = "kif/limits.rs"]
mod limits;
#[path = "kif/messages.rs"]
mod messages;
#[path = "kif/peers.rs"]
mod peers;
#[path = "kif/simulation.rs"]
mod simulation;
#[path = "kif/unblock.rs"]
mod unblock;
