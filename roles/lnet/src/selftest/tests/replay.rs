//! The same requests get the same answers as from a Linux node, byte for byte.

use super::super::{Place, SelftestConfig, Transport};
use super::captured::{Message, PATTERN, PING, READ, WRITE};
use super::net::{Net, Recorder};
use crate::buffers::Payload;
use alloc::rc::Rc;
use core::time::Duration;
use keelson_lnet_wire::nid::ProcessId;
use keelson_lnet_wire::srpc::{self, LEN};
use std::vec::Vec;

const CONSOLE: &str = "10.1.0.2@tcp";
const SERVER: &str = "10.2.0.2@tcp1";

fn pattern() -> Vec<u8> {
    srpc::PATTERN.to_le_bytes().repeat(512)
}

/// A captured payload, with the zeros at its end.
fn bytes(hex: &str) -> Vec<u8> {
    if hex == PATTERN {
        return pattern();
    }
    let digits: Vec<u8> = hex.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    let mut bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.resize(LEN, 0);
    bytes
}

/// What differs between two nodes that did the same: in the statistics, the time and LNet's own counters (they
/// include router checks).
fn without_statistics(portal: u32, mut message: Vec<u8>) -> Vec<u8> {
    const QUERY_STAT_REPLY: u8 = 7;
    if portal == srpc::REPLY_PORTAL && message.len() == LEN && message[8] == QUERY_STAT_REPLY {
        message[24 + 20..24 + 24].fill(0);
        message[24 + 76..].fill(0);
    }
    message
}

#[test]
fn a_linux_console_sees_what_a_linux_server_would_say() {
    let net = Net::new();
    let _server = net.selftest(SERVER, &SelftestConfig::default());
    let console = net.node(CONSOLE);
    let seen = Rc::new(Recorder::default());
    console.register(srpc::REPLY_PORTAL, seen.clone());
    let to = ProcessId::lustre(SERVER.parse().unwrap());
    let (recorder, handle) = (seen.clone(), net.handle.clone());
    net.run(async move {
        for (index, (to_server, message)) in PING.iter().chain(READ).chain(WRITE).enumerate() {
            if *to_server {
                match message {
                    Message::Put(portal, bits, hex) => {
                        let payload = Payload::from_bytes(&bytes(hex));
                        recorder.answers.borrow_mut().push(pattern());
                        console.put(None, to, Place::new(*portal, *bits), payload).unwrap();
                    }
                    // Answered where the GET arrived.
                    Message::Reply => {}
                    Message::Get(..) => unreachable!("the client of a captured test sends no GET"),
                }
                continue;
            }
            handle.sleep(Duration::from_millis(5)).await;
            match message {
                Message::Put(portal, bits, hex) => {
                    let (delivery, payload) = recorder.puts.borrow_mut().remove(0);
                    assert_eq!((delivery.portal, delivery.match_bits), (*portal, *bits), "message {index}");
                    assert_eq!((delivery.initiator, delivery.hdr_data, delivery.offset), (to, 0, 0));
                    let expected = without_statistics(*portal, bytes(hex));
                    assert_eq!(without_statistics(*portal, payload), expected, "message {index}");
                }
                Message::Get(portal, bits, sink) => {
                    let get = recorder.gets.borrow_mut().remove(0);
                    assert_eq!((get.portal, get.match_bits, get.len), (*portal, *bits, *sink));
                }
                Message::Reply => unreachable!("the server of a captured test sends no REPLY"),
            }
        }
        assert!(recorder.puts.borrow().is_empty(), "{:?}", recorder.puts.borrow());
        assert!(recorder.gets.borrow().is_empty());
    });
}

/// Fields that a client chooses: match bits of reply and data, its session, the time of a ping.
fn without_choices(mut message: Vec<u8>) -> Vec<u8> {
    let fields: &[(usize, usize)] = match message[8] {
        // MAKE_SESSION, REMOVE_SESSION, QUERY_STAT: reply, session.
        0 | 2 | 6 => &[(0, 24)],
        // TEST: reply, session; the batch is numbered by the console.
        8 => &[(0, 8), (16, 40)],
        // BRW: reply, data.
        12 => &[(0, 16)],
        // PING: reply; time.
        14 => &[(0, 8), (16, 32)],
        other => panic!("request type {other}"),
    };
    fields.iter().for_each(|(from, to)| message[24 + from..24 + to].fill(0));
    message
}

#[test]
fn a_linux_server_sees_what_a_linux_console_would_say() {
    use super::super::{Console, Probe, TestSpec};
    use keelson_lnet_wire::srpc::{BULK_LEN, BrwDirection, Check};

    let net = Net::new();
    let server = net.selftest(SERVER, &SelftestConfig::default());
    let client = net.selftest(CONSOLE, &SelftestConfig::default());
    let brw = |direction| Probe::Brw { direction, len: 4096, check: Check::Full };
    let tests =
        [(Probe::Ping, 5, PING), (brw(BrwDirection::Read), 4, READ), (brw(BrwDirection::Write), 4, WRITE)];
    let requests = Rc::new(core::cell::RefCell::new(Vec::new()));
    let log = requests.clone();
    net.set_hook(move |flight| {
        if flight.to == SERVER.parse().unwrap() && flight.portal != srpc::REPLY_PORTAL {
            log.borrow_mut().push((flight.portal, flight.payload.slices().flatten().copied().collect()));
        }
        true
    });
    let to = ProcessId::lustre(SERVER.parse().unwrap());
    net.run(async move {
        for (probe, count, _) in tests {
            let spec = TestSpec { probe, iterations: 1, concurrency: 1, stop_on_error: true };
            let console = Console::new(client.rpcs.clone(), CONSOLE.parse().unwrap(), "cap");
            console.make_session(to, true).await.unwrap();
            console.add_server(to, 2, &spec).await.unwrap();
            for sequence in 0..count {
                let rpcs = &client.rpcs;
                probe.run(rpcs, None, to, BULK_LEN, sequence, rpcs.timeout()).await.unwrap();
            }
            console.statistics(to).await.unwrap();
            console.remove_session(to).await.unwrap();
        }
        assert_eq!(server.responder.session(), None);
    });
    let captured = tests.iter().flat_map(|(_, _, messages)| messages.iter());
    let captured: Vec<(u32, Vec<u8>)> = captured
        .filter_map(|(to_server, message)| match message {
            Message::Put(portal, _, hex) if *to_server => Some((*portal, without_choices(bytes(hex)))),
            _ => None,
        })
        .collect();
    let ours: Vec<(u32, Vec<u8>)> =
        requests.take().into_iter().map(|(portal, bytes)| (portal, without_choices(bytes))).collect();
    assert_eq!(ours, captured);
}
