//! The LWK compute node: unmodified Linux programs on cores that nobody else uses.
//!
//! Principles:
//!
//! 1. **A compute core runs one thing.** No timer, no device, no work for others: a thread leaves its core when it waits, ends,
//!    yields or is told to look around.
//! 2. **A Linux thread is a task** of the executor of its core: it enters ring 3 by a call, serves what brought it back, and enters
//!    again. What has to wait is a future; most system calls never wait.
//! 3. **What is not served here is done by the host** that launched the program ([`delegate`]), in the name of its user.
//! 4. **Shared state is small**: `Arc` and spin locks held for short times, never over a wait and never in ring 3.
//!
//! Not here: page tables and the entry into ring 3 (the kernel's, behind [`keelson_hal::user`]), the network.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
mod clocks;
mod clone;
pub mod control;
mod core_file;
pub mod cores;
mod cpuid;
pub mod delegate;
pub mod event;
pub mod exec;
mod execve;
pub mod exit;
mod faults;
pub mod files;
mod freeze;
mod futex;
pub mod identity;
pub mod limits;
pub mod load;
pub mod loading;
mod locks;
pub mod mm;
pub mod node;
pub mod options;
pub mod process;
pub mod pseudo;
mod ptimers;
pub mod restart;
mod room;
mod rseq;
mod run;
pub mod sched;
pub mod service;
pub mod session;
pub mod signals;
pub mod syscalls;
pub mod system;
pub mod sysv;
pub mod table;
pub mod thread;
pub mod timers;
pub mod view;
pub mod wait;
mod wall;
pub mod watched;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use keelson_lwk_wire::Errno;
