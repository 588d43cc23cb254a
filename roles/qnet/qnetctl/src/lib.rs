//! A Qnet node on a Linux host: what the program `qnetctl` and system tests are made of (section 24).
//!
//! ```text
//!   program      from words to an exit status          args       the command line
//!   commands     what a node does                      tools      what is done with frames alone: sniff, impair
//!   session      what commands work with               failure    exit statuses; json: output for scripts
//!
//!   host_node    a node on transports, also in the process of a test
//!   link         a transport as a link of the node     transport  AF_PACKET, QEMU's sockets, IP, pcap; faults, capture
//!   host_files   a directory for other nodes           resolver   addresses under --ip
//!   host_machine what others see of this host
//!   reactor      clock, and poll(2)                    stdio, interrupt   standard streams, Ctrl-C
//!   sniff        frames in words, ways of nodes
//! ```

#![forbid(unsafe_code)]

pub mod args;
pub mod commands;
pub mod failure;
pub mod host_files;
pub mod host_machine;
pub mod host_node;
pub mod interrupt;
pub mod json;
pub mod link;
pub mod program;
pub mod reactor;
pub mod resolver;
pub mod session;
pub mod sniff;
pub mod stdio;
pub mod tools;
pub mod transport;
