//! The request that adds a test to a batch (LNet specification section 7.3).

use super::{BULK_LEN, Service, SessionId};
use crate::bytes::{Reader, Writer};

/// A test to be added to a batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Test {
    /// At 8: match bits at [`super::REPLY_PORTAL`] of the list of destinations.
    pub bulkid: u64,
    /// At 16.
    pub session: SessionId,
    /// At 32.
    pub batch: u64,
    /// At 40: number of the service under test, [`Service::Brw`] or [`Service::Ping`].
    pub service: u32,
    /// At 44: iterations, 0xffffffff for endless.
    pub iterations: u32,
    /// At 48: loops that run at the same time for each destination.
    pub concurrency: u32,
    /// At 52: not 0 if the receiver is to send the test's requests, 0 if it is to answer them.
    pub is_client: u8,
    /// At 53: not 0 to end at the first error.
    pub stop_on_error: u8,
    /// At 54: number of destinations.
    pub destinations: u32,
    /// At 58, 12 bytes.
    pub parameters: TestParameters,
}

/// Parameters of a test; which form they have follows from its service and the session's features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestParameters {
    /// Ping; not used by it.
    Ping {
        /// At 58.
        size: u32,
        /// At 62.
        flags: u32,
    },
    /// Bulk without [`BULK_LEN`].
    BrwPages {
        /// At 58, see [`super::BrwDirection`].
        opcode: u32,
        /// At 62: length in pages.
        pages: u32,
        /// At 66, see [`super::Check`].
        flags: u32,
    },
    /// Bulk with [`BULK_LEN`].
    BrwBytes {
        /// At 58, see [`super::BrwDirection`].
        opcode: u16,
        /// At 60, see [`super::Check`].
        flags: u16,
        /// At 62: length in bytes.
        len: u32,
        /// At 66: where in its first page the client's buffer starts.
        offset: u32,
    },
    /// Of a service that is not known.
    Unknown([u8; 12]),
}

impl TestParameters {
    fn decode(service: u32, features: u32, fields: &mut Reader<'_>) -> TestParameters {
        match (Service::from_number(service), features & BULK_LEN) {
            (Some(Service::Ping), _) => TestParameters::Ping { size: fields.u32(), flags: fields.u32() },
            (Some(Service::Brw), 0) => {
                TestParameters::BrwPages { opcode: fields.u32(), pages: fields.u32(), flags: fields.u32() }
            }
            (Some(Service::Brw), _) => TestParameters::BrwBytes {
                opcode: fields.u16(),
                flags: fields.u16(),
                len: fields.u32(),
                offset: fields.u32(),
            },
            _ => TestParameters::Unknown(fields.array()),
        }
    }

    fn encode(&self, out: &mut Writer<'_>) {
        match *self {
            TestParameters::Ping { size, flags } => out.u32(size).u32(flags),
            TestParameters::BrwPages { opcode, pages, flags } => out.u32(opcode).u32(pages).u32(flags),
            TestParameters::BrwBytes { opcode, flags, len, offset } => {
                out.u16(opcode).u16(flags).u32(len).u32(offset)
            }
            TestParameters::Unknown(bytes) => out.bytes(&bytes),
        };
    }
}

impl Test {
    pub(super) fn decode(features: u32, fields: &mut Reader<'_>) -> Test {
        let (bulkid, session, batch) = (fields.u64(), SessionId::decode(fields), fields.u64());
        let service = fields.u32();
        Test {
            bulkid,
            session,
            batch,
            service,
            iterations: fields.u32(),
            concurrency: fields.u32(),
            is_client: fields.u8(),
            stop_on_error: fields.u8(),
            destinations: fields.u32(),
            parameters: TestParameters::decode(service, features, fields),
        }
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        self.session.encode(out.u64(self.bulkid));
        out.u64(self.batch).u32(self.service).u32(self.iterations).u32(self.concurrency);
        out.u8(self.is_client).u8(self.stop_on_error).u32(self.destinations);
        self.parameters.encode(out);
    }
}
