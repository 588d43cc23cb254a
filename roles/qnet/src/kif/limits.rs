//! How large the tables of a kernel may get (section 12.6), and its other settings.

use super::credentials::CredentialRules;
use core::time::Duration;

/// Most entries of each table. More than 1,024 are not used, nor more than 512 where local ones come on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Server connections of all other nodes; local ones may be as many again.
    pub server_connections: usize,
    /// Server connections of one other node.
    pub server_connections_per_node: usize,
    /// Transactions that servers here have from other nodes; local ones may be as many again.
    pub transactions: usize,
    /// Connections of clients here.
    pub client_connections: usize,
    /// Handles of clients here: sends that wait at once, and places for events.
    pub handles: usize,
    /// Reads of messages that servers here wait for.
    pub reads: usize,
    /// Processes.
    pub processes: usize,
    /// Channels.
    pub channels: usize,
    /// Pulses that wait at one channel.
    pub pulses: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            server_connections: 256,
            server_connections_per_node: 64,
            transactions: 256,
            client_connections: 512,
            handles: 512,
            reads: 256,
            processes: 256,
            channels: 256,
            pulses: 256,
        }
    }
}

/// Settings of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelConfig {
    /// Sizes of tables.
    pub limits: Limits,
    /// `maproot` and `mapany`.
    pub credentials: CredentialRules,
    /// How long a server may take to answer after its client gave up waiting (section 12.5).
    pub unblock_grace: Duration,
}

impl Default for KernelConfig {
    fn default() -> KernelConfig {
        KernelConfig {
            limits: Limits::default(),
            credentials: CredentialRules::default(),
            unblock_grace: Duration::from_secs(5),
        }
    }
}
