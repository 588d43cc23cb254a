//! TCP between two stacks.

use embedded_io_async::{Read, Write};
use keelson_hal::{Clock, Link, LinkSpeed, NetFeatures};
use keelson_net::{ConnectError, ConnectOptions, InterfaceConfig, Stack, TcpError, TcpOptions, TcpStream};
use keelson_net_sim::{Faults, Lab, NicModel, World};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8
}

async fn send_pattern(mut stream: TcpStream, len: usize) {
    let bytes: Vec<u8> = (0..len).map(pattern).collect();
    stream.write_all(&bytes).await.unwrap();
    stream.close().await;
}

async fn expect_pattern(stream: &mut TcpStream, len: usize) {
    expect_pattern_from(stream, 0, len).await;
}

async fn expect_pattern_from(stream: &mut TcpStream, mut at: usize, len: usize) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or_else(|e| panic!("{e} after {at} bytes"));
        if count == 0 {
            break;
        }
        assert!(buffer[..count].iter().enumerate().all(|(n, byte)| *byte == pattern(at + n)), "at {at}");
        at += count;
    }
    assert_eq!(at, len);
}

/// Moves `len` bytes from b to a and returns the virtual time it took.
fn transfer(seed: u64, faults: Faults, features: NetFeatures, len: usize) -> (Duration, Stack, Stack) {
    let lab = Lab::new(seed, faults);
    let (a, _) = lab.host("10.0.0.1/24", features);
    let (b, _) = lab.host("10.0.0.2/24", features);
    let listener = a.listen(2049, TcpOptions::default()).unwrap();
    let handle = lab.handle();
    let client = b.clone();
    handle.spawn("client", async move {
        let peer: SocketAddr = "10.0.0.1:2049".parse().unwrap();
        let tcp = TcpOptions { linger: Duration::from_secs(170), ..Default::default() };
        let options = ConnectOptions { timeout: Duration::from_secs(60), tcp, ..Default::default() };
        send_pattern(client.connect(peer, options).await.unwrap(), len).await;
    });
    let began = handle.now();
    let ended = lab.run(async move {
        let mut stream = listener.accept().await;
        expect_pattern(&mut stream, len).await;
        handle.now()
    });
    (ended - began, a, b)
}

#[test]
fn a_clean_transfer_repeats_nothing() {
    let (_, _, b) = transfer(1, Faults::default(), NetFeatures::empty(), 4 << 20);
    assert_eq!(b.counters().tcp_retransmitted, 0);
    assert_eq!(b.counters().neighbour_queue_dropped, 0);
}

#[test]
fn offloads_are_used() {
    let features = NetFeatures::TX_CHECKSUM | NetFeatures::TSO4;
    let (_, a, b) = transfer(2, Faults::default(), features, 4 << 20);
    let counters = b.counters();
    assert!(counters.tcp_sent_tso > 60, "{counters:?}");
    assert!(counters.tcp_sent < (4 << 20) / 1460, "fewer packets than segments: {counters:?}");
    assert_eq!(a.counters().tcp_bad_checksum, 0);
    assert_eq!(counters.tcp_retransmitted, 0);
}

#[test]
fn a_peer_with_a_small_mtu_gets_small_segments() {
    let lab = Lab::new(3, Faults::default());
    let small = InterfaceConfig {
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        mtu: Some(600),
        ..InterfaceConfig::default()
    };
    let (a, _) = lab.host_with(&small, NetFeatures::empty());
    let (b, _) = lab.host("10.0.0.2/24", NetFeatures::TX_CHECKSUM | NetFeatures::TSO4);
    let listener = a.listen(2049, TcpOptions::default()).unwrap();
    let client = b.clone();
    lab.handle().spawn("client", async move {
        let peer: SocketAddr = "10.0.0.1:2049".parse().unwrap();
        // Below the sender's own MTU, and two segments for the receiver.
        send_pattern(client.connect(peer, ConnectOptions::default()).await.unwrap(), 1000).await;
    });
    lab.run(async move { expect_pattern(&mut listener.accept().await, 1000).await });
    assert_eq!(b.counters().tcp_sent_tso, 1, "{:?}", b.counters());
}

#[test]
fn loss_duplication_and_reordering_lose_nothing() {
    for (seed, loss, duplicate, reorder) in [(3, 1, 0, 0), (4, 5, 2, 5), (5, 0, 10, 20), (6, 10, 5, 10)] {
        let faults = Faults { loss, duplicate, reorder, ..Faults::default() };
        let (took, ..) = transfer(seed, faults, NetFeatures::empty(), 512 << 10);
        println!("loss {loss}% duplicate {duplicate}% reorder {reorder}%: 512 KiB in {took:?}");
        assert!(took < Duration::from_secs(180), "loss {loss}%: {took:?}");
    }
}

#[test]
fn closed_ports_refuse_and_absent_hosts_are_unreachable() {
    let lab = Lab::new(7, Faults::default());
    let (_a, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (b, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let handle = lab.handle();
    lab.run(async move {
        let options = ConnectOptions { timeout: Duration::from_secs(60), ..Default::default() };
        let refused = b.connect("10.0.0.1:9".parse().unwrap(), options).await;
        assert!(matches!(refused, Err(ConnectError::Refused(_))));
        let began = handle.now();
        let absent = b.connect("10.0.0.77:9".parse().unwrap(), options).await;
        assert!(matches!(absent, Err(ConnectError::Unreachable(_))));
        let took = handle.now() - began;
        assert!(took < Duration::from_secs(5), "as soon as nobody has answered three times: {took:?}");
        let nowhere = b.connect("192.168.1.1:9".parse().unwrap(), options).await;
        assert!(matches!(nowhere, Err(ConnectError::NoRoute(_))));
        assert!(b.counters().neighbour_failed > 0);
    });
}

#[test]
fn halves_work_in_two_tasks_and_ends_are_seen() {
    let lab = Lab::new(8, Faults::default());
    let (a, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (b, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let listener = a.listen(7, TcpOptions::default()).unwrap();
    let handle = lab.handle();
    handle.spawn("echo", async move {
        let (mut reader, mut writer) = listener.accept().await.into_split();
        let mut buffer = [0; 1000];
        while let Ok(count) = reader.read(&mut buffer).await
            && count > 0
        {
            writer.write_all(&buffer[..count]).await.unwrap();
        }
    });
    let (a2, b2) = (a.clone(), b.clone());
    lab.run(async move {
        let stream = b.connect("10.0.0.1:7".parse().unwrap(), ConnectOptions::default()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        handle.spawn("sender", async move {
            for n in 0..100u8 {
                writer.write_all(&[n; 3000]).await.unwrap();
            }
            writer.flush().await.unwrap();
            writer.shutdown();
            assert_eq!(writer.write(&[1]).await, Err(TcpError::Closed));
        });
        let (mut total, mut buffer) = (0, [0; 4096]);
        while let Ok(count) = reader.read(&mut buffer).await
            && count > 0
        {
            total += count;
        }
        assert_eq!(total, 300_000);
    });
    lab.run_for(Duration::from_secs(30));
    assert_eq!((a2.connections(), b2.connections()), (0, 0), "nothing is left behind");
}

#[test]
fn a_client_that_lost_its_state_reconnects_at_once_from_the_same_port() {
    let lab = Lab::new(9, Faults::default());
    let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (first, first_id) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let listener = server.listen(2049, TcpOptions::default()).unwrap();
    let options = ConnectOptions { local_port: keelson_net::LocalPort::Exact(800), ..Default::default() };
    let peer: SocketAddr = "10.0.0.1:2049".parse().unwrap();
    let (old, accepted, listener) = {
        let first = first.clone();
        lab.run(async move {
            let mut stream = first.connect(peer, options).await.unwrap();
            let mut accepted = listener.accept().await;
            stream.write_all(b"hello").await.unwrap();
            let mut buffer = [0; 5];
            accepted.read_exact(&mut buffer).await.unwrap();
            (stream, accepted, listener)
        })
    };
    // The client "reboots": its device falls silent without a word, and a new stack takes its address.
    let device = first.detach(first_id).unwrap();
    std::mem::forget(old);
    drop(device);
    lab.run_for(Duration::from_secs(3));
    let (second, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let handle = lab.handle();
    let began = handle.now();
    let server2 = server.clone();
    let took = lab.run(async move {
        let mut stream = second.connect(peer, options).await.unwrap();
        let took = handle.now() - began;
        let mut fresh = listener.accept().await;
        stream.write_all(b"again").await.unwrap();
        let mut buffer = [0; 5];
        fresh.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"again");
        let mut accepted = accepted;
        assert_eq!(accepted.read(&mut buffer).await, Err(TcpError::Reset));
        took
    });
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert!(server2.counters().tcp_challenge_acks > 0);
}

#[test]
fn ipv6_carries_tcp_over_addresses_and_link_local_ones() {
    let lab = Lab::new(10, Faults { loss: 2, ..Faults::default() });
    let features = NetFeatures::TX_CHECKSUM | NetFeatures::TSO4 | NetFeatures::TSO6;
    let (a, _) = lab.host("fd00::1/64", features);
    let (b, _) = lab.host("fd00::2/64", features);
    let listener = a.listen(2049, TcpOptions::default()).unwrap();
    let local = a.interfaces()[0].addresses[0].addr;
    for peer in ["fd00::1".parse().unwrap(), local] {
        let client = b.clone();
        lab.handle().spawn("client", async move {
            let options = ConnectOptions { timeout: Duration::from_secs(60), ..Default::default() };
            send_pattern(client.connect(SocketAddr::new(peer, 2049), options).await.unwrap(), 300_000).await;
        });
    }
    lab.run(async move {
        for _ in 0..2 {
            let mut stream = listener.accept().await;
            expect_pattern(&mut stream, 300_000).await;
        }
    });
}

/// Many connections to one neighbour that is not known yet: each of them waits for it, and nothing is lost.
#[test]
fn a_crowd_waits_for_its_neighbour_without_loss() {
    let lab = Lab::new(17, Faults::default());
    let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let listener = server.listen(2049, TcpOptions { backlog: 256, ..TcpOptions::default() }).unwrap();
    let handle = lab.handle();
    let began = handle.now();
    let done = Rc::new(Cell::new(0));
    for _ in 0..200 {
        let (client, done) = (client.clone(), done.clone());
        handle.spawn("client", async move {
            let peer: SocketAddr = "10.0.0.1:2049".parse().unwrap();
            let mut stream = client.connect(peer, ConnectOptions::default()).await.unwrap();
            stream.write_all(&[7]).await.unwrap();
            done.set(done.get() + 1);
        });
    }
    assert!(lab.run_until(Duration::from_secs(10), || done.get() == 200));
    let took = handle.now() - began;
    assert!(took < Duration::from_millis(100), "nobody has to wait for a repetition: {took:?}");
    let counters = client.counters();
    assert_eq!((counters.neighbour_queue_dropped, counters.tcp_retransmitted), (0, 0), "{counters:?}");
    // One that never answers ends all that wait for it.
    let unreachable = Rc::new(Cell::new(0));
    for port in 1..=20 {
        let (client, unreachable) = (client.clone(), unreachable.clone());
        handle.spawn("client", async move {
            let absent = SocketAddr::new("10.0.0.77".parse().unwrap(), port);
            let options = ConnectOptions { timeout: Duration::from_secs(60), ..Default::default() };
            let result = client.connect(absent, options).await;
            assert!(matches!(result, Err(ConnectError::Unreachable(_))));
            unreachable.set(unreachable.get() + 1);
        });
    }
    assert!(lab.run_until(Duration::from_secs(5), || unreachable.get() == 20));
    drop(listener);
}

/// More clients than the backlog has room for, over a way so long that each makes way for the next: nobody who was
/// answered is turned away, and what they say arrives.
#[test]
fn a_crowd_larger_than_the_backlog_gets_in() {
    for (seed, loss) in [(18, 0), (19, 10)] {
        let lab = Lab::new(seed, Faults { delay: Duration::from_millis(200), loss, ..Faults::default() });
        let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        let listener = server.listen(2049, TcpOptions { backlog: 16, ..TcpOptions::default() }).unwrap();
        let handle = lab.handle();
        let (served, failed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (spawner, count) = (handle.clone(), served.clone());
        handle.spawn("server", async move {
            loop {
                let mut stream = listener.accept().await;
                let count = count.clone();
                spawner.spawn("echo", async move {
                    expect_pattern(&mut stream, 3000).await;
                    send_pattern(stream, 5000).await;
                    count.set(count.get() + 1);
                });
            }
        });
        for n in 0..60 {
            let (client, failed, clock) = (client.clone(), failed.clone(), handle.clone());
            handle.spawn("client", async move {
                // Not all at once: the later ones come while the first are half open.
                clock.sleep(Duration::from_millis(20 * n)).await;
                let peer: SocketAddr = "10.0.0.1:2049".parse().unwrap();
                let options = ConnectOptions { timeout: Duration::from_secs(60), ..Default::default() };
                let Ok(stream) = client.connect(peer, options).await else {
                    failed.set(failed.get() + 1);
                    return;
                };
                let (mut reader, mut writer) = stream.into_split();
                let bytes: Vec<u8> = (0..3000).map(pattern).collect();
                writer.write_all(&bytes).await.unwrap();
                writer.shutdown();
                let mut answer = Vec::new();
                let mut buffer = [0; 1000];
                while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                    answer.extend_from_slice(&buffer[..count]);
                }
                let expected: Vec<u8> = (0..5000).map(pattern).collect();
                failed.set(failed.get() + u32::from(answer != expected));
            });
        }
        assert!(lab.run_until(Duration::from_secs(120), || served.get() == 60 || failed.get() > 0));
        let counters = server.counters();
        assert!(counters.tcp_half_open_revived > 10, "there was no crowd: {counters:?}");
        assert_eq!(failed.get(), 0, "{counters:?}");
        // With loss, a repetition may come when the server has forgotten a connection that ended well.
        assert!(counters.tcp_resets_sent == 0 || loss > 0, "{counters:?}");
    }
}

#[test]
fn an_idle_connection_lives_and_a_silent_peer_does_not() {
    let lab = Lab::new(11, Faults::default());
    let (a, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (b, interface) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let listener = a.listen(2049, TcpOptions::default()).unwrap();
    let handle = lab.handle();
    lab.run(async move {
        let peer: SocketAddr = "10.0.0.1:2049".parse().unwrap();
        let mut client = b.connect(peer, ConnectOptions::default()).await.unwrap();
        let mut server = listener.accept().await;
        let mut byte = [0; 1];
        for n in 0..3 {
            // Far longer than the 120 s that a peer may owe an answer: nobody owes anything.
            handle.sleep(Duration::from_secs(1000)).await;
            client.write_all(&[n]).await.unwrap();
            assert_eq!(server.read(&mut byte).await, Ok(1));
            server.write_all(&byte).await.unwrap();
            assert_eq!(client.read(&mut byte).await, Ok(1));
            assert_eq!(byte, [n]);
        }
        drop(b.detach(interface));
        let began = handle.now();
        server.write_all(b"who is there?").await.unwrap();
        assert_eq!(server.read(&mut byte).await, Err(TcpError::Reset));
        let waited = handle.now() - began;
        assert!(waited > Duration::from_secs(119) && waited < Duration::from_secs(130), "{waited:?}");
        assert_eq!(a.counters().tcp_timed_out, 1);
    });
}

/// A pair of stacks with a connection between them: world, client's end, server's end.
fn connected(ours: Option<u64>, theirs: Option<u64>) -> (Lab, TcpStream, TcpStream) {
    let lab = Lab::new(12, Faults::default());
    let (a, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (b, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let options = |seconds: Option<u64>| TcpOptions {
        keep_alive: seconds.map(Duration::from_secs),
        ..TcpOptions::default()
    };
    let listener = a.listen(2049, options(ours)).unwrap();
    let (client, server) = lab.run(async move {
        let connecting = ConnectOptions { tcp: options(theirs), ..ConnectOptions::default() };
        let client = b.connect("10.0.0.1:2049".parse().unwrap(), connecting).await.unwrap();
        (client, listener.accept().await)
    });
    (lab, client, server)
}

#[test]
fn an_idle_connection_stays() {
    let intervals =
        [(Some(60), None), (None, Some(60)), (Some(60), Some(60)), (Some(600), None), (None, None)];
    for (ours, theirs) in intervals {
        let (lab, client, mut server) = connected(ours, theirs);
        lab.run_for(Duration::from_secs(3600));
        lab.run(async move {
            send_pattern(client, 1000).await;
            expect_pattern(&mut server, 1000).await;
            server.close().await;
        });
    }
}

#[test]
fn a_silent_peer_is_given_up_once_it_owes_something() {
    for (keep_alive, writes, expected) in [(Some(60), false, 180), (None, true, 120), (Some(600), true, 120)]
    {
        let (lab, client, mut server) = connected(keep_alive, None);
        lab.wire.set_cut(1, true);
        let handle = lab.handle();
        let lasted = lab.run(async move {
            let began = handle.now();
            if writes {
                server.write_all(b"anybody there?").await.unwrap();
            }
            assert_eq!(server.read(&mut [0; 16]).await, Err(TcpError::Reset));
            (handle.now() - began).as_secs()
        });
        assert!((expected..=expected + 2).contains(&lasted), "{keep_alive:?}, {writes}: {lasted} s");
        drop(client);
    }
}

#[test]
fn a_connection_that_was_idle_ends_in_order() {
    let (lab, client, mut server) = connected(None, None);
    lab.run_for(Duration::from_secs(3600));
    lab.run(async move {
        client.close().await;
        assert_eq!(server.read(&mut [0; 16]).await, Ok(0), "the end, not a reset");
    });
}

/// A cable is pulled in the middle of transfers and put back: they go on when the link does, not when timers that have
/// backed off expire.
#[test]
fn connections_go_on_when_the_link_is_back() {
    const LEN: usize = 4 << 20;
    const OUTAGE: Duration = Duration::from_secs(8);
    for (addresses, peer) in
        [(["10.0.0.1/24", "10.0.0.2/24"], "10.0.0.1:2049"), (["fd00::1/64", "fd00::2/64"], "[fd00::1]:2049")]
    {
        let world = World::new(13);
        let wire = world.wire(Faults::default());
        let [a, b] = addresses.map(|address| {
            let node = world.node();
            node.plug("eth0", &wire, address, NicModel::default());
            node
        });
        let [(_, server), (handle, client)] = [&a, &b].map(|node| node.boot());
        let listener = server.listen(2049, TcpOptions::default()).unwrap();
        // More at once than may wait for a next hop.
        for _ in 0..12 {
            let client = client.clone();
            handle.spawn("client", async move {
                let stream = client.connect(peer.parse().unwrap(), ConnectOptions::default()).await.unwrap();
                send_pattern(stream, LEN).await;
            });
        }
        let (spawner, done) = (world.handle(), Rc::new(Cell::new(0)));
        let finished = done.clone();
        world.handle().spawn("server", async move {
            loop {
                let mut stream = listener.accept().await;
                let finished = finished.clone();
                spawner.spawn("reader", async move {
                    let mut first = [0];
                    if stream.read(&mut first).await == Ok(1) {
                        expect_pattern_from(&mut stream, 1, LEN).await;
                        finished.set(finished.get() + 1);
                    }
                });
            }
        });
        world.run_for(Duration::from_millis(5));
        assert!(done.get() < 12, "in the middle");
        // One more, whose SYN is lost.
        b.set_cut("eth0", true);
        let (late, arrived) = (client.clone(), Rc::new(Cell::new(false)));
        let connected = arrived.clone();
        let options = ConnectOptions { timeout: Duration::from_secs(60), ..ConnectOptions::default() };
        handle.spawn("late", async move {
            let stream = late.connect(peer.parse().unwrap(), options).await.unwrap();
            connected.set(true);
            drop(stream);
        });
        world.run_for(Duration::from_millis(1));
        b.set_carrier("eth0", false);
        b.set_cut("eth0", false);
        world.run_for(OUTAGE);
        assert_eq!(client.counters().tcp_link_returned, 0);
        b.set_carrier("eth0", true);
        let began = world.now();
        let all = world.run_until(Duration::from_secs(30), || done.get() == 12);
        let took = world.now() - began;
        println!("{peer}: {took:?}");
        assert!(all && took < Duration::from_millis(500), "{peer}: {took:?}");
        let counters = client.counters();
        assert!(arrived.get());
        assert_eq!(counters.tcp_link_returned, 13, "{counters:?}");
    }
}

/// Whoever owes nothing is left alone, and a connection is hurried once for each time that the link comes back.
#[test]
fn a_link_that_flaps_disturbs_no_idle_connection() {
    let (lab, client, server) = connected(Some(60), None);
    for _ in 0..5 {
        lab.wire.set_link(0, Link::Down);
        lab.run_for(Duration::from_secs(2));
        lab.wire.set_link(0, Link::Up(LinkSpeed(1000)));
        lab.run_for(Duration::from_secs(2));
    }
    let (lab, mut server) = (lab, server);
    lab.run(async move {
        send_pattern(client, 1000).await;
        expect_pattern(&mut server, 1000).await;
    });
}

/// Sixteen connections have as much to send as fits; a small reply of another does not wait until all of it is sent.
#[test]
fn a_small_reply_does_not_wait_for_bulk_transfers() {
    const BULK: usize = 16;
    const ROUNDS: usize = 20;
    const DELAY: Duration = Duration::from_micros(50);
    let lab = Lab::new(13, Faults { delay: DELAY, ..Faults::default() });
    let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (greedy, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let (modest, _) = lab.host("10.0.0.3/24", NetFeatures::empty());
    // What the server sends to others from when a question has come until its answer goes out; time stands still meanwhile.
    const QUESTION: usize = 7;
    let (asked, ahead) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
    let (clock, question, others) = (lab.clock(), asked.clone(), ahead.clone());
    *lab.wire.tap.borrow_mut() = Some(Box::new(move |port, frame| match (port, question.get()) {
        (2, _) if frame.ends_with(&[QUESTION as u8; QUESTION]) => question.set(Some(clock.now() + DELAY)),
        (0, Some(_)) if frame.ends_with(&[QUESTION as u8; QUESTION]) => question.set(None),
        (0, Some(arrived)) if clock.now() >= arrived => others.set(others.get() + frame.len()),
        _ => {}
    }));
    let large = TcpOptions { receive_buffer: 256 << 10, send_buffer: 256 << 10, ..TcpOptions::default() };
    let listener = server.listen(2049, large).unwrap();
    let spawner = lab.handle();
    lab.run(async move {
        let to = "10.0.0.1:2049".parse().unwrap();
        let options = || ConnectOptions { tcp: large, ..ConnectOptions::default() };
        for _ in 0..BULK {
            let mut reader = greedy.connect(to, options()).await.unwrap();
            let mut writer = listener.accept().await;
            spawner.spawn("source", async move { while writer.write_all(&[1; 65_536]).await.is_ok() {} });
            spawner.spawn("sink", async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(1..) = reader.read(&mut buffer).await {}
            });
        }
        let mut asking = modest.connect(to, options()).await.unwrap();
        let mut answering = listener.accept().await;
        spawner.spawn("echo", async move {
            let mut question = [0; QUESTION];
            while answering.read_exact(&mut question).await.is_ok()
                && answering.write_all(&question).await.is_ok()
            {}
        });
        for _ in 0..ROUNDS {
            asking.write_all(&[QUESTION as u8; QUESTION]).await.unwrap();
            asking.read_exact(&mut [0; QUESTION]).await.unwrap();
        }
    });
    assert_eq!(asked.get(), None, "every question was seen, and its answer");
    let per_reply = ahead.get() / ROUNDS;
    assert!(per_reply > 0, "the others were under way");
    println!("{per_reply} bytes of others for one small reply");
    // A turn's worth; sixteen rings hold 4 MiB.
    assert!(per_reply < 128 << 10, "{per_reply} bytes of others for one small reply");
}
