//! How things end: channels, connections, nodes, in every state of a transaction (sections 7.6 and 18).

use crate::world::{World, delayed, root, send};
use keelson_qnet::api::{KernelConfig, Received};
use keelson_qnet::sessions::{Interest, NodeNr};
use keelson_qnet_wire::{Errno, Nd};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

fn world(seed: u64) -> World {
    World::with(2, delayed(seed), KernelConfig::default())
}

#[test]
fn nobody_there() {
    let world = world(1);
    let connect = |nd, pid, chid| {
        let kernel = world.kernel(0);
        world.run(async move { kernel.connect(nd, pid, chid, &root()).await.map(|_| ()) })
    };
    let nd = world.nd(1, 0);
    for nd in [nd, Nd::LOCAL] {
        assert_eq!(connect(nd, 1, 1), Err(Errno::ESRCH), "no channel");
        assert_eq!(connect(nd, 99, 1), Err(Errno::ESRCH), "no process");
    }
    assert_eq!(connect(Nd::new(7, 0), 1, 1), Err(Errno::ESRCH), "no such node descriptor");
    world.crash(1);
    assert_eq!(connect(nd, 1, 1), Err(Errno::EHOSTDOWN));
    let kernel = world.kernel(0);
    kernel.unmount();
    assert_eq!(connect(nd, 1, 1), Err(Errno::ENOREMOTE));
    assert!(!kernel.is_mounted());
    assert_eq!(kernel.channel(99).map(|_| ()).err(), Some(Errno::ESRCH));
    world.assert_baseline();
}

/// Section 12.5: those who wait get ESRCH, then the connection is dead.
#[test]
fn a_channel_is_destroyed() {
    for from in [0, 1] {
        let world = world(2);
        let server = world.serve(1);
        let connection = Rc::new(world.connect(from, 1));
        let results = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..2 {
            let (connection, results) = (connection.clone(), results.clone());
            world.spawn(async move {
                let result = send(&connection, b"s", 9).await;
                results.borrow_mut().push(result);
            });
        }
        world.pass(Duration::from_millis(20));
        // A message that the server has not received.
        let kernel = world.kernel(1);
        server.abort();
        world.pass(Duration::from_millis(20));
        assert_eq!(*results.borrow(), [Err(Errno::ESRCH), Err(Errno::ESRCH)]);
        assert!(!connection.is_alive());
        assert_eq!(world.send(&connection, b"e", 1), Err(Errno::EBADF));
        assert_eq!((kernel.server_connections(), kernel.transactions()), (0, 2), "requests are still held");
        drop(connection);
        world.pass(Duration::from_secs(61));
        world.assert_baseline();
    }
}

#[test]
fn queued_messages_of_a_channel_that_is_destroyed() {
    let world = world(3);
    let kernel = world.kernel(1);
    let pid = kernel.create_process(&root()).unwrap();
    let channel = kernel.channel(pid).unwrap();
    let (client, nd) = (world.kernel(0), world.nd(1, 0));
    let task = world.spawn(async move {
        let connection = client.connect(nd, pid, 1, &root()).await.unwrap();
        assert_eq!(send(&connection, b"?", 1).await, Err(Errno::ESRCH));
    });
    world.settle();
    assert_eq!(channel.len(), 1);
    kernel.end_process(pid);
    world.settle();
    assert!(task.is_finished() && channel.try_receive().is_none());
    assert_eq!(kernel.credentials(pid), Err(Errno::ESRCH));
    drop(channel);
    world.assert_baseline();
}

/// A node dies at every moment of connecting, sending, pulling, replying; nothing hangs, nothing is left.
#[test]
fn a_node_dies_in_every_state() {
    let mut results = Vec::new();
    for step in 0..120_u64 {
        let world = world(step);
        let server = world.serve(1);
        let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
        let outcome = Rc::new(RefCell::new(None));
        let place = outcome.clone();
        let task = world.spawn(async move {
            let result = async {
                let connection = kernel.connect(nd, 1, 1, &root()).await?;
                let message: Vec<u8> = std::iter::once(b'w').chain(vec![5; 150_000]).collect();
                send(&connection, &message, 150_001).await?;
                send(&connection, b"m", 9).await
            }
            .await;
            *place.borrow_mut() = Some(result);
        });
        world.pass(Duration::from_micros(step * 250));
        world.crash(1);
        server.abort();
        world.settle();
        assert!(task.is_finished(), "hangs when the node dies after {step} steps");
        world.assert_baseline();
        results.push(outcome.borrow_mut().take().unwrap().map(|_| ()));
    }
    // All kinds of ends were among them.
    for expected in [Err(Errno::EHOSTDOWN), Err(Errno::ESRCH), Ok(())] {
        assert!(results.contains(&expected), "{expected:?} did not happen");
    }
    assert!(
        results
            .iter()
            .all(|result| { matches!(result, Ok(()) | Err(Errno::EHOSTDOWN | Errno::ESRCH | Errno::EBADF)) })
    );
}

/// The same for the client's node: the server is told once, and holds nothing.
#[test]
fn the_clients_node_dies_in_every_state() {
    for step in 0..120_u64 {
        let world = world(step);
        let server = world.serve(1);
        let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
        let task = world.spawn(async move {
            let Ok(connection) = kernel.connect(nd, 1, 1, &root()).await else { return };
            let message: Vec<u8> = std::iter::once(b'w').chain(vec![5; 150_000]).collect();
            let _ = send(&connection, &message, 150_001).await;
            let _ = send(&connection, b"b", 9).await;
        });
        world.pass(Duration::from_micros(step * 250));
        world.crash(0);
        task.abort();
        world.settle();
        assert!(server.disconnects.borrow().len() <= 1);
        world.assert_baseline();
    }
}

/// R9: old descriptors fail, a new open works at once, and nothing leaks.
#[test]
fn the_server_reboots() {
    for pause in [0, 1, 100, 299, 301, 1000] {
        let world = world(pause);
        let _before = world.serve(1);
        let old = Rc::new(world.connect(0, 1));
        assert_eq!(world.send(&old, b"ex", 9), Ok((2, b"ex".to_vec())));
        world.crash(1);
        world.boot(1);
        let _after = world.serve(1);
        world.pass(Duration::from_millis(pause));
        // Until the old epoch is known to be over, connecting may fail with it.
        let connection = (0..10).find_map(|_| match world.try_connect(0, 1, &root()) {
            Ok(connection) => Some(Rc::new(connection)),
            Err(errno) => {
                assert!(
                    pause < 300 && matches!(errno, Errno::EHOSTDOWN | Errno::ESRCH),
                    "{errno} after {pause}"
                );
                None
            }
        });
        let connection = connection.unwrap();
        assert_eq!(world.send(&connection, b"ey", 9), Ok((2, b"ey".to_vec())));
        let failed = world.send(&old, b"ex", 9).unwrap_err();
        assert!(matches!(failed, Errno::ESRCH | Errno::EBADF));
        world.settle();
        assert_eq!(world.send(&old, b"ex", 9), Err(Errno::EBADF));
        assert_eq!(world.send(&connection, b"ez", 9), Ok((2, b"ez".to_vec())));
        drop((old, connection));
        world.settle();
        world.assert_baseline();
    }
}

#[test]
fn the_client_reboots() {
    for pause in [0, 1, 299, 301] {
        let world = world(pause);
        let server = world.serve(1);
        let old = Rc::new(world.connect(0, 1));
        let waiting = old.clone();
        let blocked = world.spawn(async move {
            let _ = send(&waiting, b"b", 9).await;
        });
        world.pass(Duration::from_millis(5));
        world.crash(0);
        blocked.abort();
        drop(old);
        world.boot(0);
        world.pass(Duration::from_millis(pause));
        let connection = Rc::new(world.connect(0, 1));
        // What the old epoch had goes when the new one is seen.
        assert_eq!(world.send(&connection, b"ex", 9), Ok((2, b"ex".to_vec())));
        assert_eq!((server.disconnects.borrow().len(), server.ended.get()), (1, 1));
        assert_eq!(world.kernel(1).counters().net_server.now, 1);
        assert_eq!(world.kernel(1).counters().nd_changed, 1);
        drop(connection);
        world.settle();
        world.assert_baseline();
    }
}

/// Only one direction breaks: requests are lost, or replies are.
#[test]
fn one_direction_breaks() {
    for (from, to) in [(0, 1), (1, 0)] {
        for step in 0..60_u64 {
            let world = world(step);
            let server = world.serve(1);
            let (kernel, nd) = (world.kernel(0), world.nd(1, 0));
            let task = world.spawn(async move {
                let connection = match kernel.connect(nd, 1, 1, &root()).await {
                    Ok(connection) => connection,
                    Err(errno) => return assert_eq!(errno, Errno::EHOSTDOWN),
                };
                match send(&connection, b"m", 9).await {
                    Ok(reply) => assert_eq!(reply, (7, b"moment".to_vec())),
                    Err(errno) => assert!(matches!(errno, Errno::ESRCH | Errno::EBADF), "{errno}"),
                }
            });
            world.pass(Duration::from_micros(step * 50));
            world.network.cut(from, to);
            world.settle();
            assert!(task.is_finished(), "hangs when {from} to {to} is cut after {step} steps");
            assert!(server.disconnects.borrow().len() <= 2);
            world.assert_baseline();
        }
    }
}

/// Section 20: local clients of remote servers get ENOREMOTE, remote clients disconnect, local ones stay.
#[test]
fn unmounting() {
    let world = world(9);
    let server = world.serve(0);
    let _remote_server = world.serve(1);
    let remote = Rc::new(world.connect(0, 1));
    let local = Rc::new(world.connect(0, 0));
    let from_there = Rc::new(world.connect(1, 0));
    let waiting = remote.clone();
    let task = world.spawn(async move {
        assert_eq!(send(&waiting, b"b", 9).await, Err(Errno::ENOREMOTE));
    });
    let nd = world.nd(1, 0);
    let kernel = world.kernel(0);
    let connecting = world.spawn(async move {
        assert_eq!(kernel.connect(nd, 1, 1, &root()).await.map(|_| ()), Err(Errno::ENOREMOTE));
    });
    world.executor.turn();
    world.kernel(0).unmount();
    world.pass(Duration::from_millis(1));
    assert!(task.is_finished() && connecting.is_finished());
    assert_eq!(server.disconnects.borrow().len(), 1);
    assert_eq!(world.send(&local, b"ex", 2), Ok((2, b"ex".to_vec())));
    assert_eq!(world.send(&remote, b"ex", 2), Err(Errno::EBADF));
    // Up again, with the sessions of a new start.
    world.kernel(0).mount(world.network.reboot(0)).unwrap();
    assert_eq!(world.kernel(0).mount(world.network.sessions(0)), Err(Errno::EBUSY));
    world.settle();
    let again = Rc::new(world.connect(0, 1));
    assert_eq!(world.send(&again, b"ex", 2), Ok((2, b"ex".to_vec())));
    assert!(!from_there.is_alive());
    drop((again, remote, local, from_there));
    world.settle();
    world.assert_baseline();
}

/// What the sessions are told: whether anybody is connected, and whether anybody waits.
#[test]
fn interest() {
    let world = world(10);
    let _server = world.serve(1);
    let of = |node: usize, other: usize| {
        world.network.sessions(node).interest(NodeNr(world.nd(other, node).node()))
    };
    assert_eq!((of(0, 1), of(1, 0)), (Interest::None, Interest::None));
    let connection = Rc::new(world.connect(0, 1));
    assert_eq!((of(0, 1), of(1, 0)), (Interest::Connected, Interest::Connected));
    let waiting = connection.clone();
    let task = world.spawn(async move {
        let _ = send(&waiting, b"b", 9).await;
    });
    world.pass(Duration::from_millis(5));
    assert_eq!((of(0, 1), of(1, 0)), (Interest::Waiting, Interest::Connected));
    task.abort();
    world.pass(Duration::from_millis(5));
    assert_eq!(of(0, 1), Interest::Connected);
    drop(connection);
    world.settle();
    assert_eq!((of(0, 1), of(1, 0)), (Interest::None, Interest::None));
}

/// A client that stops waiting for an attachment leaves nothing on the server.
#[test]
fn connecting_is_given_up() {
    for microseconds in (0..3000).step_by(50) {
        let world = world(microseconds);
        let channel = world.kernel(1).channel(1).unwrap();
        let (kernel, nd, handle) = (world.kernel(0), world.nd(1, 0), world.executor.handle());
        world.run(async move {
            let limit = Duration::from_micros(microseconds);
            let _ = handle.timeout(limit, kernel.connect(nd, 1, 1, &root())).await;
        });
        world.settle();
        assert_eq!(world.kernel(0).connections(), 0);
        while let Some(received) = channel.try_receive() {
            assert!(matches!(received, Received::Disconnect { .. }));
        }
        world.assert_baseline();
    }
}
