//! Sessions, batches and refusals.

use super::super::{
    Bulk, Console, ConsoleError, Place, Probe, Selftest, SelftestConfig, TestSpec, Transport,
};
use super::net::{Net, Node, Recorder};
use crate::buffers::Payload;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_lnet_wire::nid::ProcessId;
use keelson_lnet_wire::srpc::{
    BrwDirection, Check, Message, Name, Reply, Request, SessionId, Test, TestParameters, status,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SERVER: &str = "10.0.0.1@tcp";
const CLIENT: &str = "10.0.0.2@tcp";
const OTHER: &str = "10.0.0.3@tcp";

fn id(nid: &str) -> ProcessId {
    ProcessId::lustre(nid.parse().unwrap())
}

const PINGS: TestSpec = TestSpec { probe: Probe::Ping, iterations: 3, concurrency: 1, stop_on_error: false };

fn console(node: &Selftest<Node>, nid: &str) -> Console<Node> {
    Console::new(node.rpcs.clone(), nid.parse().unwrap(), nid)
}

/// Status and reply of one request.
async fn ask(node: &Selftest<Node>, to: &str, features: u32, request: Request) -> (u32, u32, Reply) {
    let timeout = Duration::from_secs(5);
    let answer = node.rpcs.call(None, id(to), features, request, Bulk::Nothing, timeout).await.unwrap();
    (answer.status, answer.features, answer.reply)
}

#[test]
fn one_session_at_a_time() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    let other = net.selftest(OTHER, &SelftestConfig::default());
    net.run(async move {
        let (first, second) = (console(&client, CLIENT), console(&other, OTHER));
        let refused = |status| Err(ConsoleError::Status(status));
        assert_eq!(first.remove_session(id(SERVER)).await, refused(status::ESRCH));
        assert_eq!(first.status(id(SERVER)).await.map(drop), refused(status::ESRCH));
        assert_eq!(first.statistics(id(SERVER)).await.map(drop), refused(status::ESRCH));
        assert_eq!(first.add_server(id(SERVER), 1, &PINGS).await, refused(status::ENOENT));
        first.make_session(id(SERVER), false).await.unwrap();
        first.make_session(id(SERVER), false).await.unwrap();
        assert_eq!(second.make_session(id(SERVER), false).await, refused(status::EBUSY));
        assert_eq!(second.remove_session(id(SERVER)).await, refused(status::EBUSY));
        assert_eq!(second.statistics(id(SERVER)).await.map(drop), refused(status::ESRCH));
        assert_eq!(second.run(id(SERVER), 1).await, refused(status::ESRCH));
        // Anybody may ask whose session it is.
        let seen = second.status(id(SERVER)).await.unwrap();
        assert_eq!((seen.session, seen.timeout, seen.batches), (first.session(), 100, 0));
        assert_eq!(seen.name.bytes(), CLIENT.as_bytes());
        // Made twice, removed twice.
        first.remove_session(id(SERVER)).await.unwrap();
        assert_eq!(server.responder.session(), Some(first.session()));
        first.remove_session(id(SERVER)).await.unwrap();
        assert_eq!(server.responder.session(), None);
        first.make_session(id(SERVER), false).await.unwrap();
        second.make_session(id(SERVER), true).await.unwrap();
        assert_eq!(server.responder.session(), Some(second.session()));
        // Who is refused learns by whom.
        let request = Request::MakeSession { session: first.session(), force: 0, name: Name::new("again") };
        let (status, _, reply) = ask(&client, SERVER, 1, request).await;
        let Reply::MakeSession { session, name, .. } = reply else { panic!("{reply:?}") };
        assert_eq!((status, session), (status::EBUSY, second.session()));
        assert_eq!(name.bytes(), OTHER.as_bytes());
        let request = Request::MakeSession { session: SessionId::INVALID, force: 1, name: Name::EMPTY };
        assert_eq!(ask(&client, SERVER, 1, request).await.0, status::EINVAL);
    });
}

#[test]
fn a_session_ends_when_its_console_falls_silent() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    let handle = net.handle.clone();
    net.run(async move {
        let console = console(&client, CLIENT);
        console.make_session(id(SERVER), false).await.unwrap();
        for _ in 0..3 {
            handle.sleep(Duration::from_secs(90)).await;
            console.statistics(id(SERVER)).await.unwrap();
        }
        handle.sleep(Duration::from_secs(99)).await;
        assert_eq!(server.responder.session(), Some(console.session()));
        handle.sleep(Duration::from_secs(2)).await;
        assert_eq!(server.responder.session(), None);
        assert_eq!(handle.live_tasks(), 1, "the session's task has ended");
    });
}

#[test]
fn features_and_versions_are_agreed_upon() {
    let net = Net::new();
    let _server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    net.run(async move {
        let with = console(&client, CLIENT);
        let debug = Request::Debug { session: with.session(), flags: 0 };
        let (status, features, _) = ask(&client, SERVER, 3, debug).await;
        assert_eq!((status, features), (status::EPROTO, 1), "unknown features");
        with.make_session(id(SERVER), false).await.unwrap();
        let query = Request::QueryStat { session: with.session(), kind: 0 };
        let (status, _, reply) = ask(&client, SERVER, 0, query).await;
        let Reply::QueryStat { session, .. } = reply else { panic!("{reply:?}") };
        assert_eq!((status, session), (status::EPROTO, with.session()), "not those of the session");
        assert_eq!(ask(&client, SERVER, 0, debug).await.0, status::OK, "a console may always ask");
        with.remove_session(id(SERVER)).await.unwrap();

        let without = console(&client, CLIENT).without_features();
        without.make_session(id(SERVER), false).await.unwrap();
        let brw = Probe::Brw { direction: BrwDirection::Read, len: 8192, check: Check::Full };
        let spec = TestSpec { probe: brw, ..PINGS };
        without.add_server(id(SERVER), 1, &spec).await.unwrap();
        brw.run(&client.rpcs, None, id(SERVER), 0, 0, Duration::from_secs(5)).await.unwrap();
        let odd = Probe::Brw { direction: BrwDirection::Read, len: 8, check: Check::Full };
        let odd = TestSpec { probe: odd, ..PINGS };
        assert_eq!(without.add_server(id(SERVER), 1, &odd).await, Err(ConsoleError::Inexpressible));
    });
}

#[test]
fn tests_that_make_no_sense_are_refused() {
    let net = Net::new();
    let _server = net.selftest(SERVER, &SelftestConfig { loops: 100, ..SelftestConfig::default() });
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    net.run(async move {
        let console = console(&client, CLIENT);
        console.make_session(id(SERVER), false).await.unwrap();
        let good = Test {
            bulkid: 0,
            session: console.session(),
            batch: 1,
            service: 12,
            iterations: 1,
            concurrency: 1,
            is_client: 0,
            stop_on_error: 0,
            destinations: 0,
            parameters: TestParameters::Ping { size: 0, flags: 0 },
        };
        let brw = |opcode, flags, len| TestParameters::BrwBytes { opcode, flags, len, offset: 0 };
        let client_brw = |parameters| Test { service: 11, is_client: 1, destinations: 1, parameters, ..good };
        let cases = [
            (good, status::OK),
            (Test { iterations: 0, ..good }, status::EINVAL),
            (Test { concurrency: 0, ..good }, status::EINVAL),
            (Test { concurrency: 1025, ..good }, status::EINVAL),
            (Test { session: SessionId::INVALID, ..good }, status::EINVAL),
            (Test { session: SessionId { nid4: 7, stamp: 7 }, ..good }, status::ENOENT),
            (Test { service: 3, ..good }, status::EINVAL),
            (Test { service: 13, ..good }, status::ENOENT),
            (Test { is_client: 1, destinations: 0, ..good }, status::EINVAL),
            (Test { is_client: 1, destinations: 342, ..good }, status::EINVAL),
            (Test { is_client: 1, destinations: 101, ..good }, 12),
            (client_brw(brw(3, 1, 4096)), status::EINVAL),
            (client_brw(brw(1, 4, 4096)), status::EINVAL),
            (client_brw(brw(1, 1, 0)), status::EINVAL),
            (client_brw(brw(1, 1, 4097)), status::EINVAL),
            (client_brw(brw(1, 1, (1 << 20) + 8)), status::EINVAL),
        ];
        for (test, expected) in cases {
            let (status, ..) = ask(&client, SERVER, 1, Request::Test(test)).await;
            assert_eq!(status, expected, "{test:?}");
        }
        // As many as there may be, not one more.
        let mut added = 0;
        while ask(&client, SERVER, 1, Request::Test(good)).await.0 == status::OK {
            added += 1;
        }
        assert_eq!(added, 255);
        for batch in 2..=64 {
            assert_eq!(ask(&client, SERVER, 1, Request::Test(Test { batch, ..good })).await.0, status::OK);
        }
        assert_eq!(ask(&client, SERVER, 1, Request::Test(Test { batch: 65, ..good })).await.0, 12);
    });
}

#[test]
fn requests_that_are_none_are_dropped_and_counted() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.node(CLIENT);
    let handle = net.handle.clone();
    net.run(async move {
        let good = Message::request(1, 7, Request::Debug { session: SessionId::INVALID, flags: 0 });
        let good = good.encode();
        let mut magic = good;
        magic[0] ^= 1;
        let mut kind = good;
        kind[8] = 99;
        let mut reply = good;
        reply[8] = 11;
        let cases: [(u32, u64, &[u8]); 8] = [
            (51, 0, &good[..159]),
            (51, 0, &[good.as_slice(), &[0]].concat()),
            (51, 0, &magic),
            (51, 0, &kind),
            (51, 0, &reply),
            (51, 1, &good),
            (51, 6, &good),
            (50, 0, &good),
        ];
        for (portal, bits, bytes) in cases {
            let payload = Payload::from_bytes(bytes);
            client.put(None, id(SERVER), Place::new(portal, bits), payload).unwrap();
        }
        handle.sleep(Duration::from_secs(1)).await;
        let counters = server.responder.counters();
        assert_eq!((counters.rpcs_dropped.get(), counters.rpcs_rcvd.get()), (8, 0));
        client.put(None, id(SERVER), Place::new(51, 0), Payload::from_bytes(&good)).unwrap();
        handle.sleep(Duration::from_secs(1)).await;
        assert_eq!((counters.rpcs_dropped.get(), counters.rpcs_rcvd.get()), (8, 1));
    });
}

#[test]
fn a_node_of_the_other_byte_order_is_understood() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.node(CLIENT);
    let seen = Rc::new(Recorder::default());
    client.register(52, seen.clone());
    let handle = net.handle.clone();
    net.run(async move {
        let make =
            Request::MakeSession { session: SessionId { nid4: 5, stamp: 6 }, force: 0, name: Name::EMPTY };
        let little = Message::request(1, 0x1234, make).encode();
        // Word by word, but for the 64-bit fields, whose halves change places as well.
        let mut big = little;
        big[..24].chunks_mut(4).for_each(<[u8]>::reverse);
        big[24..48].chunks_mut(8).for_each(<[u8]>::reverse);
        big[48..52].reverse();
        client.put(None, id(SERVER), Place::new(51, 1), Payload::from_bytes(&big)).unwrap();
        handle.sleep(Duration::from_secs(1)).await;
        assert_eq!(server.responder.session(), Some(SessionId { nid4: 5, stamp: 6 }));
        assert_eq!(seen.puts.borrow()[0].0.match_bits, 0x1234);
    });
}

proptest! {
    /// Whatever a request says, the node survives it and answers the next one.
    #[test]
    fn no_request_does_harm(
        requests in vec((prop_oneof![Just(50_u32), Just(51)], 0..13_u64, vec(any::<u8>(), 136)), 1..30),
        kinds in vec(0..16_u8, 30),
    ) {
        let net = Net::new();
        let server = net.selftest(SERVER, &SelftestConfig { waiting: 8, ..SelftestConfig::default() });
        let client = net.selftest(CLIENT, &SelftestConfig { rpc_timeout: Duration::from_secs(1), ..Default::default() });
        let handle = net.handle.clone();
        net.run(async move {
            let console = console(&client, CLIENT);
            console.make_session(id(SERVER), true).await.unwrap();
            console.add_server(id(SERVER), 1, &PINGS).await.unwrap();
            let session = Request::RemoveSession { session: console.session() };
            let session = Message::request(1, 0, session).encode();
            for ((portal, bits, body), kind) in requests.into_iter().zip(kinds) {
                let mut bytes = [0; 160];
                // Half of the requests name the session that there is.
                bytes[..24].copy_from_slice(&session[..24]);
                bytes[24..].copy_from_slice(&body);
                if body[135] & 1 == 0 {
                    bytes[32..48].copy_from_slice(&session[32..48]);
                }
                bytes[8] = kind;
                let payload = Payload::from_bytes(&bytes);
                let transport = client.rpcs.transport();
                transport.put(None, id(SERVER), Place::new(portal, bits), payload).unwrap();
            }
            handle.sleep(Duration::from_secs(70)).await;
            console.make_session(id(SERVER), true).await.unwrap();
            assert_eq!(server.responder.session(), Some(console.session()));
        });
    }
}
