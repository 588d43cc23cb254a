//! What servers answer (LNet specification section 7.3). Offsets are those in the body; every reply has the
//! status at 0, see [`super::Body`].

use super::{FrameworkCounters, LnetCounters, Name, RpcCounters, Service, SessionId};
use crate::bytes::{Reader, Writer};

/// A reply.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reply {
    /// 60 bytes.
    Debug {
        /// At 4: the session there is.
        session: SessionId,
        /// At 20: seconds.
        timeout: u32,
        /// At 24: number of batches.
        batches: u32,
        /// At 28.
        name: Name,
    },
    /// 56 bytes.
    MakeSession {
        /// At 4: the session there is now.
        session: SessionId,
        /// At 20: seconds, see [`super::SESSION_TIMEOUT_S`].
        timeout: u32,
        /// At 24.
        name: Name,
    },
    /// 20 bytes.
    RemoveSession {
        /// At 4: the session there is.
        session: SessionId,
    },
    /// 28 bytes.
    Batch {
        /// At 4: the session there is.
        session: SessionId,
        /// At 20: how many tests are running.
        active: u32,
        /// At 24: time that was left, unused.
        time: u32,
    },
    /// 20 bytes.
    Test {
        /// At 4: the session there is.
        session: SessionId,
    },
    /// 136 bytes.
    QueryStat {
        /// At 4: the session there is.
        session: SessionId,
        /// At 20.
        framework: FrameworkCounters,
        /// At 40.
        rpc: RpcCounters,
        /// At 76.
        lnet: LnetCounters,
    },
    /// 4 bytes: the status is all.
    Brw,
    /// 12 bytes.
    Ping {
        /// At 4: that of the request.
        magic: u32,
        /// At 8: that of the request.
        sequence: u32,
    },
}

impl Reply {
    /// Which service it is from.
    pub const fn service(&self) -> Service {
        match self {
            Reply::Debug { .. } => Service::Debug,
            Reply::MakeSession { .. } => Service::MakeSession,
            Reply::RemoveSession { .. } => Service::RemoveSession,
            Reply::Batch { .. } => Service::Batch,
            Reply::Test { .. } => Service::Test,
            Reply::QueryStat { .. } => Service::QueryStat,
            Reply::Brw => Service::Brw,
            Reply::Ping { .. } => Service::Ping,
        }
    }

    pub(super) fn decode(service: Service, fields: &mut Reader<'_>) -> Reply {
        match service {
            Service::Debug => Reply::Debug {
                session: SessionId::decode(fields),
                timeout: fields.u32(),
                batches: fields.u32(),
                name: Name(fields.array()),
            },
            Service::MakeSession => Reply::MakeSession {
                session: SessionId::decode(fields),
                timeout: fields.u32(),
                name: Name(fields.array()),
            },
            Service::RemoveSession => Reply::RemoveSession { session: SessionId::decode(fields) },
            Service::Batch => {
                Reply::Batch { session: SessionId::decode(fields), active: fields.u32(), time: fields.u32() }
            }
            Service::Test => Reply::Test { session: SessionId::decode(fields) },
            Service::QueryStat => Reply::QueryStat {
                session: SessionId::decode(fields),
                framework: FrameworkCounters::decode(fields),
                rpc: RpcCounters::decode(fields),
                lnet: LnetCounters::decode(fields),
            },
            Service::Brw => Reply::Brw,
            Service::Ping => Reply::Ping { magic: fields.u32(), sequence: fields.u32() },
        }
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        match self {
            Reply::Debug { session, timeout, batches, name } => {
                session.encode(out);
                out.u32(*timeout).u32(*batches).bytes(&name.0);
            }
            Reply::MakeSession { session, timeout, name } => {
                session.encode(out);
                out.u32(*timeout).bytes(&name.0);
            }
            Reply::RemoveSession { session } | Reply::Test { session } => session.encode(out),
            Reply::Batch { session, active, time } => {
                session.encode(out);
                out.u32(*active).u32(*time);
            }
            Reply::QueryStat { session, framework, rpc, lnet } => {
                session.encode(out);
                framework.encode(out);
                rpc.encode(out);
                lnet.encode(out);
            }
            Reply::Brw => {}
            Reply::Ping { magic, sequence } => {
                out.u32(*magic).u32(*sequence);
            }
        }
    }
}
