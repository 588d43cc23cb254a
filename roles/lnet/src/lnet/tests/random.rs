//! Whatever happens in whatever order: in the end everything is given back, and nothing was lost for want of room.

use crate::lnd::{LndUpper, SendError};
use crate::lnet::testing::{Bench, Connection, ack, nid, ping, put};
use crate::lnet::{FaultAction, FaultRule, NidPattern, Often, Stop};
use core::time::Duration;
use keelson_lnet_wire::nid::ProcessId;
use proptest::prelude::*;
use std::rc::Rc;

const CLIENTS: usize = 4;
const SERVERS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A client sends messages of this length to a server, or back.
    Send { client: usize, server: usize, len: u32, count: usize, back: bool },
    /// A client pings the router.
    Ping { client: usize },
    /// A client sends what nobody waits for.
    Junk { client: usize },
    /// The driver has sent, or failed to send, some messages for a server or client.
    Finish { peer: usize, count: usize, result: Result<(), SendError> },
    /// A peer is lost.
    Die { peer: usize },
    /// A peer is there again.
    Revive { peer: usize },
    /// A connection of a client ends with what is parked on it.
    Cut { client: usize },
    /// Time passes.
    Pass { millis: u64 },
    /// The number of large buffers changes.
    Resize { buffers: u32 },
    /// Forwarding is switched.
    Routing { on: bool },
    /// A fault rule comes or goes.
    Fault { add: bool, delay: bool },
    /// This node asks.
    Ask { client: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![Just(0u32), 1..4097u32, Just(5000u32), Just(1 << 20)];
    let errors = [SendError::Unreachable, SendError::TimedOut, SendError::Broken, SendError::NotExpressible];
    let result = prop_oneof![4 => Just(Ok(())), 1 => prop::sample::select(errors.to_vec()).prop_map(Err)];
    let (client, peer) = (0..CLIENTS, 0..CLIENTS + SERVERS);
    prop_oneof![
        8 => (client.clone(), 0..SERVERS, len, 1..12usize, any::<bool>())
            .prop_map(|(client, server, len, count, back)| Step::Send { client, server, len, count, back }),
        2 => client.clone().prop_map(|client| Step::Ping { client }),
        1 => client.clone().prop_map(|client| Step::Junk { client }),
        6 => (peer.clone(), 1..12usize, result)
            .prop_map(|(peer, count, result)| Step::Finish { peer, count, result }),
        1 => peer.clone().prop_map(|peer| Step::Die { peer }),
        1 => peer.prop_map(|peer| Step::Revive { peer }),
        1 => client.clone().prop_map(|client| Step::Cut { client }),
        2 => (1..5000u64).prop_map(|millis| Step::Pass { millis }),
        1 => (1..20u32).prop_map(|buffers| Step::Resize { buffers }),
        1 => any::<bool>().prop_map(|on| Step::Routing { on }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(add, delay)| Step::Fault { add, delay }),
        1 => client.prop_map(|client| Step::Ask { client }),
    ]
}

struct World {
    bench: Bench,
    connections: Vec<Rc<Connection>>,
}

fn name(peer: usize) -> String {
    if peer < CLIENTS { format!("10.0.0.{}@tcp1", peer + 2) } else { format!("10.1.0.{}@tcp2", peer + 2) }
}

impl World {
    fn new() -> World {
        let bench = Bench::router(|config| {
            config.large_router_buffers = 8;
            config.small_router_buffers = 40;
            config.tiny_router_buffers = 40;
            config.drain_at_least = Duration::from_secs(2);
            config.drain_at_most = Duration::from_secs(5);
            config.alive_router_check_interval = Duration::from_secs(10);
        });
        bench.tells.set(true);
        bench.lnd.records.set(false);
        let connections = (0..CLIENTS + SERVERS).map(|peer| bench.connect(&name(peer))).collect();
        World { bench, connections }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Send { client, server, len, count, back } => {
                let (client, server) = (client, CLIENTS + server);
                let (from, to) = if back { (server, client) } else { (client, server) };
                for _ in 0..count {
                    self.connections[from].send(put(&name(from), &name(to), len));
                }
            }
            Step::Ping { client } => {
                self.connections[client].send(ping(&name(client), "10.0.0.1@tcp1", 272));
            }
            Step::Junk { client } => {
                self.connections[client].send(ack(&name(client), "10.0.0.1@tcp1"));
                self.connections[client].send(put(&name(client), "10.0.0.99@tcp1", 9000));
                self.connections[client].send(put(&name(client), "10.9.0.99@tcp9", 9000));
            }
            Step::Finish { peer, count, result } => {
                for _ in 0..count {
                    self.bench.lnd.finish(nid(&name(peer)), result);
                    self.bench.settle();
                }
            }
            Step::Die { peer } => self.bench.kill(&name(peer)),
            Step::Revive { peer } => {
                let nid = nid(&name(peer));
                self.bench.lnet.peer_up(self.bench.ni_of(nid), ProcessId::lustre(nid));
            }
            Step::Cut { client } => {
                self.connections[client].cut();
                self.connections[client] = self.bench.connect(&name(client));
            }
            Step::Pass { millis } => self.bench.pass(Duration::from_millis(millis)),
            Step::Resize { buffers } => {
                self.bench.lnet.reconfigure(|config| config.large_router_buffers = buffers);
            }
            Step::Routing { on } => self.bench.lnet.set_routing(on),
            Step::Fault { add: false, .. } => {
                self.bench.lnet.del_faults(|_| true);
            }
            Step::Fault { add: true, delay } => {
                let action =
                    if delay { FaultAction::Delay(Duration::from_secs(1)) } else { FaultAction::Drop };
                let (source, destination) = (NidPattern::Any, NidPattern::Any);
                let often = Often::Rate(3);
                let rule =
                    FaultRule { action, source, destination, local: None, portals: 0, types: 0, often };
                let _ = self.bench.lnet.add_fault(rule);
            }
            Step::Ask { client } => {
                let (lnet, to) = (self.bench.lnet.clone(), crate::lnet::testing::process(&name(client)));
                self.bench.executor.handle().spawn("ask", async move {
                    let _ = lnet.ping(to, Duration::from_secs(3)).await;
                });
            }
        }
        self.bench.settle();
    }

    /// Lets all that is under way come to its end.
    fn finish(&self) {
        self.bench.lnet.del_faults(|_| true);
        for peer in 0..CLIENTS + SERVERS {
            let nid = nid(&name(peer));
            self.bench.lnet.peer_up(self.bench.ni_of(nid), ProcessId::lustre(nid));
        }
        for _ in 0..3 {
            loop {
                let next = self.bench.lnd.kept.borrow().front().map(|kept| kept.1);
                let Some(next) = next else { break };
                self.bench.lnd.finish(next, Ok(()));
                self.bench.settle();
            }
            // Delayed messages and the ends of requests and drains.
            self.bench.pass(Duration::from_secs(6));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn everything_is_given_back(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut sent = 0;
        let mut cut = false;
        for step in &steps {
            match step {
                Step::Send { count, .. } => sent += *count as u64,
                Step::Ping { .. } => sent += 1,
                Step::Junk { .. } => sent += 3,
                Step::Cut { .. } => cut = true,
                _ => {}
            }
            world.apply(step);
            let memory: i64 = world.bench.lnet.pieces().high_water() as i64;
            prop_assert!(memory <= (20 + 2) << 20, "memory is bounded: {memory}");
        }
        world.finish();
        world.bench.assert_idle();
        let statistics = world.bench.lnet.statistics();
        if !cut {
            for connection in &world.connections {
                prop_assert_eq!(connection.waiting(), 0);
            }
            // Pings of the router were answered: what came in and was not dropped was routed or consumed.
            prop_assert_eq!(statistics.route_count + statistics.recv_count + statistics.drop_count, sent);
        }
        let drops = world.bench.lnet.drops();
        let reasons = drops.misdirected + drops.not_routing + drops.fault_rule + drops.no_peer + drops.asymmetric
            + drops.unmatched + drops.no_route + drops.loops + drops.next_hop_dead + drops.send_failed
            + drops.not_expressible;
        prop_assert_eq!(reasons, statistics.drop_count, "every drop has its reason");
        let bench = &world.bench;
        let lnet = bench.lnet.clone();
        bench.wait(async move { lnet.stop(Stop::Now).await }).unwrap();
        bench.assert_idle();
    }
}
