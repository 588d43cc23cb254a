//! Established connections with a played peer: messages, acknowledgements, errors, time limits.

use crate::common::*;
use crate::passive::value;
use ConnType::{Any, BulkIn, BulkOut, Control};
use keelson_lnet::lnd::{Lnd, SendError};
use keelson_lnet::socklnd::SocklndConfig;
use keelson_lnet_wire::hello::{ConnType, Version};
use keelson_lnet_wire::ksock::{KsockHeader, ZcAcks, crc32};
use std::time::Duration;

fn bench() -> Bench {
    Bench::new(SocklndConfig::default())
}

/// What NOOPs and messages acknowledge, in order; each message counts for its header only.
fn acknowledged(mut bytes: &[u8]) -> Vec<ZcAcks> {
    let mut acks = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let ksock = KsockHeader::decode(head, false).unwrap();
        acks.push(ksock.zc_acks(Version::V3));
        let skip =
            if head[0] == 0xc0 { 0 } else { 72 + u32::from_le_bytes(rest[28..32].try_into().unwrap()) };
        bytes = &rest[skip as usize..];
    }
    acks
}

#[test]
fn messages_of_all_sizes_come_in_and_are_acknowledged_once() {
    let bench = bench();
    let control = bench.establish(1023, Control);
    // Its bulk-out is our bulk-in, on which we acknowledge.
    let bulk = bench.establish(1022, BulkOut);
    let idle = bench.establish(1021, BulkIn);
    for (n, len) in (0u64..).zip([0, 1, 900, 4096, 4097, 65_536, 65_537, 1 << 20]) {
        let wire = if len < 900 { &control } else { &bulk };
        bench.say(wire, &from_peer(n, len, if len >= 4096 { 100 + n } else { 0 }));
        bench.wait(secs(1));
    }
    assert_eq!(bench.router.upper.order.borrow()[..], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bench.router.upper.damaged.get(), 0);
    let heard = acknowledged(&bench.heard(&bulk));
    assert_eq!(heard, (103..108).map(ZcAcks::One).collect::<Vec<_>>());
    assert_eq!((bench.heard(&control).len(), bench.heard(&idle).len()), (0, 0));
}

#[test]
fn acknowledgements_of_one_wake_up_are_combined() {
    for (version, combined) in [(Version::V3, 1), (Version::V2, 6)] {
        let bench = bench();
        let control = bench.establish_as(1023, hello(version, Control));
        let acks = bench.establish_as(1022, hello(version, BulkOut));
        let burst: Vec<u8> = (2..8).flat_map(|n| from_peer(n, 10, n)).collect();
        bench.say(&control, &burst);
        let heard = bench.heard(&acks);
        assert_eq!(heard.len(), 24 * combined);
        if version == Version::V3 {
            assert_eq!(acknowledged(&heard), [ZcAcks::Range { first: 2, last: 7 }]);
        }
        assert_eq!(value(&bench, "tx_acks"), 6);
    }
}

#[test]
fn skipped_messages_are_acknowledged_too() {
    let bench = bench();
    bench.router.upper.unwanted.set(|n| n == 1);
    let control = bench.establish(1023, Control);
    let acks = bench.establish(1022, BulkOut);
    bench.say(&control, &[from_peer(1, 300_000, 9), from_peer(2, 30, 0)].concat());
    assert_eq!(acknowledged(&bench.heard(&acks)), [ZcAcks::One(9)]);
    assert_eq!(bench.router.upper.order.borrow()[..], [2]);
    assert_eq!((value(&bench, "rx_skipped"), value(&bench, "rx_messages")), (1, 1));
}

#[test]
fn an_acknowledgement_rides_on_a_message_where_nothing_else_carries_it() {
    let bench = bench();
    let control = bench.establish(1023, Control);
    bench.router.upper.closed.set(Some(1));
    bench.say(&control, &from_peer(1, 10, 5));
    bench.wait(Duration::from_millis(10));
    // Complete in the same turn in which there is something to send.
    bench.router.upper.open();
    bench.router.send(7, nid(THERE), 20);
    let mut heard = acknowledged(&bench.heard(&control));
    heard.retain(|acks| *acks != ZcAcks::Nothing);
    assert_eq!(heard, [ZcAcks::One(5)]);
    assert_eq!(value(&bench, "tx_acks"), 1);
}

#[test]
fn messages_take_the_connections_they_should() {
    let bench = bench();
    let control = bench.establish(1023, Control);
    // Alone it carries everything; 928 bytes of payload make 1024 on the wire.
    bench.router.send(1, nid(THERE), 927);
    bench.router.send(2, nid(THERE), 928);
    assert_eq!(bench.heard(&control).len(), 1023 + 1024);
    let bulk = bench.establish(1022, BulkIn);
    let idle = bench.establish(1021, BulkOut);
    bench.router.send(3, nid(THERE), 927);
    bench.router.send(4, nid(THERE), 928);
    let expected = wired(KsockHeader::lnet(), &put(4, nid(HERE), nid(THERE), 928), &content(4, 928));
    assert_eq!(bench.heard(&bulk), expected);
    assert_eq!(bench.heard(&control).len(), 1023);
    assert_eq!(bench.heard(&idle), []);
    assert_eq!(bench.router.upper.sent.get(), 4);
    assert_eq!(value(&bench, "dials"), 0, "the peer opened what it wants");
}

#[test]
fn nothing_is_ever_sent_on_a_connection_of_type_any() {
    let bench = bench();
    let any = bench.establish(1023, Any);
    bench.router.send(1, nid(THERE), 10);
    assert_eq!(bench.heard(&any), []);
    let control = bench.establish(1022, Control);
    assert_eq!(bench.heard(&control).len(), 106, "it waited for a connection that may carry it");
    let bench = self::bench();
    let any = bench.establish_as(1023, hello(Version::V2, Any));
    bench.router.send(1, nid(THERE), 10);
    assert_eq!(bench.heard(&any).len(), 106);
}

#[test]
fn version_1_has_no_headers_of_its_own() {
    let bench = bench();
    let wire = bench.establish_as(1023, hello(Version::V1, Any));
    bench.say(&wire, &from_peer(1, 5000, 0)[24..]);
    bench.say(&wire, &from_peer(2, 0, 0)[24..]);
    bench.router.send(3, nid(THERE), 2000);
    assert_eq!(bench.heard(&wire).len(), 72 + 2000);
    assert_eq!(bench.router.upper.order.borrow()[..], [1, 2]);
}

#[test]
fn large_headers_are_used_in_version_4_and_never_cut_for_version_3() {
    let bench = bench();
    let wire = bench.establish_as(1023, hello(Version::V4, Control));
    let mut far = message(1, nid("2001:db8::1@tcp2"), nid("2001:db8::2@tcp3"), 10);
    bench.router.lnd.send(NI, nid(THERE), far);
    let heard = bench.heard(&wire);
    assert_eq!(heard.len(), 24 + 96 + 10);
    assert_eq!(heard[24..44], nid("2001:db8::2@tcp3").large());
    bench.say(&wire, &heard);
    bench.wait(Duration::from_millis(10));
    assert_eq!(bench.router.upper.headers.borrow()[0].src_nid, nid("2001:db8::1@tcp2"));
    let bench = self::bench();
    let wire = bench.establish(1023, Control);
    far = message(2, nid("2001:db8::1@tcp2"), nid(THERE), 10);
    bench.router.lnd.send(NI, nid(THERE), far);
    bench.router.send(3, nid(THERE), 10);
    assert_eq!(bench.heard(&wire).len(), 106, "the next message is not affected");
    assert_eq!(bench.router.upper.result(2), Some(Err(SendError::NotExpressible)));
}

/// Whether what is said closes this connection and its sibling.
fn fatal(said: &[u8], config: SocklndConfig, counter: &str) {
    let bench = Bench::new(config);
    bench.ring.set(2048);
    let control = bench.establish(1023, Control);
    let sibling = bench.establish(1022, BulkIn);
    bench.say(&control, said);
    assert!(bench.is_closed(&control) && bench.is_closed(&sibling), "{counter}");
    assert_eq!((value(&bench, counter), value(&bench, "closed_siblings")), (1, 1), "{counter}");
    let there = nid(THERE);
    let told = bench.router.upper.events();
    assert_eq!(told[told.len() - 1], Told::Down(there, true), "{counter}");
    assert!(bench.router.lnd.peers().is_empty());
    bench.establish(1021, Control);
}

#[test]
fn what_makes_the_stream_untrustworthy_closes_all_connections() {
    let config = SocklndConfig::default;
    fatal(&[0xc2; 24], config(), "closed_kind");
    let patched = |offset: usize, bytes: &[u8]| {
        let mut said = from_peer(1, 0, 0);
        said[24 + offset..24 + offset + bytes.len()].copy_from_slice(bytes);
        said
    };
    fatal(&patched(28, &[1, 0, 0x10, 0]), config(), "closed_header");
    fatal(&patched(24, &[2, 0, 0, 0, 1]), config(), "closed_header");
    fatal(&patched(24, &[0, 0, 0, 0, 1]), config(), "closed_header");
    fatal(&patched(24, &[4]), config(), "closed_header");
    let mut summed = from_peer(1, 100, 0);
    summed[4] = 1;
    fatal(&summed, SocklndConfig { enable_csum: true, ..config() }, "closed_checksum");
    // Cookies that nobody counts up, and that we cannot return because the peer does not read.
    let flood: Vec<u8> = (0..4000u64).flat_map(|n| from_peer(n, 0, 2 * n + 2)).collect();
    fatal(&flood, SocklndConfig { send_buffer: 2048, ..config() }, "closed_acks");
}

#[test]
fn lnet_may_close_the_connections_of_a_peer() {
    let bench = bench();
    let control = bench.establish(1023, Control);
    let sibling = bench.establish(1022, BulkIn);
    bench.router.upper.fatal.set(true);
    bench.say(&control, &from_peer(1, 10, 0));
    assert!(bench.is_closed(&control) && bench.is_closed(&sibling));
    assert_eq!(value(&bench, "closed_fatal"), 1);
}

#[test]
fn checksums_are_verified_only_where_asked_for() {
    let mut good = from_peer(1, 100_000, 0);
    let sum = crc32(&content(1, 100_000)).to_le_bytes();
    good[4..8].copy_from_slice(&sum);
    let mut wrong = good.clone();
    wrong[4] ^= 1;
    for (enable_csum, said) in [(true, &good), (false, &wrong)] {
        let bench = Bench::new(SocklndConfig { enable_csum, ..SocklndConfig::default() });
        let wire = bench.establish(1023, Control);
        bench.say(&wire, said);
        bench.wait(secs(1));
        assert_eq!(bench.router.upper.total(), 1);
    }
}

#[test]
fn what_nobody_asked_for_is_counted_and_no_more() {
    let bench = bench();
    let wire = bench.establish(1023, Control);
    let mut with_ack = from_peer(1, 10, 0);
    with_ack[16] = 42;
    let said = [
        KsockHeader::noop(ZcAcks::One(42)).encode().to_vec(),
        KsockHeader::noop(ZcAcks::Range { first: 2, last: u64::MAX }).encode().to_vec(),
        KsockHeader::keepalive().encode().to_vec(),
        with_ack,
    ];
    bench.say(&wire, &said.concat());
    assert!(!bench.is_closed(&wire));
    assert_eq!(value(&bench, "rx_unexpected_acks"), 3);
    assert_eq!((value(&bench, "rx_noops"), value(&bench, "rx_keepalives")), (3, 1));
    assert_eq!(bench.router.upper.total(), 1);
}

#[test]
fn an_end_between_messages_is_orderly_and_one_within_is_not() {
    for (cut, counter, failed) in
        [(0, "closed_orderly", false), (50, "closed_truncated", true), (600, "closed_truncated", true)]
    {
        let bench = bench();
        let control = bench.establish(1023, Control);
        let sibling = bench.establish(1022, BulkOut);
        bench.say(&control, &[from_peer(1, 10, 0), from_peer(2, 1000, 0)[..cut].to_vec()].concat());
        drop(control);
        bench.wait(Duration::from_millis(100));
        assert!(bench.is_closed(&sibling));
        assert_eq!((value(&bench, counter), value(&bench, "closed_siblings")), (1, 1));
        assert_eq!(bench.router.upper.events().last(), Some(&Told::Down(nid(THERE), failed)));
        assert_eq!(bench.router.upper.order.borrow()[..], [1]);
    }
}

#[test]
fn silence_within_a_message_ends_it_and_silence_between_messages_does_not() {
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let wire = bench.establish(1023, Control);
    bench.wait(secs(600));
    assert!(!bench.is_closed(&wire));
    bench.say(&wire, &from_peer(1, 1000, 0)[..500]);
    bench.wait(secs(9));
    assert!(!bench.is_closed(&wire));
    bench.wait(secs(4));
    assert!(bench.is_closed(&wire));
    assert_eq!(value(&bench, "closed_stalled_in"), 1);
}

#[test]
fn nobody_is_blamed_while_we_do_not_read() {
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let wire = bench.establish(1023, Control);
    bench.router.upper.closed.set(Some(0));
    bench.say(&wire, &from_peer(1, 1000, 0)[..500]);
    bench.wait(secs(600));
    assert_eq!(bench.router.kinds(), "C");
    bench.router.upper.open();
    bench.say(&wire, &from_peer(1, 1000, 0)[500..]);
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.total(), 1);
}

#[test]
fn our_bulk_out_is_read_whatever_lnet_does() {
    let bench = bench();
    let _control = bench.establish(1023, Control);
    let wire = bench.establish(1022, BulkIn);
    bench.router.upper.closed.set(Some(0));
    bench.say(&wire, &[from_peer(1, 100_000, 8), KsockHeader::keepalive().encode().to_vec()].concat());
    let heard = bench.heard(&wire);
    assert!(heard.is_empty());
    assert_eq!((value(&bench, "rx_would_wait"), value(&bench, "rx_keepalives")), (1, 1));
    bench.router.upper.open();
    bench.say(&wire, &from_peer(2, 100_000, 0));
    bench.wait(secs(1));
    assert_eq!(bench.router.upper.order.borrow()[..], [2], "taken when LNet does not have to wait");
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let wire = bench.establish(1023, Control);
    // More than both rings hold, to a peer that does not read.
    for n in 0..4 {
        bench.router.send(n, nid(THERE), 1 << 20);
    }
    bench.wait(secs(8));
    assert_eq!(bench.router.kinds(), "C");
    bench.wait(secs(6));
    assert_eq!(bench.router.kinds(), "");
    assert_eq!(value(&bench, "closed_stalled_out"), 1);
    let lost = (0..4).filter(|n| bench.router.upper.result(*n) == Some(Err(SendError::TimedOut))).count();
    assert_eq!(
        (lost as u64, bench.router.upper.lost.get()),
        (bench.router.upper.lost.get(), 4 - bench.router.upper.sent.get())
    );
    assert!(lost >= 2);
    assert!(bench.rest(&wire, secs(1)).1);
}

#[test]
fn what_is_written_but_never_acknowledged_is_noticed() {
    let bench = Bench::new(SocklndConfig { timeout: secs(10), ..SocklndConfig::default() });
    let _wire = bench.establish(1023, Control);
    bench.lab.wire.set_cut(1, true);
    bench.router.send(1, nid(THERE), 10);
    bench.wait(secs(8));
    assert_eq!((bench.router.kinds().as_str(), bench.router.upper.sent.get()), ("C", 1));
    bench.wait(secs(6));
    assert_eq!(bench.router.kinds(), "");
    assert_eq!(value(&bench, "closed_stalled_out"), 1);
}

#[test]
fn a_silent_peer_gets_keepalives_on_bulk_in() {
    let bench = bench();
    let control = bench.establish(1023, Control);
    let bulk = bench.establish(1022, BulkIn);
    let acks = bench.establish(1021, BulkOut);
    bench.wait(secs(25));
    assert_eq!(value(&bench, "tx_keepalives"), 0);
    bench.wait(secs(75));
    let sent = value(&bench, "tx_keepalives");
    assert!((4..=7).contains(&sent), "{sent} in 70 s");
    // What is our bulk-in is its bulk-out.
    let heard = bench.heard(&acks);
    assert_eq!(heard, KsockHeader::keepalive().encode().repeat(sent as usize));
    assert!(bench.heard(&control).is_empty() && bench.heard(&bulk).is_empty());
}

#[test]
fn a_peer_that_vanished_is_noticed_by_tcp() {
    let bench = Bench::new(SocklndConfig { keepalive: Duration::ZERO, ..SocklndConfig::default() });
    let _wire = bench.establish(1023, Control);
    bench.wait(secs(300));
    assert_eq!(bench.router.kinds(), "C");
    bench.lab.wire.set_cut(1, true);
    bench.wait(secs(35));
    assert_eq!(bench.router.kinds(), "C");
    bench.wait(secs(30));
    assert_eq!(bench.router.kinds(), "");
    assert_eq!(value(&bench, "closed_reset"), 1);
    assert_eq!(bench.router.upper.events().last(), Some(&Told::Down(nid(THERE), true)));
}
