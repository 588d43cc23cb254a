//! The bench's own proof: machines on every board and NIC, DHCP, and a disk that loses what was not flushed.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use keelson_qemu::{
    Bench, Board, Cache, DhcpConfig, Drive, Exit, Ext4Spec, Keep, LinuxGuest, LinuxSpec, Nic, NicModel,
};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn boards_and_nics_and_dhcp() {
    let bench = Bench::new("boards");
    let lan = bench.lan("lan").unwrap();
    let host = bench.endpoint(&lan, "host", &["10.0.0.9/24"]).unwrap();
    host.serve_dhcp(DhcpConfig {
        server: Ipv4Addr::new(10, 0, 0, 9),
        first: Ipv4Addr::new(10, 0, 0, 100),
        prefix: 24,
        router: Some(Ipv4Addr::new(10, 0, 0, 9)),
        ntp: Vec::new(),
        dns: vec![Ipv4Addr::new(10, 0, 0, 9)],
        host_name: Some("bench".into()),
        boot_uri: None,
        lease_seconds: 3600,
    });
    for (i, board) in [Board::Q35, Board::Pc].into_iter().enumerate() {
        let name = format!("{board:?}");
        let port = lan.port(&name).unwrap();
        let web = Nic::user(NicModel::Virtio).forward_tcp(80);
        let spec = LinuxSpec::new(&name).board(board).on_port(&port, &[]).nic(web, &["10.0.2.15/24"]);
        let guest = LinuxGuest::boot(&bench, spec).unwrap();
        eprintln!("{board:?} booted in {:.1?}", guest.boot_time());
        guest.ok("echo hello > /tmp/index.html; httpd -p 80 -h /tmp", LONG).unwrap();
        let mut http = TcpStream::connect(guest.machine().forwarded_tcp(80).unwrap()).unwrap();
        http.set_read_timeout(Some(LONG)).unwrap();
        http.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        http.read_to_string(&mut page).unwrap();
        assert!(page.ends_with("hello\n"), "{page}");
        // busybox's client shows what it got to its script.
        guest.write_file("/lease.sh", b"#!/bin/sh\n[ \"$1\" = bound ] && env > /lease\n").unwrap();
        guest.ok("chmod +x /lease.sh; udhcpc -q -n -i eth0 -s /lease.sh", LONG).unwrap();
        let lease = guest.ok("cat /lease", LONG).unwrap();
        let address = format!("10.0.0.{}", 100 + i);
        for line in [&format!("ip={address}"), "mask=24", "router=10.0.0.9", "hostname=bench"] {
            assert!(lease.contains(line), "{line} in:\n{lease}");
        }
        guest.ok(&format!("ip addr add {address}/24 dev eth0"), LONG).unwrap();
        host.ping(address.parse().unwrap(), 56, LONG).unwrap();
        host.ping(address.parse().unwrap(), 8000, LONG).unwrap();
        // A frame through a pulled cable, and a carrier that goes.
        port.cut();
        assert!(host.ping(address.parse().unwrap(), 56, Duration::from_millis(300)).is_err());
        port.restore();
        guest.machine().set_link(0, false).unwrap();
        guest.ok("for i in $(seq 50); do grep -q 0 /sys/class/net/eth0/carrier && exit 0; sleep 0.1; done; exit 1", LONG)
            .unwrap();
    }
    assert_eq!(host.leases().len(), 2);
}

#[test]
fn qemu_takes_every_board_and_nic() {
    let bench = Bench::new("command-lines");
    let lan = bench.lan("lan").unwrap();
    let image = bench.dir().join("disk");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let every = [
        (Board::Pc, vec![NicModel::E1000, NicModel::Virtio]),
        (Board::Q35, vec![NicModel::E1000e, NicModel::E1000, NicModel::Virtio]),
        (Board::Microvm, vec![NicModel::Virtio, NicModel::Virtio]),
    ];
    for (board, models) in every {
        let mut spec = bench.machine(&format!("{board:?}")).board(board).cpus(2).memory_mib(64);
        for model in models {
            spec = spec.nic(Nic::on(&lan.port("nic").unwrap(), model));
        }
        let drive = Drive::file(&image).cache(Cache::Unsafe).snapshot().throttle(1 << 20, 100);
        let machine = spec.drive(drive).rng().virtio_console().channel("c").start().unwrap();
        assert!(machine.qmp("query-status", "{}").unwrap().contains("running"));
        machine.pause().unwrap();
        assert!(machine.qmp("query-status", "{}").unwrap().contains("paused"));
        machine.resume().unwrap();
        machine.qmp("quit", "{}").unwrap();
        assert_eq!(machine.wait(LONG).unwrap(), Exit::PowerOff);
    }
    let error = bench.machine("bad").args(["-device", "nonsense"]).start().map(drop).unwrap_err();
    assert!(error.to_string().contains("not a valid device model"), "{error}");
}

#[test]
fn a_power_cut_loses_only_what_was_not_flushed() {
    let bench = Bench::new("power-cut");
    let image = bench.ext4("data", &Ext4Spec::new(64 << 20)).unwrap();
    let disk = bench.volatile_disk("data", image.path()).unwrap();
    let spec = LinuxSpec::new("victim").drive(Drive::nbd(disk.socket()));
    let mut guest = LinuxGuest::boot(&bench, spec).unwrap();
    for seed in 0..2 {
        guest.ok("mount -t ext4 /dev/vda /mnt && rm -rf /mnt/d && mkdir /mnt/d", LONG).unwrap();
        guest.ok("for i in $(seq 20); do echo kept $i > /mnt/d/kept$i; done; sync", LONG).unwrap();
        let script = "while true; do i=$((i+1)); dd if=/dev/urandom of=/mnt/d/f$i bs=64k count=1; done";
        let _busy = guest.spawn(script).unwrap();
        guest.ok("sleep 1; dd if=/dev/zero of=/mnt/d/direct bs=1M count=4 oflag=direct", LONG).unwrap();
        let unflushed = disk.unflushed();
        assert!(unflushed > 0, "nothing would be lost");
        guest.machine().kill();
        disk.cut(if seed == 0 { Keep::None } else { Keep::Random { seed } }).unwrap();
        let copy = image.copy_to(&bench.dir().join("after.ext4")).unwrap();
        copy.replay().unwrap();
        copy.check().unwrap();
        assert_eq!(copy.read("/d/kept20").unwrap(), b"kept 20\n");
        eprintln!(
            "{unflushed} unflushed blocks at the cut; {} writes, {} flushes",
            disk.writes(),
            disk.flushes()
        );
        guest = guest.restart().unwrap();
    }
}
