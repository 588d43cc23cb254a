//! What is kept on the volume for crash recovery: the state number, and a record for each host with locks.
//!
//! | file | content |
//! |---|---|
//! | `nfs-sm-state` | magic `NSM1`, state number, reclaim floor |
//! | `nfs-sm-00` ... `nfs-sm-3f` | magic `NSP1`, then a list (RFC 4506 section 4.19) of records |
//!
//! All of it is XDR. A host's record is in the file that the hash of its address chooses, so that a new host
//! costs one small write whatever their number.

use crate::siphash::siphash24;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use keelson_oncrpc::{Buffer, DecodeError, Decoder, Encoder};

/// The file with the numbers.
pub(super) const STATE_FILE: &str = "nfs-sm-state";
/// `NSM1`.
const STATE_MAGIC: u32 = 0x4e53_4d31;
/// `NSP1`.
const PEERS_MAGIC: u32 = 0x4e53_5031;

/// Files that the records are spread over.
pub(super) const BUCKETS: usize = 64;
/// Largest state file of a volume.
const MAX_FILE: usize = 64 * 1024;
/// Longest name that is kept; the rest of a longer one is cut off.
pub(super) const MAX_NAME: usize = 255;
/// Bytes of a record besides its name's: list flag, two addresses, length and padding, three numbers.
const RECORD_HEAD: usize = 4 + 16 + 16 + 4 + 3 + 4 + 4 + 8;
/// Bytes of a file besides its records: magic and end of list.
const FILE_HEAD: usize = 8;

/// Spreads addresses; nothing depends on its being secret.
const BUCKET_KEY: [u64; 2] = [0x6b65_656c_736f_6e31, 0x6e73_6d2d_7065_6572];

/// The numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Numbers {
    /// NSM state number: odd while this server is up. 0: never started.
    pub state: u32,
    /// Records of lives before this one do not entitle to reclaim locks: the grace period after that life
    /// ended, and others may have got the locks.
    pub floor: u32,
}

impl Numbers {
    pub fn encode(self) -> Vec<u8> {
        [STATE_MAGIC, self.state, self.floor].into_iter().flat_map(u32::to_be_bytes).collect()
    }

    pub fn decode(bytes: &[u8]) -> Result<Numbers, DecodeError> {
        let mut input = Decoder::new(bytes);
        expect(&mut input, STATE_MAGIC)?;
        let numbers = Numbers { state: input.u32()?, floor: input.u32()? };
        input.finish().map(|()| numbers)
    }

    /// The state number of the next life: the next odd one (X/Open XNFS chapter 11).
    pub fn next_state(self) -> u32 {
        // It is signed on the wire, and 0 means "none".
        self.state.wrapping_add(if self.state.is_multiple_of(2) { 1 } else { 2 }) & 0x7fff_ffff | 1
    }
}

/// A host that has or had locks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRecord {
    /// Where its calls come from.
    pub address: IpAddr,
    /// Our address that it calls: notices of our restart leave from there.
    pub local: IpAddr,
    /// What it calls itself, at most 255 bytes, not to be trusted.
    pub name: Vec<u8>,
    /// Its state number as it was last heard; 0: it never said.
    pub state: u32,
    /// Our state number when it last got its first lock.
    pub life: u32,
    /// Seconds since 1970 when that was, for people.
    pub since: u64,
}

impl PeerRecord {
    /// Most bytes it takes in a file.
    pub fn stored_len(&self) -> usize {
        RECORD_HEAD + self.name.len()
    }

    fn encode(&self, out: &mut Encoder) {
        out.bool(true);
        out.fixed(&octets(self.address));
        out.fixed(&octets(self.local));
        out.opaque(&self.name);
        out.u32(self.state);
        out.u32(self.life);
        out.u64(self.since);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<PeerRecord, DecodeError> {
        Ok(PeerRecord {
            address: address(input.array()?),
            local: address(input.array()?),
            name: input.opaque(MAX_NAME)?.to_vec(),
            state: input.u32()?,
            life: input.u32()?,
            since: input.u64()?,
        })
    }
}

/// Whether records of that many bytes fit one file.
pub(super) fn fits(records: usize) -> bool {
    FILE_HEAD + records <= MAX_FILE
}

/// The content of a file.
pub(super) fn encode_peers<'a>(records: impl Iterator<Item = &'a PeerRecord> + Clone) -> Vec<u8> {
    let len = FILE_HEAD + records.clone().map(PeerRecord::stored_len).sum::<usize>();
    let mut out = Encoder::new(Buffer::unpooled(len), 0);
    out.u32(PEERS_MAGIC);
    records.for_each(|record| record.encode(&mut out));
    out.bool(false);
    out.written().to_vec()
}

/// The records of a file as far as they can be read, and what is wrong with the rest.
pub(super) fn decode_peers(bytes: &[u8]) -> (Vec<PeerRecord>, Result<(), DecodeError>) {
    let mut records = Vec::new();
    let mut input = Decoder::new(bytes);
    let mut read = || {
        expect(&mut input, PEERS_MAGIC)?;
        while input.bool()? {
            records.push(PeerRecord::decode(&mut input)?);
        }
        input.finish()
    };
    let result = read();
    (records, result)
}

fn expect(input: &mut Decoder<'_>, magic: u32) -> Result<(), DecodeError> {
    match input.u32()? {
        found if found == magic => Ok(()),
        found => Err(DecodeError::BadValue(found)),
    }
}

/// The file that a host's record is in.
pub(super) fn bucket_of(address: IpAddr) -> usize {
    (siphash24(BUCKET_KEY, &octets(address)) % BUCKETS as u64) as usize
}

/// Its name.
pub(super) fn bucket_name(bucket: usize) -> String {
    format!("nfs-sm-{bucket:02x}")
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(address: &str, name: &[u8]) -> PeerRecord {
        PeerRecord {
            address: address.parse().expect("an address"),
            local: "fd00::1".parse().expect("an address"),
            name: name.to_vec(),
            state: 7,
            life: 3,
            since: 1_767_225_600,
        }
    }

    #[test]
    fn numbers_are_odd_and_rise() {
        let mut numbers = Numbers::default();
        for expected in [1, 3, 5] {
            numbers.state = numbers.next_state();
            assert_eq!(numbers.state, expected);
            assert_eq!(Numbers::decode(&numbers.encode()), Ok(numbers));
        }
        assert_eq!(Numbers { state: 6, floor: 0 }.next_state(), 7);
        assert_eq!(Numbers { state: 0x7fff_ffff, floor: 0 }.next_state(), 1);
        assert_eq!(Numbers { state: u32::MAX, floor: 0 }.next_state() % 2, 1);
    }

    #[test]
    fn a_file_holds_what_it_was_promised_to() {
        let longest = record("10.0.0.1", &[b'x'; MAX_NAME]);
        let count = (MAX_FILE - FILE_HEAD) / longest.stored_len();
        assert!(count > 150, "{count}");
        assert!(fits(count * longest.stored_len()) && !fits((count + 1) * longest.stored_len()));
        let records = alloc::vec![longest; count];
        let bytes = encode_peers(records.iter());
        assert!(bytes.len() <= MAX_FILE);
        assert_eq!(decode_peers(&bytes), (records, Ok(())));
    }

    #[test]
    fn a_damaged_file_gives_what_is_whole() {
        let records = [record("10.0.0.1", b"one"), record("fd00::2", b"two")];
        let mut bytes = encode_peers(records.iter());
        let (found, result) = decode_peers(&bytes[..bytes.len() - 12]);
        assert_eq!((found, result), (records[..1].to_vec(), Err(DecodeError::Truncated)));
        bytes[0] = 0;
        assert!(decode_peers(&bytes).1.is_err());
        assert_eq!(decode_peers(&[]), (Vec::new(), Err(DecodeError::Truncated)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_peers(&bytes);
            let _ = Numbers::decode(&bytes);
            let framed = [&PEERS_MAGIC.to_be_bytes()[..], &[0, 0, 0, 1], &bytes].concat();
            let _ = decode_peers(&framed);
        }

        #[test]
        fn addresses_have_one_place(octets: [u8; 4]) {
            let v4 = IpAddr::from(octets);
            prop_assert_eq!(address(super::octets(v4)), v4);
            prop_assert!(bucket_of(v4) < BUCKETS);
        }
    }
}
