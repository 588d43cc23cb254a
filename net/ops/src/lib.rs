//! How an appliance is watched from afar: what every role offers to those who run it.
//!
//! Nothing here knows a role or the machine. What is shown is passed in, as is the time.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod civil;
pub mod health;
pub mod http;
pub mod metrics;
pub mod pages;
pub mod pcapng;
pub mod sntp;
pub mod syslog;
pub mod timeline;
