use super::*;
use crate::testing::{FakeDevice, TestClock, TestDma, noop_context};
use keelson_hal::Console as _;
use std::pin::pin;
use std::task::Poll;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const CONTROL_IN: u16 = 2;
const CONTROL_OUT: u16 = 3;

fn device(fake: &FakeDevice) -> Rc<VirtioConsole> {
    VirtioConsole::new(fake.mmio(), Rc::new(TestDma), Rc::new(TestClock::default())).unwrap()
}

/// A device without control queues.
fn plain() -> FakeDevice {
    FakeDevice::new(device_type::CONSOLE, 0, &[], &[64, 64])
}

fn console(fake: &FakeDevice) -> Rc<Port> {
    device(fake).consoles().remove(0)
}

#[test]
fn writes_arrive_whole_and_in_order() {
    let fake = plain();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = seen.clone();
    fake.on_notify(move |device, queue| {
        while queue == TRANSMIT
            && let Some(chain) = device.pop(queue)
        {
            sink.borrow_mut().extend(device.readable(&chain));
            device.push_used(queue, u32::from(chain.head), 0);
        }
    });
    let console = console(&fake);
    let text: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
    console.write(&text);
    console.write(b"end");
    assert_eq!(seen.borrow()[..40_000], text);
    assert_eq!(&seen.borrow()[40_000..], b"end");
    assert_eq!(console.dropped(), 0);
}

#[test]
fn stuck_device_costs_one_wait_and_then_drops() {
    let fake = plain();
    let console = console(&fake);
    console.write(b"first");
    console.write(b"second");
    assert_eq!(console.dropped(), 6);
    let chain = fake.pop(TRANSMIT).unwrap();
    assert_eq!(fake.readable(&chain), b"first");
    fake.push_used(TRANSMIT, u32::from(chain.head), 0);
    console.write(b"third");
    assert_eq!(console.dropped(), 6);
    assert_eq!(fake.readable(&fake.pop(TRANSMIT).unwrap()), b"third");
}

#[test]
fn reads_what_was_typed_in_pieces() {
    let fake = plain();
    let console = console(&fake);
    let mut buffer = [0; 3];
    assert!(console.poll_read(&mut noop_context(), &mut buffer).is_pending());
    let before = fake.available(RECEIVE);
    let chain = fake.pop(RECEIVE).unwrap();
    assert!(fake.complete(RECEIVE, &chain, b"hello"), "whoever waits asks for an interrupt");
    assert_eq!(console.poll_read(&mut noop_context(), &mut buffer), Poll::Ready(3));
    assert_eq!(&buffer, b"hel");
    assert_eq!(console.poll_read(&mut noop_context(), &mut buffer), Poll::Ready(2));
    assert!(console.poll_read(&mut noop_context(), &mut buffer).is_pending());
    assert_eq!(fake.available(RECEIVE), before, "the buffer is with the device again");
}

#[test]
fn nonsense_from_the_device_shuts_it_off() {
    // Too long; of a descriptor that the device never got; of one that there is not.
    for (id, len) in [(0, 4097), (63, 5), (77, 5)] {
        let fake = plain();
        let console = console(&fake);
        fake.pop(RECEIVE).unwrap();
        fake.push_used(RECEIVE, id, len);
        assert!(console.poll_read(&mut noop_context(), &mut [0; 8]).is_pending());
        assert_eq!(fake.status(), 0);
        console.write(b"lost");
        assert_eq!(console.dropped(), 4);
    }
}

#[test]
fn empty_input_is_not_the_end() {
    let fake = plain();
    let console = console(&fake);
    let chain = fake.pop(RECEIVE).unwrap();
    fake.push_used(RECEIVE, u32::from(chain.head), 0);
    assert!(console.poll_read(&mut noop_context(), &mut [0; 8]).is_pending());
    let chain = fake.pop(RECEIVE).expect("given again");
    fake.complete(RECEIVE, &chain, b"x");
    assert_eq!(console.poll_read(&mut noop_context(), &mut [0; 8]), Poll::Ready(1));
}

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// The device says something of a port.
fn tell(fake: &FakeDevice, message: &[u8]) {
    let chain = fake.pop(CONTROL_IN).expect("a buffer for a control message");
    fake.complete(CONTROL_IN, &chain, message);
}

fn name(port: u32, name: &str) -> Vec<u8> {
    [&message(port, 7, 1)[..], name.as_bytes(), b"\0"].concat()
}

/// A device with control queues that behaves as QEMU's does: a console as port 0, named ports from 1 on.
fn multiport(names: &'static [&'static str]) -> FakeDevice {
    let ports = names.len() + 1;
    let mut config = vec![0; 12];
    config[4..8].copy_from_slice(&(ports as u32 + 1).to_le_bytes());
    let fake = FakeDevice::new(
        device_type::CONSOLE,
        MULTIPORT | feature::EVENT_IDX,
        &config,
        &vec![64; 2 * (ports + 2)],
    );
    fake.on_notify(move |device, queue| {
        while queue == CONTROL_OUT
            && let Some(chain) = device.pop(queue)
        {
            let said = device.readable(&chain);
            let port = u32::from_le_bytes(said[..4].try_into().unwrap());
            match (said[4], port) {
                (0, _) => (0..ports as u32).for_each(|port| tell(device, &message(port, 1, 1))),
                (3, 0) => tell(device, &message(0, 4, 1)),
                (3, _) => tell(device, &name(port, names[port as usize - 1])),
                (6, _) => assert_eq!(said[6], 1, "port {port} is opened"),
                _ => panic!("{said:?}"),
            }
            device.push_used(queue, u32::from(chain.head), 0);
        }
    });
    fake
}

const NAMES: &[&str] = &["lwk.hi.0", "lwk.hi.1", "other"];

#[test]
fn ports_are_known_as_soon_as_the_device_is_up() {
    let fake = multiport(NAMES);
    let device = device(&fake);
    assert_eq!(device.consoles().len(), 1);
    let names: Vec<_> = device.ports().iter().map(|port| port.name().to_string()).collect();
    assert_eq!(names, NAMES);
    // The queues of the port that is not there have no buffers.
    assert_eq!((fake.available(4), fake.available(10)), (16, 0));
    drop(device);
    assert_eq!(fake.status(), 0);
}

#[test]
fn more_ports_than_control_messages_can_wait_are_all_known() {
    static MANY: [&str; 30] = ["p"; 30];
    let device = device(&multiport(&MANY));
    assert_eq!(device.ports().len(), 30);
}

/// Who is at the other end of port 1 now.
fn connect(fake: &FakeDevice, device: &VirtioConsole, there: bool) {
    tell(fake, &message(1, 6, u16::from(there)));
    device.handle_interrupt();
}

fn accept(port: &Port) -> Option<(Reader, Writer)> {
    match pin!(port.accept()).poll(&mut noop_context()) {
        Poll::Ready(halves) => Some(halves),
        Poll::Pending => None,
    }
}

#[test]
fn a_connection_carries_bytes_until_it_ends() {
    let fake = multiport(NAMES);
    let device = device(&fake);
    let port = device.ports().remove(0);
    assert!(accept(&port).is_none(), "nobody is there");
    connect(&fake, &device, true);
    let (mut reader, mut writer) = accept(&port).unwrap();
    assert!(accept(&port).is_none(), "one at a time");

    let mut buffer = [0; 64];
    assert!(reader.poll_read(&mut noop_context(), &mut buffer).is_pending());
    for part in [&b"hel"[..], b"lo"] {
        let chain = fake.pop(4).unwrap();
        fake.complete(4, &chain, part);
    }
    assert_eq!(reader.poll_read(&mut noop_context(), &mut buffer), Poll::Ready(Some(5)));
    assert_eq!(&buffer[..5], b"hello");

    // As much as there are buffers, with one doorbell; the rest when the device has sent some.
    fake.take_doorbells();
    let long: Vec<u8> = (0..80_000u32).map(|i| i as u8).collect();
    assert_eq!(writer.poll_write(&mut noop_context(), &long), Poll::Ready(Some(7 * (8 << 10))));
    assert!(writer.poll_write(&mut noop_context(), &long[57_344..]).is_pending());
    assert_eq!(fake.take_doorbells(), [5]);
    let chain = fake.pop(5).unwrap();
    assert_eq!(fake.readable(&chain), long[..8 << 10]);
    assert!(fake.push_used(5, u32::from(chain.head), 0), "whoever waits asks for an interrupt");
    device.handle_interrupt();
    assert_eq!(writer.poll_write(&mut noop_context(), &long[57_344..]), Poll::Ready(Some(8 << 10)));

    connect(&fake, &device, false);
    assert_eq!(reader.poll_read(&mut noop_context(), &mut buffer), Poll::Ready(None));
    assert_eq!(writer.poll_write(&mut noop_context(), b"x"), Poll::Ready(None));
    assert_eq!(port.counters(), PortCounters { connected: false, received: 5, sent: 64 << 10 });
}

#[test]
fn the_next_one_waits_for_the_halves_of_the_last() {
    let fake = multiport(NAMES);
    let device = device(&fake);
    let port = device.ports().remove(0);
    connect(&fake, &device, true);
    let (reader, mut writer) = accept(&port).unwrap();
    connect(&fake, &device, false);
    connect(&fake, &device, true);
    // Somebody is there, but not the one whose halves these are.
    assert_eq!(writer.poll_write(&mut noop_context(), b"late"), Poll::Ready(None));
    drop(reader);
    assert!(accept(&port).is_none());
    drop(writer);
    let (_reader, mut writer) = accept(&port).unwrap();
    assert_eq!(writer.poll_write(&mut noop_context(), b"new"), Poll::Ready(Some(3)));
}

#[test]
fn what_the_device_loses_when_somebody_goes_is_not_missed() {
    let fake = multiport(NAMES);
    let device = device(&fake);
    let port = device.ports().remove(0);
    for round in 0..100u8 {
        connect(&fake, &device, true);
        // Another probe, where the last one was lost.
        assert_eq!(fake.available(5), u16::from(round % 3 == 1));
        while let Some(chain) = fake.pop(5) {
            fake.push_used(5, u32::from(chain.head), 0);
        }
        let (reader, mut writer) = accept(&port).unwrap();
        // As many as there are buffers for; the device gets stuck with the first, and throws the others away.
        let full = vec![round; 7 * (8 << 10)];
        assert_eq!(writer.poll_write(&mut noop_context(), &full), Poll::Ready(Some(full.len())));
        let _lost = fake.pop(5).unwrap();
        for _ in 1..7 {
            let chain = fake.pop(5).unwrap();
            fake.push_used(5, u32::from(chain.head), 0);
        }
        connect(&fake, &device, false);
        drop((reader, writer));
        let probe = fake.pop(5).unwrap();
        assert_eq!(fake.readable(&probe).len(), 1);
        // Now and then somebody comes before that is sent, and goes, and it gets lost, too.
        if round % 3 > 0 {
            assert!(fake.push_used(5, u32::from(probe.head), 0), "whoever comes next may wait for it");
            device.handle_interrupt();
        }
    }
}

#[test]
fn what_makes_no_sense_on_the_control_queue_is_left() {
    let fake = multiport(NAMES);
    let device = device(&fake);
    let messages =
        [vec![1, 2, 3], message(9999, 1, 1), message(u32::MAX, 6, 1), message(1, 99, 1), message(1, 5, 0)];
    for said in messages.iter().cycle().take(200) {
        tell(&fake, said);
        device.handle_interrupt();
    }
    connect(&fake, &device, true);
    assert!(accept(&device.ports()[0]).is_some());
}

#[test]
fn a_device_that_is_silent_is_waited_for_once() {
    let mut config = vec![0; 12];
    config[4..8].copy_from_slice(&2u32.to_le_bytes());
    let fake = FakeDevice::new(device_type::CONSOLE, MULTIPORT, &config, &[64; 6]);
    let device = device(&fake);
    assert!(device.consoles().is_empty() && device.ports().is_empty());
}

#[test]
fn a_broken_control_queue_ends_every_connection() {
    let fake = multiport(NAMES);
    let device = device(&fake);
    let port = device.ports().remove(0);
    connect(&fake, &device, true);
    let (mut reader, _writer) = accept(&port).unwrap();
    fake.push_used(CONTROL_IN, 9999, 8);
    device.handle_interrupt();
    assert_eq!(fake.status(), 0);
    assert_eq!(reader.poll_read(&mut noop_context(), &mut [0; 8]), Poll::Ready(None));
}
