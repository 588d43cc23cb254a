//! Everything about the transport that can be chosen, with the defaults of sections 7.7 and 19.

use core::time::Duration;
use keelson_qnet_wire::names::Policy;

/// What a node does when another one has its name (section 9.4).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DupPolicy {
    /// Says so.
    #[default]
    Log,
    /// Says so; of two of our nodes the one with the higher address takes the name that its address gives.
    Rename,
}

/// Choices of a node's transport and resolvers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The periodic timer; `periodic_ticks` of them make a second. Other times are counted in it.
    pub tick: Duration,
    /// Ticks between announcements; 0: none are sent, and none of others is taken in.
    pub auto_add: u32,
    /// Ticks to wait for the answer to a TCS_INIT.
    pub conn_est_timeout: u32,
    /// How often a TCS_INIT is sent again on a link.
    pub conn_est_retries: u32,
    /// Ticks of silence after which a peer is asked whether it is there.
    pub conn_up_idle: u32,
    /// The same while a transaction waits for it.
    pub busy_idle: u32,
    /// Messages on a connection that may wait for their ACK (W).
    pub window_messages: usize,
    /// Their bytes (B).
    pub window_bytes: usize,
    /// Time to the first retransmission before any round trip was measured.
    pub rto_first: Duration,
    /// Lower bound of four measured round trips.
    pub rto_min: Duration,
    /// Upper bound of four measured round trips.
    pub rto_ceiling: Duration,
    /// Upper bound of the time between retransmissions, which doubles each time.
    pub rto_max: Duration,
    /// Ticks to the first retransmission, when it shall not follow the round trips measured.
    pub tx_ticks: Option<u32>,
    /// Retransmissions of the oldest message without any answer before the connection is given up (R).
    pub tx_retries: u32,
    /// How long something may be missing because frames overtook each other. Grows up to four times this on
    /// connections where it proves too short.
    pub reorder_delay: Duration,
    /// Time between NACKs for one message.
    pub nack_gap: Duration,
    /// Bytes of messages that a connection may hold before they are whole and in order, and of those not yet taken.
    pub rx_bytes: usize,
    /// Of these, bytes that all connections together may hold beyond one message each.
    pub rx_common: usize,
    /// Largest message accepted.
    pub max_msg: u32,
    /// Idle time after which a connection that nobody uses is closed.
    pub idle_close: Duration,
    /// Messages that may wait on a connection, sent or not.
    pub queue_messages: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// Frames carry a CRC.
    pub do_crc: bool,
    /// Frames without a CRC are dropped.
    pub enforce_crc: bool,
    /// Accepting a connection opens the one back.
    pub eager_reverse: bool,
    /// What happens when another node has our name.
    pub dup_policy: DupPolicy,
    /// Upper bound of the links' MTU.
    pub mtu: Option<usize>,
    /// Connections of each direction.
    pub max_connections: usize,
    /// Of these, with one node.
    pub max_per_node: usize,
    /// Node entries.
    pub max_nodes: usize,
    /// Policy of connections whose path names none.
    pub policy: Policy,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tick: Duration::from_millis(200),
            auto_add: 150,
            conn_est_timeout: 1,
            conn_est_retries: 1,
            conn_up_idle: 50,
            busy_idle: 10,
            window_messages: 32,
            window_bytes: 128 << 10,
            rto_first: Duration::from_millis(20),
            rto_min: Duration::from_millis(10),
            rto_ceiling: Duration::from_millis(200),
            rto_max: Duration::from_secs(1),
            tx_ticks: None,
            tx_retries: 8,
            reorder_delay: Duration::from_millis(2),
            nack_gap: Duration::from_millis(5),
            rx_bytes: 256 << 10,
            rx_common: 4 << 20,
            max_msg: 131_072,
            idle_close: Duration::from_secs(60),
            queue_messages: 256,
            queue_bytes: 1 << 20,
            do_crc: false,
            enforce_crc: false,
            eager_reverse: true,
            dup_policy: DupPolicy::Log,
            mtu: None,
            max_connections: 64,
            max_per_node: 16,
            max_nodes: 256,
            policy: Policy::LoadBalance,
        }
    }
}

/// Messages of a connection that may be in the receiver's window (section 7.2).
pub const RX_WINDOW: u32 = 64;
/// Largest message sent: 64 KiB of data and what precedes them (section 5).
pub const MAX_SENT: usize = 65_536 + 512;
/// Longest head of a message; KIF's longest are 240 bytes, NR's 259.
pub const MAX_HEAD: usize = 264;

impl Options {
    /// So many ticks.
    pub fn ticks(&self, ticks: u32) -> Duration {
        self.tick.saturating_mul(ticks)
    }

    /// Time from the first transmission of a message that nobody answers to the end of its connection.
    pub fn patience(&self) -> Duration {
        let mut rto = self.rto_first;
        let mut total = Duration::ZERO;
        for _ in 0..=self.tx_retries {
            total = total.saturating_add(rto);
            rto = rto.saturating_mul(2).min(self.rto_max);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_specification() {
        let options = Options::default();
        assert_eq!(options.ticks(options.auto_add), Duration::from_secs(30));
        assert_eq!(options.ticks(options.conn_up_idle), Duration::from_secs(10));
        assert_eq!(options.patience(), Duration::from_millis(4260));
    }
}
