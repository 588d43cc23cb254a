//! What a record is combined with: the key of its tag, and the bytes that its text is added to (RFC 8439 sections 2.4 and 2.6).

use alloc::vec::Vec;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::handshake::KEY_LEN;

/// Bytes of ChaCha20's first block, whose first half is the key of the tag and whose rest nobody sees.
const FIRST: usize = 64;
/// Bytes that are made at once at the beginning: four blocks, which cost no more than one. What is behind the first of them is
/// enough for most records.
const BEGINNING: usize = 256;
/// And from then on, of a text that has no more than sixteen such parts; of a longer one up to eight at once.
const PART: usize = 512;
/// Bytes of a buffer that is kept for the next record, whatever that needs.
const KEPT: usize = 8 << 10;

/// The pad of a record. It is begun for the number that it is first asked with, and ends with [`Pad::end`].
#[derive(Default)]
pub(super) struct Pad {
    /// Behind what was made. `None`: not begun.
    cipher: Option<ChaCha20>,
    /// The first block, and what was made behind it.
    made: Zeroizing<Vec<u8>>,
}

impl Pad {
    /// Makes a part of the pad of record `number`. True when there is more to make for a text of so many bytes.
    pub(super) fn prepare(&mut self, key: &[u8; KEY_LEN], number: u64, text: usize) -> bool {
        let wanted = FIRST + text;
        match &mut self.cipher {
            None => self.begin(key, number),
            Some(cipher) if self.made.len() < wanted => {
                extend(&mut self.made, cipher, (text / 16).clamp(PART, 8 * PART).next_multiple_of(64))
            }
            Some(_) => {}
        }
        self.made.len() < wanted
    }

    /// The key of the tag of record `number`.
    pub(super) fn authenticator(&mut self, key: &[u8; KEY_LEN], number: u64) -> [u8; 32] {
        if self.cipher.is_none() {
            self.begin(key, number);
        }
        self.made.first_chunk().copied().unwrap_or_default()
    }

    /// Encrypts the text of the record where it is. Once for each record, behind [`Pad::authenticator`].
    pub(super) fn combine(&mut self, text: &mut [u8]) {
        let made = self.made.get(FIRST..).unwrap_or_default();
        let (ready, rest) = text.split_at_mut(made.len().min(text.len()));
        ready.iter_mut().zip(made).for_each(|(byte, pad)| *byte ^= pad);
        if let Some(cipher) = &mut self.cipher {
            cipher.apply_keystream(rest);
        }
    }

    /// Appends the text of the record to `plain`, decrypted. As [`Pad::combine`].
    pub(super) fn combine_into(&mut self, text: &[u8], plain: &mut Vec<u8>) {
        let made = self.made.get(FIRST..).unwrap_or_default();
        let (ready, rest) = text.split_at(made.len().min(text.len()));
        plain.extend(ready.iter().zip(made).map(|(byte, pad)| byte ^ pad));
        let at = plain.len();
        plain.extend_from_slice(rest);
        if let Some(cipher) = &mut self.cipher {
            cipher.apply_keystream(plain.get_mut(at..).unwrap_or_default());
        }
    }

    /// The record is over: nothing of its pad is used again. Its buffer is, for one that may have a text of so many bytes.
    pub(super) fn end(&mut self, text: usize) {
        self.cipher = None;
        self.made.fill(0);
        self.made.clear();
        if self.made.capacity() > 2 * text.max(KEPT) {
            self.made.shrink_to(0);
        }
    }

    fn begin(&mut self, key: &[u8; KEY_LEN], number: u64) {
        let mut nonce = [0; 12];
        let (_, counter) = nonce.split_at_mut(4);
        counter.copy_from_slice(&number.to_le_bytes());
        let mut cipher = ChaCha20::new(key.into(), &nonce.into());
        extend(&mut self.made, &mut cipher, BEGINNING);
        self.cipher = Some(cipher);
    }
}

fn extend(made: &mut Vec<u8>, cipher: &mut ChaCha20, bytes: usize) {
    let at = made.len();
    made.resize(at + bytes, 0);
    cipher.apply_keystream(made.get_mut(at..).unwrap_or_default());
}
