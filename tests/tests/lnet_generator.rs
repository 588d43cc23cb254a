//! The load generator and the LNet node it is made of, without any appliance: end nodes on one network, and a
//! router of the same code between two.

use std::time::Duration;

use keelson_qemu::{Bench, Lan};
use keelson_tests::lnet::{
    BrwDirection, Check, Generator, Kind, Limit, Load, Nid, Probe, Spec, TestSpec, nid,
};

const ROUTER: [&str; 2] = ["10.1.0.1@tcp", "10.2.0.1@tcp1"];

/// Both networks share a switch; a router between them, A on the one and B on the other.
struct Routed {
    a: Generator,
    b: Generator,
    router: Option<Generator>,
    _lan: Lan,
    _bench: Bench,
}

fn routed(name: &str) -> Routed {
    let bench = Bench::new(name);
    let lan = bench.lan("lan").unwrap();
    let router = Generator::start(&lan.port("router").unwrap(), Spec::router(&ROUTER)).unwrap();
    let a = Spec::node("10.1.0.2@tcp").route("tcp1", ROUTER[0]);
    let a = Generator::start(&lan.port("a").unwrap(), a).unwrap();
    let b = Spec::node("10.2.0.2@tcp1").route("tcp", ROUTER[1]);
    let b = Generator::start(&lan.port("b").unwrap(), b).unwrap();
    Routed { a, b, router: Some(router), _lan: lan, _bench: bench }
}

const SPAN: Limit = Limit::Time(Duration::from_secs(1));

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

#[test]
fn a_router_carries_everything_both_ways() {
    let world = routed("both ways");
    let (a, b) = (&world.a, &world.b);
    assert_eq!(a.ping(b.nids()[0]).unwrap(), [nid("10.2.0.2@tcp1")]);
    for concurrent in [1, 64] {
        for kind in [Kind::Put(4096), Kind::Get(4096), Kind::Put(1 << 20), Kind::Get(1 << 20)] {
            let load = |to: &Generator| Load { concurrent, limit: SPAN, ..Load::new(kind, to.nids()) };
            let (there, back) = (a.begin(load(b)), b.begin(load(a)));
            for (way, report) in [("A to B", there), ("B to A", back)] {
                let report = report.wait(Duration::from_secs(60)).unwrap();
                println!("{concurrent} x {kind:?}, {way}: {report}");
                assert!(report.messages > 0 && report.errors == 0, "{way}: {report}");
            }
        }
    }
    assert_eq!((a.received().corrupted, b.received().corrupted), (0, 0));
}

#[test]
fn a_console_conducts_a_test_through_the_router() {
    let world = routed("conducted");
    for (direction, counted_as) in [(BrwDirection::Read, "put"), (BrwDirection::Write, "get")] {
        let test = TestSpec {
            probe: Probe::Brw { direction, len: 65_536, check: Check::Full },
            iterations: TestSpec::ENDLESS,
            concurrency: 4,
            stop_on_error: false,
        };
        let span = Duration::from_secs(1);
        let counted = world.a.conduct(&world.a.nids(), &world.b.nids(), test, span).unwrap();
        let [client, server] = counted[..] else { panic!("{counted:?}") };
        assert_eq!((client.framework.brw_errors, client.rpc.errors, server.rpc.errors), (0, 0, 0));
        let bytes = if counted_as == "put" { server.rpc.bulk_put } else { server.rpc.bulk_get };
        assert!(bytes > 10 * 65_536, "{server:?}");
    }
}

#[test]
fn who_was_killed_comes_back() {
    let mut world = routed("killed");
    let load = Load {
        concurrent: 4,
        limit: Limit::Time(Duration::from_secs(12)),
        timeout: Duration::from_secs(2),
        ..Load::new(Kind::Put(4096), world.b.nids())
    };
    let before = world.a.begin(load);
    std::thread::sleep(Duration::from_secs(1));
    world.router = world.router.take().map(|router| router.kill().restart().unwrap());
    let report = before.wait(Duration::from_secs(60)).unwrap();
    println!("router restarted: {report}");
    assert!(report.corrupt == 0 && report.longest_gap < Duration::from_secs(10), "{report}");
    let load = |span| Load { limit: Limit::Time(span), ..Load::new(Kind::Put(4096), world.b.nids()) };
    let after = world.a.run(load(Duration::from_secs(1)));
    assert!(after.messages > 10 && after.errors == 0, "{after}");
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
