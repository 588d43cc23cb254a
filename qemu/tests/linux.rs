//! Two Linux guests on a switch: the reference client mounts the reference server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;
use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Drive, Exit, Ext4Spec, Knfsd, LinuxGuest, LinuxSpec};

const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_linux_client_mounts_knfsd() {
    let bench = Bench::new("linux-knfsd");
    let lan = bench.lan("lan").unwrap();
    let disk = bench.ext4("data", &Ext4Spec::new(128 << 20)).unwrap();
    let server = LinuxSpec::new("server").on(&lan, "10.0.0.1/24").drive(Drive::file(disk.path()));
    let client = LinuxSpec::new("client").on(&lan, "10.0.0.2/24");

    let start = Instant::now();
    let (server, client) = thread::scope(|scope| {
        let server = scope.spawn(|| LinuxGuest::boot(&bench, server));
        let client = LinuxGuest::boot(&bench, client);
        (server.join().unwrap().unwrap(), client.unwrap())
    });
    eprintln!("both booted after {:.1?} ({:.1?} both)", server.boot_time(), start.elapsed());

    server.ok("mount -t ext4 /dev/vda /srv", LONG).unwrap();
    server.start_knfsd(&Knfsd::export("/srv", "rw,sync,no_root_squash")).unwrap();
    eprintln!("knfsd up {:.1?} after the start of QEMU", server.machine().started().elapsed());

    let programs = client.ok("rpcinfo -p 10.0.0.1", LONG).unwrap();
    for line in ["100003    3   tcp   2049  nfs", "mountd", "portmapper", "nlockmgr"] {
        assert!(programs.contains(line), "{line} in:\n{programs}");
    }
    assert_eq!(client.ok("showmount -e 10.0.0.1", LONG).unwrap(), "Export list for 10.0.0.1:\n/srv *\n");

    client.ok("mount -t nfs -o vers=3,proto=tcp 10.0.0.1:/srv /mnt", LONG).unwrap();
    let written = client
        .time("dd if=/dev/urandom of=/tmp/file bs=1M count=8 2>/dev/null; cp /tmp/file /mnt/file; sync", LONG)
        .unwrap();
    client.ok("mkdir /mnt/d && for i in $(seq 50); do echo $i > /mnt/d/$i; done", LONG).unwrap();
    client.ok("umount /mnt && mount -t nfs -o vers=3,proto=tcp 10.0.0.1:/srv /mnt", LONG).unwrap();
    let sums = client.ok("cat /mnt/file | sha256sum; sha256sum < /tmp/file", LONG).unwrap();
    let sums: Vec<_> = sums.lines().collect();
    assert_eq!(sums[0], sums[1]);
    assert_eq!(
        client.ok("ls /mnt/d | wc -l; cat /mnt/d/*|md5sum; seq 50|sort|md5sum", LONG).unwrap().lines().next(),
        Some("50")
    );
    let lock = client.ok("flock -n /mnt/d/1 echo locked", LONG).unwrap();
    assert_eq!(lock, "locked\n");
    let usage = server.machine().usage().unwrap();
    eprintln!("8 MiB written in {written:.2?}; server cost so far {usage:?}");

    // Several scripts at once, big output, a failure, and a job that is killed.
    let sleeper = client.spawn("sleep 1000").unwrap();
    let output = client.run("seq 100000; echo oops >&2; exit 3", LONG).unwrap();
    assert_eq!((output.status, output.stdout.len(), output.stderr.as_str()), (3, 588_895, "oops\n"));
    client.kill(&sleeper).unwrap();
    assert_ne!(sleeper.wait(LONG).unwrap().status, 0);

    client.ok("umount /mnt", LONG).unwrap();
    server.ok("rpc.nfsd 0; exportfs -ua; umount /srv", LONG).unwrap();
    assert_eq!(server.power_off().unwrap(), Exit::PowerOff);
    disk.check().unwrap();
    assert_eq!(disk.read("/d/7").unwrap(), b"7\n");
    eprintln!("the whole test took {:.1?}", start.elapsed());
}

#[test]
fn a_guest_gets_a_tree_of_the_host() {
    let bench = Bench::new("linux-overlay");
    let tree = bench.dir().join("tree");
    fs::create_dir_all(tree.join("usr/sbin")).unwrap();
    fs::create_dir_all(tree.join("lib/x86_64-linux-gnu")).unwrap();
    fs::create_dir_all(tree.join("etc/empty")).unwrap();
    fs::write(tree.join("usr/sbin/tool"), "#!/bin/sh\ncat /lib/x86_64-linux-gnu/data\n").unwrap();
    fs::set_permissions(tree.join("usr/sbin/tool"), PermissionsExt::from_mode(0o750)).unwrap();
    symlink("tool", tree.join("usr/sbin/other-name")).unwrap();
    fs::write(tree.join("lib/x86_64-linux-gnu/data"), "from the host\n").unwrap();
    fs::write(tree.join("etc/services"), "ours 1/tcp\n").unwrap();

    let spec = LinuxSpec::new("guest").overlay(&tree);
    let guest = LinuxGuest::boot(&bench, spec.clone()).unwrap();
    assert_eq!(guest.ok("other-name", LONG).unwrap(), "from the host\n");
    let script = "stat -c '%a %u' /usr/sbin/tool; readlink /usr/sbin/other-name; readlink /lib; cat /etc/services; ls /etc/empty";
    assert_eq!(guest.ok(script, LONG).unwrap(), "750 0\ntool\nusr/lib\nours 1/tcp\n");

    // What changed under the same name is there at the next boot.
    fs::write(tree.join("lib/x86_64-linux-gnu/data"), "changed\n").unwrap();
    drop(guest);
    let guest = LinuxGuest::boot(&bench, spec).unwrap();
    assert_eq!(guest.ok("tool", LONG).unwrap(), "changed\n");
}
