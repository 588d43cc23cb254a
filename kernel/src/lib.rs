//! The x86-64 kernel.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod drbg;
pub mod log_filter;
pub mod mm;
pub mod options;
pub mod pci;
pub mod rtc;
pub mod symbols;
