//! Frames in one buffer and in several, and descriptors that a device should not write.

use super::*;

#[test]
fn frames_go_around_the_ring_many_times() {
    let (fake, mut device) = up();
    for round in 0..100 {
        for i in 0..60 {
            assert!(fake.deliver(&pattern(60 + i + round), 0), "round {round}");
        }
        let frames = received(&mut device);
        assert_eq!(frames.len(), 60);
        for (i, (frame, _)) in frames.into_iter().enumerate() {
            assert_eq!(frame, pattern(60 + i + round));
        }
    }
    let counters = device.counters();
    assert_eq!((counters.rx_packets, counters.rx_errors), (6000, 0));
    assert!(counters.doorbells <= 300, "{} doorbells", counters.doorbells);
}

#[test]
fn frames_over_several_buffers_come_whole_wherever_they_lie() {
    let (fake, mut device) = up();
    let (mut frames, mut total) = (0, 0);
    // 23 descriptors for all lengths: every frame begins everywhere in the ring and in the pieces of its pool.
    for round in 0..256 {
        for len in [14, 2047, 2048, 2049, 4095, 4096, 4097, 6144, 9014, 9018] {
            let frame: Vec<u8> = pattern(len).into_iter().map(|byte| byte ^ round as u8).collect();
            assert!(fake.deliver(&frame, L4CS), "round {round}");
            assert_eq!(received(&mut device), [(frame, true)], "round {round}, {len} bytes");
            (frames, total) = (frames + 1, total + len as u64);
        }
    }
    let counters = device.counters();
    assert_eq!((counters.rx_packets, counters.rx_bytes, counters.rx_errors), (frames, total, 0));
    assert!(!fake.deliver(&pattern(9019), 0), "the chip was told what is too long");
}

#[test]
fn a_full_ring_of_large_frames_recovers() {
    let (fake, mut device) = up();
    for _ in 0..20 {
        let mut delivered = 0;
        while fake.deliver(&pattern(9018), 0) {
            delivered += 1;
        }
        assert!(delivered >= (COUNT - 1 - 32) / 5, "{delivered}");
        let mut got = 0;
        while device.receive(7, &mut |frame, _| got += usize::from(frame == pattern(9018))) > 0 {}
        assert_eq!(got, delivered);
    }
}

#[test]
fn a_frame_that_is_still_being_written_is_waited_for() {
    let (fake, mut device) = up();
    let frame = pattern(5000);
    for round in 0..300 {
        let (head, rest) = frame.split_at(4096);
        let (first, second) = head.split_at(2048);
        assert!(fake.piece(first, 2048, 0));
        assert!(!device.arm(), "round {round}: nothing to do yet");
        assert!(received(&mut device).is_empty());
        assert!(fake.piece(second, 2048, 0));
        assert!(!device.arm());
        device.disarm();
        assert!(fake.piece(rest, rest.len() as u16, EOP));
        assert!(device.arm());
        assert_eq!(received(&mut device), [(frame.clone(), false)]);
    }
    assert_eq!(device.counters().rx_errors, 0);
}

#[test]
fn a_frame_without_end_is_dropped_to_its_end() {
    let (fake, mut device) = up();
    let (full, mut errors) = (pattern(2048), 0);
    // One that is too long by a byte, by a descriptor, by rounds of the ring.
    for pieces in [5, 6, 9, 10, 11, 200, 700] {
        for _ in 1..pieces {
            assert!(fake.piece(&full, 2048, 0));
            received(&mut device);
        }
        let last = if pieces == 5 { 9019 - 4 * 2048 } else { 1 };
        assert!(fake.piece(&full[..last], last as u16, EOP));
        assert!(fake.deliver(&pattern(3000), 0));
        assert_eq!(received(&mut device), [(pattern(3000), false)], "{pieces} descriptors");
        errors += 1;
        assert_eq!(device.counters().rx_errors, errors, "one frame is one error");
    }
    // The device goes on without an end, the driver does not.
    for _ in 0..10 * COUNT {
        fake.piece(&full, 2048, 0);
        assert!(received(&mut device).is_empty());
    }
    assert_eq!(device.counters().rx_errors, errors);
}

#[test]
fn lengths_that_cannot_be_are_errors() {
    let (fake, mut device) = up();
    let full = pattern(2048);
    let mut errors = 0;
    let mut dropped = |device: &mut Igb, what: &str| {
        errors += 1;
        assert!(received(device).is_empty(), "{what}");
        assert_eq!(device.counters().rx_errors, errors, "{what}");
    };
    for (length, what) in
        [(0, "empty"), (13, "short"), (2049, "beyond the buffer"), (u16::MAX, "far beyond it")]
    {
        fake.piece(&[], length, EOP);
        dropped(&mut device, what);
    }
    for (first, last, what) in [
        (2047, 100, "a hole in the middle"),
        (2049, 100, "more than the first buffer"),
        (0, 100, "nothing in the first buffer"),
        (2048, 2049, "more than the last buffer"),
        (2048, u16::MAX, "much more"),
    ] {
        fake.piece(&full, first, 0);
        fake.piece(&full, last, EOP);
        dropped(&mut device, what);
    }
    fake.deliver(&pattern(60), RXE);
    dropped(&mut device, "error of the wire");
    fake.deliver(&pattern(9000), RXE);
    dropped(&mut device, "error of the wire in the last of several");
    // What stands in the status before the end means nothing.
    fake.piece(&full, 2048, RXE | L4E);
    fake.piece(&full, 2048, EOP);
    assert_eq!(received(&mut device).len(), 1);
}

#[test]
fn checksum_is_trusted_only_when_checked_and_right() {
    let (fake, mut device) = up();
    let all =
        [(0, false), (L4CS, true), (L4CS | UDPCS, true), (L4CS | L4E, false), (L4E, false), (1 << 6, false)];
    for len in [60, 9000] {
        for (status, trusted) in all {
            fake.deliver(&pattern(len), status);
            assert_eq!(received(&mut device), [(pattern(len), trusted)], "{status:#x}");
        }
    }
}

#[test]
fn what_the_chip_lost_is_counted_as_dropped() {
    let (fake, device) = up();
    for (crc, missed, wanted) in [(2, 3, (2, 3)), (0, 0, (2, 3)), (u32::MAX, 1, (2 + u64::from(u32::MAX), 4))]
    {
        // Reading clears these.
        fake.put(0x4000, crc);
        fake.put(0x4010, missed);
        let mut counted = std::collections::BTreeMap::new();
        device.statistics(&mut |name, value| assert!(counted.insert(name, value).is_none(), "{name} twice"));
        assert_eq!((counted["rx_crc_errors"], counted["rx_missed_errors"]), wanted);
        assert_eq!(device.counters().rx_dropped, wanted.1);
    }
}

#[test]
fn few_frames_are_copied() {
    let (fake, mut device) = up();
    let (mut copied, mut frames) = (0, 0);
    for _ in 0..1000 {
        let at = fake.base(RDBAL) + 16 * u64::from(fake.reg(RDH));
        let buffer = TestDma::virt_of(peek::<u64>(at));
        assert!(fake.deliver(&pattern(9000), 0));
        device.receive(1, &mut |frame, _| copied += usize::from(frame.as_ptr() as usize != buffer));
        frames += 1;
    }
    // One in seven: what begins in the last four of 32 buffers.
    assert!(copied * 7 < frames && copied > 0, "{copied} of {frames}");
}

#[test]
fn a_device_that_never_stops_is_left_after_a_round() {
    let (fake, mut device) = up();
    let ring = fake.base(RDBAL);
    let fill = || {
        (0..COUNT as u64).for_each(|i| {
            poke(ring + 16 * i + 12, 60u32);
            poke(ring + 16 * i + 8, EOP | 1);
        });
    };
    fill();
    let mut frames = 0;
    let said = device.receive(usize::MAX, &mut |_, _| {
        frames += 1;
        assert!(frames <= COUNT, "no end");
        fill();
    });
    assert_eq!((said, frames), (COUNT, COUNT));
}
