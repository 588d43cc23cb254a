//! The process manager: processes, how they start and end, and what others see of them (section 14).
//!
//! ```text
//!   table      all processes: start, wait, signal            entry       one of them
//!   process    what a program has: arguments, descriptors    program     programs, and how a path leads to one
//!   stream     descriptors: files, terminals                 pipe        between two programs
//!   services   messages to process 1: spawn, wait, sysconf   remote      a spawn from another node
//!   proc_dir   /proc                                         as_file     /proc/<pid>/as
//!   system     the machine, passed in
//! ```
//!
//! 1. **A process is a task.** Its end drops the task, and with it everything that the program had: connections, files,
//!    ends of pipes.
//! 2. **Programs are part of the image.** What is executable in `/bin` names one of them, so that paths, permissions
//!    and links mean what they do elsewhere.
//! 3. **Everything is bounded**: processes, those that have ended and that nobody has waited for, descriptors,
//!    arguments, what a pipe holds.
//!
//! Not here: loading of programs, `fork`, stopping and continuing, blocked signals (what is blocked is not delivered
//! later), `_PROC_SPAWN` other than START.

mod as_file;
mod entry;
mod pipe;
mod proc_dir;
mod process;
mod program;
mod remote;
mod services;
mod stream;
mod system;
mod table;

pub use entry::{End, signal};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use proc_dir::ProcDirectory;
pub use process::{Exit, Process};
pub use program::{Main, Program, SEARCH_PATH, program_files};
pub use stream::{FileStream, NullStream, Stream, TerminalStream, write_all};
pub use system::{Cpu, MemoryInfo, MountRequest, System};
pub use table::{Descriptors, FilesFactory, Group, Processes, ProcsConfig, Registered, Start};

pub(crate) use as_file::ZOMBIE;
pub(crate) use process::absolute;
