//! Bytes of a message behind its head: copied once, kept until they are acknowledged.

use super::pool::Buffer;
use alloc::vec::Vec;
use core::fmt;

/// The bytes, in memory that goes back to its pool when the last fragment was acknowledged, or in memory of their own.
#[derive(Default)]
pub struct Body(Kept);

#[derive(Default)]
enum Kept {
    #[default]
    Nothing,
    Buffer(Buffer, usize),
    Own(Vec<u8>),
}

impl Body {
    /// No bytes.
    pub const EMPTY: Body = Body(Kept::Nothing);

    /// The first `len` bytes of a buffer, or as many as it has.
    pub fn new(buffer: Buffer, len: usize) -> Body {
        let len = len.min(buffer.room());
        Body(Kept::Buffer(buffer, len))
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Nothing => 0,
            Kept::Buffer(_, len) => *len,
            Kept::Own(bytes) => bytes.len(),
        }
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Nothing => &[],
            Kept::Buffer(buffer, len) => buffer.bytes().get(..*len).unwrap_or_default(),
            Kept::Own(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body(Kept::Own(bytes))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::Pool;
    use super::*;

    #[test]
    fn memory_goes_back() {
        let pool = Pool::new(4096, 4096);
        let mut buffer = pool.take(3).unwrap();
        buffer.bytes_mut()[..3].copy_from_slice(&[1, 2, 3]);
        let body = Body::new(buffer, 3);
        assert_eq!((body.bytes(), body.len(), body.is_empty()), (&[1, 2, 3][..], 3, false));
        drop(body);
        assert_eq!(pool.lent(), 0);
        assert_eq!(Body::new(pool.take(1).unwrap(), usize::MAX).len(), 2048);
        assert_eq!(Body::from(vec![4, 5]).bytes(), [4, 5]);
        assert!(Body::EMPTY.is_empty() && Body::EMPTY.bytes().is_empty());
    }
}
