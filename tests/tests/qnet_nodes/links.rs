//! Links: R1, R18, R19.

use super::{OFTEN, listed, pattern, read, until, write};
use keelson_qemu::{Drive, Impairment, Nic, NicModel};
use keelson_qnet_wire::Errno;
use keelson_tests::Appliance;
use keelson_tests::qnet::{Peer, Site, console, console_until, counter, started};
use keelson_tests::world::{SOON, assert_sound};
use std::time::Duration;

/// R1, with the real image on one side: 16 MiB each way over a link that loses every twentieth frame.
#[test]
fn a_bad_cable_costs_time_only() {
    let site = Site::new("qnet-loss");
    let disk = site.disk("beta");
    let port = site.lan.port("beta").unwrap();
    let line = format!("hostname=beta qnet.options={OFTEN}");
    let spec = Appliance::qnet(&site.bench, "beta", &line).nic(Nic::on(&port, NicModel::Virtio));
    let machine = started(spec.drive(Drive::file(disk.path())));
    let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
    port.impair(Impairment::loss(0.05), 1);
    let whole = pattern(16 << 20);
    let sent = whole.clone();
    peer.run(async move |user| write(&user, "/net/beta/file", &sent).await).unwrap();
    assert!(
        peer.run(async |user| read(&user, "/net/beta/file").await).unwrap() == whole,
        "the file has changed"
    );
    port.impair(Impairment::default(), 0);
    assert!(counter(&machine, "l4 retransmits") > 0);
    assert_eq!(counter(&machine, "kif nd_down"), 0);
    assert_sound(&machine);
    site.assert_well_formed();
}

/// R18: an interface goes while it is used. With a second one the transfer goes on; without, it fails.
#[test]
fn an_interface_is_unmounted() {
    let site = Site::new("qnet-two-links");
    let second = site.bench.lan("second").unwrap();
    let disk = site.disk("beta");
    let line = "ip=:::::eth0:off ip=:::::eth1:off hostname=beta qnet.options=auto_add=5";
    let spec = Appliance::qnet(&site.bench, "beta", line)
        .nic(Nic::on(&site.lan.port("beta-0").unwrap(), NicModel::Virtio))
        .nic(Nic::on(&second.port("beta-1").unwrap(), NicModel::Virtio));
    let beta = started(spec.drive(Drive::file(disk.path())));
    let spec = Appliance::qnet(&site.bench, "alpha", &line.replace("beta", "alpha"))
        .nic(Nic::on(&site.lan.port("alpha-0").unwrap(), NicModel::Virtio))
        .nic(Nic::on(&second.port("alpha-1").unwrap(), NicModel::Virtio));
    let alpha = started(spec);
    let writer = Peer::start(&site.lan.port("writer").unwrap(), "writer", OFTEN).unwrap();
    writer.run(async |user| write(&user, "/net/beta/file", &pattern(8 << 20)).await).unwrap();
    drop(writer);
    console_until(&alpha, "ls /net", |names| names.concat().contains("beta"));
    // A copy that takes a while goes on over the other link.
    alpha.console().send_line("cp /net/beta/file /net/beta/copy &").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(console(&beta, "umount /dev/io-net/en0"), [""; 0]);
    console_until(&alpha, "ls -l /net/beta/copy", |listing| listing.concat().contains(" 8388608 "));
    assert_eq!(console(&alpha, "ls /net/beta/etc/TIMEZONE"), ["/net/beta/etc/TIMEZONE"]);
    // Without any link nobody is reached, and the one who asks is told.
    assert_eq!(console(&beta, "umount /dev/io-net/en1"), [""; 0]);
    let refused = console(&beta, "ls /net/alpha/etc").concat();
    assert!(refused.contains("etwork is down") || refused.contains("No such file"), "{refused}");
    // And back.
    assert_eq!(console(&beta, "mount -Tio-pkt devn-virtio.so"), [""; 0]);
    console_until(&beta, "cat /net/alpha/etc/TIMEZONE", |text| text == ["UTC0"]);
    assert_sound(&alpha);
    assert_sound(&beta);
}

/// R19: Qnet is unmounted: nothing of it is left here, and the others know at once.
#[test]
fn qnet_is_unmounted() {
    let site = Site::new("qnet-unmounted");
    let machine = site.node("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
    console_until(&machine, "ls /net", |names| names.concat().contains("alpha"));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let reading = peer.begin(async move |user| {
        let file =
            user.files().open("/net/beta/etc/TIMEZONE", keelson_tests::qnet::OpenFlags::READ).await.unwrap();
        ready.send(()).unwrap();
        loop {
            if let Err(errno) = file.read_at(0, &mut [0; 10]).await {
                return errno;
            }
            user.handle.sleep(Duration::from_millis(5)).await;
        }
    });
    is_ready.recv_timeout(SOON).unwrap();
    assert_eq!(console(&machine, "umount /net"), [""; 0]);
    let errno = reading.wait(Duration::from_secs(3)).unwrap();
    assert!(errno == Errno::ESRCH || errno == Errno::EBADF, "{errno}");
    for path in ["/proc/qnetstats", "/net"] {
        let printed = console(&machine, &format!("ls {path}")).concat();
        assert!(printed.contains("No such file or directory"), "{path}: {printed}");
    }
    let twice = console(&machine, "umount /net").concat();
    assert!(!twice.is_empty());
    assert_eq!(console(&machine, &format!("mount -Tio-pkt -o {OFTEN} lsm-qnet.so")), [""; 0]);
    let again = console(&machine, "mount -Tio-pkt lsm-qnet.so").concat();
    assert!(again.contains("busy"), "{again}");
    until("it is back", SOON, || listed(&peer).contains(&"beta".into()));
    assert_eq!(peer.run(async |user| read(&user, "/net/beta/etc/TIMEZONE").await).unwrap(), b"UTC0\n");
    assert_sound(&machine);
    site.assert_well_formed();
}
