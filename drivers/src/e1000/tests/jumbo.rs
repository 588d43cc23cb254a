//! Frames longer than a buffer.

use super::*;
use crate::intel::layout::Written;
use crate::intel::ring::BUFFER;
use crate::intel::testing::{Receiver, receiving, receiving_tests};

/// Longest frame of the 82574L.
const LONGEST: usize = receiving::LONGEST;

impl Receiver for Fake {
    type Driver = E1000;

    fn up() -> (Rc<Fake>, E1000) {
        up(Chip::I82574l)
    }

    fn ring(&self) -> (u64, usize, usize) {
        let base = u64::from(self.reg(RDBAL)) + (u64::from(self.reg(RDBAH)) << 32);
        (base, self.reg(RDH) as usize, self.reg(RDT) as usize)
    }

    fn piece(&self, content: &[u8], written: Written) -> bool {
        assert!(self.reg(RCTL) & RCTL_LPE != 0, "dropped by the chip");
        let (ring, head, _) = self.ring();
        if self.deliver(content, 0, 0).is_none() {
            return false;
        }
        Self::write_back(ring + 16 * head as u64, written);
        true
    }

    fn write_back(at: u64, written: Written) {
        let status = if written.ends { EOP } else { 0 } | if written.verified { TCPCS } else { 0 };
        poke(at + 8, written.len as u16);
        // CRC.
        poke(at + 13, u8::from(written.faulty));
        poke(at + 12, status | 1);
    }

    fn interrupted(&self) -> bool {
        self.reg(ICR) & self.reg(IMS) != 0
    }
}

receiving_tests!(Fake);

#[test]
fn longer_frames_are_dropped() {
    for (chip, longest) in [(Chip::I82574l, LONGEST), (Chip::I82540em, 16_128)] {
        let (fake, mut device) = up(chip);
        for (errors, more) in [1, 300, 2048, 20_000].into_iter().enumerate() {
            assert!(fake.long(&pattern(longest + more), false, false), "room");
            assert!(fake.long(&pattern(longest), false, false), "room");
            assert!(received(&mut device) == [(pattern(longest), false)], "{more} bytes more");
            assert_eq!(device.counters().rx_errors, errors as u64 + 1);
        }
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
