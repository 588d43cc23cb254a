//! Whose turn it is: room of a link, priorities, the window, bounds of the queue (sections 7.1 and 7.4).

use crate::l4::testing::World;
use crate::l4::{Body, Options};
use crate::sessions::{NodeNr, Qos, SessionEvent};
use core::time::Duration;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::l4::{Header, Kind, Layer};

fn sent(world: &World) -> Vec<Header> {
    let port = world.nodes[0].ports[0].clone();
    std::iter::from_fn(|| port.take()).map(|(_, bytes)| Header::decode(&bytes).unwrap()).collect()
}

/// Polls alpha without letting the wire take anything.
fn poll(world: &mut World) {
    let now = world.now;
    world.nodes[0].transport.poll(now);
}

#[test]
fn urgent_messages_overtake_others() {
    let mut world = World::connected(1, 1, Options::default());
    world.add("gamma", "", Options::default());
    world.announce();
    world.run(Duration::from_millis(10));
    let (beta, gamma) = (world.nr(0, "beta"), world.nr(0, "gamma"));
    world.send(0, gamma, Qos::default(), 8).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    let port = world.nodes[0].ports[0].clone();
    port.capacity.set(2);
    let now = world.now;
    let mut send = |to: NodeNr, priority, len: usize| {
        let transport = &mut world.nodes[0].transport;
        transport.send(now, to, Qos::default(), priority, &[priority; 8], Body::from(vec![0; len])).unwrap();
    };
    send(beta, 10, 8 * 1456);
    poll(&mut world);
    let mut send = |to: NodeNr, priority, len: usize| {
        let transport = &mut world.nodes[0].transport;
        transport.send(now, to, Qos::default(), priority, &[priority; 8], Body::from(vec![0; len])).unwrap();
    };
    send(gamma, 20, 10);
    let first = sent(&world);
    assert_eq!(first.len(), 2, "as much as there was room");
    poll(&mut world);
    let next = sent(&world);
    assert_eq!((next[0].src_nd_for_dst, next[1].src_nd_for_dst), (gamma.0, beta.0), "between fragments");
    assert_eq!(next[1].offset, 2 * 1456, "goes on where it was");
}

#[test]
fn the_window_holds() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.kill(1);
    for _ in 0..100 {
        world.send(0, beta, Qos::default(), 100).unwrap();
    }
    let id = world.nodes[0].transport.node(beta).unwrap().tx[0];
    assert_eq!(world.nodes[0].transport.tx.get(id).unwrap().in_flight, 32);
    assert!(world.nodes[0].transport.counters().tx_throttled <= 1);
    let accepted = (0..500).filter(|_| world.send(0, beta, Qos::default(), 100).is_ok()).count();
    assert_eq!(accepted, 256 - 100);
    assert_eq!(world.send(0, beta, Qos::default(), 100), Err(Errno::EAGAIN));
    assert_eq!(world.send(0, beta, Qos::default(), 70_000), Err(Errno::EMSGSIZE));
    let mut world = World::connected(1, 1, Options::default());
    world.kill(1);
    for _ in 0..5 {
        world.send(0, beta, Qos::default(), 60_000).unwrap();
    }
    let id = world.nodes[0].transport.node(beta).unwrap().tx[0];
    assert_eq!(world.nodes[0].transport.tx.get(id).unwrap().in_flight_bytes, 120_000);
}

/// A message that is taken back leaves its number, without content.
#[test]
fn taken_back() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    let port = world.nodes[0].ports[0].clone();
    let now = world.now;
    let transport = &mut world.nodes[0].transport;
    let mut queue = |text: &[u8]| transport.send(now, beta, Qos::default(), 1, text, Body::EMPTY).unwrap();
    let [(tx, one), (_, two), _] = [queue(b"one"), queue(b"two"), queue(b"three")];
    assert!(world.nodes[0].transport.cancel(tx, two));
    assert!(!world.nodes[0].transport.cancel(tx, two), "once");
    poll(&mut world);
    assert!(!world.nodes[0].transport.cancel(tx, one), "it was sent");
    let frames: Vec<_> = std::iter::from_fn(|| port.take()).collect();
    let headers: Vec<Header> = frames.iter().map(|(_, bytes)| Header::decode(bytes).unwrap()).collect();
    let brief: Vec<_> =
        headers.iter().map(|header| (header.seq - one, header.layer, header.length)).collect();
    assert_eq!(brief, [(0, Layer::Kif, 3), (1, Layer::Seq, 0), (2, Layer::Kif, 5)]);
    let transport = &mut world.nodes[1].transport;
    for (_, bytes) in frames {
        transport.input(now, crate::link::LinkId(0), crate::l4::testing::mac(0, 0), false, &bytes);
    }
    let texts: Vec<Vec<u8>> = std::iter::from_fn(|| transport.take_event())
        .filter_map(|event| match event {
            SessionEvent::Message { message, .. } => Some(message.bytes().to_vec()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, [b"one".to_vec(), b"three".to_vec()]);
}

#[test]
fn one_doorbell_for_a_batch() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    let port = world.nodes[0].ports[0].clone();
    let (before, now) = (port.flushes.get(), world.now);
    for _ in 0..10 {
        let transport = &mut world.nodes[0].transport;
        transport.send(now, beta, Qos::default(), 1, &[0; 8], Body::EMPTY).unwrap();
    }
    poll(&mut world);
    poll(&mut world);
    assert_eq!(port.flushes.get() - before, 1);
    assert!(sent(&world).iter().all(|header| header.kind == Kind::User));
}
