//! Two networks with a router between them, two nodes on each, and what must hold whatever happens to them.
//!
//! The router is an appliance or, for the tests of the tests, one of our own nodes. Both networks are then on one
//! switch, which changes nothing for those who have to go through the router.

use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Lan, Machine, MachineSpec, Nic, NicModel, Pending, Port};

use super::{BrwDirection, Check, Generator, Kind, Limit, Load, Nid, Probe, Report, Spec, TestSpec, nid};
use crate::Appliance;
use crate::world::{SOON, assert_sound};

/// The router's NIDs.
pub const ROUTER: [&str; 2] = ["10.1.0.1@tcp", "10.2.0.1@tcp1"];
/// What the appliance says when peers can connect.
pub const READY: &str = "Accept secure, port 988";
/// How long a node may take to be of use again. Without a word from a peer that is back, Linux nodes and ours learn
/// it by a retransmission, a pause before the next attempt to connect, and a check of the router.
const BACK: Duration = Duration::from_secs(30);
/// The same for a node that has sent to the dead: what it sent stands in its own way, at the router too, until the
/// socket LND gives up connecting (50 s).
const BACK_FROM_THE_DEAD: Duration = Duration::from_secs(75);
/// The longest time in which nothing succeeds for those who are not concerned.
const UNDISTURBED: Duration = Duration::from_secs(4);

/// The router.
pub enum Router {
    /// The appliance.
    Machine(Box<Machine>),
    /// Our own node in the test's process.
    Node(Box<Generator>),
}

impl Router {
    /// Cuts its power and starts it again.
    ///
    /// # Panics
    ///
    /// When it does not come back.
    pub fn restart(self) -> Router {
        match self {
            Router::Machine(machine) => {
                let machine = machine.restart().unwrap();
                machine.expect(READY, SOON).unwrap();
                Router::Machine(Box::new(machine))
            }
            Router::Node(node) => Router::Node(Box::new(node.kill().restart().unwrap())),
        }
    }

    /// Nothing has failed in it.
    ///
    /// # Panics
    ///
    /// When something did.
    pub fn assert_sound(&self) {
        if let Router::Machine(machine) = self {
            assert_sound(machine);
        }
    }
}

/// The networks and who is on them.
pub struct Routed {
    /// 10.1.0.2@tcp.
    pub a: Generator,
    /// 10.2.0.2@tcp1.
    pub b: Generator,
    /// 10.1.0.3@tcp and 10.2.0.3@tcp1: those who are not concerned.
    pub others: [Generator; 2],
    /// Cables of A and B.
    pub cables: [Port; 2],
    /// Between them; `None` only while it is restarted.
    pub router: Option<Router>,
    /// The switches of `tcp` and `tcp1`, the same one for a router in the test.
    pub lans: [Lan; 2],
    /// Last, so that it outlives the others and can print what happened.
    pub bench: Bench,
}

/// A node of one of the networks.
fn node(text: &str) -> Spec {
    let spec = Spec { prefix: 16, ..Spec::node(text) };
    if text.ends_with("@tcp") { spec.route("tcp1", ROUTER[0]) } else { spec.route("tcp", ROUTER[1]) }
}

fn assert_undisturbed(loads: [Pending<Report>; 2]) {
    for load in loads {
        let report = load.wait(Duration::from_secs(300)).unwrap();
        println!("others: {report}");
        assert!(report.errors == 0 && report.messages > 0, "others: {report}");
        assert!(report.longest_gap < UNDISTURBED, "others: {report}");
    }
}

impl Routed {
    /// With a router of our own.
    ///
    /// # Panics
    ///
    /// When something does not start, as in the other functions.
    pub fn with_node(name: &str) -> Routed {
        let bench = Bench::new(name);
        let lan = bench.lan("lan").unwrap();
        let spec = Spec { prefix: 16, ..Spec::router(&ROUTER) };
        let router = Generator::start(&lan.port("router").unwrap(), spec).unwrap();
        Routed::around(Router::Node(Box::new(router)), [lan.clone(), lan], bench)
    }

    /// With the appliance, started as `adjust` says.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn with_appliance(name: &str, adjust: impl FnOnce(MachineSpec) -> MachineSpec) -> Routed {
        Routed::with_nics(name, |port, _| Nic::on(port, NicModel::Virtio), adjust)
    }

    /// The same with NICs that the caller chooses, by port and number.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn with_nics(
        name: &str,
        nic: impl Fn(&Port, usize) -> Nic,
        adjust: impl FnOnce(MachineSpec) -> MachineSpec,
    ) -> Routed {
        let bench = Bench::new(name);
        let lans = ["tcp", "tcp1"].map(|net| bench.lan(net).unwrap());
        let line = "ip=10.1.0.1/16:eth0 ip=10.2.0.1/16:eth1 lnet.networks=\"tcp0(eth0),tcp1(eth1)\" \
                    lnet.forwarding=enabled";
        let spec = Appliance::lnet(&bench, "router", line);
        let nics = lans.iter().enumerate().map(|(i, lan)| nic(&lan.port("router").unwrap(), i));
        let spec = nics.fold(spec, MachineSpec::nic);
        let machine = adjust(spec).start().unwrap();
        machine.expect(READY, SOON).unwrap();
        Routed::around(Router::Machine(Box::new(machine)), lans, bench)
    }

    fn around(router: Router, lans: [Lan; 2], bench: Bench) -> Routed {
        let start = |lan: &Lan, name: &str, text: &str| {
            let port = lan.port(name).unwrap();
            (Generator::start(&port, node(text)).unwrap(), port)
        };
        let (a, a_cable) = start(&lans[0], "a", "10.1.0.2@tcp");
        let (b, b_cable) = start(&lans[1], "b", "10.2.0.2@tcp1");
        let others = [start(&lans[0], "a2", "10.1.0.3@tcp").0, start(&lans[1], "b2", "10.2.0.3@tcp1").0];
        Routed { a, b, others, cables: [a_cable, b_cable], router: Some(router), lans, bench }
    }

    /// Those who are not concerned exchange messages both ways; to be given to [`Routed::end`].
    pub fn begin(&self, span: Duration) -> [Pending<Report>; 2] {
        let [a, b] = &self.others;
        let load = |to: &Generator, kind| Load {
            concurrent: 4,
            limit: Limit::Time(span),
            ..Load::new(kind, to.nids())
        };
        [a.begin(load(b, Kind::Put(4096))), b.begin(load(a, Kind::Get(65_536)))]
    }

    /// They were not disturbed.
    ///
    /// # Panics
    ///
    /// When they were.
    pub fn end(&self, loads: [Pending<Report>; 2]) {
        assert_undisturbed(loads);
        self.assert_sound();
    }

    /// A and B reach each other, at the latest after some time.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn assert_back(&self) {
        self.assert_back_within(BACK);
    }

    fn assert_back_within(&self, limit: Duration) {
        let began = Instant::now();
        for (from, to) in [(&self.a, &self.b), (&self.b, &self.a)] {
            let load = Load { timeout: Duration::from_secs(2), ..Load::new(Kind::Put(8192), to.nids()) };
            loop {
                let report = from.run(load.clone());
                if report.errors == 0 {
                    break;
                }
                assert!(
                    began.elapsed() < limit,
                    "{:?} does not reach {:?}: {report}",
                    from.nids(),
                    to.nids()
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        println!("back after {:?}", began.elapsed());
        self.assert_sound();
    }

    /// Nothing has failed in the router, and nobody has received wrong data.
    ///
    /// # Panics
    ///
    /// When something did.
    pub fn assert_sound(&self) {
        if let Some(router) = &self.router {
            router.assert_sound();
        }
        for node in [&self.a, &self.b].into_iter().chain(&self.others) {
            assert_eq!(node.received().corrupted, 0, "{:?}", node.nids());
        }
    }

    /// Pings of the router and through it.
    ///
    /// # Panics
    ///
    /// As in all that follows: when it is not so.
    pub fn everybody_answers_pings(&self) {
        let router: Vec<Nid> = ROUTER.iter().map(|text| nid(text)).collect();
        assert_eq!(self.a.ping(router[0]).unwrap(), router);
        assert_eq!(self.b.ping(router[1]).unwrap(), router);
        assert_eq!(self.a.ping(self.b.nids()[0]).unwrap(), self.b.nids());
        assert_eq!(self.b.ping(self.a.nids()[0]).unwrap(), self.a.nids());
        let nobody = self.a.ping_within(nid("10.2.0.77@tcp1"), Duration::from_secs(3));
        assert!(nobody.is_err(), "{nobody:?}");
        self.assert_sound();
    }

    /// Small and large messages both ways at the same time, one and many at once.
    pub fn messages_pass_both_ways(&self, span: Duration) {
        for concurrent in [1, 64] {
            for kind in [Kind::Put(4096), Kind::Get(4096), Kind::Put(1 << 20), Kind::Get(1 << 20)] {
                let load = |to: &Generator| Load {
                    concurrent,
                    limit: Limit::Time(span),
                    // 64 MiB each way, and the machine may be slow.
                    timeout: Duration::from_secs(40),
                    ..Load::new(kind, to.nids())
                };
                let (there, back) = (self.a.begin(load(&self.b)), self.b.begin(load(&self.a)));
                for (way, report) in [("A to B", there), ("B to A", back)] {
                    let report = report.wait(Duration::from_secs(300)).unwrap();
                    println!("{concurrent} x {kind:?}, {way}: {report}");
                    assert!(report.messages > 0 && report.errors == 0, "{kind:?}, {way}: {report}");
                }
            }
        }
        // Lengths around those of pages, pieces and buffers.
        for len in [0, 1, 7, 4095, 4097, 65_535, 65_537, (1 << 20) - 1] {
            for kind in [Kind::Put(len), Kind::Get(len)] {
                let load = Load { concurrent: 2, limit: Limit::Count(2), ..Load::new(kind, self.b.nids()) };
                let report = self.a.run(load);
                assert_eq!((report.messages, report.errors), (4, 0), "{kind:?}: {report}");
            }
        }
        self.assert_sound();
    }

    /// Both ends in turn go without a word, under load, and come back with a new incarnation.
    pub fn an_end_node_may_restart(mut self) -> Routed {
        let load = |to: &Generator| Load {
            concurrent: 16,
            limit: Limit::Time(Duration::from_secs(6)),
            timeout: Duration::from_secs(2),
            ..Load::new(Kind::Put(65_536), to.nids())
        };
        self.assert_back();
        let others = self.begin(Duration::from_secs(8));
        let to_b = self.a.begin(load(&self.b));
        std::thread::sleep(Duration::from_secs(2));
        self.b = self.b.kill().restart().unwrap();
        println!("B killed: {}", to_b.wait(Duration::from_secs(60)).unwrap());
        self.assert_back();
        self.end(others);
        let others = self.begin(Duration::from_secs(8));
        let to_a = self.b.begin(load(&self.a));
        std::thread::sleep(Duration::from_secs(2));
        self.a = self.a.kill().restart().unwrap();
        println!("A killed: {}", to_a.wait(Duration::from_secs(60)).unwrap());
        self.assert_back();
        self.end(others);
        self
    }

    /// The router loses power under load and comes back.
    pub fn the_router_may_restart(mut self) -> Routed {
        self.assert_back();
        let load = Load {
            concurrent: 16,
            limit: Limit::Time(Duration::from_secs(6)),
            timeout: Duration::from_secs(2),
            ..Load::new(Kind::Put(65_536), self.b.nids())
        };
        let report = self.a.begin(load);
        std::thread::sleep(Duration::from_secs(2));
        self.router = self.router.take().map(Router::restart);
        println!("router restarted: {}", report.wait(Duration::from_secs(120)).unwrap());
        self.assert_back();
        self
    }

    /// B's cable is pulled under load and put back.
    pub fn a_cable_may_be_pulled(self) -> Routed {
        self.assert_back();
        let others = self.begin(Duration::from_secs(10));
        let load = Load {
            concurrent: 16,
            limit: Limit::Time(Duration::from_secs(7)),
            timeout: Duration::from_secs(3),
            ..Load::new(Kind::Put(1 << 20), self.b.nids())
        };
        let report = self.a.begin(load);
        std::thread::sleep(Duration::from_secs(1));
        self.cables[1].cut();
        std::thread::sleep(Duration::from_secs(4));
        self.cables[1].restore();
        println!("cable pulled: {}", report.wait(Duration::from_secs(60)).unwrap());
        self.assert_back();
        self.end(others);
        self
    }

    /// Everything that one node sends goes to nodes that are not there: one that never was, one that went without a
    /// word in the middle of what it was sent.
    pub fn the_dead_stop_nobody(mut self) -> Routed {
        self.assert_back();
        let others = self.begin(Duration::from_secs(12));
        let dead = nid("10.2.0.77@tcp1");
        let load = Load {
            concurrent: 32,
            limit: Limit::Time(Duration::from_secs(8)),
            timeout: Duration::from_secs(4),
            ..Load::new(Kind::Put(1 << 20), [dead, self.b.nids()[0]])
        };
        let report = self.a.begin(load);
        std::thread::sleep(Duration::from_secs(2));
        let b = self.b.kill();
        let report = report.wait(Duration::from_secs(60)).unwrap();
        println!("to the dead: {report}");
        assert!(report.errors > 0, "{report}");
        assert_undisturbed(others);
        self.b = b.restart().unwrap();
        self.assert_back_within(BACK_FROM_THE_DEAD);
        self
    }

    /// 256 nodes with three connections each exchange messages with B, all at once, more than once.
    pub fn a_crowd_is_served(&self) {
        let spec = Spec::crowd("10.1.1.0@tcp", 256).route("tcp1", ROUTER[0]);
        let crowd = Generator::start(&self.lans[0].port("crowd").unwrap(), spec).unwrap();
        for round in 0..3 {
            for kind in [Kind::Ping, Kind::Put(4096), Kind::Get(65_536)] {
                let load = Load {
                    limit: Limit::Count(4),
                    timeout: Duration::from_secs(60),
                    ..Load::new(kind, self.b.nids())
                };
                let report = crowd.run(load);
                println!("round {round}, {kind:?}: {report}");
                assert_eq!((report.messages, report.errors), (1024, 0), "{kind:?}: {report}");
                assert_eq!(crowd.connections(), 768);
            }
            // To everybody, which takes the way back.
            let load = Load { timeout: Duration::from_secs(60), ..Load::new(Kind::Put(100), crowd.nids()) };
            let report = self.b.run(load);
            assert_eq!((report.messages, report.errors), (256, 0), "{report}");
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!(crowd.received().corrupted, 0);
        self.assert_sound();
    }

    /// The router itself is a test node: server of load, and both groups of a conducted test.
    pub fn the_router_is_a_test_node(&self, span: Duration) {
        let router = nid(ROUTER[0]);
        self.a.enlist(&[router]).unwrap();
        let brw = |direction, len| Kind::Rpc(Probe::Brw { direction, len, check: Check::Full });
        for kind in [
            Kind::Rpc(Probe::Ping),
            brw(BrwDirection::Read, 4096),
            brw(BrwDirection::Write, 4096),
            brw(BrwDirection::Read, 1 << 20),
            brw(BrwDirection::Write, 1 << 20),
        ] {
            let load = Load {
                concurrent: 16,
                limit: Limit::Time(span),
                timeout: Duration::from_secs(40),
                ..Load::new(kind, [router])
            };
            let report = self.a.run(load);
            println!("{kind:?}: {report}");
            assert!(report.messages > 0 && report.errors == 0, "{kind:?}: {report}");
        }
        let test = |direction| TestSpec {
            probe: Probe::Brw { direction, len: 65_536, check: Check::Full },
            iterations: TestSpec::ENDLESS,
            concurrency: 8,
            stop_on_error: false,
        };
        // As seen from B, the router is its neighbour, and A is behind it.
        let far = nid(ROUTER[1]);
        let b = self.b.nids()[0];
        for (clients, servers) in [([b], [far]), ([far], [b])] {
            for direction in [BrwDirection::Read, BrwDirection::Write] {
                let counted = self.b.conduct(&clients, &servers, test(direction), span).unwrap();
                println!("{clients:?} to {servers:?}, {direction:?}: {counted:?}");
                assert!(counted.iter().all(|node| node.rpc.errors == 0), "{counted:?}");
                assert_eq!(counted[0].framework.brw_errors, 0, "{counted:?}");
                assert!(counted[0].rpc.rpcs_sent > 8, "{counted:?}");
            }
        }
        self.assert_sound();
    }
}
