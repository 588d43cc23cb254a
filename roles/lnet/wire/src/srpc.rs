//! RPCs of LNet selftest: sessions, batches, statistics, and the ping and bulk tests.
//!
//! LNet specification section 7. Each message is the 160-byte payload of a PUT; sent little-endian, received
//! in either order.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic 0xeeb0f00d |
//! | 4 | 4 | version 1 |
//! | 8 | 4 | type |
//! | 12 | 8 | zero |
//! | 20 | 4 | features of the session |
//! | 24 | 136 | body: of a request the reply's match bits first (8), of a reply the status first (4) |

mod counters;
mod destinations;
mod pattern;
mod reply;
mod request;
mod service;
mod session;
mod test;

pub use counters::{FrameworkCounters, LnetCounters, RpcCounters};
pub use destinations::{
    DESTINATION_LEN, DestinationsError, MAX_DESTINATIONS, decode_destinations, encode_destinations,
};
pub use pattern::{Check, Corrupted, PATTERN, POISON, fill, verify};
pub use reply::Reply;
pub use request::{BatchOpcode, BrwDirection, Request};
pub use service::Service;
pub use session::{Name, SessionId};
pub use test::{Test, TestParameters};

use crate::bytes::{Order, Reader, Writer};
use crate::message::{Put, Wmd};
use core::fmt;

/// Length of every message.
pub const LEN: usize = 160;
/// First field of every message.
pub const MAGIC: u32 = 0xeeb0_f00d;
/// The only version there is; any other is answered with [`status::EPROTO`].
pub const VERSION: u32 = 1;
/// Portal of requests to [`Service::Brw`] and [`Service::Ping`] (section 7.1).
pub const TEST_PORTAL: u32 = 50;
/// Portal of requests to all other services.
pub const FRAMEWORK_PORTAL: u32 = 51;
/// Portal of replies and of bulk data.
pub const REPLY_PORTAL: u32 = 52;
/// Feature: bulk tests are described by length and offset, not by pages.
pub const BULK_LEN: u32 = 1;
/// Seconds without any request to the framework after which a session ends (section 7.1).
pub const SESSION_TIMEOUT_S: u32 = 100;
/// Seconds within which an RPC must be complete (section 7.1).
pub const RPC_TIMEOUT_S: u32 = 64;

/// Values of a reply's status: Linux error numbers, 0 for success (section 7.2).
pub mod status {
    /// Success.
    pub const OK: u32 = 0;
    /// No such batch or test.
    pub const ENOENT: u32 = 2;
    /// No such session.
    pub const ESRCH: u32 = 3;
    /// Another session, or a batch that is running.
    pub const EBUSY: u32 = 16;
    /// An argument outside its range.
    pub const EINVAL: u32 = 22;
    /// Wrong version or features.
    pub const EPROTO: u32 = 71;
    /// The data of a bulk test are not those that were sent.
    pub const EBADMSG: u32 = 74;
}

/// The two directions of an RPC.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Body {
    /// From the client.
    Request {
        /// Match bits at [`REPLY_PORTAL`] under which the reply is expected.
        rpyid: u64,
        /// What is asked.
        request: Request,
    },
    /// From the server.
    Reply {
        /// See [`status`].
        status: u32,
        /// What is answered; all fields are there whatever the status.
        reply: Reply,
    },
}

/// A message.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Message {
    /// [`VERSION`], unless received from something unknown.
    pub version: u32,
    /// Features of the session, such as [`BULK_LEN`].
    pub features: u32,
    /// Request or reply.
    pub body: Body,
}

/// A message that has arrived.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Received {
    /// Its contents, in our byte order.
    pub message: Message,
    /// The sender has the other byte order: so have its destination lists and test data.
    pub swapped: bool,
}

/// Why a payload is no message. Nothing is answered to these (section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrpcError {
    /// Not 160 bytes.
    Length(usize),
    /// Wrong magic, read as little-endian.
    Magic(u32),
    /// A type of no service here.
    UnknownType(u32),
}

impl fmt::Display for SrpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SrpcError::Length(len) => write!(f, "selftest message of {len} bytes, {LEN} are expected"),
            SrpcError::Magic(magic) => write!(f, "selftest message with unknown magic {magic:#010x}"),
            SrpcError::UnknownType(number) => write!(f, "selftest message of unknown type {number}"),
        }
    }
}

impl core::error::Error for SrpcError {}

impl Message {
    /// A request that expects its reply under `rpyid`.
    pub const fn request(features: u32, rpyid: u64, request: Request) -> Message {
        Message { version: VERSION, features, body: Body::Request { rpyid, request } }
    }

    /// A reply.
    pub const fn reply(features: u32, status: u32, reply: Reply) -> Message {
        Message { version: VERSION, features, body: Body::Reply { status, reply } }
    }

    /// Which service the message is to or from.
    pub const fn service(&self) -> Service {
        match &self.body {
            Body::Request { request, .. } => request.service(),
            Body::Reply { reply, .. } => reply.service(),
        }
    }

    /// The message as sent, little-endian.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut out = Writer::new(&mut bytes);
        let (_, request_type, reply_type) = self.service().numbers();
        let number = if matches!(self.body, Body::Request { .. }) { request_type } else { reply_type };
        out.u32(MAGIC).u32(self.version).u32(number).u64(0).u32(self.features);
        match &self.body {
            Body::Request { rpyid, request } => request.encode(out.u64(*rpyid)),
            Body::Reply { status, reply } => reply.encode(out.u32(*status)),
        }
        bytes
    }

    /// Reads a payload. Any version is read alike, so that it can be answered.
    pub fn decode(payload: &[u8]) -> Result<Received, SrpcError> {
        let bytes: &[u8; LEN] = payload.try_into().map_err(|_| SrpcError::Length(payload.len()))?;
        const SWAPPED: u32 = MAGIC.swap_bytes();
        let swapped = match Reader::new(bytes, Order::Little).u32() {
            MAGIC => false,
            SWAPPED => true,
            other => return Err(SrpcError::Magic(other)),
        };
        let mut fields = Reader::new(bytes, Order::of(swapped));
        let _magic = fields.u32();
        let (version, number, _reserved, features) = (fields.u32(), fields.u32(), fields.u64(), fields.u32());
        let of_type = |service: &Service| {
            let (_, request, reply) = service.numbers();
            request == number || reply == number
        };
        let service = Service::ALL.into_iter().find(of_type).ok_or(SrpcError::UnknownType(number))?;
        let body = if service.numbers().1 == number {
            Body::Request { rpyid: fields.u64(), request: Request::decode(service, features, &mut fields) }
        } else {
            Body::Reply { status: fields.u32(), reply: Reply::decode(service, &mut fields) }
        };
        Ok(Received { message: Message { version, features, body }, swapped })
    }
}

impl Put {
    /// Carries a message or bulk data of selftest: no ACK is wanted (section 7.1).
    pub const fn selftest(portal: u32, match_bits: u64) -> Put {
        Put { ack_wmd: Wmd::NONE, match_bits, hdr_data: 0, portal, offset: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_portals() {
        for service in Service::ALL {
            assert_eq!(Service::from_number(service.number()), Some(service));
        }
        assert_eq!(Service::from_number(6), None);
        assert_eq!((Service::QueryStat.portal(), Service::Brw.portal()), (51, 50));
    }

    #[test]
    fn what_is_no_message() {
        let bytes = Message::reply(0, 0, Reply::Brw).encode();
        assert_eq!(Message::decode(&bytes[..159]), Err(SrpcError::Length(159)));
        assert_eq!(Message::decode(&[0; 161]), Err(SrpcError::Length(161)));
        assert_eq!(Message::decode(&[0; LEN]), Err(SrpcError::Magic(0)));
        let mut unknown = bytes;
        unknown[8] = 16;
        assert_eq!(Message::decode(&unknown), Err(SrpcError::UnknownType(16)));
    }

    #[test]
    fn bulk_tests_are_judged_before_they_are_sent() {
        let check = |features, direction, len, flags| {
            Request::Brw { bulkid: 0, direction, len, flags }.check_brw(features)
        };
        let read = BrwDirection::Read;
        assert_eq!(check(1, read, 8, 1), Ok(()));
        assert_eq!(check(1, BrwDirection::Write, 1 << 20, 3), Ok(()));
        assert_eq!(check(0, read, 8192, 2), Ok(()));
        assert_eq!(check(2, read, 8, 1), Err(status::EPROTO));
        let wrong = [
            (1, BrwDirection::Unknown(3), 8, 1),
            (1, read, 0, 1),
            (1, read, 12, 1),
            (1, read, (1 << 20) + 8, 1),
            (1, read, 8, 0),
            (1, read, 8, 4),
            (0, read, 4104, 1),
        ];
        for (features, direction, len, flags) in wrong {
            assert_eq!(
                check(features, direction, len, flags),
                Err(status::EINVAL),
                "{direction:?} {len} {flags}"
            );
        }
    }

    #[test]
    fn names() {
        assert_eq!(Name::new("cap").to_string(), "cap");
        let long = Name::new("0123456789012345678901234567890123456789");
        assert_eq!((long.bytes().len(), long.0[31]), (31, 0));
        assert_eq!(Name::new("012345678901234567890123456789ü").bytes().len(), 30, "no half characters");
        assert_eq!(Name([0x1b; 32]).to_string().len(), 32 * 4, "escaped");
    }
}
