//! Vectors, messages, polling, terminals.

use super::{get, layout, put};

layout! {
    /// `struct iovec`.
    Iovec, 16 { base: u64 @ 0, len: u64 @ 8, }
}

layout! {
    /// `struct msghdr`.
    Msghdr, 56 {
        name: u64 @ 0, namelen: u32 @ 8, iov: u64 @ 16, iovlen: u64 @ 24, control: u64 @ 32, controllen: u64 @ 40, flags: u32 @ 48,
    }
}

layout! {
    /// `struct mmsghdr`: a [`Msghdr`] at its start, and the bytes that were sent or received.
    Mmsghdr, 64 {
        name: u64 @ 0, namelen: u32 @ 8, iov: u64 @ 16, iovlen: u64 @ 24, control: u64 @ 32, controllen: u64 @ 40, flags: u32 @ 48,
        len: u32 @ 56,
    }
}

layout! {
    /// `struct cmsghdr`, before each piece of control data.
    Cmsghdr, 16 {
        /// Header included.
        len: u64 @ 0,
        level: i32 @ 8, kind: i32 @ 12,
    }
}

/// Where the next piece of control data starts, for one of `len` bytes.
pub const fn cmsg_align(len: usize) -> usize {
    len.saturating_add(7) & !7
}

layout! {
    /// `struct epoll_event`, which is packed on x86-64.
    EpollEvent, 12 { events: u32 @ 0, data: u64 @ 4, }
}

layout! {
    /// `struct pollfd`.
    PollFd, 8 { fd: i32 @ 0, events: u16 @ 4, revents: u16 @ 6, }
}

layout! {
    /// `struct winsize`.
    Winsize, 8 { rows: u16 @ 0, columns: u16 @ 2, xpixel: u16 @ 4, ypixel: u16 @ 6, }
}

layout! {
    /// `struct ifconf`.
    Ifconf, 16 { len: i32 @ 0, buffer: u64 @ 8, }
}

/// `struct termios` of the kernel: TCGETS, TCSETS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    /// Control characters.
    pub cc: [u8; 19],
}

impl Termios {
    /// Bytes of the structure.
    pub const LEN: usize = 36;

    /// As the program sees it.
    pub fn to_bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        for (at, flags) in [(0, self.iflag), (4, self.oflag), (8, self.cflag), (12, self.lflag)] {
            put(&mut bytes, at, &flags.to_le_bytes());
        }
        put(&mut bytes, 16, &[self.line]);
        put(&mut bytes, 17, &self.cc);
        bytes
    }

    /// From the program.
    pub fn from_bytes(bytes: &[u8; 36]) -> Termios {
        let word = |at| u32::from_le_bytes(get(bytes, at));
        let [line] = get(bytes, 16);
        Termios { iflag: word(0), oflag: word(4), cflag: word(8), lflag: word(12), line, cc: get(bytes, 17) }
    }
}

/// `struct termios2`: TCGETS2, TCSETS2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Termios2 {
    /// What TCGETS has too.
    pub base: Termios,
    /// Input speed, bits per second.
    pub ispeed: u32,
    /// Output speed.
    pub ospeed: u32,
}

impl Termios2 {
    /// Bytes of the structure.
    pub const LEN: usize = 44;

    /// As the program sees it.
    pub fn to_bytes(&self) -> [u8; 44] {
        let mut bytes = [0; 44];
        put(&mut bytes, 0, &self.base.to_bytes());
        put(&mut bytes, 36, &self.ispeed.to_le_bytes());
        put(&mut bytes, 40, &self.ospeed.to_le_bytes());
        bytes
    }

    /// From the program.
    pub fn from_bytes(bytes: &[u8; 44]) -> Termios2 {
        let word = |at| u32::from_le_bytes(get(bytes, at));
        Termios2 { base: Termios::from_bytes(&get(bytes, 0)), ispeed: word(36), ospeed: word(40) }
    }
}
