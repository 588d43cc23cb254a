//! Writes layouts of varying size, front to back, into the caller's buffer.

use crate::endian::Endian;
use crate::layout::Field;
use core::fmt;

/// The buffer given for encoding is too small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom {
    /// Bytes needed.
    pub need: usize,
    /// Bytes given.
    pub have: usize,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "encoding needs {} bytes of room, {} are given", self.need, self.have)
    }
}

impl core::error::Error for NoRoom {}

/// Position in a buffer. When room runs out it writes nothing more, counts on, and says so at the end.
pub(crate) struct Out<'a> {
    room: &'a mut [u8],
    at: usize,
    endian: Endian,
}

impl<'a> Out<'a> {
    pub(crate) fn new(room: &'a mut [u8], endian: Endian) -> Out<'a> {
        Out { room, at: 0, endian }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn put<T: Field>(&mut self, value: &T) -> &mut Self {
        let end = self.at.saturating_add(T::LEN);
        if let Some(field) = self.room.get_mut(self.at..end) {
            field.fill(0);
            value.put(field, 0, self.endian);
        }
        self.at = end;
        self
    }

    /// A structure whose first bytes, reserved in its layout, are a header.
    pub(crate) fn structure<H: Field, T: Field>(&mut self, header: &H, body: &T) -> &mut Self {
        let start = self.at;
        self.put(body);
        if let Some(field) = self.room.get_mut(start..self.at) {
            header.put(field, 0, self.endian);
        }
        self
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.at.saturating_add(bytes.len());
        if let Some(field) = self.room.get_mut(self.at..end) {
            field.copy_from_slice(bytes);
        }
        self.at = end;
        self
    }

    /// A string and its NUL.
    pub(crate) fn string(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(bytes).bytes(&[0])
    }

    /// Zeros up to `offset`.
    pub(crate) fn zero_to(&mut self, offset: usize) -> &mut Self {
        if let Some(gap) = self.room.get_mut(self.at..offset) {
            gap.fill(0);
        }
        self.at = self.at.max(offset);
        self
    }

    /// Zeros up to a multiple of `unit`, counted from the front of the buffer.
    pub(crate) fn align(&mut self, unit: usize) -> &mut Self {
        self.zero_to(self.at.next_multiple_of(unit))
    }

    /// Bytes written, or what it would have taken.
    pub(crate) fn finish(&self) -> Result<usize, NoRoom> {
        match self.at <= self.room.len() {
            true => Ok(self.at),
            false => Err(NoRoom { need: self.at, have: self.room.len() }),
        }
    }
}

/// A length for a 16-bit field. Longer values are cut to the field's maximum by callers that have checked.
pub(crate) fn len16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// A length for a 32-bit field.
pub(crate) fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
