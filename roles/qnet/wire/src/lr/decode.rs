//! Reading LR packets.

use super::{FAMILY_MAC, Fixed, LrForm, LrKind, LrPacket, Party, Span, VERSION};
use crate::endian::Endian;
use crate::frame::Mac;
use crate::layout::{Short, until_nul};
use crate::names::{self, NameError};
use core::fmt;

/// Why an LR packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LrError {
    /// It ends before its data area.
    Short(Short),
    /// A version other than 1.
    Version(u8),
    /// Neither request nor reply.
    Kind(u8),
    /// Total length below 56 or above the payload.
    TotalLength {
        /// What it says.
        total_len: u32,
        /// Bytes of payload.
        payload: usize,
    },
    /// An item is not inside the data area.
    Item {
        /// Which one.
        field: &'static str,
        /// Its offset.
        offset: u32,
        /// Its length.
        length: u32,
        /// Length of the data area.
        area: usize,
    },
    /// A name or a domain is none; the source must have a name.
    Name {
        /// Which one.
        field: &'static str,
        /// Why.
        error: NameError,
    },
}

impl fmt::Display for LrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LrError::Short(short) => short.fmt(f),
            LrError::Version(value) => write!(f, "LR version {value} is not 1"),
            LrError::Kind(value) => write!(f, "LR type {value} is neither request (1) nor reply (2)"),
            LrError::TotalLength { total_len, payload } => {
                write!(f, "LR total length {total_len} does not fit a payload of {payload} bytes")
            }
            LrError::Item { field, offset, length, area } => {
                write!(f, "LR {field} of {length} bytes at {offset} is outside the area of {area} bytes")
            }
            LrError::Name { field, error } => write!(f, "LR {field}: {error}"),
        }
    }
}

impl core::error::Error for LrError {}

impl<'a> LrPacket<'a> {
    /// Reads a payload: the packet, and the form in which the sender writes strings and addresses.
    pub fn decode(payload: &'a [u8], endian: Endian) -> Result<(LrPacket<'a>, LrForm), LrError> {
        let fixed = Fixed::decode(payload, endian).map_err(LrError::Short)?;
        if fixed.version != VERSION {
            return Err(LrError::Version(fixed.version));
        }
        let kind = match fixed.kind {
            1 => LrKind::Request,
            2 => LrKind::Reply,
            other => return Err(LrError::Kind(other)),
        };
        let total = LrError::TotalLength { total_len: fixed.total_len, payload: payload.len() };
        let end = usize::try_from(fixed.total_len).map_err(|_| total)?;
        let area = payload.get(Fixed::LEN..end).ok_or(total)?;
        let [src_name, src_domain, src_addr, dst_name, dst_domain, dst_addr] = fixed.spans;
        let mut form = LrForm::default();
        let src_name = item("src_name", src_name, area)?;
        form.counts_nul = src_name.last() == Some(&0);
        let src_addr = item("src_addr", src_addr, area)?;
        if let ([first, FAMILY_MAC, ..], Ok(length)) = (src_addr, u8::try_from(src_addr.len())) {
            (form.address_first, form.address_len) = (*first, length.max(8));
        }
        let src = Party {
            name: name("src_name", src_name, names::node_name)?,
            domain: optional("src_domain", item("src_domain", src_domain, area)?, names::domain)?,
            mac: mac(src_addr),
        };
        let dst = Party {
            name: optional("dst_name", item("dst_name", dst_name, area)?, names::node_name)?,
            domain: optional("dst_domain", item("dst_domain", dst_domain, area)?, names::domain)?,
            mac: mac(item("dst_addr", dst_addr, area)?),
        };
        Ok((LrPacket { kind, src, dst }, form))
    }
}

fn item<'a>(field: &'static str, span: Span, area: &'a [u8]) -> Result<&'a [u8], LrError> {
    let outside = LrError::Item { field, offset: span.offset, length: span.length, area: area.len() };
    let start = usize::try_from(span.offset).map_err(|_| outside)?;
    let length = usize::try_from(span.length).map_err(|_| outside)?;
    area.get(start..).and_then(|rest| rest.get(..length)).ok_or(outside)
}

/// Names end at their length or at the first NUL.
fn name<'a>(
    field: &'static str,
    bytes: &'a [u8],
    check: fn(&[u8]) -> Result<&str, NameError>,
) -> Result<&'a str, LrError> {
    check(until_nul(bytes)).map_err(|error| LrError::Name { field, error })
}

fn optional<'a>(
    field: &'static str,
    bytes: &'a [u8],
    check: fn(&[u8]) -> Result<&str, NameError>,
) -> Result<&'a str, LrError> {
    if until_nul(bytes).is_empty() { Ok("") } else { name(field, bytes, check) }
}

/// An address item of at least eight bytes and the right family.
fn mac(item: &[u8]) -> Option<Mac> {
    match item {
        [_, FAMILY_MAC, mac @ ..] => mac.first_chunk().map(|mac| Mac(*mac)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> LrPacket<'static> {
        let src = Party { name: "alpha", domain: "lab", mac: Some(Mac([1, 2, 3, 4, 5, 6])) };
        LrPacket { kind: LrKind::Reply, src, dst: Party::default() }
    }

    fn with(at: usize, value: u8) -> Result<bool, LrError> {
        let mut bytes = [0; 88];
        assert_eq!(packet().emit(&mut bytes, Endian::Little, LrForm::default()), Ok(88));
        bytes[at] = value;
        LrPacket::decode(&bytes, Endian::Little).map(|(packet, _)| packet.src.mac.is_some())
    }

    #[test]
    fn rejections() {
        assert_eq!(with(0, 2), Err(LrError::Version(2)));
        assert_eq!(with(2, 3), Err(LrError::Kind(3)));
        assert_eq!(with(4, 55), Err(LrError::TotalLength { total_len: 55, payload: 88 }));
        assert_eq!(with(4, 89), Err(LrError::TotalLength { total_len: 89, payload: 88 }));
        let item = |field, offset, length| LrError::Item { field, offset, length, area: 32 };
        assert_eq!(with(8, 33), Err(item("src_name", 33, 6)));
        assert_eq!(with(12, 33), Err(item("src_name", 0, 33)));
        assert_eq!(with(28, 17), Err(item("src_addr", 16, 17)));
        assert_eq!(with(32, 33), Err(item("dst_name", 33, 0)));
        let error = NameError::Character { byte: b'/', position: 0 };
        assert_eq!(with(56, b'/'), Err(LrError::Name { field: "src_name", error }));
        assert_eq!(with(12, 0), Err(LrError::Name { field: "src_name", error: NameError::Empty }));
        assert!(matches!(LrPacket::decode(&[1; 55], Endian::Big), Err(LrError::Short(_))));
    }

    /// The frame's source address then stands in for it.
    #[test]
    fn addresses_of_another_kind_are_ignored() {
        assert_eq!(with(73, 2), Ok(false), "interface name");
        assert_eq!(with(28, 7), Ok(false), "too short");
        assert_eq!(with(28, 8), Ok(true));
    }

    #[test]
    fn other_forms() {
        for counts_nul in [false, true] {
            for address_len in [8, 16, 28] {
                let form = LrForm { counts_nul, address_len, address_first: 7 };
                let mut bytes = [0; 128];
                let len = packet().emit(&mut bytes, Endian::Big, form).unwrap();
                assert_eq!(LrPacket::decode(&bytes[..len], Endian::Big), Ok((packet(), form)));
            }
        }
        assert!(packet().is_announcement());
    }
}
