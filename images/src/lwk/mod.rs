//! The LWK node on this kernel: its cores, its machine, its key.

pub mod cores;
pub mod cryptography;
mod hosts;
pub mod key;
pub mod machine;
mod metrics;
pub mod node;
pub mod selftest;
