//! Placeholder
#![forbid(unsafe_code)]
mod bench;
mod console;
mod disk;
mod endpoint;
mod error;
mod lan;
mod linux;
mod machine;
mod rng;
mod tool;
pub use bench::Bench;
pub use console::{Console, Line};
pub use disk::*;
pub use endpoint::*;
pub use error::{Error, Result};
pub use lan::*;
pub use linux::*;
pub use machine::*;
