//! Linux's own NFS server in a guest: the reference that results and speed are compared with.

use std::time::Duration;

use super::LinuxGuest;
use crate::error::Result;

/// Which transports knfsd serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireProtocols {
    /// TCP, as Debian configures it.
    #[default]
    Tcp,
    /// TCP and UDP.
    TcpAndUdp,
}

/// How to run knfsd.
#[derive(Clone, Debug)]
pub struct Knfsd {
    /// `/etc/exports`, for example `"/srv 10.0.0.0/24(rw,sync,no_root_squash)"`.
    pub exports: String,
    /// Number of server threads; Debian's default is 8.
    pub threads: u32,
    /// Transports.
    pub protocols: WireProtocols,
}

impl Knfsd {
    /// Exports one directory to everybody with these options (`"rw,sync,no_root_squash"`).
    pub fn export(path: &str, options: &str) -> Knfsd {
        let exports = format!("{path} *({options},no_subtree_check)");
        Knfsd { exports, threads: 8, protocols: WireProtocols::Tcp }
    }
}

impl LinuxGuest {
    /// Starts rpcbind, statd, mountd and nfsd (NFSv3 only) with these exports. File systems to be exported must be
    /// mounted before.
    pub fn start_knfsd(&self, knfsd: &Knfsd) -> Result<()> {
        self.write_file("/etc/exports", format!("{}\n", knfsd.exports).as_bytes())?;
        let udp = match knfsd.protocols {
            WireProtocols::Tcp => "",
            WireProtocols::TcpAndUdp => "--udp",
        };
        let script = format!(
            "set -e\nmodprobe nfsd\nmount -t nfsd nfsd /proc/fs/nfsd\n\
             rpcbind -w\nrpc.statd\nexportfs -ra\nrpc.mountd\nrpc.nfsd --no-nfs-version 4 {udp} {}",
            knfsd.threads
        );
        self.ok(&script, Duration::from_secs(60)).map(drop)
    }
}
