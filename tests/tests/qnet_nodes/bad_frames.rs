//! Frames that nobody should send: R20, R21 with the real image.

use super::{OFTEN, read};
use keelson_qemu::Rng;
use keelson_tests::qnet::{Peer, Site, console, console_until, counter};
use keelson_tests::world::assert_sound;

/// The test vectors of the specification, as frames.
fn vectors() -> Vec<Vec<u8>> {
    let text = include_str!("../../../roles/qnet/wire/tests/vectors.txt");
    let lines = text.lines().filter_map(|line| line.split_whitespace().last());
    let bytes = |hex: &str| -> Option<Vec<u8>> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()).collect()
    };
    lines.filter(|hex| hex.len() > 100).filter_map(bytes).collect()
}

/// R20: a node of the other byte order announces itself: it is listed.
#[test]
fn the_other_byte_order() {
    let site = Site::new("qnet-big-endian");
    let machine = site.node("beta", &format!("hostname=beta domain=lab.test qnet.options={OFTEN}"));
    let host = site.bench.endpoint(&site.lan, "host", &["10.0.0.9/24"]).unwrap();
    let mut frame = vectors().into_iter().find(|frame| frame.get(16) == Some(&0xaa)).unwrap();
    frame[6..12].copy_from_slice(&host.mac());
    // An announcement: a reply that nobody asked for.
    host.send_frame(&frame);
    let answered = host.frames(Some(0x8204));
    drop(answered);
    console_until(&machine, "cat /proc/qnetstats", |text| {
        text.iter().any(|line| line.contains("lr req rx") && !line.ends_with(" 0"))
    });
    assert_sound(&machine);
}

/// R21: mutations of every vector, from the right address and the right length on the outside. The node lives, serves,
/// and has not grown.
#[test]
fn mutations_change_nothing() {
    const FRAMES: usize = 40_000;
    let site = Site::new("qnet-mutations");
    let machine = site.node("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
    assert_eq!(peer.run(async |user| read(&user, "/net/beta/etc/TIMEZONE").await).unwrap(), b"UTC0\n");
    let host = site.bench.endpoint(&site.lan, "host", &["10.0.0.9/24"]).unwrap();
    host.port().capture(keelson_qemu::Capture::Off);
    let vectors = vectors();
    assert!(vectors.len() >= 30, "{} vectors", vectors.len());
    let mut rng = Rng::new(1);
    let target = site.lan.port("unused").unwrap().default_mac();
    let mut beta = target;
    // The appliance's port was the first of the LAN.
    beta[5] = 0;
    let used = |text: &[String]| -> Option<u64> {
        text.iter().find(|line| line.contains("used"))?.split_whitespace().nth(1)?.parse().ok()
    };
    let before = used(&console(&machine, "mem")).unwrap();
    for number in 0..FRAMES {
        let mut frame = vectors[number % vectors.len()].clone();
        frame[..6].copy_from_slice(if number % 5 == 0 { &[0xff; 6] } else { &beta });
        frame[6..12].copy_from_slice(&host.mac());
        for _ in 0..1 + rng.next_u64() % 4 {
            let at = 14 + (rng.next_u64() as usize) % (frame.len() - 14);
            frame[at] = rng.next_u64() as u8;
        }
        host.send_frame(&frame);
        if number % 500 == 0 {
            // The node is asked now and then, so that the switch does not drop most of it.
            assert_eq!(
                peer.run(async |user| read(&user, "/net/beta/etc/TIMEZONE").await).unwrap(),
                b"UTC0\n"
            );
        }
    }
    assert!(counter(&machine, "rxd bad L4") > 100);
    let after = used(&console(&machine, "mem")).unwrap();
    assert!(after < before + 2048, "{before} KiB before, {after} KiB after");
    assert_sound(&machine);
}
