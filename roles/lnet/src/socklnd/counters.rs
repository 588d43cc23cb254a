//! Counters: one for every way in which a connection or a message is refused, dropped or ends.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;
use keelson_hal::Instant;

macro_rules! counters {
    ($(#[doc = $help:literal] $name:ident,)*) => {
        /// What happened since the start.
        #[derive(Default, Debug)]
        pub struct Counters { $(#[doc = $help] pub $name: Cell<u64>,)* }

        impl Counters {
            /// Calls `visit` with the name, the meaning and the value of every counter.
            pub fn each(&self, mut visit: impl FnMut(&'static str, &'static str, u64)) {
                $(visit(stringify!($name), $help, self.$name.get());)*
            }
        }
    };
}

counters! {
    /// Connections that came in.
    accepted,
    /// Refused: source port above 1023 with `accept=secure`.
    refused_port,
    /// Refused: as many connections as allowed.
    refused_full,
    /// Refused: too many unfinished handshakes from one address.
    refused_flood,
    /// Handshakes given up for newer ones.
    refused_evicted,
    /// Refused: silent for longer than a step of the handshake may take.
    refused_silent,
    /// The peer closed or reset in the middle of the handshake.
    refused_closed,
    /// Refused: the request has a wrong magic.
    refused_magic,
    /// Refused: the request has an unknown version.
    refused_version,
    /// Refused: the request names no NID of ours.
    refused_nid,
    /// Refused: the request names a NID of ours, but came to another of our addresses.
    refused_address,
    /// Refused: HELLO with a wrong magic or malformed.
    hello_malformed,
    /// Refused: HELLO of an unknown version.
    hello_version,
    /// Refused: HELLO of type "none" or of no type.
    hello_type,
    /// Refused: HELLO from "any", from ourselves, from another network or from another PID.
    hello_source,
    /// Refused: we were connecting to the peer, and our NID is the higher.
    hello_race,
    /// Refused: a new life of the peer, whose old connections were closed.
    hello_stale,
    /// Refused: the peer has enough connections of the type.
    hello_duplicate,
    /// Refused because LNet wanted no peer.
    hello_unwanted,
    /// Connections that were established by a peer.
    passive,
    /// Connections that were established by us.
    active,
    /// Attempts of ours.
    dials,
    /// Attempts that failed in TCP: refused, no route, no free port.
    dial_unreachable,
    /// Attempts that took too long.
    dial_timed_out,
    /// Attempts that the peer ended in the middle of the handshake.
    dial_closed,
    /// Attempts that were answered with something else than a HELLO.
    dial_malformed,
    /// Attempts that were answered by another NID or PID, or with another type.
    dial_identity,
    /// Attempts that were answered with type "none".
    dial_refused,
    /// Attempts that were repeated in another version.
    dial_version,
    /// Attempts that revealed a new life of the peer.
    dial_stale,
    /// Connections closed by the peer between messages.
    closed_orderly,
    /// Connections reset, or dead.
    closed_reset,
    /// Connections closed by the peer in the middle of a message.
    closed_truncated,
    /// Connections closed: silent in the middle of a message.
    closed_stalled_in,
    /// Connections closed: the peer took nothing for too long.
    closed_stalled_out,
    /// Connections closed: message of unknown type.
    closed_kind,
    /// Connections closed: LNet header that cannot be trusted.
    closed_header,
    /// Connections closed because LNet said so.
    closed_fatal,
    /// Connections closed: wrong checksum.
    closed_checksum,
    /// Connections closed: more acknowledgements owed than we remember.
    closed_acks,
    /// Connections closed along with another of the same peer.
    closed_siblings,
    /// Connections closed on demand, with their interface, or for a new life of the peer.
    closed_here,
    /// Messages received.
    rx_messages,
    /// Bytes of payload received.
    rx_bytes,
    /// Payloads read and thrown away because LNet did not want them.
    rx_skipped,
    /// Messages thrown away because they came on a connection that must never wait.
    rx_would_wait,
    /// NOOPs received.
    rx_noops,
    /// Keepalives among them.
    rx_keepalives,
    /// Acknowledgements that we never asked for.
    rx_unexpected_acks,
    /// Messages written.
    tx_messages,
    /// Bytes of payload written.
    tx_bytes,
    /// NOOPs written.
    tx_noops,
    /// Keepalives among them.
    tx_keepalives,
    /// Zero-copy requests acknowledged.
    tx_acks,
    /// Messages not sent: no connection, and attempts are held back.
    tx_unreachable,
    /// Messages not sent in time.
    tx_timed_out,
    /// Messages lost with their connection.
    tx_broken,
    /// Messages with a NID that the connection's version cannot express.
    tx_not_expressible,
    /// Messages whose interface went away.
    tx_down,
    /// Log lines that were left out.
    log_suppressed,
}

/// Adds one.
pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Adds several.
pub(super) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// Log lines that strangers can provoke: so many in a row, then one for each further interval.
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(10);

/// Decides which log lines are written.
#[derive(Default)]
pub(super) struct LogLimit {
    state: RefCell<(u32, Instant, u64)>,
}

impl LogLimit {
    /// Writes a warning unless there have been too many; says how many were left out.
    pub fn warn(&self, now: Instant, counters: &Counters, text: fmt::Arguments<'_>) {
        let (written, window, left_out) = &mut *self.state.borrow_mut();
        if now - *window >= INTERVAL {
            *written = if *left_out > 0 { BURST - 1 } else { 0 };
            *window = now;
        }
        if *written >= BURST {
            *left_out += 1;
            count(&counters.log_suppressed);
            return;
        }
        *written += 1;
        match core::mem::take(left_out) {
            0 => log::warn!(target: super::LOG, "{text}"),
            more => log::warn!(target: super::LOG, "{text} ({more} such lines left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_flood_the_log() {
        let (limit, counters) = (LogLimit::default(), Counters::default());
        for n in 0..1000 {
            limit.warn(Instant::from_nanos(n * 50_000_000), &counters, format_args!("x"));
        }
        // 50 s: ten at once, then one for each of four intervals.
        assert_eq!(counters.log_suppressed.get(), 1000 - 14);
        limit.warn(Instant::from_nanos(100 * 1_000_000_000), &counters, format_args!("x"));
        assert_eq!(counters.log_suppressed.get(), 1000 - 14);
    }
}
