//! The LNet node: a router between Lustre networks, and an end node for its tests.
//!
//! ```text
//!   options --> node <-- admin          lnetctl, lctl, routerstat, the files of debugfs
//!                |
//!      portals: selftest                what is for this node
//!                |
//!              lnet                     networks, peers, credits, buffers, routes, ping, discovery
//!                |  lnd (the seam)
//!             socklnd                   TCP: acceptor, HELLO, framing, zero-copy acknowledgements
//! ```
//!
//! Principles:
//!
//! 1. **A real Lustre node cannot tell** it from a Linux router, but by what it does better: back-pressure and
//!    never a drop where buffers are full, a share of them for every destination, small messages ahead of bulk.
//! 2. **The cost of a message does not grow with the number of peers**, and a warm node allocates nothing for it:
//!    headers are parsed where they lie, a payload is copied once in and once out (`buffers`).
//! 3. **One thread, no locks**: everything runs on the executor that it was given; no borrow lives over an await.
//! 4. **Time, randomness and the network stack are passed in**: whole networks of nodes run in host tests.
//!
//! Not here: the wire formats and the grammars of NIDs, networks and routes (`keelson-lnet-wire`), network types
//! other than TCP, Lustre itself.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// One executor on one core: no future here is ever sent to another thread.
#![allow(async_fn_in_trait)]

extern crate alloc;

pub mod admin;
pub mod buffers;
pub mod lnd;
pub mod lnet;
pub mod message;
pub mod node;
pub mod options;
pub mod portal;
pub mod selftest;
pub mod socklnd;
