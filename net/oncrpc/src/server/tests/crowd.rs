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
