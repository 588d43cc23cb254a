//! Where bytes of a file go to and come from: memory of a program, or of the node.

use crate::Errno;

/// Takes what is read.
pub trait Target {
    /// Bytes that it still takes.
    fn left(&self) -> usize;

    /// How many of the next `len` bytes could be stored: those before memory that is not there.
    fn room(&mut self, len: usize) -> usize {
        len.min(self.left())
    }

    /// Stores bytes, at most [`Target::left`]. Fewer than offered when the memory behind them cannot be written.
    fn put(&mut self, bytes: &[u8]) -> usize;

    /// True when the memory that was missing last may be there at another try: a page of a file that must be fetched. Who has
    /// done nothing yet does better with EFAULT than with less than was asked for: the call is made again.
    fn may_come(&self) -> bool {
        false
    }
}

/// Gives what is written.
pub trait Source {
    /// Bytes that are left.
    fn left(&self) -> usize;

    /// Looks at the next bytes without taking them: how many of those asked for could be read, `None` when not one.
    fn peek(&self, into: &mut [u8]) -> Option<usize>;

    /// Fetches the next bytes, at most [`Source::left`]. Fewer than asked for when the memory cannot be read.
    fn take(&mut self, into: &mut [u8]) -> usize;

    /// The same as [`Target::may_come`].
    fn may_come(&self) -> bool {
        false
    }
}

/// The result of a transfer that moved `done` of `wanted` bytes and stopped at memory that is not there.
pub fn moved(done: usize, wanted: usize) -> Result<usize, Errno> {
    if done == 0 && wanted > 0 { Err(Errno::EFAULT) } else { Ok(done) }
}

/// Memory of the node that takes bytes.
pub struct BytesTarget<'a> {
    into: &'a mut [u8],
    /// Bytes stored.
    pub done: usize,
}

impl<'a> BytesTarget<'a> {
    /// Fills `into` from its start.
    pub fn new(into: &'a mut [u8]) -> BytesTarget<'a> {
        BytesTarget { into, done: 0 }
    }
}

impl Target for BytesTarget<'_> {
    fn left(&self) -> usize {
        self.into.len() - self.done
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.left());
        self.into[self.done..self.done + len].copy_from_slice(&bytes[..len]);
        self.done += len;
        len
    }
}

/// Memory of the node that gives bytes.
pub struct BytesSource<'a>(pub &'a [u8]);

impl Source for BytesSource<'_> {
    fn left(&self) -> usize {
        self.0.len()
    }

    fn peek(&self, into: &mut [u8]) -> Option<usize> {
        let len = BytesSource(self.0).take(into);
        (len > 0).then_some(len)
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let len = into.len().min(self.0.len());
        let (head, tail) = self.0.split_at(len);
        into[..len].copy_from_slice(head);
        self.0 = tail;
        len
    }
}
