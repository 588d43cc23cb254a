//! Connections that we open: the captured cases of a Linux client, and everything that a peer can answer.

use crate::common::*;
use crate::passive::value;
use ConnType::{BulkIn, BulkOut, Control};
use keelson_lnet::lnd::{Lnd, SendError};
use keelson_lnet::socklnd::SocklndConfig;
use keelson_lnet_wire::acceptor::REFUSAL;
use keelson_lnet_wire::hello::{ConnType, Hello, Version};
use keelson_net::TcpOptions;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// What the played peer does with the connection number n (from 0), given our HELLO: bytes to say, and whether
/// to close then.
type Script = Box<dyn FnMut(usize, &Hello) -> (Vec<u8>, bool)>;

/// A connection that came in at the played peer.
struct Call {
    port: u16,
    at: Duration,
    request: Vec<u8>,
    hello: Hello,
    /// None when the played peer closed it.
    wire: Option<Wire>,
}

type Calls = Rc<RefCell<Vec<Call>>>;

/// Has the played peer accept and answer.
fn serve(bench: &Bench, mut script: Script) -> Calls {
    let calls = Calls::default();
    let (list, stack, handle) = (calls.clone(), bench.peer.clone(), bench.lab.handle());
    bench.lab.handle().spawn("played", async move {
        let listener = stack.listen(988, TcpOptions { timeout: None, ..TcpOptions::default() }).unwrap();
        loop {
            let stream = listener.accept().await;
            let (port, at) = (stream.peer().port(), handle.now() - keelson_hal::Instant::ZERO);
            let wire = Wire { stream: Rc::new(stream), handle: handle.clone() };
            let Some(request) = wire.hear(16).await else { continue };
            let Some(hello) = wire.hello().await else { continue };
            let number = list.borrow().len();
            let (said, close) = script(number, &hello.hello);
            wire.say(&said).await;
            let wire = Some(wire).filter(|_| !close);
            list.borrow_mut().push(Call { port, at, request, hello: hello.hello, wire });
        }
    });
    bench.wait(Duration::from_millis(1));
    calls
}

/// The answer of a peer that agrees.
fn agree(to: &Hello) -> Hello {
    Hello { version: to.version, ..hello(to.version, to.ctype.inverse()) }
}

fn agreeing() -> Script {
    Box::new(|_, to| (bytes(&agree(to)), false))
}

fn bench() -> Bench {
    Bench::new(SocklndConfig::default())
}

fn types(calls: &Calls) -> Vec<ConnType> {
    calls.borrow().iter().map(|call| call.hello.ctype).collect()
}

#[test]
fn connections_are_opened_as_a_linux_client_opens_them() {
    let bench = bench();
    let calls = serve(&bench, agreeing());
    bench.router.send(1, nid(THERE), 10);
    bench.router.send(2, nid(THERE), 50_000);
    bench.wait(secs(1));
    assert_eq!(types(&calls), [Control, BulkIn, BulkOut]);
    assert_eq!(bench.router.kinds(), "CIO");
    for (call, port) in calls.borrow().iter().zip([1023, 1022, 1021]) {
        assert_eq!(call.port, port);
        assert_eq!(call.request, request(THERE));
        let own = call.hello;
        assert_eq!((own.version, own.src_nid, own.dst_nid), (Version::V3, nid(HERE), nid(THERE)));
        assert_eq!((own.src_pid, own.dst_pid, own.src_incarnation, own.ips), (12345, 0, LIFE, 0));
    }
    assert_eq!(bench.router.upper.sent.get(), 2);
    assert_eq!(bench.router.upper.events()[0], Told::Up(nid(THERE)));
    let control = calls.borrow()[0].wire.clone().unwrap();
    let bulk = calls.borrow()[2].wire.clone().unwrap();
    assert_eq!(bench.heard(&control).len() + bench.heard(&bulk).len(), 106 + 50_096);
    assert_eq!(value(&bench, "active"), 3);
}

#[test]
fn a_peer_of_an_older_version_is_asked_again_at_once() {
    let bench = bench();
    let none = |to: &Hello| {
        hello(Version::V2, if to.version == Version::V2 { to.ctype.inverse() } else { ConnType::None })
    };
    let calls = serve(&bench, Box::new(move |_, to| (bytes(&none(to)), to.version != Version::V2)));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(Duration::from_millis(100));
    assert_eq!(types(&calls), [Control, Control, BulkIn, BulkOut]);
    assert_eq!(bench.router.upper.sent.get(), 1);
    assert_eq!(value(&bench, "dial_version"), 1);
    // Once everything is closed the version is found out anew.
    bench.router.lnd.disconnect(NI, nid(THERE));
    bench.wait(secs(1));
    bench.router.send(2, nid(THERE), 10);
    bench.wait(secs(1));
    assert_eq!(calls.borrow()[4].hello.version, Version::V3);
}

#[test]
fn type_none_is_asked_again_after_a_second() {
    let bench = bench();
    let refuse = |n, to: &Hello| if n < 2 { Hello { ctype: ConnType::None, ..agree(to) } } else { agree(to) };
    let calls = serve(&bench, Box::new(move |n, to| (bytes(&refuse(n, to)), n < 2)));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(secs(5));
    assert_eq!(types(&calls), [Control, Control, Control, BulkIn, BulkOut]);
    let calls = calls.borrow();
    for pair in calls[..3].windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause >= secs(1) && pause < Duration::from_millis(1100), "{pause:?}");
    }
    assert_eq!((bench.router.upper.sent.get(), value(&bench, "dial_refused")), (1, 2));
}

#[test]
fn a_peer_that_refuses_for_ever_times_out() {
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let calls = serve(&bench, Box::new(|_, to| (bytes(&Hello { ctype: ConnType::None, ..agree(to) }), true)));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(secs(12));
    assert_eq!(bench.router.upper.result(1), Some(Err(SendError::TimedOut)));
    assert!((9..=11).contains(&calls.borrow().len()), "{}", calls.borrow().len());
    assert_eq!(bench.router.upper.events().last(), Some(&Told::Down(nid(THERE), true)));
}

#[test]
fn a_peer_that_gives_one_of_each_is_asked_for_more_three_times() {
    let bench = bench();
    bench.router.lnd.remove_ni(NI);
    let ni = keelson_lnet::lnd::LndNi { id: NI, nid: nid(HERE), incarnation: LIFE, conns_per_peer: 4 };
    bench.router.lnd.add_ni(ni);
    let give = |n, to: &Hello| if n < 3 { agree(to) } else { Hello { ctype: ConnType::None, ..agree(to) } };
    let calls = serve(&bench, Box::new(move |n, to| (bytes(&give(n, to)), n >= 3)));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(secs(120));
    assert_eq!(calls.borrow().len(), 6);
    bench.router.send(2, nid(THERE), 10);
    bench.wait(secs(10));
    assert_eq!((calls.borrow().len(), bench.router.kinds().as_str()), (6, "CIO"));
}

/// What is answered makes the attempt fail: at once, with back-off.
fn fails(script: Script, counter: &str, error: SendError) {
    let bench = bench();
    let calls = serve(&bench, script);
    bench.router.send(1, nid(THERE), 10);
    bench.wait(Duration::from_millis(500));
    assert_eq!(bench.router.upper.result(1), Some(Err(error)), "{counter}");
    assert_eq!(value(&bench, counter), 1, "{counter}");
    assert_eq!(bench.router.upper.events().last(), Some(&Told::Down(nid(THERE), true)), "{counter}");
    bench.router.send(2, nid(THERE), 10);
    bench.wait(Duration::from_millis(10));
    assert_eq!(bench.router.upper.result(2), Some(Err(SendError::Unreachable)), "{counter}");
    assert_eq!(calls.borrow().len(), 1, "{counter}");
}

#[test]
fn wrong_answers_end_the_attempt() {
    let answer =
        |change: fn(Hello) -> Hello| -> Script { Box::new(move |_, to| (bytes(&change(agree(to))), false)) };
    let unreachable = SendError::Unreachable;
    fails(answer(|h| Hello { src_nid: nid("10.1.0.8@tcp"), ..h }), "dial_identity", unreachable);
    fails(answer(|h| Hello { src_pid: 9, ..h }), "dial_identity", unreachable);
    fails(answer(|h| Hello { ctype: BulkIn, ..h }), "dial_identity", unreachable);
    let version_99 = |_, to: &Hello| {
        let mut said = bytes(&agree(to));
        said[4] = 99;
        (said, true)
    };
    fails(Box::new(version_99), "dial_malformed", unreachable);
    fails(Box::new(|_, _| (REFUSAL.to_vec(), true)), "dial_malformed", unreachable);
    fails(Box::new(|_, _| (vec![], true)), "dial_closed", unreachable);
}

#[test]
fn a_peer_that_does_not_listen_is_tried_ever_more_rarely() {
    let bench = bench();
    let mut dials = Vec::new();
    for n in 0..400 {
        bench.router.send(n, nid(THERE), 10);
        bench.wait(secs(1));
        if dials.len() < value(&bench, "dials") as usize {
            dials.push(n);
        }
    }
    let pauses: Vec<u64> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        pauses.iter().zip([1, 2, 4, 8, 16, 32]).all(|(pause, least)| (least..=least + 1).contains(pause))
    );
    assert!(pauses[6..].iter().all(|pause| (60..=61).contains(pause)), "{pauses:?}");
    assert_eq!(value(&bench, "dial_unreachable") as usize, dials.len());
    assert_eq!(bench.router.upper.lost.get(), 400);
    assert!((0..400).all(|n| bench.router.upper.result(n) == Some(Err(SendError::Unreachable))));
    assert_eq!(bench.router.lnd.peers().len(), 1);
    bench.wait(secs(200));
    assert!(bench.router.lnd.peers().is_empty(), "forgotten in the end");
}

#[test]
fn a_host_that_is_not_there_costs_its_messages_no_more_than_address_resolution() {
    let bench = bench();
    (0..3).for_each(|n| bench.router.send(n, nid("10.1.0.200@tcp"), 10));
    bench.wait(secs(5));
    let results: Vec<_> = (0..3).map(|n| bench.router.upper.result(n)).collect();
    assert_eq!(results, [Some(Err(SendError::Unreachable)); 3]);
    assert_eq!(value(&bench, "dial_unreachable"), 1);
}

#[test]
fn a_peer_that_accepts_and_says_nothing_costs_no_more() {
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let _calls = serve(&bench, Box::new(|_, _| (vec![], false)));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(secs(9));
    assert_eq!(bench.router.upper.result(1), None);
    bench.wait(secs(2));
    assert_eq!(bench.router.upper.result(1), Some(Err(SendError::TimedOut)));
}

#[test]
fn messages_go_out_as_soon_as_there_is_a_connection_for_them() {
    // Control is granted, the bulk types are never answered.
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let calls = serve(&bench, Box::new(|n, to| (if n == 0 { bytes(&agree(to)) } else { vec![] }, false)));
    bench.router.send(1, nid(THERE), 10);
    bench.router.send(2, nid(THERE), 100_000);
    bench.wait(secs(1));
    let control = calls.borrow()[0].wire.clone().unwrap();
    assert_eq!(bench.heard(&control).len(), 106 + 100_096);
    bench.wait(secs(12));
    assert_eq!((bench.router.upper.sent.get(), bench.router.upper.lost.get()), (2, 0));
    assert_eq!(bench.router.kinds(), "C");
    assert_eq!(calls.borrow().len(), 2);
    bench.router.send(3, nid(THERE), 10);
    bench.wait(secs(1));
    assert_eq!(calls.borrow().len(), 3, "the missing types are tried again");
    assert_eq!(bench.router.upper.sent.get(), 3);
}

#[test]
fn a_new_life_in_an_answer_starts_everything_anew_at_once() {
    let bench = bench();
    let life = |n| if n == 0 { PEER_LIFE } else { PEER_LIFE + 1 };
    let answer = move |n, to: &Hello| (bytes(&Hello { src_incarnation: life(n), ..agree(to) }), false);
    let calls = serve(&bench, Box::new(answer));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(Duration::from_millis(500));
    assert_eq!(types(&calls), [Control, BulkIn, Control, BulkIn, BulkOut]);
    assert_eq!((value(&bench, "dial_stale"), bench.router.kinds().as_str()), (1, "CIO"));
    // A peer that has a new life each time is not followed for ever.
    let bench = self::bench();
    let answer = |n, to: &Hello| (bytes(&Hello { src_incarnation: n as u64, ..agree(to) }), false);
    let calls = serve(&bench, Box::new(answer));
    bench.router.send(1, nid(THERE), 10);
    bench.wait(Duration::from_millis(900));
    assert!(calls.borrow().len() <= 10, "{}", calls.borrow().len());
    assert_eq!(value(&bench, "dial_malformed"), 1);
}

#[test]
fn when_both_connect_at_once_the_higher_nid_wins() {
    // We are 10.1.0.1, the peer 10.1.0.9: its connection is accepted, ours waits until it has answered.
    let bench = bench();
    let none = |to: &Hello| Hello { ctype: ConnType::None, ..agree(to) };
    let calls = serve(&bench, Box::new(move |_, to| (bytes(&none(to)), true)));
    bench.router.send(1, nid(THERE), 10);
    let control = bench.establish(900, Control);
    let _bulk = [bench.establish(901, BulkIn), bench.establish(902, BulkOut)];
    bench.wait(secs(10));
    assert_eq!(calls.borrow().len(), 1, "what the peer opened is enough");
    assert_eq!(bench.router.upper.sent.get(), 1);
    assert_eq!(bench.heard(&control).len(), 106);
    assert_eq!(bench.router.kinds(), "CIO");
}

#[test]
fn our_own_connection_survives_where_our_nid_is_higher() {
    let bench = bench();
    let _calls = serve(&bench, Box::new(|_, to| (bytes(&agree(to)), false)));
    // The peer's HELLO arrives while ours is unanswered: its TCP connection is there already.
    let wire = bench.connect(900);
    bench.say(&wire, &request(HERE));
    let low = Hello { src_nid: nid("10.1.0.0@tcp"), ..hello(Version::V3, Control) };
    bench.router.send(1, nid("10.1.0.0@tcp"), 10);
    bench.say(&wire, &bytes(&low));
    assert_eq!(bench.hello(&wire).unwrap().hello.ctype, ConnType::None);
    assert!(bench.is_closed(&wire));
    assert_eq!(value(&bench, "hello_race"), 1);
}

#[test]
fn a_peer_that_connected_is_dialled_again_only_when_it_is_gone() {
    let bench = bench();
    let calls = serve(&bench, agreeing());
    let control = bench.establish(900, Control);
    for n in 0..10 {
        bench.router.send(n, nid(THERE), 10_000);
        bench.wait(secs(1));
    }
    assert_eq!((calls.borrow().len(), bench.router.upper.sent.get()), (0, 10));
    drop(control);
    bench.wait(secs(1));
    bench.router.send(10, nid(THERE), 10);
    bench.wait(secs(1));
    assert_eq!(types(&calls), [Control, BulkIn, BulkOut]);
}

#[test]
fn ports_in_use_are_passed_over() {
    let bench = bench();
    let calls = serve(&bench, agreeing());
    for n in 0..20 {
        bench.router.send(n, nid(THERE), 10);
        bench.wait(Duration::from_millis(50));
        // Our end closes first and keeps its ports for a while.
        bench.router.lnd.disconnect(NI, nid(THERE));
        bench.wait(Duration::from_millis(50));
    }
    assert_eq!(calls.borrow().len(), 60);
    let ports: Vec<u16> = calls.borrow().iter().map(|call| call.port).collect();
    assert!(ports.iter().all(|port| (512..=1023).contains(port)));
    assert_eq!(bench.router.upper.sent.get(), 20);
}

#[test]
fn a_peer_that_closes_in_order_gets_what_is_queued_on_a_new_connection() {
    let bench = bench();
    let calls = serve(&bench, agreeing());
    // A bulk-in connection (ours: bulk-out is its name there) carries nothing: the message waits.
    let idle = bench.establish(900, BulkOut);
    bench.router.send(1, nid(THERE), 10);
    bench.wait(secs(5));
    assert_eq!(bench.router.upper.result(1), None);
    drop(idle);
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.result(1), Some(Ok(())));
    assert_eq!(types(&calls), [Control, BulkIn, BulkOut]);
}

#[test]
fn nobody_connects_to_itself_or_without_interface() {
    let bench = bench();
    bench.router.send(1, nid(HERE), 10);
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.result(1), Some(Err(SendError::Unreachable)));
    bench.router.send(2, nid(THERE), 10);
    bench.wait(Duration::from_micros(10));
    bench.router.lnd.remove_ni(NI);
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.result(2), Some(Err(SendError::Down)));
    bench.router.send(3, nid(THERE), 10);
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.result(3), Some(Err(SendError::Down)));
    assert_eq!(value(&bench, "tx_down"), 2);
}
