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

/// The grace period of 90 s after a start of knfsd, in which locks can only be reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grace {
    /// Ended at once: nobody has anything to reclaim from a server just made.
    #[default]
    Skip,
    /// As Linux has it, for tests of lock recovery.
    Kept,
    /// This many seconds (10 to 240) instead of 90, so that tests of lock recovery need not wait for so long.
    Seconds(u32),
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
    /// What to do about the time after a start in which only old locks may be taken.
    pub grace: Grace,
}

impl Knfsd {
    /// Exports one directory to everybody with these options (`"rw,sync,no_root_squash"`).
    pub fn export(path: &str, options: &str) -> Knfsd {
        let exports = format!("{path} *({options},no_subtree_check)");
        Knfsd { exports, threads: 8, protocols: WireProtocols::Tcp, grace: Grace::Skip }
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
        let (set_grace, end_grace) = match knfsd.grace {
            Grace::Skip => {
                (String::new(), "echo Y > /proc/fs/nfsd/v4_end_grace; echo Y > /proc/fs/lockd/nlm_end_grace")
            }
            Grace::Kept => (String::new(), ""),
            // The period of NFSv4 counts for version 3 as well.
            Grace::Seconds(seconds) => (
                format!(
                    "for file in nfsv4leasetime nfsv4gracetime; do echo {seconds} > /proc/fs/nfsd/$file; done\n\
                     echo {seconds} > /proc/sys/fs/nfs/nlm_grace_period"
                ),
                "",
            ),
        };
        // Peers are told of the restart once there is a server to reclaim from, as Debian orders its services.
        let script = format!(
            "set -e\nmodprobe nfsd\nmount -t nfsd nfsd /proc/fs/nfsd\nstart-statd\nexportfs -ra\nrpc.mountd\n\
             {set_grace}\nrpc.nfsd --no-nfs-version 4 {udp} {}\n{end_grace}\nsm-notify",
            knfsd.threads
        );
        self.ok(&script, Duration::from_secs(60)).map(drop)
    }
}
