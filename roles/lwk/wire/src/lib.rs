//! The delegation protocol LWKD/1 and the Linux layouts that both of its ends need.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod errno;

pub use errno::Errno;
