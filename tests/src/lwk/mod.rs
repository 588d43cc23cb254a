//! The LWK node in QEMU, the host that its programs are launched from, and programs.

mod node;
mod programs;

pub use node::{LwkNode, Shape};
pub use programs::{Link, output, program};
