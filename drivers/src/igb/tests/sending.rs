//! Frames of all sizes, checksums, segmentation, a full ring.

use super::*;

const DEXT_CONTEXT: u32 = 1 << 29 | 2 << 20;
const TCP: u32 = 1 << 11;
const IPV4: u32 = 1 << 10;

fn send_large(device: &mut Igb, frame: &[u8]) -> Result<(), TransmitError> {
    device.transmit(frame.len(), TSO, &mut |buffer| buffer.copy_from_slice(frame))
}

#[test]
fn frames_of_all_sizes_are_whole_and_reclaimed() {
    let (fake, mut device) = up();
    for round in 0..100 {
        let lengths = [1, 60 + round, 1514, 1518, 1519, 2048, 4096, 4097, 8192, 8193, 9014, 9018];
        for len in lengths {
            send(&mut device, &pattern(len)).unwrap();
        }
        device.flush();
        let frames = fake.transmit();
        assert_eq!(frames.len(), lengths.len());
        for (len, (frame, context)) in lengths.into_iter().zip(frames) {
            assert!(frame == pattern(len) && context.is_none(), "round {round}, {len} bytes");
        }
        assert_eq!(device.transmit_room(), 16, "everything is reclaimed after each flush");
    }
    assert_eq!(device.counters().doorbells, 100);
}

#[test]
fn frames_the_chip_cannot_send_are_refused() {
    let (_fake, mut device) = up();
    let mut refused = |len, offload| {
        let result = device.transmit(len, offload, &mut |_| panic!("not filled"));
        assert_eq!(result, Err(TransmitError::TooLong));
    };
    refused(0, TxOffload::default());
    refused(9019, TxOffload::default());
    refused(32_769, TSO);
    refused(1000, TxOffload { checksum: None, segment_size: Some(1460) });
    refused(1000, TxOffload { segment_size: Some(0), ..TSO });
    let mut ipv6 = tcp_frame(3000);
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(send_large(&mut device, &ipv6), Err(TransmitError::TooLong));
    assert_eq!((device.counters().tx_dropped, device.counters().tx_packets), (6, 0));
    assert_eq!(device.transmit_room(), 16, "no buffer is lost");
}

#[test]
fn checksum_is_left_to_the_chip() {
    let (fake, mut device) = up();
    let asked =
        |start, offset| TxOffload { checksum: Some(TxChecksum { start, offset }), segment_size: None };
    for (offload, wanted) in [
        (asked(34, 16), Some([20 | 14 << 9, 0, DEXT_CONTEXT | TCP, 0])),
        (TxOffload::default(), None),
        (asked(54, 6), Some([40 | 14 << 9, 0, DEXT_CONTEXT, 0])),
        // The chip finds the field of TCP and of UDP, and those only behind an Ethernet header.
        (asked(34, 2), None),
        (asked(13, 16), None),
        (asked(90, 16), None),
        (asked(u16::MAX, 16), None),
    ] {
        for len in [100, 3000] {
            // In the long frame the last but one lies inside.
            if len == 3000 && offload == asked(90, 16) {
                continue;
            }
            device.transmit(len, offload, &mut |buffer| buffer.fill(7)).unwrap();
            device.flush();
            assert_eq!(fake.transmit(), [(vec![7; len], wanted)], "{offload:?}");
        }
    }
}

#[test]
fn large_frames_are_segmented_by_the_chip() {
    let (fake, mut device) = up();
    assert_eq!((device.max_tso_frame(), device.features().contains(NetFeatures::TSO4)), (32_768, true));
    let mut sent = 0;
    // Lengths around those of pieces and buffers, in turn with small and jumbo frames, over the end of the ring.
    for round in 0..20 {
        for len in [67, 1600, 4096, 4097, 8192, 20_000, 32_767, 32_768] {
            let frame = tcp_frame(len);
            send(&mut device, &pattern(60 + round)).unwrap();
            send_large(&mut device, &frame).unwrap();
            send(&mut device, &pattern(9000 + round % 19)).unwrap();
            device.flush();
            let frames = fake.transmit();
            assert_eq!(frames.len(), 3);
            assert!(
                frames[0] == (pattern(60 + round), None) && frames[2] == (pattern(9000 + round % 19), None)
            );
            let (got, context) = &frames[1];
            // Everything but IP length and checksum and the TCP checksum is as the stack wrote it.
            let same = |i: &usize| ![16, 17, 24, 25, 50, 51].contains(i);
            assert_eq!(got.len(), len);
            assert!((0..len).filter(same).all(|i| got[i] == frame[i]), "{len} bytes");
            assert_eq!(got[16..18], [0, 0]);
            assert_eq!(*context, Some([20 | 14 << 9, 0, DEXT_CONTEXT | TCP | IPV4, 32 << 8 | 1448 << 16]));
            assert_eq!(device.transmit_room(), 16, "everything is reclaimed");
            sent += 1;
        }
    }
    assert_eq!(device.counters().tx_tso_packets, sent);
}

#[test]
fn large_buffers_run_out_and_come_back() {
    let (fake, mut device) = up();
    for round in 0..20 {
        let frame = if round % 2 == 0 { tcp_frame(32_768) } else { pattern(9000) };
        let mut queued = 0;
        let mut one =
            || if round % 2 == 0 { send_large(&mut device, &frame) } else { send(&mut device, &frame) };
        while one().is_ok() {
            queued += 1;
        }
        assert_eq!((queued, one()), (16, Err(TransmitError::Full)));
        assert_eq!(device.transmit_room(), 0);
        device.flush();
        assert!(!device.arm());
        fake.interrupts();
        assert_eq!(fake.transmit().len(), 16);
        assert!(fake.interrupts()[1] > 0, "freed slots are awaited");
        device.disarm();
        assert!(device.arm());
        assert_eq!(device.transmit_room(), 16);
    }
}

#[test]
fn a_full_ring_interrupts_when_armed_and_no_other() {
    for mode in [InterruptMode::Plain, InterruptMode::Msix(0)] {
        let fake = Fake::new();
        let mut device = bring_up(&fake, mode).unwrap();
        let sent = |fake: &Fake| fake.interrupts().iter().sum::<u32>();
        let mut queued = 0;
        while send(&mut device, &pattern(60)).is_ok() {
            queued += 1;
        }
        assert!(queued > 200);
        device.flush();
        device.disarm();
        assert!(!device.arm());
        assert_eq!(fake.transmit().len(), queued);
        assert!(sent(&fake) > 0, "{mode:?}");
        device.disarm();
        assert!(device.transmit_room() > 0);
        assert!(!device.arm());
        send(&mut device, &pattern(60)).unwrap();
        device.flush();
        assert_eq!(fake.transmit().len(), 1);
        assert_eq!(sent(&fake), 0, "{mode:?}: nobody waits any more");
    }
}

#[test]
fn a_device_that_reports_nothing_gets_no_more_than_the_ring() {
    let (fake, mut device) = up();
    let mut queued = 0;
    for _ in 0..1000 {
        queued += usize::from(send(&mut device, &pattern(60)).is_ok());
        device.flush();
    }
    assert!(queued < COUNT);
    // A report of what was not asked for, or not sent, is not looked at.
    let next = u64::from(fake.reg(TDT));
    poke(fake.base(TDBAL) + 16 * next + 12, 1u32);
    assert_eq!(device.transmit_room(), 0);
    assert_eq!(send(&mut device, &pattern(60)), Err(TransmitError::Full));
}

#[test]
fn a_large_frame_needs_room_in_the_ring() {
    let (fake, mut device) = up();
    for large in [tcp_frame(32_768), pattern(9018)] {
        let one = |device: &mut Igb| {
            if large.len() > 9018 { send_large(device, &large) } else { send(device, &large) }
        };
        for _ in 0..COUNT - 6 {
            send(&mut device, &pattern(60)).unwrap();
        }
        assert_eq!(one(&mut device), Err(TransmitError::Full));
        device.flush();
        assert_eq!(fake.transmit().len(), COUNT - 6);
        one(&mut device).unwrap();
        device.flush();
        assert_eq!(fake.transmit()[0].0.len(), large.len());
        assert_eq!(device.transmit_room(), 16);
    }
}
