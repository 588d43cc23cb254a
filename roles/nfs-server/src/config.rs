//! The role's options.

use crate::exports::WildcardDots;
use crate::names::HostTable;
use alloc::string::String;
use keelson_oncrpc::ServerOptions;

/// How to serve.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerConfig {
    /// Text in the grammar of exports(5); `;` ends a line too.
    pub exports: String,
    /// Names of clients that need no DNS.
    pub hosts: HostTable,
    /// Whether wildcards in client names match dots.
    pub wildcard_dots: WildcardDots,
    /// Largest READ and WRITE in bytes over TCP, a multiple of 4096 up to 1 MiB. Over UDP it is 32 KiB.
    pub max_transfer: u32,
    /// Bytes of message buffers for all connections together.
    pub buffer_memory: usize,
    /// Connections of one client address.
    pub connections_per_host: usize,
    /// Connections.
    pub connections: usize,
    /// Port of rpcbind.
    pub rpcbind_port: u16,
    /// Port of NFS.
    pub nfs_port: u16,
    /// Port of MOUNT.
    pub mountd_port: u16,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        let rpc = ServerOptions::default();
        ServerConfig {
            exports: String::new(),
            hosts: HostTable::default(),
            wildcard_dots: WildcardDots::default(),
            max_transfer: 1 << 20,
            buffer_memory: rpc.buffer_memory,
            connections_per_host: rpc.connections_per_host,
            connections: rpc.connections,
            rpcbind_port: 111,
            nfs_port: 2049,
            mountd_port: 20_048,
        }
    }
}

impl ServerConfig {
    /// Room in a record besides the payload of a WRITE.
    const RECORD_HEAD: usize = 4096;

    /// The limits of the RPC server.
    pub(crate) fn rpc_options(&self) -> ServerOptions {
        ServerOptions {
            max_record: self.max_transfer() as usize + Self::RECORD_HEAD,
            buffer_memory: self.buffer_memory,
            connections: self.connections,
            connections_per_host: self.connections_per_host,
            ..ServerOptions::default()
        }
    }

    /// The largest transfer, within what is possible.
    pub(crate) fn max_transfer(&self) -> u32 {
        self.max_transfer.clamp(4096, 1 << 20) & !4095
    }
}
