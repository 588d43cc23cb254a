//! What programs use: files of this node and of others, by path.
//!
//! ```text
//!   Files        open, stat, unlink, rename, ...            by path
//!   File         read, write, seek, devctl, ...             an open file; Connection underneath
//!   copy         a whole file, several reads at once
//!   spawn        a program on another node; ConsoleServer has its descriptors
//!   pidin        processes of any node
//!   Zone         local time, as a node's TZ has it
//! ```
//!
//! `/net/<node>/...` is resolved here, by the node directory; other paths go to process 1, channel 1 of this node, and so
//! does what is done to an entry of `/net` itself: its `stat` verifies the node, its `rmdir` forgets it.
//! Link replies and symbolic links are followed as QNX's C library does (section 13.3).

mod console;
mod copy;
mod file;
mod files;
mod open;
pub mod pidin;
mod spawn;
mod zone;

pub use console::ConsoleServer;
pub use copy::{CopyError, copy};
pub use file::{DirItem, File};
pub use files::Files;
pub use open::OpenFlags;
pub use spawn::{SpawnRequest, Spawned, Where, spawn};
pub use zone::{LocalTime, Zone};
