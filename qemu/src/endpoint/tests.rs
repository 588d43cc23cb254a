//! Two endpoints on a switch, talking.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::{Bench, Error, Impairment};

const SOON: Duration = Duration::from_secs(10);

fn pair(bench: &Bench) -> (Endpoint, Endpoint) {
    let lan = bench.lan("t").unwrap();
    let a = bench.endpoint(&lan, "a", &["10.0.0.1/24", "fd00::1/64"]).unwrap();
    let b = bench.endpoint(&lan, "b", &["10.0.0.2/24", "fd00::2/64"]).unwrap();
    (a, b)
}

#[test]
fn ping_small_and_fragmented_and_v6() {
    let bench = Bench::new("ping");
    let (a, _b) = pair(&bench);
    a.ping("10.0.0.2".parse().unwrap(), 56, SOON).unwrap();
    a.ping("10.0.0.2".parse().unwrap(), 20_000, SOON).unwrap();
    a.ping("fd00::2".parse().unwrap(), 56, SOON).unwrap();
    assert!(a.ping("10.0.0.3".parse().unwrap(), 56, Duration::from_millis(100)).is_err());
}

#[test]
fn udp_carries_33_kib() {
    let bench = Bench::new("udp");
    let (a, b) = pair(&bench);
    let (client, server) = (a.udp(0).unwrap(), b.udp(2049).unwrap());
    let data: Vec<u8> = (0..33_000u32).map(|i| (i % 251) as u8).collect();
    client.send_to(&data, "10.0.0.2:2049".parse().unwrap()).unwrap();
    let (got, from) = server.receive(SOON).unwrap();
    assert_eq!((got, from), (data, SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), client.port()))));
    server.send_to(b"ok", from).unwrap();
    assert_eq!(client.receive(SOON).unwrap().0, b"ok");
}

fn transfer(a: &Endpoint, b: &Endpoint, to: &str, len: usize) -> Duration {
    let listener = b.tcp_listen(988).unwrap();
    let start = Instant::now();
    let mut client = a.tcp_connect(to.parse().unwrap(), SOON).unwrap();
    let mut server = listener.accept(SOON).unwrap();
    let data: Vec<u8> = (0..len).map(|i| (i * 7 % 253) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&data).unwrap();
            client.shutdown_write();
        });
        let mut got = Vec::new();
        server.read_to_end(&mut got).unwrap();
        assert!(got == data);
        server.write_all(b"bye").unwrap();
    });
    drop(server);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bye");
    start.elapsed()
}

#[test]
fn tcp_carries_data_both_ways() {
    let bench = Bench::new("tcp");
    let (a, b) = pair(&bench);
    let took = transfer(&a, &b, "10.0.0.2:988", 4 << 20);
    eprintln!("4 MiB in {took:?} (unoptimised build)");
    transfer(&a, &b, "[fd00::2]:988", 100_000);
    assert!(a.tcp_connect("10.0.0.2:1".parse().unwrap(), SOON).is_err(), "nobody listens there");
}

#[test]
fn tcp_gets_through_a_bad_link() {
    let bench = Bench::new("tcp-bad-link");
    let (a, b) = pair(&bench);
    let rule = Impairment { loss: 0.1, duplicate: 0.05, corrupt: 0.01, ..Default::default() };
    b.port().impair(rule, 5);
    transfer(&a, &b, "10.0.0.2:988", 100_000);
    assert!(b.port().stats().impaired > 0);
}

#[test]
fn a_port_has_one_connection_to_a_peer() {
    let bench = Bench::new("one-connection");
    let (a, b) = pair(&bench);
    let (listener, other) = (b.tcp_listen(80).unwrap(), b.tcp_listen(81).unwrap());
    let connect = |port: u16| a.tcp_connect_from(900, format!("10.0.0.2:{port}").parse().unwrap(), SOON);
    let mut first = connect(80).unwrap();
    let kind = |error: &Error| match error {
        Error::Io { source, .. } => source.kind(),
        other => panic!("{other}"),
    };
    assert_eq!(kind(&connect(80).err().unwrap()), ErrorKind::AddrInUse);
    // To another port of the same peer it may; and the first connection has not noticed.
    connect(81).unwrap();
    other.accept(SOON).unwrap();
    let mut accepted = listener.accept(SOON).unwrap();
    first.write_all(b"still here").unwrap();
    let mut seen = [0; 10];
    accepted.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"still here");
    let _bound = a.udp(900).unwrap();
    assert_eq!(kind(&a.udp(900).err().unwrap()), ErrorKind::AddrInUse);
}

#[test]
fn a_reset_is_seen_by_the_peer() {
    let bench = Bench::new("reset");
    let (a, b) = pair(&bench);
    let listener = b.tcp_listen(988).unwrap();
    let mut client = a.tcp_connect("10.0.0.2:988".parse().unwrap(), SOON).unwrap();
    listener.accept(SOON).unwrap().reset();
    let error = client.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn raw_frames_arrive_as_sent() {
    let bench = Bench::new("raw");
    let (a, b) = pair(&bench);
    let frames = b.frames(Some(0x8204));
    let mut frame = vec![0xff; 6];
    frame.extend(a.mac());
    frame.extend([0x82, 0x04, 1, 2, 3]);
    a.send_frame(&frame);
    assert_eq!(frames.receive(SOON).unwrap(), frame);
}
