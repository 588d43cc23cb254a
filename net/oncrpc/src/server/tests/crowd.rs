//! Many clients at once: none of them starves.

use super::*;

/// Clients with one connection and one call at a time.
const MODEST: usize = 63;
/// Connections of the client that takes all it can get.
const GREEDY: usize = 16;
/// Calls of a modest client.
const CALLS: u32 = 8;

/// Everybody sends large requests, for which there are four buffers.
#[test]
fn large_requests_take_turns() {
    let options = ServerOptions { buffer_memory: 4 << 20, ..ServerOptions::default() };
    let world = World::new(options);
    let done = Rc::new(RefCell::new(alloc::vec![0; MODEST]));
    let greedy = Rc::new(Cell::new(0));
    let data: Rc<[u8]> = alloc::vec![1; 100_000].into();
    let handle = world.executor.handle();
    let connect = |address: String| {
        let (reader, writer) = world.connect(&address).split();
        let handle = world.executor.handle();
        // The listener's queue is short.
        world.run(async move { handle.sleep(Duration::from_nanos(1)).await });
        StreamClient::new(reader, writer, 2 << 20, 1)
    };
    let greedy_clients: Vec<_> =
        (700..).take(GREEDY).map(|port| connect(format!("10.0.1.1:{port}"))).collect();
    let modest: Vec<_> = (2..).take(MODEST).map(|host| connect(format!("10.0.0.{host}:900"))).collect();
    for mut client in greedy_clients {
        let (greedy, data) = (greedy.clone(), data.clone());
        handle.spawn("greedy", async move {
            while client.call(target(6), |out| out.opaque(&data)).await.is_ok() {
                greedy.set(greedy.get() + 1);
            }
        });
    }
    for (number, mut client) in modest.into_iter().enumerate() {
        let (done, data) = (done.clone(), data.clone());
        handle.spawn("modest", async move {
            for _ in 0..CALLS {
                client.call(target(6), |out| out.opaque(&data)).await.expect("the sum");
                done.borrow_mut()[number] += 1;
            }
        });
    }
    let first = done.clone();
    let waits = world.server.buffers();
    world.run(async move {
        while first.borrow().iter().all(|&calls| calls < CALLS) {
            keelson_exec::yield_now().await;
        }
    });
    let least = done.borrow().iter().copied().min().unwrap_or_default();
    assert!(least >= CALLS * 3 / 4, "the slowest made {least} calls when the fastest had made {CALLS}");
    // Sixteen connections get no more than sixteen modest clients do.
    let most = GREEDY as u32 * CALLS * 5 / 4;
    assert!(greedy.get() <= most, "the greedy one made {} calls", greedy.get());
    assert!(waits.waits() > 400, "there was enough for everybody");
}

/// Clients that begin a large record and stop take the buffers from all others: they are given up soon, and those who
/// wait because of them are not.
#[test]
fn half_records_hold_up_nobody_for_long() {
    let options = ServerOptions { buffer_memory: 4 << 20, ..ServerOptions::default() };
    let world = World::new(options);
    let halves: Vec<_> = (2..10)
        .map(|host| {
            let (reader, mut writer) = world.connect(&format!("10.0.0.{host}:900")).split();
            world.run(async move {
                write_raw(&mut writer, &[0x80, 0x0f, 0, 0, 9]).await;
                (reader, writer)
            })
        })
        .collect();
    let data: Rc<[u8]> = alloc::vec![1; 100_000].into();
    let done = Rc::new(RefCell::new(Vec::new()));
    let handle = world.executor.handle();
    for host in 20..40 {
        let (reader, writer) = world.connect(&format!("10.0.0.{host}:900")).split();
        let pause = handle.clone();
        world.run(async move { pause.sleep(Duration::from_nanos(1)).await });
        let mut client = StreamClient::new(reader, writer, 2 << 20, 1);
        let (handle, data, done) = (handle.clone(), data.clone(), done.clone());
        world.executor.handle().spawn("modest", async move {
            client.call(target(6), |out| out.opaque(&data)).await.expect("the sum");
            done.borrow_mut().push(handle.now().as_millis());
        });
    }
    let seen = done.clone();
    world.run(async move {
        while seen.borrow().len() < 20 {
            handle.sleep(Duration::from_millis(10)).await;
        }
    });
    let last = done.borrow().last().copied().unwrap_or_default();
    assert!(last <= 25_000, "the last was served after {last} ms");
    // Those that began last are in nobody's way.
    assert_eq!(world.server.counters().stalled.get(), 6);
    drop(halves);
}

/// However many calls clients send at once, only so many workers are made for them, and all calls are answered.
#[test]
fn workers_are_shared_out() {
    let options = ServerOptions { more_calls: 3, ..ServerOptions::default() };
    let world = World::new(options);
    let done = Rc::new(Cell::new(0));
    let connect = |host: u32| {
        let (reader, writer) = world.connect(&format!("10.0.0.{host}:900")).split();
        StreamClient::new(reader, writer, 4096, 1)
    };
    let clients: Vec<_> = (2..12).map(connect).collect();
    for mut client in clients {
        let done = done.clone();
        world.executor.handle().spawn("client", async move {
            for _ in 0..20 {
                client.call(target(1), |out| out.opaque(b"x")).await.expect("echo");
                done.set(done.get() + 1);
            }
        });
    }
    let (seen, handle) = (done.clone(), world.executor.handle());
    world.run(async move {
        while seen.get() < 200 {
            handle.sleep(Duration::from_millis(1)).await;
        }
    });
    let denied = world.server.counters().workers_denied.get();
    assert!(denied > 0, "{:?}", world.server.counters());
}
