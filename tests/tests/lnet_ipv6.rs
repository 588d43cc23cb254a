//! The LNet router appliance between nodes with IPv6 NIDs, and between nodes with IPv4 NIDs at the same time.

use std::time::Duration;

use keelson_qemu::{Bench, Lan, Machine, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::lnet::{Generator, Kind, Limit, Load, READY, Spec, nid};
use keelson_tests::world::{SOON, assert_sound, shell};

/// On two NICs with addresses of both kinds: two networks each.
const LINE: &str = "ip=10.1.0.1/24:eth0 ip=[fd00:1::1]/64:eth0 ip=10.2.0.1/24:eth1 ip=[fd00:2::1]/64:eth1 \
                    lnet.networks=\"tcp0(eth0),tcp1(eth1),tcp10(eth0),tcp11(eth1)\" lnet.large=tcp10,tcp11 \
                    lnet.forwarding=enabled";
const NIDS: [&str; 4] = ["10.1.0.1@tcp", "10.2.0.1@tcp1", "fd00:1::1@tcp10", "fd00:2::1@tcp11"];

/// The appliance, and two nodes for each kind of address.
struct Site {
    machine: Machine,
    four: [Generator; 2],
    six: [Generator; 2],
    _bench: Bench,
}

fn site(name: &str, model: NicModel) -> Site {
    let bench = Bench::new(name);
    let lans = ["near", "far"].map(|net| bench.lan(net).unwrap());
    let nic = |lan: &Lan| Nic::on(&lan.port("router").unwrap(), model);
    let spec = Appliance::lnet(&bench, "router", LINE).memory_mib(256).nic(nic(&lans[0])).nic(nic(&lans[1]));
    let machine = spec.start().unwrap();
    machine.expect(READY, SOON).unwrap();
    let start = |lan: &Lan, name: &str, nid: &str, far: &str, gateway: &str| {
        Generator::start(&lan.port(name).unwrap(), Spec::node(nid).route(far, gateway)).unwrap()
    };
    let four = [
        start(&lans[0], "a4", "10.1.0.2@tcp", "tcp1", NIDS[0]),
        start(&lans[1], "b4", "10.2.0.2@tcp1", "tcp", NIDS[1]),
    ];
    let six = [
        start(&lans[0], "a6", "fd00:1::2@tcp10", "tcp11", NIDS[2]),
        start(&lans[1], "b6", "fd00:2::2@tcp11", "tcp10", NIDS[3]),
    ];
    Site { machine, four, six, _bench: bench }
}

/// Pings, and small and large messages both ways between all pairs at the same time.
fn exchange(site: &Site) {
    for [a, b] in [&site.four, &site.six] {
        assert_eq!(a.ping(b.nids()[0]).unwrap(), b.nids());
        assert_eq!(b.ping(a.nids()[0]).unwrap(), a.nids());
    }
    for kind in [Kind::Ping, Kind::Put(4096), Kind::Get(4096), Kind::Put(1 << 20), Kind::Get(1 << 20)] {
        let load = |to: &Generator| Load {
            concurrent: 8,
            limit: Limit::Time(Duration::from_secs(1)),
            timeout: Duration::from_secs(40),
            ..Load::new(kind, to.nids())
        };
        let pairs = [&site.four, &site.six];
        let begun = pairs.map(|[a, b]| [a.begin(load(b)), b.begin(load(a))]);
        for (name, pair) in ["IPv4", "IPv6"].into_iter().zip(begun) {
            for report in pair {
                let report = report.wait(Duration::from_secs(120)).unwrap();
                println!("{kind:?}, {name}: {report}");
                assert!(report.messages > 0 && report.errors == 0, "{kind:?}, {name}: {report}");
            }
        }
    }
    for node in site.four.iter().chain(&site.six) {
        assert_eq!(node.received().corrupted, 0, "{:?}", node.nids());
    }
    assert_sound(&site.machine);
}

fn says(machine: &Machine, line: &str) -> String {
    shell(machine, line).join("\n")
}

#[test]
fn one_router_serves_both_kinds() {
    let site = site("ipv6", NicModel::Virtio);
    exchange(&site);
    // Whoever asks hears of all NIDs, those of IPv4 first.
    let nids = NIDS.map(nid);
    assert_eq!(site.four[0].ping(nids[0]).unwrap(), nids);
    assert_eq!(site.six[1].ping(nids[3]).unwrap(), nids);
    assert!(says(&site.machine, "lctl list_nids").contains(&NIDS.join("\n")));
    let conns = says(&site.machine, "lctl --net tcp11 conn_list");
    assert!(conns.contains("12345-fd00:2::2@tcp11") && conns.contains("fd00:2::1->fd00:2::2:"), "{conns}");
    // The node in the appliance as a client.
    let said = says(&site.machine, "lnetctl discover fd00:1::2@tcp10");
    assert!(said.contains("- nid: fd00:1::2@tcp10") && said.contains("Multi-Rail: True"), "{said}");
}

/// The same through NICs without offloads for IPv6.
#[test]
fn other_nics_do_as_well() {
    exchange(&site("ipv6 e1000e", NicModel::E1000e));
}
