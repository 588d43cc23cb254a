//! Several nodes in one address space: what LNet and a network do, without either.

use super::super::{Place, Selftest, SelftestConfig, TransferError, Transport};
use crate::buffers::{Payload, Pieces};
use crate::lnd::SendError;
use crate::portal::{Delivery, Portal};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::sim::SimClock;
use keelson_exec::{Either, Executor, Handle, select};
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::LnetCounters;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// From one node to another.
const LATENCY: Duration = Duration::from_micros(100);

/// A message on its way. The hook may change it or take it away.
pub struct Flight<'a> {
    pub to: Nid,
    pub portal: u32,
    pub payload: &'a mut Payload,
}

type Hook = Box<dyn FnMut(Flight<'_>) -> bool>;

/// The network.
pub struct Net {
    pub handle: Handle,
    pub clock: Rc<SimClock>,
    executor: Executor,
    nodes: RefCell<BTreeMap<Nid, Rc<Node>>>,
    hook: RefCell<Option<Hook>>,
    /// Nodes that are switched off.
    pub dead: RefCell<BTreeSet<Nid>>,
    pieces: Rc<Pieces>,
    /// Bytes in a second of what is sent.
    pub bandwidth: Cell<u64>,
}

/// A node on it.
pub struct Node {
    net: Rc<Net>,
    pub nid: Nid,
    portals: RefCell<BTreeMap<u32, Rc<dyn Portal>>>,
    pub sent: Cell<u32>,
}

impl Net {
    pub fn new() -> Rc<Net> {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        Rc::new(Net {
            handle: executor.handle(),
            clock,
            executor,
            nodes: RefCell::default(),
            hook: RefCell::default(),
            dead: RefCell::default(),
            pieces: Pieces::new(),
            bandwidth: Cell::new(1 << 30),
        })
    }

    /// A node that answers nothing.
    pub fn node(self: &Rc<Self>, nid: &str) -> Rc<Node> {
        let nid: Nid = nid.parse().unwrap();
        let node = Node { net: self.clone(), nid, portals: RefCell::default(), sent: Cell::new(0) };
        let node = Rc::new(node);
        self.nodes.borrow_mut().insert(nid, node.clone());
        node
    }

    /// A test node.
    pub fn selftest(self: &Rc<Self>, nid: &str, config: &SelftestConfig) -> Selftest<Node> {
        let node = self.node(nid);
        let selftest = Selftest::new(&self.handle, node.clone(), config);
        for (portal, service) in selftest.portals() {
            node.register(portal, service);
        }
        node.register(super::super::RAW_PORTAL, selftest.raw.clone());
        selftest
    }

    /// Calls `hook` for every message; one for which it says false is lost.
    pub fn set_hook(&self, hook: impl FnMut(Flight<'_>) -> bool + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    pub fn run<R: 'static>(&self, future: impl Future<Output = R> + 'static) -> R {
        self.executor.block_on(&*self.clock, future)
    }

    fn reachable(&self, nid: Nid) -> Option<Rc<Node>> {
        let dead = self.dead.borrow().contains(&nid);
        self.nodes.borrow().get(&nid).filter(|_| !dead).cloned()
    }

    fn passes(&self, to: Nid, portal: u32, payload: &mut Payload) -> bool {
        match &mut *self.hook.borrow_mut() {
            Some(hook) => hook(Flight { to, portal, payload }),
            None => true,
        }
    }

    fn wire_time(&self, len: usize) -> Duration {
        Duration::from_nanos(len as u64 * 1_000_000_000 / self.bandwidth.get())
    }

    fn copy(&self, payload: &Payload) -> Payload {
        let mut copy = self.pieces.payload(payload.len());
        let mut at = 0;
        while at < copy.len() {
            let piece = copy.from_mut(at);
            piece.copy_from_slice(payload.from(at));
            at += piece.len();
        }
        copy
    }

    /// Hands a message to the network; the copy that will arrive.
    async fn send(&self, payload: Payload) -> Payload {
        let copy = self.copy(&payload);
        self.handle.sleep(self.wire_time(payload.len())).await;
        copy
    }

    /// Carries a PUT to its portal; how many bytes were taken.
    async fn carry(&self, delivery: Delivery, mut copy: Payload) -> Option<u32> {
        self.handle.sleep(LATENCY).await;
        let node = self.reachable(delivery.target)?;
        if !self.passes(delivery.target, delivery.portal, &mut copy) {
            return None;
        }
        let portal = node.portals.borrow().get(&delivery.portal).cloned()?;
        if !portal.admits(&delivery) {
            return None;
        }
        let len = copy.len() as u32;
        portal.put(delivery, copy);
        Some(len)
    }
}

impl Node {
    pub fn register(&self, number: u32, portal: Rc<dyn Portal>) {
        self.portals.borrow_mut().insert(number, portal);
    }

    /// Messages that a node of the same network has sent.
    pub fn sent_by(&self, nid: Nid) -> u32 {
        self.net.nodes.borrow().get(&nid).map_or(0, |node| node.sent.get())
    }

    fn delivery(&self, to: ProcessId, place: Place, len: u32) -> Delivery {
        Delivery {
            initiator: ProcessId::lustre(self.nid),
            target: to.nid,
            from: self.nid,
            portal: place.portal,
            match_bits: place.match_bits,
            hdr_data: place.hdr_data,
            offset: 0,
            len,
        }
    }

    fn count(&self) {
        self.sent.set(self.sent.get() + 1);
    }
}

impl Transport for Node {
    fn put(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
    ) -> Result<(), SendError> {
        assert!(source.is_none_or(|source| source == self.nid));
        self.count();
        let delivery = self.delivery(to, place, payload.len() as u32);
        let net = self.net.clone();
        self.net.handle.spawn("put", async move {
            let copy = net.send(payload).await;
            net.carry(delivery, copy).await;
        });
        Ok(())
    }

    async fn put_sent(
        &self,
        _: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
        _: Duration,
    ) -> Result<(), TransferError> {
        self.count();
        let delivery = self.delivery(to, place, payload.len() as u32);
        let copy = self.net.send(payload).await;
        let net = self.net.clone();
        self.net.handle.spawn("put", async move {
            net.carry(delivery, copy).await;
        });
        Ok(())
    }

    async fn put_acked(
        &self,
        _: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
        timeout: Duration,
    ) -> Result<u32, TransferError> {
        self.count();
        let delivery = self.delivery(to, place, payload.len() as u32);
        let began = self.net.handle.now();
        let copy = self.net.send(payload).await;
        match self.net.carry(delivery, copy).await {
            Some(len) => Ok(len),
            None => {
                self.net.handle.sleep_until(began + timeout).await;
                Err(TransferError::TimedOut)
            }
        }
    }

    async fn get(
        &self,
        _: Option<Nid>,
        to: ProcessId,
        place: Place,
        len: u32,
        timeout: Duration,
    ) -> Result<Payload, TransferError> {
        self.count();
        let delivery = self.delivery(to, place, len);
        let answer = async {
            self.net.handle.sleep(LATENCY).await;
            let node = self.net.reachable(to.nid)?;
            let portal = node.portals.borrow().get(&place.portal).cloned()?;
            let payload = portal.get(&delivery)?;
            assert!(payload.len() <= len as usize);
            node.count();
            let mut copy = self.net.send(payload).await;
            self.net.handle.sleep(LATENCY).await;
            self.net.passes(self.nid, place.portal, &mut copy).then_some(copy)
        };
        let answer = async {
            match answer.await {
                Some(payload) => payload,
                None => core::future::pending().await,
            }
        };
        match select(answer, self.net.handle.sleep(timeout)).await {
            Either::First(payload) => Ok(payload),
            Either::Second(()) => Err(TransferError::TimedOut),
        }
    }

    fn counters(&self) -> LnetCounters {
        LnetCounters { send_count: self.sent.get(), ..LnetCounters::default() }
    }
}

/// Everything that arrives at a portal.
#[derive(Default)]
pub struct Recorder {
    pub puts: RefCell<Vec<(Delivery, Vec<u8>)>>,
    pub gets: RefCell<Vec<Delivery>>,
    /// Answers to GETs.
    pub answers: RefCell<Vec<Vec<u8>>>,
}

impl Portal for Recorder {
    fn admits(&self, _: &Delivery) -> bool {
        true
    }

    fn put(&self, delivery: Delivery, payload: Payload) {
        self.puts.borrow_mut().push((delivery, payload.slices().flatten().copied().collect()));
    }

    fn get(&self, delivery: &Delivery) -> Option<Payload> {
        self.gets.borrow_mut().push(*delivery);
        self.answers.borrow_mut().pop().map(|bytes| Payload::from_bytes(&bytes))
    }
}
