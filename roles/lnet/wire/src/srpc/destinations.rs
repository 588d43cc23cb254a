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
