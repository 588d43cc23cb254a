//! Whole nodes with IPv6 NIDs, and a router between them and nodes with IPv4 NIDs.

use keelson_config::Config;
use keelson_lnet::admin::Admin;
use keelson_lnet::buffers::Payload;
use keelson_lnet::lnet::PutArgs;
use keelson_lnet::node::Node;
use keelson_lnet::options::{NodeConfig, OPTIONS};
use keelson_lnet::portal::{Delivery, Portal};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_net::InterfaceConfig;
use keelson_net_sim::{Faults, NicModel, Node as Machine, Rng, Wire, World};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const PORTAL: u32 = 9;
const MIB: usize = 1 << 20;

fn start(world: &World, machine: &Rc<Machine>, seed: u64, line: &str) -> Rc<Node> {
    let config = Config::parse(&[OPTIONS], &["lnet", "ksocklnd"], "", line.as_bytes());
    assert!(config.problems().is_empty(), "{:?}", config.problems());
    let config = NodeConfig::from_options(&config, 1 << 30).unwrap();
    let (handle, stack) = machine.boot();
    let node = Node::new(handle, stack, world.clock(), Rc::new(Rng::new(seed)), config);
    node.start();
    node
}

fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

fn plug(machine: &Machine, name: &'static str, wire: &Rc<Wire>, addresses: &[&str]) {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let config = InterfaceConfig { addresses, ..InterfaceConfig::default() };
    machine.plug_with(name, wire, config, NicModel::default());
}

/// Keeps what it is sent, and gives it to whoever asks.
#[derive(Default)]
struct Store(RefCell<Vec<u8>>);

impl Portal for Store {
    fn admits(&self, _: &Delivery) -> bool {
        true
    }

    fn put(&self, _: Delivery, payload: Payload) {
        *self.0.borrow_mut() = payload.slices().collect::<Vec<_>>().concat();
    }

    fn get(&self, _: &Delivery) -> Option<Payload> {
        Some(Payload::from_bytes(&self.0.borrow()))
    }
}

/// Nodes around a router: `six` on tcp and `far` on tcp1 have IPv6 addresses only, `four` on tcp2 has an IPv4 one,
/// `dual` on tcp1 has both. The router has an IPv6 address on tcp, both on tcp1, an IPv4 one on tcp2.
struct Site {
    world: World,
    router_machine: Rc<Machine>,
    router: Rc<Node>,
    six: Rc<Node>,
    far: Rc<Node>,
    four: Rc<Node>,
    dual: Rc<Node>,
}

const ROUTER: &str =
    "lnet.networks=\"tcp(eth0),tcp1(eth1),tcp2(eth2)\" lnet.large=tcp1 lnet.forwarding=enabled";
const SIX: &str = "2001:db8:1::2@tcp";
const FAR: &str = "2001:db8:2::2@tcp1";
const FOUR: &str = "10.3.0.2@tcp2";
const ROUTER_NIDS: [&str; 3] = ["2001:db8:1::1@tcp", "2001:db8:2::1@tcp1", "10.3.0.1@tcp2"];

fn site(router_line: &str) -> Site {
    let world = World::new(7);
    let wires = [(); 3].map(|()| world.wire(Faults::default()));
    let machines = [(); 5].map(|()| world.node());
    let [router, six, far, four, dual] = &machines;
    plug(router, "eth0", &wires[0], &["2001:db8:1::1/64"]);
    plug(router, "eth1", &wires[1], &["10.2.0.1/24", "2001:db8:2::1/64"]);
    plug(router, "eth2", &wires[2], &["10.3.0.1/24"]);
    plug(six, "eth0", &wires[0], &["2001:db8:1::2/64"]);
    plug(far, "eth0", &wires[1], &["2001:db8:2::2/64"]);
    plug(four, "eth0", &wires[2], &["10.3.0.2/24"]);
    plug(dual, "eth0", &wires[1], &["10.2.0.3/24", "2001:db8:2::3/64"]);
    let router_machine = router.clone();
    let router = start(&world, router, 2, router_line);
    let end = |machine, seed, net: &str, gateway: &str, others: [&str; 2]| {
        let routes = others.map(|other| format!("{other} {gateway}")).join("; ");
        start(&world, machine, seed, &format!("lnet.networks={net} lnet.routes=\"{routes}\""))
    };
    let six = end(six, 3, "tcp", ROUTER_NIDS[0], ["tcp1", "tcp2"]);
    let far = end(far, 4, "tcp1", ROUTER_NIDS[1], ["tcp", "tcp2"]);
    let four = end(four, 5, "tcp2", ROUTER_NIDS[2], ["tcp", "tcp1"]);
    let dual = end(dual, 6, "tcp1 lnet.large=tcp1", ROUTER_NIDS[1], ["tcp", "tcp2"]);
    world.run_for(2 * SECOND);
    Site { world, router_machine, router, six, far, four, dual }
}

impl Site {
    /// What a tool says on a node.
    fn says(&self, node: &Rc<Node>, line: &str) -> String {
        let (admin, line) = (Admin::new(node.clone()), line.to_owned());
        self.world.run(async move {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[0] {
                "lnetctl" => admin.lnetctl(&words[1..]).await,
                "lctl" => admin.lctl(&words[1..]).await,
                _ => admin.cat(&words[1..]),
            }
        })
    }

    fn import(&self, node: &Rc<Node>, option: &str, text: &str) -> String {
        let (admin, option, text) = (Admin::new(node.clone()), option.to_owned(), text.to_owned());
        self.world.run(async move { admin.lnetctl(&["import", &option, &text]).await })
    }

    /// Puts and gets a MiB.
    fn bulk(&self, from: &Rc<Node>, to_node: &Rc<Node>, to: &str) {
        let store = Rc::new(Store::default());
        to_node.lnet().register(PORTAL, store.clone());
        let content: Vec<u8> = (0..MIB).map(|at| ((at * 31) >> 8) as u8).collect();
        let (lnet, to, sent) = (from.lnet().clone(), ProcessId::lustre(nid(to)), content.clone());
        let got = self.world.run(async move {
            let args = PutArgs { portal: PORTAL, ..PutArgs::default() };
            let taken = lnet.put_acked(None, to, args, Payload::from_bytes(&sent), 10 * SECOND).await;
            assert_eq!(taken, Ok(MIB as u32));
            let (payload, source) = lnet.get(None, to, PORTAL, 0, MIB as u32, 10 * SECOND).await.unwrap();
            assert_eq!(source, to.nid);
            payload.slices().collect::<Vec<_>>().concat()
        });
        assert!(*store.0.borrow() == content && got == content, "damaged on the way to {to:?}");
    }

    fn pings(&self, from: &Rc<Node>, to: &str) -> bool {
        let said = self.says(from, &format!("lctl ping {to} 5"));
        said == format!("12345-0@lo\n12345-{to}\n")
    }
}

#[test]
fn ipv6_nodes_reach_each_other_through_a_router() {
    let site = site(ROUTER);
    assert!(site.pings(&site.six, FAR) && site.pings(&site.far, SIX));
    site.bulk(&site.six, &site.far, FAR);
    site.bulk(&site.far, &site.six, SIX);
    site.bulk(&site.six, &site.dual, "2001:db8:2::3@tcp1");
    assert_eq!(site.router.lnet().statistics().drop_count, 0);
    // Neighbours, and the router itself.
    site.bulk(&site.dual, &site.far, FAR);
    site.bulk(&site.six, &site.router, ROUTER_NIDS[0]);
}

/// An IPv6 NID does not fit the headers of an IPv4 network: what goes there from one is lost and counted.
#[test]
fn between_the_kinds_there_is_no_way_and_that_is_counted() {
    let site = site(ROUTER);
    assert!(!site.pings(&site.six, FOUR));
    let drops = site.router.lnet().drops();
    assert_eq!((drops.not_expressible, site.router.lnet().statistics().drop_count), (1, 1));
    let shown = site.says(&site.router, "lnetctl net show --net tcp -v");
    assert!(shown.contains("drop_count: 1\n"), "{shown}");
    // The other way round nothing is even sent: this node cannot name the other.
    let said = site.says(&site.four, &format!("lctl ping {FAR} 5"));
    assert!(said.contains("failed to ping"), "{said}");
    assert_eq!(site.router.lnet().statistics().drop_count, 1);
    // The router itself has NIDs of both kinds.
    for (node, nid) in [(&site.six, ROUTER_NIDS[0]), (&site.four, ROUTER_NIDS[2])] {
        let said = site.says(node, &format!("lctl ping {nid} 5"));
        assert_eq!(
            said,
            "12345-0@lo\n12345-10.3.0.1@tcp2\n12345-2001:db8:1::1@tcp\n12345-2001:db8:2::1@tcp1\n"
        );
    }
}

/// Two IPv4 networks with a network of IPv6 routers between them.
#[test]
fn ipv4_nodes_reach_each_other_over_an_ipv6_network() {
    let world = World::new(9);
    let wires = [(); 3].map(|()| world.wire(Faults::default()));
    let machines = [(); 4].map(|()| world.node());
    let [client, near, other, server] = &machines;
    plug(client, "eth0", &wires[0], &["10.1.0.2/24"]);
    plug(near, "eth0", &wires[0], &["10.1.0.1/24"]);
    plug(near, "eth1", &wires[1], &["fd00::1/64"]);
    plug(other, "eth0", &wires[1], &["fd00::2/64"]);
    plug(other, "eth1", &wires[2], &["10.2.0.1/24"]);
    plug(server, "eth0", &wires[2], &["10.2.0.2/24"]);
    let routed = "lnet.forwarding=enabled";
    let near = start(
        &world,
        near,
        2,
        &format!("lnet.networks=\"tcp(eth0),tcp6(eth1)\" lnet.routes=\"tcp1 fd00::2@tcp6\" {routed}"),
    );
    let other = start(
        &world,
        other,
        3,
        &format!("lnet.networks=\"tcp6(eth0),tcp1(eth1)\" lnet.routes=\"tcp fd00::1@tcp6:4\" {routed}"),
    );
    let client = start(&world, client, 4, "lnet.networks=tcp lnet.routes=\"tcp1 2 10.1.0.1@tcp\"");
    let server = start(&world, server, 5, "lnet.networks=tcp1 lnet.routes=\"tcp 2 10.2.0.1@tcp1\"");
    world.run_for(2 * SECOND);
    let site = Site {
        world,
        router_machine: machines[1].clone(),
        router: near.clone(),
        six: other.clone(),
        far: other.clone(),
        four: client.clone(),
        dual: server.clone(),
    };
    assert!(site.pings(&client, "10.2.0.2@tcp1") && site.pings(&server, "10.1.0.2@tcp"));
    site.bulk(&client, &server, "10.2.0.2@tcp1");
    site.bulk(&server, &client, "10.1.0.2@tcp");
    // What the routers themselves ask of nodes behind each other names an IPv4 NID as the sender.
    assert!(site.pings(&near, "10.2.0.2@tcp1") && site.pings(&other, "10.1.0.2@tcp"));
    assert_eq!((near.lnet().statistics().drop_count, other.lnet().statistics().drop_count), (0, 0));
    let route = site.says(&other, "lnetctl route show -v");
    assert!(route.contains("gateway: fd00::1@tcp6\n      hop: -1\n      priority: 4\n"), "{route}");
    assert!(route.contains("state: up\n      type: single-hop\n"), "{route}");
}

#[test]
fn everything_is_shown_as_lustre_shows_it() {
    let site = site(ROUTER);
    assert!(site.pings(&site.six, FAR));
    assert_eq!(site.says(&site.router, "lctl list_nids"), ROUTER_NIDS.map(|nid| format!("{nid}\n")).concat());
    let shown = site.says(&site.router, "lnetctl net show --net tcp1");
    assert!(shown.contains("- nid: 2001:db8:2::1@tcp1\n          status: up\n"), "{shown}");
    let conns = site.says(&site.router, "lctl --net tcp conn_list");
    assert!(
        conns.contains("12345-2001:db8:1::2@tcp C") && conns.contains("2001:db8:1::1->2001:db8:1::2:"),
        "{conns}"
    );
    let peers = site.says(&site.router, "lctl --net tcp peer_list");
    assert!(peers.contains("12345-2001:db8:1::2@tcp"), "{peers}");
    // Discovery: one peer with all NIDs, known by the first, which is an IPv6 one.
    let said = site.says(&site.four, "lnetctl discover 10.3.0.1@tcp2");
    let expected = "\
discover:
    - primary nid: 2001:db8:1::1@tcp
      Multi-Rail: True
      peer ni:
        - nid: 10.3.0.1@tcp2
        - nid: 2001:db8:1::1@tcp
        - nid: 2001:db8:2::1@tcp1
";
    assert_eq!(said, expected);
    let shown = site.says(&site.four, "lnetctl peer show --nid 10.3.0.1@tcp2");
    assert!(shown.contains("- primary nid: 2001:db8:1::1@tcp\n"), "{shown}");
    // The other end was pushed what the asker is.
    let shown = site.says(&site.router, "lnetctl peer show --nid 10.3.0.2@tcp2 -v 3");
    assert!(shown.contains("Multi-Rail: True"), "{shown}");
    let shown = site.says(&site.six, "lnetctl peer show --nid 2001:db8:1::1@tcp");
    assert!(shown.contains("- nid: 2001:db8:2::1@tcp1\n"), "{shown}");
}

#[test]
fn networks_are_added_and_kept_in_backups() {
    let site = site("lnet.networks=tcp2(eth2) lnet.forwarding=enabled");
    let says = |line: &str| site.says(&site.router, line);
    assert_eq!(says("lctl list_nids"), "10.3.0.1@tcp2\n");
    // By itself the interface with an IPv6 address only, on demand the one with both, or by NID.
    assert_eq!(says("lnetctl net add --net tcp --if eth0"), "");
    assert_eq!(says("lnetctl net add --net tcp1 --if eth1 --large"), "");
    assert_eq!(says("lctl list_nids"), "10.3.0.1@tcp2\n2001:db8:1::1@tcp\n2001:db8:2::1@tcp1\n");
    assert_eq!(says("lnetctl net del --nid 2001:db8:2::1@tcp1"), "");
    assert_eq!(says("lnetctl net add --net tcp1 --if eth1"), "", "IPv4 where there is one");
    assert_eq!(
        says("lnetctl net add --nid 2001:db8:2::1@tcp1"),
        "",
        "one network, one interface, both kinds"
    );
    assert_eq!(says("lnetctl net del --nid 10.2.0.1@tcp1"), "");
    assert!(says("lnetctl net del --nid 10.2.0.1@tcp1").contains("errno: -2"));
    let lacking = says("lnetctl net add --net tcp5 --if eth2 --large");
    assert!(lacking.contains("errno: -99") && lacking.contains("eth2 lacks an IPv6 address"), "{lacking}");
    let nowhere = says("lnetctl net add --nid 2001:db8:2::9@tcp5");
    assert!(nowhere.contains("errno: -99") && nowhere.contains("no interface has that address"), "{nowhere}");
    assert_eq!(says("lnetctl route add --net tcp9 --gateway 2001:db8:2::2@tcp1 --priority 3"), "");
    let backup = says("lnetctl export --backup");
    assert!(
        backup.contains("        - nid: 2001:db8:2::1@tcp1\n          interfaces:\n              0: eth1\n"),
        "{backup}"
    );
    assert!(backup.contains("gateway: 2001:db8:2::2@tcp1\n"), "{backup}");
    for text in [&backup, &says("lnetctl export")] {
        assert_eq!(says("lnetctl lnet unconfigure --force"), "");
        assert_eq!(says("lnetctl lnet configure"), "");
        assert_eq!(site.import(&site.router, "--add", text), "");
        assert_eq!(says("lnetctl export --backup"), backup);
    }
    // Peers ask again after a minute, and after an interval longer pings say that this node forwards.
    site.world.run_for(240 * SECOND);
    assert!(site.pings(&site.six, FAR));
    assert_eq!(site.import(&site.router, "--del", &backup), "");
    assert_eq!(says("lctl list_nids"), "");
}

/// `lnet configure --large`: IPv6 wherever it is, until LNet goes down.
#[test]
fn all_of_lnet_may_be_large() {
    let site = site("lnet.networks=\"tcp(eth0),tcp1(eth1)\"");
    let says = |line: &str| site.says(&site.router, line);
    assert_eq!(says("lctl list_nids"), "2001:db8:1::1@tcp\n10.2.0.1@tcp1\n");
    assert_eq!(says("lnetctl lnet unconfigure"), "");
    assert_eq!(says("lnetctl lnet configure --all --large"), "");
    assert_eq!(says("lctl list_nids"), "2001:db8:1::1@tcp\n2001:db8:2::1@tcp1\n");
    assert_eq!(says("lnetctl net del --net tcp1"), "");
    assert_eq!(says("lnetctl net add --net tcp1 --if eth1"), "");
    assert_eq!(says("lctl list_nids"), "2001:db8:1::1@tcp\n2001:db8:2::1@tcp1\n");
    assert_eq!(says("lnetctl lnet unconfigure"), "");
    assert_eq!(says("lctl network up"), "LNET configured\n");
    assert_eq!(says("lctl list_nids"), "2001:db8:1::1@tcp\n10.2.0.1@tcp1\n");
}

/// A link that goes is told of with the entry of its IPv6 NID.
#[test]
fn links_are_told_of() {
    let site = site(ROUTER);
    let status = |site: &Site| {
        let lnet = site.four.lnet().clone();
        let to = ProcessId::lustre(nid(ROUTER_NIDS[2]));
        let info = site.world.run(async move { lnet.ping(to, SECOND).await.unwrap() });
        info.entries
            .iter()
            .map(|entry| format!("{} {:?}", entry.nid, entry.status))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let all = "10.3.0.1@tcp2 Up, 2001:db8:1::1@tcp Up, 2001:db8:2::1@tcp1 Up";
    assert_eq!(status(&site), all);
    site.router_machine.set_carrier("eth0", false);
    site.world.run_for(SECOND);
    assert_eq!(status(&site), all.replace("1::1@tcp Up", "1::1@tcp Down"));
    site.router_machine.set_carrier("eth0", true);
    site.world.run_for(SECOND);
    assert_eq!(status(&site), all);
}
