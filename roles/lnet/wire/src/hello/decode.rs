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
    /// A version that is not known. An acceptor answers with its own HELLO and [`ConnType::None`], then closes.
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
