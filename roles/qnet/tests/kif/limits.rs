//! Bounded tables: what does not fit is refused with EAGAIN, and fits again later.

use crate::world::{World, delayed, root, send, user};
use keelson_qnet::api::{KernelConfig, Received};
use keelson_qnet_wire::Errno;
use std::rc::Rc;
use std::time::Duration;

fn small() -> KernelConfig {
    let mut config = KernelConfig::default();
    config.limits.server_connections = 5;
    config.limits.server_connections_per_node = 3;
    config.limits.transactions = 4;
    config.limits.client_connections = 6;
    config.limits.handles = 8;
    config.limits.reads = 1;
    config.limits.processes = 3;
    config.limits.channels = 2;
    config
}

#[test]
fn server_connections() {
    let world = World::with(3, delayed(1), small());
    let server = world.serve(2);
    let mut held: Vec<_> = (0..3).map(|_| world.connect(0, 2)).collect();
    assert_eq!(world.try_connect(0, 2, &root()).map(|_| ()), Err(Errno::EAGAIN), "per node");
    held.extend((0..2).map(|_| world.connect(1, 2)));
    assert_eq!(world.try_connect(1, 2, &root()).map(|_| ()), Err(Errno::EAGAIN), "all nodes");
    // Clients on the node itself have places of their own.
    let local: Vec<_> = (0..5).map(|_| world.connect(2, 2)).collect();
    assert_eq!(world.try_connect(2, 2, &root()).map(|_| ()), Err(Errno::EAGAIN));
    assert_eq!(world.kernel(2).counters().refused, 3);
    drop(local);
    held.remove(0);
    world.settle();
    assert_eq!(server.disconnects.borrow().len(), 6);
    held.push(world.connect(0, 2));
    drop(held);
    world.settle();
    world.assert_baseline();
    assert_eq!(world.kernel(2).counters().net_server.high, 5);
}

/// A client that comes and goes while the server does not receive: its places are not free before the server knows.
#[test]
fn disconnects_wait_for_the_server() {
    let world = World::with(2, delayed(2), small());
    let channel = world.kernel(1).channel(1).unwrap();
    for _ in 0..3 {
        drop(world.connect(0, 1));
    }
    world.settle();
    assert_eq!(world.try_connect(0, 1, &root()).map(|_| ()), Err(Errno::EAGAIN));
    assert_eq!(channel.len(), 3);
    assert!(matches!(channel.try_receive(), Some(Received::Disconnect { .. })));
    drop(world.connect(0, 1));
}

#[test]
fn transactions_and_handles() {
    let world = World::with(2, delayed(3), small());
    let _server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    let spawn = |message: &'static [u8]| {
        let connection = connection.clone();
        world.spawn(async move {
            let _ = send(&connection, message, 9).await;
        })
    };
    let blocked: Vec<_> = (0..4).map(|_| spawn(b"b")).collect();
    world.pass(Duration::from_millis(10));
    assert_eq!(world.send(&connection, b"e", 9), Err(Errno::EAGAIN), "refused by the server");
    let local = Rc::new(world.connect(1, 1));
    assert_eq!(world.send(&local, b"ex", 9), Ok((2, b"ex".to_vec())), "here there is room");
    blocked.iter().for_each(|task| task.abort());
    world.pass(Duration::from_millis(10));
    assert_eq!(world.send(&connection, b"ex", 9), Ok((2, b"ex".to_vec())));
    let quick: Vec<_> = (0..8).map(|_| spawn(b"m")).collect();
    world.pass(Duration::from_millis(1));
    assert_eq!(world.send(&connection, b"e", 9), Err(Errno::EAGAIN), "no handle here");
    world.settle();
    assert!(quick.iter().all(|task| task.is_finished()));
    drop((connection, local));
    world.settle();
    world.assert_baseline();
}

#[test]
fn clients_processes_channels() {
    let world = World::with(2, delayed(4), small());
    let _server = world.serve(0);
    let held: Vec<_> = (0..5).map(|_| world.connect(0, 0)).collect();
    let kernel = world.kernel(0);
    assert_eq!(world.try_connect(0, 0, &root()).map(|_| ()), Err(Errno::EAGAIN));
    assert_eq!((kernel.create_process(&user(1)), kernel.create_process(&user(1))), (Ok(2), Ok(3)));
    assert_eq!(kernel.create_process(&user(1)), Err(Errno::EAGAIN));
    let channel = kernel.channel(2).unwrap();
    assert_eq!(kernel.channel(2).map(|_| ()).err(), Some(Errno::EAGAIN));
    drop(channel);
    assert_eq!(kernel.channel(2).unwrap().chid(), 2, "ids are not reused at once");
    let mut seen = Vec::new();
    kernel.for_each_process(|pid, cred, channels| seen.push((pid, cred.euid, channels)));
    assert_eq!(seen, [(1, 0, 1), (2, 1, 0), (3, 1, 0)]);
    drop(held);
    world.settle();
    world.assert_baseline();
}

/// One read at a time fits: the other is refused, and neither hangs.
#[test]
fn reads() {
    let world = World::with(2, delayed(5), small());
    let server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    let message: Vec<u8> = std::iter::once(b'e').chain(vec![1; 50_000]).collect();
    let results = Rc::new(std::cell::RefCell::new(Vec::new()));
    for _ in 0..2 {
        let (connection, message, results) = (connection.clone(), message.clone(), results.clone());
        world.spawn(async move {
            let result = send(&connection, &message, 60_000).await.map(|(status, _)| status);
            results.borrow_mut().push(result);
        });
    }
    world.settle();
    results.borrow_mut().sort_by_key(|result| result.is_err());
    assert_eq!(*results.borrow(), [Ok(50_001), Err(Errno::EAGAIN)]);
    assert_eq!(server.messages.get(), 2);
}

/// Sessions without room: senders wait, replies are kept, everything arrives in order.
#[test]
fn narrow_sessions() {
    let mut settings = delayed(6);
    settings.window = 1;
    let world = World::with(2, settings, KernelConfig::default());
    let server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    let tasks: Vec<_> = (0..20)
        .map(|index| {
            let connection = connection.clone();
            world.spawn(async move {
                let message: Vec<u8> = [b"ew"[index % 2]].into_iter().chain(vec![7; 9000 * index]).collect();
                let reply = send(&connection, &message, 200_000).await;
                assert!(reply == Ok((message.len() as i32, message)), "{index}");
            })
        })
        .collect();
    world.pass(Duration::from_secs(10));
    for (i, t) in tasks.iter().enumerate() {
        println!("{i} {}", t.is_finished());
    }
    println!(
        "{:?}\n{:?} {}",
        world.kernel(0).counters(),
        world.kernel(1).counters(),
        world.network.outstanding()
    );
    assert!(tasks.iter().all(|task| task.is_finished()));
    assert_eq!(server.messages.get(), 20);
    assert!(world.kernel(1).counters().outbound_msgs.high > 1);
    drop(connection);
    world.settle();
    world.assert_baseline();
    assert_eq!(world.kernel(1).counters().outbound_lost, 0);
}
