//! Peers with IPv6 NIDs: request version 2, HELLO version 4, the 96-byte header (lnet specification sections 2.4, 3.3
//! and 4.2).

use crate::common::*;
use crate::passive::value;
use ConnType::Control;
use keelson_hal::NetFeatures;
use keelson_lnet::lnd::{Lnd, SendError};
use keelson_lnet::socklnd::SocklndConfig;
use keelson_lnet_wire::hello::{ConnType, Hello, Version};
use keelson_lnet_wire::ksock::KsockHeader;
use keelson_lnet_wire::message::Header;
use keelson_net_sim::{Faults, Lab};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const OURS: &str = "2001:db8::1@tcp";
const THEIRS: &str = "2001:db8::9@tcp";

/// The LND at 2001:db8::1@tcp, the played peer at 2001:db8::9.
fn bench() -> Bench {
    let lab = Lab::new(1, Faults::default());
    let (stack, _) = lab.host("2001:db8::1/64", NetFeatures::empty());
    let (peer, _) = lab.host("2001:db8::9/64", NetFeatures::empty());
    let router = Router::start(lab.handle(), stack, OURS, LIFE, SocklndConfig::default());
    lab.run_for(Duration::from_millis(1));
    Bench { lab, router, peer, ring: Cell::new(1 << 20) }
}

fn connect(bench: &Bench, port: u16) -> Wire {
    bench.connect_to(port, "2001:db8::1".parse().unwrap()).expect("connected")
}

fn hello_from(theirs: &str, version: Version, ctype: ConnType) -> Hello {
    let dst_nid = if version == Version::V4 { nid(OURS) } else { nid(HERE) };
    Hello { src_nid: nid(theirs), dst_nid, ..hello(version, ctype) }
}

/// PUT `n` on a connection of version 4.
fn wired_large(n: u64, from: &str, to: &str, len: usize) -> Vec<u8> {
    let mut large = [0; Header::LARGE];
    put(n, nid(from), nid(to), len).encode_large(&mut large);
    [&KsockHeader::lnet().encode()[..], &large, &content(n, len)].concat()
}

#[test]
fn a_peer_that_connects_is_answered_in_version_4_and_heard() {
    let bench = bench();
    let wire = connect(&bench, 1023);
    let request = request(OURS);
    assert_eq!(request[..12], [0x00, 0x71, 0xce, 0xac, 2, 0, 0, 0, 12, 2, 0, 0]);
    bench.say(&wire, &[request, bytes(&hello_from(THEIRS, Version::V4, Control))].concat());
    let reply = bench.hello(&wire).unwrap().hello;
    assert_eq!((reply.version, reply.ctype), (Version::V4, Control));
    assert_eq!((reply.src_nid, reply.dst_nid), (nid(OURS), nid(THEIRS)));
    bench.say(&wire, &wired_large(7, THEIRS, OURS, 5000));
    bench.wait(Duration::from_millis(100));
    assert_eq!(*bench.router.upper.order.borrow(), [7]);
    assert_eq!(bench.router.upper.damaged.get(), 0);
    let lines = bench.router.lnd.peers();
    assert_eq!((lines[0].nid, lines[0].local), (nid(THEIRS), nid(OURS).ip().unwrap()));
    // Back on the same connection, as the peer began.
    bench.router.send(8, nid(THEIRS), 100);
    assert_eq!(bench.heard(&wire), wired_large(8, OURS, THEIRS, 100));
}

/// A node with an IPv4 NID can reach an IPv6 one over its other address, and says so in version 4.
#[test]
fn a_peer_with_an_ipv4_nid_is_taken_in_version_4_only() {
    let bench = bench();
    let wire = connect(&bench, 1023);
    bench.say(&wire, &[request(OURS), bytes(&hello_from(THERE, Version::V3, Control))].concat());
    let refused = bench.hello(&wire).unwrap().hello;
    assert_eq!((refused.version, refused.ctype), (Version::V4, ConnType::None));
    assert_eq!(refused.src_nid, nid(OURS));
    assert!(bench.is_closed(&wire));
    assert_eq!(value(&bench, "hello_version"), 1);
    let wire = connect(&bench, 1022);
    bench.say(&wire, &[request(OURS), bytes(&hello_from(THERE, Version::V4, Control))].concat());
    assert_eq!(bench.hello(&wire).unwrap().hello.ctype, Control);
    bench.router.send(9, nid(THERE), 10);
    assert_eq!(bench.heard(&wire), wired_large(9, OURS, THERE, 10));
    // When it has gone, nobody can connect to it from here.
    drop(wire);
    bench.wait(Duration::from_secs(1));
    bench.router.send(10, nid(THERE), 10);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.router.upper.result(10), Some(Err(SendError::Unreachable)));
    assert_eq!(value(&bench, "dial_unreachable"), 1);
}

/// A request names a NID, and comes to its address.
#[test]
fn other_nids_and_addresses_are_refused() {
    let bench = bench();
    for (port, to, counter) in [(1023, "2001:db8::2@tcp", "refused_nid"), (1022, HERE, "refused_nid")] {
        let wire = connect(&bench, port);
        bench.say(&wire, &request(to));
        assert!(bench.is_closed(&wire), "{to}");
        assert!(value(&bench, counter) > 0, "{to}");
    }
}

#[test]
fn a_peer_is_connected_to_with_request_2_and_version_4() {
    let bench = bench();
    let listener = bench.peer.listen(988, Default::default()).unwrap();
    bench.router.send(1, nid(THEIRS), 4000);
    let handle = bench.lab.handle();
    let wire = bench.lab.run(async move { Wire { stream: Rc::new(listener.accept().await), handle } });
    assert!(wire.stream.peer().port() <= 1023 && wire.stream.peer().is_ipv6());
    let ours = Hello { src_nid: nid(OURS), dst_nid: nid(THEIRS), ..hello(Version::V4, Control) };
    let expected = [request(THEIRS), bytes(&Hello { src_incarnation: LIFE, ..ours })].concat();
    let heard = {
        let wire = wire.clone();
        bench.lab.run(async move { wire.hear(28 + 80).await })
    };
    assert_eq!(heard.unwrap(), expected);
    // With the control connection alone it carries everything.
    bench.say(&wire, &bytes(&hello_from(THEIRS, Version::V4, Control)));
    assert_eq!(bench.heard(&wire), wired_large(1, OURS, THEIRS, 4000));
    assert_eq!(bench.router.upper.result(1), Some(Ok(())));
}
