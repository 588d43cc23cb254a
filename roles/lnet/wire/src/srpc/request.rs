//! What clients ask (LNet specification section 7.3). Offsets are those in the body; every request has the
//! reply's match bits at 0, see [`super::Body`].

use super::{BULK_LEN, Check, Name, Service, SessionId, Test, status};
use crate::bytes::{Reader, Writer};
use crate::message::LNET_MTU;

/// Length of the pages in which bulk tests without [`BULK_LEN`] are counted.
const PAGE: u32 = 4096;

/// A request.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Request {
    /// 28 bytes.
    Debug {
        /// At 8.
        session: SessionId,
        /// At 24.
        flags: u32,
    },
    /// 60 bytes.
    MakeSession {
        /// At 8.
        session: SessionId,
        /// At 24: not 0 to replace another session.
        force: u32,
        /// At 28.
        name: Name,
    },
    /// 24 bytes.
    RemoveSession {
        /// At 8.
        session: SessionId,
    },
    /// 44 bytes.
    Batch {
        /// At 8.
        session: SessionId,
        /// At 24.
        batch: u64,
        /// At 32.
        opcode: BatchOpcode,
        /// At 36: which test of the batch, 0 for all.
        test_index: u32,
        /// At 40: not 0 to stop at once.
        argument: u32,
    },
    /// 70 bytes.
    Test(Test),
    /// 28 bytes.
    QueryStat {
        /// At 8.
        session: SessionId,
        /// At 24.
        kind: u32,
    },
    /// 28 bytes.
    Brw {
        /// At 8: match bits at [`super::REPLY_PORTAL`] of the client's data.
        bulkid: u64,
        /// At 16.
        direction: BrwDirection,
        /// At 20: bytes of data.
        len: u32,
        /// At 24: see [`Check`].
        flags: u32,
    },
    /// 32 bytes.
    Ping {
        /// At 8: [`Request::PING_MAGIC`].
        magic: u32,
        /// At 12.
        sequence: u32,
        /// At 16: the client's clock.
        seconds: u64,
        /// At 24.
        nanoseconds: u64,
    },
}

/// What to do with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchOpcode {
    /// Starts its tests.
    Run,
    /// Stops its tests.
    Stop,
    /// Asks how many of its tests are running.
    Query,
    /// Not defined.
    Unknown(u32),
}

impl BatchOpcode {
    const fn from_wire(number: u32) -> BatchOpcode {
        match number {
            1 => BatchOpcode::Run,
            2 => BatchOpcode::Stop,
            3 => BatchOpcode::Query,
            other => BatchOpcode::Unknown(other),
        }
    }

    const fn to_wire(self) -> u32 {
        match self {
            BatchOpcode::Run => 1,
            BatchOpcode::Stop => 2,
            BatchOpcode::Query => 3,
            BatchOpcode::Unknown(other) => other,
        }
    }
}

/// Where the data of a bulk test go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrwDirection {
    /// The server PUTs them to the client.
    Read,
    /// The server GETs them from the client.
    Write,
    /// Not defined.
    Unknown(u32),
}

impl BrwDirection {
    /// The direction with this number.
    pub const fn from_wire(number: u32) -> BrwDirection {
        match number {
            1 => BrwDirection::Read,
            2 => BrwDirection::Write,
            other => BrwDirection::Unknown(other),
        }
    }

    /// The direction's number.
    pub const fn to_wire(self) -> u32 {
        match self {
            BrwDirection::Read => 1,
            BrwDirection::Write => 2,
            BrwDirection::Unknown(other) => other,
        }
    }
}

impl Request {
    /// Magic of a ping test; one with any other is not answered at all (section 7.5).
    pub const PING_MAGIC: u32 = 0xbabe_face;

    /// Which service it is to.
    pub const fn service(&self) -> Service {
        match self {
            Request::Debug { .. } => Service::Debug,
            Request::MakeSession { .. } => Service::MakeSession,
            Request::RemoveSession { .. } => Service::RemoveSession,
            Request::Batch { .. } => Service::Batch,
            Request::Test(_) => Service::Test,
            Request::QueryStat { .. } => Service::QueryStat,
            Request::Brw { .. } => Service::Brw,
            Request::Ping { .. } => Service::Ping,
        }
    }

    /// The session it names; bulk and ping tests name none.
    pub const fn session(&self) -> Option<SessionId> {
        match *self {
            Request::Debug { session, .. }
            | Request::MakeSession { session, .. }
            | Request::RemoveSession { session }
            | Request::Batch { session, .. }
            | Request::Test(Test { session, .. })
            | Request::QueryStat { session, .. } => Some(session),
            Request::Brw { .. } | Request::Ping { .. } => None,
        }
    }

    /// Judges a bulk test before it is sent or served: some Linux releases crash when they receive one that
    /// they must refuse (section 7.6). Other requests are fine.
    ///
    /// # Errors
    ///
    /// The status of the reply.
    pub fn check_brw(&self, features: u32) -> Result<(), u32> {
        let Request::Brw { direction, len, flags, .. } = *self else {
            return Ok(());
        };
        if features & !BULK_LEN != 0 {
            return Err(status::EPROTO);
        }
        let unit = if features & BULK_LEN == 0 { PAGE } else { 8 };
        let known = !matches!(direction, BrwDirection::Unknown(_)) && Check::from_wire(flags).is_some();
        if !known || len == 0 || len > LNET_MTU || len % unit != 0 {
            return Err(status::EINVAL);
        }
        Ok(())
    }

    pub(super) fn decode(service: Service, features: u32, fields: &mut Reader<'_>) -> Request {
        match service {
            Service::Debug => Request::Debug { session: SessionId::decode(fields), flags: fields.u32() },
            Service::MakeSession => Request::MakeSession {
                session: SessionId::decode(fields),
                force: fields.u32(),
                name: Name(fields.array()),
            },
            Service::RemoveSession => Request::RemoveSession { session: SessionId::decode(fields) },
            Service::Batch => Request::Batch {
                session: SessionId::decode(fields),
                batch: fields.u64(),
                opcode: BatchOpcode::from_wire(fields.u32()),
                test_index: fields.u32(),
                argument: fields.u32(),
            },
            Service::Test => Request::Test(Test::decode(features, fields)),
            Service::QueryStat => {
                Request::QueryStat { session: SessionId::decode(fields), kind: fields.u32() }
            }
            Service::Brw => Request::Brw {
                bulkid: fields.u64(),
                direction: BrwDirection::from_wire(fields.u32()),
                len: fields.u32(),
                flags: fields.u32(),
            },
            Service::Ping => Request::Ping {
                magic: fields.u32(),
                sequence: fields.u32(),
                seconds: fields.u64(),
                nanoseconds: fields.u64(),
            },
        }
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        if let (Some(session), false) = (self.session(), matches!(self, Request::Test(_))) {
            session.encode(out);
        }
        match self {
            Request::RemoveSession { .. } => out,
            Request::Debug { flags, .. } => out.u32(*flags),
            Request::MakeSession { force, name, .. } => out.u32(*force).bytes(&name.0),
            Request::Batch { batch, opcode, test_index, argument, .. } => {
                out.u64(*batch).u32(opcode.to_wire()).u32(*test_index).u32(*argument)
            }
            Request::QueryStat { kind, .. } => out.u32(*kind),
            Request::Brw { bulkid, direction, len, flags } => {
                out.u64(*bulkid).u32(direction.to_wire()).u32(*len).u32(*flags)
            }
            Request::Ping { magic, sequence, seconds, nanoseconds } => {
                out.u32(*magic).u32(*sequence).u64(*seconds).u64(*nanoseconds)
            }
            Request::Test(test) => {
                test.encode(out);
                out
            }
        };
    }
}
