//! What goes right: messages, replies, pulses, of all sizes, here and to other nodes.

use crate::world::{World, delayed, root, send, user};
use keelson_qnet::api::{KernelConfig, NameScope, Received};
use keelson_qnet_wire::{Errno, Nd};
use std::rc::Rc;

fn pattern(first: u8, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|index| (index / 251 + index) as u8).collect();
    bytes[0] = first;
    bytes
}

/// Every size around the limits of 8,192 and 65,536 bytes, there and back, to this node and to another.
#[test]
fn sizes() {
    for (settings, seed) in [(None, 0), (Some(()), 3)] {
        let settings = settings.map_or_else(Default::default, |()| delayed(seed));
        let world = World::with(2, settings, KernelConfig::default());
        let _server = world.serve(1);
        for from in [0, 1] {
            let connection = Rc::new(world.connect(from, 1));
            for len in [1, 8191, 8192, 8193, 65_536, 65_537, 73_728, 73_729, 131_072, 300_000] {
                for kind in [b'e', b'w'] {
                    let message = pattern(kind, len);
                    let (status, reply) = world.send(&connection, &message, len).unwrap();
                    assert!(status == len as i32 && reply == message, "{len} bytes, {kind}, from {from}");
                }
            }
            drop(connection);
        }
        world.settle();
        world.assert_baseline();
    }
}

#[test]
fn replies_are_cut_to_the_clients_room() {
    let world = World::new(2);
    let _server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    for (kind, len, room) in [(b'e', 100, 60), (b'e', 100_000, 70_000), (b'w', 120_000, 51_234), (b'w', 9, 0)]
    {
        let message = pattern(kind, len);
        let (status, reply) = world.send(&connection, &message, room).unwrap();
        assert!(status == len as i32 && reply == message[..room], "{kind} {len} {room}");
    }
}

#[test]
fn messages_in_pieces_and_their_information() {
    let world = World::new(3);
    let kernel = world.kernel(2);
    let pid = kernel.create_process(&root()).unwrap();
    let channel = kernel.channel(pid).unwrap();
    assert_eq!((channel.pid(), channel.chid(), channel.is_empty()), (pid, 1, true));
    let client = world.kernel(0);
    let nd = Nd::new(world.nd(2, 0).node(), 2);
    let chid = channel.chid();
    let task = world.spawn(async move {
        let connection = client.connect(nd, pid, chid, &user(7)).await.unwrap();
        connection.set_coid(5);
        connection.set_priority(40);
        let mut reply = [0; 10];
        let sent = connection.send(&[b"ab", b"", b"cde"], &mut reply).await;
        assert_eq!((sent, &reply), (Ok((-3, 4)), b"done\0\0\0\0\0\0"));
    });
    let nd_of_client = world.nd(0, 2);
    world.run(async move {
        let Received::Message(message) = channel.receive().await else { panic!() };
        let info = message.info();
        assert_eq!((message.data(), message.len()), (&b"abcde"[..], 5));
        assert_eq!((info.nd, info.srcnd, info.pid, info.tid), (nd_of_client, nd, 107, 1));
        assert_eq!((info.coid, info.priority, info.msglen, info.dstmsglen), (5, 40, 5, 10));
        assert_eq!((message.credentials().euid, message.credentials().nd), (7, nd_of_client));
        let mut bytes = [0; 8];
        assert_eq!(message.read(3, &mut bytes).await, Ok(2));
        assert_eq!(message.read(5, &mut bytes).await, Ok(0));
        assert_eq!(message.read(usize::MAX, &mut bytes).await, Ok(0));
        let scoid = info.scoid as u32;
        message.reply_parts(-3, &[b"do", b"ne"]);
        let Received::Disconnect { scoid: gone } = channel.receive().await else { panic!() };
        assert_eq!(gone, scoid);
    });
    assert!(task.is_finished());
    world.assert_baseline();
}

#[test]
fn errors_and_messages_that_are_let_go() {
    let world = World::new(2);
    let server = world.serve(1);
    for from in [0, 1] {
        let connection = Rc::new(world.connect(from, 1));
        assert_eq!(world.send(&connection, b"x", 9), Err(Errno::EACCES));
        assert_eq!(world.send(&connection, b"d", 9), Err(Errno::ESRCH));
        assert_eq!(world.send(&connection, b"?", 9), Ok((-1, vec![])));
        assert_eq!(world.send(&connection, b"", 9), Ok((-1, vec![])));
    }
    assert_eq!(server.messages.get(), 8);
}

/// Several threads of one client wait at once, and the server answers in its own order.
#[test]
fn sends_of_several_tasks() {
    let world = World::with(2, delayed(5), KernelConfig::default());
    let _server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    let tasks: Vec<_> = (0..40_u8)
        .map(|index| {
            let connection = connection.clone();
            world.spawn(async move {
                let first = if index % 3 == 0 { b'm' } else { b'e' };
                let message = pattern(first, 3000 * usize::from(index) + 1);
                let reply = send(&connection, &message, 200_000).await;
                let expected = match first {
                    b'm' => (7, b"moment".to_vec()),
                    _ => (message.len() as i32, message),
                };
                assert!(reply == Ok(expected), "{index}");
            })
        })
        .collect();
    world.settle();
    assert!(tasks.iter().all(|task| task.is_finished()));
    // One handle for each of those that waited at once.
    assert!((9..=40).contains(&world.kernel(0).counters().vtid.now));
    drop(connection);
    world.settle();
    world.assert_baseline();
}

/// A server receives what is most urgent first.
#[test]
fn receiving_by_priority() {
    let world = World::new(2);
    let channel = world.kernel(1).channel(1).unwrap();
    let connection = Rc::new(world.connect(0, 1));
    for (priority, code) in [(10, 1), (30, 2), (10, 3), (63, 4)] {
        connection.pulse(priority, code, i32::from(code) * 100).unwrap();
    }
    let urgent = connection.clone();
    world.spawn(async move {
        urgent.set_priority(20);
        let _ = urgent.send(&[b"urgent"], &mut []).await;
    });
    world.settle();
    let mut order = Vec::new();
    while let Some(received) = channel.try_receive() {
        match received {
            Received::Pulse(pulse) => {
                assert_eq!(pulse.value, i32::from(pulse.code) * 100);
                assert_eq!(pulse.scoid, connection.scoid().unwrap());
                order.push((pulse.priority, pulse.code));
            }
            Received::Message(message) => {
                order.push((message.info().priority as u8, 0));
                message.reply(0, &[]);
            }
            _ => panic!(),
        }
    }
    assert_eq!(order, [(63, 4), (30, 2), (20, 0), (10, 1), (10, 3)]);
}

#[test]
fn names() {
    let world = World::new(1);
    let kernel = world.kernel(0);
    let pid = kernel.create_process(&root()).unwrap();
    let service = kernel.name_attach(pid, "lab/adder", NameScope::Local).unwrap();
    let again = |name: &str, scope| kernel.name_attach(pid, name, scope).map(|_| ()).err();
    assert_eq!(again("lab/adder", NameScope::Local), Some(Errno::EEXIST));
    assert_eq!(again("lab/adder", NameScope::Global), None);
    for wrong in ["", "/x", "a//b", "../x", "a/.", "a\0b"] {
        assert_eq!(again(wrong, NameScope::Local), Some(Errno::EINVAL), "{wrong}");
    }
    assert_eq!(again(&"x".repeat(256), NameScope::Local), Some(Errno::ENAMETOOLONG));
    assert_eq!(kernel.name_lookup("lab/adder", NameScope::Local), Some((pid, service.chid())));
    assert_eq!(
        (kernel.names(NameScope::Local), kernel.names(NameScope::Global)),
        (vec!["lab/adder".into()], vec![])
    );
    let task = world.spawn(async move {
        loop {
            match service.receive().await {
                Received::Message(message) => message.reply(1, b"hello"),
                Received::Disconnect { .. } => return,
                _ => panic!(),
            }
        }
    });
    let client = kernel.clone();
    world.run(async move {
        let missing = client.name_open("lab/adder", NameScope::Global, &user(9)).await;
        assert_eq!(missing.map(|_| ()), Err(Errno::ENOENT));
        let connection = client.name_open("lab/adder", NameScope::Local, &user(9)).await.unwrap();
        // A read, as for a resource manager: not for a service.
        assert_eq!(send(&connection, &[1, 1, 0, 0], 9).await, Err(Errno::ENOSYS));
        assert_eq!(send(&connection, &[0, 2, 0, 0], 9).await, Ok((1, b"hello".to_vec())));
    });
    world.settle();
    assert!(task.is_finished());
    assert!(kernel.names(NameScope::Local).is_empty());
    world.assert_baseline();
}
