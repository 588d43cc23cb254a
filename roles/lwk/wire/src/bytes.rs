//! Fields, little-endian, read and written front to back.
//!
//! A [`Reader`] gives what is there and remembers when something was missing; decoders look once, at the end or before they
//! act on a length. A [`Writer`] appends to a buffer of the caller.

use alloc::string::String;
use alloc::vec::Vec;

/// Why a payload is not what its type says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// It ends before its fields do.
    Short,
    /// Bytes follow its last field.
    Long,
    /// A count or a length is above its limit.
    Limit,
    /// A field has a value that means nothing.
    Value,
    /// Text is not UTF-8.
    Text,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Malformed::Short => "payload too short",
            Malformed::Long => "payload too long",
            Malformed::Limit => "count above its limit",
            Malformed::Value => "meaningless value",
            Malformed::Text => "text is not UTF-8",
        })
    }
}

impl core::error::Error for Malformed {}

/// Reads fields from a slice.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// An 8-bit number.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A 16-bit number.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// A 32-bit number.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A 64-bit number.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A signed 32-bit number.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    /// A signed 64-bit number.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    /// A 32-bit count of at most `most` things, each of which takes at least `size` bytes: so that nothing is reserved that
    /// cannot be there.
    pub fn count(&mut self, most: usize, size: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(Malformed::Limit);
        }
        if count.saturating_mul(size) > self.rest.len() {
            return Err(Malformed::Short);
        }
        Ok(count)
    }

    /// Bytes with their 32-bit length before them.
    pub fn blob(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let len = self.count(most, 1)?;
        self.bytes(len)
    }

    /// UTF-8 with its 32-bit length before it.
    pub fn text(&mut self, most: usize) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.blob(most)?).map_err(|_| Malformed::Text)
    }

    /// As [`Reader::text`], owned.
    pub fn string(&mut self, most: usize) -> Result<String, Malformed> {
        self.text(most).map(String::from)
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Long) }
    }
}

/// Appends fields to a buffer.
pub struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Behind what `buffer` holds.
    pub fn new(buffer: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { buffer }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// An 8-bit number.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// A 16-bit number.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A 32-bit number.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A 64-bit number.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A signed 32-bit number.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A signed 64-bit number.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// A 32-bit count. What does not fit in a frame is refused when the frame ends, not here.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Bytes with their 32-bit length before them.
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).bytes(bytes)
    }

    /// UTF-8 with its 32-bit length before it.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.blob(text.as_bytes())
    }

    /// `len` zero bytes, to be filled by the caller: user memory is copied to where it leaves from.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let at = self.buffer.len();
        self.buffer.resize(at.saturating_add(len), 0);
        self.buffer.get_mut(at..).unwrap_or_default()
    }

    /// Bytes in the buffer, those before the first field included.
    pub fn position(&self) -> usize {
        self.buffer.len()
    }
}
