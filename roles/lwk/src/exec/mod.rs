//! Starting programs: ELF files, the first stack, the vDSO (sections 3.2, 3.3).
//!
//! ```text
//! let program = Program::read(&file).await?;              // the file that execve names
//! let interpreter = match program.interpreter() { .. };   // opened by the caller, read the same way
//! let mm = Mm::new(&system, settings)?;
//! let start = load(&mm, &program, interpreter.as_ref(), &arguments).await?;
//! ```

mod elf;
mod load;
mod script;
mod stack;
mod vdso;

#[cfg(test)]
mod tests;

pub use load::{Program, load, start_of};
pub use script::{Script, shebang};
pub use vdso::{TimeBase, Vdso};

use crate::Errno;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Why a program cannot be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExecError {
    /// Not a program that this machine can run.
    NotExecutable,
    /// Its interpreter is not one.
    BadInterpreter,
    /// Arguments and environment are too long.
    TooLong,
    /// No memory.
    OutOfMemory,
    /// The file cannot be read.
    Unreadable(Errno),
}

impl ExecError {
    /// As execve(2) returns it.
    pub fn errno(self) -> Errno {
        match self {
            ExecError::NotExecutable => Errno::ENOEXEC,
            ExecError::BadInterpreter => Errno::ELIBBAD,
            ExecError::TooLong => Errno::E2BIG,
            ExecError::OutOfMemory => Errno::ENOMEM,
            ExecError::Unreadable(errno) => errno,
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecError::NotExecutable => f.write_str("not an x86-64 ELF program"),
            ExecError::BadInterpreter => f.write_str("the interpreter is not an x86-64 ELF program"),
            ExecError::TooLong => f.write_str("arguments and environment are too long"),
            ExecError::OutOfMemory => f.write_str("no memory"),
            ExecError::Unreadable(errno) => write!(f, "unreadable: {errno}"),
        }
    }
}

impl core::error::Error for ExecError {}

/// What a program is started with.
pub struct Arguments<'a> {
    /// `argv`.
    pub argv: &'a [Vec<u8>],
    /// `envp`.
    pub envp: &'a [Vec<u8>],
    /// The path as execve had it (`AT_EXECFN`).
    pub path: &'a [u8],
    /// Who it is.
    pub facts: Facts,
    /// Clocks without system calls.
    pub vdso: Option<&'a Vdso>,
    /// NUMA node of the thread that will run it.
    pub node: usize,
}

/// What the auxiliary vector says beside the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// `AT_HWCAP2`: bit 1 when programs may use RDFSBASE and its relatives.
    pub hwcap2: u64,
    /// `AT_MINSIGSTKSZ`: bytes of a signal frame.
    pub min_signal_stack: u64,
}

/// A program that is ready to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// First instruction: of the interpreter, when there is one.
    pub entry: u64,
    /// Stack pointer. RDX must be 0.
    pub stack: u64,
    /// Where the program was put: what was added to its addresses.
    pub base: u64,
    /// The auxiliary vector (`/proc/self/auxv`).
    pub auxv: Vec<u8>,
    /// Where the arguments are (`/proc/self/cmdline`).
    pub arguments: Range<u64>,
    /// Where the environment is (`/proc/self/environ`).
    pub environment: Range<u64>,
    /// First and last address of the program's code (`/proc/self/stat`).
    pub code: Range<u64>,
}
