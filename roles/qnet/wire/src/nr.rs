//! Node resolver: is a node there, and by which number does it know a third one (section 10).

use crate::endian::Endian;
use crate::errno::Errno;
use crate::layout::{Short, layout, slice, until_nul};
use crate::nd::Nd;
use crate::out::{NoRoom, Out};
use core::fmt;

layout! {
    /// Before the name of a request; an answer has a value in its place.
    struct Remote: 4, "NR message" {
        0 kind: u8,
        1 name_len: u8,
        2 id: u16,
    }
}

/// Why an NR message is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NrError {
    /// It ends early; a name is not within the payload.
    Short(Short),
    /// A type that does not exist.
    Kind(u8),
    /// The name is not text.
    Name,
}

impl fmt::Display for NrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NrError::Short(short) => short.fmt(f),
            NrError::Kind(value) => write!(f, "NR type {value} does not exist"),
            NrError::Name => f.write_str("NR name is not text"),
        }
    }
}

impl core::error::Error for NrError {}

/// An NR message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NrMessage<'a> {
    /// Are you there?
    PingReq,
    /// Yes.
    PingAns,
    /// Which descriptor do you use for this node?
    RemoteReq {
        /// Chosen by who asks.
        id: u16,
        /// `host` or `host.domain`, perhaps with a policy; see [`crate::names::NodePath`].
        name: &'a str,
    },
    /// This one.
    RemoteAns {
        /// The request's.
        id: u16,
        /// The descriptor.
        nd: Nd,
    },
    /// None.
    RemoteError {
        /// The request's.
        id: u16,
        /// Why.
        status: Errno,
    },
}

impl<'a> NrMessage<'a> {
    /// Longest message.
    pub const MAX_LEN: usize = 4 + u8::MAX as usize;

    /// Reads a message. Bytes behind it are ignored.
    pub fn decode(payload: &'a [u8], endian: Endian) -> Result<NrMessage<'a>, NrError> {
        let kind = payload.first().ok_or(NrError::Short(Short { what: "NR message", need: 1, have: 0 }))?;
        let remote = || Remote::decode(payload, endian).map_err(NrError::Short);
        let value = || {
            let bytes = slice("NR answer", payload, 4, 8).map_err(NrError::Short)?;
            bytes.first_chunk().map(|bytes| endian.read_u32(*bytes)).ok_or(NrError::Kind(*kind))
        };
        Ok(match kind {
            0 => NrMessage::PingReq,
            1 => NrMessage::PingAns,
            2 => {
                let Remote { name_len, id, .. } = remote()?;
                let end = Remote::LEN + usize::from(name_len);
                let name = slice("NR name", payload, Remote::LEN, end).map_err(NrError::Short)?;
                let name = core::str::from_utf8(until_nul(name)).map_err(|_| NrError::Name)?;
                NrMessage::RemoteReq { id, name }
            }
            3 => NrMessage::RemoteAns { id: remote()?.id, nd: Nd(value()?) },
            4 => NrMessage::RemoteError { id: remote()?.id, status: Errno(value()? as i32) },
            other => return Err(NrError::Kind(*other)),
        })
    }

    /// Writes the message and returns its length. A name is cut to 254 bytes; its NUL is sent and counted.
    pub fn emit(&self, room: &mut [u8], endian: Endian) -> Result<usize, NoRoom> {
        let mut out = Out::new(room, endian);
        match *self {
            NrMessage::PingReq => out.put(&0u8),
            NrMessage::PingAns => out.put(&1u8),
            NrMessage::RemoteReq { id, name } => {
                let name = name.as_bytes();
                let name = name.get(..usize::from(u8::MAX) - 1).unwrap_or(name);
                // At most 255 with the NUL.
                let name_len = (name.len() + 1) as u8;
                out.put(&Remote { kind: 2, name_len, id }).string(name)
            }
            NrMessage::RemoteAns { id, nd } => out.put(&Remote { kind: 3, name_len: 0, id }).put(&nd.0),
            NrMessage::RemoteError { id, status } => {
                out.put(&Remote { kind: 4, name_len: 0, id }).put(&status.0)
            }
        };
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections() {
        let decode = |bytes| NrMessage::decode(bytes, Endian::Little);
        assert!(matches!(decode(&[]), Err(NrError::Short(_))));
        assert_eq!(decode(&[5]), Err(NrError::Kind(5)));
        assert!(matches!(decode(&[2, 3, 0, 0, b'a', b'b']), Err(NrError::Short(_))));
        assert_eq!(decode(&[2, 2, 1, 0, b'a', b'b']), Ok(NrMessage::RemoteReq { id: 1, name: "ab" }));
        assert_eq!(decode(&[2, 1, 1, 0, 0xff]), Err(NrError::Name));
        assert!(matches!(decode(&[3, 0, 1, 0, 1, 2, 3]), Err(NrError::Short(_))));
        assert_eq!(decode(&[0, 9, 9]), Ok(NrMessage::PingReq));
    }

    #[test]
    fn long_names_are_cut() {
        let name = "n".repeat(400);
        let mut bytes = [0; NrMessage::MAX_LEN];
        let len = NrMessage::RemoteReq { id: 1, name: &name }.emit(&mut bytes, Endian::Big).unwrap();
        assert_eq!(len, NrMessage::MAX_LEN);
        let expected = NrMessage::RemoteReq { id: 1, name: &name[..254] };
        assert_eq!(NrMessage::decode(&bytes, Endian::Big), Ok(expected));
    }
}
