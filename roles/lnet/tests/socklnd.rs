//! The socket LND on real TCP stacks over a simulated wire, against itself and against a peer that a test plays
//! byte by byte.

#[path = "socklnd/active.rs"]
mod active;
#[path = "socklnd/common.rs"]
mod common;
#[path = "socklnd/exchange.rs"]
mod exchange;
#[path = "socklnd/framing.rs"]
mod framing;
#[path = "socklnd/large.rs"]
mod large;
#[path = "socklnd/passive.rs"]
mod passive;
