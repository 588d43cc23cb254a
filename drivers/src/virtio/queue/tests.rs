use super::*;
use crate::testing::{FakeDevice, TestDma};
use crate::virtio::{feature, negotiate, start};
use proptest::prelude::*;
use std::collections::VecDeque;

fn dma() -> Rc<dyn Dma> {
    Rc::new(TestDma)
}

/// A running queue of `size` on a fake device.
fn queue(size: u16, event_idx: bool) -> (FakeDevice, Virtqueue) {
    let device = FakeDevice::new(4, if event_idx { feature::EVENT_IDX } else { 0 }, &[], &[size]);
    let transport = device.pci();
    negotiate(&*transport, 4, |offer| offer).unwrap();
    let queue = Virtqueue::new(&*transport, &dma(), 0, event_idx).unwrap();
    start(&*transport);
    (device, queue)
}

/// Moves both sides to where the 16-bit indexes are about to wrap, without 65,000 steps of work.
fn wind(device: &FakeDevice, queue: &mut Virtqueue, buffer: &DmaBuffer, steps: u32) {
    for _ in 0..steps {
        assert!(queue.add(&[write_to(buffer, 8)], 0));
        queue.publish();
        let chain = device.pop(0).unwrap();
        device.push_used(0, u32::from(chain.head), 0);
        queue.pop().unwrap().unwrap();
    }
}

fn write_to(buffer: &DmaBuffer, len: u32) -> Segment {
    Segment { phys: buffer.phys(0), len, device_writes: true }
}

fn read_from(buffer: &DmaBuffer, len: u32) -> Segment {
    Segment { phys: buffer.phys(0), len, device_writes: false }
}

#[test]
fn event_is_passed_exactly_when_the_standard_says() {
    assert!(passes(0, 1, 0));
    assert!(!passes(1, 1, 0));
    assert!(passes(5, 8, 5));
    assert!(!passes(4, 8, 5));
    assert!(!passes(8, 8, 5));
    // Around the wrap, where a plain comparison fails.
    assert!(passes(0xffff, 2, 0xfffe));
    assert!(!passes(0xfffd, 2, 0xfffe));
    assert!(passes(0xfffe, 0, 0xfffe));
}

#[test]
fn doorbell_rings_once_per_publish_and_not_while_the_device_looks() {
    for event_idx in [false, true] {
        let (device, mut queue) = queue(16, event_idx);
        let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
        (0..10).for_each(|token| assert!(queue.add(&[read_from(&buffer, 1)], token)));
        queue.publish();
        assert_eq!(device.take_doorbells(), [0], "event_idx {event_idx}");
        queue.publish();
        assert!(device.take_doorbells().is_empty(), "nothing new");

        // The device takes some and is still busy: no doorbell.
        device.pop(0).unwrap();
        if !event_idx {
            device.set_no_notify(0, true);
        }
        assert!(queue.add(&[read_from(&buffer, 1)], 10));
        queue.publish();
        assert!(device.take_doorbells().is_empty(), "event_idx {event_idx}");

        // It empties the ring and goes to sleep: doorbell.
        while device.pop(0).is_some() {}
        if !event_idx {
            device.set_no_notify(0, false);
        }
        assert!(queue.add(&[read_from(&buffer, 1)], 11));
        queue.publish();
        assert_eq!(device.take_doorbells(), [0], "event_idx {event_idx}");
    }
}

/// The device empties the ring and asks for the next doorbell, and the driver publishes without seeing that.
fn lose_a_kick(device: &FakeDevice, queue: &mut Virtqueue, buffer: &DmaBuffer) {
    assert!(queue.add(&[read_from(buffer, 1)], 0));
    device.hide_wish(0);
    queue.publish();
    device.show_wish(0);
    assert!(device.take_doorbells().is_empty(), "the kick is lost");
    assert_eq!(device.available(0), 1, "and the device does not know");
}

#[test]
fn a_lost_kick_is_made_up_for_and_nothing_else_is() {
    for event_idx in [false, true] {
        let (device, mut queue) = queue(16, event_idx);
        let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
        queue.nudge();
        assert!(device.take_doorbells().is_empty(), "nothing is in flight");

        lose_a_kick(&device, &mut queue, &buffer);
        if event_idx {
            assert!(queue.add(&[read_from(&buffer, 1)], 1));
            queue.publish();
            assert!(device.take_doorbells().is_empty(), "why it matters: no later request rings");
        }
        queue.nudge();
        assert_eq!(device.take_doorbells(), [0], "event_idx {event_idx}");

        // Everything seen, nothing answered yet: with event indices the driver can tell and leaves it alone.
        while device.pop(0).is_some() {}
        if event_idx {
            queue.nudge();
            assert!(device.take_doorbells().is_empty(), "the device has seen all");
        }
    }
}

#[test]
fn a_lost_kick_is_noticed_across_the_index_wrap() {
    let (device, mut queue) = queue(8, true);
    let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
    wind(&device, &mut queue, &buffer, 65_535);
    assert!(device.pop(0).is_none());
    device.take_doorbells();
    for round in 0..3 {
        lose_a_kick(&device, &mut queue, &buffer);
        queue.nudge();
        assert_eq!(device.take_doorbells(), [0], "round {round}");
        while device.pop(0).is_some() {}
    }
}

#[test]
fn doorbells_and_interrupts_survive_the_index_wrap() {
    let (device, mut queue) = queue(8, true);
    let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
    wind(&device, &mut queue, &buffer, 65_533);
    // Drain: the device says where it wants the next doorbell.
    assert!(device.pop(0).is_none());
    device.take_doorbells();
    for round in 0..4 {
        assert!(!queue.request_interrupt());
        for token in 0..3 {
            assert!(queue.add(&[read_from(&buffer, 1)], token));
        }
        queue.publish();
        assert_eq!(device.take_doorbells(), [0], "round {round}");
        for i in 0..3 {
            let chain = device.pop(0).unwrap();
            let interrupt = device.push_used(0, u32::from(chain.head), 0);
            assert_eq!(interrupt, i == 0, "round {round}: one interrupt for the first");
        }
        assert!(device.pop(0).is_none());
        assert!(queue.request_interrupt(), "used entries are there");
        while queue.pop().unwrap().is_some() {}
    }
}

#[test]
fn suppressed_interrupts_stay_away() {
    for event_idx in [false, true] {
        let (device, mut queue) = queue(8, event_idx);
        let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
        for _ in 0..100 {
            queue.suppress_interrupts();
            queue.add(&[write_to(&buffer, 8)], 0);
            queue.publish();
            let chain = device.pop(0).unwrap();
            assert!(!device.push_used(0, u32::from(chain.head), 0));
            queue.pop().unwrap().unwrap();
        }
    }
}

#[test]
fn delayed_interrupt_comes_at_its_count() {
    let (device, mut queue) = queue(8, true);
    let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
    (0..8).for_each(|token| assert!(queue.add(&[read_from(&buffer, 1)], token)));
    queue.publish();
    assert!(!queue.request_interrupt_after(4));
    let interrupts: Vec<bool> =
        (0..8).map(|_| device.push_used(0, u32::from(device.pop(0).unwrap().head), 0)).collect();
    assert_eq!(interrupts, [false, false, false, true, false, false, false, false]);
    assert!(queue.request_interrupt_after(8));
}

#[test]
fn full_queue_refuses_and_recovers() {
    let (device, mut queue) = queue(4, false);
    let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
    let chain = [read_from(&buffer, 16), write_to(&buffer, 16), write_to(&buffer, 1)];
    assert!(queue.add(&chain, 7));
    assert!(!queue.add(&chain, 8));
    assert_eq!(queue.free_descriptors(), 1);
    queue.publish();
    let taken = device.pop(0).unwrap();
    assert_eq!((taken.readable.len(), taken.writable.len()), (1, 2));
    device.push_used(0, u32::from(taken.head), 17);
    assert_eq!(queue.pop(), Ok(Some(Used { token: 7, written: 17 })));
    assert_eq!(queue.free_descriptors(), 4);
    assert!(queue.add(&chain, 8));
}

#[test]
fn hostile_used_ring_is_caught_and_the_queue_stays_dead() {
    type Attack = fn(&FakeDevice, u16);
    let attacks: [(Attack, QueueFault); 6] = [
        (
            |device, _| {
                device.push_used(0, 8, 0);
            },
            QueueFault::UnknownId(8),
        ),
        (
            |device, _| {
                device.push_used(0, 0x1_0000, 0);
            },
            QueueFault::UnknownId(0x1_0000),
        ),
        (
            |device, head| {
                device.push_used(0, u32::from(head ^ 1), 0);
            },
            QueueFault::UnknownId(1),
        ),
        (
            |device, head| {
                device.push_used(0, u32::from(head), 65);
            },
            QueueFault::LengthExceeded { claimed: 65, room: 64 },
        ),
        (
            |device, _| {
                device.set_used(0, 2);
            },
            QueueFault::IndexJump { claimed: 2, in_flight: 1 },
        ),
        (
            |device, _| {
                device.set_used(0, 0xffff);
            },
            QueueFault::IndexJump { claimed: 0xffff, in_flight: 1 },
        ),
    ];
    for (attack, fault) in attacks {
        let (device, mut queue) = queue(8, false);
        let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
        assert!(queue.add(&[write_to(&buffer, 64)], 0));
        queue.publish();
        let head = device.pop(0).unwrap().head;
        attack(&device, head);
        assert_eq!(queue.pop(), Err(fault));
        assert_eq!(queue.pop(), Err(fault), "still dead");
        assert!(!queue.add(&[write_to(&buffer, 64)], 0));
    }
}

#[test]
fn used_twice_is_caught() {
    let (device, mut queue) = queue(8, false);
    let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
    (0..2).for_each(|token| assert!(queue.add(&[write_to(&buffer, 64)], token)));
    queue.publish();
    let head = u32::from(device.pop(0).unwrap().head);
    device.push_used(0, head, 1);
    device.push_used(0, head, 1);
    assert!(queue.pop().unwrap().is_some());
    assert_eq!(queue.pop(), Err(QueueFault::UnknownId(head)));
}

#[test]
fn unpublished_chains_cannot_come_back() {
    let (device, mut queue) = queue(8, false);
    let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
    assert!(queue.add(&[write_to(&buffer, 64)], 0));
    device.push_used(0, 0, 1);
    assert_eq!(queue.pop(), Err(QueueFault::IndexJump { claimed: 1, in_flight: 0 }));
}

#[test]
fn missing_queue_and_missing_memory_are_named() {
    let device = FakeDevice::new(4, 0, &[], &[0]);
    let transport = device.mmio();
    assert_eq!(Virtqueue::new(&*transport, &dma(), 0, false).err(), Some(InitError::NoQueue(0)));
    assert_eq!(Virtqueue::new(&*transport, &dma(), 9, false).err(), Some(InitError::NoQueue(9)));
    let device = FakeDevice::new(4, 0, &[], &[256]);
    TestDma::set_limit(0);
    let result = Virtqueue::new(&*device.pci(), &dma(), 0, false).err();
    assert!(matches!(result, Some(InitError::NoMemory(_))));
    TestDma::set_limit(usize::MAX);
}

proptest! {
    /// Any mix of adding, publishing and completing in any order keeps every token and every descriptor.
    #[test]
    fn no_chain_is_lost_or_doubled(steps in prop::collection::vec((0u8..4, 1usize..4, any::<u16>()), 1..200)) {
        let (device, mut queue) = queue(16, true);
        let buffer = DmaBuffer::new(&dma(), 4096).unwrap();
        let (mut next_token, mut out, mut held) = (0u16, Vec::new(), VecDeque::new());
        let mut free = 16;
        for (action, len, pick) in steps {
            match action {
                0 => {
                    let added = queue.add(&vec![write_to(&buffer, 8); len], next_token);
                    prop_assert_eq!(added, len <= free);
                    if added {
                        out.push((next_token, len));
                        next_token += 1;
                        free -= len;
                    }
                }
                1 => queue.publish(),
                2 => {
                    held.extend(device.pop(0));
                    if !held.is_empty() {
                        let chain = held.remove(usize::from(pick) % held.len()).unwrap();
                        device.push_used(0, u32::from(chain.head), 8);
                    }
                }
                _ => {
                    while let Some(used) = queue.pop().unwrap() {
                        let place = out.iter().position(|&(token, _)| token == used.token);
                        prop_assert!(place.is_some(), "token {} unknown", used.token);
                        free += out.swap_remove(place.unwrap()).1;
                    }
                }
            }
            prop_assert!(usize::from(queue.free_descriptors()) == free);
        }
    }
}
