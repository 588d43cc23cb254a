//! Bulk data: made of the test's pattern, and compared with it.

use crate::buffers::{Payload, Pieces, SMALL};
use alloc::rc::Rc;
use keelson_lnet_wire::srpc::{self, Check, Corrupted, LEN, PATTERN};

/// Unit in which lengths are rounded up, so that a piece is filled over its full length once and for all.
const PAGE: usize = 4096;

/// Memory of a test node.
#[derive(Clone, Default)]
pub(super) struct Memory {
    /// Holds the pattern wherever it was used before, so that filling is not repeated: what has been sent comes
    /// back as it went.
    bulk: Rc<Pieces>,
    messages: Rc<Pieces>,
}

impl Memory {
    /// `len` bytes in which every word is the pattern, so that they pass every check.
    pub fn pattern(&self, len: usize) -> Payload {
        let mut payload = self.bulk.payload(len.next_multiple_of(PAGE));
        let mut at = 0;
        while at < payload.len() {
            // Page by page, because a piece may have been used for fewer pages than now.
            let piece = payload.from_mut(at);
            at += piece.len();
            for page in piece.chunks_mut(PAGE) {
                if !page.starts_with(&PATTERN.to_le_bytes()) {
                    srpc::fill(page, Check::Full, PATTERN);
                }
            }
        }
        payload.truncate(len);
        payload
    }

    /// A request or reply.
    pub fn message(&self, bytes: &[u8; LEN]) -> Payload {
        let mut payload = self.messages.payload(LEN);
        payload.from_mut(0).copy_from_slice(bytes);
        payload
    }

    /// The most that bulk data ever occupied, in bytes.
    #[cfg(test)]
    pub fn bulk_high_water(&self) -> usize {
        self.bulk.high_water()
    }

    /// Requests and replies that have not been sent.
    pub fn messages_waiting(&self) -> usize {
        self.messages.lent() / SMALL
    }
}

/// Looks for the pattern in data of a node of the other byte order or of ours.
pub(super) fn verify(payload: &Payload, check: Check, swapped: bool) -> Result<(), Corrupted> {
    let mut at = 0;
    for slice in payload.slices() {
        srpc::verify(slice, check, PATTERN, swapped)
            .map_err(|found| Corrupted { offset: found.offset + at, ..found })?;
        at += slice.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_filled_once_and_wherever_it_is_used() {
        let data = Memory::default();
        for len in [8, 4096, 4104, 65_536, 65_544, 1 << 20, 40_000, 1 << 20] {
            let payload = data.pattern(len);
            assert_eq!(payload.len(), len);
            assert_eq!(verify(&payload, Check::Full, false), Ok(()));
            assert_eq!(verify(&payload, Check::Simple, false), Ok(()));
            assert!(verify(&payload, Check::Full, true).is_err());
        }
        assert_eq!(data.bulk.allocated(), PAGE + (1 << 20));
    }

    #[test]
    fn one_wrong_byte_is_found_where_it_is() {
        let data = Memory::default();
        let mut payload = data.pattern(1 << 20);
        payload.from_mut(70_001)[0] ^= 1;
        let found = verify(&payload, Check::Full, false).unwrap_err();
        assert_eq!(found.offset, 70_000);
        assert_eq!(verify(&payload, Check::Simple, false), Ok(()));
        assert_eq!(verify(&payload, Check::None, false), Ok(()));
    }
}
