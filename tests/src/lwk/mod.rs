//! The LWK node in QEMU, the host that its programs are launched from, and programs.

mod far;
mod job;
mod node;
mod programs;

pub use far::serve_file;
pub use job::Job;
pub use node::{LwkNode, Shape};
pub use programs::{Link, output, program, program_by};
