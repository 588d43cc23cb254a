//! How programs come into memory: what launch and exec need of whoever reads ELF files.

use crate::Errno;
use crate::delegate::{Delegate, Handle};
use crate::identity::Ids;
use crate::mm::Mm;
use crate::process::Program;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

/// The file of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Executable {
    /// Opened by the host for execution.
    Handle(Handle),
    /// To be opened: relative to a directory of the host when it has one.
    Path {
        /// The directory; `None` for the working directory.
        directory: Option<Handle>,
        /// The path; empty for the directory handle itself (AT_EMPTY_PATH).
        path: Vec<u8>,
        /// AT_SYMLINK_NOFOLLOW.
        no_follow: bool,
    },
}

/// A program to load.
pub struct Load {
    /// Where it is.
    pub executable: Executable,
    /// Path, arguments, environment.
    pub program: Program,
    /// User and groups, for the auxiliary vector.
    pub ids: Ids,
    /// The host.
    pub delegate: Arc<dyn Delegate>,
}

/// A program in memory.
pub struct Loaded {
    /// First instruction.
    pub entry: u64,
    /// Stack pointer there.
    pub stack: u64,
    /// The program as it was found: after `#!` lines, with its auxiliary vector.
    pub program: Program,
}

/// The result of [`Loader::load`], once it is there.
pub type Loading<'a> = Pin<Box<dyn Future<Output = Result<Loaded, Errno>> + 'a>>;

/// Loads programs into empty address spaces.
pub trait Loader: Send + Sync {
    /// Builds the image and the initial stack. On failure the address space is of no use any more.
    fn load<'a>(&'a self, mm: &'a Arc<Mm>, load: Load) -> Loading<'a>;
}

/// For processes that never execute anything.
pub(crate) struct NoLoader;

impl Loader for NoLoader {
    fn load<'a>(&'a self, _mm: &'a Arc<Mm>, _load: Load) -> Loading<'a> {
        Box::pin(async { Err(Errno::ENOEXEC) })
    }
}
