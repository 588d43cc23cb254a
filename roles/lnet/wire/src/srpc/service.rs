//! Services, and the types of their messages (LNet specification section 7.2).

use super::{FRAMEWORK_PORTAL, TEST_PORTAL};

/// What a request is for; the number is the request's match bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// Tells about the session; also keeps it alive.
    Debug,
    /// Opens a session.
    MakeSession,
    /// Closes a session.
    RemoveSession,
    /// Runs, stops or asks for a batch of tests.
    Batch,
    /// Adds a test to a batch.
    Test,
    /// Asks for statistics.
    QueryStat,
    /// The bulk test.
    Brw,
    /// The ping test.
    Ping,
}

impl Service {
    /// Number, and types of request and reply.
    pub(super) const fn numbers(self) -> (u32, u32, u32) {
        match self {
            Service::Debug => (0, 10, 11),
            Service::MakeSession => (1, 0, 1),
            Service::RemoveSession => (2, 2, 3),
            Service::Batch => (3, 4, 5),
            Service::Test => (4, 8, 9),
            Service::QueryStat => (5, 6, 7),
            Service::Brw => (11, 12, 13),
            Service::Ping => (12, 14, 15),
        }
    }

    /// The service's number.
    pub const fn number(self) -> u32 {
        self.numbers().0
    }

    /// The service with this number.
    pub fn from_number(number: u32) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.number() == number)
    }

    /// Portal of its requests.
    pub const fn portal(self) -> u32 {
        if self.number() >= 10 { TEST_PORTAL } else { FRAMEWORK_PORTAL }
    }

    /// All services.
    pub const ALL: [Service; 8] = [
        Service::Debug,
        Service::MakeSession,
        Service::RemoveSession,
        Service::Batch,
        Service::Test,
        Service::QueryStat,
        Service::Brw,
        Service::Ping,
    ];
}
