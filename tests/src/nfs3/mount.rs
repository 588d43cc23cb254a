//! The way to a first handle: MOUNT version 3 (RFC 1813 appendix I).

use std::io;
use std::net::IpAddr;

use keelson_qemu::Endpoint;

use super::wire::parse;
use super::{Handle, Nfs};
use crate::rpc::{MOUNT, RpcClient, RpcError, tcp_port};

/// Ports of the appliance.
pub const NFS_PORT: u16 = 2049;
/// See [`NFS_PORT`].
pub const MOUNT_PORT: u16 = 20048;

/// Mounts over `rpc` (which is connected to the MOUNT port): the handle, or the `mountstat3`.
pub fn mount(rpc: &mut RpcClient, path: &str) -> Result<Result<Handle, u32>, RpcError> {
    let reply = rpc.call([MOUNT, 3, 1], |out| out.opaque(path.as_bytes()))?;
    Ok(parse(reply, |input| {
        Ok(match input.u32()? {
            0 => {
                let handle = input.opaque(64)?.to_vec();
                for _ in 0..input.u32()? {
                    input.u32()?;
                }
                Ok(handle)
            }
            status => Err(status),
        })
    }))
}

/// Mounts from any server, by way of its port mapper.
pub fn find_and_mount(from: &Endpoint, server: IpAddr, path: &str) -> io::Result<Handle> {
    let port = tcp_port(from, server, MOUNT, 3)?;
    let mut rpc = RpcClient::tcp(from, (server, port).into()).map_err(io::Error::other)?;
    mount(&mut rpc, path)?.map_err(|status| io::Error::other(format!("mount of {path} gave status {status}")))
}

/// A transport to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// A client of `server` at `port`.
    pub fn connect(self, from: &Endpoint, server: IpAddr, port: u16) -> keelson_qemu::Result<RpcClient> {
        match self {
            Transport::Tcp => RpcClient::tcp(from, (server, port).into()),
            Transport::Udp => RpcClient::udp(from, (server, port).into()),
        }
    }

    /// Mounts `path` and connects to NFS: what follows a `mount` command.
    ///
    /// # Panics
    /// If the server is not there or refuses.
    pub fn mount(self, from: &Endpoint, server: IpAddr, path: &str) -> (Nfs, Handle) {
        let mut rpc = self.connect(from, server, MOUNT_PORT).expect("connect to MOUNT");
        let root = mount(&mut rpc, path).expect("call MNT").expect("a handle");
        (Nfs::new(self.connect(from, server, NFS_PORT).expect("connect to NFS")), root)
    }
}
