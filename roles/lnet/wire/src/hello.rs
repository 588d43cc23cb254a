//! HELLO: who is at the other end of a connection, and what the connection is for.
//!
//! LNet specification sections 3.1 to 3.6. The connector sends one right behind its request; the acceptor
//! answers with its own.

mod conn_type;
mod decode;

pub use conn_type::ConnType;
pub use decode::{HelloDecoder, HelloError, Received};

use crate::bytes::Writer;
use crate::nid::{Nid, NotExpressible};

/// Magic of versions 2 and later, and of LNet in general.
pub const MAGIC: u32 = 0x4572_6963;
/// Magic of version 1.
pub const V1_MAGIC: u32 = 0xeebc_0ded;
/// Most addresses that a HELLO may list (section 3.2).
pub const MAX_ADDRESSES: u32 = 16;
/// Type of version 1's HELLO among LNet messages (section 3.4).
const V1_TYPE: u32 = 4;

/// Dialect of a connection (section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// Bare LNet messages behind the HELLO. Nobody sends it any more.
    V1,
    /// 24-byte and 72-byte headers, single zero-copy acknowledgements.
    V2,
    /// As version 2, with ranges of acknowledgements and keepalives: what all IPv4 nodes speak.
    V3,
    /// 24-byte and 96-byte headers: IPv6 nodes.
    V4,
}

impl Version {
    /// The version's number.
    pub const fn number(self) -> u32 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 => 3,
            Version::V4 => 4,
        }
    }

    /// Length of a HELLO without address list.
    pub const fn hello_len(self) -> usize {
        match self {
            Version::V1 => 72,
            Version::V2 | Version::V3 => 56,
            Version::V4 => 80,
        }
    }

    /// Length of the LNet header on such a connection.
    pub const fn header_len(self) -> usize {
        match self {
            Version::V1 | Version::V2 | Version::V3 => crate::message::Header::SMALL,
            Version::V4 => crate::message::Header::LARGE,
        }
    }

    /// What a connector to `nid`, or an answer to an unknown version, uses: 3 where the NID fits it, else 4.
    pub const fn for_nid(nid: &Nid) -> Version {
        if nid.is_large() { Version::V4 } else { Version::V3 }
    }
}

/// A HELLO.
///
/// | field | version 1 | 2 and 3 | 4 | size |
/// |---|---|---|---|---|
/// | magic | 0 | 0 | 0 | 4 |
/// | version | 4 (major), 6 (minor) | 4 | 4 | 2 + 2, 4 |
/// | `src_nid` | 8 | 8 | 8 | 8, large 20 |
/// | `dst_nid` | | 16 | 28 | 8, large 20 |
/// | `src_pid` | 20 | 24 | 48 | 4 |
/// | `dst_pid` | 16 | 28 | 52 | 4 |
/// | type 4, payload length | 24, 28 | | | 4 each |
/// | `src_incarnation` | 32 | 32 | 56 | 8 |
/// | `dst_incarnation` | | 40 | 64 | 8 |
/// | `ctype` | 40 | 48 | 72 | 4 |
/// | number of addresses | payload length / 4 | 52 | 76 | 4 |
/// | IPv4 addresses | 72 | 56 | | 4 each |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Dialect; an answer uses the one it received.
    pub version: Version,
    /// NID of the sender's interface.
    pub src_nid: Nid,
    /// NID of the receiver's interface as the sender thinks; nobody relies on it. [`Nid::ANY`] in version 1.
    pub dst_nid: Nid,
    /// [`crate::LUSTRE_PID`].
    pub src_pid: u32,
    /// 0 or an echo; nobody relies on it.
    pub dst_pid: u32,
    /// One life of the sender's interface.
    pub src_incarnation: u64,
    /// 0 or an echo; nobody relies on it.
    pub dst_incarnation: u64,
    /// What the connection is for, as the sender sees it.
    pub ctype: ConnType,
    /// How many IPv4 addresses the sender listed; they are read and discarded. We always send 0.
    pub ips: u32,
}

impl Hello {
    /// The longest HELLO that is sent.
    pub const MAX_LEN: usize = 80;

    /// Writes the HELLO, without address list, and returns the part of `room` that holds it.
    ///
    /// # Errors
    ///
    /// A NID with more than 4 address bytes needs version 4.
    pub fn encode<'a>(&self, room: &'a mut [u8; Hello::MAX_LEN]) -> Result<&'a [u8], NotExpressible> {
        let mut out = Writer::new(room);
        match self.version {
            Version::V1 => {
                let src = self.src_nid.nid4().ok_or(NotExpressible)?;
                out.u32(V1_MAGIC).u16(1).u16(0).u64(src).u32(self.dst_pid).u32(self.src_pid);
                out.u32(V1_TYPE).u32(0).u64(self.src_incarnation).u32(self.ctype.to_wire());
                out.pad_to(Version::V1.hello_len());
            }
            Version::V2 | Version::V3 => {
                let src = self.src_nid.nid4().ok_or(NotExpressible)?;
                let dst = self.dst_nid.nid4().ok_or(NotExpressible)?;
                out.u32(MAGIC).u32(self.version.number()).u64(src).u64(dst);
                self.encode_tail(&mut out);
            }
            Version::V4 => {
                out.u32(MAGIC).u32(4).bytes(&self.src_nid.large()).bytes(&self.dst_nid.large());
                self.encode_tail(&mut out);
            }
        }
        Ok(room.get(..self.version.hello_len()).unwrap_or_default())
    }

    /// What versions 2 to 4 have behind the NIDs.
    fn encode_tail(&self, out: &mut Writer<'_>) {
        out.u32(self.src_pid).u32(self.dst_pid).u64(self.src_incarnation).u64(self.dst_incarnation);
        out.u32(self.ctype.to_wire()).u32(0);
    }
}
