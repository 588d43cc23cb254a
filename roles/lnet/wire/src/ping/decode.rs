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

/// The first 16 bytes.
struct Head {
    order: Order,
    features: Features,
    pid: u32,
    /// Number of 16-byte entries, loopback included.
    count: u32,
}

impl Head {
    fn decode(bytes: &[u8]) -> Result<Head, PingError> {
        const SWAPPED: u32 = MAGIC.swap_bytes();
        let bytes: &[u8; HEADER] = bytes.first_chunk().ok_or(PingError::TooShort(bytes.len()))?;
        let order = match Reader::new(bytes, Order::Little).u32() {
            MAGIC => Order::Little,
            SWAPPED => Order::Big,
            other => return Err(PingError::Magic(other)),
        };
        let mut fields = Reader::new(bytes, order);
        let _magic = fields.u32();
        let head = Head { order, features: Features(fields.u32()), pid: fields.u32(), count: fields.u32() };
        match head.features.contains(Features::NI_STATUS) {
            true => Ok(head),
            false => Err(PingError::NoStatus(head.features)),
        }
    }
}

impl PingInfo {
    /// Reads ping information with at most `max_entries` 16-byte entries, loopback included. What follows the
    /// information is ignored, metadata too.
    pub fn decode(bytes: &[u8], max_entries: u32) -> Result<PingInfo, PingError> {
        let Head { order, features, pid, count } = Head::decode(bytes)?;
        if count == 0 || count > max_entries {
            return Err(PingError::Count { entries: count, maximum: max_entries });
        }
        let end_of_small = (count as usize).saturating_mul(ENTRY).saturating_add(HEADER);
        let first = bytes.get(HEADER..HEADER + ENTRY).ok_or(PingError::Truncated { needed: end_of_small })?;
        let mut fields = Reader::new(first, order);
        let (loopback, sequence, total) = (fields.u64(), fields.u32(), fields.u32());
        if loopback != LOOPBACK_NID4 {
            return Err(PingError::NotLoopback(loopback));
        }
        let end = if features.contains(Features::LARGE_ADDR) { total as usize } else { end_of_small };
        if end < end_of_small {
            return Err(PingError::TotalLength(total));
        }
        let truncated = PingError::Truncated { needed: end };
        let small = bytes.get(HEADER + ENTRY..end_of_small).ok_or(truncated)?;
        let large = bytes.get(end_of_small..end).ok_or(truncated)?;
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

/// Reads large entries to the last byte.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> PingInfo {
        let entry = |text: &str, status| Entry { nid: text.parse().unwrap(), status };
        let entries = vec![
            entry("10.0.0.1@tcp", Status::Up),
            entry("10.0.0.1@tcp1", Status::Down),
            entry("2001:db8::1@tcp", Status::Up),
        ];
        PingInfo::new(Features::ROUTER | Features::LARGE_ADDR, 5, entries)
    }

    /// The encoded information with some bytes replaced, decoded.
    fn with(offset: usize, replacement: &[u8]) -> Result<PingInfo, PingError> {
        let mut bytes = info().encode();
        bytes[offset..offset + replacement.len()].copy_from_slice(replacement);
        PingInfo::decode(&bytes, 200)
    }

    #[test]
    fn rejections() {
        assert_eq!(with(0, &[0; 4]), Err(PingError::Magic(0)));
        assert_eq!(with(4, &[0x18]), Err(PingError::NoStatus(Features(0x18))));
        assert_eq!(with(12, &[0]), Err(PingError::Count { entries: 0, maximum: 200 }));
        assert_eq!(with(12, &[201]), Err(PingError::Count { entries: 201, maximum: 200 }));
        assert_eq!(with(16, &[1]), Err(PingError::NotLoopback(0x0009_0000_0000_0001)));
        assert_eq!(with(28, &[63]), Err(PingError::TotalLength(63)));
        assert_eq!(with(28, &[84]), Err(PingError::LargeEntry(0)), "cut off within");
        assert_eq!(with(68, &[13]), Err(PingError::LargeEntry(0)));
        assert_eq!(PingInfo::decode(&info().encode()[..15], 200), Err(PingError::TooShort(15)));
        assert_eq!(PingInfo::decode(&[], 200), Err(PingError::TooShort(0)));
    }

    /// A peer that asked for too few bytes learns how many it needs.
    #[test]
    fn truncation() {
        let bytes = info().encode();
        assert_eq!(bytes.len(), 88);
        for len in 16..88 {
            let needed = if len < 32 { 64 } else { 88 };
            assert_eq!(PingInfo::decode(&bytes[..len], 200), Err(PingError::Truncated { needed }), "{len}");
        }
        assert_eq!(with(12, &[100]), Err(PingError::TotalLength(88)));
        assert_eq!(with(28, &[0xff; 4]), Err(PingError::Truncated { needed: u32::MAX as usize }));
    }

    #[test]
    fn unknown_features_and_what_follows_are_ignored() {
        let mut bytes = info().encode();
        bytes[5] = 0xff;
        bytes.extend([0xee; 44]);
        let decoded = PingInfo::decode(&bytes, 4).unwrap();
        assert_eq!((decoded.entries, decoded.features), (info().entries, Features(0xff3a)));
    }

    #[test]
    fn any_status_is_kept() {
        assert_eq!(with(40, &[1, 2, 3, 4]).unwrap().entries[0].status, Status::Other(0x0403_0201));
    }

    #[test]
    fn loopback_alone() {
        let alone = PingInfo::new(Features::NI_STATUS, 1, vec![]);
        assert_eq!(PingInfo::decode(&alone.encode(), 1), Ok(alone.clone()));
        assert_eq!((alone.primary(), alone.encode().len()), (None, 32));
    }
}
