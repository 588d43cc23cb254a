//! Processes that work with files, and what must be there of their work.

pub mod content;
pub mod nfs;
pub mod process;
pub mod recover;
pub mod tree;
