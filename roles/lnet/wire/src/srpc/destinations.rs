//! The list of destinations of a test, which its node fetches from the console (LNet specification section
//! 7.3): entries of 12 bytes, NID in 64-bit form and PID.

use crate::bytes::{Order, Reader, Writer};
use crate::nid::{NotExpressible, ProcessId};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Length of an entry.
pub const DESTINATION_LEN: usize = 12;
/// Most destinations of a test: the entries of one 4 KiB page. Beyond it the transfer of Linux nodes is too
/// short by the padding of each page.
pub const MAX_DESTINATIONS: usize = 341;

/// Why a list cannot be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestinationsError {
    /// More than [`MAX_DESTINATIONS`].
    TooMany(usize),
    /// The length is not that of so many entries.
    Length(usize),
    /// A destination has a NID with more than 4 address bytes.
    NotExpressible,
}

impl fmt::Display for DestinationsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DestinationsError::TooMany(count) => {
                write!(f, "{count} destinations, at most {MAX_DESTINATIONS} are allowed")
            }
            DestinationsError::Length(len) => write!(f, "{len} bytes are no list of destinations"),
            DestinationsError::NotExpressible => NotExpressible.fmt(f),
        }
    }
}

impl core::error::Error for DestinationsError {}

/// The list as sent, little-endian.
pub fn encode_destinations(destinations: &[ProcessId]) -> Result<Vec<u8>, DestinationsError> {
    if destinations.len() > MAX_DESTINATIONS {
        return Err(DestinationsError::TooMany(destinations.len()));
    }
    let mut bytes = vec![0; destinations.len() * DESTINATION_LEN];
    let mut out = Writer::new(&mut bytes);
    for destination in destinations {
        let nid4 = destination.nid.nid4().ok_or(DestinationsError::NotExpressible)?;
        out.u64(nid4).u32(destination.pid);
    }
    Ok(bytes)
}

/// Reads the list of a node whose request came `swapped` or not.
pub fn decode_destinations(bytes: &[u8], swapped: bool) -> Result<Vec<ProcessId>, DestinationsError> {
    if !bytes.len().is_multiple_of(DESTINATION_LEN) {
        return Err(DestinationsError::Length(bytes.len()));
    }
    let count = bytes.len() / DESTINATION_LEN;
    if count > MAX_DESTINATIONS {
        return Err(DestinationsError::TooMany(count));
    }
    let entries = bytes.chunks_exact(DESTINATION_LEN).map(|entry| {
        let mut fields = Reader::new(entry, Order::of(swapped));
        ProcessId { nid: fields.nid4(), pid: fields.u32() }
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders() {
        let destinations: Vec<ProcessId> =
            vec!["10.0.0.1@tcp1".parse().unwrap(), "7-10.0.0.2@tcp1".parse().unwrap()];
        let bytes = encode_destinations(&destinations).unwrap();
        assert_eq!(bytes[..12], [1, 0, 0, 10, 1, 0, 2, 0, 0x39, 0x30, 0, 0]);
        assert_eq!(decode_destinations(&bytes, false).as_ref(), Ok(&destinations));
        let mut swapped = bytes;
        swapped.chunks_mut(12).for_each(|entry| {
            entry[..8].reverse();
            entry[8..].reverse();
        });
        assert_eq!(decode_destinations(&swapped, true), Ok(destinations));
    }

    #[test]
    fn limits() {
        let one: ProcessId = "10.0.0.1@tcp".parse().unwrap();
        assert_eq!(encode_destinations(&vec![one; 341]).unwrap().len(), 4092);
        assert_eq!(encode_destinations(&vec![one; 342]), Err(DestinationsError::TooMany(342)));
        assert_eq!(decode_destinations(&[0; 342 * 12], false), Err(DestinationsError::TooMany(342)));
        assert_eq!(decode_destinations(&[0; 13], false), Err(DestinationsError::Length(13)));
        let six = "::1@tcp".parse().unwrap();
        assert_eq!(encode_destinations(&[six]), Err(DestinationsError::NotExpressible));
    }
}
