//! Role `qnet-node`: QNX-style transparent distributed processing.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod api;
pub mod binding;
pub mod client;
pub mod counters;
pub mod echo;
pub mod io;
mod kif;
pub mod l4;
pub mod link;
pub mod node;
pub mod nodes;
pub mod options;
pub mod procs;
pub mod programs;
pub mod sessions;
pub mod sh;
