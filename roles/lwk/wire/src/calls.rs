//! Which system call is whose, and how the delegated ones travel (section 4).
//!
//! The table is data. From it the node derives what to copy from and to a program ([`plan`]), and the host whether a request
//! is what the table says ([`check`]) before it does anything with it.

mod check;
mod fcntl;
pub mod ioctl;
mod plan;
mod table;

pub use check::{Checked, Input, Output, Violation, check};
pub use fcntl::{FcntlArg, fcntl_arg};
pub use plan::{Access, Fault, Memory, Piece, Plan, PlanError, Range, plan};

use crate::errno::Errno;

/// Bytes of a path, its NUL included.
pub const PATH_MAX: usize = 4096;
/// Bytes that one read or write moves at most: Linux's MAX_RW_COUNT.
pub const MAX_RW_COUNT: u64 = 0x7fff_f000;
/// Entries of an I/O vector: Linux's UIO_MAXIOV.
pub const UIO_MAXIOV: u64 = 1024;
/// Messages in one sendmmsg or recvmmsg.
pub const MAX_MMSG: u64 = 64;
/// Stands for the working directory where a directory handle is expected: AT_FDCWD, sign-extended.
pub const AT_FDCWD: u64 = -100i64 as u64;
/// `path_of(handle, buffer, size)`: where an open file is, from the root and without links, as Linux shows it in /proc/self/fd. Its
/// length, with no NUL; ERANGE when the buffer is too short, ENOENT when it is nowhere that the program could reach.
pub const PATH_OF: u32 = 800;

/// Who performs a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// L: the node, without a message.
    Local,
    /// D: the host.
    Delegated,
    /// B: depends on the file descriptor or the path.
    Both,
    /// S: the node, with a message that keeps the proxy in step.
    Side(Side),
    /// N: nobody; it succeeds.
    NoEffect,
    /// R: nobody; it fails.
    Refused(Errno),
}

/// What a class S call tells the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A handle is gone: CLOSE_BATCH, or the call itself where errors of closing matter.
    Close,
    /// UMASK.
    Umask,
    /// PAGEOUT.
    Msync,
    /// FORK, for processes.
    Fork,
    /// The host opens the new program, and checks that it may be executed; the result is its handle.
    Exec,
    /// EXIT.
    Exit,
    /// SETPGID, SETSID.
    Group,
    /// SETIDS.
    Ids,
}

/// Where the length of a buffer comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Len {
    /// Always the same.
    Const(u32),
    /// An argument.
    Arg(u8),
}

impl Len {
    /// Bytes, for these arguments.
    pub fn of(self, args: &[u64; 6]) -> u64 {
        let arg = |index: u8| args.get(usize::from(index)).copied().unwrap_or(0);
        match self {
            Len::Const(len) => len.into(),
            Len::Arg(index) => arg(index),
        }
    }
}

/// What an argument is. A NULL pointer has no descriptor, whatever the argument: whether it may be NULL is for the host's
/// kernel to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// `i`: a number.
    Scalar,
    /// `h`: a file descriptor, a handle on the wire.
    Handle,
    /// The same, or [`AT_FDCWD`].
    Dir,
    /// `p`: a path that ends with a NUL, at most [`PATH_MAX`].
    Path,
    /// `in(n)`: at most [`MAX_INLINE`](crate::frame::MAX_INLINE), else E2BIG.
    In(Len),
    /// `out(n)`: more than [`MAX_INLINE`](crate::frame::MAX_INLINE) is not asked for.
    Out(Len),
    /// `io(n)`.
    InOut(Len),
    /// `in(argument)`, of any length: the bytes of a write.
    DataIn(u8),
    /// `out(argument)`, of any length: the bytes of a read.
    DataOut(u8),
    /// `iov-in`, with its count: flattened to one run of bytes.
    IovIn(u8),
    /// `iov-out`, with its count.
    IovOut(u8),
    /// `sa-out` and the like: the length is a 32-bit number at the address in another argument; at most so many bytes.
    OutBy(u8, u32),
    /// `msg-in`: a msghdr of sendmsg. On the wire its parts: name, data, control.
    MsgIn,
    /// `msg-out`: a msghdr of recvmsg. Its parts, and their lengths.
    MsgOut,
    /// A vector of msghdrs: the node performs the call as a series of this other one.
    Series(u32),
    /// Depends on the request number before it: [`ioctl`].
    Ioctl,
    /// Depends on the command before it: [`fcntl_arg`].
    Fcntl,
}

/// Whether a call may wait for somebody, and can be cancelled meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// It takes the time it takes.
    No,
    /// It may.
    Yes,
}

/// Whether a call makes a handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Makes {
    /// Its result is a number, or 0.
    Nothing,
    /// Its result is a handle, with a hint.
    Handle,
}

/// A system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Number.
    pub nr: u32,
    /// Name, as in the manual.
    pub name: &'static str,
    /// Who performs it.
    pub class: Class,
    /// Its arguments, if it can travel.
    pub args: &'static [Arg],
    /// Whether it may wait.
    pub waits: Waits,
    /// What it makes.
    pub makes: Makes,
}

impl Call {
    /// May be the subject of a SYSCALL frame.
    pub fn travels(&self) -> bool {
        match self.class {
            Class::Delegated | Class::Both => !matches!(self.args, [_, Arg::Series(_), ..]),
            Class::Side(side) => matches!(side, Side::Close | Side::Exec) && !self.args.is_empty(),
            Class::Local | Class::NoEffect | Class::Refused(_) => false,
        }
    }

    /// The arguments that are file descriptors: the node puts handles there before it sends.
    pub fn handles(&self) -> impl Iterator<Item = usize> {
        self.args
            .iter()
            .enumerate()
            .filter(|(_, arg)| matches!(arg, Arg::Handle | Arg::Dir))
            .map(|(index, _)| index)
    }
}

/// The call with this number, or the node's question. `None` is R:ENOSYS.
pub fn call(nr: u32) -> Option<&'static Call> {
    let by_number = |table: &'static [Call]| {
        table.binary_search_by_key(&nr, |call| call.nr).ok().and_then(|at| table.get(at))
    };
    // Those before the first gap are where their number says.
    let there = table::CALLS.get(nr as usize).filter(|call| call.nr == nr);
    there
        .or_else(|| by_number(table::CALLS))
        .or_else(|| by_number(table::PRIVATE))
        .or_else(|| by_number(table::QUESTIONS))
}

/// All of them, by number.
pub fn all() -> impl Iterator<Item = &'static Call> {
    table::CALLS.iter().chain(table::PRIVATE)
}

/// The call with this name.
pub fn by_name(name: &str) -> Option<&'static Call> {
    all().find(|call| call.name == name)
}

#[cfg(test)]
mod tests;
