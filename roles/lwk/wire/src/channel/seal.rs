//! Records: how the bytes of a connection are sealed once both ends have the keys.
//!
//! With `aead` a record is what Noise makes of it: ChaCha20-Poly1305 (RFC 8439), the nonce four zero bytes and a 64-bit counter.
//! With `mac` it is the bytes as they are and the tag of an empty text of which they are the associated data: the same proof
//! that nobody changed, dropped or repeated anything, at the cost of Poly1305 alone.
//!
//! What a record is combined with depends on key and number only. Most of it can be made before the record is there ([`Ahead`]),
//! by who waits for the other end: then nobody waits for ChaCha20.

mod ahead;
mod pad;

use alloc::sync::Arc;
use alloc::vec::Vec;

use cryptoxide::poly1305::{Poly1305, Tag};

pub use self::ahead::Ahead;
use self::pad::Pad;
use super::ChannelError;
use crate::handshake::KEY_LEN;

/// Largest record on the wire, without its length (Noise).
const MAX_RECORD: usize = 65_535;
/// Bytes that sealing adds.
const TAG: usize = 16;
/// Bytes of the length before a record.
pub(super) const LENGTH: usize = 2;
/// Most bytes that a record holds.
pub(super) const MOST: usize = MAX_RECORD - TAG;

/// What is done to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protection {
    /// Nobody else can read or change it.
    Aead,
    /// Nobody else can change it.
    Mac,
}

/// One direction of a connection.
pub(super) struct Seal {
    ahead: Arc<Ahead>,
    /// Of the record that is at work.
    pad: Pad,
}

impl Seal {
    pub(super) fn new(key: &[u8; KEY_LEN], protection: Protection) -> Seal {
        Seal { ahead: Arc::new(Ahead::new(key, protection)), pad: Pad::default() }
    }

    /// What others can do ahead.
    pub(super) fn ahead(&self) -> &Arc<Ahead> {
        &self.ahead
    }

    /// Makes the record of what is in `out` behind `at`: [`LENGTH`] bytes for its length, then at most [`MOST`] of text.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, at: usize) {
        let record = out.get_mut(at..).unwrap_or_default();
        let Some((length, text)) = record.split_first_chunk_mut::<LENGTH>() else { return };
        debug_assert!(text.len() <= MOST);
        *length = ((text.len() + TAG) as u16).to_le_bytes();
        let key = self.ahead.begin(&mut self.pad);
        if self.ahead.protection == Protection::Aead {
            self.pad.combine(text);
        }
        let (tag, len) = (authenticate(&key, self.ahead.protection, text), text.len());
        self.ahead.end(&mut self.pad, len);
        out.extend_from_slice(tag.as_ref());
    }

    /// Replaces what is in `plain` by the bytes that were sealed.
    pub(super) fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG>().ok_or(ChannelError::Broken)?;
        let key = self.ahead.begin(&mut self.pad);
        // Tags are compared in constant time.
        if authenticate(&key, self.ahead.protection, bytes) != Tag(*tag) {
            return Err(ChannelError::Broken);
        }
        plain.clear();
        match self.ahead.protection {
            Protection::Aead => self.pad.combine_into(bytes, plain),
            Protection::Mac => plain.extend_from_slice(bytes),
        }
        self.ahead.end(&mut self.pad, bytes.len());
        Ok(())
    }
}

/// The tag (RFC 8439 section 2.8): of associated data and ciphertext, each filled up to 16 bytes, and their lengths.
fn authenticate(key: &[u8; 32], protection: Protection, bytes: &[u8]) -> Tag {
    let len = bytes.len() as u64;
    let (associated, text) = match protection {
        Protection::Aead => (0, len),
        Protection::Mac => (len, 0),
    };
    let mut hash = Poly1305::new(key);
    let (blocks, rest) = bytes.as_chunks::<TAG>();
    hash.update_mut(blocks.as_flattened());
    // What is left of the bytes, filled up, and the lengths: at once, as each step costs as much as a block.
    let mut end = [0; 2 * TAG];
    let (filled, lengths) = end.split_at_mut(TAG);
    filled.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    lengths.copy_from_slice(&(u128::from(associated) | u128::from(text) << 64).to_le_bytes());
    hash.update_mut(if rest.is_empty() { lengths } else { &end });
    hash.finalize()
}

/// The two directions of one end.
pub(crate) struct Seals {
    pub(super) out: Seal,
    pub(super) into: Seal,
}

impl Seals {
    /// `keys`: of what the initiator sends, and of what it receives.
    pub(crate) fn new(keys: &[[u8; KEY_LEN]; 2], initiator: bool, protection: Protection) -> Seals {
        let [first, second] = keys.each_ref().map(|key| Seal::new(key, protection));
        if initiator { Seals { out: first, into: second } } else { Seals { out: second, into: first } }
    }
}

#[cfg(test)]
mod tests;
