//! A server to test: the appliance, or Linux's own as the reference. Both on the same kind of disk at the same address, so
//! that a test takes either.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use keelson_qemu::{
    Bench, Cache, Drive, Exit, Ext4Image, Ext4Spec, Grace, Knfsd, Lan, LinuxGuest, LinuxSpec, Machine, Nic,
    NicModel, WireProtocols,
};

use crate::Appliance;

/// Where it is.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// For everything that takes seconds on a quiet host.
const LONG: Duration = Duration::from_secs(300);
/// The grace period after a start, in seconds: long enough for clients to come back on a busy host, and not to wait for long.
pub const GRACE: u32 = 20;

/// Bytes of its disk; of this size on mke2fs makes blocks of 4 KiB.
const DISK: u64 = 512 << 20;

/// Whose server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// The appliance under test.
    Appliance,
    /// The reference: Linux's knfsd.
    Linux,
}

/// A running server that exports its whole disk as `/` to everybody, root not squashed.
pub struct Server {
    machine: Running,
    disk: Ext4Image,
}

enum Running {
    Appliance(Machine),
    Linux(LinuxGuest),
}

impl Server {
    /// Starts one with an empty disk at [`ADDRESS`], and waits until it serves.
    ///
    /// # Panics
    ///
    /// When it does not serve.
    pub fn start(maker: Maker, bench: &Bench, lan: &Lan) -> Server {
        Server::with_options(maker, bench, lan, "")
    }

    /// The same with a grace period of [`GRACE`] seconds after a restart, for tests of lock recovery.
    ///
    /// # Panics
    ///
    /// When it does not serve.
    pub fn start_for_locks(maker: Maker, bench: &Bench, lan: &Lan) -> Server {
        Server::with_options(maker, bench, lan, &format!("nfs.grace={GRACE}"))
    }

    /// `options` are the appliance's; Linux always has the short grace period.
    fn with_options(maker: Maker, bench: &Bench, lan: &Lan, options: &str) -> Server {
        let name = format!("{maker:?}").to_lowercase();
        let disk = bench.ext4(&name, &Ext4Spec::new(DISK)).unwrap();
        // Flushes of the disk are not carried out: what dies here is QEMU, not the host.
        let drive = Drive::file(disk.path()).cache(Cache::Unsafe);
        let port = lan.port(&name).unwrap();
        let machine = match maker {
            Maker::Appliance => {
                let line = format!("ip={ADDRESS}/24:eth0 {options} nfs.exports=\"/ *(rw,no_root_squash)\"");
                let spec = Appliance::nfs(bench, &name, &line);
                let machine = spec.nic(Nic::on(&port, NicModel::Virtio)).drive(drive).start().unwrap();
                machine.expect("serving NFS", LONG).unwrap();
                Running::Appliance(machine)
            }
            Maker::Linux => {
                let state = bench.ext4("state", &Ext4Spec::new(8 << 20)).unwrap();
                let spec = LinuxSpec::new(&name).on_port(&port, &[&format!("{ADDRESS}/24")]);
                let spec = spec.drive(drive).drive(Drive::file(state.path()).cache(Cache::Unsafe));
                let guest = LinuxGuest::boot(bench, spec.memory_mib(384)).unwrap();
                serve(&guest, Grace::Skip);
                Running::Linux(guest)
            }
        };
        Server { machine, disk }
    }

    /// Cuts its power and starts it again; serves when this returns.
    ///
    /// # Panics
    ///
    /// When it does not serve.
    pub fn restart(self) -> Server {
        let Server { machine, disk } = self;
        let machine = match machine {
            Running::Appliance(machine) => {
                let machine = machine.restart().unwrap();
                machine.expect("serving NFS", LONG).unwrap();
                Running::Appliance(machine)
            }
            Running::Linux(guest) => {
                let guest = guest.restart().unwrap();
                serve(&guest, Grace::Seconds(GRACE));
                Running::Linux(guest)
            }
        };
        Server { machine, disk }
    }

    /// Shuts it down in order; the file system it leaves is sound.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn finish(self) {
        match self.machine {
            Running::Appliance(machine) => {
                machine.console().send_line("poweroff").unwrap();
                assert_eq!(machine.wait(LONG).unwrap(), Exit::PowerOff);
            }
            Running::Linux(guest) => {
                // The kernel lets go of files and exports a moment after it was told to.
                let stop = "rpc.nfsd 0; exportfs -ua; exportfs -f; kill $(pidof rpc.mountd)\n\
                            for i in $(seq 50); do umount /srv && exit 0; sleep 0.2; done; exit 1";
                guest.ok(stop, LONG).unwrap();
                assert_eq!(guest.power_off().unwrap(), Exit::PowerOff);
            }
        }
        self.disk.check().unwrap();
    }
}

/// What follows a boot of the Linux server.
fn serve(guest: &LinuxGuest, grace: Grace) {
    guest.keep_nfs_state("/dev/vdb").unwrap();
    guest.ok("mount -t ext4 /dev/vda /srv; chmod 755 /srv", LONG).unwrap();
    // Exports are below /srv, so that both servers have the same paths.
    guest.write_file("/etc/nfs.conf", b"[exports]\nrootdir=/srv\n").unwrap();
    let exports = "/ *(rw,sync,no_root_squash,no_subtree_check)".into();
    let protocols = WireProtocols::TcpAndUdp;
    guest.start_knfsd(&Knfsd { exports, threads: 4, protocols, grace }).unwrap();
}
