//! The second connection: when it is made, what goes there, and what happens without it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use keelson_lwk_host::proxy::Outcome;
use keelson_lwk_host::proxy::confine::Rules;
use keelson_lwk_wire::frame::{FrameType, Header};
use keelson_lwk_wire::handshake::Modes;
use keelson_lwk_wire::messages::{ByeReason, Message, Ready, Subscribe};

use crate::sim::*;

/// Less than what a handshake may take: what ends within it did not wait for that.
const SOON: Duration = Duration::from_secs(7);

/// A bench whose second connection comes to the test.
fn apart() -> (Bench, TcpListener) {
    let listener = listen();
    (bench_at(Rules::default(), listener.local_addr().unwrap()), listener)
}

/// A file with more bytes than the window of a request, and its handle.
fn long_file(bench: &Bench, scratch: &Scratch) -> (u64, Vec<u8>) {
    let bytes: Vec<u8> = (0..5_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let name = scratch.path("long");
    std::fs::write(&name, &bytes).unwrap();
    (bench.handle(std::fs::File::open(&name).unwrap()), bytes)
}

fn long_read(bench: &Bench, file: u64, len: usize) -> Pending {
    bench.sim.start(17, &[N(file), Out(len), N(len as u64), N(0)])
}

#[test]
fn it_is_not_made_for_what_only_comes_in_or_is_short() {
    let ((bench, listener), scratch) = (apart(), Scratch::new("one-connection"));
    let sim = &bench.sim;
    let (file, bytes) = long_file(&bench, &scratch);
    // A long answer that turns out short, one as long as fits, none, and the end of a file.
    let at = |offset: usize| sim.call(17, &[N(file), Out(1 << 20), N(1 << 20), N(offset as u64)]);
    assert_eq!(at(bytes.len() - 3).ok(), 3);
    assert_eq!(at(bytes.len() - (64 << 10)).ok(), 64 << 10);
    assert_eq!(at(bytes.len()).ok(), 0);
    let nowhere = bench.handle(std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap());
    assert_eq!(sim.call(0, &[N(nowhere), Out(1 << 20), N(1 << 20)]).error(), "EBADF");
    // Bytes of the program, and an error in the middle of them. The bench would notice an answer elsewhere.
    assert_eq!(sim.call(1, &[N(nowhere), In(&bytes), N(bytes.len() as u64)]).ok(), bytes.len() as u64);
    let full = sim.call(2, &[P("/dev/full"), N(1), N(0)]).ok();
    assert_eq!(sim.call(1, &[N(full), In(&bytes), N(bytes.len() as u64)]).error(), "ENOSPC");
    assert!(!somebody_comes(&listener));
}

#[test]
fn long_reads_at_once_share_one() {
    let ((bench, listener), scratch) = (apart(), Scratch::new("shared"));
    let (file, bytes) = long_file(&bench, &scratch);
    let reads = [0; 3].map(|_| long_read(&bench, file, bytes.len()));
    // All of them wait for the one connection; others are served meanwhile.
    let socket = accept(&listener);
    assert!(!somebody_comes(&listener));
    assert_eq!(bench.sim.call(8, &[N(file), N(5), N(0)]).ok(), 5);
    assert!(reads.iter().all(|read| !bench.sim.is_answered(read.id)));
    bench.sim.join(&NodeLane::accept(Box::new(socket), Modes::AEAD).unwrap());
    for read in reads {
        let (read, way) = bench.sim.wait_by(read);
        assert_eq!((read.ok(), way), (bytes.len() as u64, Some(Way::Bulk)));
        assert!(read.at(1) == &bytes[..]);
    }
    let (again, way) = bench.sim.wait_by(long_read(&bench, file, 100_000));
    assert_eq!((again.ok(), way), (100_000, Some(Way::Bulk)));
    assert!(!somebody_comes(&listener));
}

/// Reads twice at once with a second connection of which `turn_away` makes nothing. Returns what the proxy complained about.
fn reads_without(turn_away: impl FnOnce(TcpListener)) -> String {
    let ((bench, listener), scratch) = (apart(), Scratch::new("without"));
    let complaints = Complaints::of(&bench);
    let (file, bytes) = long_file(&bench, &scratch);
    let address = listener.local_addr().unwrap();
    let reads = [0; 2].map(|_| long_read(&bench, file, bytes.len()));
    turn_away(listener);
    for read in reads {
        let (read, way) = bench.sim.wait_by(read);
        assert_eq!((read.ok(), way), (bytes.len() as u64, Some(Way::Hi)));
        assert!(read.at(1) == &bytes[..]);
    }
    // Once is enough.
    let listener = TcpListener::bind(address).unwrap();
    let (again, way) = bench.sim.wait_by(long_read(&bench, file, 100_000));
    assert_eq!((again.ok(), way), (100_000, Some(Way::Hi)));
    assert!(again.at(1) == &bytes[..100_000]);
    assert!(!somebody_comes(&listener));
    bench.sim.exit(0);
    assert!(matches!(bench.events.outcomes.recv_timeout(PATIENCE), Ok(Outcome::Exited(_))));
    complaints.all(&bench)
}

#[test]
fn without_it_all_goes_by_the_first() {
    // The node does not want it: nobody here can change that.
    assert_eq!(reads_without(|listener| NodeLane::refuse(accept(&listener), ByeReason::Ticket)), "");
    // It has no room, and says so or not.
    let busy = reads_without(|listener| NodeLane::refuse(accept(&listener), ByeReason::Busy));
    let closed = reads_without(|listener| drop(accept(&listener)));
    for text in [busy, closed] {
        assert!(text.starts_with("mcexec: no second connection to the node (") && text.lines().count() == 1);
    }
}

#[test]
fn readiness_is_told_by_the_first() {
    const IN: u32 = 1;
    let (bench, listener) = apart();
    let (mut far, near) = UnixStream::pair().unwrap();
    let near = bench.handle(near);
    let ready = |revents: u32| loop {
        let ready = Ready::decode(&bench.sim.expect(FrameType::Ready).payload).unwrap();
        if ready == (Ready { handle: near, revents, generation: 2 }) {
            break;
        }
    };
    let subscribe = Subscribe { handle: near, events: IN, generation: 2 };
    bench.sim.hi.send(&Header::new(FrameType::Subscribe), &subscribe);
    ready(0);
    let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    far.write_all(&sent).unwrap();
    ready(IN);
    let read = bench.sim.start(0, &[N(near), Out(200_000), N(200_000)]);
    bench.sim.join(&accept_lane(&listener));
    let (read, way) = bench.sim.wait_by(read);
    assert_eq!((read.ok(), way), (100_000, Some(Way::Bulk)));
    assert!(read.at(1)[..100_000] == sent);
    // Nothing happened to the socket but that: the node knows it from this alone.
    ready(0);
}

#[test]
fn a_read_that_is_given_up_does_not_wait_for_it() {
    let (bench, listener) = apart();
    let (mut far, near) = UnixStream::pair().unwrap();
    let near = bench.handle(near);
    let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 249) as u8).collect();
    far.write_all(&sent).unwrap();
    let start = Instant::now();
    let read = bench.sim.start(0, &[N(near), Out(200_000), N(200_000)]);
    let silent = accept(&listener);
    assert!(!bench.sim.is_answered(read.id));
    bench.sim.cancel(read.id);
    // What was taken from the socket is not lost.
    let (read, way) = bench.sim.wait_by(read);
    assert_eq!((read.ok(), way), (100_000, Some(Way::Hi)));
    assert!(read.at(1)[..100_000] == sent);
    assert!(start.elapsed() < SOON);
    drop(silent);
}

/// Until nothing of a proxy is left: its threads turn once a second.
fn is_gone<T>(thing: &Weak<T>) {
    let start = Instant::now();
    while thing.strong_count() > 0 {
        assert!(start.elapsed() < SOON, "something keeps the proxy");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a session in which a long read waits for a connection to `address`, that is not made. `meanwhile` sees it wait.
fn ends_while_connecting(address: SocketAddr, meanwhile: impl FnOnce()) {
    let (bench, scratch) = (bench_at(Rules::default(), address), Scratch::new("connecting"));
    let (file, bytes) = long_file(&bench, &scratch);
    let read = long_read(&bench, file, bytes.len());
    meanwhile();
    assert!(!bench.sim.is_answered(read.id));
    bench.sim.exit(0);
    let Bench { sim, proxy, events } = bench;
    assert!(matches!(events.outcomes.recv_timeout(SOON), Ok(Outcome::Exited(_))));
    let proxy = {
        let weak = Arc::downgrade(&proxy);
        drop(proxy);
        weak
    };
    is_gone(&proxy);
    assert!(!sim.is_answered(read.id));
}

#[test]
fn the_end_of_a_session_while_it_is_made() {
    let listener = listen();
    let mut silent = None;
    ends_while_connecting(listener.local_addr().unwrap(), || silent = Some(accept(&listener)));
    // The node sees the end of it, too.
    let mut silent = silent.unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn the_end_of_a_session_that_no_connection_comes_of() {
    // Where nobody accepts and the queue is full, connecting takes as long as it may.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let socket = socket.unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address = TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue has no end");
    }
    ends_while_connecting(address, || std::thread::sleep(Duration::from_millis(200)));
}

#[test]
fn a_session_ends_with_its_second_connection() {
    let ((bench, listener), scratch) = (apart(), Scratch::new("lost-second"));
    let (file, bytes) = long_file(&bench, &scratch);
    let read = long_read(&bench, file, bytes.len());
    let socket = accept(&listener);
    let bulk = NodeLane::accept(Box::new(socket.try_clone().unwrap()), Modes::AEAD).unwrap();
    bench.sim.join(&bulk);
    assert_eq!(bench.sim.wait(read).ok(), bytes.len() as u64);
    // What is under way there will never be answered.
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(matches!(bench.events.outcomes.recv_timeout(PATIENCE), Ok(Outcome::Lost(_))));
}
