//! What messages cost a Qnet node, in counts that do not depend on how busy the host is. `make bench ROLE=qnet-node` gives
//! the times.

use keelson_qemu::Machine;
use keelson_qnet_wire::Errno;
use keelson_tests::qnet::{OpenFlags, Peer, Site};
use keelson_tests::world::{NicCounters, assert_sound, shell};

/// Counted on a node that does `work`, per time.
#[derive(Debug)]
struct Counts {
    packets: f64,
    doorbells: f64,
    interrupts: f64,
    allocations: f64,
}

fn allocations(machine: &Machine) -> u64 {
    let lines = shell(machine, "mem");
    let line = lines.iter().find(|line| line.contains("made since boot"));
    let number = line.and_then(|line| line.split_whitespace().rev().nth(3)?.parse().ok());
    number.unwrap_or_else(|| panic!("no allocations in {lines:#?}"))
}

fn counts(machine: &Machine, times: u32, work: impl Fn(u32)) -> Counts {
    // Connections exist, and everything that keeps memory has it.
    work(times / 4);
    let (before, allocated) = (NicCounters::of(machine), allocations(machine));
    work(times);
    let (allocated, after) = (allocations(machine) - allocated, NicCounters::of(machine).since(before));
    let per = |count: u64| count as f64 / f64::from(times);
    let counts = Counts {
        packets: per(after.tx_packets),
        doorbells: per(after.doorbells),
        interrupts: per(after.interrupts),
        allocations: per(allocated),
    };
    eprintln!("{counts:.2?}");
    counts
}

#[test]
fn a_message_is_one_doorbell() {
    let site = Site::new("qnet-counts");
    let machine = site.node_with_disk("keel", "hostname=keel qnet.echo");
    let peer = Peer::start(&site.lan.port("peer").unwrap(), "peer", "").unwrap();
    let echo = |times| {
        let sent = peer.run(async move |user| {
            let server = user.files().open("/net/keel/dev/name/local/echo", OpenFlags::READ_WRITE).await?;
            for _ in 0..times {
                server.connection().send(&[&[7; 16]], &mut [0; 16]).await?;
            }
            Ok::<_, Errno>(())
        });
        sent.unwrap();
    };
    // The reply; messages share an ACK by eights.
    let counts_of_echo = counts(&machine, 1000, echo);
    assert!(counts_of_echo.packets < 1.3, "{counts_of_echo:?}");
    assert!(counts_of_echo.doorbells < 1.1, "{counts_of_echo:?}");
    // The interface's task takes a message in, and has no turn for the reply.
    assert!(counts_of_echo.interrupts < 1.2, "{counts_of_echo:?}");
    assert!(counts_of_echo.allocations < 1.0, "{counts_of_echo:?}");

    peer.run(async |user| {
        let file = user.files().create("/net/keel/file", 0o644).await?;
        file.write_all(&vec![7; 1 << 20]).await?;
        file.close().await
    })
    .unwrap();
    let read = |times| {
        let read = peer.run(async move |user| {
            let file = user.files().open("/net/keel/file", OpenFlags::READ).await?;
            let mut room = vec![0; 64 << 10];
            for time in 0..times {
                file.read_at(u64::from(time % 16) << 16, &mut room).await?;
            }
            Ok::<_, Errno>(())
        });
        read.unwrap();
    };
    // 64 KiB and a header are 46 frames.
    let counts_of_read = counts(&machine, 200, read);
    assert!(counts_of_read.allocations < 40.0, "{counts_of_read:?}");
    assert!(counts_of_read.packets < 48.0, "{counts_of_read:?}");
    assert!(counts_of_read.doorbells < 4.0, "{counts_of_read:?}");
    assert_sound(&machine);
}
