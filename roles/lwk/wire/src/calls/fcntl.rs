//! The third argument of fcntl(2), by command (section 4.1).

/// Numbers: `asm-generic/fcntl.h`, `linux/fcntl.h`.
mod cmd {
    pub const GETFL: u64 = 3;
    pub const SETFL: u64 = 4;
    pub const GETLK: u64 = 5;
    pub const SETLK: u64 = 6;
    pub const SETLKW: u64 = 7;
    pub const OFD_GETLK: u64 = 36;
    pub const OFD_SETLK: u64 = 37;
    pub const OFD_SETLKW: u64 = 38;
    pub const SETPIPE_SZ: u64 = 1031;
    pub const GETPIPE_SZ: u64 = 1032;
    pub const ADD_SEALS: u64 = 1033;
    pub const GET_SEALS: u64 = 1034;
}

/// What the argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FcntlArg {
    /// A number, or nothing.
    Scalar,
    /// `struct flock`, both ways.
    Flock,
    /// The command does not travel: it is the node's own, or refused.
    Refused,
}

/// What the argument is for this command. Those of file descriptors (F_DUPFD, F_GETFD, F_SETFD) are the
/// node's, and so is who is told of files by signals (F_SETOWN, F_SETSIG).
pub fn fcntl_arg(command: u64) -> FcntlArg {
    match command {
        cmd::GETFL | cmd::SETFL => FcntlArg::Scalar,
        cmd::SETPIPE_SZ | cmd::GETPIPE_SZ | cmd::ADD_SEALS | cmd::GET_SEALS => FcntlArg::Scalar,
        cmd::GETLK | cmd::SETLK | cmd::SETLKW | cmd::OFD_GETLK | cmd::OFD_SETLK | cmd::OFD_SETLKW => {
            FcntlArg::Flock
        }
        _ => FcntlArg::Refused,
    }
}
