//! Bytes of a message behind its head: shared, never copied on the way to a link.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// A range of bytes that somebody owns: a file's page, a buffer of a pool, a vector. Whoever holds a clone keeps the
/// owner alive, so that an owner with a `Drop` learns when the last fragment was acknowledged.
#[derive(Clone, Default)]
pub struct Body {
    owner: Option<Rc<dyn AsRef<[u8]>>>,
    range: Range<usize>,
}

impl Body {
    /// No bytes.
    pub const EMPTY: Body = Body { owner: None, range: 0..0 };

    /// All bytes of `owner`.
    pub fn new(owner: Rc<dyn AsRef<[u8]>>) -> Body {
        let len = (*owner).as_ref().len();
        Body { owner: Some(owner), range: 0..len }
    }

    /// A part of it; what lies outside is cut off.
    pub fn slice(&self, range: Range<usize>) -> Body {
        let start = self.range.start.saturating_add(range.start).min(self.range.end);
        let end = self.range.start.saturating_add(range.end).clamp(start, self.range.end);
        Body { owner: self.owner.clone(), range: start..end }
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        let owner = self.owner.as_ref().map(|owner| (**owner).as_ref()).unwrap_or_default();
        owner.get(self.range.clone()).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::new(Rc::new(bytes))
    }
}

impl From<Rc<[u8]>> for Body {
    fn from(bytes: Rc<[u8]>) -> Body {
        Body::new(Rc::new(bytes))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_parts() {
        let body = Body::from(vec![0, 1, 2, 3, 4, 5]);
        let part = body.slice(2..5);
        assert_eq!((part.bytes(), part.len()), (&[2, 3, 4][..], 3));
        assert_eq!(part.slice(1..9).bytes(), [3, 4]);
        assert_eq!(part.slice(4..usize::MAX).bytes(), []);
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = part.slice(2..1);
        assert!(reversed.is_empty() && Body::EMPTY.bytes().is_empty());
    }
}
