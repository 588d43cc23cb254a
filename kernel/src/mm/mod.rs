//! Physical and virtual memory.

pub mod buddy;
pub mod regions;
