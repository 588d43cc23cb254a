//! Clients that do not want to wait any more (section 12.5; R11 and R12 of section 26).

use crate::world::{World, delayed, send};
use keelson_qnet::api::{KernelConfig, Received};
use keelson_qnet_wire::Errno;
use std::rc::Rc;
use std::time::Duration;

/// R12: a timeout during a blocked read. The server is told, stops, and its transaction is gone.
#[test]
fn a_dropped_send_unblocks_the_server() {
    for from in [0, 1] {
        let world = World::with(2, delayed(1), KernelConfig::default());
        let server = world.serve(1);
        let connection = Rc::new(world.connect(from, 1));
        let (handle, waiting) = (world.executor.handle(), connection.clone());
        world.run(async move {
            let sent = handle.timeout(Duration::from_secs(2), send(&waiting, b"b", 9)).await;
            assert!(sent.is_err());
        });
        world.pass(Duration::from_millis(50));
        assert_eq!((server.unblocks.get(), server.ended.get()), (1, 1));
        assert_eq!(world.kernel(1).transactions(), 0);
        // The handle can be used again.
        assert_eq!(world.send(&connection, b"m", 9), Ok((7, b"moment".to_vec())));
        let handles = world.kernel(from).counters().vtid;
        assert_eq!((handles.now, handles.high), (1, 1));
        drop(connection);
        world.settle();
        world.assert_baseline();
    }
}

/// The same, with a client that waits for what the server says: EINTR.
#[test]
fn an_interrupted_send_gets_the_servers_answer() {
    let world = World::with(2, delayed(2), KernelConfig::default());
    let server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    for (message, expected) in [(b"b", Err(Errno::EINTR)), (b"m", Ok((7, 6)))] {
        let (handle, waiting) = (world.executor.handle(), connection.clone());
        let result = world.run(async move {
            let interrupted = handle.sleep(Duration::from_millis(10));
            waiting.send_until(&[message], &mut [0; 9], interrupted).await
        });
        assert_eq!(result, expected);
    }
    assert_eq!(server.unblocks.get(), 2);
}

/// A server that does not react is answered for after five seconds; its own answer then goes nowhere.
#[test]
fn five_seconds() {
    let world = World::with(2, delayed(3), KernelConfig::default());
    let server = world.serve(1);
    let connection = Rc::new(world.connect(0, 1));
    let (handle, waiting) = (world.executor.handle(), connection.clone());
    let (result, time) = world.run(async move {
        let start = handle.now();
        let interrupted = handle.sleep(Duration::from_secs(1));
        let result = waiting.send_until(&[b"s"], &mut [], interrupted).await;
        (result, handle.now() - start)
    });
    assert_eq!(result, Err(Errno::EINTR));
    assert!((6000..6010).contains(&time.as_millis()), "{time:?}");
    assert_eq!((server.unblocks.get(), world.kernel(1).transactions()), (1, 1));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.kernel(1).transactions(), 0);
    assert_eq!(world.send(&connection, b"ex", 9), Ok((2, b"ex".to_vec())));
    drop(connection);
    world.settle();
    world.assert_baseline();
}

/// An UNBLOCK for what the server has not received takes it out of the queue.
#[test]
fn queued_messages_are_withdrawn() {
    let world = World::with(2, delayed(4), KernelConfig::default());
    let channel = world.kernel(1).channel(1).unwrap();
    let connection = Rc::new(world.connect(0, 1));
    let (handle, waiting) = (world.executor.handle(), connection.clone());
    let result = world.run(async move {
        let interrupted = handle.sleep(Duration::from_millis(10));
        waiting.send_until(&[b"?"], &mut [], interrupted).await
    });
    assert_eq!(result, Err(Errno::EINTR));
    assert!(channel.try_receive().is_none());
    assert_eq!(world.kernel(1).counters().buffer.now, 0);
    assert_eq!(world.kernel(1).counters().server_unblock, 1);
}

/// Replies that cross an UNBLOCK, at every moment: the next send must not get them.
#[test]
fn crossing() {
    for microseconds in (0..24_000).step_by(97) {
        let world = World::with(2, delayed(microseconds), KernelConfig::default());
        let _server = world.serve(1);
        let connection = Rc::new(world.connect(0, 1));
        let (handle, waiting) = (world.executor.handle(), connection.clone());
        world.run(async move {
            let limit = Duration::from_micros(microseconds);
            let _ = handle.timeout(limit, send(&waiting, b"m", 9)).await;
            for _ in 0..3 {
                assert_eq!(send(&waiting, b"e-next", 9).await, Ok((6, b"e-next".to_vec())));
            }
        });
        drop(connection);
        world.settle();
        world.assert_baseline();
    }
}

/// R11: a client that is killed with a blocked read.
#[test]
fn a_detached_client_unblocks_the_server() {
    for from in [0, 1] {
        let world = World::with(2, delayed(6), KernelConfig::default());
        let server = world.serve(1);
        let connection = Rc::new(world.connect(from, 1));
        let scoid = connection.scoid().unwrap();
        let blocked: Vec<_> = (0..3)
            .map(|_| {
                let connection = connection.clone();
                world.spawn(async move {
                    let _ = send(&connection, b"b", 9).await;
                })
            })
            .collect();
        drop(connection);
        world.pass(Duration::from_millis(20));
        assert_eq!(world.kernel(1).transactions(), 3);
        blocked.iter().for_each(|task| task.abort());
        world.pass(Duration::from_millis(20));
        assert_eq!(server.ended.get(), 3);
        assert_eq!(*server.disconnects.borrow(), [scoid]);
        world.assert_baseline();
    }
}

/// A server that reads from a client which has stopped waiting.
#[test]
fn reading_from_a_client_that_is_gone() {
    let world = World::with(2, delayed(7), KernelConfig::default());
    let channel = world.kernel(1).channel(1).unwrap();
    let connection = Rc::new(world.connect(0, 1));
    let waiting = connection.clone();
    let client = world.spawn(async move {
        let _ = waiting.send(&[&[1; 20_000]], &mut []).await;
    });
    let server = world.executor.handle();
    world.run(async move {
        let Received::Message(message) = channel.receive().await else { panic!() };
        assert_eq!(message.data().len(), 8192);
        let mut bytes = vec![0; 20_000];
        client.abort();
        assert_eq!(message.read(0, &mut bytes).await, Err(Errno::ESRCH));
        message.unblocked().await;
        assert!(message.is_unblocked());
        // The place for the answer is free again.
        drop(message);
        server.sleep(Duration::from_millis(10)).await;
        drop(channel);
    });
    drop(connection);
    world.settle();
    world.assert_baseline();
}
