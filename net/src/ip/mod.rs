//! The internet layer: which way a packet goes, how it is cut, and how pieces become whole.

mod checksum;
pub(crate) mod header;
mod output;
pub(crate) mod reassembly;
mod route;

pub(crate) use output::Net;
pub(crate) use route::{Origin, Path, RouteEntry};
pub use route::{Route, Way};
