//! Frames longer than a buffer.

use super::*;
use crate::intel::ring::{BUFFER, next};

/// Longest frame of the 82574L.
const LONGEST: usize = 9018;

impl Fake {
    /// Receives a frame over as many buffers as it needs; `None` when there are not enough.
    fn deliver_long(&self, frame: &[u8], status: u8, errors: u8) -> Option<bool> {
        assert!(frame.len() <= 1522 || self.reg(RCTL) & RCTL_LPE != 0, "dropped by the chip");
        let free = (self.reg(RDT) as usize + COUNT - self.reg(RDH) as usize) % COUNT;
        if frame.len().div_ceil(BUFFER) > free {
            return None;
        }
        let mut interrupt = false;
        for part in frame.chunks(BUFFER).rev().skip(1).rev() {
            interrupt |= self.deliver(part, 0, 0)?;
        }
        interrupt |= self.deliver(frame.chunks(BUFFER).last()?, EOP | status, errors)?;
        Some(interrupt)
    }
}

/// Receives all there is; for how many frames.
fn drained(device: &mut E1000) -> usize {
    let mut frames = 0;
    while device.receive(64, &mut |_, _| frames += 1) > 0 {}
    frames
}

#[test]
fn long_frames_arrive_whole_wherever_they_begin() {
    let (fake, mut device) = up(Chip::I82574l);
    let (mut frames, mut bytes, mut starts, mut over_the_end) = (0, 0, vec![0; COUNT], 0);
    // Of 1, 2, 3 and 5 buffers, exactly full, one byte less and one byte more.
    for len in
        [14, 2047, 2048, 2049, 4096, 4097, 6144, LONGEST - 1, LONGEST].into_iter().cycle().take(9 * 300)
    {
        // The number is in the frame, so that an old one in the same place does not pass for it.
        let frame: Vec<u8> = pattern(len).into_iter().map(|byte| byte.wrapping_add(frames as u8)).collect();
        let start = fake.reg(RDH) as usize;
        starts[start] += 1;
        over_the_end += u32::from(start + len.div_ceil(BUFFER) > COUNT);
        fake.deliver_long(&frame, TCPCS, 0).expect("room");
        assert!(received(&mut device) == [(frame, true)], "{len} bytes from {start} on");
        frames += 1;
        bytes += len as u64;
    }
    assert!(starts.iter().all(|&count| count > 0) && over_the_end > 10);
    let counters = device.counters();
    assert_eq!((counters.rx_packets, counters.rx_bytes, counters.rx_errors), (frames, bytes, 0));
}

#[test]
fn end_without_bytes_is_an_end() {
    let (fake, mut device) = up(Chip::I82574l);
    // The chip may need a buffer for an FCS that it strips.
    fake.deliver(&pattern(BUFFER), 0, 0);
    fake.deliver(&[], EOP, 0);
    assert_eq!(received(&mut device), [(pattern(BUFFER), false)]);
}

#[test]
fn frame_may_come_in_parts() {
    let (fake, mut device) = up(Chip::I82574l);
    let frame = pattern(2 * BUFFER + 100);
    for _ in 0..100 {
        device.disarm();
        for part in 0..2 {
            fake.deliver(&frame[part * BUFFER..][..BUFFER], 0, 0);
            assert!(received(&mut device).is_empty());
            assert!(!device.arm(), "nothing to do before the rest comes");
        }
        assert_eq!(fake.deliver(&frame[2 * BUFFER..], EOP, 0), Some(true), "interrupt");
        device.disarm();
        assert_eq!(received(&mut device), [(frame.clone(), false)]);
    }
    assert_eq!(device.counters().rx_errors, 0);
}

#[test]
fn budget_is_for_frames() {
    let (fake, mut device) = up(Chip::I82574l);
    for _ in 0..40 {
        fake.deliver_long(&pattern(LONGEST), 0, 0).expect("room");
    }
    let mut count = 0;
    assert_eq!(device.receive(3, &mut |frame, _| count += usize::from(frame.len() == LONGEST)), 3);
    assert_eq!(device.receive(64, &mut |frame, _| count += usize::from(frame.len() == LONGEST)), 37);
    assert_eq!(count, 40);
}

#[test]
fn longer_frames_are_dropped() {
    for (chip, longest) in [(Chip::I82574l, LONGEST), (Chip::I82540em, 16_128)] {
        let (fake, mut device) = up(chip);
        for (errors, more) in [1, 300, 2048, 20_000].into_iter().enumerate() {
            fake.deliver_long(&pattern(longest + more), 0, 0).expect("room");
            fake.deliver_long(&pattern(longest), 0, 0).expect("room");
            assert!(received(&mut device) == [(pattern(longest), false)], "{more} bytes more");
            assert_eq!(device.counters().rx_errors, errors as u64 + 1);
        }
    }
}

#[test]
fn frame_without_an_end_does_not_keep_the_ring() {
    let (fake, mut device) = up(Chip::I82574l);
    for part in 0..10_000 {
        assert!(fake.deliver(&pattern(BUFFER), 0, 0).is_some(), "no buffer for part {part}");
        if part % 60 == 0 {
            assert!(received(&mut device).is_empty());
        }
    }
    assert_eq!(device.counters().rx_errors, 0, "one error, at the end");
    fake.deliver(&pattern(10), EOP, 0);
    fake.deliver(&pattern(60), EOP, 0);
    assert_eq!(received(&mut device), [(pattern(60), false)]);
    assert_eq!(device.counters().rx_errors, 1);
    // Parts without bytes, too.
    for _ in 0..10_000 {
        assert!(fake.deliver(&[], 0, 0).is_some());
        received(&mut device);
    }
    fake.deliver(&pattern(60), EOP, 0);
    assert!(received(&mut device).is_empty());
    assert_eq!(device.counters().rx_errors, 2);
}

#[test]
fn frames_with_gaps_are_dropped() {
    let (fake, mut device) = up(Chip::I82574l);
    let parts: [&[usize]; 6] = [
        // A part that is not full, the first, in the middle, of no bytes; one longer than its buffer, in the middle or last.
        &[2047, 300],
        &[BUFFER, 100, 300],
        &[BUFFER, 0, 300],
        &[BUFFER, 2049, 300],
        &[BUFFER, BUFFER, 2049],
        // Nothing but empty ones.
        &[0, 0, 0],
    ];
    for (errors, lengths) in parts.into_iter().enumerate() {
        for (i, &len) in lengths.iter().enumerate() {
            let at = fake.reg(RDH) as usize;
            fake.deliver(&pattern(len.min(BUFFER)), if i + 1 == lengths.len() { EOP } else { 0 }, 0);
            poke(descriptor(&fake, at) + 8, len as u16);
        }
        fake.deliver_long(&pattern(5000), 0, 0);
        assert!(received(&mut device) == [(pattern(5000), false)], "{lengths:?}");
        assert_eq!(device.counters().rx_errors, errors as u64 + 1, "{lengths:?}");
    }
}

fn descriptor(fake: &Fake, index: usize) -> u64 {
    u64::from(fake.reg(RDBAL)) + (u64::from(fake.reg(RDBAH)) << 32) + 16 * index as u64
}

/// Errors and checksums are reported with the end of a frame; elsewhere these fields mean nothing.
#[test]
fn end_of_a_frame_says_how_it_is() {
    let (fake, mut device) = up(Chip::I82574l);
    const CRC: u8 = 1;
    fake.deliver_long(&pattern(5000), TCPCS, CRC);
    assert!(received(&mut device).is_empty());
    assert_eq!(device.counters().rx_errors, 1);
    for (middle, end, trusted) in [(TCPCS, 0, false), (0, TCPCS, true)] {
        fake.deliver(&pattern(BUFFER), middle, CRC);
        fake.deliver(&pattern(100), EOP | end, 0);
        let frame = [pattern(BUFFER), pattern(100)].concat();
        assert_eq!(received(&mut device), [(frame, trusted)]);
    }
    assert_eq!(device.counters().rx_errors, 1);
}

#[test]
fn buffers_go_back_in_order_and_not_before_their_frame_is_whole() {
    let (fake, mut device) = up(Chip::I82574l);
    let frame = pattern(LONGEST);
    for _ in 0..50 {
        for _ in 0..32 {
            fake.deliver(&pattern(60), EOP, 0).expect("room");
        }
        let held = fake.reg(RDH);
        for part in frame.chunks(BUFFER).take(3) {
            fake.deliver(part, 0, 0).expect("room");
        }
        assert_eq!(drained(&mut device), 32);
        assert_eq!(next(fake.reg(RDT) as usize) as u32, held, "the tail ends before what is held");
        for part in frame.chunks(BUFFER).skip(3) {
            fake.deliver(part, if part.len() < BUFFER { EOP } else { 0 }, 0).expect("room");
        }
        assert_eq!(received(&mut device), [(frame.clone(), false)]);
        // All that the device has is empty and has its own buffer.
        let (mut at, mut buffers) = (fake.reg(RDH) as usize, std::collections::HashSet::new());
        while at != fake.reg(RDT) as usize {
            assert_eq!(peek::<u64>(descriptor(&fake, at) + 8), 0, "descriptor {at}");
            assert!(buffers.insert(peek::<u64>(descriptor(&fake, at))), "descriptor {at}");
            at = next(at);
        }
    }
}

#[test]
fn overrun_ring_of_long_frames_recovers() {
    let (fake, mut device) = up(Chip::I82540em);
    for _ in 0..20 {
        let mut delivered = 0;
        while fake.deliver_long(&pattern(9014), 0, 0).is_some() {
            delivered += 1;
        }
        assert!(delivered >= (COUNT - 1 - 32 - 8) / 5, "{delivered}");
        assert_eq!(drained(&mut device), delivered);
    }
}

#[test]
fn long_frames_are_sent_in_pieces() {
    [Chip::I82540em, Chip::I82574l].into_iter().for_each(sent_in_pieces);
}

fn sent_in_pieces(chip: Chip) {
    const DEXT: u32 = 1 << 29;
    let (fake, mut device) = up(chip);
    let tcp = TxOffload { checksum: Some(TxChecksum { start: 34, offset: 16 }), segment_size: None };
    let wanted = [14 | 24 << 8 | 33 << 16, 34 | 50 << 8, DEXT | 1 << 24, 0];
    for round in 0..60 {
        for len in [1514, 2048, 2049, 4096, 4097, 8192, 9014, LONGEST] {
            let frame = pattern(len);
            send(&mut device, &pattern(60 + round)).unwrap();
            send(&mut device, &frame).unwrap();
            device.transmit(len, tcp, &mut |buffer| buffer.copy_from_slice(&frame)).unwrap();
            device.flush();
            let frames = fake.transmit();
            let small = (pattern(60 + round), None);
            assert!(frames == [small, (frame.clone(), None), (frame, Some(wanted))], "{len} bytes");
        }
    }
    assert_eq!(device.transmit_room(), 16, "everything is reclaimed");
    assert_eq!((device.counters().tx_packets, device.counters().tx_tso_packets), (60 * 8 * 3, 0));
}

#[test]
fn buffers_of_long_frames_run_out_and_come_back() {
    let (fake, mut device) = up(Chip::I82574l);
    for round in 0..20 {
        let mut sent = Vec::new();
        // The number is in the frame, so that none passes for another.
        let frame = |number| pattern(LONGEST).into_iter().map(|byte| byte ^ number as u8).collect::<Vec<_>>();
        while send(&mut device, &frame(sent.len())).is_ok() {
            sent.push(frame(sent.len()));
        }
        assert_eq!((sent.len(), device.transmit_room()), (16, 0), "round {round}");
        // There are descriptors for others.
        send(&mut device, &pattern(60)).unwrap();
        sent.push(pattern(60));
        device.flush();
        assert!(!device.arm());
        assert!(fake.reg(IMS) & INT_TXDW != 0, "freed buffers are awaited");
        let got: Vec<_> = fake.transmit().into_iter().map(|(frame, _)| frame).collect();
        assert!(got == sent);
        assert!(device.arm());
        assert_eq!(device.transmit_room(), 16);
    }
}

#[test]
fn few_buffers_for_long_frames_do_not_limit_a_link_without_them() {
    let (_fake, mut device) = up(Chip::I82574l);
    assert_eq!(device.transmit_room(), 127);
    send(&mut device, &pattern(BUFFER)).unwrap();
    assert_eq!(device.transmit_room(), 127);
    send(&mut device, &pattern(BUFFER + 1)).unwrap();
    assert_eq!(device.transmit_room(), 15);
}
