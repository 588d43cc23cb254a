//! Records: how the bytes of a connection are sealed once both ends have the keys.
//!
//! With `aead` a record is what Noise makes of it: ChaCha20-Poly1305 (RFC 8439), the nonce four zero bytes and a 64-bit counter.
//! With `mac` it is the bytes as they are and the tag of an empty text of which they are the associated data: the same proof
//! that nobody changed, dropped or repeated anything, at the cost of Poly1305 alone.

use alloc::vec::Vec;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

use super::ChannelError;
use crate::handshake::KEY_LEN;

/// Largest record on the wire, without its length (Noise).
pub(super) const MAX_RECORD: usize = 65_535;
/// Bytes that sealing adds.
pub(super) const TAG: usize = 16;

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
    cipher: ChaCha20Poly1305,
    protection: Protection,
    /// Records so far.
    count: u64,
}

impl Seal {
    pub(super) fn new(key: &[u8; KEY_LEN], protection: Protection) -> Seal {
        Seal { cipher: ChaCha20Poly1305::new(key.into()), protection, count: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = Nonce::default();
        let (_, counter) = nonce.split_at_mut(4);
        counter.copy_from_slice(&self.count.to_le_bytes());
        self.count += 1;
        nonce
    }

    /// Appends the record of `piece`, at most [`MAX_RECORD`] less [`TAG`] bytes, behind its length.
    pub(super) fn append(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        debug_assert!(piece.len() <= MAX_RECORD - TAG);
        out.extend_from_slice(&((piece.len() + TAG) as u16).to_le_bytes());
        let at = out.len();
        out.extend_from_slice(piece);
        let nonce = self.nonce();
        let bytes = out.get_mut(at..).unwrap_or_default();
        let tag = match self.protection {
            Protection::Aead => self.cipher.encrypt_in_place_detached(&nonce, &[], bytes),
            Protection::Mac => self.cipher.encrypt_in_place_detached(&nonce, bytes, &mut []),
        };
        // It fails for lengths that are not possible here only.
        debug_assert!(tag.is_ok());
        out.extend_from_slice(&tag.unwrap_or_default());
    }

    /// Replaces what is in `plain` by the bytes that were sealed.
    pub(super) fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG>().ok_or(ChannelError::Broken)?;
        plain.clear();
        plain.extend_from_slice(bytes);
        let (nonce, tag) = (self.nonce(), Tag::from(*tag));
        match self.protection {
            Protection::Aead => self.cipher.decrypt_in_place_detached(&nonce, &[], plain, &tag),
            Protection::Mac => self.cipher.decrypt_in_place_detached(&nonce, plain, &mut [], &tag),
        }
        .map_err(|_| ChannelError::Broken)
    }
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
