//! Buffers in the memory of a program.

use super::buffer::{Source, Target};
use crate::Errno;
use crate::mm::Mm;
use alloc::vec::Vec;

/// Most bytes that one call moves (read(2): MAX_RW_COUNT).
pub const MAX_TRANSFER: usize = 0x7fff_f000;

/// First address that a program cannot have.
const USER_END: u64 = 1 << 47;

/// Most entries of an array for readv(2) (IOV_MAX).
const MAX_IOVECS: u64 = 1024;

/// A piece of memory: `struct iovec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Iovec {
    /// Address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

impl Iovec {
    /// A buffer of read(2): EFAULT when it does not lie in the half of the address space that programs have. What is more
    /// than one call moves is cut off.
    pub fn new(base: u64, len: u64) -> Result<Iovec, Errno> {
        let end = base.checked_add(len).ok_or(Errno::EFAULT)?;
        if end > USER_END {
            return Err(Errno::EFAULT);
        }
        Ok(Iovec { base, len: len.min(MAX_TRANSFER as u64) })
    }
}

/// Reads the array of readv(2) and writev(2).
pub fn read_iovecs(mm: &Mm, at: u64, count: u64) -> Result<Vec<Iovec>, Errno> {
    if count > MAX_IOVECS {
        return Err(Errno::EINVAL);
    }
    let mut raw = [0; 16];
    let (mut list, mut total) = (Vec::new(), 0u64);
    list.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    for index in 0..count {
        mm.read(at.checked_add(index * 16).ok_or(Errno::EFAULT)?, &mut raw)?;
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| raw[at + byte]));
        let (base, len) = (word(0), word(8));
        if len > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        let piece = Iovec::new(base, len.min(MAX_TRANSFER as u64 - total))?;
        total += piece.len;
        list.push(piece);
    }
    Ok(list)
}

/// A buffer of a program, in one piece or in many.
pub struct UserBuffer<'a> {
    mm: &'a Mm,
    pieces: &'a [Iovec],
    /// Bytes of the first piece that are done.
    offset: u64,
    left: usize,
    /// Where memory was missing.
    pub fault: Option<u64>,
    /// Where somebody has tried to bring it.
    tried: Option<u64>,
}

impl<'a> UserBuffer<'a> {
    /// The memory at `pieces`.
    pub fn new(mm: &'a Mm, pieces: &'a [Iovec]) -> UserBuffer<'a> {
        let total = pieces.iter().map(|piece| piece.len).fold(0, u64::saturating_add);
        let left = total.min(MAX_TRANSFER as u64) as usize;
        UserBuffer { mm, pieces, offset: 0, left, fault: None, tried: None }
    }

    /// What is behind the first `done` bytes, where memory that is still missing at `tried` will not come.
    pub fn again(mm: &'a Mm, pieces: &'a [Iovec], done: usize, tried: Option<u64>) -> UserBuffer<'a> {
        let mut buffer = UserBuffer::new(mm, pieces);
        // Nothing is touched.
        buffer.run(done, |_, _, _| true);
        UserBuffer { tried, ..buffer }
    }

    /// Where the next byte is.
    pub fn next(&self) -> Option<u64> {
        let mut next = None;
        UserBuffer { ..*self }.run(1, |_, at, _| next.replace(at).is_none());
        next
    }

    fn misses_what_may_come(&self) -> bool {
        self.fault.is_some() && self.fault != self.tried
    }

    /// Takes less: at most `most` bytes are left.
    pub fn limit(&mut self, most: usize) {
        self.left = self.left.min(most);
    }

    /// Moves `len` bytes in runs that lie in one page each; how many were moved.
    fn run(&mut self, len: usize, mut step: impl FnMut(&Mm, u64, core::ops::Range<usize>) -> bool) -> usize {
        let (len, mut done) = (len.min(self.left), 0);
        while done < len {
            let Some(piece) = self.pieces.first() else { break };
            let rest = piece.len - self.offset;
            if rest == 0 {
                self.pieces = &self.pieces[1..];
                self.offset = 0;
                continue;
            }
            let at = piece.base + self.offset;
            // A page at a time, so that everything before a hole is moved.
            let span = rest.min((len - done) as u64).min(4096 - at % 4096) as usize;
            if !step(self.mm, at, done..done + span) {
                self.fault = Some(at);
                break;
            }
            done += span;
            self.offset += span as u64;
        }
        self.left -= done;
        done
    }
}

impl Target for UserBuffer<'_> {
    fn left(&self) -> usize {
        self.left
    }

    fn room(&mut self, len: usize) -> usize {
        let mut look = UserBuffer { offset: self.offset, left: self.left, fault: None, ..*self };
        let room = look.run(len, |mm, at, _| is_writable(mm, at));
        self.fault = look.fault;
        room
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        self.run(bytes.len(), |mm, at, range| mm.write(at, &bytes[range]).is_ok())
    }

    fn may_come(&self) -> bool {
        self.misses_what_may_come()
    }
}

impl Source for UserBuffer<'_> {
    fn left(&self) -> usize {
        self.left
    }

    fn peek(&self, into: &mut [u8]) -> Option<usize> {
        let len = UserBuffer { fault: None, ..*self }.take(into);
        (len > 0).then_some(len)
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        self.run(into.len(), |mm, at, range| mm.read(at, &mut into[range]).is_ok())
    }

    fn may_come(&self) -> bool {
        self.misses_what_may_come()
    }
}

/// True when the page of `at` can be written: tried by putting a word back in its place.
pub fn is_writable(mm: &Mm, at: u64) -> bool {
    let at = at & !3;
    mm.load_u32(at).is_ok_and(|word| mm.compare_exchange_u32(at, word, word).is_ok())
}
