//! Statistics of a node, as QUERY_STAT reports them (LNet specification section 7.3).

use crate::bytes::{Reader, Writer};

/// A block of counters in the order in which they are sent: first the 32-bit ones, then the 64-bit ones.
macro_rules! counters {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl $name {
            pub(super) fn decode(fields: &mut Reader<'_>) -> $name {
                $name { $($field: fields.$kind(),)* }
            }

            pub(super) fn encode(&self, out: &mut Writer<'_>) {
                $(out.$kind(self.$field);)*
            }
        }
    };
}

counters! {
    /// The test framework, 20 bytes.
    FrameworkCounters {
        /// Milliseconds since the session began.
        running_ms: u32,
        /// Batches that are running.
        active_batches: u32,
        /// Sessions that ended and are not yet gone.
        zombie_sessions: u32,
        /// Bulk tests that failed.
        brw_errors: u32,
        /// Ping tests that failed.
        ping_errors: u32,
    }
}

counters! {
    /// The RPC layer, 36 bytes.
    RpcCounters {
        /// RPCs that failed.
        errors: u32,
        /// RPCs sent.
        rpcs_sent: u32,
        /// RPCs received.
        rpcs_rcvd: u32,
        /// RPCs dropped.
        rpcs_dropped: u32,
        /// RPCs that took too long.
        rpcs_expired: u32,
        /// Bytes of bulk data fetched.
        bulk_get: u64,
        /// Bytes of bulk data sent.
        bulk_put: u64,
    }
}

counters! {
    /// LNet, 60 bytes.
    LnetCounters {
        /// Messages in use.
        msgs_alloc: u32,
        /// Most messages ever in use.
        msgs_max: u32,
        /// Errors.
        errors: u32,
        /// Messages sent by the node itself.
        send_count: u32,
        /// Messages received by the node itself.
        recv_count: u32,
        /// Messages forwarded.
        route_count: u32,
        /// Messages dropped.
        drop_count: u32,
        /// Bytes sent.
        send_length: u64,
        /// Bytes received.
        recv_length: u64,
        /// Bytes forwarded.
        route_length: u64,
        /// Bytes dropped.
        drop_length: u64,
    }
}
