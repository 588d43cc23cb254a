//! R10, R13 to R15, R17, R20: who is called how, and who is shown.

use crate::l4::testing::{World, mac};
use crate::l4::{DupPolicy, Options, Transport};
use crate::link::{LinkAddress, LinkId, LinkPort};
use crate::nodes::{Identity, Resolution, ResolveId, Resolver};
use crate::sessions::{NodeNr, Qos};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::frame::{Frame, Mac};
use keelson_qnet_wire::l4::{Header, Kind};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::{Endian, Errno, Nd};
use std::cell::RefCell;
use std::rc::Rc;

/// What `ls /net` shows.
fn shown(world: &World, of: usize) -> Vec<String> {
    let transport = &world.nodes[of].transport;
    let shown = |entry: &crate::nodes::Entry| transport.shown(NodeNr(entry.nr)).unwrap().to_string();
    let mut names: Vec<String> = transport.nodes().map(shown).collect();
    names.sort();
    names
}

fn quiet() -> Options {
    Options { auto_add: 0, ..Options::default() }
}

#[test]
fn nodes_appear_by_themselves() {
    let mut world = World::new(1, 1);
    for name in ["alpha", "beta", "gamma"] {
        world.add(name, "lab.test", Options::default());
    }
    assert_eq!(shown(&world, 2), [""; 0]);
    // 150 ticks, and a tenth more.
    world.run(Duration::from_millis(33_100));
    for of in 0..3 {
        assert_eq!(shown(&world, of).len(), 2);
    }
    assert_eq!(world.nodes[0].transport.counters().lr_announce_tx, 2);
    assert_eq!(shown(&world, 1), ["alpha", "gamma"]);
}

#[test]
fn nodes_are_found_without_waiting() {
    let mut world = World::new(1, 1);
    world.add("alpha", "lab", Options::default());
    world.add("beta", "lab", Options::default());
    world.run(Duration::from_millis(1));
    // Beta started last, and so has heard nobody.
    let before = world.now;
    let nd = world.look_up(1, "ALPHA").unwrap();
    assert!(world.now - before < Duration::from_millis(10));
    assert_eq!(world.look_up(1, "alpha.lab"), Ok(nd));
    assert_eq!(world.look_up(1, "beta"), Ok(Nd::LOCAL));
    assert_eq!(world.nodes[0].transport.counters().lr_rep_tx, 1);
    let before = world.now;
    assert_eq!(world.look_up(1, "nobody"), Err(Errno::ENOENT));
    assert!((600..620).contains(&(world.now - before).as_millis()));
    assert_eq!(world.nodes[1].transport.counters().lr_req_tx, 4, "one for alpha, three for nobody");
    world.finish();
}

#[test]
fn r13_silent_and_deaf() {
    let mut world = World::new(1, 1);
    world.add("alpha", "", quiet());
    world.add("beta", "", Options::default());
    world.add("gamma", "", Options::default());
    world.run(Duration::from_secs(70));
    assert_eq!(shown(&world, 0), [""; 0]);
    assert_eq!((shown(&world, 1), shown(&world, 2)), (vec!["gamma".into()], vec!["beta".into()]));
    // By name it works both ways.
    let beta = world.look_up(0, "beta").unwrap();
    world.send(0, NodeNr(beta.node()), Qos::default(), 100).unwrap();
    let alpha = world.look_up(2, "alpha").unwrap();
    world.send(2, NodeNr(alpha.node()), Qos::default(), 100).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
    assert_eq!(world.nodes[0].transport.counters().lr_announce_tx, 0);
}

#[test]
fn r14_name_from_the_adapter() {
    let mut world = World::new(1, 2);
    world.add("localhost", "", Options::default());
    world.add("beta", "", Options::default());
    world.announce();
    world.run(Duration::from_secs(1));
    assert_eq!(world.nodes[0].transport.identity().name(), "EA1");
    assert_eq!(shown(&world, 1), ["EA1"]);
    let nd = world.look_up(1, "ea1").unwrap();
    world.send(1, NodeNr(nd.node()), Qos::default(), 10).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    // A name at run time is announced.
    let named = Identity::new("delta", "").unwrap();
    world.with(0, |transport, now| transport.set_identity(now, named));
    world.run(Duration::from_millis(1));
    assert_eq!(shown(&world, 1), ["EA1", "delta"]);
}

#[test]
fn r15_domains() {
    let mut world = World::new(1, 1);
    for (name, domain) in [("alpha", "lab.test"), ("beta", "other.domain"), ("gamma", "")] {
        world.add(name, domain, Options::default());
    }
    world.announce();
    world.run(Duration::from_secs(1));
    assert_eq!(shown(&world, 0), ["beta.other.domain", "gamma"]);
    assert_eq!(shown(&world, 1), ["alpha.lab.test", "gamma"]);
    assert_eq!(shown(&world, 2), ["alpha", "beta"], "without a domain every domain is ours");
    assert_eq!(world.look_up(0, "beta"), Err(Errno::ENOENT));
    assert_eq!(world.look_up(0, "beta.other.domain"), Ok(Nd(1)));
    let beta = NodeNr(1);
    world.send(0, beta, Qos::default(), 10).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
}

#[test]
fn r10_two_nodes_with_one_name() {
    let mut world = World::new(1, 1);
    for name in ["twin", "twin", "third"] {
        world.add(name, "", Options::default());
    }
    world.announce();
    world.run(Duration::from_secs(1));
    for twin in 0..2 {
        let transport = &world.nodes[twin].transport;
        assert!(transport.counters().lr_dup_name >= 1);
        let other = transport.duplicates()[0].address;
        assert_eq!(other, mac(1 - twin as u8, 0));
        // Not in turn for ever: one answer in ten seconds.
        assert!(transport.counters().lr_announce_tx <= 4);
    }
    // The third reaches one of them, always the same.
    let twin = world.look_up(2, "twin").unwrap();
    for _ in 0..3 {
        world.send(2, NodeNr(twin.node()), Qos::default(), 100).unwrap();
        world.run(Duration::from_millis(300));
        world.announce();
    }
    assert!(world.drain(Duration::from_secs(1)));
    world.finish();
    assert_eq!(world.ledger.downs(), 0);
    assert!(world.nodes[2].transport.node(NodeNr(twin.node())).unwrap().dup);
    let renamed = Identity::new("single", "").unwrap();
    world.with(1, |transport, now| transport.set_identity(now, renamed));
    world.run(Duration::from_secs(33));
    assert_eq!(shown(&world, 2), ["single", "twin"]);
}

/// The third has asked one of them for a connection when it hears the other: the connection is with who answers.
#[test]
fn a_namesake_is_heard_during_the_handshake() {
    for later in [0, 60, 110] {
        let mut world = World::new(1, 1);
        for name in ["twin", "third"] {
            world.add(name, "lab", Options::default());
        }
        world.announce();
        world.run(Duration::from_millis(20));
        let twin = world.nr(1, "twin");
        world.send(1, twin, Qos::default(), 3000).unwrap();
        world.run(Duration::from_micros(later));
        let announcement = lr_bytes(LrKind::Reply, Endian::Little, "twin", "", LrForm::default());
        world.inject(1, 0, mac(77, 0), true, &announcement);
        assert!(world.drain(Duration::from_secs(1)));
        assert_eq!((world.ledger.downs(), world.ledger.delivered), (0, 1), "after {later} us");
        let entry = world.nodes[1].transport.node(twin).unwrap();
        assert_eq!((entry.address(LinkId(0)), entry.other), (Some(mac(0, 0)), Some((LinkId(0), mac(77, 0)))));
        world.finish();
    }
}

#[test]
fn duplicates_may_rename_themselves() {
    let mut world = World::new(1, 1);
    let options = Options { dup_policy: DupPolicy::Rename, ..Options::default() };
    for _ in 0..2 {
        world.add("twin", "", options.clone());
    }
    world.announce();
    world.run(Duration::from_secs(1));
    let name = |number: usize| world.nodes[number].transport.identity().name().to_string();
    assert_eq!((name(0), name(1)), ("twin".into(), "EA2".into()), "the higher address gives way");
    assert_eq!((shown(&world, 0), shown(&world, 1)), (vec!["EA2".into()], vec!["twin".into()]));
}

#[test]
fn forgotten_nodes() {
    let mut world = World::connected(1, 1, Options::default());
    let beta = world.nr(0, "beta");
    world.with(0, |transport, _| transport.forget(beta)).unwrap();
    assert_eq!(shown(&world, 0), [""; 0]);
    assert_eq!(world.with(0, |transport, _| transport.forget(beta)), Err(Errno::ENOENT));
    // The connection in use brings it back.
    world.send(0, beta, Qos::default(), 10).unwrap();
    assert!(world.drain(Duration::from_secs(1)));
    assert_eq!(shown(&world, 0), ["beta"]);
    assert_eq!(world.nr(0, "beta"), beta);
    assert_eq!(world.verify(0, beta), Ok(beta.0.into()));
    assert_eq!(world.nodes[1].transport.counters().nr_ping_rx, 1);
    world.finish();
}

fn lr_bytes(kind: LrKind, endian: Endian, src: &str, dst: &str, form: LrForm) -> Vec<u8> {
    let src = Party { name: src, domain: "lab", mac: Some(Mac([2, 0, 0, 0, 9, 9])) };
    let lr = LrPacket { kind, src, dst: Party { name: dst, ..Party::default() } };
    let mut payload = [0; 512];
    let len = lr.emit(&mut payload, endian, form).unwrap();
    let header = Header { endian, length: len as u32, ..Header::new(Kind::Lres) };
    [&header.encode()[..], &payload[..len]].concat()
}

#[test]
fn r20_big_endian_nodes_are_listed() {
    let mut world = World::new(1, 1);
    world.add("alpha", "lab", Options::default());
    let stranger = LinkAddress::Mac([2, 0, 0, 0, 9, 9]);
    let form = LrForm { counts_nul: false, address_len: 8, address_first: 8 };
    let announcement = lr_bytes(LrKind::Reply, Endian::Big, "mips", "", form);
    world.inject(0, 0, stranger, true, &announcement);
    assert_eq!(shown(&world, 0), ["mips"]);
    let entry = world.nodes[0].transport.node(NodeNr(1)).unwrap();
    assert_eq!((entry.address(LinkId(0)), entry.profile.lr_form), (Some(stranger), form));
    assert_eq!(entry.profile.announces_by, Some(LrKind::Reply));
    // Its request is answered, in its form of LR packets.
    let port = world.nodes[0].ports[0].clone();
    let request = lr_bytes(LrKind::Request, Endian::Big, "mips", "alpha", form);
    world.nodes[0].transport.input(world.now, LinkId(0), stranger, true, &request);
    let (to, bytes) = port.take().unwrap();
    assert_eq!(to, Some(stranger));
    let packet = keelson_qnet_wire::l4::Packet::decode(&bytes).unwrap();
    let (reply, used) = LrPacket::decode(packet.payload, packet.header.endian).unwrap();
    assert_eq!((reply.kind, reply.src.name, reply.dst.name, used), (LrKind::Reply, "alpha", "mips", form));
}

/// The frames that the specification prints.
#[test]
fn published_lr_frames() {
    let vectors = include_str!("../../../wire/tests/vectors.txt");
    let frame = |name: &str| {
        let hex = vectors.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        (0..hex.len() / 2)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
            .collect::<Vec<u8>>()
    };
    let mut world = World::new(1, 1);
    world.add("beta", "lab.test", Options::default());
    for name in ["T01 ", "T31 "] {
        let bytes = frame(name);
        let Mac(src) = Frame::decode(&bytes).unwrap().src;
        world.inject(0, 0, LinkAddress::Mac(src), true, &bytes[16..]);
        assert_eq!(shown(&world, 0), ["alpha"], "T01 asks for us, T31 in the other byte order");
        world.with(0, |transport, _| transport.forget(NodeNr(1))).unwrap();
    }
    assert_eq!(world.nodes[0].transport.counters().lr_rep_tx, 2);
}

#[test]
fn requests_for_others() {
    let stranger = LinkAddress::Mac([2, 0, 0, 0, 9, 9]);
    let mut world = World::new(1, 1);
    world.add("alpha", "lab", Options::default());
    let request = lr_bytes(LrKind::Request, Endian::Little, "delta", "gamma", LrForm::default());
    world.inject(0, 0, stranger, true, &request);
    assert_eq!(shown(&world, 0), [""; 0], "creates no entry");
    let announcement = lr_bytes(LrKind::Reply, Endian::Little, "delta", "", LrForm::default());
    world.inject(0, 0, stranger, true, &announcement);
    world.run(Duration::from_secs(5));
    world.inject(0, 0, stranger, true, &request);
    let heard = world.nodes[0].transport.nodes().next().unwrap().last_heard;
    assert_eq!(heard, world.now, "refreshes one");
    let wrong_mac = LinkAddress::Mac([2, 0, 0, 0, 9, 8]);
    world.inject(0, 0, wrong_mac, true, &announcement);
    let entry = world.nodes[0].transport.nodes().next().unwrap();
    assert_eq!(entry.address(LinkId(0)), Some(wrong_mac), "the frame's address counts");
}

#[test]
fn replies_are_limited() {
    let mut world = World::new(1, 1);
    world.add("alpha", "lab", Options::default());
    let request = lr_bytes(LrKind::Request, Endian::Little, "delta", "alpha", LrForm::default());
    for _ in 0..200 {
        world.inject(0, 0, LinkAddress::Mac([2, 0, 0, 0, 9, 9]), true, &request);
    }
    let counters = world.nodes[0].transport.counters();
    assert_eq!((counters.lr_rep_tx, counters.rate_limited), (50, 150));
}

/// A resolver that knows what it is told, at once or later.
#[derive(Default)]
struct Hosts {
    known: Vec<(&'static str, [u8; 4])>,
    later: RefCell<Vec<(ResolveId, String)>>,
    delayed: bool,
}

impl Resolver for Hosts {
    fn resolve(&self, id: ResolveId, host: &str, domain: &str) -> Resolution {
        if self.delayed {
            self.later.borrow_mut().push((id, format!("{host}/{domain}")));
            return Resolution::Pending;
        }
        match self.known.iter().find(|(name, _)| *name == host) {
            Some((_, address)) => Resolution::Found((*address).into()),
            None => Resolution::Failed(Errno::ENOENT),
        }
    }
}

fn ip_node(
    name: &str,
    address: [u8; 4],
    resolver: Rc<Hosts>,
) -> (Transport, Rc<crate::l4::testing::SimPort>) {
    let rng = crate::l4::testing::Rng::new(address[3].into());
    let identity = Identity::new(name, "").unwrap();
    let mut transport = Transport::new(Options::default(), identity, &rng, Some(resolver), Instant::ZERO);
    let port = Rc::new(crate::l4::testing::SimPort::new("ip", LinkAddress::Ipv4(address.into())));
    assert!(transport.add_link(Instant::ZERO, LinkId(0), port.clone()));
    (transport, port)
}

#[test]
fn r17_ip_binding() {
    let hosts = || Rc::new(Hosts { known: vec![("host1", [192, 0, 2, 1])], ..Hosts::default() });
    let (mut one, from_one) = ip_node("host1", [192, 0, 2, 1], hosts());
    let (mut two, from_two) = ip_node("host2", [192, 0, 2, 2], hosts());
    let mut now = Instant::ZERO;
    two.poll(now);
    assert!(from_two.take().is_none(), "nothing is said to everybody");
    assert_eq!(two.nodes().count(), 0);
    let request = two.look_up(now, &NodePath::parse("host1").unwrap()).unwrap();
    let nd = two.poll_request(request, None).unwrap().unwrap();
    assert_eq!(two.shown(NodeNr(nd as u16)).unwrap().to_string(), "host1");
    two.send(now, NodeNr(nd as u16), Qos::default(), 1, &[7; 100], vec![8; 3000].into()).unwrap();
    let mut largest = 0;
    let mut carry =
        |sender: &mut Transport, receiver: &mut Transport, port: &crate::l4::testing::SimPort, now| {
            sender.poll(now);
            while let Some((to, bytes)) = port.take() {
                assert!(to.is_some());
                largest = largest.max(bytes.len());
                receiver.input(now, LinkId(0), port.address(), false, &bytes);
            }
        };
    for _ in 0..20 {
        now += Duration::from_micros(100);
        carry(&mut two, &mut one, &from_two, now);
        carry(&mut one, &mut two, &from_one, now);
    }
    let message = std::iter::from_fn(|| one.take_event()).find_map(|event| match event {
        crate::sessions::SessionEvent::Message { message, .. } => Some(message),
        _ => None,
    });
    assert_eq!(message.unwrap().bytes(), [[7; 100].as_slice(), &[8; 3000]].concat());
    assert_eq!(largest, 36 + 1440);
    assert_eq!(one.nodes().count(), 1, "known by its TCS_INIT");
    let request = two.look_up(now, &NodePath::parse("host3").unwrap()).unwrap();
    assert_eq!(two.poll_request(request, None), Some(Err(Errno::ENOENT)));
}

#[test]
fn slow_resolvers() {
    let hosts = Rc::new(Hosts { delayed: true, ..Hosts::default() });
    let (mut node, _port) = ip_node("host2", [192, 0, 2, 2], hosts.clone());
    let ask = |node: &mut Transport, name| {
        let path = NodePath::parse(name).unwrap();
        node.look_up(Instant::ZERO, &path).unwrap()
    };
    let requests = ["a.b", "c", "d", "A.b"].map(|name| ask(&mut node, name));
    let later = hosts.later.borrow().clone();
    assert_eq!(later.iter().map(|(_, name)| &**name).collect::<Vec<_>>(), ["a/b", "c/", "d/"], "a.b once");
    node.resolved(Instant::ZERO, later[0].0, Ok([192, 0, 2, 9].into()));
    node.resolved(Instant::ZERO, later[1].0, Err(Errno::ENOENT));
    node.poll(Instant::ZERO + Duration::from_secs(11));
    let answers = requests.map(|request| node.poll_request(request, None));
    assert_eq!(answers, [Some(Ok(1)), Some(Err(Errno::ENOENT)), Some(Err(Errno::ENOENT)), Some(Ok(1))]);
    assert_eq!(node.occupancy().lookups, 0);
}
