//! What a test node counts, as QUERY_STAT reports it.

use core::cell::Cell;
use keelson_lnet_wire::srpc::RpcCounters;

/// Counters of one node since its start; they outlive sessions, as on Linux.
#[derive(Default, Debug)]
pub struct Counters {
    /// RPCs of ours that failed, and bulk transfers for RPCs of others.
    pub errors: Cell<u64>,
    /// Requests sent.
    pub rpcs_sent: Cell<u64>,
    /// Requests received and served.
    pub rpcs_rcvd: Cell<u64>,
    /// Requests and replies thrown away: malformed, too many, or nobody waits for them.
    pub rpcs_dropped: Cell<u64>,
    /// RPCs that took too long.
    pub rpcs_expired: Cell<u64>,
    /// Bytes fetched for requests of others.
    pub bulk_get: Cell<u64>,
    /// Bytes sent for requests of others.
    pub bulk_put: Cell<u64>,
    /// Bulk data that did not have the pattern.
    pub corrupted: Cell<u64>,
}

/// Counts one more, or some more.
pub(super) trait Count {
    fn add(&self, amount: u64);

    fn up(&self) {
        self.add(1);
    }
}

impl Count for Cell<u64> {
    fn add(&self, amount: u64) {
        self.set(self.get().wrapping_add(amount));
    }
}

impl Counters {
    /// As reported; the 32-bit ones wrap.
    pub(super) fn to_wire(&self) -> RpcCounters {
        let short = |count: &Cell<u64>| count.get() as u32;
        RpcCounters {
            errors: short(&self.errors),
            rpcs_sent: short(&self.rpcs_sent),
            rpcs_rcvd: short(&self.rpcs_rcvd),
            rpcs_dropped: short(&self.rpcs_dropped),
            rpcs_expired: short(&self.rpcs_expired),
            bulk_get: self.bulk_get.get(),
            bulk_put: self.bulk_put.get(),
        }
    }
}
