//! Frames nobody should send: noise, mutations, hostile fragments, half-open connections.

use std::net::{Ipv4Addr, Ipv6Addr};

use keelson_qemu::{Machine, Rng};
use keelson_tests::frame::{
    ARP, Fragment, ICMP, ICMPV6, IPV4, IPV6, SYN, TCP, UDP, echo_request, ethernet, ipv4, ipv6, tcp, udp,
};
use keelson_tests::rpc::{NFS, RpcClient, message};
use keelson_tests::world::{MOMENT, SERVER, SOON, World, assert_sound, at, shell};

const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER_IP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// A neighbour that does not exist; frames carry its address, so that the host's own traffic is not its victim.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77);
const STRANGER_MAC: [u8; 6] = [0x52, 0x4b, 0, 0, 0x77, 0x77];

struct Attack {
    machine: Machine,
    world: World,
}

impl Attack {
    fn on(name: &str) -> Attack {
        let world = World::new(name);
        let machine = world.serving("ip=[fd00::1]/64:eth0");
        world.host.ping(SERVER_IP.into(), 56, SOON).unwrap();
        Attack { machine, world }
    }

    /// Sends an IPv4 packet.
    fn send_from(&self, from: Ipv4Addr, protocol: u8, fragment: Fragment, payload: &[u8]) {
        let packet = ipv4(from, SERVER_IP, protocol, fragment, payload);
        self.world.host.send_frame(&ethernet(self.world.port.default_mac(), STRANGER_MAC, IPV4, &packet));
    }

    /// Small and large packets pass, the server serves, memory is bounded, and the console reports no failure.
    fn assert_survived(&self) {
        let host = &self.world.host;
        host.wait_for(SERVER_IP.into(), SOON).unwrap();
        host.ping(SERVER_IP.into(), 8000, SOON).unwrap();
        host.ping(SERVER_IP6.into(), 56, SOON).unwrap();
        self.world.assert_serves(SERVER);
        let memory = shell(&self.machine, "mem").join("\n");
        assert!(memory.contains("allocations refused 0"), "{memory}");
        let most = memory.split_once("at most ").and_then(|(_, rest)| rest.split_once(" KiB")).unwrap().0;
        assert!(most.parse::<u32>().unwrap() < 48 << 10, "{memory}");
        assert_sound(&self.machine);
    }

    /// A counter of `netstat`; 0 when it is not shown.
    fn counter(&self, name: &str) -> u64 {
        let lines = shell(&self.machine, "netstat");
        let line = lines.iter().find(|line| line.ends_with(&format!(" {name}")));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

/// One good frame of each kind that the appliance takes.
fn good_frames(attack: &Attack) -> Vec<Vec<u8>> {
    let mac = attack.world.port.default_mac();
    let whole = Fragment::default();
    let frame4 = |protocol, payload: &[u8]| {
        ethernet(mac, STRANGER_MAC, IPV4, &ipv4(STRANGER, SERVER_IP, protocol, whole, payload))
    };
    let frame6 = |next, payload: &[u8]| {
        ethernet(mac, STRANGER_MAC, IPV6, &ipv6(STRANGER6, SERVER_IP6, next, 255, payload))
    };
    let arp = |operation: u8| {
        let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
        let body = [&fixed[..], &STRANGER_MAC, &STRANGER.octets(), &[0; 6], &SERVER_IP.octets()].concat();
        ethernet([0xff; 6], STRANGER_MAC, ARP, &body)
    };
    let nfs = message(9, [2, NFS, 3, 1], &[0, 0, 0, 32, 1, 2, 3, 4]);
    let peer = (STRANGER, 900);
    let solicitation =
        [&[135, 0, 0, 0, 0, 0, 0, 0][..], &SERVER_IP6.octets(), &[1, 1], &STRANGER_MAC].concat();
    let advertisement =
        [&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[3, 4, 64, 0xc0], &[0; 28]].concat();
    // A hop-by-hop header, a fragment header and a destination header in front of an echo request.
    let chain = [
        &[44, 0, 1, 4, 0, 0, 0, 0][..],
        &[60, 0, 0, 1, 0, 0, 0, 7],
        &[ICMPV6, 0, 1, 4, 0, 0, 0, 0],
        &[128, 0, 0, 0],
    ];
    // NTP-like and DHCP-like datagrams at closed and open ports, NFS at an open one.
    vec![
        arp(1),
        arp(2),
        frame4(ICMP, &echo_request(1, &[7; 100])),
        frame4(ICMP, &[&[3, 4, 0, 0, 0, 0, 0, 68][..], &[0x45; 28]].concat()),
        frame4(UDP, &udp(peer, (SERVER_IP, 2049), &nfs)),
        frame4(UDP, &udp(peer, (SERVER_IP, 111), &nfs)),
        frame4(UDP, &udp((STRANGER, 67), (SERVER_IP, 68), &[2; 300])),
        frame4(UDP, &udp((STRANGER, 53), (SERVER_IP, 5353), &[0x80; 60])),
        frame4(TCP, &tcp(peer, (SERVER_IP, 2049), 1, 0, SYN)),
        frame4(TCP, &tcp(peer, (SERVER_IP, 2049), 2, 77, 0x10)),
        frame6(ICMPV6, &solicitation),
        frame6(ICMPV6, &advertisement),
        frame6(0, &chain.concat()),
    ]
}

#[test]
fn mutated_frames() {
    let attack = Attack::on("mutations");
    let good = good_frames(&attack);
    let mut rng = Rng::new(20_260);
    for round in 0..8000 {
        let mut frame = good[rng.below(good.len() as u64) as usize].clone();
        for _ in 0..=rng.below(3) {
            // Destination and EtherType mostly stay: other frames end at the first check.
            let start = if rng.chance(0.9) { 14 } else { 0 };
            let at = start + rng.below((frame.len() - start) as u64) as usize;
            frame[at] = match rng.below(3) {
                0 => frame[at] ^ 1 << rng.below(8),
                1 => rng.next_u64() as u8,
                _ => 0xff,
            };
        }
        if rng.chance(0.2) {
            frame.truncate(rng.below(frame.len() as u64) as usize);
        }
        attack.world.host.send_frame(&frame);
        // Let the appliance keep up: frames lost at a full queue test nothing.
        if round % 200 == 199 {
            attack.world.host.wait_for(SERVER_IP.into(), SOON).unwrap();
        }
    }
    attack.assert_survived();
}

#[test]
fn random_frames() {
    let attack = Attack::on("noise");
    let mac = attack.world.port.default_mac();
    let mut rng = Rng::new(1);
    for round in 0..3000 {
        let length = if rng.chance(0.1) { rng.below(9000) } else { rng.below(200) } as usize;
        let noise: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        let ether_type = [IPV4, IPV6, ARP, 0x8100, 0x0101][rng.below(5) as usize];
        attack.world.host.send_frame(&ethernet(mac, STRANGER_MAC, ether_type, &noise));
        // Frames shorter than an Ethernet header, and an empty one.
        if round < 20 {
            attack.world.host.send_frame(&mac.repeat(4)[..round]);
        }
        if round % 200 == 199 {
            attack.world.host.wait_for(SERVER_IP.into(), SOON).unwrap();
        }
    }
    attack.assert_survived();
}

#[test]
fn hostile_fragments() {
    let attack = Attack::on("fragments");
    let replies = attack.world.host.frames(Some(IPV4));
    // From the host's own address, so that an answer would be seen: an echo reply with the datagram's number.
    let own = Ipv4Addr::new(10, 0, 0, 9);
    let request = |id: u16| echo_request(id, &[1; 2992]);
    let piece = |id, offset, more, payload: &[u8]| {
        attack.send_from(own, ICMP, Fragment { id, offset, more }, payload);
    };
    let answered = || {
        let mut numbers = Vec::new();
        while let Ok(frame) = replies.receive(MOMENT) {
            // First fragments only: the others hold no ICMP header.
            let first = frame.get(20).is_some_and(|flags| flags & 0x1f == 0) && frame.get(21) == Some(&0);
            if let (true, Some([0, 0, _, _, high, low])) = (first, frame.get(34..40)) {
                numbers.push(u16::from_be_bytes([*high, *low]));
            }
        }
        numbers
    };
    // Honest ones first, in order and not.
    piece(1, 0, true, &request(1)[..1480]);
    piece(1, 1480, false, &request(1)[1480..]);
    piece(2, 1480, false, &request(2)[1480..]);
    piece(2, 0, true, &request(2)[..1480]);
    assert_eq!(answered(), [1, 2], "honest fragments are answered");
    // Overlaps: the datagram is given up whatever its parts say (RFC 5722).
    piece(3, 0, true, &request(3)[..1480]);
    piece(3, 1472, false, &request(3)[1472..]);
    piece(4, 0, true, &request(4)[..1480]);
    piece(4, 0, true, &[0xee; 1480]);
    piece(4, 1480, false, &request(4)[1480..]);
    // Teardrop: the second part lies within the first.
    piece(5, 0, true, &request(5)[..1480]);
    piece(5, 800, false, &[0xee; 16]);
    // Two ends.
    piece(6, 1480, false, &request(6)[1480..2480]);
    piece(6, 2480, false, &request(6)[2480..]);
    piece(6, 0, true, &request(6)[..1480]);
    // Ping of death: an end beyond 64 KiB. A part whose length is no multiple of 8. Nothing in a part.
    piece(7, 65_528, false, &[0; 1400]);
    piece(8, 0, true, &request(8)[..1477]);
    piece(9, 0, true, &[]);
    piece(9, 8, false, &[]);
    assert_eq!(answered(), [0; 0], "answers to fragments that contradict each other");
    // Four thousand datagrams that never end, from many hosts: their memory is bounded.
    for id in 0..4000u32 {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 1, 0)) + id % 500);
        attack.send_from(from, UDP, Fragment { id: id as u16, offset: 0, more: true }, &[0x11; 1480]);
        if id % 200 == 199 {
            attack.world.host.wait_for(SERVER_IP.into(), SOON).unwrap();
        }
    }
    attack.assert_survived();
}

#[test]
fn half_open_connections() {
    let attack = Attack::on("syn-flood");
    let mut established = RpcClient::tcp(&attack.world.host, at(SERVER, 2049)).unwrap();
    established.null(NFS, 3).unwrap();
    for i in 0..3000u32 {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 100)) + i % 100);
        let segment = tcp((from, 1000 + (i / 100) as u16), (SERVER_IP, 2049), i, 0, SYN);
        attack.send_from(from, TCP, Fragment::default(), &segment);
        if i % 200 == 199 {
            attack.world.host.wait_for(SERVER_IP.into(), SOON).unwrap();
        }
    }
    established.null(NFS, 3).unwrap();
    attack.assert_survived();
}

#[test]
fn wrong_checksums_are_counted_and_dropped() {
    let attack = Attack::on("checksums");
    let own = Ipv4Addr::new(10, 0, 0, 9);
    let replies = attack.world.host.frames(Some(IPV4));
    let mut request = echo_request(0x4343, &[1; 64]);
    request[40] ^= 1;
    attack.send_from(own, ICMP, Fragment::default(), &request);
    let mut call = udp((own, 900), (SERVER_IP, 2049), &message(1, [2, NFS, 3, 0], &[]));
    call[20] ^= 0x10;
    attack.send_from(own, UDP, Fragment::default(), &call);
    let mut syn = tcp((own, 901), (SERVER_IP, 2049), 1, 0, SYN);
    syn[5] ^= 1;
    attack.send_from(own, TCP, Fragment::default(), &syn);
    let from_server = replies.receive(MOMENT).map(|frame| format!("{frame:02x?}"));
    assert!(from_server.is_err(), "an answer to damaged packets: {from_server:?}");
    for name in ["icmp_invalid", "udp_invalid", "tcp_bad_checksum"] {
        assert_eq!(attack.counter(name), 1, "{name}");
    }
    attack.assert_survived();
}
