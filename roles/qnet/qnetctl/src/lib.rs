//! A Qnet node on a Linux host: what the program `qnetctl` and system tests are made of.

#![forbid(unsafe_code)]

pub mod args;
pub mod host_files;
pub mod json;
pub mod link;
pub mod reactor;
pub mod sniff;
pub mod stdio;
pub mod transport;
