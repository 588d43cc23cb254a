//! Whole nodes on simulated wires, used as their administrators use them.

use keelson_config::Config;
use keelson_lnet::admin::Admin;
use keelson_lnet::node::Node;
use keelson_lnet::options::{NodeConfig, OPTIONS};
use keelson_lnet_wire::nid::ProcessId;
use keelson_net_sim::{Faults, NicModel, Node as Machine, Rng, World};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A client on tcp, a router, a server on tcp1, each on its own machine.
struct Site {
    world: World,
    router_machine: Rc<Machine>,
    router: Rc<Node>,
    client: Rc<Node>,
    server: Rc<Node>,
}

fn start(world: &World, machine: &Rc<Machine>, seed: u64, line: &str) -> Rc<Node> {
    let config = Config::parse(&[OPTIONS], &["lnet", "ksocklnd"], "", line.as_bytes());
    assert!(config.problems().is_empty(), "{:?}", config.problems());
    let config = NodeConfig::from_options(&config, 1 << 30).unwrap();
    let (handle, stack) = machine.boot();
    let node = Node::new(handle, stack, world.clock(), Rc::new(Rng::new(seed)), config);
    node.start();
    node
}

const ROUTER: &str = "lnet.networks=\"tcp0(eth0),tcp1(eth1)\" lnet.forwarding=enabled";

fn site(router_line: &str) -> Site {
    site_with(router_line, "")
}

/// The others have these options, too.
fn site_with(router_line: &str, others: &str) -> Site {
    let world = World::new(1);
    let (near, far) = (world.wire(Faults::default()), world.wire(Faults::default()));
    let machines = [world.node(), world.node(), world.node()];
    let [router_machine, client_machine, server_machine] = &machines;
    router_machine.plug("eth0", &near, "10.1.0.1/24", NicModel::default());
    router_machine.plug("eth1", &far, "10.2.0.1/24", NicModel::default());
    client_machine.plug("eth0", &near, "10.1.0.2/24", NicModel::default());
    server_machine.plug("eth0", &far, "10.2.0.2/24", NicModel::default());
    let router = start(&world, router_machine, 2, router_line);
    let client = format!("lnet.networks=tcp lnet.routes=\"tcp1 10.1.0.1@tcp\" {others}");
    let client = start(&world, client_machine, 3, &client);
    let server = format!("lnet.networks=tcp1 lnet.routes=\"tcp 10.2.0.1@tcp1\" {others}");
    let server = start(&world, server_machine, 4, &server);
    let router_machine = router_machine.clone();
    world.run_for(Duration::from_secs(2));
    Site { world, router_machine, router, client, server }
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
                "routerstat" => admin.routerstat(&words[1..]).await,
                _ => admin.cat(&words[1..]),
            }
        })
    }

    fn import(&self, node: &Rc<Node>, text: &str) -> String {
        let (admin, text) = (Admin::new(node.clone()), text.to_owned());
        self.world.run(async move { admin.lnetctl(&["import", &text]).await })
    }

    /// Whether client and server reach each other.
    fn reaches(&self) -> bool {
        let there = self.says(&self.client, "lctl ping 10.2.0.2@tcp1 5");
        let back = self.says(&self.server, "lctl ping 10.1.0.2@tcp 5");
        there == "12345-0@lo\n12345-10.2.0.2@tcp1\n" && back == "12345-0@lo\n12345-10.1.0.2@tcp\n"
    }
}

#[test]
fn messages_are_routed_and_counted() {
    let site = site(ROUTER);
    assert!(site.reaches());
    let shown = site.says(&site.router, "lnetctl net show");
    let expected = "\
net:
    - net type: lo
      local NI(s):
        - nid: 0@lo
          status: up
    - net type: tcp
      local NI(s):
        - nid: 10.1.0.1@tcp
          status: up
          interfaces:
              0: eth0
    - net type: tcp1
      local NI(s):
        - nid: 10.2.0.1@tcp1
          status: up
          interfaces:
              0: eth1
";
    assert_eq!(shown, expected);
    // Two pings, there and back: GET and REPLY each.
    let stats = site.says(&site.router, "cat /sys/kernel/debug/lnet/stats");
    assert_eq!(stats.split(' ').nth(5), Some("4"), "{stats}");
    let route = site.says(&site.client, "lnetctl route show -v");
    assert!(route.contains("gateway: 10.1.0.1@tcp\n      hop: -1\n"), "{route}");
    assert!(route.contains("state: up\n      type: single-hop\n"), "{route}");
    let conns = site.says(&site.router, "lctl --net tcp1 conn_list");
    assert!(conns.contains("12345-10.2.0.2@tcp1") && conns.contains("10.2.0.1->10.2.0.2:"), "{conns}");
    let discovered = site.says(&site.client, "lnetctl discover 10.1.0.1@tcp");
    assert!(discovered.contains("Multi-Rail: True") && discovered.contains("10.2.0.1@tcp1"), "{discovered}");
}

#[test]
fn a_router_goes_down_only_when_told_explicitly_and_comes_up_from_its_backup() {
    let site = site(ROUTER);
    let refused = site.says(&site.router, "lnetctl lnet unconfigure");
    assert!(refused.contains("errno: -16") && refused.contains("this node routes"), "{refused}");
    assert!(site.reaches());
    let backup = site.says(&site.router, "lnetctl export --backup");
    assert_eq!(site.says(&site.router, "lnetctl lnet unconfigure --force"), "");
    assert!(site.says(&site.router, "lnetctl net show").contains("errno: -100"));
    assert!(!site.reaches());
    assert_eq!(site.says(&site.router, "lnetctl lnet configure"), "");
    assert_eq!(site.says(&site.router, "lctl list_nids"), "");
    assert_eq!(site.import(&site.router, &backup), "");
    assert_eq!(site.says(&site.router, "lnetctl export --backup"), backup);
    // Peers ask again after a minute, and after an interval longer pings say that this node forwards.
    site.world.run_for(Duration::from_secs(240));
    assert!(site.reaches());
}

#[test]
fn networks_and_routes_come_and_go() {
    let site = site("lnet.networks=tcp0(eth0) lnet.forwarding=enabled");
    assert!(!site.reaches());
    assert_eq!(site.says(&site.router, "lnetctl net add --net tcp1 --if eth1 --peer-credits 32"), "");
    let shown = site.says(&site.router, "lnetctl net show --net tcp1 -v");
    // The wires run at 1 Gbit/s.
    assert!(shown.contains("peer_credits: 32") && shown.contains("conns_per_peer: 1\n"), "{shown}");
    site.world.run_for(Duration::from_secs(120));
    assert!(site.reaches());
    let twice = site.says(&site.router, "lnetctl net add --net tcp1 --if eth1");
    assert!(
        twice.contains("errno: -17") && twice.contains("there is an NI 10.2.0.1@tcp1 already"),
        "{twice}"
    );
    let nowhere = site.says(&site.router, "lnetctl net add --net tcp5 --if eth7");
    assert!(nowhere.contains("errno: -19") && nowhere.contains("there is eth0, eth1"), "{nowhere}");
    assert_eq!(site.says(&site.router, "lnetctl route add --net tcp9 --gateway 10.2.0.9@tcp1"), "");
    let far = site.says(&site.router, "lnetctl route add --net tcp9 --gateway 10.7.0.9@tcp7");
    assert!(far.contains("errno: -113"), "{far}");
    assert_eq!(site.says(&site.router, "lnetctl net del --net tcp1"), "");
    assert_eq!(site.says(&site.router, "lnetctl route show"), "");
    assert!(site.says(&site.router, "lnetctl net del --net tcp1").contains("errno: -2"));
}

#[test]
fn links_are_told_of() {
    let site = site(ROUTER);
    site.router_machine.set_carrier("eth1", false);
    site.world.run_for(Duration::from_secs(1));
    let shown = site.says(&site.router, "lnetctl net show --net tcp1");
    assert!(shown.contains("status: down"), "{shown}");
    site.router_machine.set_carrier("eth1", true);
    site.world.run_for(Duration::from_secs(1));
    assert!(site.says(&site.router, "lnetctl net show --net tcp1").contains("status: up"));
}

#[test]
fn a_node_that_is_named_as_gateway_forwards() {
    let routes = "lnet.routes=\"tcp1 10.1.0.1@tcp; tcp 10.2.0.1@tcp1\"";
    let site = site(&format!("lnet.networks=\"tcp0(eth0),tcp1(eth1)\" {routes}"));
    assert!(site.says(&site.router, "lnetctl routing show").contains("- enable: 1"));
    assert_eq!(site.says(&site.router, "lnetctl route show"), "");
    assert!(site.reaches());
}

#[test]
fn networks_are_found_by_address() {
    let site = site("lnet.ip2nets=\"tcp0 10.1.*.*; tcp1 10.2.*.*; tcp2 10.3.*.*\" lnet.forwarding=enabled");
    assert_eq!(site.says(&site.router, "lctl list_nids"), "10.1.0.1@tcp\n10.2.0.1@tcp1\n");
    assert!(site.reaches());
}

#[test]
fn peers_are_named_and_kept() {
    let site = site(ROUTER);
    let says = |line: &str| site.says(&site.router, line);
    assert_eq!(says("lnetctl peer add --prim_nid 10.1.0.2@tcp --nid 10.1.0.8@tcp,2001:db8::2@tcp7"), "");
    assert_eq!(says("lnetctl peer add --prim_nid 10.2.0.9@tcp1 --non_mr"), "");
    let shown = says("lnetctl peer show --nid 10.1.0.8@tcp -v 3");
    assert!(
        shown.contains("- primary nid: 10.1.0.2@tcp\n      Multi-Rail: True\n      peer state: 9\n"),
        "{shown}"
    );
    let own = says("lnetctl peer add --prim_nid 10.2.0.1@tcp1");
    assert_eq!(
        own,
        "add:\n    - peer:\n          errno: -22\n          descr: \"cannot add peer: 10.2.0.1@tcp1 is a NID of this node\"\n"
    );
    let backup = says("lnetctl export --backup");
    assert!(backup.contains("peer:\n    - primary nid: 10.1.0.2@tcp\n      Multi-Rail: True\n"), "{backup}");
    assert_eq!(says("lnetctl lnet unconfigure --force"), "");
    assert_eq!(says("lnetctl lnet configure"), "");
    assert_eq!(site.import(&site.router, &backup), "");
    assert_eq!(says("lnetctl export --backup"), backup);
    assert_eq!(says("lnetctl peer del --prim_nid 10.1.0.2@tcp --nid 10.1.0.8@tcp"), "");
    assert!(says("lnetctl peer show --nid 10.1.0.8@tcp").contains("errno: -2"));
    assert!(says("lnetctl peer del --prim_nid 10.1.0.8@tcp").contains("errno: -2"));
    // One that is connected: it comes again.
    assert_eq!(says("lctl ping 10.1.0.2@tcp 5"), "12345-0@lo\n12345-10.1.0.2@tcp\n");
    assert_eq!(says("lnetctl peer del --prim_nid 10.1.0.2@tcp"), "");
    assert_eq!(says("lctl --net tcp conn_list"), "<no connections>\n");
    assert_eq!(says("lctl ping 10.1.0.2@tcp 5"), "12345-0@lo\n12345-10.1.0.2@tcp\n");
    // The client's routes lead through the router.
    let refused = site.says(&site.client, "lnetctl peer del --prim_nid 10.1.0.1@tcp");
    assert!(refused.contains("errno: -16") && refused.contains("delete the routes"), "{refused}");
}

/// A ping leaves through the NI whose NID it names.
#[test]
fn pings_have_a_source() {
    let site = site(ROUTER);
    let says = |line: &str| site.says(&site.router, line);
    assert_eq!(
        says("lnetctl net add --nid 10.1.0.5@tcp"),
        "add:\n    - net:\n          errno: -99\n          descr: \"cannot add network: no interface has that address\"\n"
    );
    assert!(
        says("lnetctl ping --source 10.1.0.1@tcp --timeout 5 10.1.0.2@tcp").contains("- nid: 10.1.0.2@tcp\n")
    );
    for (source, errno) in [("10.2.0.1@tcp1", -113), ("10.1.0.2@tcp", -22)] {
        let failed = says(&format!("lnetctl ping --source {source} 10.1.0.2@tcp"));
        assert!(failed.contains(&format!("errno: {errno}")), "{failed}");
    }
    // Through a gateway on the network of the source.
    let far = site.says(&site.client, "lnetctl ping --source 10.1.0.2@tcp --timeout 5 10.2.0.2@tcp1");
    assert!(far.contains("- nid: 10.2.0.2@tcp1\n"), "{far}");
}

#[test]
fn faults_act() {
    let site = site(ROUTER);
    assert_eq!(site.says(&site.router, "lctl net_drop_add -s *@tcp -d *@tcp1 -x"), "");
    assert!(!site.reaches());
    let shown = site.says(&site.router, "lnetctl fault drop show");
    // The GET of one, the REPLY to the other.
    assert!(shown.contains("ds_dropped: 2\n      fs_count: 2\n"), "{shown}");
    assert_eq!(site.says(&site.router, "lnetctl fault drop del -a"), "");
    assert!(site.reaches());
    assert_eq!(
        site.says(&site.router, "lnetctl fault drop add -s *@tcp -d *@tcp1 -r 1 -e network_timeout"),
        ""
    );
    assert!(!site.reaches());
    let shown = site.says(&site.router, "lnetctl fault drop show");
    let expected =
        "da_interval: 0\n      da_health_error_mask: 0x400\n      ds_dropped: 2\n      fs_count: 2\n";
    assert!(shown.contains(expected), "{shown}");
    let counted = site.says(&site.router, "lnetctl stats show");
    assert!(counted.contains("network_timeout_count: 2\n"), "{counted}");
    assert_eq!(site.says(&site.router, "lnetctl fault drop del -a"), "");
    assert!(site.reaches());
}

#[test]
fn the_end_is_announced() {
    let site = site(ROUTER);
    let (router, began) = (site.router.clone(), site.world.now());
    site.world.run(async move { router.shut_down().await });
    // Nobody uses it: a second, and another one for connections that close.
    let took = site.world.now() - began;
    assert!((2000..2300).contains(&took.as_millis()), "{took:?}");
    assert!(site.says(&site.router, "lctl list_nids").contains("not up"));
    // The peers knew before it was gone.
    assert!(site.says(&site.client, "lnetctl route show -v").contains("state: down"));
}

/// Who does not hear of the end, and sends on, is served for as long as was promised.
#[test]
fn the_end_waits_for_those_who_send() {
    let deaf = "lnet.lnet_peer_discovery_disabled=1 lnet.alive_router_check_interval=0";
    for (pause, span) in [(500, 11_000..11_300), (1500, 2000..2300)] {
        let site = site_with(&format!("{ROUTER} lnet.shutdown_drain=10"), deaf);
        assert!(site.reaches());
        let (client, handle, to) =
            (site.client.clone(), site.world.handle(), "10.2.0.2@tcp1".parse().unwrap());
        let lost = Rc::new(Cell::new(0));
        let count = lost.clone();
        site.world.handle().spawn("sender", async move {
            // Not in the last moments.
            let end = handle.now() + Duration::from_millis(9900);
            while handle.now() < end {
                let sent = client.lnet().ping(ProcessId::lustre(to), Duration::from_millis(100)).await;
                count.set(count.get() + u32::from(sent.is_err()));
                handle.sleep(Duration::from_millis(pause)).await;
            }
        });
        site.world.run_for(Duration::from_millis(10));
        let (router, began) = (site.router.clone(), site.world.now());
        site.world.run(async move { router.shut_down().await });
        let took = (site.world.now() - began).as_millis() as u64;
        assert!(span.contains(&took), "every {pause} ms: {took} ms");
        assert_eq!(lost.get(), u32::from(pause > 1000), "every {pause} ms: {} lost", lost.get());
    }
}

/// The machine goes as soon as its node has ended; its peers are not left with dead connections.
#[test]
fn the_end_closes_connections() {
    let site = site(ROUTER);
    assert!(site.reaches());
    assert!(site.says(&site.client, "lctl --net tcp conn_list").contains("10.1.0.1@tcp"));
    let (router, machine) = (site.router.clone(), site.router_machine.clone());
    site.world.run(async move {
        router.shut_down().await;
        machine.set_carrier("eth0", false);
        machine.set_carrier("eth1", false);
    });
    site.world.run_for(Duration::from_secs(1));
    for (node, net) in [(&site.client, "tcp"), (&site.server, "tcp1")] {
        let shown = site.says(node, &format!("lctl --net {net} conn_list"));
        assert!(shown.contains("<no connections>"), "{shown}");
    }
}

/// A router has been rebooted in order, so that its peers have been told to turn away from it. They use it again as soon
/// as they have been in contact with it, whatever about: not when they check it again, a minute later at worst.
#[test]
fn who_makes_contact_after_a_reboot_sees_its_route() {
    // They check it as seldom as can be.
    let mut site = site_with(ROUTER, "lnet.alive_router_check_interval=0");
    assert!(site.reaches());
    site.world.run_for(Duration::from_secs(1));
    let (router, machine) = (site.router.clone(), site.router_machine.clone());
    site.world.run(async move { router.shut_down().await });
    let is_up = |site: &Site, node| site.says(node, "lnetctl route show -v").contains("state: up");
    assert!(!is_up(&site, &site.client) && !is_up(&site, &site.server));
    machine.kill();
    site.world.run_for(Duration::from_secs(5));
    site.router = start(&site.world, &machine, 5, ROUTER);
    site.world.run_for(Duration::from_secs(2));
    assert!(!is_up(&site, &site.client), "not in contact yet");
    for (node, near) in [(&site.client, "10.1.0.1@tcp"), (&site.server, "10.2.0.1@tcp1")] {
        assert!(site.says(node, &format!("lctl ping {near} 5")).contains("10.2.0.1@tcp1"));
        assert!(!is_up(&site, node), "a ping alone tells it nothing");
        site.world.run_for(Duration::from_millis(500));
        assert!(is_up(&site, node));
    }
    assert!(site.reaches());
    let contacts = site.router.lnet().contacts();
    assert_eq!((contacts.made, contacts.told, contacts.failed), (2, 2, 0), "{contacts:?}");
}

/// Many clients are there again at the same time as the router: all are told, and what is routed meanwhile is
/// not held up.
#[test]
fn a_crowd_of_clients_is_told_while_messages_are_routed() {
    const CLIENTS: usize = 100;
    let world = World::new(3);
    let (near, far) = (world.wire(Faults::default()), world.wire(Faults::default()));
    let (router_machine, server_machine) = (world.node(), world.node());
    router_machine.plug("eth0", &near, "10.1.0.1/16", NicModel::default());
    router_machine.plug("eth1", &far, "10.2.0.1/24", NicModel::default());
    server_machine.plug("eth0", &far, "10.2.0.2/24", NicModel::default());
    let router = start(&world, &router_machine, 2, ROUTER);
    start(&world, &server_machine, 3, "lnet.networks=tcp1 lnet.routes=\"tcp 10.2.0.1@tcp1\"");
    // They do not check the router, so that they know of it what it tells.
    let line = "lnet.networks=tcp lnet.routes=\"tcp1 10.1.0.1@tcp\" lnet.alive_router_check_interval=0";
    let clients: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let machine = world.node();
            let address = format!("10.1.{}.{}/16", 1 + index / 200, 1 + index % 200);
            machine.plug("eth0", &near, &address, NicModel::default());
            start(&world, &machine, 10 + index as u64, line)
        })
        .collect();
    world.run_for(Duration::from_secs(1));
    let slowest = Rc::new(Cell::new(Duration::ZERO));
    for client in &clients {
        let (client, handle, slowest) = (client.clone(), world.handle(), slowest.clone());
        world.handle().spawn("pings", async move {
            let to = ProcessId::lustre("10.2.0.2@tcp1".parse().unwrap());
            for round in 0..10 {
                let began = handle.now();
                client.lnet().ping(to, Duration::from_secs(10)).await.unwrap();
                // The first one connects.
                if round > 0 {
                    slowest.set(slowest.get().max(handle.now() - began));
                }
                handle.sleep(Duration::from_millis(100)).await;
            }
        });
    }
    world.run_for(Duration::from_secs(5));
    let contacts = router.lnet().contacts();
    // The server checks the router, and has spoken first.
    assert_eq!((contacts.told, contacts.spoke_first), (CLIENTS as u64, 1), "{contacts:?}");
    assert!(slowest.get() < Duration::from_millis(50), "{:?}", slowest.get());
    assert_eq!(router.lnet().statistics().route_count, 2 * 10 * CLIENTS as u64);
    assert!(clients.iter().all(|client| client.lnet().peers().iter().any(|peer| peer.multi_rail)));
}
