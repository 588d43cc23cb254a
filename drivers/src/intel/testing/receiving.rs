//! Frames over several buffers, and descriptors that a device should not write.

use super::*;
use crate::intel::ring::next;

/// Longest frame.
pub const LONGEST: usize = 9018;

fn received(device: &mut impl NetDevice) -> Vec<(Vec<u8>, bool)> {
    let mut frames = Vec::new();
    device.receive(64, &mut |frame, meta| frames.push((frame.to_vec(), meta.checksum_ok)));
    frames
}

/// Receives all there is; for how many frames.
fn drained(device: &mut impl NetDevice) -> usize {
    let mut frames = 0;
    while device.receive(64, &mut |_, _| frames += 1) > 0 {}
    frames
}

pub fn long_frames_arrive_whole_wherever_they_begin<R: Receiver>() {
    let (fake, mut device) = R::up();
    let (mut frames, mut bytes, mut starts, mut over_the_end) = (0, 0, vec![0; COUNT], 0);
    // Of 1, 2, 3 and 5 buffers, exactly full, one byte less and one byte more.
    for len in
        [14, 2047, 2048, 2049, 4096, 4097, 6144, LONGEST - 1, LONGEST].into_iter().cycle().take(9 * 300)
    {
        // The number is in the frame, so that an old one in the same place does not pass for it.
        let frame: Vec<u8> = pattern(len).into_iter().map(|byte| byte.wrapping_add(frames as u8)).collect();
        let (_, start, _) = fake.ring();
        starts[start] += 1;
        over_the_end += u32::from(start + len.div_ceil(BUFFER) > COUNT);
        assert!(fake.long(&frame, true, false), "room");
        assert!(received(&mut device) == [(frame, true)], "{len} bytes from {start} on");
        frames += 1;
        bytes += len as u64;
    }
    assert!(starts.iter().all(|&count| count > 0) && over_the_end > 10);
    let counters = device.counters();
    assert_eq!((counters.rx_packets, counters.rx_bytes, counters.rx_errors), (frames, bytes, 0));
}

pub fn end_without_bytes_is_an_end<R: Receiver>() {
    let (fake, mut device) = R::up();
    // The chip may need a buffer for an FCS that it strips.
    fake.piece(&pattern(BUFFER), more(BUFFER));
    fake.piece(&[], end(0));
    assert_eq!(received(&mut device), [(pattern(BUFFER), false)]);
}

pub fn frame_may_come_in_parts<R: Receiver>() {
    let (fake, mut device) = R::up();
    let frame = pattern(2 * BUFFER + 100);
    for _ in 0..100 {
        device.disarm();
        for part in 0..2 {
            fake.piece(&frame[part * BUFFER..][..BUFFER], more(BUFFER));
            assert!(received(&mut device).is_empty());
            assert!(!device.arm(), "nothing to do before the rest comes");
        }
        fake.interrupted();
        fake.piece(&frame[2 * BUFFER..], end(100));
        assert!(fake.interrupted());
        device.disarm();
        assert_eq!(received(&mut device), [(frame.clone(), false)]);
    }
    assert_eq!(device.counters().rx_errors, 0);
}

/// The same when nobody looked in between.
pub fn frame_still_being_written_is_waited_for<R: Receiver>() {
    let (fake, mut device) = R::up();
    let frame = pattern(5000);
    for round in 0..300 {
        assert!(fake.piece(&frame[..BUFFER], more(BUFFER)));
        assert!(!device.arm(), "round {round}: nothing to do yet");
        assert!(fake.piece(&frame[BUFFER..][..BUFFER], more(BUFFER)));
        assert!(!device.arm());
        device.disarm();
        assert!(fake.piece(&frame[2 * BUFFER..], end(5000 - 2 * BUFFER)));
        assert!(device.arm());
        assert_eq!(received(&mut device), [(frame.clone(), false)]);
    }
    assert_eq!(device.counters().rx_errors, 0);
}

pub fn budget_is_for_frames<R: Receiver>() {
    let (fake, mut device) = R::up();
    for _ in 0..40 {
        assert!(fake.long(&pattern(LONGEST), false, false), "room");
    }
    let mut count = 0;
    assert_eq!(device.receive(3, &mut |frame, _| count += usize::from(frame.len() == LONGEST)), 3);
    assert_eq!(device.receive(64, &mut |frame, _| count += usize::from(frame.len() == LONGEST)), 37);
    assert_eq!(count, 40);
}

pub fn frame_without_an_end_does_not_keep_the_ring<R: Receiver>() {
    let (fake, mut device) = R::up();
    for part in 0..10_000 {
        assert!(fake.piece(&pattern(BUFFER), more(BUFFER)), "no buffer for part {part}");
        if part % 60 == 0 {
            assert!(received(&mut device).is_empty());
        }
    }
    assert_eq!(device.counters().rx_errors, 0, "one error, at the end");
    fake.piece(&pattern(10), end(10));
    fake.piece(&pattern(60), end(60));
    assert_eq!(received(&mut device), [(pattern(60), false)]);
    assert_eq!(device.counters().rx_errors, 1);
    // Parts without bytes, too.
    for _ in 0..10_000 {
        assert!(fake.piece(&[], more(0)));
        received(&mut device);
    }
    fake.piece(&pattern(60), end(60));
    assert!(received(&mut device).is_empty());
    assert_eq!(device.counters().rx_errors, 2);
}

/// What is more than a frame has is not waited for: it would stay until the ring is full.
pub fn frame_without_an_end_is_work<R: Receiver>() {
    let (fake, mut device) = R::up();
    for part in 1..=LONGEST.div_ceil(BUFFER) {
        assert!(!device.arm(), "before part {part}");
        fake.piece(&pattern(BUFFER), more(BUFFER));
    }
    assert!(device.arm());
}

pub fn frames_with_gaps_are_dropped<R: Receiver>() {
    let (fake, mut device) = R::up();
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
            let written = if i + 1 == lengths.len() { end(len) } else { more(len) };
            fake.piece(&pattern(len.min(BUFFER)), written);
        }
        fake.long(&pattern(5000), false, false);
        assert!(received(&mut device) == [(pattern(5000), false)], "{lengths:?}");
        assert_eq!(device.counters().rx_errors, errors as u64 + 1, "{lengths:?}");
    }
}

/// Errors and checksums are reported with the end of a frame; elsewhere these fields mean nothing.
pub fn end_of_a_frame_says_how_it_is<R: Receiver>() {
    let (fake, mut device) = R::up();
    fake.long(&pattern(5000), true, true);
    assert!(received(&mut device).is_empty());
    assert_eq!(device.counters().rx_errors, 1);
    for (middle, last) in [(true, false), (false, true)] {
        fake.piece(&pattern(BUFFER), Written { verified: middle, faulty: true, ..more(BUFFER) });
        fake.piece(&pattern(100), Written { verified: last, ..end(100) });
        let frame = [pattern(BUFFER), pattern(100)].concat();
        assert_eq!(received(&mut device), [(frame, last)]);
    }
    assert_eq!(device.counters().rx_errors, 1);
}

pub fn buffers_go_back_in_order_and_not_before_their_frame_is_whole<R: Receiver>() {
    let (fake, mut device) = R::up();
    let frame = pattern(LONGEST);
    for _ in 0..50 {
        for _ in 0..32 {
            assert!(fake.piece(&pattern(60), end(60)), "room");
        }
        let (_, held, _) = fake.ring();
        for part in frame.chunks(BUFFER).take(3) {
            assert!(fake.piece(part, more(BUFFER)), "room");
        }
        assert_eq!(drained(&mut device), 32);
        assert_eq!(next(fake.ring().2), held, "the tail ends before what is held");
        for part in frame.chunks(BUFFER).skip(3) {
            let written = if part.len() < BUFFER { end(part.len()) } else { more(BUFFER) };
            assert!(fake.piece(part, written), "room");
        }
        assert_eq!(received(&mut device), [(frame.clone(), false)]);
        // All that the device has is empty and has its own buffer.
        let (ring, mut at, tail) = fake.ring();
        let mut buffers = std::collections::HashSet::new();
        while at != tail {
            let descriptor = ring + 16 * at as u64;
            assert_eq!(peek::<u64>(descriptor + 8), 0, "descriptor {at}");
            assert!(buffers.insert(peek::<u64>(descriptor)), "descriptor {at}");
            at = next(at);
        }
    }
}

pub fn overrun_ring_of_long_frames_recovers<R: Receiver>() {
    let (fake, mut device) = R::up();
    for _ in 0..20 {
        let mut delivered = 0;
        while fake.long(&pattern(9014), false, false) {
            delivered += 1;
        }
        assert!(delivered >= (COUNT - 1 - 32 - 8) / 5, "{delivered}");
        assert_eq!(drained(&mut device), delivered);
    }
}

pub fn few_frames_are_copied<R: Receiver>() {
    let (fake, mut device) = R::up();
    let (mut copied, mut frames) = (0, 0);
    // Three buffers each: every frame begins everywhere in the ring.
    for _ in 0..1000 {
        let (ring, head, _) = fake.ring();
        let buffer = TestDma::virt_of(peek::<u64>(ring + 16 * head as u64));
        assert!(fake.long(&pattern(3 * BUFFER), false, false));
        device.receive(1, &mut |frame, _| copied += usize::from(frame.as_ptr() as usize != buffer));
        frames += 1;
    }
    // What begins in the last two of 32 buffers.
    assert!(copied * 12 < frames && copied > 0, "{copied} of {frames}");
}

pub fn device_that_never_stops_is_left_after_a_round<R: Receiver>() {
    let (fake, mut device) = R::up();
    let (ring, ..) = fake.ring();
    let fill = || (0..COUNT as u64).for_each(|i| R::write_back(ring + 16 * i, end(60)));
    fill();
    let mut frames = 0;
    let said = device.receive(usize::MAX, &mut |_, _| {
        frames += 1;
        assert!(frames <= COUNT, "no end");
        fill();
    });
    assert_eq!((said, frames), (COUNT, COUNT));
}
