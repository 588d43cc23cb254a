//! Selftest between nodes in memory, and against what Linux nodes said.

mod captured;
mod clients;
mod framework;
mod net;
mod replay;
