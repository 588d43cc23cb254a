//! What a Linux host needs to lock files over NFS version 3, and to be known again after a crash.

use std::time::Duration;

use super::LinuxGuest;
use crate::error::Result;

impl LinuxGuest {
    /// Keeps `/var/lib/nfs` on an ext4 disk (`"/dev/vda"`): the hosts that statd monitors and the number of times this one
    /// was started. To be called at each boot, before anything of NFS is started.
    pub fn keep_nfs_state(&self, device: &str) -> Result<()> {
        // Owners as Debian's nfs-common sets them at installation.
        let script = format!(
            "set -e\nmount -t ext4 {device} /var/lib/nfs\ncd /var/lib/nfs\nmkdir -p sm sm.bak v4recovery\n\
             touch etab rmtab state\nchown 101:65534 sm sm.bak state"
        );
        self.ok(&script, Duration::from_secs(60)).map(drop)
    }

    /// Starts what Debian starts at boot of a client: rpcbind, statd, and sm-notify, which tells all hosts that were
    /// monitored before this boot that the locks they keep for this host are gone. The kernel's lock manager comes with the first mount.
    pub fn start_statd(&self) -> Result<()> {
        self.ok("set -e\nstart-statd\nsm-notify", Duration::from_secs(60)).map(drop)
    }
}
