use super::feature::*;
use super::*;
use crate::testing::{FakeDevice, TestDma};
use keelson_hal::TxChecksum;
use std::cell::RefCell;

const OFFLOADS: u64 = CSUM | GUEST_CSUM | HOST_TSO4 | HOST_TSO6 | GUEST_TSO4 | GUEST_TSO6;
const ALL: u64 = OFFLOADS | MAC | STATUS | MRG_RXBUF | CTRL_VQ | CTRL_RX | EVENT_IDX | feature::MTU;
/// What QEMU offers without a tap device.
const PLAIN: u64 = MAC | STATUS | MRG_RXBUF | CTRL_VQ | CTRL_RX | EVENT_IDX;
const RX: u16 = 0;
const TX: u16 = 1;
const CONTROL: u16 = 2;

/// MAC, link up, one pair, MTU 1500.
const CONFIG: [u8; 12] = [0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0xdc, 5];

fn device_with(features: u64) -> FakeDevice {
    FakeDevice::new(1, features, &CONFIG, &[256, 256, 64])
}

fn net(device: &FakeDevice) -> VirtioNet {
    VirtioNet::new(device.pci(), Rc::new(TestDma)).unwrap()
}

fn both(features: u64) -> (FakeDevice, VirtioNet) {
    let device = device_with(features);
    let net = net(&device);
    device.take_doorbells();
    (device, net)
}

/// Delivers a frame as the device would: over as many receive buffers as it takes. True for an interrupt.
fn deliver(device: &FakeDevice, flags: u8, frame: &[u8]) -> bool {
    let mut bytes = vec![0; 12];
    bytes[0] = flags;
    bytes.extend_from_slice(frame);
    let (mut chains, mut room) = (Vec::new(), 0);
    while room < bytes.len() {
        let chain = device.pop(RX).expect("a receive buffer");
        room += chain.writable[0].1 as usize;
        chains.push(chain);
    }
    bytes[10..12].copy_from_slice(&(chains.len() as u16).to_le_bytes());
    let mut rest = &bytes[..];
    let mut interrupt = false;
    for chain in &chains {
        let (now, later) = rest.split_at(rest.len().min(chain.writable[0].1 as usize));
        interrupt |= device.complete(RX, chain, now);
        rest = later;
    }
    interrupt
}

/// Takes everything sent: header and frame.
fn sent(device: &FakeDevice) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(chain) = device.pop(TX) {
        let mut bytes = device.readable(&chain);
        let frame = bytes.split_off(12);
        device.push_used(TX, u32::from(chain.head), 0);
        frames.push((bytes, frame));
    }
    frames
}

fn received(net: &mut VirtioNet, budget: usize) -> Vec<(Vec<u8>, bool)> {
    let mut frames = Vec::new();
    net.receive(budget, &mut |frame, meta| frames.push((frame.to_vec(), meta.checksum_ok)));
    frames
}

fn send(net: &mut VirtioNet, frame: &[u8]) -> Result<(), TransmitError> {
    net.transmit(frame.len(), TxOffload::default(), &mut |buffer| buffer.copy_from_slice(frame))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn features_follow_the_offer() {
    let (device, mut net) = both(ALL);
    assert_eq!(device.accepted() & !(1 << 32), ALL);
    assert_eq!(net.features(), NetFeatures::all());
    assert_eq!(net.mac(), MacAddress([0x52, 0x54, 0, 1, 2, 3]));
    assert_eq!((net.max_mtu(), net.max_tso_frame()), (1500, 65_520));
    assert_eq!(net.link(), Link::Up(LinkSpeed(0)));
    device.config_mut(6, 0);
    assert_eq!(net.link(), Link::Down);

    let (_, net) = both(PLAIN);
    assert_eq!(net.features(), NetFeatures::empty());
    assert_eq!(net.max_tso_frame(), 0);
    assert!(TestDma::in_use() < 4 << 20);

    // Segmentation without checksum, merging without merged buffers: not negotiated.
    let (device, _net) = both(MAC | HOST_TSO4 | GUEST_CSUM | GUEST_TSO4);
    assert_eq!(device.accepted() & !(1 << 32), MAC | GUEST_CSUM);
    // Unknown features are left alone.
    let (device, _net) = both(MAC | 1 << 62 | 1 << 34);
    assert_eq!(device.accepted() & !(1 << 32), MAC);
}

/// A device may tell the speed of its link, or that it does not know it.
#[test]
fn the_link_may_have_a_speed() {
    let mut config = CONFIG.to_vec();
    config.extend(25_000u32.to_le_bytes());
    config.push(1);
    let device = FakeDevice::new(1, ALL | SPEED_DUPLEX, &config, &[256, 256, 64]);
    let mut net = net(&device);
    assert_eq!(net.link(), Link::Up(LinkSpeed(25_000)));
    for (bytes, speed) in
        [([0xff; 4], 0), ([0, 0, 0, 0x80], 0), ([0xff, 0xff, 0xff, 0x7f], 0x7fff_ffff), ([0; 4], 0)]
    {
        bytes.into_iter().enumerate().for_each(|(at, byte)| device.config_mut(12 + at, byte));
        assert_eq!(net.link(), Link::Up(LinkSpeed(speed)));
    }
    device.config_mut(6, 0);
    assert_eq!(net.link(), Link::Down);
}

#[test]
fn memory_for_a_plain_device_is_bounded_and_comes_back() {
    let (device, net) = both(PLAIN);
    assert!(TestDma::in_use() <= (3 << 20) / 2, "{} bytes", TestDma::in_use());
    drop(net);
    assert_eq!(TestDma::in_use(), 0);
    assert_eq!(device.status(), 0, "reset before the memory went");
}

#[test]
fn device_that_does_not_stop_keeps_its_memory() {
    let (device, net) = both(PLAIN);
    let before = TestDma::in_use();
    device.stuck.set(true);
    drop(net);
    assert_eq!(TestDma::in_use(), before);
}

#[test]
fn wrong_devices_are_refused_by_name() {
    let refuse = |device: &FakeDevice| {
        let error = VirtioNet::new(device.mmio(), Rc::new(TestDma)).err().expect("refused");
        assert_eq!(TestDma::in_use(), 0);
        error
    };
    let device = FakeDevice::new(2, ALL, &CONFIG, &[256, 256, 64]);
    assert_eq!(refuse(&device), InitError::WrongType { expected: 1, found: 2 });
    let device = device_with(ALL);
    device.make_legacy();
    assert_eq!(refuse(&device), InitError::Legacy);
    let device = FakeDevice::new(1, PLAIN, &CONFIG, &[256]);
    assert_eq!(refuse(&device), InitError::NoQueue(1));
    let device = device_with(PLAIN & !MAC);
    assert!(matches!(refuse(&device), InitError::BadConfig { field: "mac", .. }));
    let device = device_with(ALL);
    device.config_mut(11, 0);
    device.config_mut(10, 67);
    assert_eq!(refuse(&device), InitError::BadConfig { field: "mtu", value: 67 });
    let device = device_with(PLAIN);
    device.stuck.set(true);
    device.set_status_bit(64);
    assert_eq!(refuse(&device), InitError::ResetTimeout);
    let device = device_with(PLAIN);
    TestDma::set_limit(600_000);
    assert!(matches!(refuse(&device), InitError::NoMemory(_)));
    TestDma::set_limit(usize::MAX);
    assert_eq!(device.status(), 0);
}

#[test]
fn frames_arrive_in_order_within_the_budget() {
    let (device, mut net) = both(PLAIN);
    for i in 0..100 {
        deliver(&device, 0, &pattern(60 + i));
    }
    let first = received(&mut net, 64);
    assert_eq!(first.len(), 64);
    assert_eq!(first[63], (pattern(123), false));
    assert_eq!(received(&mut net, 64).len(), 36);
    assert_eq!(net.counters().rx_packets, 100);
    assert_eq!(device.available(RX), 256, "all buffers are with the device again");
}

#[test]
fn checksum_flags_vouch_for_a_frame() {
    let (device, mut net) = both(ALL);
    for flags in [0, 1, 2, 3] {
        deliver(&device, flags, &pattern(60));
    }
    let vouched: Vec<bool> = received(&mut net, 64).into_iter().map(|(_, ok)| ok).collect();
    assert_eq!(vouched, [false, true, true, true]);
}

#[test]
fn merged_frames_are_put_together() {
    for features in [ALL, PLAIN] {
        let (device, mut net) = both(features);
        for len in [60, 2036, 2037, 4084, 4085, 9000, 65_549] {
            deliver(&device, 1, &pattern(len));
            deliver(&device, 0, &pattern(61));
            let frames = received(&mut net, 64);
            assert_eq!(frames.len(), 2, "{len}");
            assert_eq!(frames[0].0, pattern(len), "{len}");
            assert_eq!(frames[1].0, pattern(61));
        }
        assert_eq!(net.counters().rx_errors, 0);
    }
}

#[test]
fn merged_frame_may_come_in_pieces() {
    let (device, mut net) = both(PLAIN);
    let frame = pattern(5000);
    let chains: Vec<_> = (0..3).map(|_| device.pop(RX).unwrap()).collect();
    let mut bytes = vec![0; 12];
    bytes[10] = 3;
    bytes.extend_from_slice(&frame);
    device.complete(RX, &chains[0], &bytes[..2048]);
    assert!(received(&mut net, 64).is_empty());
    device.complete(RX, &chains[1], &bytes[2048..4096]);
    assert!(received(&mut net, 64).is_empty());
    device.complete(RX, &chains[2], &bytes[4096..]);
    assert_eq!(received(&mut net, 64)[0].0, frame);
}

#[test]
fn bad_frames_are_dropped_and_counted() {
    let (device, mut net) = both(PLAIN);
    let mut one = |len: usize, buffers: u8| {
        let mut bytes = vec![0; len];
        if len >= 12 {
            bytes[10] = buffers;
        }
        let chain = device.pop(RX).unwrap();
        device.complete(RX, &chain, &bytes);
        received(&mut net, 64).len()
    };
    assert_eq!(one(0, 1), 0, "no header");
    assert_eq!(one(11, 1), 0, "half a header");
    assert_eq!(one(12 + 13, 1), 0, "shorter than an Ethernet header");
    assert_eq!(one(100, 0), 0, "over no buffers");
    assert_eq!(one(100, 1), 1);
    // Two buffers, the second empty.
    assert_eq!(one(100, 2), 0);
    assert_eq!(one(0, 0), 0);
    assert_eq!(net.counters().rx_errors, 5);
    assert_eq!(net.link(), Link::Up(LinkSpeed(0)));

    // 33 buffers of 2 KiB are more than any frame: dropped whole, and the next one is fine.
    let chains: Vec<_> = (0..33).map(|_| device.pop(RX).unwrap()).collect();
    let mut bytes = vec![0; 2048];
    bytes[10] = 33;
    chains.iter().for_each(|chain| {
        device.complete(RX, chain, &bytes);
    });
    deliver(&device, 0, &pattern(77));
    assert_eq!(received(&mut net, 64), [(pattern(77), false)]);
    assert_eq!(net.counters().rx_errors, 6);
}

#[test]
fn hostile_device_is_shut_off() {
    type Attack = fn(&FakeDevice);
    let attacks: [Attack; 4] = [
        |device| {
            device.push_used(RX, 300, 60);
        },
        |device| {
            device.push_used(RX, 0, 5000);
        },
        |device| {
            device.set_used(RX, 1000);
        },
        |device| {
            let chain = device.pop(RX).unwrap();
            device.complete(RX, &chain, &[[0; 10], [0xff; 10]].concat());
        },
    ];
    for attack in attacks {
        let (device, mut net) = both(PLAIN);
        attack(&device);
        assert!(received(&mut net, 64).is_empty());
        assert_eq!(device.status(), 0, "reset");
        assert_eq!(net.link(), Link::Down);
        assert_eq!(net.counters().rx_errors, 1);
        assert_eq!(send(&mut net, &pattern(60)), Err(TransmitError::Full));
        assert_eq!(net.transmit_room(), 0);
        net.flush();
        assert!(!net.arm());
        net.disarm();
    }
    let (device, mut net) = both(PLAIN);
    device.push_used(TX, 0, 0);
    assert_eq!(net.transmit_room(), 0);
    assert_eq!(device.status(), 0);
    let (device, mut net) = both(PLAIN);
    device.set_status_bit(64);
    assert_eq!(net.link(), Link::Down, "the device asked for a reset");
    assert_eq!(device.status(), 0);
}

#[test]
fn sent_frames_carry_their_offload() {
    let (device, mut net) = both(ALL);
    send(&mut net, &pattern(60)).unwrap();
    let offload =
        TxOffload { checksum: Some(TxChecksum { start: 34, offset: 16 }), segment_size: Some(1448) };
    let mut big = pattern(65_520);
    big[12..14].copy_from_slice(&[8, 0]);
    big[34 + 12] = 0x80;
    net.transmit(big.len(), offload, &mut |buffer| buffer.copy_from_slice(&big)).unwrap();
    assert!(device.take_doorbells().is_empty(), "not before flush");
    net.flush();
    assert_eq!(device.take_doorbells(), [TX]);
    let frames = sent(&device);
    assert_eq!(frames[0], (vec![0; 12], pattern(60)));
    assert_eq!(frames[1].0, [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]);
    assert_eq!(frames[1].1, big);
    assert_eq!(net.counters().tx_tso_packets, 1);
}

#[test]
fn frames_too_long_are_refused() {
    let (_device, mut net) = both(PLAIN);
    assert_eq!(send(&mut net, &pattern(1518)), Ok(()));
    assert_eq!(send(&mut net, &pattern(1519)), Err(TransmitError::TooLong));
    let tso = TxOffload { checksum: Some(TxChecksum { start: 34, offset: 16 }), segment_size: Some(1460) };
    assert_eq!(net.transmit(3000, tso, &mut |_| panic!("not filled")), Err(TransmitError::TooLong));
    let (_device, mut net) = both(ALL);
    assert_eq!(net.transmit(65_521, tso, &mut |_| panic!("not filled")), Err(TransmitError::TooLong));
    assert_eq!(net.counters().tx_dropped, 1);
}

#[test]
fn full_ring_refuses_then_interrupts_once_when_armed() {
    let (device, mut net) = both(PLAIN);
    let mut queued = 0;
    while send(&mut net, &pattern(60)).is_ok() {
        queued += 1;
    }
    assert_eq!(queued, 256);
    assert_eq!(net.counters().tx_dropped, 1);
    net.flush();
    // Polling on does not forget that somebody waits.
    net.disarm();
    assert!(!net.arm());
    let interrupts: usize = (0..256)
        .map(|_| {
            let chain = device.pop(TX).unwrap();
            usize::from(device.push_used(TX, u32::from(chain.head), 0))
        })
        .sum();
    assert_eq!(interrupts, 1);
    net.disarm();
    assert_eq!(net.transmit_room(), 256);
    assert_eq!(net.counters().interrupts, 1);
    // No longer starved: sending does not interrupt.
    send(&mut net, &pattern(60)).unwrap();
    net.flush();
    assert!(!net.arm());
    let chain = device.pop(TX).unwrap();
    assert!(!device.push_used(TX, u32::from(chain.head), 0));
}

#[test]
fn room_above_zero_means_the_longest_frame_fits() {
    let (device, mut net) = both(ALL);
    let tso = TxOffload { checksum: Some(TxChecksum { start: 34, offset: 16 }), segment_size: Some(1460) };
    for _ in 0..3 {
        let mut queued = 0;
        while net.transmit_room() > 0 {
            net.transmit(60_000, tso, &mut |buffer| buffer.fill(1)).unwrap();
            queued += 1;
        }
        assert_eq!(queued, 16);
        net.flush();
        assert!(!net.arm());
        assert_eq!(sent(&device).len(), 16);
        assert!(net.arm(), "room came meanwhile");
        assert_eq!(net.transmit_room(), 16);
    }
}

#[test]
fn no_wake_up_is_lost_between_looking_and_arming() {
    for features in [PLAIN, PLAIN & !EVENT_IDX] {
        let (device, mut net) = both(features);
        for _ in 0..1000 {
            net.disarm();
            assert!(!deliver(&device, 0, &pattern(60)), "no interrupt while polling");
            assert_eq!(received(&mut net, 64).len(), 1);
            // A frame slips in after the last look: arm reports it ...
            deliver(&device, 0, &pattern(60));
            assert!(net.arm());
            net.disarm();
            assert_eq!(received(&mut net, 64).len(), 1);
            // ... or it comes after arm, with an interrupt.
            assert!(!net.arm());
            assert!(deliver(&device, 0, &pattern(60)));
            net.disarm();
            assert_eq!(received(&mut net, 64).len(), 1);
        }
        assert_eq!(net.counters().interrupts, 1000);
    }
}

#[test]
fn bulk_traffic_needs_few_doorbells() {
    let (device, mut net) = both(PLAIN);
    // The device asks for a doorbell whenever it has emptied the transmit ring: the worst case.
    for _ in 0..100 {
        net.disarm();
        for _ in 0..32 {
            deliver(&device, 0, &pattern(1514));
        }
        net.receive(64, &mut |_, _| {});
        for _ in 0..32 {
            send(&mut net, &pattern(1514)).unwrap();
        }
        net.flush();
        assert_eq!(sent(&device).len(), 32);
        net.arm();
    }
    let counters = net.counters();
    let per_packet = counters.doorbells as f64 / (counters.rx_packets + counters.tx_packets) as f64;
    assert_eq!(counters.rx_packets, 3_200);
    assert!(per_packet <= 0.05, "{per_packet} doorbells per packet");
}

#[test]
fn receive_filter_is_posted_and_falls_back_to_all() {
    let commands = Rc::new(RefCell::new(Vec::new()));
    let refuse_tables = Rc::new(RefCell::new(false));
    let device = device_with(PLAIN);
    let (log, refuse) = (commands.clone(), refuse_tables.clone());
    device.on_notify(move |device, queue| {
        while queue == CONTROL
            && let Some(chain) = device.pop(queue)
        {
            let command = device.readable(&chain);
            let answer = u8::from(command[0] == 1 && *refuse.borrow());
            log.borrow_mut().push(command);
            device.complete(queue, &chain, &[answer]);
        }
    });
    let mut net = net(&device);
    assert_eq!(commands.take(), [[0, 0, 0]], "promiscuous off");
    let group = MacAddress([1, 0, 0x5e, 0, 0, 1]);
    net.set_multicast(&[group]);
    assert_eq!(commands.take(), [[&[1, 0, 0, 0, 0, 0, 1, 0, 0, 0][..], &group.0].concat()]);
    // More than the table holds: all multicast; and back.
    net.set_multicast(&vec![group; 65]);
    assert_eq!(commands.take(), [[0, 1, 1]]);
    net.set_multicast(&[]);
    assert_eq!(commands.take(), [vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0], vec![0, 1, 0]]);
    // A table the device does not want.
    *refuse_tables.borrow_mut() = true;
    net.set_multicast(&[group]);
    net.arm();
    assert_eq!(commands.take().last().unwrap(), &[0, 1, 1]);
}

#[test]
fn silent_control_queue_holds_nobody_up() {
    let (device, mut net) = both(PLAIN);
    for i in 0..100 {
        net.set_multicast(&[MacAddress([1, 0, 0, 0, 0, i]); 3]);
    }
    // The device wakes up: the last list arrives in the end.
    let mut last = Vec::new();
    for _ in 0..10 {
        while let Some(chain) = device.pop(CONTROL) {
            last = device.readable(&chain);
            device.complete(CONTROL, &chain, &[0]);
        }
        net.arm();
    }
    assert_eq!(last[last.len() - 6..], [1, 0, 0, 0, 0, 99]);
}

#[test]
fn multiqueue_device_is_told_to_use_one_pair() {
    let device = FakeDevice::new(1, PLAIN | MQ, &CONFIG, &[256, 256, 256, 256, 64]);
    device.config_mut(8, 2);
    let _net = net(&device);
    let first = device.pop(4).unwrap();
    assert_eq!(device.readable(&first), [0, 0, 0]);
    assert_eq!(device.readable(&device.pop(4).unwrap()), [4, 0, 1, 0]);
}

#[test]
fn level_interrupt_is_acknowledged_on_mmio() {
    let device = device_with(PLAIN);
    let mut net = VirtioNet::new(device.mmio(), Rc::new(TestDma)).unwrap();
    assert!(!net.arm());
    assert!(deliver(&device, 0, &pattern(60)));
    assert_eq!(device.isr(), 1);
    net.disarm();
    assert_eq!(device.isr(), 0);
    assert_eq!(received(&mut net, 1).len(), 1);
}

#[test]
fn a_lost_kick_costs_no_more_than_the_next_look_at_the_link() {
    let (device, mut net) = both(PLAIN);
    assert!(sent(&device).is_empty());
    device.hide_wish(TX);
    send(&mut net, &pattern(64)).unwrap();
    net.flush();
    device.show_wish(TX);
    assert!(!device.take_doorbells().contains(&TX), "the kick is lost");
    net.link();
    assert!(device.take_doorbells().contains(&TX));
}
