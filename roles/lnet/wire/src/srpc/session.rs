//! Session identifiers and names.

use crate::bytes::{Reader, Writer};
use crate::nid::Nid;
use core::fmt;

/// Identifies a session: who opened it, and when.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionId {
    /// NID of the console, 64-bit form.
    pub nid4: u64,
    /// Milliseconds of the console's clock.
    pub stamp: i64,
}

impl SessionId {
    /// No session.
    pub const INVALID: SessionId = SessionId { nid4: u64::MAX, stamp: -1 };

    /// Whether the NID is "any", which no session may have.
    pub const fn is_invalid(&self) -> bool {
        self.nid4 == u64::MAX
    }

    /// NID of the console.
    pub const fn nid(&self) -> Nid {
        Nid::from_nid4(self.nid4)
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> SessionId {
        SessionId { nid4: fields.u64(), stamp: fields.i64() }
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.nid4).i64(self.stamp);
    }
}

/// Name of a session: up to 31 bytes, ended by a zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(pub [u8; 32]);

impl Name {
    /// No name.
    pub const EMPTY: Name = Name([0; 32]);

    /// The first 31 bytes of `text`, cut at a character.
    pub fn new(text: &str) -> Name {
        let mut name = Name::EMPTY;
        let text = text.get(..text.floor_char_boundary(31)).unwrap_or_default();
        name.0.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        name
    }

    /// The bytes before the first zero.
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bytes().escape_ascii(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
