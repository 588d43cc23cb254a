//! The LNet node: a router between Lustre networks, and an end node for its tests.

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
