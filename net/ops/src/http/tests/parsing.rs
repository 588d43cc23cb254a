//! Heads of requests: what is read, what is refused, and that nothing else happens.

use crate::http::{Endpoint, FIELDS_MAX, HEAD_MAX, Inbox, Method, Refusal, Request, TARGET_MAX};
use proptest::prelude::*;

fn parse(head: &str) -> Result<Request<'_>, Refusal> {
    Request::parse(head.as_bytes())
}

#[test]
fn requests_as_clients_send_them() {
    let curl =
        "GET /metrics HTTP/1.1\r\nHost: 10.0.0.1:9100\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    assert_eq!(parse(curl), Ok(Request { method: Method::Get, path: "/metrics", keep_alive: true }));
    let old = "HEAD /healthz?verbose=1 HTTP/1.0\n\n";
    assert_eq!(parse(old), Ok(Request { method: Method::Head, path: "/healthz", keep_alive: false }));
    for (head, path, keep_alive) in [
        (
            "GET http://node:9100/boot HTTP/1.1\r\nHost:\tnode\r\nConnection: TE, Close\r\n\r\n",
            "/boot",
            false,
        ),
        ("GET HTTP://node HTTP/1.1\r\nHost: node\r\nContent-Length: 00\r\n\r\n", "/", true),
        ("GET http://node?x HTTP/1.9\r\nhost:\r\nConnection: keep-alive\r\n\r\n", "/", true),
        ("GET /%2e%2e//x HTTP/1.1\r\nHost: a\r\n\r\n", "/%2e%2e//x", true),
    ] {
        assert_eq!(parse(head), Ok(Request { method: Method::Get, path, keep_alive }), "{head}");
    }
}

#[test]
fn what_is_refused_and_as_what() {
    let host = "Host: a\r\n\r\n";
    for (head, refusal) in [
        (format!("POST / HTTP/1.1\r\n{host}"), Refusal::Method),
        (format!("get / HTTP/1.1\r\n{host}"), Refusal::Method),
        (format!("GET / HTTP/2.0\r\n{host}"), Refusal::Version),
        (format!("GET / HTTP/1.1\r\nContent-Length: 3\r\n{host}"), Refusal::Body),
        (format!("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{host}"), Refusal::Body),
        (format!("GET / HTTP/1.1\r\n{}{host}", "A: b\r\n".repeat(FIELDS_MAX)), Refusal::HeadTooLong),
    ] {
        assert_eq!(parse(&head), Err(refusal), "{head}");
    }
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/11\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ?x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "\r\n",
        "",
    ] {
        assert!(matches!(parse(head), Err(Refusal::Malformed(_))), "{head:?}: {:?}", parse(head));
    }
    assert!(matches!(Request::parse(b"GET /\xff HTTP/1.1\r\n\r\n"), Err(Refusal::Malformed(_))));
}

#[test]
fn an_inbox_ends_where_a_request_is_too_long() {
    let fed = |bytes: &[u8]| {
        let mut inbox = Inbox::default();
        let taken = inbox.push(bytes);
        (taken, inbox.head())
    };
    let line = |len: usize| format!("GET /{} ", "x".repeat(len)).into_bytes();
    assert_eq!(fed(&line(TARGET_MAX - 6)).1, Ok(None));
    assert_eq!(fed(&line(TARGET_MAX)).1, Err(Refusal::TargetTooLong));
    // Even when it ends.
    assert_eq!(
        fed(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(TARGET_MAX)).as_bytes()).1,
        Err(Refusal::TargetTooLong)
    );
    let head = |filler: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(filler)).into_bytes();
    let fits = HEAD_MAX - head(0).len();
    assert_eq!(fed(&head(fits)), (HEAD_MAX, Ok(Some(HEAD_MAX))));
    assert_eq!(fed(&head(fits + 1)), (HEAD_MAX, Err(Refusal::HeadTooLong)));
    assert!(matches!(fed(b"\x16\x03\x01\x02\x00\x01\x00").1, Err(Refusal::Malformed(_))), "TLS");
    // Empty lines are nothing.
    assert_eq!(fed(&b"\r\n".repeat(HEAD_MAX / 2)).1, Ok(None));
}

#[test]
fn endpoints() {
    for text in [":9100", "10.0.0.1:9100", "[fd00::1]:1", ":65535"] {
        assert_eq!(Endpoint::parse(text).map(|endpoint| endpoint.to_string()), Ok(text.to_string()));
    }
    for text in [
        "",
        "9100",
        ":",
        ":0",
        ":65536",
        ":+1",
        "fd00::1:9100",
        "[fd00::1:9100",
        "[10.0.0.1]:1",
        "a:1",
        "[]:1",
        ":9100 ",
    ] {
        assert!(Endpoint::parse(text).is_err(), "{text}");
    }
}

/// Bytes that look like HTTP, mostly.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "GET ", "HEAD ", "POST ", "/metrics", "/", "http://x/", " HTTP/1.1\r\n", " HTTP/1.0\n", "Host: a\r\n", "\r\n", "\n",
            "\r", ":", " ", "Connection: close\r\n", "Content-Length: 5\r\n", "X: y\r\n", "?", "#", "\0",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
        1 => (0..HEAD_MAX + 10).prop_map(|len| vec![b'x'; len]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn hostile_heads_are_refused_or_read(bytes in nearly_http()) {
        if let Ok(request) = Request::parse(&bytes) {
            prop_assert!(request.path.starts_with('/') && request.path.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    /// However bytes arrive, the same requests are seen.
    #[test]
    fn pieces_do_not_matter(bytes in nearly_http(), cuts in prop::collection::vec(1..200_usize, 1..50)) {
        let read = |sizes: &mut dyn FnMut() -> usize| {
            let (mut inbox, mut seen, mut at) = (Inbox::default(), Vec::new(), 0);
            loop {
                match inbox.head() {
                    Ok(Some(len)) => {
                        assert!(len <= HEAD_MAX && inbox.bytes(len).len() == len);
                        seen.push(Ok(inbox.bytes(len).to_vec()));
                        inbox.forget(len);
                    }
                    Err(refusal) => {
                        // Which of two limits is found first may depend on how much came at once.
                        seen.push(Err(core::mem::discriminant(&refusal)));
                        return seen;
                    }
                    Ok(None) if at == bytes.len() => return seen,
                    Ok(None) => {
                        let end = (at + sizes()).min(bytes.len());
                        let taken = inbox.push(&bytes[at..end]);
                        assert!(taken > 0, "there is always room while nothing is refused");
                        at += taken;
                    }
                }
            }
        };
        let mut next = cuts.iter().cycle();
        prop_assert_eq!(read(&mut || *next.next().unwrap()), read(&mut || 1));
    }
}
