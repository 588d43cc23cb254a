//! Payload of TCS_INIT: who opens a connection, and to whom (section 6.2).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 x 4 | offsets of source name, source domain, destination name, destination domain |
//! | 8 | | strings with NUL; the offsets count from here |
//! | behind all strings | 10 | only from nodes of this project: [`SHARES_ACKS`], to which no offset leads |

use crate::endian::Endian;
use crate::layout::{Short, layout, until_nul};
use crate::names::{self, NameError};
use crate::out::{NoRoom, Out, len16};
use core::cell::Cell;
use core::fmt;

/// What stands behind the strings when the opener reads ACKs that are shared: see [`crate::l4::SHARED_ACK`]. Not in QNX's
/// protocol; who does not know it does not see it.
pub const SHARES_ACKS: &[u8; 10] = b"shared-ack";

layout! {
    struct Offsets: 8, "TCS_INIT" {
        0 src_name: u16,
        2 src_domain: u16,
        4 dst_name: u16,
        6 dst_domain: u16,
    }
}

/// Why a TCS_INIT is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// It ends before the strings.
    Short(Short),
    /// A string starts behind the end.
    Offset {
        /// Which one.
        field: &'static str,
        /// Where it should start, from the front of the string area.
        offset: u16,
        /// Length of the string area.
        area: usize,
    },
    /// A string has no NUL.
    Unterminated {
        /// Which one.
        field: &'static str,
        /// Where it starts.
        offset: u16,
    },
    /// A string is no name.
    Name {
        /// Which one.
        field: &'static str,
        /// Why.
        error: NameError,
    },
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitError::Short(short) => short.fmt(f),
            InitError::Offset { field, offset, area } => {
                write!(f, "TCS_INIT {field} at {offset} is outside the string area of {area} bytes")
            }
            InitError::Unterminated { field, offset } => {
                write!(f, "TCS_INIT {field} at {offset} has no NUL")
            }
            InitError::Name { field, error } => write!(f, "TCS_INIT {field}: {error}"),
        }
    }
}

impl core::error::Error for InitError {}

/// The names in a TCS_INIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Init<'a> {
    /// The opener's name.
    pub src_name: &'a str,
    /// The opener's domain, or empty.
    pub src_domain: &'a str,
    /// The name of the node it wants.
    pub dst_name: &'a str,
    /// The domain of the node it wants, or empty.
    pub dst_domain: &'a str,
    /// Whether it reads ACKs that are shared ([`SHARES_ACKS`]).
    pub shares_acks: bool,
}

impl<'a> Init<'a> {
    /// Reads a payload.
    pub fn decode(payload: &'a [u8], endian: Endian) -> Result<Init<'a>, InitError> {
        let offsets = Offsets::decode(payload, endian).map_err(InitError::Short)?;
        let area = payload.get(Offsets::LEN..).unwrap_or_default();
        let end = Cell::new(0);
        let string = |field, offset: u16| {
            let outside = InitError::Offset { field, offset, area: area.len() };
            let bytes = area.get(usize::from(offset)..).filter(|rest| !rest.is_empty()).ok_or(outside)?;
            let text = until_nul(bytes);
            if text.len() == bytes.len() {
                return Err(InitError::Unterminated { field, offset });
            }
            end.set(end.get().max(usize::from(offset) + text.len() + 1));
            Ok(text)
        };
        let name = |field, bytes| names::node_name(bytes).map_err(|error| InitError::Name { field, error });
        let domain = |field, bytes: &'a [u8]| match bytes.is_empty() {
            true => Ok(""),
            false => names::domain(bytes).map_err(|error| InitError::Name { field, error }),
        };
        Ok(Init {
            src_name: name("src_name", string("src_name", offsets.src_name)?)?,
            src_domain: domain("src_domain", string("src_domain", offsets.src_domain)?)?,
            dst_name: name("dst_name", string("dst_name", offsets.dst_name)?)?,
            dst_domain: domain("dst_domain", string("dst_domain", offsets.dst_domain)?)?,
            shares_acks: area.get(end.get()..) == Some(SHARES_ACKS),
        })
    }

    /// Writes the payload and returns its length.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let src_domain = self.src_name.len() + 1;
        let dst_name = src_domain + self.src_domain.len() + 1;
        let dst_domain = dst_name + self.dst_name.len() + 1;
        let offsets = Offsets {
            src_name: 0,
            src_domain: len16(src_domain),
            dst_name: len16(dst_name),
            dst_domain: len16(dst_domain),
        };
        let mut out = Out::new(room, endian);
        out.put(&offsets);
        for text in [self.src_name, self.src_domain, self.dst_name, self.dst_domain] {
            out.string(text.as_bytes());
        }
        if self.shares_acks {
            out.bytes(SHARES_ACKS);
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: Init =
        Init { src_name: "a", src_domain: "", dst_name: "bc", dst_domain: "d", shares_acks: false };

    fn with(at: usize, value: u8) -> Result<(), InitError> {
        let mut bytes = [0; 16];
        assert_eq!(INIT.emit(&mut bytes, Endian::Little), Ok(16));
        bytes[at] = value;
        Init::decode(&bytes, Endian::Little).map(drop)
    }

    #[test]
    fn rejections() {
        assert_eq!(with(0, 0), Ok(()));
        assert_eq!(with(0, 8), Err(InitError::Offset { field: "src_name", offset: 8, area: 8 }));
        assert_eq!(with(5, 0xff), Err(InitError::Offset { field: "dst_name", offset: 0xff03, area: 8 }));
        assert_eq!(with(15, b'x'), Err(InitError::Unterminated { field: "dst_domain", offset: 6 }));
        let error = NameError::Character { byte: b'.', position: 0 };
        assert_eq!(with(8, b'.'), Err(InitError::Name { field: "src_name", error }));
        assert_eq!(with(11, 0), Err(InitError::Name { field: "dst_name", error: NameError::Empty }));
        assert!(matches!(Init::decode(&[0; 7], Endian::Big), Err(InitError::Short(_))));
        assert_eq!(INIT.emit(&mut [0; 15], Endian::Big), Err(NoRoom { need: 16, have: 15 }));
    }

    #[test]
    fn shared_acks_are_said_behind_the_strings() {
        let init = Init { shares_acks: true, ..INIT };
        let mut bytes = [0; 27];
        assert_eq!(init.emit(&mut bytes, Endian::Little), Ok(26));
        let shares = |bytes: &[u8]| Init::decode(bytes, Endian::Little).unwrap().shares_acks;
        assert_eq!(Init::decode(&bytes[..26], Endian::Little), Ok(init));
        assert!(!shares(&bytes[..25]) && !shares(&bytes) && !shares(&bytes[..16]));
        bytes[16] = b'S';
        assert!(!shares(&bytes[..26]));
    }
}
