//! Reading what a peer says about itself.

use super::{ENTRY, Entry, Features, HEADER, LOOPBACK_NID4, MAGIC, PingInfo, Status};
use crate::bytes::{Order, Reader};
use crate::nid::Nid;
use alloc::vec::Vec;
use core::fmt;

/// Why ping information is not accepted (section 5.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PingError {
    /// Shorter than the 16 bytes that say what it is.
    TooShort(usize),
    /// Wrong magic, read as little-endian.
    Magic(u32),
    /// [`Features::NI_STATUS`] is missing.
    NoStatus(Features),
    /// The number of entries is 0 or above what the receiver allows.
    Count {
        /// What the information says.
        entries: u32,
        /// What the receiver allows.
        maximum: u32,
    },
    /// The first entry is not the loopback NID; this is its 64-bit form.
    NotLoopback(u64),
    /// Not all of it is there. The whole needs this many bytes: ask again with more space (section 5.7).
    Truncated {
        /// Length of the whole in bytes.
        needed: usize,
    },
    /// The total length in the first entry leaves out 16-byte entries that are announced.
    TotalLength(u32),
    /// A large entry is cut off or has an address size above 12; counted from 0 among the large ones.
    LargeEntry(usize),
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PingError::TooShort(len) => write!(f, "ping information of {len} bytes is too short"),
            PingError::Magic(magic) => write!(f, "ping information with unknown magic {magic:#010x}"),
            PingError::NoStatus(features) => {
                write!(f, "ping information with features {:#x} carries no status", features.0)
            }
            PingError::Count { entries, maximum } => {
                write!(f, "ping information with {entries} entries, 1 to {maximum} are allowed")
            }
            PingError::NotLoopback(nid4) => {
                write!(f, "ping information starts with {} and not with 0@lo", Nid::from_nid4(*nid4))
            }
            PingError::Truncated { needed } => {
                write!(f, "ping information is cut off, it needs {needed} bytes")
            }
            PingError::TotalLength(total) => {
                write!(f, "ping information with a total length of {total} bytes, less than its entries")
            }
            PingError::LargeEntry(index) => write!(f, "large entry {index} of ping information is malformed"),
        }
    }
}

impl core::error::Error for PingError {}

impl PingInfo {
    /// Reads ping information with at most `max_entries` 16-byte entries, loopback included. What follows the
    /// information is ignored, metadata too.
    pub fn decode(bytes: &[u8], max_entries: u32) -> Result<PingInfo, PingError> {
        let (head, rest) = bytes.split_at_checked(HEADER).ok_or(PingError::TooShort(bytes.len()))?;
        const SWAPPED: u32 = MAGIC.swap_bytes();
        let order = match Reader::new(head, Order::Little).u32() {
            MAGIC => Order::Little,
            SWAPPED => Order::Big,
            other => return Err(PingError::Magic(other)),
        };
        let mut fields = Reader::new(head, order);
        let _magic = fields.u32();
        let (features, pid, count) = (Features(fields.u32()), fields.u32(), fields.u32());
        if !features.contains(Features::NI_STATUS) {
            return Err(PingError::NoStatus(features));
        }
        if count == 0 || count > max_entries {
            return Err(PingError::Count { entries: count, maximum: max_entries });
        }
        let small_len = (count as usize).saturating_mul(ENTRY);
        let end_of_small = HEADER.saturating_add(small_len);
        let Some(first) = rest.first_chunk::<ENTRY>() else {
            return Err(PingError::Truncated { needed: end_of_small });
        };
        let mut fields = Reader::new(first, order);
        let (loopback, sequence, total) = (fields.u64(), fields.u32(), fields.u32());
        if loopback != LOOPBACK_NID4 {
            return Err(PingError::NotLoopback(loopback));
        }
        let end = if features.contains(Features::LARGE_ADDR) { total as usize } else { end_of_small };
        if end < end_of_small {
            return Err(PingError::TotalLength(total));
        }
        let (Some(small), Some(large)) =
            (bytes.get(HEADER + ENTRY..end_of_small), bytes.get(end_of_small..end))
        else {
            return Err(PingError::Truncated { needed: end });
        };
        // Bounded by what has arrived: every entry takes 16 bytes of it, large ones 24 as a rule.
        let mut entries = Vec::with_capacity(small.len() / ENTRY + large.len() / 24);
        entries.extend(small.chunks_exact(ENTRY).map(|entry| {
            let mut fields = Reader::new(entry, order);
            Entry { nid: fields.nid4(), status: Status::from_wire(fields.u32()) }
        }));
        decode_large(large, order, &mut entries)?;
        Ok(PingInfo { features, pid, sequence, entries })
    }
}

fn decode_large(mut rest: &[u8], order: Order, entries: &mut Vec<Entry>) -> Result<(), PingError> {
    let mut index = 0;
    while !rest.is_empty() {
        let malformed = PingError::LargeEntry(index);
        let size = *rest.get(4).ok_or(malformed)?;
        let len = (usize::from(size) + 8).next_multiple_of(4);
        let (entry, after) = rest.split_at_checked(4 + len).ok_or(malformed)?;
        let mut large = [0; Nid::LARGE_LEN];
        large.get_mut(..len).ok_or(malformed)?.copy_from_slice(entry.get(4..).unwrap_or_default());
        let nid = Nid::from_large(&large).ok_or(malformed)?;
        entries.push(Entry { nid, status: Status::from_wire(Reader::new(entry, order).u32()) });
        rest = after;
        index += 1;
    }
    Ok(())
}
