//! The load generator and the LNet node it is made of, without any appliance: end nodes on one network, and a
//! router of the same code between two.

use std::time::Duration;

use keelson_qemu::Bench;
use keelson_tests::lnet::{BrwDirection, Check, Generator, Kind, Limit, Load, Nid, Probe, Routed, Spec, nid};

fn brw(direction: BrwDirection, len: u32) -> Kind {
    Kind::Rpc(Probe::Brw { direction, len, check: Check::Full })
}

#[test]
fn neighbours_reach_each_other() {
    let bench = Bench::new("neighbours");
    let lan = bench.lan("lan").unwrap();
    let a = Generator::start(&lan.port("a").unwrap(), Spec::node("10.1.0.2@tcp")).unwrap();
    let b = Generator::start(&lan.port("b").unwrap(), Spec::node("10.1.0.3@tcp")).unwrap();
    assert_eq!(a.ping(b.nids()[0]).unwrap(), [nid("10.1.0.3@tcp")]);
    a.enlist(&b.nids()).unwrap();
    for kind in [
        Kind::Ping,
        Kind::Rpc(Probe::Ping),
        Kind::Put(0),
        Kind::Put(4096),
        Kind::Get(1 << 20),
        brw(BrwDirection::Read, 65_536),
        brw(BrwDirection::Write, 1 << 20),
    ] {
        let report = a.run(Load { concurrent: 8, limit: Limit::Count(8), ..Load::new(kind, b.nids()) });
        println!("{kind:?}: {report}");
        assert_eq!((report.messages, report.errors), (64, 0), "{kind:?}: {report}");
    }
    assert_eq!(b.received().corrupted, 0);
}

/// What the appliance is asked to do, done by our own node: the tests' tests.
mod with_a_router_of_our_own {
    use super::*;

    const SPAN: Duration = Duration::from_millis(500);

    #[test]
    fn everybody_answers_pings() {
        Routed::with_node("pings").everybody_answers_pings();
    }

    #[test]
    fn messages_pass_both_ways() {
        Routed::with_node("both ways").messages_pass_both_ways(SPAN);
    }

    #[test]
    fn an_end_node_may_restart() {
        Routed::with_node("end node restarts").an_end_node_may_restart();
    }

    #[test]
    fn the_router_may_restart() {
        Routed::with_node("router restarts").the_router_may_restart();
    }

    #[test]
    fn a_cable_may_be_pulled() {
        Routed::with_node("cable pulled").a_cable_may_be_pulled();
    }

    #[test]
    fn the_dead_stop_nobody() {
        Routed::with_node("dead destination").the_dead_stop_nobody();
    }

    #[test]
    fn a_crowd_is_served() {
        Routed::with_node("crowd").a_crowd_is_served();
    }

    #[test]
    fn the_router_is_a_test_node() {
        Routed::with_node("selftest").the_router_is_a_test_node(SPAN);
    }
}

#[test]
fn a_crowd_is_one_host() {
    let bench = Bench::new("crowd");
    let lan = bench.lan("lan").unwrap();
    let crowd = Generator::start(&lan.port("crowd").unwrap(), Spec::crowd("10.1.1.0@tcp", 256)).unwrap();
    let spec = Spec { prefix: 16, ..Spec::node("10.1.0.2@tcp") };
    let one = Generator::start(&lan.port("one").unwrap(), spec).unwrap();
    let load = Load { limit: Limit::Count(4), ..Load::new(Kind::Put(5000), crowd.nids()) };
    let report = one.run(load);
    println!("{report}");
    assert_eq!((report.messages, report.errors), (1024, 0), "{report}");
    let from_all = crowd.run(Load { limit: Limit::Count(4), ..Load::new(Kind::Get(5000), one.nids()) });
    assert_eq!((from_all.messages, from_all.errors), (1024, 0), "{from_all}");
    assert_eq!(crowd.connections(), 768);
    let nids: Vec<Nid> = crowd.nids();
    assert_eq!(one.ping(nids[255]).unwrap(), [nid("10.1.1.255@tcp")]);
}
