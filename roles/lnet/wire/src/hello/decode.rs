//! Reading a HELLO as its bytes arrive.

use super::{ConnType, Hello, MAGIC, MAX_ADDRESSES, V1_MAGIC, V1_TYPE, Version};
use crate::acceptor;
use crate::bytes::{Gather, Order, Reader};
use crate::nid::Nid;
use core::fmt;

/// The longest HELLO that is accepted: version 1 with 16 addresses.
const LONGEST: usize = 72 + 4 * MAX_ADDRESSES as usize;

/// A HELLO that has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its contents, in our byte order.
    pub hello: Hello,
    /// The sender has the other byte order: so have the 24-byte headers of all its messages, but not the LNet
    /// headers (section 3.2).
    pub swapped: bool,
}

/// Why bytes are no HELLO that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HelloError {
    /// The first four bytes, read as little-endian, are not a magic of ours.
    Magic(u32),
    /// A version that is not known. An acceptor answers with its own HELLO and [`ConnType::None`], then
    /// closes.
    Version(u32),
    /// Version 1: the message behind the magic is not a HELLO, or its length is no multiple of 4.
    NotHello,
    /// The sender's NID is "any", or malformed.
    SourceNid,
    /// Malformed destination NID.
    DestinationNid,
    /// A connection type that is not known.
    ConnType(u32),
    /// More than 16 addresses are announced.
    TooManyAddresses(u32),
    /// An address of the list is zero; counted from 0.
    ZeroAddress(usize),
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::Magic(acceptor::MAGIC) => f.write_str("the peer refused the connection request"),
            HelloError::Magic(magic) => write!(f, "HELLO with unknown magic {magic:#010x}"),
            HelloError::Version(version) => write!(f, "HELLO of unknown version {version}"),
            HelloError::NotHello => f.write_str("HELLO of version 1 is malformed"),
            HelloError::SourceNid => f.write_str("HELLO from no usable NID"),
            HelloError::DestinationNid => f.write_str("HELLO to a malformed NID"),
            HelloError::ConnType(number) => {
                write!(f, "HELLO with unknown connection type {}", *number as i32)
            }
            HelloError::TooManyAddresses(count) => {
                write!(f, "HELLO lists {count} addresses, at most {MAX_ADDRESSES} are allowed")
            }
            HelloError::ZeroAddress(index) => write!(f, "address {index} of a HELLO is zero"),
        }
    }
}

impl core::error::Error for HelloError {}

/// Which of the layouts the bytes have.
#[derive(Clone, Copy)]
struct Layout {
    version: Version,
    order: Order,
}

/// Reads one HELLO as its bytes arrive.
#[derive(Clone, Debug)]
pub struct HelloDecoder {
    gather: Gather<LONGEST>,
}

impl Default for HelloDecoder {
    fn default() -> Self {
        HelloDecoder::new()
    }
}

impl HelloDecoder {
    /// Starts at the first byte of a HELLO.
    pub const fn new() -> HelloDecoder {
        HelloDecoder { gather: Gather::new() }
    }

    /// Bytes that must arrive before anything more can be decided; never more than belong to the HELLO.
    /// 0 once the HELLO is complete or refused.
    pub fn need(&self) -> usize {
        self.target().map_or(0, |target| target.saturating_sub(self.gather.bytes().len()))
    }

    /// Takes bytes from the front of `input`, at most those of the HELLO, and returns it once complete.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Received>, HelloError> {
        loop {
            let target = self.target()?;
            if self.gather.bytes().len() >= target {
                return self.complete().map(Some);
            }
            if !self.gather.fill(target, input) {
                return Ok(None);
            }
        }
    }

    /// How long the HELLO is as far as its bytes tell. The first 8 decide on the version.
    fn target(&self) -> Result<usize, HelloError> {
        let bytes = self.gather.bytes();
        let Some(first) = bytes.first_chunk::<8>() else {
            return Ok(8);
        };
        let layout = layout(first)?;
        let fixed = layout.version.hello_len();
        if bytes.len() < fixed {
            return Ok(fixed);
        }
        Ok(fixed + 4 * addresses(bytes, layout)? as usize)
    }

    fn complete(&self) -> Result<Received, HelloError> {
        let bytes = self.gather.bytes();
        let layout = layout(bytes.first_chunk::<8>().ok_or(HelloError::NotHello)?)?;
        let (fixed, list) = bytes.split_at_checked(layout.version.hello_len()).ok_or(HelloError::NotHello)?;
        if let Some(index) = list.chunks_exact(4).position(|address| address == [0; 4]) {
            return Err(HelloError::ZeroAddress(index));
        }
        let mut hello = match layout.version {
            Version::V1 => decode_v1(fixed)?,
            _ => decode_later(fixed, layout)?,
        };
        hello.ips = addresses(bytes, layout)?;
        if hello.src_nid == Nid::ANY {
            return Err(HelloError::SourceNid);
        }
        Ok(Received { hello, swapped: layout.order == Order::Big })
    }
}

fn layout(first: &[u8; 8]) -> Result<Layout, HelloError> {
    const SWAPPED: u32 = MAGIC.swap_bytes();
    let mut fields = Reader::new(first, Order::Little);
    let order = match fields.u32() {
        V1_MAGIC => {
            // Major version in the low half.
            return match fields.u32() {
                1 => Ok(Layout { version: Version::V1, order: Order::Little }),
                other => Err(HelloError::Version(other)),
            };
        }
        MAGIC => Order::Little,
        SWAPPED => Order::Big,
        other => return Err(HelloError::Magic(other)),
    };
    let mut fields = Reader::new(first.get(4..).unwrap_or_default(), order);
    match fields.u32() {
        2 => Ok(Layout { version: Version::V2, order }),
        3 => Ok(Layout { version: Version::V3, order }),
        4 => Ok(Layout { version: Version::V4, order }),
        other => Err(HelloError::Version(other)),
    }
}

/// Number of addresses behind the fixed part of `bytes`.
fn addresses(bytes: &[u8], layout: Layout) -> Result<u32, HelloError> {
    let at = |offset: usize| Reader::new(bytes.get(offset..).unwrap_or_default(), layout.order).u32();
    let count = match layout.version {
        Version::V1 if at(24) != V1_TYPE || at(28) % 4 != 0 => return Err(HelloError::NotHello),
        Version::V1 => at(28) / 4,
        Version::V2 | Version::V3 => at(52),
        // No list follows and none is read, whatever the count says (section 3.3).
        Version::V4 => 0,
    };
    if count > MAX_ADDRESSES { Err(HelloError::TooManyAddresses(count)) } else { Ok(count) }
}

fn decode_v1(fixed: &[u8]) -> Result<Hello, HelloError> {
    let mut fields = Reader::new(fixed, Order::Little);
    let _magic_and_version = fields.u64();
    let src_nid = fields.nid4();
    let (dst_pid, src_pid) = (fields.u32(), fields.u32());
    let _type_and_length = fields.u64();
    let src_incarnation = fields.u64();
    let ctype = conn_type(fields.u32())?;
    let (dst_nid, dst_incarnation) = (Nid::ANY, 0);
    let version = Version::V1;
    Ok(Hello { version, src_nid, dst_nid, src_pid, dst_pid, src_incarnation, dst_incarnation, ctype, ips: 0 })
}

fn decode_later(fixed: &[u8], layout: Layout) -> Result<Hello, HelloError> {
    let mut fields = Reader::new(fixed, layout.order);
    let _magic_and_version = fields.u64();
    let (src_nid, dst_nid) = if layout.version == Version::V4 {
        let src = Nid::from_large(&fields.array()).ok_or(HelloError::SourceNid)?;
        (src, Nid::from_large(&fields.array()).ok_or(HelloError::DestinationNid)?)
    } else {
        (fields.nid4(), fields.nid4())
    };
    Ok(Hello {
        version: layout.version,
        src_nid,
        dst_nid,
        src_pid: fields.u32(),
        dst_pid: fields.u32(),
        src_incarnation: fields.u64(),
        dst_incarnation: fields.u64(),
        ctype: conn_type(fields.u32())?,
        ips: 0,
    })
}

fn conn_type(number: u32) -> Result<ConnType, HelloError> {
    ConnType::from_wire(number).ok_or(HelloError::ConnType(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(version: Version) -> Vec<u8> {
        let nid = |text: &str| text.parse().unwrap();
        let hello = Hello {
            version,
            src_nid: nid("10.0.0.1@tcp"),
            dst_nid: nid("10.0.0.2@tcp"),
            src_pid: crate::LUSTRE_PID,
            dst_pid: 0,
            src_incarnation: 7,
            dst_incarnation: 0,
            ctype: ConnType::Control,
            ips: 0,
        };
        hello.encode(&mut [0; Hello::MAX_LEN]).unwrap().to_vec()
    }

    fn error(mut bytes: &[u8]) -> HelloError {
        HelloDecoder::new().feed(&mut bytes).unwrap_err()
    }

    /// A HELLO with some bytes replaced.
    fn with(version: Version, offset: usize, replacement: &[u8]) -> Vec<u8> {
        let mut bytes = bytes(version);
        bytes[offset..offset + replacement.len()].copy_from_slice(replacement);
        bytes
    }

    #[test]
    fn needs_are_those_of_the_layouts() {
        let cases = [(Version::V1, 64), (Version::V2, 48), (Version::V3, 48), (Version::V4, 72)];
        for (version, rest) in cases {
            let bytes = bytes(version);
            let mut decoder = HelloDecoder::new();
            assert_eq!(decoder.need(), 8);
            assert_eq!(decoder.feed(&mut &bytes[..8]), Ok(None));
            assert_eq!(decoder.need(), rest);
            assert!(decoder.feed(&mut &bytes[8..]).unwrap().is_some());
            assert_eq!(decoder.need(), 0);
        }
        let mut decoder = HelloDecoder::new();
        assert_eq!(decoder.feed(&mut &with(Version::V3, 52, &[3])[..]), Ok(None));
        assert_eq!(decoder.need(), 12, "three addresses");
    }

    #[test]
    fn what_follows_stays_in_the_stream() {
        let stream = [bytes(Version::V3), vec![0xc1; 24]].concat();
        let mut input = &stream[..];
        assert!(HelloDecoder::new().feed(&mut input).unwrap().is_some());
        assert_eq!(input, [0xc1; 24]);
    }

    #[test]
    fn versions_and_magics() {
        assert_eq!(error(&with(Version::V3, 0, &[0; 4])), HelloError::Magic(0));
        for version in [0, 1, 5, 99] {
            assert_eq!(
                error(&with(Version::V3, 4, &[version])[..8]),
                HelloError::Version(u32::from(version))
            );
        }
        let swapped = [&MAGIC.to_be_bytes()[..], &[0, 0, 0, 99]].concat();
        assert_eq!(error(&swapped), HelloError::Version(99));
        assert_eq!(error(&with(Version::V1, 6, &[1])[..8]), HelloError::Version(0x0001_0001));
        let swapped = with(Version::V1, 0, &V1_MAGIC.to_be_bytes());
        assert!(matches!(error(&swapped), HelloError::Magic(_)), "version 1 has one byte order");
    }

    #[test]
    fn addresses_are_limited_and_never_zero() {
        assert_eq!(error(&with(Version::V3, 52, &[17])), HelloError::TooManyAddresses(17));
        assert_eq!(error(&with(Version::V3, 52, &[0xff; 4])), HelloError::TooManyAddresses(u32::MAX));
        let list = |addresses: &[u8]| [&with(Version::V3, 52, &[2])[..], addresses].concat();
        assert_eq!(error(&list(&[1, 0, 0, 10, 0, 0, 0, 0])), HelloError::ZeroAddress(1));
        let received = HelloDecoder::new().feed(&mut &list(&[1, 0, 0, 10, 2, 0, 0, 10])[..]);
        assert_eq!(received.unwrap().unwrap().hello.ips, 2);
        assert_eq!(error(&with(Version::V1, 28, &[68])), HelloError::TooManyAddresses(17));
        assert_eq!(error(&with(Version::V1, 28, &[3])), HelloError::NotHello);
        assert_eq!(error(&with(Version::V1, 24, &[1])), HelloError::NotHello);
    }

    #[test]
    fn types_and_nids() {
        assert_eq!(error(&with(Version::V3, 48, &[4])), HelloError::ConnType(4));
        assert_eq!(
            error(&with(Version::V3, 48, &[0xfe, 0xff, 0xff, 0xff])),
            HelloError::ConnType(u32::MAX - 1)
        );
        assert_eq!(error(&with(Version::V3, 8, &[0xff; 8])), HelloError::SourceNid);
        assert_eq!(error(&with(Version::V4, 9, &[0xff])), HelloError::SourceNid);
        assert_eq!(error(&with(Version::V4, 8, &[13])), HelloError::SourceNid);
        assert_eq!(error(&with(Version::V4, 28, &[13])), HelloError::DestinationNid);
    }

    #[test]
    fn version_3_takes_no_large_nid() {
        let nid: Nid = "::1@tcp".parse().unwrap();
        assert_eq!((Version::for_nid(&nid), Version::for_nid(&Nid::LOOPBACK)), (Version::V4, Version::V3));
        let mut input = &bytes(Version::V3)[..];
        let hello = HelloDecoder::new().feed(&mut input).unwrap().unwrap().hello;
        let mut room = [0; Hello::MAX_LEN];
        assert!(Hello { src_nid: nid, ..hello }.encode(&mut room).is_err());
        assert!(Hello { dst_nid: nid, ..hello }.encode(&mut room).is_err());
        assert!(Hello { dst_nid: nid, version: Version::V4, ..hello }.encode(&mut room).is_ok());
    }
}
