//! Which part of a message a packet carries (section 5).

use super::{Flags, Header};
use core::fmt;

/// Payload of one Ethernet frame or IP packet: what is left of the link's MTU, as a multiple of eight. `before` is
/// what precedes the padding inside the MTU: nothing on Ethernet, 20 bytes with IPv4. Zero when nothing is left.
pub const fn payload_size(mtu: usize, before: usize) -> usize {
    mtu.saturating_sub(before + PADDING + Header::LEN) / 8 * 8
}

const PADDING: usize = 2;

/// A range of a message, from a packet's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// First byte in the message.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// Whether `end` is the end of the message.
    pub last: bool,
}

/// Why a fragment is dropped (section 23, point 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FragmentError {
    /// Flag FIRST with this offset other than zero.
    FirstAt(u32),
    /// Offset zero without flag FIRST.
    NotFirst,
    /// It ends behind the largest message accepted: answered by tearing the connection down.
    TooBig {
        /// Where it ends.
        end: u64,
        /// Largest message in bytes.
        max_msg: u32,
    },
}

impl fmt::Display for FragmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FragmentError::FirstAt(offset) => write!(f, "first fragment has offset {offset}, not 0"),
            FragmentError::NotFirst => f.write_str("fragment with offset 0 is not marked as the first"),
            FragmentError::TooBig { end, max_msg } => {
                write!(f, "message of at least {end} bytes is above max_msg={max_msg}")
            }
        }
    }
}

impl core::error::Error for FragmentError {}

impl Header {
    /// The range that this packet carries. Whether it fits what has arrived before is for reassembly to say.
    pub fn fragment(&self, max_msg: u32) -> Result<Fragment, FragmentError> {
        match (self.flags.contains(Flags::FIRST), self.offset) {
            (true, 0) | (false, 1..) => {}
            (true, offset) => return Err(FragmentError::FirstAt(offset)),
            (false, 0) => return Err(FragmentError::NotFirst),
        }
        let too_big = FragmentError::TooBig { end: u64::from(self.offset) + u64::from(self.length), max_msg };
        let end = self.offset.checked_add(self.length).filter(|end| *end <= max_msg).ok_or(too_big)?;
        Ok(Fragment { start: self.offset, end, last: self.flags.contains(Flags::LAST) })
    }
}

/// The fragments of a message in the order of sending: one for an empty message.
#[derive(Clone, Debug)]
pub struct Fragments {
    next: u32,
    total: u32,
    size: u32,
    done: bool,
}

impl Fragments {
    /// Cuts `total` bytes into pieces of `size` (taken as at least 1).
    pub fn new(total: u32, size: u32) -> Fragments {
        Fragments { next: 0, total, size: size.max(1), done: false }
    }
}

impl Iterator for Fragments {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        if self.done {
            return None;
        }
        let start = self.next;
        let end = start.saturating_add(self.size).min(self.total);
        self.next = end;
        self.done = end == self.total;
        Some(Fragment { start, end, last: self.done })
    }
}

impl Fragment {
    /// Bytes in it.
    pub fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// FIRST and LAST as they apply.
    pub fn flags(&self) -> Flags {
        let first = if self.start == 0 { Flags::FIRST } else { Flags::NONE };
        let last = if self.last { Flags::LAST } else { Flags::NONE };
        first | last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l4::Kind;

    #[test]
    fn sizes() {
        assert_eq!((payload_size(1500, 0), payload_size(1500, 20)), (1456, 1440));
        assert_eq!((payload_size(9000, 0), payload_size(0, 20)), (8960, 0));
    }

    #[test]
    fn cutting() {
        let cut =
            |total| Fragments::new(total, 1456).map(|f| (f.start, f.len(), f.flags().0)).collect::<Vec<_>>();
        assert_eq!(cut(0), [(0, 0, 3)]);
        assert_eq!(cut(1456), [(0, 1456, 3)]);
        assert_eq!(cut(1457), [(0, 1456, 1), (1456, 1, 2)]);
        assert_eq!(cut(4144), [(0, 1456, 1), (1456, 1456, 0), (2912, 1232, 2)]);
        assert_eq!(Fragments::new(2, 0).count(), 2);
    }

    #[test]
    fn validation() {
        let header =
            |flags, offset, length| Header { flags: Flags(flags), offset, length, ..Header::new(Kind::User) };
        let check = |flags, offset, length| header(flags, offset, length).fragment(131_072);
        assert_eq!(check(2, 8, 100), Ok(Fragment { start: 8, end: 108, last: true }));
        assert_eq!(check(1, 8, 0), Err(FragmentError::FirstAt(8)));
        assert_eq!(check(2, 0, 0), Err(FragmentError::NotFirst));
        assert_eq!(check(2, 131_000, 72).map(|f| f.end), Ok(131_072));
        assert_eq!(check(2, 131_000, 73), Err(FragmentError::TooBig { end: 131_073, max_msg: 131_072 }));
        let end = 2 * u64::from(u32::MAX);
        assert_eq!(check(0, u32::MAX, u32::MAX), Err(FragmentError::TooBig { end, max_msg: 131_072 }));
    }
}
