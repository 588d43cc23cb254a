//! What the model of a network promises to the tests built on it.

use embedded_io_async::{Read, Write};
use keelson_exec::Handle;
use keelson_hal::Link;
use keelson_net::{Change, ConnectOptions, Stack, TcpOptions, TcpStream};
use keelson_net_sim::{Faults, NicModel, Node, World};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn plugged(world: &World, wire: &Rc<keelson_net_sim::Wire>, address: &str) -> Rc<Node> {
    let node = world.node();
    node.plug("eth0", wire, address, NicModel::default());
    node
}

async fn connect(stack: &Stack, peer: &str) -> TcpStream {
    let peer: SocketAddr = peer.parse().unwrap();
    let options = ConnectOptions { timeout: Duration::from_secs(60), ..ConnectOptions::default() };
    stack.connect(peer, options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Sends back what comes.
async fn echo(handle: Handle, stack: Stack) {
    let listener = stack.listen(7, TcpOptions::default()).unwrap();
    loop {
        let mut stream = listener.accept().await;
        handle.spawn("echo", async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Joins two wires above TCP, as an LNet router does.
async fn relay(handle: Handle, stack: Stack) {
    let listener = stack.listen(7, TcpOptions::default()).unwrap();
    loop {
        let mut near = listener.accept().await;
        let stack = stack.clone();
        handle.spawn("relay", async move {
            let mut far = connect(&stack, "10.2.0.2:7").await;
            let mut buffer = [0; 1000];
            while near.read_exact(&mut buffer).await.is_ok() {
                far.write_all(&buffer).await.unwrap();
                far.read_exact(&mut buffer).await.unwrap();
                near.write_all(&buffer).await.unwrap();
            }
        });
    }
}

async fn exchange(stream: &mut TcpStream, rounds: usize) {
    for round in 0..rounds {
        let sent = [round as u8; 1000];
        let mut got = [0xff; 1000];
        stream.write_all(&sent).await.unwrap();
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, sent);
    }
}

/// Virtual nanoseconds and frames that 50 exchanges through a node on two wires take.
fn through_router(seed: u64) -> (u128, u64) {
    let world = World::new(seed);
    let faults = Faults { loss: 3, duplicate: 3, reorder: 5, ..Faults::default() };
    let (near, far) = (world.wire(faults), world.wire(faults));
    let router = plugged(&world, &near, "10.1.0.1/24");
    router.plug("eth1", &far, "10.2.0.1/24", NicModel::default());
    let (client, server) = (plugged(&world, &near, "10.1.0.2/24"), plugged(&world, &far, "10.2.0.2/24"));
    let (handle, stack) = router.boot();
    handle.spawn("relay", relay(handle.clone(), stack));
    let (handle, stack) = server.boot();
    handle.spawn("echo", echo(handle.clone(), stack));
    let (_, stack) = client.boot();
    world.run(async move { exchange(&mut connect(&stack, "10.1.0.1:7").await, 50).await });
    assert!(far.frames.get() > 100 && near.frames.get() > 100);
    ((world.now() - keelson_hal::Instant::ZERO).as_nanos(), near.frames.get() + far.frames.get())
}

#[test]
fn a_node_joins_two_wires_and_a_seed_is_a_run() {
    assert_eq!(through_router(1), through_router(1));
    assert_ne!(through_router(1), through_router(2));
}

struct Alive(Rc<Cell<u32>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn a_killed_node_says_nothing_and_leaves_nothing() {
    let world = World::new(3);
    let wire = world.wire(Faults::default());
    let (server, client) = (plugged(&world, &wire, "10.0.0.1/24"), plugged(&world, &wire, "10.0.0.2/24"));
    let (handle, stack) = server.boot();
    handle.spawn("echo", echo(handle.clone(), stack.clone()));
    let alive = Rc::new(Cell::new(1));
    let guard = Alive(alive.clone());
    let inner = handle.clone();
    handle.spawn("guarded", async move {
        let _guard = guard;
        inner.sleep(SECOND * 1000).await;
    });
    let (_, client_stack) = client.boot();
    let mut stream = world.run(async move {
        let mut stream = connect(&client_stack, "10.0.0.1:7").await;
        exchange(&mut stream, 1).await;
        stream
    });
    let said: Rc<RefCell<Vec<usize>>> = Rc::default();
    let heard = said.clone();
    *wire.tap.borrow_mut() = Some(Box::new(move |port, _| heard.borrow_mut().push(port)));
    server.kill();
    assert_eq!((alive.get(), handle.live_tasks()), (0, 0));
    assert!(
        stack
            .bind_udp(1, Default::default())
            .unwrap()
            .send(None, "10.0.0.2:1".parse().unwrap(), b"?")
            .is_ok()
    );
    world.run_for(SECOND);
    assert!(!said.borrow().contains(&0), "the dead node spoke");

    // Its successor has the address and the MAC, and does not know the connection: it resets it.
    let (handle, stack) = server.boot();
    handle.spawn("echo", echo(handle.clone(), stack));
    let outcome = world.run(async move {
        stream.write_all(b"still there?").await.unwrap();
        stream.read(&mut [0; 16]).await
    });
    assert!(outcome.is_err(), "{outcome:?}");
}

#[test]
fn carrier_and_cut_differ_in_what_the_stack_sees() {
    let world = World::new(4);
    let wire = world.wire(Faults::default());
    let (server, client) = (plugged(&world, &wire, "10.0.0.1/24"), plugged(&world, &wire, "10.0.0.2/24"));
    let (handle, stack) = server.boot();
    handle.spawn("echo", echo(handle.clone(), stack.clone()));
    let (_, client_stack) = client.boot();
    let mut stream = world.run(async move { connect(&client_stack, "10.0.0.1:7").await });
    let mut events = stack.events();
    let mut carrier = move || {
        let mut seen = Vec::new();
        while let Some(event) = events.try_next() {
            if let Change::Carrier(link) = event.change {
                seen.push(link != Link::Down);
            }
        }
        seen
    };

    server.set_carrier("eth0", false);
    world.run_for(SECOND);
    server.set_carrier("eth0", true);
    world.run_for(SECOND);
    assert_eq!(carrier(), [false, true]);

    server.set_cut("eth0", true);
    let began = world.now();
    let mended = server.clone();
    world.after(SECOND * 2, move || mended.set_cut("eth0", false));
    world.run(async move { exchange(&mut stream, 1).await });
    assert!(world.now() - began >= SECOND * 2);
    assert_eq!(carrier(), []);
}

#[test]
fn faults_change_while_the_world_runs_and_bandwidth_is_a_limit() {
    let world = World::new(5);
    let wire = world.wire(Faults { bandwidth: Some(1_000_000), ..Faults::default() });
    let (server, client) = (plugged(&world, &wire, "10.0.0.1/24"), plugged(&world, &wire, "10.0.0.2/24"));
    let (handle, stack) = server.boot();
    let received = Rc::new(Cell::new(0));
    let count = received.clone();
    handle.spawn("sink", async move {
        let mut stream = stack.listen(7, TcpOptions::default()).unwrap().accept().await;
        let mut buffer = vec![0; 64 << 10];
        while let Ok(more @ 1..) = stream.read(&mut buffer).await {
            count.set(count.get() + more);
        }
    });
    let (handle, stack) = client.boot();
    handle.spawn("source", async move {
        let mut stream = connect(&stack, "10.0.0.1:7").await;
        while stream.write_all(&[7; 4096]).await.is_ok() {}
    });
    world.run_for(SECOND * 10);
    let slow = received.get();
    assert!((5_000_000..10_000_000).contains(&slow), "{slow} bytes in 10 s of 1 MB/s");

    let faster = wire.clone();
    world.after(SECOND, move || faster.faults.set(Faults::default()));
    assert!(world.run_until(SECOND * 2, || received.get() > slow + 2_000_000));
    assert!(!world.run_until(SECOND / 100, || received.get() == 0));
}
