//! The server on a simulated wire: many, slow and hostile clients, in virtual time.

use crate::http::{Counters, Cut, Endpoint, Limits, Page, Server, Site, Status};
use core::net::SocketAddr;
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_exec::Handle;
use keelson_hal::NetFeatures;
use keelson_net::{ConnectOptions, Stack, TcpOptions, TcpStream};
use keelson_net_sim::{Faults, Lab};
use std::cell::Cell;
use std::rc::Rc;

const PORT: u16 = 9100;
/// Larger than all rings on the way.
const LARGE: usize = 200_000;

/// Pages of the test; counts how often one was made.
#[derive(Default)]
struct Book {
    made: Cell<usize>,
}

impl Site for Book {
    fn page(&self, path: &str) -> Option<Page> {
        self.made.set(self.made.get() + 1);
        match path {
            "/short" => Some(Page::text(Status::Ok, "short\n".to_string())),
            "/large" => Some(Page::text(Status::Ok, "x".repeat(LARGE))),
            _ => None,
        }
    }
}

struct World {
    lab: Lab,
    server: Server,
    client: Stack,
}

impl World {
    fn new(seed: u64, limits: Limits, endpoint: &str) -> World {
        World::with(seed, limits, endpoint, Faults::default())
    }

    fn with(seed: u64, limits: Limits, endpoint: &str, faults: Faults) -> World {
        let lab = Lab::new(seed, faults);
        let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        let endpoint = Endpoint::parse(endpoint).unwrap();
        let counters = Rc::new(Counters::default());
        let server =
            Server::start(&lab.handle(), &stack, endpoint, limits, Rc::new(Book::default()), counters)
                .unwrap();
        World { lab, server, client }
    }

    /// Runs a client to its end.
    fn run<T: 'static, F: Future<Output = T> + 'static>(&self, client: impl FnOnce(Stack, Handle) -> F) -> T {
        self.lab.run(client(self.client.clone(), self.lab.handle()))
    }

    fn cut(&self, why: Cut) -> u64 {
        self.server.counters().cut(why)
    }
}

async fn connect(stack: &Stack) -> TcpStream {
    let small = TcpOptions { receive_buffer: 4096, ..TcpOptions::default() };
    let options = ConnectOptions { tcp: small, ..ConnectOptions::default() };
    stack.connect(SocketAddr::from(([10, 0, 0, 1], PORT)), options).await.unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n")
}

/// Status line, fields and body of the next answer; `None` at the end of the connection.
async fn answer(stream: &mut TcpStream, has_body: bool) -> Option<(u16, String, String)> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let code = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let len = head.split_once("Content-Length: ").unwrap().1.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; if has_body { len } else { 0 }];
    stream.read_exact(&mut body).await.ok()?;
    Some((code, head, String::from_utf8(body).unwrap()))
}

#[test]
fn requests_are_answered_one_after_the_other_on_a_bad_wire_too() {
    let faults = Faults { loss: 3, ..Faults::default() };
    let world = World::with(1, Limits::default(), ":9100", faults);
    let answers = world.run(|stack, _| async move {
        let mut stream = connect(&stack).await;
        let mut answers = Vec::new();
        for (path, code) in [("/short", 200), ("/nothing", 404), ("/large", 200), ("/short?x=1", 200)] {
            stream.write_all(get(path).as_bytes()).await.unwrap();
            let (got, head, body) = answer(&mut stream, true).await.unwrap();
            assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
            answers.push((path, got == code, body.len()));
        }
        // Two at once, and the first is only asked for its head.
        let both = format!("HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n{}", get("/short"));
        stream.write_all(both.as_bytes()).await.unwrap();
        let (code, head, _) = answer(&mut stream, false).await.unwrap();
        assert!(code == 200 && head.contains(&format!("Content-Length: {LARGE}\r\n")));
        assert_eq!(answer(&mut stream, true).await.unwrap().2, "short\n");
        stream.write_all(b"GET /short HTTP/1.0\r\n\r\n").await.unwrap();
        let (_, head, _) = answer(&mut stream, true).await.unwrap();
        assert!(head.contains("\r\nConnection: close\r\n"));
        assert!(answer(&mut stream, true).await.is_none());
        answers
    });
    let missing = "/nothing: there is no such page\n".len();
    assert_eq!(
        answers,
        [("/short", true, 6), ("/nothing", true, missing), ("/large", true, LARGE), ("/short?x=1", true, 6)]
    );
    assert_eq!(world.server.counters().answered(Status::Ok), 6);
}

#[test]
fn what_is_refused_ends_the_connection() {
    let world = World::new(2, Limits::default(), ":9100");
    for (request, code) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_string(), 405),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_string(), 413),
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 400),
        ("\x16\x03\x01".to_string(), 400),
        (format!("GET /{}", "x".repeat(1100)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(5000)), 431),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_string(), 505),
    ] {
        let name = request.clone();
        let (got, head, ended) = world.run(|stack, _| async move {
            let mut stream = connect(&stack).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let (code, head, _) = answer(&mut stream, true).await.unwrap();
            (code, head, answer(&mut stream, true).await.is_none())
        });
        assert!(got == code && ended, "{name}: {got}");
        assert_eq!(head.contains("\r\nAllow: GET, HEAD\r\n"), code == 405);
    }
}

#[test]
fn half_requests_and_silence_are_cut_in_time() {
    let limits = Limits::default();
    let world = World::new(3, limits, ":9100");
    // One byte each second would never end.
    let took = world.run(|stack, handle| async move {
        let (mut reader, mut writer) = connect(&stack).await.into_split();
        let begin = handle.now();
        let drip = handle.clone();
        handle.spawn("drip", async move {
            for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(core::iter::repeat(&b'x')) {
                if writer.write_all(&[*byte]).await.is_err() {
                    return;
                }
                drip.sleep(Duration::from_secs(1)).await;
            }
        });
        let gone = reader.read(&mut [0]).await;
        assert!(!matches!(gone, Ok(1..)));
        handle.now() - begin
    });
    assert!((limits.request..limits.request + Duration::from_secs(2)).contains(&took), "{took:?}");
    let took = world.run(|stack, handle| async move {
        let mut stream = connect(&stack).await;
        let begin = handle.now();
        let _ = stream.read(&mut [0]).await;
        handle.now() - begin
    });
    assert!((limits.idle..limits.idle + Duration::from_secs(2)).contains(&took), "{took:?}");
    world.run(|stack, _| async move {
        let mut stream = connect(&stack).await;
        stream.write_all(b"GET / HT").await.unwrap();
        stream.close().await;
    });
    world.lab.run_for(Duration::from_secs(1));
    assert_eq!((world.cut(Cut::SlowRequest), world.cut(Cut::Idle), world.cut(Cut::Broken)), (1, 1, 1));
    assert_eq!(world.server.counters().open.get(), 0);
}

#[test]
fn who_does_not_take_an_answer_is_cut_and_others_are_served() {
    let limits = Limits::default();
    let world = World::new(4, limits, ":9100");
    // More slow readers than there may be answers in memory.
    let slow = limits.answers + 2;
    let served = world.run(move |stack, handle| async move {
        let mut held = Vec::new();
        for _ in 0..slow {
            let mut stream = connect(&stack).await;
            stream.write_all(get("/large").as_bytes()).await.unwrap();
            held.push(stream);
        }
        handle.sleep(Duration::from_secs(1)).await;
        let mut stream = connect(&stack).await;
        stream.write_all(get("/short").as_bytes()).await.unwrap();
        // There is no room for a further answer, which is said.
        let (first, _, _) = answer(&mut stream, true).await.unwrap();
        handle.sleep(limits.answer * 2).await;
        stream.write_all(get("/short").as_bytes()).await.unwrap();
        let (then, _, _) = answer(&mut stream, true).await.unwrap();
        drop(held);
        (first, then)
    });
    assert_eq!(served, (503, 200));
    assert_eq!(world.cut(Cut::SlowReader) as usize, limits.answers);
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let world = World::new(5, limits, ":9100");
    let answered = world.run(|stack, handle| async move {
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(connect(&stack).await);
            handle.sleep(Duration::from_millis(10)).await;
            let mut stream = connect(&stack).await;
            stream.write_all(get("/short").as_bytes()).await.unwrap();
            assert_eq!(answer(&mut stream, true).await.unwrap().0, 200);
        }
        idle.len()
    });
    assert_eq!(answered, 20);
    assert!(world.cut(Cut::Displaced) >= 16 && world.cut(Cut::Full) == 0);
    assert!(world.server.counters().open.get() <= 4);
}

#[test]
fn a_crowd_that_is_being_answered_is_told_from_the_next() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let world = World::new(6, limits, ":9100");
    let code = world.run(|stack, handle| async move {
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut stream = connect(&stack).await;
            stream.write_all(get("/large").as_bytes()).await.unwrap();
            held.push(stream);
        }
        handle.sleep(Duration::from_millis(100)).await;
        let mut stream = connect(&stack).await;
        let (code, head, _) = answer(&mut stream, true).await.unwrap();
        assert!(head.contains("Connection: close"));
        code
    });
    assert_eq!((code, world.cut(Cut::Full)), (503, 1));
}

#[test]
fn only_the_address_that_is_listened_on() {
    let lab = Lab::new(7, Faults::default());
    let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let eth0 = stack.interface("eth0").unwrap();
    stack.add_address(eth0, "10.0.0.9/24".parse().unwrap()).unwrap();
    let (site, counters) = (Rc::new(Book::default()), Rc::new(Counters::default()));
    let endpoint = Endpoint::parse("10.0.0.9:9100").unwrap();
    let server =
        Server::start(&lab.handle(), &stack, endpoint, Limits::default(), site.clone(), counters).unwrap();
    let outcomes = lab.run(async move {
        let mut outcomes = Vec::new();
        for last in [1, 9] {
            let peer = SocketAddr::from(([10, 0, 0, last], PORT));
            let mut stream = client.connect(peer, ConnectOptions::default()).await.unwrap();
            let sent = stream.write_all(get("/short").as_bytes()).await.is_ok();
            outcomes.push(sent && answer(&mut stream, true).await.is_some());
        }
        outcomes
    });
    assert_eq!(outcomes, [false, true]);
    assert_eq!((server.counters().cut(Cut::OtherAddress), site.made.get()), (1, 1));
}
