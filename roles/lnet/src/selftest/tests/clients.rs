//! Tests and load between nodes: everything that can go right, and what happens when it does not.

use super::super::{
    CallError, Console, Kind, Limit, Load, Probe, ProbeError, RawError, Selftest, SelftestConfig, TestSpec,
};
use super::net::{Net, Node};
use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::{BULK_LEN, BrwDirection, Check, REPLY_PORTAL, TEST_PORTAL, status};
use std::format;
use std::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);

fn id(nid: &str) -> ProcessId {
    ProcessId::lustre(nid.parse().unwrap())
}

fn brw(direction: BrwDirection, len: u32, check: Check) -> Probe {
    Probe::Brw { direction, len, check }
}

fn spec(probe: Probe) -> TestSpec {
    TestSpec { probe, iterations: TestSpec::ENDLESS, concurrency: 4, stop_on_error: false }
}

const SERVER: &str = "10.0.0.1@tcp";
const CLIENT: &str = "10.0.0.2@tcp";

/// A server of both tests and a client with a console.
async fn prepare(client: &Selftest<Node>, servers: &[&str]) -> Console<Node> {
    let console = Console::new(client.rpcs.clone(), CLIENT.parse().unwrap(), "test");
    for server in servers {
        console.make_session(id(server), true).await.unwrap();
        console.add_server(id(server), 1, &spec(Probe::Ping)).await.unwrap();
        let bulk = brw(BrwDirection::Read, 4096, Check::None);
        console.add_server(id(server), 1, &spec(bulk)).await.unwrap();
    }
    console
}

#[test]
fn bulk_of_every_length_and_check_in_both_directions() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    net.run(async move {
        prepare(&client, &[SERVER]).await;
        let mut total = 0;
        for check in [Check::None, Check::Simple, Check::Full] {
            for len in [8, 4088, 4096, 4104, 65_536, 65_544, 1 << 20] {
                for direction in [BrwDirection::Read, BrwDirection::Write] {
                    let probe = brw(direction, len, check);
                    probe.run(&client.rpcs, None, id(SERVER), BULK_LEN, 0, SECOND).await.unwrap();
                    total += u64::from(len);
                }
            }
        }
        let counters = server.responder.counters();
        assert_eq!(counters.bulk_get.get() + counters.bulk_put.get(), total);
        assert_eq!((counters.errors.get(), counters.corrupted.get()), (0, 0));
        // What no server accepts is not even sent.
        for (len, features) in [(0, 1), (4, 1), ((1 << 20) + 8, 1), (8, 0), (4096, 2)] {
            let probe = brw(BrwDirection::Read, len, Check::Full);
            let result = probe.run(&client.rpcs, None, id(SERVER), features, 0, SECOND).await;
            assert_eq!(result, Err(ProbeError::Unacceptable));
        }
        assert_eq!(client.rpcs.in_flight(), 0);
    });
}

#[test]
fn wrong_data_are_noticed_at_either_end() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    net.set_hook(|flight| {
        if flight.payload.len() == 65_536 {
            flight.payload.from_mut(12_288)[5] ^= 0x40;
        }
        true
    });
    net.run(async move {
        prepare(&client, &[SERVER]).await;
        for check in [Check::Simple, Check::Full] {
            let read = brw(BrwDirection::Read, 65_536, check);
            let result = read.run(&client.rpcs, None, id(SERVER), BULK_LEN, 0, SECOND).await;
            assert!(matches!(result, Err(ProbeError::Corrupted(at)) if at.offset == 12_288), "{result:?}");
            let write = brw(BrwDirection::Write, 65_536, check);
            let result = write.run(&client.rpcs, None, id(SERVER), BULK_LEN, 0, SECOND).await;
            assert_eq!(result, Err(ProbeError::Status(status::EBADMSG)));
        }
        assert_eq!(server.responder.counters().corrupted.get(), 2);
        // A PUT is looked at where it arrives, a GET where it came from.
        for (kind, here) in [(Kind::Put(65_536), 0), (Kind::Get(65_536), 1)] {
            let report = Load::new(kind, [SERVER.parse().unwrap()]).run(&client).await;
            assert_eq!((report.corrupt, server.raw.counters().corrupted), (here, 1), "{kind:?}: {report}");
        }
    });
}

/// Bulk data take far longer than a reply: had the reply not waited, it would come first.
#[test]
fn a_reply_waits_for_its_bulk_data() {
    let net = Net::new();
    let _server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    net.bandwidth.set(1 << 20);
    let order = Rc::new(core::cell::RefCell::new(Vec::new()));
    let seen = order.clone();
    net.set_hook(move |flight| {
        if flight.to == CLIENT.parse().unwrap() && flight.portal == REPLY_PORTAL {
            seen.borrow_mut().push(flight.payload.len());
        }
        true
    });
    net.run(async move {
        prepare(&client, &[SERVER]).await;
        order.borrow_mut().clear();
        let read = brw(BrwDirection::Read, 1 << 20, Check::Full);
        read.run(&client.rpcs, None, id(SERVER), BULK_LEN, 0, 10 * SECOND).await.unwrap();
        assert_eq!(*order.borrow(), [1 << 20, 160]);
    });
}

#[test]
fn requests_wait_until_a_console_has_added_their_test() {
    let config = SelftestConfig { waiting: 3, ..SelftestConfig::default() };
    let net = Net::new();
    let server = net.selftest(SERVER, &config);
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    let handle = net.handle.clone();
    let answered = Rc::new(Cell::new(0));
    net.run(async move {
        let early = |count: usize| {
            for sequence in 0..count {
                let (client, answered) = (client.clone(), answered.clone());
                handle.spawn("early", async move {
                    let ping =
                        Probe::Ping.run(&client.rpcs, None, id(SERVER), 1, sequence as u32, 64 * SECOND);
                    if ping.await.is_ok() {
                        answered.set(answered.get() + 1);
                    }
                });
            }
        };
        early(5);
        handle.sleep(SECOND).await;
        assert_eq!((answered.get(), server.responder.counters().rpcs_dropped.get()), (0, 2));
        prepare(&client, &[SERVER]).await;
        handle.sleep(SECOND).await;
        assert_eq!(answered.get(), 3);
        // The console takes the server away: requests wait again, but not for ever.
        let console = Console::new(client.rpcs.clone(), CLIENT.parse().unwrap(), "other");
        console.make_session(id(SERVER), true).await.unwrap();
        early(2);
        handle.sleep(65 * SECOND).await;
        prepare(&client, &[SERVER]).await;
        handle.sleep(SECOND).await;
        assert_eq!((answered.get(), server.responder.counters().rpcs_dropped.get()), (3, 4));
    });
}

#[test]
fn more_bulk_than_memory_waits_its_turn() {
    let config = SelftestConfig { bulk_memory: 4 << 20, ..SelftestConfig::default() };
    let net = Net::new();
    let server = net.selftest(SERVER, &config);
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    net.bandwidth.set(64 << 20);
    net.run(async move {
        prepare(&client, &[SERVER]).await;
        let read = brw(BrwDirection::Read, 1 << 20, Check::Full);
        let load = Load {
            concurrent: 64,
            limit: Limit::Count(3),
            ..Load::new(Kind::Rpc(read), [SERVER.parse().unwrap()])
        };
        let report = load.run(&client).await;
        assert_eq!((report.messages, report.errors), (192, 0), "{report}");
        assert_eq!(server.rpcs.memory().bulk_high_water(), 4 << 20);
    });
}

#[test]
fn a_console_runs_tests_between_other_nodes() {
    let net = Net::new();
    let config = SelftestConfig::default();
    let nodes: Vec<_> = (1..=4).map(|host| format!("10.0.1.{host}@tcp")).collect();
    let _nodes: Vec<_> = nodes.iter().map(|nid| net.selftest(nid, &config)).collect();
    let client = net.selftest(CLIENT, &config);
    let handle = net.handle.clone();
    net.run(async move {
        let [a, b] = [id(&nodes[0]), id(&nodes[1])];
        let servers = [id(&nodes[2]), id(&nodes[3])];
        let console = prepare(&client, &[&nodes[2], &nodes[3]]).await;
        let finite = TestSpec { iterations: 10, ..spec(brw(BrwDirection::Write, 65_536, Check::Full)) };
        for node in [a, b] {
            console.make_session(node, false).await.unwrap();
            console.add_client(node, 7, &spec(Probe::Ping), &servers).await.unwrap();
            console.add_client(node, 7, &finite, &servers).await.unwrap();
            console.run(node, 7).await.unwrap();
        }
        assert_eq!(console.active(a, 7).await, Ok(2));
        handle.sleep(SECOND / 4).await;
        assert_eq!(console.active(a, 7).await, Ok(1), "the finite test is over");
        let Err(refused) = console.add_client(a, 7, &finite, &servers).await else { panic!() };
        assert_eq!(format!("{refused}"), format!("refused with error {}", status::EBUSY));
        for node in [a, b] {
            let counted = console.statistics(node).await.unwrap();
            assert_eq!(counted.framework.active_batches, 1);
            assert_eq!((counted.framework.ping_errors, counted.framework.brw_errors), (0, 0));
            assert!(counted.rpc.rpcs_sent > 1000, "{counted:?}");
            console.stop(node, 7, false).await.unwrap();
        }
        handle.sleep(SECOND).await;
        assert_eq!(console.active(a, 7).await, Ok(0));
        for server in servers {
            let counted = console.statistics(server).await.unwrap();
            assert_eq!(counted.rpc.bulk_get, 2 * 4 * 10 * 65_536);
        }
        // Again, and cut off by the end of the session.
        console.run(b, 7).await.unwrap();
        console.remove_session(b).await.unwrap();
        let sent = net_sent(&client, b);
        handle.sleep(SECOND).await;
        assert_eq!(net_sent(&client, b), sent);
    });
}

/// Messages that a node has sent.
fn net_sent(client: &Selftest<Node>, node: ProcessId) -> u32 {
    client.rpcs.transport().sent_by(node.nid)
}

#[test]
fn failing_tests_are_counted_and_may_stop() {
    let net = Net::new();
    let config = SelftestConfig { rpc_timeout: SECOND, ..SelftestConfig::default() };
    let _node = net.selftest("10.0.1.1@tcp", &config);
    let client = net.selftest(CLIENT, &config);
    let handle = net.handle.clone();
    net.run(async move {
        let node = id("10.0.1.1@tcp");
        let nobody = id("10.0.1.99@tcp");
        let console = Console::new(client.rpcs.clone(), CLIENT.parse().unwrap(), "test");
        console.make_session(node, false).await.unwrap();
        let stopping = TestSpec { stop_on_error: true, ..spec(Probe::Ping) };
        console.add_client(node, 1, &stopping, &[nobody]).await.unwrap();
        let going_on = spec(brw(BrwDirection::Read, 4096, Check::Full));
        console.add_client(node, 2, &going_on, &[nobody]).await.unwrap();
        console.run(node, 1).await.unwrap();
        console.run(node, 2).await.unwrap();
        handle.sleep(Duration::from_millis(3500)).await;
        assert_eq!(console.active(node, 1).await, Ok(0));
        assert_eq!(console.active(node, 2).await, Ok(1));
        let counted = console.statistics(node).await.unwrap();
        assert_eq!((counted.framework.ping_errors, counted.framework.brw_errors), (4, 12));
        assert_eq!((counted.rpc.errors, counted.rpc.rpcs_expired), (16, 16));
        console.stop(node, 2, true).await.unwrap();
        assert_eq!(console.active(node, 2).await, Ok(0));
    });
}

#[test]
fn load_is_measured_and_failures_are_told_apart() {
    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    let count = Rc::new(Cell::new(0));
    net.run({
        let net = net.clone();
        async move {
            let peer: Nid = SERVER.parse().unwrap();
            for (kind, expected) in [(Kind::Put(1), 1), (Kind::Get(100_001), 100_001), (Kind::Put(0), 0)] {
                let load = Load { concurrent: 8, limit: Limit::Time(SECOND / 50), ..Load::new(kind, [peer]) };
                let report = load.run(&client).await;
                assert!(report.messages > 100 && report.errors == 0, "{report}");
                assert_eq!(report.bytes, report.messages * expected);
                assert_eq!(report.latency.count(), report.messages);
                assert!(report.latency.percentile(50.0) >= Duration::from_micros(100), "{report}");
            }
            let result = client.raw.get(None, id(SERVER), (1 << 20) + 1, SECOND).await;
            assert_eq!(result, Err(RawError::TooLong));
            prepare(&client, &[SERVER]).await;
            net.set_hook(move |flight| {
                count.set(count.get() + 1);
                flight.portal != TEST_PORTAL || count.get() % 5 != 0
            });
            let load = Load {
                limit: Limit::Count(100),
                timeout: SECOND,
                ..Load::new(Kind::Rpc(Probe::Ping), [peer])
            };
            let report = load.run(&client).await;
            assert_eq!(report.messages + report.errors, 100);
            assert!(report.timeouts == report.errors && report.errors > 5, "{report}");
            assert_eq!(report.first_error.as_deref(), Some("no answer in time"));
            assert!(report.longest_gap >= SECOND && report.longest_gap < 2 * SECOND, "{report}");
            // A node that is switched off and its neighbour that is not.
            net.dead.borrow_mut().insert(peer);
            let result = Probe::Ping.run(&client.rpcs, None, id(SERVER), 1, 0, SECOND).await;
            assert_eq!(result, Err(ProbeError::Call(CallError::TimedOut)));
            assert_eq!(server.raw.counters().corrupted, 0);
            assert_eq!(client.rpcs.in_flight(), 0);
        }
    });
}

#[test]
fn late_and_foreign_answers_are_not_taken() {
    let net = Net::new();
    let _server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CLIENT, &SelftestConfig::default());
    let stranger = net.node("10.0.0.66@tcp");
    let handle = net.handle.clone();
    net.run(async move {
        prepare(&client, &[SERVER]).await;
        let dropped = client.rpcs.counters().rpcs_dropped.get();
        // Shorter than the way there and back.
        let hurried = Duration::from_micros(150);
        let result = Probe::Ping.run(&client.rpcs, None, id(SERVER), 1, 0, hurried).await;
        assert_eq!(result, Err(ProbeError::Call(CallError::TimedOut)));
        handle.sleep(SECOND).await;
        assert_eq!(client.rpcs.counters().rpcs_dropped.get(), dropped + 1);
        // Somebody who guesses match bits while an RPC is under way.
        use super::super::{Place, Transport};
        let waiting = client.clone();
        handle.spawn("waiting", async move {
            let _ = Probe::Ping.run(&waiting.rpcs, None, id("10.0.0.99@tcp"), 1, 0, SECOND).await;
        });
        handle.sleep(Duration::from_millis(1)).await;
        for slot in 0..4 {
            for bits in [slot << 1, slot << 1 | 1, u64::MAX - slot] {
                let payload = crate::buffers::Payload::from_bytes(&[0; 160]);
                stranger.put(None, id(CLIENT), Place::new(52, bits), payload).unwrap();
            }
        }
        handle.sleep(SECOND).await;
        assert_eq!(client.rpcs.counters().rpcs_dropped.get(), dropped + 13);
    });
}
