//! The program as people use it: processes on transports, each command against a node that serves a directory.

mod commands;
mod faults;
mod interrupts;
mod support;
mod threads;
mod transports;
