//! The Linux side of an LWK node: `mcexec` starts a program on the node, and is its proxy in Linux; the other tools look after nodes.
//!
//! Sections cited in this crate are those of the project's LWK specification.
//!
//! ```text
//!   program     one program with many names: lwkctl, mcexec, ihkosctl, mcreboot, lwk-rsh, ...
//!   rsh         lwk-rsh, for launchers that want to log in to nodes
//!   mpi_env     lwk-mpi-env, variables for MPI jobs
//!   mcexec      options, finding and opening the program, LAUNCH, exit status
//!   nodes       node table and key files
//!   link        connections to the node: `hi` and `bulk`
//!   serial      those over serial ports of a virtual machine
//!   proxy       the engine: requests, workers, cancellation, streams, readiness, signals, fork, exit
//!   calls       system calls, performed for the program
//!   boot        what boots and stops nodes: ihkconfig, mcreboot, mcstop+release
//!   tools       what looks after nodes: ihkosctl, ihkmond, mcstat, mcps, eclair, mcinspect
//!   dump        memory of a node's kernel, in files and alive
//! ```
//!
//! Principles:
//!
//! 1. **A request is checked against the table before anything is done for it.** What does not match ends the session.
//! 2. **Safe Rust only.** What no safe interface offers is answered with an error: see [`calls`].
//! 3. **One process here for each process there**, so that pid, parent, process group, working directory, umask, terminal and
//!    wait status are what they would be.
//! 4. **A call that can wait waits for readiness, not in the call**, so that it can be given up without losing a byte.
//! 5. **Open files are shared, never reopened.** A forked proxy inherits the descriptors themselves.

#![forbid(unsafe_code)]

pub mod boot;
pub mod calls;
pub mod dump;
pub mod fail;
pub mod link;
pub mod mcexec;
pub mod mpi_env;
pub mod nodes;
pub mod problem;
pub mod program;
pub mod proxy;
pub mod rsh;
pub mod serial;
pub mod tools;
