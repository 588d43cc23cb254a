//! XDR: big-endian units of four bytes (RFC 4506).
//!
//! Neither type panics on any input. A decoder fails at the first item that does not fit; an encoder that
//! runs out of room remembers it, writes nothing more, and says so once at the end.

use crate::buffer::Buffer;
use core::fmt;

/// `len` rounded up to the four-byte unit of XDR.
pub const fn padded(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// Why an item could not be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The message ends within the item.
    Truncated,
    /// A length above the protocol's maximum.
    TooLong {
        /// What the message says.
        length: u32,
        /// What the protocol allows.
        maximum: usize,
    },
    /// A boolean, enumeration or union discriminant outside its range.
    BadValue(u32),
    /// Bytes are left after the last item.
    Trailing,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated => f.write_str("message ends early"),
            DecodeError::TooLong { length, maximum } => write!(f, "length {length} is above {maximum}"),
            DecodeError::BadValue(value) => write!(f, "value {value} is not defined"),
            DecodeError::Trailing => f.write_str("bytes after the last item"),
        }
    }
}

/// Reads XDR items from the front of a message, without copying.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    pub fn new(message: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: message }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Unsigned integer.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// Signed integer.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.u32().map(|value| value as i32)
    }

    /// Unsigned hyper integer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*head))
    }

    /// Boolean: 0 or 1.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::BadValue(other)),
        }
    }

    /// Optional data: `item` is read when the boolean before it is true.
    pub fn optional<T>(
        &mut self,
        item: impl FnOnce(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool()? { item(self).map(Some) } else { Ok(None) }
    }

    /// Opaque data of a fixed length; the padding after it is skipped, whatever it contains.
    pub fn fixed(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (data, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest.get(padded(len) - len..).ok_or(DecodeError::Truncated)?;
        Ok(data)
    }

    /// Opaque data of a fixed length known at compile time.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.fixed(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }

    /// Opaque data or string of a variable length of at most `maximum` bytes.
    pub fn opaque(&mut self, maximum: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()?;
        match usize::try_from(length) {
            Ok(len) if len <= maximum => self.fixed(len),
            _ => Err(DecodeError::TooLong { length, maximum }),
        }
    }

    /// Ends decoding: nothing may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// An encoder ran out of room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow;

/// Writes XDR items into a buffer of fixed size.
///
/// The first item that does not fit sets the overflow flag; it and all later items are left out.
#[derive(Debug)]
pub struct Encoder {
    buffer: Buffer,
    position: usize,
    overflowed: bool,
}

impl Encoder {
    /// Writes from byte `start` of `buffer` on.
    pub fn new(buffer: Buffer, start: usize) -> Encoder {
        Encoder { overflowed: start > buffer.len(), position: start, buffer }
    }

    /// Where the next item goes.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        if self.overflowed { 0 } else { self.buffer.len().saturating_sub(self.position) }
    }

    /// True when an item did not fit.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Forgets everything from `position` on, an overflow too.
    pub fn rewind(&mut self, position: usize) {
        if position <= self.buffer.len() {
            self.position = position;
            self.overflowed = false;
        }
    }

    /// Everything in the buffer up to the current position.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.position).unwrap_or_default()
    }

    /// The next `len` bytes of the buffer, to be filled in place and then taken over with
    /// [`Encoder::advance`]. Their content is whatever was there before. `None` when they do not fit.
    pub fn space(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.room() {
            return None;
        }
        self.buffer.get_mut(self.position..self.position + len)
    }

    /// Takes over `len` bytes filled in place, and pads them with zeros to the unit.
    pub fn advance(&mut self, len: usize) {
        let padding = padded(len) - len;
        if padded(len) > self.room() {
            self.overflowed = true;
            return;
        }
        self.position += len;
        self.buffer[self.position..self.position + padding].fill(0);
        self.position += padding;
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.space(bytes.len()) {
            Some(space) => {
                space.copy_from_slice(bytes);
                self.position += bytes.len();
            }
            None => self.overflowed = true,
        }
    }

    /// Unsigned integer, enumeration.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Signed integer.
    pub fn i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    /// Unsigned hyper integer.
    pub fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Boolean.
    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Opaque data of a fixed length, padded.
    pub fn fixed(&mut self, bytes: &[u8]) {
        match self.space(bytes.len()) {
            Some(space) => {
                space.copy_from_slice(bytes);
                self.advance(bytes.len());
            }
            None => self.overflowed = true,
        }
    }

    /// Opaque data or string of a variable length.
    pub fn opaque(&mut self, bytes: &[u8]) {
        match u32::try_from(bytes.len()) {
            Ok(len) => {
                self.u32(len);
                self.fixed(bytes);
            }
            Err(_) => self.overflowed = true,
        }
    }

    /// Overwrites four bytes written before; `at` beyond them is ignored.
    pub fn patch_u32(&mut self, at: usize, value: u32) {
        if let Some(place) = self.buffer.get_mut(at..).and_then(|tail| tail.first_chunk_mut::<4>()) {
            *place = value.to_be_bytes();
        }
    }

    /// Moves what is written into another buffer, as far as it fits, and returns the one used before.
    pub(crate) fn move_to(&mut self, mut buffer: Buffer) -> Buffer {
        self.position = self.position.min(buffer.len());
        buffer[..self.position].copy_from_slice(&self.buffer[..self.position]);
        core::mem::replace(&mut self.buffer, buffer)
    }

    /// Length of the buffer.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoder(len: usize) -> Encoder {
        Encoder::new(Buffer::unpooled(len), 0)
    }

    #[test]
    fn items_have_the_bytes_of_rfc_4506() {
        let mut out = encoder(64);
        out.u32(0x0102_0304);
        out.i32(-1);
        out.u64(0x0102_0304_0506_0708);
        out.bool(true);
        out.opaque(b"hello");
        out.fixed(&[9]);
        assert_eq!(
            out.written(),
            [
                &[1, 2, 3, 4, 255, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 5][..],
                b"hello\0\0\0",
                &[9, 0, 0, 0]
            ]
            .concat()
        );
    }

    #[test]
    fn padding_is_zeroed_over_old_content() {
        let mut out = encoder(8);
        out.u64(u64::MAX);
        out.rewind(0);
        out.fixed(&[1]);
        assert_eq!(out.written(), [1, 0, 0, 0]);
    }

    #[test]
    fn overflow_sticks_and_rewind_clears_it() {
        let mut out = encoder(6);
        out.u32(1);
        out.u32(2);
        out.fixed(&[]);
        assert!(out.overflowed());
        assert_eq!(out.written(), [0, 0, 0, 1]);
        assert_eq!(out.room(), 0);
        out.rewind(0);
        assert!(!out.overflowed());
        assert_eq!(out.room(), 6);
    }

    #[test]
    fn padding_that_does_not_fit_overflows() {
        let mut out = encoder(5);
        out.fixed(&[1, 2, 3, 4, 5]);
        assert!(out.overflowed());
    }

    #[test]
    fn lengths_are_checked_before_use() {
        let absurd = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        assert_eq!(
            Decoder::new(&absurd).opaque(400),
            Err(DecodeError::TooLong { length: u32::MAX, maximum: 400 })
        );
        assert_eq!(Decoder::new(&absurd).opaque(usize::MAX), Err(DecodeError::Truncated));
        assert_eq!(Decoder::new(&[0, 0, 0, 3, 1, 2, 3]).opaque(3), Err(DecodeError::Truncated));
        assert_eq!(Decoder::new(&[0, 0, 0, 3, 1, 2, 3, 77]).opaque(3), Ok(&[1, 2, 3][..]));
        assert_eq!(Decoder::new(&[0, 0, 0, 2]).bool(), Err(DecodeError::BadValue(2)));
        assert_eq!(Decoder::new(&[0]).finish(), Err(DecodeError::Trailing));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(a: u32, b: u64, c: bool, d in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = encoder(1024);
            out.u32(a);
            out.u64(b);
            out.bool(c);
            out.opaque(&d);
            let mut input = Decoder::new(out.written());
            prop_assert_eq!(input.u32(), Ok(a));
            prop_assert_eq!(input.u64(), Ok(b));
            prop_assert_eq!(input.bool(), Ok(c));
            prop_assert_eq!(input.opaque(300), Ok(&d[..]));
            prop_assert_eq!(input.finish(), Ok(()));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), max in 0usize..100) {
            let mut input = Decoder::new(&bytes);
            while input.opaque(max).is_ok() {}
            let _ = input.optional(|input| input.array::<8>());
        }
    }
}
