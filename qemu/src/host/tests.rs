//! Crowds on a switch.

use std::time::Instant as Time;

use embedded_io_async::{Read, Write};
use keelson_exec::join;
use keelson_net::{ConnectOptions, TcpOptions, TcpStream};

use super::*;
use crate::{Bench, Capture, Endpoint, Lan};

fn addresses(network: u8, count: u8) -> Vec<Address> {
    (1..=count).map(|host| format!("10.0.{network}.{host}/16").parse().unwrap()).collect()
}

/// Echoes on port 7, swallows on port 9.
async fn serve(handle: Handle, stack: Stack) {
    let options = TcpOptions { backlog: 2048, ..TcpOptions::default() };
    let (echo, sink) = (stack.listen(7, options).unwrap(), stack.listen(9, options).unwrap());
    handle.clone().spawn("servers", async move {
        let each = |stream: TcpStream, answers: bool| async move {
            let mut stream = stream;
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if answers && stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        };
        let echoing = async {
            loop {
                handle.spawn("echo", each(echo.accept().await, true));
            }
        };
        let sinking = async {
            loop {
                handle.spawn("sink", each(sink.accept().await, false));
            }
        };
        join(echoing, sinking).await;
    });
}

fn pair(name: &str, count: u8) -> (Bench, Lan, StackHost, StackHost) {
    captured_pair(name, count, Capture::Headers)
}

fn captured_pair(name: &str, count: u8, capture: Capture) -> (Bench, Lan, StackHost, StackHost) {
    let bench = Bench::new(name);
    let lan = bench.lan("t").unwrap();
    let ports = [lan.port("server").unwrap(), lan.port("client").unwrap()];
    ports.iter().for_each(|port| port.capture(capture));
    let server = StackHost::start(&ports[0], &addresses(0, count), serve).unwrap();
    let client = StackHost::start(&ports[1], &addresses(1, count), async |_, _| ()).unwrap();
    (bench, lan, server, client)
}

async fn connect(stack: &Stack, from: Option<&str>, to: &str) -> TcpStream {
    let local_address = from.map(|from| from.parse().unwrap());
    let options = ConnectOptions { local_address, ..ConnectOptions::default() };
    stack.connect(to.parse().unwrap(), options).await.unwrap_or_else(|error| panic!("{to}: {error}"))
}

#[test]
fn a_thousand_connections_between_many_addresses() {
    let (_bench, _lan, server, client) = pair("crowd", 250);
    let exchanged = client.run(async |host| {
        let mut streams = Vec::new();
        for n in 0..1000 {
            let from = format!("10.0.1.{}", n % 250 + 1);
            let to = format!("10.0.0.{}:7", (n * 7) % 250 + 1);
            streams.push(connect(&host.stack, Some(&from), &to).await);
        }
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&(n as u32).to_be_bytes()).await.unwrap();
        }
        let mut exchanged = 0;
        for (n, stream) in streams.iter_mut().enumerate() {
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            exchanged += usize::from(answer == (n as u32).to_be_bytes());
        }
        // They stay open for the server to count.
        host.handle.clone().spawn("connections", async move {
            std::future::pending::<()>().await;
            drop(streams);
        });
        exchanged
    });
    assert_eq!(exchanged, 1000);
    assert_eq!(server.run(async |host| host.stack.connections()), 1000);
}

#[test]
fn both_implementations_understand_each_other() {
    let (_bench, lan, _server, _client) = pair("two stacks", 1);
    let judge = Endpoint::new(lan.port("judge").unwrap(), &["10.0.2.1/16".parse().unwrap()]).unwrap();
    let timeout = Duration::from_secs(5);
    let mut stream = judge.tcp_connect("10.0.0.1:7".parse().unwrap(), timeout).unwrap();
    use std::io::{Read as _, Write as _};
    stream.write_all(b"who is there?").unwrap();
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"who is there?");
}

#[test]
fn a_host_is_taken_away_in_silence_and_replaced() {
    let (_bench, lan, server, client) = pair("silence", 1);
    let port = lan.port("third").unwrap();
    let third = StackHost::start(&port, &addresses(2, 1), serve).unwrap();
    let state =
        StackHost::start(&lan.port("state").unwrap(), &addresses(3, 1), async |_, _| vec![1, 2]).unwrap();
    assert_eq!(state.run(async |host: HostContext<Vec<i32>>| host.state.len()), 2);
    let read = client.begin(async |host| {
        let mut stream = connect(&host.stack, None, "10.0.2.1:7").await;
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        let outcome = host.handle.timeout(Duration::from_millis(500), stream.read(&mut [0])).await;
        outcome.is_err()
    });
    std::thread::sleep(Duration::from_millis(200));
    third.kill();
    assert!(read.wait(Duration::from_secs(5)).unwrap(), "the host said something on its way out");
    let _third = StackHost::start(&port, &addresses(2, 1), serve).unwrap();
    client.run(async |host| drop(connect(&host.stack, None, "10.0.2.1:7").await));
    drop(server);
    assert!(client.run(async |host| {
        host.stack
            .connect(
                "10.0.0.1:7".parse().unwrap(),
                ConnectOptions { timeout: Duration::from_millis(100), ..ConnectOptions::default() },
            )
            .await
            .is_err()
    }));
}

#[test]
fn an_idle_host_rests() {
    let (_bench, _lan, server, client) = pair("idle", 250);
    std::thread::sleep(Duration::from_millis(100));
    let before = client.cpu_time() + server.cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let used = client.cpu_time() + server.cpu_time() - before;
    assert!(used < Duration::from_millis(20), "{used:?} in a second");
}

/// `cargo test --release -p keelson-qemu --lib host -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost_of_a_mebibyte() {
    for (what, count, capture) in [
        ("captured", 1, Capture::Headers),
        ("1 address", 1, Capture::Off),
        ("250 addresses", 250, Capture::Off),
    ] {
        let (_bench, lan, server, client) = captured_pair("cost", count, capture);
        let before = (client.cpu_time(), server.cpu_time(), lan.cpu_time());
        let began = Time::now();
        const MIB: usize = 512;
        client.run(async |host| {
            let mut stream = connect(&host.stack, None, "10.0.0.1:9").await;
            let bytes = vec![7; 1 << 20];
            for _ in 0..MIB {
                stream.write_all(&bytes).await.unwrap();
            }
            stream.close().await;
        });
        let took = began.elapsed();
        let per = |after: Duration, before: Duration| (after - before).as_micros() as usize / MIB;
        println!(
            "{what}: {:.0} MiB/s; us/MiB: sender {}, receiver {}, switch {}",
            MIB as f64 / took.as_secs_f64(),
            per(client.cpu_time(), before.0),
            per(server.cpu_time(), before.1),
            per(lan.cpu_time(), before.2),
        );
        let before = (client.cpu_time(), server.cpu_time(), lan.cpu_time());
        const CALLS: usize = 20_000;
        let began = Time::now();
        client.run(async |host| {
            let mut stream = connect(&host.stack, None, "10.0.0.1:7").await;
            for _ in 0..CALLS {
                stream.write_all(&[1; 64]).await.unwrap();
                stream.read_exact(&mut [0; 64]).await.unwrap();
            }
        });
        let took = began.elapsed();
        let per = |after: Duration, before: Duration| (after - before).as_nanos() as usize / CALLS;
        println!(
            "{what}: round trip {:.1} us; ns/call: client {}, server {}, switch {}",
            took.as_micros() as f64 / CALLS as f64,
            per(client.cpu_time(), before.0),
            per(server.cpu_time(), before.1),
            per(lan.cpu_time(), before.2),
        );
    }
}
