//! Frames in one buffer and in several, and descriptors that a device should not write.

use super::*;
use crate::intel::layout::Written;
use crate::intel::testing::{Receiver, receiving_tests};

impl Receiver for Fake {
    type Driver = Igb;

    fn up() -> (Rc<Fake>, Igb) {
        up()
    }

    fn ring(&self) -> (u64, usize, usize) {
        (self.base(RDBAL), self.reg(RDH) as usize, self.reg(RDT) as usize)
    }

    fn piece(&self, content: &[u8], written: Written) -> bool {
        let room = self.piece(content, written.len as u16, status(written));
        if room && written.ends {
            self.noted();
        }
        room
    }

    fn write_back(at: u64, written: Written) {
        write_back(at, written.len as u16, status(written));
    }

    fn interrupted(&self) -> bool {
        self.interrupts().iter().sum::<u32>() > 0
    }
}

fn status(written: Written) -> u32 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(written.ends, EOP) | bit(written.verified, L4CS) | bit(written.faulty, RXE)
}

receiving_tests!(Fake);

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
