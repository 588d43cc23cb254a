//! A node with a network driver that only keeps what it is given, in virtual time.

use super::{Lnet, LnetConfig, NiConfig, RouteConfig, Tunables};
use crate::buffers::Payload;
use crate::lnd::{Disposition, Lnd, LndConnectionStatus, LndNi, LndPeerStatus, LndUpper, NiId, SendError};
use crate::message::Message;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::sim::SimClock;
use keelson_exec::sync::Notify;
use keelson_exec::{Executor, TaskHandle};
use keelson_hal::Entropy;
use keelson_lnet_wire::message::{Ack, Get, Header, Put, Wmd};
use keelson_lnet_wire::nid::{Nid, ProcessId};

/// Numbers that differ; every run is the same run.
pub struct FixedEntropy(Cell<u64>);

impl FixedEntropy {
    pub fn new() -> Rc<FixedEntropy> {
        Rc::new(FixedEntropy(Cell::new(0x9e37_79b9_7f4a_7c15)))
    }
}

impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut x = self.0.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.0.set(x);
            chunk.copy_from_slice(&x.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// What a [`FakeLnd`] does with messages for a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Keeps them until the test says.
    Keeps,
    /// Sends them at once.
    Takes,
    /// Fails them at once.
    Fails(SendError),
}

#[derive(Default)]
pub struct FakeLnd {
    upper: RefCell<Option<Rc<Lnet>>>,
    pub nis: RefCell<Vec<LndNi>>,
    /// Messages that were given and not finished yet.
    pub kept: RefCell<VecDeque<(NiId, Nid, Message)>>,
    /// Headers and payloads of all messages that were given, in their order.
    pub seen: RefCell<Vec<(Nid, Header, Vec<u8>)>>,
    behaviour: RefCell<Vec<(Nid, Behaviour)>>,
    pub default_takes: Cell<bool>,
    /// Off for tests that count allocations.
    pub records: Cell<bool>,
    pub taken: Cell<u64>,
}

impl FakeLnd {
    pub fn behave(&self, nid: Nid, behaviour: Behaviour) {
        let mut all = self.behaviour.borrow_mut();
        all.retain(|known| known.0 != nid);
        all.push((nid, behaviour));
    }

    fn behaviour(&self, nid: &Nid) -> Behaviour {
        let known = self.behaviour.borrow().iter().find(|known| known.0 == *nid).map(|known| known.1);
        known.unwrap_or(if self.default_takes.get() { Behaviour::Takes } else { Behaviour::Keeps })
    }

    fn upper(&self) -> Rc<Lnet> {
        self.upper.borrow().clone().expect("attached")
    }

    /// Finishes the oldest kept message for a peer; false if there is none.
    pub fn finish(&self, nid: Nid, result: Result<(), SendError>) -> bool {
        let index = self.kept.borrow().iter().position(|kept| kept.1 == nid);
        let message = index.and_then(|index| self.kept.borrow_mut().remove(index));
        match message {
            Some((ni, to, message)) => {
                self.upper().finished(ni, to, message, result);
                true
            }
            None => false,
        }
    }

    /// Finishes all that is kept for a peer.
    pub fn finish_all(&self, nid: Nid, result: Result<(), SendError>) {
        while self.finish(nid, result) {}
    }

    pub fn count_for(&self, nid: Nid) -> usize {
        self.seen.borrow().iter().filter(|seen| seen.0 == nid).count()
    }

    pub fn kept_for(&self, nid: Nid) -> usize {
        self.kept.borrow().iter().filter(|kept| kept.1 == nid).count()
    }
}

impl Lnd for FakeLnd {
    fn add_ni(&self, ni: LndNi) {
        self.nis.borrow_mut().push(ni);
    }

    fn remove_ni(&self, ni: NiId) {
        self.nis.borrow_mut().retain(|known| known.id != ni);
        loop {
            let index = self.kept.borrow().iter().position(|kept| kept.0 == ni);
            let message = index.and_then(|index| self.kept.borrow_mut().remove(index));
            let Some((ni, to, message)) = message else { break };
            self.upper().finished(ni, to, message, Err(SendError::Down));
        }
    }

    fn send(&self, ni: NiId, to: Nid, message: Message) {
        if self.records.get() {
            let bytes = message.payload.slices().collect::<Vec<_>>().concat();
            self.seen.borrow_mut().push((to, message.header, bytes));
        }
        self.taken.set(self.taken.get() + 1);
        match self.behaviour(&to) {
            Behaviour::Keeps => self.kept.borrow_mut().push_back((ni, to, message)),
            Behaviour::Takes => self.upper().finished(ni, to, message, Ok(())),
            Behaviour::Fails(error) => self.upper().finished(ni, to, message, Err(error)),
        }
    }

    fn disconnect(&self, _ni: NiId, nid: Nid) {
        self.finish_all(nid, Err(SendError::Broken));
    }

    fn peers(&self) -> Vec<LndPeerStatus> {
        Vec::new()
    }

    fn connections(&self) -> Vec<LndConnectionStatus> {
        Vec::new()
    }
}

/// What became of the messages of a [`Connection`].
#[derive(Default)]
pub struct Connection {
    queue: RefCell<VecDeque<(Header, u8)>>,
    more: Notify,
    pub taken: Cell<u64>,
    pub skipped: Cell<u64>,
    pub fatal: Cell<u64>,
    task: RefCell<Option<TaskHandle>>,
}

impl Connection {
    pub fn send(&self, header: Header) {
        self.send_filled(header, 0);
    }

    /// With every byte of the payload like this.
    pub fn send_filled(&self, header: Header, fill: u8) {
        self.queue.borrow_mut().push_back((header, fill));
        self.more.notify();
    }

    /// Messages that have not been decided about.
    pub fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// The connection ends; what waited is gone.
    pub fn cut(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        self.queue.borrow_mut().clear();
    }
}

/// The node, its driver, its time.
pub struct Bench {
    pub clock: Rc<SimClock>,
    pub executor: Executor,
    pub lnet: Rc<Lnet>,
    pub lnd: Rc<FakeLnd>,
    /// Whether those who connect are told what the router is. Off where other messages are counted.
    pub tells: Cell<bool>,
}

pub fn nid(text: &str) -> Nid {
    text.parse().expect("a NID")
}

pub fn process(text: &str) -> ProcessId {
    ProcessId::lustre(nid(text))
}

impl Bench {
    /// A router with 10.0.0.1@tcp1 and 10.1.0.1@tcp2.
    pub fn router(change: impl FnOnce(&mut LnetConfig)) -> Bench {
        let mut config = LnetConfig { forwarding: true, ..LnetConfig::default() };
        change(&mut config);
        let bench = Bench::bare(config);
        bench.add_net("10.0.0.1@tcp1");
        bench.add_net("10.1.0.1@tcp2");
        bench
    }

    pub fn bare(config: LnetConfig) -> Bench {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let lnet = Lnet::new(executor.handle(), clock.clone(), FixedEntropy::new(), config);
        let lnd = Rc::new(FakeLnd::default());
        lnd.records.set(true);
        *lnd.upper.borrow_mut() = Some(lnet.clone());
        lnet.attach(lnd.clone());
        lnet.start();
        Bench { clock, executor, lnet, lnd, tells: Cell::new(false) }
    }

    pub fn add_net(&self, text: &str) -> NiId {
        let interface = "eth0".into();
        let tunables = Tunables::default();
        self.lnet.add_net(NiConfig { nid: nid(text), interface, tunables }).expect("the NI is added")
    }

    pub fn route(&self, net: &str, gateway: &str, hops: Option<u8>, priority: u32) {
        let net = net.parse().expect("a network");
        self.lnet
            .add_route(RouteConfig { net, gateway: nid(gateway), hops, priority })
            .expect("the route is added");
    }

    /// Lets everything run that can, without time passing.
    pub fn settle(&self) {
        while self.executor.turn() {}
    }

    /// Lets time pass.
    pub fn pass(&self, span: Duration) {
        let handle = self.executor.handle();
        self.executor.block_on(&*self.clock, async move { handle.sleep(span).await });
        self.settle();
    }

    /// A connection from a peer to the NI of its network.
    pub fn connect(&self, from: &str) -> Rc<Connection> {
        self.connect_from(nid(from))
    }

    pub fn connect_from(&self, from: Nid) -> Rc<Connection> {
        let ni = self.lnd.nis.borrow().iter().find(|ni| ni.nid.net() == from.net()).expect("an NI").id;
        let peer = self.lnet.peer(ni, from).expect("the peer is admitted");
        self.lnet.peer_up(ni, ProcessId::lustre(from));
        if !self.tells.get() {
            self.lnet.contacts.clear();
        }
        let connection = Rc::new(Connection::default());
        let (lnet, end) = (self.lnet.clone(), connection.clone());
        let task = self.executor.handle().spawn("connection", async move {
            loop {
                let more = end.more.notified();
                let next = end.queue.borrow().front().copied();
                let Some((header, fill)) = next else {
                    more.await;
                    continue;
                };
                let disposition = lnet.arrived(&peer, &header).await;
                end.queue.borrow_mut().pop_front();
                match disposition {
                    Disposition::Take(mut message) => {
                        assert_eq!(message.payload.len(), header.payload_length as usize);
                        let mut at = 0;
                        while at < message.payload.len() {
                            let place = message.payload.from_mut(at);
                            place.fill(fill);
                            at += place.len();
                        }
                        end.taken.set(end.taken.get() + 1);
                        lnet.received(&peer, message);
                    }
                    Disposition::Skip => end.skipped.set(end.skipped.get() + 1),
                    Disposition::Fatal(_) => end.fatal.set(end.fatal.get() + 1),
                }
            }
        });
        *connection.task.borrow_mut() = Some(task);
        connection
    }

    pub fn ni_of(&self, peer: Nid) -> NiId {
        self.lnd.nis.borrow().iter().find(|ni| ni.nid.net() == peer.net()).expect("an NI").id
    }

    /// The peer is lost.
    pub fn kill(&self, peer: &str) {
        self.lnd.finish_all(nid(peer), Err(SendError::Broken));
        self.lnet.peer_down(self.ni_of(nid(peer)), nid(peer), true);
    }

    /// What was given to the driver for a peer last.
    pub fn last_to(&self, peer: &str) -> Option<(Header, Vec<u8>)> {
        let seen = self.lnd.seen.borrow();
        seen.iter().rev().find(|seen| seen.0 == nid(peer)).map(|(_, header, bytes)| (*header, bytes.clone()))
    }

    /// Runs a future of the node to its end.
    pub fn wait<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }

    /// Everything that was ever taken has been given back.
    pub fn assert_idle(&self) {
        self.lnet.assert_idle();
    }
}

impl Lnet {
    /// Everything that was ever taken has been given back.
    pub fn assert_idle(&self) {
        assert!(self.books.pools.is_idle(), "buffers: {:?}", self.books.pools.status());
        assert_eq!(self.statistics().msgs_alloc, 0, "messages in memory");
        assert_eq!(self.books.statistics.routed_now.get(), 0);
        let peers: Vec<_> = self.peers.borrow().iter().cloned().collect();
        for peer in peers.iter().chain([&self.this_node]) {
            let nid = peer.nid;
            assert_eq!(peer.tx_bytes.get(), 0, "{nid}: bytes queued");
            for tx in peer.tx.all().chain(peer.ni.tx.all()) {
                assert_eq!(tx.credits.available(), tx.credits.max(), "{nid}: send credits");
                assert_eq!(tx.under_way.get(), 0, "{nid}: under way");
                assert!(tx.queue.borrow().is_empty());
            }
            let rtr = peer.router_credits();
            assert_eq!(rtr.available, rtr.max, "{nid}: router credits");
            assert!(peer.gate(super::peer::Charge::Local).credits.available() == 64);
            assert!(peer.lanes.iter().all(|lane| lane.is_idle()), "{nid}: lanes");
        }
    }
}

/// Header of a PUT of so many bytes that wants no ACK.
pub fn put(from: &str, to: &str, len: u32) -> Header {
    let put = Put { ack_wmd: Wmd::NONE, match_bits: 7, hdr_data: 8, portal: 9, offset: 0 };
    Header::new_put(process(from), process(to), &put, len)
}

/// Header of a ping with room for so many bytes.
pub fn ping(from: &str, to: &str, room: u32) -> Header {
    let get = Get::ping(Wmd::new(0x17a0_0000_0000_0001, 0x15), room);
    Header::new_get(process(from), process(to), &get)
}

/// Header of an ACK that nobody asked for.
pub fn ack(from: &str, to: &str) -> Header {
    let ack = Ack { dst_wmd: Wmd::new(1, 2), match_bits: 7, mlength: 0 };
    Header::new_ack(process(from), process(to), &ack)
}

/// So many bytes of the same value.
pub fn payload(len: usize, fill: u8) -> Payload {
    Payload::from_bytes(&alloc::vec![fill; len])
}
