//! What `/proc/qnetstats` tells about the kernel interface (section 16).

use core::fmt;

/// How many there are, and how many there were at most.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Gauge {
    /// Now.
    pub now: usize,
    /// High water.
    pub high: usize,
}

/// The value of a counter of either kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// How often something happened.
    Count(u64),
    /// How many there are.
    Gauge(Gauge),
}

impl From<u64> for Reading {
    fn from(count: u64) -> Reading {
        Reading::Count(count)
    }
}

impl From<Gauge> for Reading {
    fn from(gauge: Gauge) -> Reading {
        Reading::Gauge(gauge)
    }
}

impl Gauge {
    pub(crate) fn add(&mut self) {
        self.now += 1;
        self.high = self.high.max(self.now);
    }

    pub(crate) fn sub(&mut self) {
        self.now = self.now.saturating_sub(1);
    }

    pub(crate) fn set(&mut self, now: usize) {
        self.now = now;
        self.high = self.high.max(now);
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = 2 + self.high.checked_ilog10().unwrap_or(0) as usize;
        let width = f.width().unwrap_or(0).saturating_sub(behind);
        write!(f, "{:>width$},{}", self.now, self.high)
    }
}

macro_rules! counters {
    ($(#[doc = $help:literal] $field:ident: $type:ty = $line:literal,)*) => {
        /// Counters of the kernel interface.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Counters {
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Counters {
            /// Calls `visit` with the name and the value of every line, in the order of the file.
            pub fn for_each(&self, mut visit: impl FnMut(&'static str, &dyn fmt::Display)) {
                $(visit($line, &self.$field);)*
            }

            /// Calls `visit` with the name of every field, its meaning and its value.
            pub fn each(&self, mut visit: impl FnMut(&'static str, &'static str, Reading)) {
                $(visit(stringify!($field), $help, self.$field.into());)*
            }
        }
    };
}

counters! {
    /// Server connections: remote clients attached here.
    net_server: Gauge = "kif net_server",
    /// Transactions and attachments that clients here wait for.
    waiting: Gauge = "kif waiting",
    /// Client connections: clients here attached to remote channels.
    net_client: Gauge = "kif net_client",
    /// Received messages that are held.
    buffer: Gauge = "kif buffer",
    /// Messages that wait until a session takes them.
    outbound_msgs: Gauge = "kif outbound_msgs",
    /// Virtual threads: handles of clients here.
    vtid: Gauge = "kif vtid",
    /// Transactions of remote clients here.
    server_transactions: Gauge = "kif server_msgs",
    /// Connections to nodes that ended.
    nd_down: u64 = "kif nd_down",
    /// Connections to nodes that came up.
    nd_up: u64 = "kif nd_up",
    /// Nodes that came back with another epoch.
    nd_changed: u64 = "kif nd_changed",
    /// Replies and errors sent to clients of other nodes.
    send_acks: u64 = "kif send_acks",
    /// Messages, pulses and signals that clients here sent to other nodes.
    client_kercalls: u64 = "kif client_kercalls",
    /// Messages from clients of other nodes.
    server_msgs: u64 = "kif server_msgs total",
    /// UNBLOCKs from clients of other nodes.
    server_unblock: u64 = "kif server_unblock",
    /// Messages that named a server connection which is not the sender's.
    inval_server_id: u64 = "kif inval_server_id",
    /// Messages that named a client's handle or id which is not the sender's.
    inval_client_id: u64 = "kif inval_client_id",
    /// Messages that could not be decoded, or came in an order that has no meaning.
    malformed: u64 = "kif malformed",
    /// Messages with fewer data than they promise.
    truncated: u64 = "kif truncated",
    /// Messages of the other byte order.
    endian: u64 = "kif endian",
    /// Requests refused because a table was full.
    refused: u64 = "kif refused",
    /// Pulses to a full queue.
    pulse_lost: u64 = "kif pulse_lost",
    /// Events that could not be sent or delivered.
    event_lost: u64 = "kif event_lost",
    /// Signals that were not permitted or had no target.
    signal_lost: u64 = "kif signal_lost",
    /// Messages that no session took and for which there was no room to wait.
    outbound_lost: u64 = "kif outbound_lost",
}

impl Counters {
    /// Writes the lines: the name to column 30, a colon, the value.
    pub fn write_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut result = Ok(());
        self.for_each(|name, value| result = result.and(writeln!(out, "{name:<30}: {value:>11}")));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut counters = Counters { nd_up: 7, ..Counters::default() };
        counters.net_server.set(3);
        counters.net_server.sub();
        let mut text = String::new();
        counters.write_to(&mut text).unwrap();
        assert!(text.starts_with("kif net_server                :         2,3\n"), "{text}");
        assert!(text.contains("kif nd_up                     :           7\n"), "{text}");
        // `grep -e ok -e bad` must not match any of ours.
        assert!(!text.contains("ok") && !text.contains("bad"));
    }
}
