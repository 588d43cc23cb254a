//! R25: mixed traffic over links that lose one frame in a hundred, for a while, or for `KEELSON_SOAK`'s time.

use super::{pattern, read, write};
use keelson_qemu::{Drive, Impairment, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::qnet::{OpenFlags, Peer, Site, console, counter, started};
use keelson_tests::soak;
use keelson_tests::world::assert_sound;
use std::time::{Duration, Instant};

/// How long without being asked for more.
const SHORT: Duration = Duration::from_secs(20);
/// What memory in use may differ by between two quiet moments, in KiB: caches, and tables that grew.
const GROWTH: u64 = 2048;

#[test]
fn mixed_traffic_leaves_nothing_behind() {
    let site = Site::new("qnet-soak");
    let disk = site.disk("beta");
    let port = site.lan.port("beta").unwrap();
    let line = "hostname=beta qnet.options=auto_add=5,do_crc=1 qnet.echo";
    let spec = Appliance::qnet(&site.bench, "beta", line).nic(Nic::on(&port, NicModel::Virtio));
    let machine = started(spec.drive(Drive::file(disk.path())));
    port.capture(keelson_qemu::Capture::Off);
    port.impair(Impairment::loss(0.01), soak::seed(1));
    let peers: Vec<Peer> = (0..4)
        .map(|number| {
            let (name, port) = (format!("peer{number}"), site.lan.port(&format!("peer{number}")).unwrap());
            port.capture(keelson_qemu::Capture::Off);
            Peer::start(&port, &name, "auto_add=5,do_crc=1").unwrap()
        })
        .collect();
    let traffic = |time: Duration| {
        let running: Vec<_> = peers
            .iter()
            .enumerate()
            .map(|(number, peer)| {
                peer.begin(async move |user| {
                    let (end, path) = (Instant::now() + time, format!("/net/beta/file{number}"));
                    let files = user.files();
                    let mut rounds = 0_usize;
                    while Instant::now() < end {
                        let content = pattern(1 + rounds * 7919 % 300_000);
                        write(&user, &path, &content).await.unwrap();
                        assert!(read(&user, &path).await.unwrap() == content);
                        let echo =
                            files.open("/net/beta/dev/name/local/echo", OpenFlags::READ_WRITE).await.unwrap();
                        for len in [1, 100, 9000, 65_536] {
                            let mut back = vec![0; len];
                            let (_, got) = echo
                                .connection()
                                .send(&[&content[..content.len().min(len)]], &mut back)
                                .await
                                .unwrap();
                            assert_eq!(back[..got], content[..content.len().min(len)]);
                        }
                        files.read_dir("/net/beta/proc").await.unwrap();
                        files.stat("/net/beta").await.unwrap();
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let rounds: Vec<usize> = running
            .into_iter()
            .map(|pending| pending.wait(time + Duration::from_secs(120)).unwrap())
            .collect();
        eprintln!("rounds of each peer: {rounds:?}");
        assert!(rounds.iter().all(|rounds| *rounds > 3));
    };
    let quiet = || {
        super::until("everything is given back", Duration::from_secs(30), || {
            counter(&machine, "kif net_server") == 0 && counter(&machine, "l4 buffers") == 0
        });
        let lines = console(&machine, "mem");
        let line = lines.iter().find(|line| line.contains("used")).unwrap().clone();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Everything that keeps memory for reuse has it after this.
    traffic(Duration::from_secs(5));
    let before = quiet();
    traffic(soak::time().unwrap_or(SHORT));
    let after = quiet();
    assert!(after <= before + GROWTH, "{before} KiB before, {after} KiB after");
    assert!(counter(&machine, "l4 retransmits") > 0);
    assert_eq!(counter(&machine, "kif nd_down"), 0);
    assert_sound(&machine);
}
