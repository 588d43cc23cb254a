//! Processes and programs: on one node, and of one node started from another, over sessions in memory.

#[allow(dead_code, reason = "the tests of message passing use more of it")]
#[path = "kif/world.rs"]
mod world;

#[allow(dead_code, reason = "the tests of files use more of it")]
#[path = "io/node.rs"]
mod node;

#[path = "procs/lab.rs"]
mod lab;

#[path = "procs/local.rs"]
mod local;
#[path = "procs/programs.rs"]
mod programs;

#[path = "procs/messages.rs"]
mod messages;
#[path = "procs/pidin.rs"]
mod pidin;
#[path = "procs/remote.rs"]
mod remote;
#[path = "procs/shell.rs"]
mod shell;
