use super::*;
use crate::intel::hash;
use crate::intel::ring::COUNT;
use crate::intel::testing::{TSO, bytes, fill, pattern, peek, poke, tcp_frame};
use crate::testing::{TestClock, TestDma};
use keelson_hal::{LinkSpeed, TxChecksum};
use std::cell::{Cell, RefCell};

mod jumbo;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// Register file of both chips, and the device side of the rings.
struct Fake {
    chip: Chip,
    file: RefCell<Vec<u32>>,
    /// The chip has loaded its address by itself.
    loaded: Cell<bool>,
    /// Reset never ends.
    stuck: Cell<bool>,
    /// Writes to RDT and TDT.
    tails: Cell<u32>,
    /// The context descriptor in force.
    context: Cell<[u32; 4]>,
    /// PBA as it was at the last reset.
    packet_buffer: Cell<u32>,
}

impl Fake {
    fn new(chip: Chip) -> Rc<Fake> {
        Rc::new(Fake {
            chip,
            file: RefCell::new(vec![0; WINDOW / 4]),
            loaded: Cell::new(true),
            stuck: Cell::new(false),
            tails: Cell::new(0),
            context: Cell::new([0; 4]),
            packet_buffer: Cell::new(0),
        })
    }

    fn reg(&self, offset: usize) -> u32 {
        self.file.borrow()[offset / 4]
    }

    fn put(&self, offset: usize, value: u32) {
        self.file.borrow_mut()[offset / 4] = value;
    }

    /// Notes a cause; true when it interrupts.
    fn cause(&self, bits: u32) -> bool {
        self.put(ICR, self.reg(ICR) | bits);
        self.reg(ICR) & self.reg(IMS) != 0
    }

    /// Receives a frame (no FCS); `None` without a free descriptor, else whether it interrupts.
    fn deliver(&self, frame: &[u8], status: u8, errors: u8) -> Option<bool> {
        assert!(self.reg(RCTL) & RCTL_EN != 0);
        let head = self.reg(RDH);
        if head == self.reg(RDT) {
            return None;
        }
        let at = u64::from(self.reg(RDBAL)) + (u64::from(self.reg(RDBAH)) << 32) + 16 * u64::from(head);
        let buffer = peek::<u64>(at);
        fill(buffer, frame);
        poke(at + 8, frame.len() as u16);
        poke(at + 13, errors);
        poke(at + 12, status | 1);
        self.put(RDH, (head + 1) % COUNT as u32);
        Some(self.cause(INT_RXT0 | INT_RXQ0))
    }

    /// Sends everything up to the tail: frames with their context where one was asked for.
    fn transmit(&self) -> Vec<(Vec<u8>, Option<[u32; 4]>)> {
        assert!(self.reg(TCTL) & TCTL_EN != 0);
        let (mut frames, mut frame, mut begun) = (Vec::new(), Vec::new(), 0);
        let mut first = [0; 2];
        while self.reg(TDH) != self.reg(TDT) {
            let head = self.reg(TDH);
            let at = u64::from(self.reg(TDBAL)) + (u64::from(self.reg(TDBAH)) << 32) + 16 * u64::from(head);
            let words: [u32; 4] = std::array::from_fn(|i| peek(at + 4 * i as u64));
            assert!(words[2] & 1 << 29 != 0, "extended descriptors only");
            if words[2] >> 20 & 15 == 0 {
                self.context.set(words);
            } else {
                assert!(words[2] & 1 << 25 != 0, "FCS is the chip's");
                // TSE and POPTS.
                let asked = [words[2] & 1 << 26, words[3]];
                if frame.is_empty() {
                    first = asked;
                }
                assert_eq!(asked, first, "all pieces of a frame ask for the same");
                let segments = words[3] & 1 << 9 != 0 && self.context.get()[2] & 1 << 26 != 0;
                assert_eq!(asked[0] != 0, segments, "TSE as in the context");
                let buffer = u64::from(words[0]) | u64::from(words[1]) << 32;
                let length = u64::from(words[2] & 0xfffff);
                assert!(length <= 4096, "piece of {length} bytes");
                frame.extend_from_slice(&bytes(buffer, length as usize));
                if words[2] & 1 << 24 != 0 {
                    let checksum = (words[3] & 1 << 9 != 0).then(|| self.context.get());
                    frames.push((std::mem::take(&mut frame), checksum));
                }
                begun = frame.len();
            }
            if words[2] & 1 << 27 != 0 {
                poke(at + 12, words[3] | 1);
                self.cause(INT_TXDW | INT_TXQ0);
            }
            self.put(TDH, (head + 1) % COUNT as u32);
        }
        assert_eq!(begun, 0, "the tail is at the end of a frame");
        frames
    }
}

impl Registers for Fake {
    fn len(&self) -> usize {
        WINDOW
    }

    fn read8(&self, _: usize) -> u8 {
        panic!("registers are 32 bits wide")
    }

    fn read16(&self, _: usize) -> u16 {
        panic!("registers are 32 bits wide")
    }

    fn read32(&self, offset: usize) -> u32 {
        let value = self.reg(offset);
        // Causes and counters are cleared by reading.
        if offset == ICR || (0x4000..0x4100).contains(&offset) {
            self.put(offset, 0);
        }
        value
    }

    fn write8(&self, _: usize, _: u8) {
        panic!("registers are 32 bits wide")
    }

    fn write16(&self, _: usize, _: u16) {
        panic!("registers are 32 bits wide")
    }

    fn write32(&self, offset: usize, value: u32) {
        match offset {
            CTRL if value & CTRL_RST != 0 => {
                if self.stuck.get() {
                    return self.put(CTRL, value);
                }
                self.packet_buffer.set(self.reg(PBA));
                self.file.borrow_mut().fill(0);
                self.tails.set(0);
                if self.loaded.get() {
                    let [a, b, c, d, e, f] = MAC.0;
                    self.put(RAL0, u32::from_le_bytes([a, b, c, d]));
                    self.put(RAH0, u32::from_le_bytes([e, f, 0, 0]) | RAH_AV);
                }
            }
            EERD => {
                let (shift, done) = if self.chip == Chip::I82540em { (8, 4) } else { (2, 1) };
                let word = (value >> shift) as usize;
                let data = u32::from(MAC.0[2 * word]) | u32::from(MAC.0[2 * word + 1]) << 8;
                self.put(EERD, data << 16 | 1 << done);
            }
            ICR => self.put(ICR, self.reg(ICR) & !value),
            IMS => self.put(IMS, self.reg(IMS) | value),
            IMC => self.put(IMS, self.reg(IMS) & !value),
            RDT | TDT => {
                self.tails.set(self.tails.get() + 1);
                self.put(offset, value);
            }
            _ => self.put(offset, value),
        }
    }
}

fn up(chip: Chip) -> (Rc<Fake>, E1000) {
    let fake = Fake::new(chip);
    let device = bring_up(&fake, InterruptMode::Plain).unwrap();
    fake.tails.set(0);
    (fake, device)
}

fn bring_up(fake: &Rc<Fake>, mode: InterruptMode) -> Result<E1000, InitError> {
    E1000::new(fake.chip, fake.clone(), Rc::new(TestDma), Rc::new(TestClock::default()), mode)
}

fn received(device: &mut E1000) -> Vec<(Vec<u8>, bool)> {
    let mut frames = Vec::new();
    device.receive(64, &mut |frame, meta| frames.push((frame.to_vec(), meta.checksum_ok)));
    frames
}

fn send(device: &mut E1000, frame: &[u8]) -> Result<(), TransmitError> {
    device.transmit(frame.len(), TxOffload::default(), &mut |buffer| buffer.copy_from_slice(frame))
}

/// EOP and the receive status bits for checked TCP.
const EOP: u8 = 2;
const TCPCS: u8 = 1 << 5;

#[test]
fn address_comes_from_the_chip_or_its_eeprom() {
    for chip in [Chip::I82540em, Chip::I82574l] {
        let fake = Fake::new(chip);
        assert_eq!(bring_up(&fake, InterruptMode::Plain).unwrap().mac(), MAC);
        fake.loaded.set(false);
        assert_eq!(bring_up(&fake, InterruptMode::Plain).unwrap().mac(), MAC, "{chip:?}");
    }
}

#[test]
fn chips_differ_where_they_should() {
    let (fake, device) = up(Chip::I82540em);
    assert_eq!((device.driver(), fake.reg(TXDCTL), fake.packet_buffer.get()), ("e1000", 0, 40));
    assert_eq!(device.max_mtu(), 16_110);
    drop(device);
    let fake = Fake::new(Chip::I82574l);
    let device = bring_up(&fake, InterruptMode::Msix(2)).unwrap();
    assert_eq!((device.driver(), fake.reg(TXDCTL), fake.reg(IVAR)), ("e1000e", 1 << 22, 0x000a_0a0a));
    assert_eq!((device.max_mtu(), fake.packet_buffer.get()), (9000, 0));
    drop(device);
    assert_eq!(bring_up(&fake, InterruptMode::Msix(5)).err(), Some(InitError::VectorRefused(5)));
    let fake = Fake::new(Chip::I82540em);
    assert_eq!(bring_up(&fake, InterruptMode::Msix(0)).err(), Some(InitError::VectorRefused(0)));
}

#[test]
fn link_and_speed_come_from_status() {
    let (fake, mut device) = up(Chip::I82540em);
    assert_eq!(device.link(), Link::Down);
    for (bits, speed) in [(0, 10), (1, 100), (2, 1000), (3, 1000)] {
        fake.put(STATUS, STATUS_LU | bits << 6);
        assert_eq!(device.link(), Link::Up(LinkSpeed(speed)));
    }
}

#[test]
fn stuck_chip_is_refused_and_a_dropped_one_keeps_its_memory() {
    let fake = Fake::new(Chip::I82574l);
    fake.stuck.set(true);
    assert_eq!(bring_up(&fake, InterruptMode::Plain).err(), Some(InitError::ResetTimeout));
    assert_eq!(TestDma::in_use(), 0);
    let (fake, device) = up(Chip::I82574l);
    drop(device);
    assert_eq!((TestDma::in_use(), fake.reg(RCTL), fake.reg(TCTL)), (0, 0, 0));
    let (fake, device) = up(Chip::I82574l);
    fake.stuck.set(true);
    drop(device);
    assert!(TestDma::in_use() > 0);
    assert_eq!((fake.reg(RCTL), fake.reg(TCTL) & TCTL_EN), (0, 0));
}

#[test]
fn memory_shortage_is_reported() {
    let fake = Fake::new(Chip::I82540em);
    TestDma::set_limit(600_000);
    assert!(matches!(bring_up(&fake, InterruptMode::Plain).err(), Some(InitError::NoMemory(_))));
    TestDma::set_limit(usize::MAX);
    assert_eq!(TestDma::in_use(), 0);
}

#[test]
fn frames_go_around_the_ring_many_times() {
    let (fake, mut device) = up(Chip::I82540em);
    for round in 0..100 {
        for i in 0..60 {
            assert!(fake.deliver(&pattern(60 + i + round), EOP, 0).is_some(), "round {round}");
        }
        let frames = received(&mut device);
        assert_eq!(frames.len(), 60);
        for (i, (frame, _)) in frames.into_iter().enumerate() {
            assert_eq!(frame, pattern(60 + i + round));
        }
    }
    let counters = device.counters();
    assert_eq!((counters.rx_packets, counters.rx_errors), (6000, 0));
    assert!(counters.doorbells as f64 / 6000.0 <= 0.05, "{} doorbells", counters.doorbells);
}

#[test]
fn overrun_ring_recovers() {
    let (fake, mut device) = up(Chip::I82574l);
    for _ in 0..5 {
        let mut delivered = 0;
        while fake.deliver(&pattern(100), EOP, 0).is_some() {
            delivered += 1;
        }
        assert!(delivered > COUNT - 1 - 32, "{delivered}");
        let mut got = 0;
        while device.receive(64, &mut |_, _| got += 1) > 0 {}
        assert_eq!(got, delivered);
    }
}

#[test]
fn checksum_is_trusted_only_when_checked_and_right() {
    let (fake, mut device) = up(Chip::I82574l);
    const TCPE: u8 = 1 << 5;
    for (status, errors) in
        [(EOP, 0), (EOP | TCPCS, 0), (EOP | TCPCS, TCPE), (EOP | TCPCS | 4, 0), (EOP | 0x10, 0)]
    {
        fake.deliver(&pattern(60), status, errors);
    }
    let trusted: Vec<bool> = received(&mut device).into_iter().map(|(_, ok)| ok).collect();
    assert_eq!(trusted, [false, true, false, false, true]);
}

#[test]
fn bad_frames_are_dropped_and_counted() {
    let (fake, mut device) = up(Chip::I82540em);
    fake.deliver(&pattern(60), EOP, 1);
    fake.deliver(&pattern(13), EOP, 0);
    fake.deliver(&pattern(0), EOP, 0);
    fake.deliver(&pattern(61), EOP, 0);
    assert_eq!(received(&mut device), [(pattern(61), false)]);
    assert_eq!(device.counters().rx_errors, 3);
    // A length the buffer does not have.
    fake.deliver(&pattern(64), EOP, 0);
    let last = (fake.reg(RDH) + COUNT as u32 - 1) % COUNT as u32;
    poke(
        u64::from(fake.reg(RDBAL)) + (u64::from(fake.reg(RDBAH)) << 32) + 16 * u64::from(last) + 8,
        0xffffu16,
    );
    assert!(received(&mut device).is_empty());
    assert_eq!(device.counters().rx_errors, 4);
}

#[test]
fn what_the_chip_counts_is_summed() {
    let (fake, device) = up(Chip::I82574l);
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
fn sent_frames_are_whole_and_reclaimed() {
    [Chip::I82540em, Chip::I82574l].into_iter().for_each(whole_and_reclaimed);
}

fn whole_and_reclaimed(chip: Chip) {
    let (fake, mut device) = up(chip);
    for round in 0..200 {
        for i in 0..20 {
            send(&mut device, &pattern(60 + i + round)).unwrap();
        }
        device.flush();
        let frames = fake.transmit();
        assert_eq!(frames.len(), 20);
        for (i, (frame, context)) in frames.into_iter().enumerate() {
            assert_eq!((frame, context), (pattern(60 + i + round), None));
        }
        let everything = if chip.segments() { 16 } else { (COUNT - 1) / 2 };
        assert_eq!(device.transmit_room(), everything, "everything is reclaimed after each flush");
    }
    assert_eq!(device.counters().doorbells, 200);
}

fn send_large(device: &mut E1000, frame: &[u8]) -> Result<(), TransmitError> {
    device.transmit(frame.len(), TSO, &mut |buffer| buffer.copy_from_slice(frame))
}

#[test]
fn large_frames_are_segmented_by_the_chip() {
    let (fake, mut device) = up(Chip::I82540em);
    assert_eq!(device.max_tso_frame(), 32_768);
    assert!(device.features().contains(NetFeatures::TSO4) && !device.features().contains(NetFeatures::TSO6));
    let mut sent = 0;
    // Lengths around those of pieces and buffers, in turn with small frames, over the end of the ring.
    for round in 0..20 {
        for len in [1600, 4096, 4097, 8192, 20_000, 32_767, 32_768] {
            let frame = tcp_frame(len);
            send(&mut device, &pattern(60 + round)).unwrap();
            send_large(&mut device, &frame).unwrap();
            device.flush();
            let frames = fake.transmit();
            assert_eq!((frames.len(), &frames[0]), (2, &(pattern(60 + round), None)));
            let (got, context) = &frames[1];
            // Everything but IP length and checksum and the TCP checksum is as the stack wrote it.
            let same = |i: &usize| ![16, 17, 24, 25, 50, 51].contains(i);
            assert_eq!(got.len(), len);
            assert!((0..len).filter(same).all(|i| got[i] == frame[i]), "{len} bytes");
            const COMMAND: u32 = 1 << 29 | 1 << 26 | 1 << 25 | 1 << 24;
            let wanted =
                [14 | 24 << 8 | 33 << 16, 34 | 50 << 8, COMMAND | (len as u32 - 66), 66 << 8 | 1448 << 16];
            assert_eq!(*context, Some(wanted));
            assert_eq!(device.transmit_room(), 16, "everything is reclaimed");
            sent += 1;
        }
    }
    assert_eq!(device.counters().tx_tso_packets, sent);
}

#[test]
fn large_buffers_run_out_and_come_back() {
    let (fake, mut device) = up(Chip::I82540em);
    for _ in 0..20 {
        let mut queued = 0;
        while send_large(&mut device, &tcp_frame(32_768)).is_ok() {
            queued += 1;
        }
        assert_eq!(queued, 16);
        assert_eq!(device.transmit_room(), 0);
        device.flush();
        assert!(!device.arm());
        assert!(fake.reg(IMS) & INT_TXDW != 0, "freed slots are awaited");
        assert_eq!(fake.transmit().len(), 16);
        assert!(device.arm());
        assert_eq!(device.transmit_room(), 16);
    }
}

#[test]
fn what_cannot_be_segmented_is_refused() {
    let (_fake, mut device) = up(Chip::I82540em);
    assert_eq!(send_large(&mut device, &tcp_frame(32_769)), Err(TransmitError::TooLong));
    let mut ipv6 = tcp_frame(3000);
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(send_large(&mut device, &ipv6), Err(TransmitError::TooLong));
    assert_eq!(device.transmit_room(), 16, "no buffer is lost");
    let (_fake, mut device) = up(Chip::I82574l);
    assert_eq!((device.max_tso_frame(), device.features().contains(NetFeatures::TSO4)), (0, false));
    assert_eq!(send_large(&mut device, &tcp_frame(3000)), Err(TransmitError::TooLong));
}

#[test]
fn checksum_is_left_to_the_chip() {
    let (fake, mut device) = up(Chip::I82574l);
    let tcp = TxOffload { checksum: Some(TxChecksum { start: 34, offset: 16 }), segment_size: None };
    let udp = TxOffload { checksum: Some(TxChecksum { start: 54, offset: 6 }), segment_size: None };
    for offload in [tcp, TxOffload::default(), udp] {
        device.transmit(100, offload, &mut |buffer| buffer.fill(7)).unwrap();
    }
    device.flush();
    let contexts: Vec<_> = fake.transmit().into_iter().map(|(_, context)| context).collect();
    const DEXT: u32 = 1 << 29;
    assert_eq!(
        contexts,
        [
            Some([14 | 24 << 8 | 33 << 16, 34 | 50 << 8, DEXT | 1 << 24, 0]),
            None,
            Some([14 | 24 << 8 | 53 << 16, 54 | 60 << 8, DEXT, 0]),
        ]
    );
}

#[test]
fn frames_the_chip_cannot_send_are_refused() {
    let (_fake, mut device) = up(Chip::I82540em);
    assert_eq!(send(&mut device, &pattern(16_128)), Ok(()));
    assert_eq!(send(&mut device, &pattern(16_129)), Err(TransmitError::TooLong));
    let tso = TxOffload { checksum: None, segment_size: Some(1460) };
    assert_eq!(device.transmit(1000, tso, &mut |_| panic!("not filled")), Err(TransmitError::TooLong));
    assert_eq!(device.counters().tx_dropped, 2);
}

#[test]
fn full_ring_interrupts_when_armed() {
    for mode in [InterruptMode::Plain, InterruptMode::Msix(0)] {
        let fake = Fake::new(Chip::I82574l);
        let mut device = bring_up(&fake, mode).unwrap();
        let mut queued = 0;
        while send(&mut device, &pattern(60)).is_ok() {
            queued += 1;
        }
        assert!(queued > 200);
        device.flush();
        device.disarm();
        assert!(!device.arm());
        assert!(fake.reg(IMS) & (INT_TXDW | INT_TXQ0) != 0);
        assert_eq!(fake.transmit().len(), queued);
        assert!(fake.reg(ICR) & fake.reg(IMS) != 0, "interrupt");
        device.disarm();
        assert!(device.transmit_room() > 0);
        assert!(!device.arm());
        assert_eq!(fake.reg(IMS) & (INT_TXDW | INT_TXQ0), 0, "nobody waits any more");
    }
}

#[test]
fn no_wake_up_is_lost_between_looking_and_arming() {
    let (fake, mut device) = up(Chip::I82540em);
    for _ in 0..1000 {
        device.disarm();
        assert_eq!(fake.deliver(&pattern(60), EOP, 0), Some(false), "no interrupt while polling");
        assert_eq!(received(&mut device).len(), 1);
        fake.deliver(&pattern(60), EOP, 0);
        assert!(device.arm());
        device.disarm();
        assert_eq!(received(&mut device).len(), 1);
        assert!(!device.arm());
        assert_eq!(fake.reg(ICR), 0, "no stale cause ends the rest at once");
        assert_eq!(fake.deliver(&pattern(60), EOP, 0), Some(true));
        device.disarm();
        assert_eq!(received(&mut device).len(), 1);
    }
    assert_eq!(device.counters().interrupts, 1000);
}

#[test]
fn groups_are_hashed_into_the_table() {
    let (fake, mut device) = up(Chip::I82540em);
    // The manual's example (section 13.5.1): 01:AA:00:12:34:56 hashes to 563h with offset 0.
    let group = MacAddress([0x01, 0xaa, 0x00, 0x12, 0x34, 0x56]);
    assert_eq!(hash(group), 0x563);
    device.set_multicast(&[group]);
    let table = |fake: &Fake| -> Vec<u32> { (0..MTA_WORDS).map(|word| fake.reg(MTA + 4 * word)).collect() };
    assert_eq!(table(&fake)[0x563 / 32], 1 << (0x563 % 32));
    assert_eq!(table(&fake).iter().map(|word| word.count_ones()).sum::<u32>(), 1);
    device.set_multicast(&[]);
    assert!(table(&fake).iter().all(|&word| word == 0));
}

#[test]
fn polled_chip_is_not_asked_to_interrupt() {
    let fake = Fake::new(Chip::I82540em);
    let mut device = bring_up(&fake, InterruptMode::Polled).unwrap();
    assert!(!device.arm());
    assert_eq!(fake.reg(IMS), 0);
    assert_eq!(fake.deliver(&pattern(60), EOP, 0), Some(false));
    device.disarm();
    assert_eq!(received(&mut device).len(), 1);
    fake.deliver(&pattern(60), EOP, 0);
    assert!(device.arm());
}
