//! UDP, ICMP, fragments, neighbours, DHCP and names between stacks.

use keelson_hal::{Link, LinkSpeed, MacAddress, NetFeatures};
use keelson_net::{Change, InterfaceConfig, NetworkConfig, RegisterError, SendError, Stack, UdpOptions};
use keelson_net_sim::frames::sum;
use keelson_net_sim::{Faults, Lab};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

fn pair(seed: u64, faults: Faults) -> (Lab, Stack, Stack) {
    let lab = Lab::new(seed, faults);
    let (a, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let (b, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    (lab, a, b)
}

fn link_local(stack: &Stack) -> IpAddr {
    stack.interfaces()[0].addresses[0].addr
}

#[test]
fn datagrams_of_every_size_cross_cut_and_whole() {
    let reorder = Faults { reorder: 30, duplicate: 10, ..Faults::default() };
    let (lab, a, b) = pair(1, reorder);
    let server = a.bind_udp(2049, UdpOptions::default()).unwrap();
    let client = b.bind_udp(0, UdpOptions::default()).unwrap();
    let addresses = [IpAddr::from([10, 0, 0, 1]), link_local(&a)];
    lab.run(async move {
        for addr in addresses {
            for len in [0, 1, 100, 1472, 1473, 8192, 48_000, 65_507] {
                let payload: Vec<u8> = (0..len).map(|n| (n * 13 / 8) as u8).collect();
                client.send(None, SocketAddr::new(addr, 2049), &payload).unwrap();
                let got = loop {
                    // The wire duplicates short ones.
                    let got = server.receive().await;
                    if got.payload.len() == len && got.local == addr {
                        break got;
                    }
                };
                assert!(got.payload == payload, "{len} bytes to {addr}");
                assert_eq!(got.peer.port(), client.port());
                server.send(Some(got.local), got.peer, &payload).unwrap();
                while client.receive().await.payload != payload {}
            }
        }
        let long = client.send(None, "10.0.0.1:1".parse().unwrap(), &[0; 65_508]);
        assert_eq!(long, Err(SendError::TooLong(65_508)));
    });
    assert_eq!(a.counters().frag_failed, 0, "{:?}", a.counters());
}

#[test]
fn closed_udp_ports_answer_within_limits() {
    let (lab, a, b) = pair(2, Faults::default());
    let client = b.bind_udp(0, UdpOptions::default()).unwrap();
    for _ in 0..500 {
        client.send(None, "10.0.0.1:9".parse().unwrap(), b"?").unwrap();
        lab.run_for(Duration::from_micros(500));
    }
    let counters = a.counters();
    assert_eq!(counters.udp_no_port, 500);
    assert!((50..=200).contains(&counters.icmp_unreachable_sent), "{counters:?}");
    assert!(counters.icmp_rate_limited > 0);
}

/// An echo request of `len` bytes of data, as IPv4 frames of at most 1500 bytes.
fn ping(from: MacAddress, to: MacAddress, len: usize) -> Vec<Vec<u8>> {
    let mut message = vec![8, 0, 0, 0, 0, 7, 0, 1];
    message.extend((0..len).map(|n| n as u8));
    let checksum = !sum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let count = message.len().div_ceil(1480);
    let piece = |(n, bytes): (usize, &[u8])| {
        let mut frame = Vec::new();
        frame.extend_from_slice(&to.0);
        frame.extend_from_slice(&from.0);
        frame.extend_from_slice(&[8, 0, 0x45, 0]);
        frame.extend_from_slice(&(bytes.len() as u16 + 20).to_be_bytes());
        let place = (n * 185) as u16 | if n + 1 < count { 0x2000 } else { 0 };
        frame.extend_from_slice(&[0, 9]);
        frame.extend_from_slice(&place.to_be_bytes());
        frame.extend_from_slice(&[64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
        let checksum = !sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame.extend_from_slice(bytes);
        frame
    };
    message.chunks(1480).enumerate().map(piece).collect()
}

#[test]
fn pings_of_any_size_are_answered() {
    let (lab, a, _b) = pair(3, Faults::default());
    let replies = Rc::new(RefCell::new(0));
    let seen = replies.clone();
    *lab.wire.tap.borrow_mut() = Some(Box::new(move |port, frame| {
        let is_icmp = frame[12..14] == [8, 0] && frame[23] == 1;
        let first = is_icmp && frame[20] & 0x1f == 0 && frame[21] == 0;
        if port == 0 && first && frame[34] == 0 {
            *seen.borrow_mut() += 1;
        }
    }));
    let (from, to) = (MacAddress([2, 0, 0, 0, 0, 2]), MacAddress([2, 0, 0, 0, 0, 1]));
    for (n, len) in [0, 56, 1472, 1473, 8000, 65_500].into_iter().enumerate() {
        for frame in ping(from, to, len) {
            lab.wire.inject(1, &frame);
        }
        lab.run_for(Duration::from_millis(5));
        assert_eq!(*replies.borrow(), n + 1, "{len} bytes: {:?}", a.counters());
    }
    assert_eq!(a.counters().icmp_echo_replies, 6);
}

#[test]
fn what_an_interface_cannot_have_keeps_nothing_else_from_it() {
    let (lab, a, b) = pair(4, Faults::default());
    let id = b.interface("eth0").unwrap();
    let config = InterfaceConfig {
        mtu: Some(65_000),
        addresses: vec!["0.0.0.0/8".parse().unwrap(), "10.0.0.9/24".parse().unwrap()],
        ..InterfaceConfig::default()
    };
    let refused: Vec<_> = b.configure(id, &config).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(refused[0].starts_with("MTU 65000 is not between 576 and "), "{refused:?}");
    assert!(refused.len() == 2 && refused[1].contains("0.0.0.0/8"), "{refused:?}");
    // It is reached by the address that it can have.
    let server = b.bind_udp(7, UdpOptions::default()).unwrap();
    let client = a.bind_udp(0, UdpOptions::default()).unwrap();
    client.send(None, "10.0.0.9:7".parse().unwrap(), b"there?").unwrap();
    assert_eq!(lab.run(async move { server.receive().await.payload }), b"there?");
}

#[test]
fn neighbours_are_resolved_once_for_many_packets_and_addresses_can_move() {
    let (lab, a, b) = pair(4, Faults::default());
    let id = b.interface("eth0").unwrap();
    let server = a.bind_udp(7, UdpOptions::default()).unwrap();
    let client = b.bind_udp(0, UdpOptions::default()).unwrap();
    for _ in 0..20 {
        let _ = client.send(None, "10.0.0.1:7".parse().unwrap(), b"x");
    }
    lab.run_for(Duration::from_millis(5));
    assert_eq!(b.counters().neighbour_solicits, 1);
    assert_eq!(b.counters().neighbour_queue_dropped, 12, "eight wait, the rest is dropped");
    assert_eq!(a.counters().udp_received, 8);
    // Events and run-time changes.
    let mut events = b.events();
    b.add_address(id, "10.0.0.9/24".parse().unwrap()).unwrap();
    b.set_mtu(id, 9000).unwrap();
    assert!(b.set_mtu(id, 100).is_err());
    b.remove_address(id, "10.0.0.2/24".parse().unwrap());
    b.set_up(id, false).unwrap();
    b.set_up(id, true).unwrap();
    lab.wire.set_link(1, Link::Down);
    lab.run_for(Duration::from_secs(2));
    let sent = client.send(None, "10.0.0.1:7".parse().unwrap(), b"x");
    assert!(matches!(sent, Err(SendError::NoRoute(_))));
    lab.wire.set_link(1, Link::Up(LinkSpeed(100)));
    lab.run_for(Duration::from_secs(2));
    client.send(None, "10.0.0.1:7".parse().unwrap(), b"moved").unwrap();
    let peer = lab.run(async move {
        loop {
            let got = server.receive().await;
            if got.payload == b"moved" {
                return got.peer.ip();
            }
        }
    });
    assert_eq!(peer, IpAddr::from([10, 0, 0, 9]));
    let changes: Vec<Change> = std::iter::from_fn(|| events.try_next()).map(|event| event.change).collect();
    assert_eq!(
        changes,
        [
            Change::AddressAdded("10.0.0.9/24".parse().unwrap()),
            Change::Mtu(9000),
            Change::AddressRemoved("10.0.0.2/24".parse().unwrap()),
            Change::Down,
            Change::Up,
            Change::Carrier(Link::Down),
            Change::Carrier(Link::Up(LinkSpeed(100))),
        ]
    );
}

#[test]
fn routers_announce_prefixes_and_default_routes() {
    let (lab, a, _b) = pair(5, Faults::default());
    lab.run_for(Duration::from_millis(10));
    let router: std::net::Ipv6Addr = "fe80::ff".parse().unwrap();
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 2]);
    message.extend_from_slice(&[3, 4, 64, 0xc0, 0, 0, 0, 100, 0, 0, 0, 50, 0, 0, 0, 0]);
    message.extend_from_slice(&"2001:db8:1::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let group: std::net::Ipv6Addr = "ff02::1".parse().unwrap();
    let mut pseudo = [router.octets(), group.octets()].concat();
    pseudo.extend_from_slice(&[0, 0, 0, message.len() as u8, 0, 0, 0, 58]);
    pseudo.extend_from_slice(&message);
    let checksum = !sum(&pseudo);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0];
    frame.extend_from_slice(&[message.len() as u8, 58, 255]);
    frame.extend_from_slice(&router.octets());
    frame.extend_from_slice(&group.octets());
    frame.extend_from_slice(&message);
    lab.wire.inject(1, &frame);
    lab.run_for(Duration::from_millis(10));
    let has = |stack: &Stack| {
        let expected = "2001:db8:1::ff:fe00:1/64".parse().unwrap();
        stack.interfaces()[0].addresses.contains(&expected)
    };
    assert!(has(&a), "{:?} {:?}", a.interfaces(), a.counters());
    assert_eq!(a.routes()[0].via, Some(router.into()));
    lab.run_for(Duration::from_secs(110));
    assert!(!has(&a), "the prefix has expired");
    assert_eq!(a.routes().len(), 1, "the router has not");
    // From beyond the link: ignored.
    frame[21] = 64;
    lab.wire.inject(1, &frame);
    lab.run_for(Duration::from_millis(10));
    assert!(!has(&a));
}

/// A DHCP server of a few lines: grants 10.0.0.77 for 60 s while `alive`, and names a router.
async fn dhcp_server(stack: Stack, alive: Rc<RefCell<bool>>, router: Rc<Cell<Option<Ipv4Addr>>>) {
    use smoltcp::wire::{DhcpMessageType as Kind, DhcpOption, DhcpPacket, DhcpRepr};
    let socket = stack.bind_udp(67, UdpOptions::default()).unwrap();
    let mask = Some([255, 255, 255, 0].into());
    loop {
        let got = socket.receive().await;
        let packet = DhcpPacket::new_checked(&got.payload[..]).unwrap();
        let asked = DhcpRepr::parse(&packet).unwrap();
        if !*alive.borrow() {
            continue;
        }
        let kind = if asked.message_type == Kind::Discover { Kind::Offer } else { Kind::Ack };
        let own = [10, 0, 0, 1].into();
        let options = [
            DhcpOption { kind: 26, data: &[0x05, 0x78] },
            DhcpOption { kind: 42, data: &[10, 0, 0, 123] },
            DhcpOption { kind: 12, data: b"leased" },
        ];
        let reply = DhcpRepr {
            message_type: kind,
            your_ip: [10, 0, 0, 77].into(),
            server_identifier: Some(own),
            router: router.get(),
            subnet_mask: mask,
            dns_servers: Some([own].into_iter().collect()),
            lease_duration: Some(60),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            additional_options: &options,
            ..asked
        };
        let mut bytes = vec![0; reply.buffer_len()];
        reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        let peer: IpAddr = if got.peer.ip().is_unspecified() { [255; 4].into() } else { got.peer.ip() };
        socket.send(Some(IpAddr::from([10, 0, 0, 1])), SocketAddr::new(peer, 68), &bytes).unwrap();
    }
}

/// Answers every question for an address with 10.0.0.9, and for a name with "client.lab".
async fn dns_server(stack: Stack) {
    let socket = stack.bind_udp(53, UdpOptions::default()).unwrap();
    loop {
        let got = socket.receive().await;
        let mut reply = got.payload.clone();
        let kind = reply[reply.len() - 3];
        reply[2..4].copy_from_slice(&[0x81, 0x80]);
        let data: &[u8] = match kind {
            1 => &[10, 0, 0, 9],
            12 => b"\x06client\x03lab\0",
            _ => &[],
        };
        if !data.is_empty() {
            reply[7] = 1;
            reply.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            reply.extend_from_slice(data);
        }
        socket.send(None, got.peer, &reply).unwrap();
    }
}

#[test]
fn a_lease_is_taken_renewed_and_lost_and_names_are_resolved() {
    let lab = Lab::new(6, Faults { loss: 10, ..Faults::default() });
    let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let mut options = NetworkConfig::default();
    options.set("ip", "dhcp").unwrap();
    let (client, id) = lab.host_with(&options.interface(0, "eth0").unwrap(), NetFeatures::empty());
    let alive = Rc::new(RefCell::new(true));
    let handle = lab.handle();
    let router = Rc::new(Cell::new(Some(Ipv4Addr::new(10, 0, 0, 254))));
    handle.spawn("dhcpd", dhcp_server(server.clone(), alive.clone(), router.clone()));
    handle.spawn("named", dns_server(server.clone()));
    let leased = "10.0.0.77/24".parse().unwrap();
    let has = |stack: &Stack| stack.interfaces()[0].addresses.contains(&leased);
    lab.run_for(Duration::from_secs(20));
    assert!(has(&client), "{:?}", client.counters());
    let lease = client.lease(id).unwrap();
    assert_eq!((lease.mtu, lease.host_name.as_deref()), (Some(1400), Some("leased")));
    assert_eq!(lease.ntp_servers, [Ipv4Addr::new(10, 0, 0, 123)]);
    assert_eq!(client.interfaces()[0].mtu, 1400);
    assert_eq!(client.routes()[0].via, Some(IpAddr::from([10, 0, 0, 254])));
    lab.run_for(Duration::from_secs(300));
    assert!(has(&client), "renewed several times");
    let mut events = client.events();
    for expected in [Some(Ipv4Addr::new(10, 0, 0, 253)), None, Some(Ipv4Addr::new(10, 0, 0, 254))] {
        router.set(expected);
        lab.run_for(Duration::from_secs(120));
        assert_eq!(client.routes().first().and_then(|route| route.via), expected.map(IpAddr::V4));
        assert_eq!(events.try_next().map(|event| event.change), Some(Change::Routes));
        assert!(events.try_next().is_none(), "told once");
    }
    let resolver = client.clone();
    lab.run(async move {
        let found = resolver.resolve("nfs.example.org").await;
        assert_eq!(found.unwrap(), [IpAddr::from([10, 0, 0, 9])]);
        assert_eq!(resolver.reverse([10, 0, 0, 9].into()).await.unwrap(), "client.lab");
        resolver.add_host("other", [10, 9, 9, 9].into());
        assert_eq!(resolver.resolve("OTHER").await.unwrap(), [IpAddr::from([10, 9, 9, 9])]);
        assert_eq!(resolver.resolve("::1").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    });
    *alive.borrow_mut() = false;
    lab.run_for(Duration::from_secs(80));
    assert!(!has(&client) && client.lease(id).is_none(), "no server, no address");
    assert!(client.routes().is_empty());
    *alive.borrow_mut() = true;
    lab.run_for(Duration::from_secs(120));
    assert!(has(&client), "found again");
}

#[test]
fn other_ethertypes_reach_their_handler() {
    let (lab, a, b) = pair(7, Faults::default());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = seen.clone();
    a.register_ethertype(
        0x8204,
        Box::new(move |frame| sink.borrow_mut().push((frame.from, frame.to, frame.payload.to_vec()))),
    )
    .unwrap();
    let again = a.register_ethertype(0x8204, Box::new(|_| panic!("not the handler")));
    assert_eq!(again, Err(RegisterError::InUse));
    let id = b.interface("eth0").unwrap();
    assert!(b.frame_room(id) > 0);
    let send = |bytes: &[u8]| {
        b.send_frame(id, MacAddress::BROADCAST, 0x8204, bytes.len(), &mut |frame| {
            frame.copy_from_slice(bytes)
        })
    };
    assert!(send(b"qnet"));
    assert!(!send(&[0; 1501]), "longer than the MTU");
    b.flush_frames(id);
    lab.run_for(Duration::from_millis(5));
    let from = MacAddress([2, 0, 0, 0, 0, 2]);
    assert_eq!(seen.take(), [(from, MacAddress::BROADCAST, b"qnet".to_vec())]);
    let before = a.counters();
    a.unregister_ethertype(0x8204);
    assert_eq!(Rc::strong_count(&seen), 1, "the handler is gone with what it owned");
    assert!(send(b"qnet"));
    b.flush_frames(id);
    lab.run_for(Duration::from_millis(5));
    assert_eq!(a.counters().eth_unknown_type, before.eth_unknown_type + 1);
    b.set_up(id, false).unwrap();
    assert_eq!(b.frame_room(id), 0);
    assert!(!send(b"qnet"), "down");
    assert!(InterfaceConfig::default().slaac);
}

#[test]
fn other_ip_protocols_reach_their_handler() {
    let (lab, a, b) = pair(7, Faults::default());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = seen.clone();
    a.register_protocol(
        106,
        Box::new(move |packet| sink.borrow_mut().push((packet.from, packet.to, packet.payload.to_vec()))),
    )
    .unwrap();
    assert_eq!(a.register_protocol(6, Box::new(|_| ())), Err(RegisterError::Reserved));
    assert_eq!(a.register_protocol(106, Box::new(|_| ())), Err(RegisterError::InUse));
    let [to, from] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Ipv4Addr::from);
    let id = b.interface("eth0").unwrap();
    let send = |to, protocol, bytes: &[u8]| {
        let sent =
            b.send_packet(None, to, protocol, bytes.len(), &mut |packet| packet.copy_from_slice(bytes));
        b.flush_frames(id);
        sent
    };
    // The neighbour is asked for first; the packet waits for the answer.
    assert_eq!(send(to, 106, b"qnet"), Ok(()));
    assert_eq!(send(to, 107, b"nobody's"), Ok(()));
    assert_eq!(send(to, 106, &[1; 1480]), Ok(()), "as long as the MTU");
    assert_eq!(send(to, 106, &[1; 1481]), Err(SendError::TooLong(1481)));
    let nowhere = Ipv4Addr::from([192, 0, 2, 1]);
    assert_eq!(send(nowhere, 106, b"x"), Err(SendError::NoRoute(nowhere.into())));
    lab.run_for(Duration::from_millis(50));
    assert_eq!(seen.take(), [(from, to, b"qnet".to_vec()), (from, to, vec![1; 1480])]);
    assert_eq!((a.counters().ip_handled, a.counters().ip_unknown_protocol), (2, 1));
    a.unregister_protocol(106);
    assert_eq!(send(to, 106, b"qnet"), Ok(()));
    lab.run_for(Duration::from_millis(50));
    assert_eq!(a.counters().ip_unknown_protocol, 2);
}
