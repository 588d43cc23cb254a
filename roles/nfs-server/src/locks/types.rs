//! Who asks, how much there may be, and what becomes of a request.

use super::range::{ByteRange, Kind};
use keelson_volume::FileId;

/// A host (NLM) or, later, an NFSv4 client. A number is used again only after the client was forgotten and all
/// other numbers were given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub(super) u32);

/// Whoever holds locks: a client and the bytes it names the owner with (NLM: svid and oh; NFSv4: the lock
/// owner). Good as long as the owner holds or waits for something, and for one request after it was named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnerId(pub(super) u32);

/// A request that waits or waited; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId(pub(super) u64);

impl WaiterId {
    /// For cookies.
    pub fn number(self) -> u64 {
        self.0
    }

    /// From a cookie. A number that was never given names no waiter, and nothing happens to it.
    pub fn from_number(number: u64) -> WaiterId {
        WaiterId(number)
    }
}

/// How much the table takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Ranges, together with what waiters and open grants reserve (3 and 1).
    pub locks: usize,
    /// Queued requests, and as many open grants.
    pub waiters: usize,
    /// Clients that were not forgotten.
    pub clients: usize,
    /// Bytes of the longest name of an owner.
    pub owner_bytes: usize,
    /// Bytes of the names of all owners.
    pub name_bytes: usize,
    /// Share reservations.
    pub shares: usize,
}

impl Default for Limits {
    /// Specification section 10: 64 Ki locks. Names are an svid and an oh of up to 1024 bytes, Linux's have
    /// up to 78.
    fn default() -> Limits {
        Limits {
            locks: 64 << 10,
            waiters: 4 << 10,
            clients: 4 << 10,
            owner_bytes: 1028,
            name_bytes: 8 << 20,
            shares: 4 << 10,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The owner has the lock.
    Granted,
    /// Another owner has what is in the way: see [`LockTable::test`](super::LockTable::test).
    Denied,
    /// It waits, or the same request waited already. [`LockTable::take_granted`](super::LockTable::take_granted) tells when it is its turn.
    Blocked(WaiterId),
    /// It would wait for an owner that waits for this one.
    Deadlock,
    /// No room; or the owner is not known any more.
    Full,
}

/// A range cannot be split, there is no room for one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A waiter that got its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The number it waited under.
    pub waiter: WaiterId,
    /// The file.
    pub file: FileId,
    /// Who has the lock now; see [`LockTable::owner_name`](super::LockTable::owner_name).
    pub owner: OwnerId,
    /// As asked for.
    pub kind: Kind,
    /// As asked for.
    pub range: ByteRange,
}
