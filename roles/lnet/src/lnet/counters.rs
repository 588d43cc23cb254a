//! Counters: cells that one core adds to.

use super::health::HealthError;
use super::show::{ByType, ContactStatus, DropReasons, StatisticsStatus, TrafficStatus};
use core::cell::Cell;
use keelson_lnet_wire::message::Kind;

/// A count that starts at zero.
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub fn one(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }

    pub fn clear(&self) {
        self.0.set(0);
    }
}

/// Messages by type.
#[derive(Default)]
pub(crate) struct TypeCounts([Count; 4]);

impl TypeCounts {
    pub fn one(&self, kind: Kind) {
        let [ack, put, get, reply] = &self.0;
        match kind {
            Kind::Ack => ack.one(),
            Kind::Put => put.one(),
            Kind::Get => get.one(),
            Kind::Reply => reply.one(),
        }
    }

    pub fn status(&self) -> ByType {
        let [ack, put, get, reply] = &self.0;
        ByType { put: put.get(), get: get.get(), reply: reply.get(), ack: ack.get() }
    }

    pub fn clear(&self) {
        self.0.iter().for_each(Count::clear);
    }
}

/// Messages of an NI or a peer NI, routed ones included.
#[derive(Default)]
pub(crate) struct Traffic {
    pub sent: TypeCounts,
    pub received: TypeCounts,
    pub dropped: TypeCounts,
}

impl Traffic {
    pub fn status(&self) -> TrafficStatus {
        TrafficStatus {
            sent: self.sent.status(),
            received: self.received.status(),
            dropped: self.dropped.status(),
        }
    }

    pub fn clear(&self) {
        [&self.sent, &self.received, &self.dropped].into_iter().for_each(TypeCounts::clear);
    }
}

/// Messages and their payload.
#[derive(Default)]
pub(crate) struct Volume {
    pub count: Count,
    pub length: Count,
}

impl Volume {
    pub fn one(&self, length: u32) {
        self.count.one();
        self.length.add(length.into());
    }
}

/// Why messages were dropped; see [`DropReasons`].
#[derive(Default)]
pub(crate) struct Drops {
    pub misdirected: Count,
    pub not_routing: Count,
    pub fault_rule: Count,
    pub no_peer: Count,
    pub asymmetric: Count,
    pub unmatched: Count,
    pub no_route: Count,
    pub loops: Count,
    pub next_hop_dead: Count,
    pub send_failed: Count,
    pub not_expressible: Count,
}

/// What became of neighbours that made contact; see [`ContactStatus`].
#[derive(Default)]
pub(crate) struct ContactCounts {
    pub made: Count,
    pub spoke_first: Count,
    pub told: Count,
    pub without_discovery: Count,
    pub failed: Count,
    pub gone: Count,
    pub left_out: Count,
}

/// Counters of the node (LNet specification section 6.6).
#[derive(Default)]
pub(crate) struct Statistics {
    pub in_memory: Cell<u64>,
    pub in_memory_max: Cell<u64>,
    /// Routed messages in memory.
    pub routed_now: Cell<u64>,
    pub sent: Volume,
    pub received: Volume,
    pub routed: Volume,
    pub dropped: Volume,
    pub drops: Drops,
    pub contacts: ContactCounts,
    pub response_timeout: Count,
    pub local_interrupt: Count,
    pub local_dropped: Count,
    pub local_aborted: Count,
    pub local_no_route: Count,
    pub local_timeout: Count,
    pub local_error: Count,
    pub remote_dropped: Count,
    pub remote_error: Count,
    pub remote_timeout: Count,
    pub network_timeout: Count,
}

impl Statistics {
    /// The counter of a failure.
    pub fn of(&self, error: HealthError) -> &Count {
        match error {
            HealthError::LocalInterrupt => &self.local_interrupt,
            HealthError::LocalDropped => &self.local_dropped,
            HealthError::LocalAborted => &self.local_aborted,
            HealthError::LocalNoRoute => &self.local_no_route,
            HealthError::LocalError => &self.local_error,
            HealthError::LocalTimeout => &self.local_timeout,
            HealthError::RemoteError => &self.remote_error,
            HealthError::RemoteDropped => &self.remote_dropped,
            HealthError::RemoteTimeout => &self.remote_timeout,
            HealthError::NetworkTimeout => &self.network_timeout,
        }
    }

    pub fn status(&self, waiting: usize) -> StatisticsStatus {
        StatisticsStatus {
            msgs_alloc: self.in_memory.get(),
            msgs_max: self.in_memory_max.get(),
            rst_alloc: waiting as u64,
            send_count: self.sent.count.get(),
            response_timeout_count: self.response_timeout.get(),
            local_interrupt_count: self.local_interrupt.get(),
            local_dropped_count: self.local_dropped.get(),
            local_aborted_count: self.local_aborted.get(),
            local_no_route_count: self.local_no_route.get(),
            local_timeout_count: self.local_timeout.get(),
            local_error_count: self.local_error.get(),
            remote_dropped_count: self.remote_dropped.get(),
            remote_error_count: self.remote_error.get(),
            remote_timeout_count: self.remote_timeout.get(),
            network_timeout_count: self.network_timeout.get(),
            recv_count: self.received.count.get(),
            route_count: self.routed.count.get(),
            drop_count: self.dropped.count.get(),
            send_length: self.sent.length.get(),
            recv_length: self.received.length.get(),
            route_length: self.routed.length.get(),
            drop_length: self.dropped.length.get(),
            ..StatisticsStatus::default()
        }
    }

    pub fn drop_reasons(&self) -> DropReasons {
        let drops = &self.drops;
        DropReasons {
            misdirected: drops.misdirected.get(),
            not_routing: drops.not_routing.get(),
            fault_rule: drops.fault_rule.get(),
            no_peer: drops.no_peer.get(),
            asymmetric: drops.asymmetric.get(),
            unmatched: drops.unmatched.get(),
            no_route: drops.no_route.get(),
            loops: drops.loops.get(),
            next_hop_dead: drops.next_hop_dead.get(),
            send_failed: drops.send_failed.get(),
            not_expressible: drops.not_expressible.get(),
        }
    }

    pub fn contact_status(&self) -> ContactStatus {
        let contacts = &self.contacts;
        ContactStatus {
            made: contacts.made.get(),
            spoke_first: contacts.spoke_first.get(),
            told: contacts.told.get(),
            without_discovery: contacts.without_discovery.get(),
            failed: contacts.failed.get(),
            gone: contacts.gone.get(),
            left_out: contacts.left_out.get(),
        }
    }

    /// Back to zero, but for what is in memory: writing to the file `stats` does this.
    pub fn clear(&self) {
        self.in_memory_max.set(self.in_memory.get());
        for volume in [&self.sent, &self.received, &self.routed, &self.dropped] {
            volume.count.clear();
            volume.length.clear();
        }
        let (drops, contacts) = (&self.drops, &self.contacts);
        for count in [
            &drops.misdirected,
            &drops.not_routing,
            &drops.fault_rule,
            &drops.no_peer,
            &drops.asymmetric,
            &drops.unmatched,
            &drops.no_route,
            &drops.loops,
            &drops.next_hop_dead,
            &drops.send_failed,
            &drops.not_expressible,
            &contacts.made,
            &contacts.spoke_first,
            &contacts.told,
            &contacts.without_discovery,
            &contacts.failed,
            &contacts.gone,
            &contacts.left_out,
            &self.response_timeout,
        ] {
            count.clear();
        }
        HealthError::ALL.into_iter().for_each(|error| self.of(error).clear());
    }
}
