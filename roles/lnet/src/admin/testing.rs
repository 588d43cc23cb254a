//! A node made of constants, for the tests of the tools.

use super::control::{Buffers, Configure, Control, NetRequest, Setting};
use super::{Admin, Failure, errno};
use crate::lnd::{LndConnectionStatus, LndPeerStatus, NiId};
use crate::lnet::show::*;
use crate::lnet::{AddressChoice, FaultAction, FaultRule, NidPattern, Often, PeerConfig, RouteConfig, Stop};
use core::cell::{Cell, RefCell};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{NetId, Nid};
use keelson_lnet_wire::ping::{Entry, Features, PingInfo, Status};
use std::rc::Rc;

/// A NID.
pub fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

/// A network.
pub fn net(text: &str) -> NetId {
    text.parse().unwrap()
}

fn traffic() -> TrafficStatus {
    TrafficStatus {
        sent: ByType { put: 1, get: 2, reply: 3, ack: 4 },
        received: ByType { put: 5, get: 6, reply: 7, ack: 8 },
        dropped: ByType::default(),
    }
}

pub fn nets() -> Vec<NetStatus> {
    let tunables = TunablesStatus {
        peer_timeout: 180,
        peer_credits: 8,
        peer_buffer_credits: 0,
        credits: 256,
        conns_per_peer: 2,
    };
    let ni = |id, name: &str, interface: &str, up| NiStatus {
        id: Some(NiId(id)),
        nid: nid(name),
        up,
        interface: Some(interface.into()),
        traffic: traffic(),
        fatal_error: !up,
        tunables: Some(tunables),
        tx: CreditStatus { max: 256, available: 250, min: 200 },
        last_alive: Some(Duration::from_secs(12)),
        peers: 2,
    };
    let loopback = NiStatus {
        id: None,
        nid: Nid::LOOPBACK,
        interface: None,
        tunables: None,
        tx: CreditStatus::default(),
        last_alive: None,
        peers: 0,
        ..ni(0, "0@lo", "", true)
    };
    let one = |ni: NiStatus| NetStatus { net: ni.nid.net(), nis: vec![ni] };
    vec![one(loopback), one(ni(1, "10.1.0.1@tcp", "eth0", true)), one(ni(2, "10.2.0.1@tcp1", "eth1", false))]
}

pub fn routes() -> Vec<RouteStatus> {
    vec![
        RouteStatus {
            net: net("tcp3"),
            gateway: nid("10.2.0.9@tcp1"),
            hops: None,
            priority: 0,
            up: true,
            single_hop: true,
        },
        RouteStatus {
            net: net("o2ib"),
            gateway: nid("10.1.0.9@tcp"),
            hops: Some(2),
            priority: 1,
            up: false,
            single_hop: false,
        },
    ]
}

pub fn peers() -> Vec<PeerStatus> {
    let ni = |name, state| PeerNiStatus {
        nid: nid(name),
        state,
        tx: CreditStatus { max: 8, available: 6, min: -2 },
        tx_queued_bytes: 144,
        rtr: CreditStatus { max: 8, available: 8, min: 7 },
        refcount: 3,
        traffic: traffic(),
        last_alive: Some(Duration::from_secs(7)),
        lost_dropped: 1,
        lost_timeout: 2,
        lost_error: 3,
        parked: 0,
    };
    vec![
        PeerStatus {
            primary: nid("10.1.0.2@tcp"),
            multi_rail: true,
            state: 1,
            nis: vec![ni("10.1.0.2@tcp", PeerNiState::Up), ni("10.2.0.2@tcp1", PeerNiState::Down)],
        },
        PeerStatus {
            primary: nid("10.1.0.3@tcp"),
            multi_rail: false,
            state: 273,
            nis: vec![PeerNiStatus { last_alive: None, ..ni("10.1.0.3@tcp", PeerNiState::NotAvailable) }],
        },
    ]
}

pub fn routing() -> RoutingStatus {
    let pool = |name, pages, buffers, credits, min_credits| PoolStatus {
        name,
        pages,
        buffers,
        credits,
        min_credits,
        parked: 0,
        rescued: 0,
    };
    RoutingStatus {
        state: RoutingState::Enabled,
        pools: [
            pool("tiny", 0, 2048, 2048, 2040),
            pool("small", 1, 16384, 16000, 15000),
            pool("large", 256, 1024, -3, -7),
        ],
        payload_bytes: (0, 0),
    }
}

pub fn statistics() -> StatisticsStatus {
    StatisticsStatus {
        msgs_alloc: 3,
        msgs_max: 40,
        rst_alloc: 1,
        send_count: 100,
        response_timeout_count: 2,
        recv_count: 200,
        route_count: 5000,
        drop_count: 7,
        send_length: 1000,
        recv_length: 2000,
        route_length: 1 << 30,
        drop_length: 70,
        ..StatisticsStatus::default()
    }
}

pub fn global() -> GlobalStatus {
    GlobalStatus {
        numa_range: 0,
        max_interfaces: 200,
        discovery: 1,
        drop_asym_route: 0,
        retry_count: 0,
        transaction_timeout: 150,
        health_sensitivity: 0,
        recovery_interval: 1,
        router_sensitivity: 100,
        lnd_timeout: 50,
        response_tracking: 3,
        recovery_limit: 0,
        max_recovery_ping_interval: 900,
    }
}

pub fn faults() -> Vec<FaultStatus> {
    let rule = FaultRule {
        action: FaultAction::Drop,
        source: NidPattern::Net(net("tcp")),
        destination: NidPattern::One(nid("10.2.0.2@tcp1")),
        local: None,
        portals: 0,
        types: 2,
        often: Often::Rate(10),
    };
    let delay = FaultRule {
        action: FaultAction::Delay(Duration::from_secs(5)),
        source: NidPattern::Any,
        types: 0,
        often: Often::Interval(Duration::from_secs(3)),
        ..rule.clone()
    };
    let by_type = ByType { put: 30, get: 0, reply: 0, ack: 0 };
    vec![
        FaultStatus { rule, matched: 30, by_type, acted: 3 },
        FaultStatus { rule: delay, matched: 30, by_type, acted: 2 },
    ]
}

/// The node: remembers what it was told to do.
pub struct Fake {
    pub up: Cell<bool>,
    pub done: RefCell<Vec<String>>,
    /// Everything fails with this.
    pub refuse: RefCell<Option<Failure>>,
    pub now: Cell<u64>,
}

impl Fake {
    pub fn up() -> Rc<Fake> {
        Rc::new(Fake {
            up: Cell::new(true),
            done: RefCell::default(),
            refuse: RefCell::default(),
            now: Cell::new(0),
        })
    }

    pub fn down() -> Rc<Fake> {
        let fake = Fake::up();
        fake.up.set(false);
        fake
    }

    fn does(&self, what: String) -> Result<(), Failure> {
        if let Some(failure) = self.refuse.borrow().clone() {
            return Err(failure);
        }
        self.done.borrow_mut().push(what);
        Ok(())
    }

    fn info(&self, asked: Nid) -> Result<PingInfo, Failure> {
        if asked != nid("10.1.0.2@tcp") {
            return Err(Failure::new(errno::ETIMEDOUT, "timed out"));
        }
        let entry = |name| Entry { nid: nid(name), status: Status::Up };
        let entries = vec![entry("10.1.0.2@tcp"), entry("10.2.0.2@tcp1")];
        Ok(PingInfo::new(Features::END_NODE, 1, entries))
    }
}

/// Runs a tool whose words are separated by blanks.
pub fn run(tool: impl Future<Output = String>) -> String {
    let mut tool = pin!(tool);
    match tool.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(text) => text,
        Poll::Pending => panic!("nothing waits in this node"),
    }
}

pub fn lnetctl(fake: &Rc<Fake>, line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    run(Admin::new(fake.clone()).lnetctl(&words))
}

pub fn import(fake: &Rc<Fake>, options: &str, text: &str) -> String {
    let words: Vec<_> = ["import"].into_iter().chain(options.split_whitespace()).chain([text]).collect();
    run(Admin::new(fake.clone()).lnetctl(&words))
}

pub fn lctl(fake: &Rc<Fake>, line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    run(Admin::new(fake.clone()).lctl(&words))
}

impl Control for Fake {
    fn is_up(&self) -> bool {
        self.up.get()
    }

    fn configure(&self, how: Configure) -> Result<(), Failure> {
        let Configure { all, large } = how;
        self.does(format!("configure{}{}", if all { " all" } else { "" }, if large { " large" } else { "" }))
    }

    async fn unconfigure(&self, how: Stop) -> Result<(), Failure> {
        if how == Stop::IfNotRouting {
            return Err(crate::lnet::StopError::Routing.into());
        }
        self.does(format!("unconfigure {how:?}"))
    }

    fn nets(&self) -> Vec<NetStatus> {
        nets()
    }

    fn routes(&self) -> Vec<RouteStatus> {
        routes()
    }

    fn routers(&self) -> Vec<RouterStatus> {
        vec![
            RouterStatus { nid: nid("10.2.0.9@tcp1"), routes: 1, alive: true },
            RouterStatus { nid: nid("10.1.0.9@tcp"), routes: 1, alive: false },
        ]
    }

    fn peers(&self) -> Vec<PeerStatus> {
        peers()
    }

    fn routing(&self) -> RoutingStatus {
        routing()
    }

    fn statistics(&self) -> StatisticsStatus {
        let mut statistics = statistics();
        statistics.route_count += self.now.get() * 1000;
        statistics.route_length += self.now.get() * (10 << 20);
        statistics
    }

    fn global(&self) -> GlobalStatus {
        global()
    }

    fn faults(&self) -> Vec<FaultStatus> {
        faults()
    }

    fn lnd_peers(&self) -> Vec<LndPeerStatus> {
        let local = "10.1.0.1".parse().unwrap();
        vec![LndPeerStatus { ni: NiId(1), nid: nid("10.1.0.2@tcp"), local, connections: 5, queued: 2 }]
    }

    fn lnd_connections(&self) -> Vec<LndConnectionStatus> {
        vec![LndConnectionStatus {
            ni: NiId(1),
            nid: nid("10.1.0.2@tcp"),
            kind: 'C',
            local: "10.1.0.1".parse().unwrap(),
            remote: "10.1.0.2".parse().unwrap(),
            port: 1021,
            rings: (65536, 262144),
        }]
    }

    fn add_net(&self, request: NetRequest) -> Result<(), Failure> {
        let NetRequest { net, interfaces, address, tunables } = request;
        let mut text = format!("add_net {net} {}", interfaces.join(",")).trim_end().to_string();
        match address {
            AddressChoice::Usual => {}
            AddressChoice::Large => text += " large",
            AddressChoice::Exactly(address) => text += &format!(" {address}"),
        }
        for (name, value) in [
            ("credits", tunables.credits),
            ("peer_credits", tunables.peer_credits),
            ("peer_buffer_credits", tunables.peer_buffer_credits),
            ("peer_timeout", tunables.peer_timeout),
            ("conns_per_peer", tunables.conns_per_peer.map(u32::from)),
        ] {
            if let Some(value) = value {
                text += &format!(" {name} {value}");
            }
        }
        self.does(text)
    }

    fn del_net(&self, net: NetId, interfaces: &[String]) -> Result<(), Failure> {
        self.does(format!("del_net {net} {}", interfaces.join(",")).trim_end().into())
    }

    fn del_nid(&self, nid: Nid) -> Result<(), Failure> {
        self.does(format!("del_nid {nid}"))
    }

    fn add_route(&self, route: RouteConfig) -> Result<(), Failure> {
        let RouteConfig { net, gateway, hops, priority } = route;
        self.does(format!(
            "add_route {net} {gateway} hops {} priority {priority}",
            hops.map_or(-1, i32::from)
        ))
    }

    fn del_route(&self, net: NetId, gateway: Option<Nid>) -> Result<(), Failure> {
        let gateway = gateway.map(|nid| nid.to_string()).unwrap_or_default();
        self.does(format!("del_route {net} {gateway}").trim_end().into())
    }

    fn add_peer(&self, peer: PeerConfig) -> Result<(), Failure> {
        let PeerConfig { primary, nids, multi_rail } = peer;
        let nids: String = nids.iter().map(|nid| format!(" {nid}")).collect();
        self.does(format!("add_peer {primary}{nids}{}", if multi_rail { "" } else { " non_mr" }))
    }

    fn del_peer(&self, primary: Nid, nids: &[Nid]) -> Result<(), Failure> {
        let nids: String = nids.iter().map(|nid| format!(" {nid}")).collect();
        self.does(format!("del_peer {primary}{nids}"))
    }

    fn set_routing(&self, on: bool) -> Result<(), Failure> {
        self.does(format!("set_routing {on}"))
    }

    fn set_buffers(&self, buffers: Buffers) -> Result<(), Failure> {
        let mut text = String::from("set_buffers");
        for (name, count) in [("tiny", buffers.tiny), ("small", buffers.small), ("large", buffers.large)] {
            if let Some(count) = count {
                text += &format!(" {name} {count}");
            }
        }
        self.does(text)
    }

    fn set(&self, setting: Setting, value: u32) -> Result<(), Failure> {
        self.does(format!("set {setting:?} {value}"))
    }

    fn reset_statistics(&self) {
        self.does("reset".into()).unwrap();
    }

    fn add_fault(&self, rule: FaultRule) -> Result<(), Failure> {
        self.does(format!("add_fault {rule:?}"))
    }

    fn del_faults(&self, which: &dyn Fn(&FaultRule) -> bool) -> usize {
        faults().iter().filter(|fault| which(&fault.rule)).count()
    }

    fn reset_faults(&self) {
        self.does("reset_faults".into()).unwrap();
    }

    fn lnd_port(&self) -> u16 {
        988
    }

    async fn ping(&self, source: Option<Nid>, nid: Nid, _: Duration) -> Result<PingInfo, Failure> {
        if let Some(source) = source {
            self.does(format!("ping {source} {nid}"))?;
        }
        self.info(nid)
    }

    async fn discover(&self, nid: Nid, _: Duration) -> Result<PingInfo, Failure> {
        self.info(nid)
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.get() * 1_000_000_000)
    }

    async fn sleep(&self, span: Duration) {
        self.now.set(self.now.get() + span.as_secs());
    }
}
