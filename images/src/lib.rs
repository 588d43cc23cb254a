//! The node builder: what every image does before its role starts.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
