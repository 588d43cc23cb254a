//! What a transport holds: for statistics, and for tests that it gives everything back.

use super::Transport;

/// What is in use now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Occupancy {
    /// Connections to peers.
    pub tx: usize,
    /// Connections from peers.
    pub rx: usize,
    /// Messages that wait to be sent or acknowledged.
    pub outbound_messages: usize,
    /// Their bytes.
    pub outbound_bytes: usize,
    /// Bytes of buffers with messages that arrived, whole or not, until they are released.
    pub buffers: usize,
    /// Of these, what connections hold beyond their own share.
    pub common: usize,
    /// Names asked for.
    pub lookups: usize,
    /// Newcomers that wait for the name of another node.
    pub claims: usize,
    /// Queries and requests without an answer.
    pub requests: usize,
    /// Events that nobody has taken.
    pub events: usize,
    /// Node entries.
    pub nodes: usize,
}

impl Transport {
    /// What is in use now.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            tx: self.tx.len(),
            rx: self.rx.len(),
            outbound_messages: self.tx.iter().map(|(_, tx)| tx.queue.len()).sum(),
            outbound_bytes: self.tx.iter().map(|(_, tx)| tx.queued_bytes).sum(),
            buffers: self.pool.lent(),
            common: self.rx_common,
            lookups: self.lookups.len(),
            claims: self.claims.len(),
            requests: self.requests.len() + self.queries.len(),
            events: self.events.len(),
            nodes: self.nodes.len(),
        }
    }
}
