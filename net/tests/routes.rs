//! Which way is told, and that packets take it.

use keelson_hal::NetFeatures;
use keelson_net::{InterfaceConfig, Route, SendError, Stack, UdpOptions, Way};
use keelson_net_sim::{Faults, NicModel, Node, Wire, World};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// A node with a NIC on each of two wires, and who was asked for on them.
struct Bench {
    world: World,
    node: Rc<Node>,
    stack: Stack,
    asked: Rc<RefCell<Vec<(&'static str, IpAddr)>>>,
}

const NICS: [&str; 2] = ["eth0", "eth1"];

impl Bench {
    /// Addresses of both NICs, and routes as "network router NIC".
    fn new(addresses: [&str; 2], routes: &[&str]) -> Bench {
        let world = World::new(1);
        let node = world.node();
        let asked = Rc::new(RefCell::new(Vec::new()));
        for (name, addresses) in NICS.into_iter().zip(addresses) {
            let wire = world.wire(Faults::default());
            listen(&wire, name, &asked);
            let addresses = addresses.split_whitespace().map(|text| text.parse().unwrap()).collect();
            let config = InterfaceConfig { addresses, ..InterfaceConfig::default() };
            node.plug_with(name, &wire, config, NicModel::with(NetFeatures::empty()));
        }
        let (_, stack) = node.boot();
        for text in routes {
            let words: Vec<_> = text.split_whitespace().collect();
            let [to, via, name] = words[..] else { panic!("{text}") };
            let interface = stack.interface(name).unwrap();
            stack.add_route(Route { to: to.parse().unwrap(), via: Some(via.parse().unwrap()), interface });
        }
        world.run_for(Duration::from_millis(1));
        Bench { world, node, stack, asked }
    }

    /// Says that this is the way: "NIC, next hop, source".
    fn expect(&self, dst: &str, way: Option<(&str, &str, &str)>) {
        let expected = way.map(|(name, next_hop, source)| Way {
            interface: self.stack.interface(name).unwrap(),
            next_hop: next_hop.parse().unwrap(),
            source: source.parse().unwrap(),
        });
        assert_eq!(self.stack.way_to(dst.parse().unwrap()), expected, "to {dst}");
    }

    /// The same, and that a packet takes it.
    fn expect_taken(&self, dst: &str, way: (&str, &str, &str)) {
        self.expect(dst, Some(way));
        self.asked.borrow_mut().clear();
        let socket = self.stack.bind_udp(0, UdpOptions::default()).unwrap();
        socket.send(None, SocketAddr::new(dst.parse().unwrap(), 9), b"?").unwrap();
        self.world.run_for(Duration::from_millis(1));
        let (name, next_hop, _) = way;
        let asked = self.asked.borrow();
        assert_eq!(*asked, [(name, next_hop.parse::<IpAddr>().unwrap())], "a packet to {dst}");
    }

    /// Takes the carrier away or brings it back, and waits until the driver was asked and no neighbour is looked for any more.
    fn carrier(&self, name: &str, present: bool) {
        self.node.set_carrier(name, present);
        self.world.run_for(Duration::from_secs(5));
    }

    fn set_up(&self, name: &str, up: bool) {
        self.stack.set_up(self.stack.interface(name).unwrap(), up).unwrap();
    }
}

/// Notes whom ARP asks for; not the questions of hosts for their own address.
fn listen(wire: &Wire, name: &'static str, asked: &Rc<RefCell<Vec<(&'static str, IpAddr)>>>) {
    let asked = asked.clone();
    *wire.tap.borrow_mut() = Some(Box::new(move |_, frame| {
        let is_request = frame[12..14] == [8, 6] && frame[20..22] == [0, 1];
        if is_request && frame[28..32] != frame[38..42] {
            let target = <[u8; 4]>::try_from(&frame[38..42]).unwrap();
            asked.borrow_mut().push((name, Ipv4Addr::from(target).into()));
        }
    }));
}

#[test]
fn the_longest_prefix_is_the_way_whether_it_is_a_network_or_a_route() {
    let bench = Bench::new(
        ["10.0.0.1/16", "10.0.7.1/24 192.168.0.1/24"],
        &[
            "0.0.0.0/0 10.0.0.254 eth0",
            "172.16.0.0/12 192.168.0.254 eth1",
            "172.16.5.0/24 10.0.0.253 eth0",
            "10.0.8.0/24 192.168.0.253 eth1",
            "10.0.7.0/24 10.0.0.252 eth0",
        ],
    );
    bench.expect_taken("10.0.0.9", ("eth0", "10.0.0.9", "10.0.0.1"));
    bench.expect_taken("172.16.1.1", ("eth1", "192.168.0.254", "10.0.7.1"));
    bench.expect_taken("172.16.5.1", ("eth0", "10.0.0.253", "10.0.0.1"));
    // A more special route inside an own network, and one to an own network, which is nearer.
    bench.expect_taken("10.0.8.9", ("eth1", "192.168.0.253", "10.0.7.1"));
    bench.expect_taken("10.0.7.9", ("eth1", "10.0.7.9", "10.0.7.1"));
    bench.expect_taken("203.0.113.1", ("eth0", "10.0.0.254", "10.0.0.1"));
}

#[test]
fn a_way_stays_known_without_carrier_but_not_when_it_is_set_down() {
    let bench = Bench::new(["10.0.0.1/24", "192.168.0.1/24"], &["0.0.0.0/0 10.0.0.254 eth0"]);
    let (near, far) = (("eth0", "10.0.0.9", "10.0.0.1"), ("eth0", "10.0.0.254", "10.0.0.1"));
    bench.carrier("eth0", false);
    bench.expect("10.0.0.9", Some(near));
    bench.expect("203.0.113.1", Some(far));
    // Packets that must go now are another matter.
    let socket = bench.stack.bind_udp(0, UdpOptions::default()).unwrap();
    let sent = socket.send(None, "10.0.0.9:9".parse().unwrap(), b"?");
    assert_eq!(sent, Err(SendError::NoRoute("10.0.0.9".parse().unwrap())));
    bench.set_up("eth0", false);
    bench.expect("10.0.0.9", None);
    bench.expect("203.0.113.1", None);
    bench.set_up("eth0", true);
    bench.expect("10.0.0.9", Some(near));
    bench.carrier("eth0", true);
    bench.expect_taken("10.0.0.9", near);
    bench.stack.detach(bench.stack.interface("eth0").unwrap()).unwrap();
    bench.expect("10.0.0.9", None);
}

#[test]
fn a_way_with_carrier_is_preferred_as_packets_do() {
    let bench = Bench::new(
        ["10.0.0.1/24", "192.168.0.1/24"],
        &["0.0.0.0/0 192.168.0.254 eth1", "0.0.0.0/0 10.0.0.254 eth0"],
    );
    let (best, other) = (("eth0", "10.0.0.9", "10.0.0.1"), ("eth1", "192.168.0.254", "192.168.0.1"));
    bench.expect_taken("10.0.0.9", best);
    bench.carrier("eth0", false);
    bench.expect_taken("10.0.0.9", other);
    bench.carrier("eth1", false);
    bench.expect("10.0.0.9", Some(best));
    bench.carrier("eth1", true);
    bench.expect_taken("10.0.0.9", other);
}

#[test]
fn there_is_no_way_without_a_route_or_an_address_of_the_family() {
    let bench = Bench::new(["10.0.0.1/24", "fd00::1/64"], &["198.51.100.0/24 10.0.9.1 eth1"]);
    bench.expect("192.0.2.1", None);
    bench.expect("fd01::1", None);
    // Over an interface that has only addresses of the other family.
    bench.expect("198.51.100.1", None);
    bench.expect("fd00::9", Some(("eth1", "fd00::9", "fd00::1")));
}
