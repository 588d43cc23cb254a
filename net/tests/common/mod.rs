//! A wire between stacks, under virtual time: delay, loss, duplication, reordering by seed; devices that
//! complete checksums and cut segments as hardware does.
#![allow(dead_code)] // Each test crate uses its part.

use keelson_exec::sim::SimClock;
use keelson_exec::sync::Notify;
use keelson_exec::{Executor, Handle};
use keelson_hal::{
    Entropy, Instant, Interrupt, Link, LinkSpeed, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta,
    TransmitError, TxOffload,
};
use keelson_net::{InterfaceConfig, InterfaceId, Stack};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A generator for tests: splitmix64.
pub struct Rng(pub Cell<u64>);

impl Rng {
    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let z = self.0.get();
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn percent(&self, percent: u32) -> bool {
        self.next() % 100 < percent.into()
    }
}

impl Entropy for Rng {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// What the wire does to frames.
#[derive(Clone, Copy)]
pub struct Faults {
    pub delay: Duration,
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { delay: Duration::from_micros(50), loss: 0, duplicate: 0, reorder: 0 }
    }
}

#[derive(Default)]
struct Line {
    fired: Cell<bool>,
    armed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    fn fire(&self) {
        if self.armed.get() {
            self.fired.set(true);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Interrupt for Line {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.fired.replace(false) {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

struct PortState {
    mac: MacAddress,
    inbox: VecDeque<Vec<u8>>,
    line: Rc<Line>,
    link: Link,
}

/// Arrival and sequence number; receiving port and frame.
type InFlight = BTreeMap<(Instant, u64), (usize, Vec<u8>)>;
type Tap = Box<dyn FnMut(usize, &[u8])>;

/// A broadcast medium: every frame reaches every other port that it is addressed to.
pub struct Wire {
    handle: Handle,
    rng: Rng,
    pub faults: Cell<Faults>,
    ports: RefCell<Vec<PortState>>,
    in_flight: RefCell<InFlight>,
    spare: RefCell<Vec<Vec<u8>>>,
    sequence: Cell<u64>,
    changed: Notify,
    pub frames: Cell<u64>,
    /// Sees every frame sent: port, bytes.
    pub tap: RefCell<Option<Tap>>,
}

impl Wire {
    pub fn new(handle: Handle, seed: u64, faults: Faults) -> Rc<Wire> {
        let wire = Rc::new(Wire {
            handle: handle.clone(),
            rng: Rng(Cell::new(seed)),
            faults: Cell::new(faults),
            ports: RefCell::default(),
            in_flight: RefCell::default(),
            spare: RefCell::default(),
            sequence: Cell::new(0),
            changed: Notify::new(),
            frames: Cell::new(0),
            tap: RefCell::default(),
        });
        let carrier = wire.clone();
        handle.spawn("wire", async move { carrier.run().await });
        wire
    }

    async fn run(&self) {
        loop {
            let now = self.handle.now();
            loop {
                let due = self.in_flight.borrow().first_key_value().map(|(key, _)| *key);
                let Some(key) = due.filter(|(at, _)| *at <= now) else { break };
                let (port, frame) = self.in_flight.borrow_mut().remove(&key).unwrap();
                let mut ports = self.ports.borrow_mut();
                if ports[port].inbox.len() < 1024 && ports[port].link != Link::Down {
                    ports[port].inbox.push_back(frame);
                    ports[port].line.fire();
                }
            }
            let next = self.in_flight.borrow().first_key_value().map(|((at, _), _)| *at);
            let changed = self.changed.notified();
            match next {
                Some(at) => {
                    keelson_exec::select(changed, self.handle.sleep_until(at)).await;
                }
                None => changed.await,
            }
        }
    }

    /// Puts a frame on the wire as if port `from` had sent it.
    pub fn inject(&self, from: usize, frame: &[u8]) {
        self.frames.set(self.frames.get() + 1);
        if let Some(tap) = &mut *self.tap.borrow_mut() {
            tap(from, frame);
        }
        let faults = self.faults.get();
        let count = self.ports.borrow().len();
        for port in (0..count).filter(|port| *port != from) {
            let mac = self.ports.borrow()[port].mac;
            if frame[0] & 1 == 0 && frame[..6] != mac.0 {
                continue;
            }
            let copies = if self.rng.percent(faults.duplicate) { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.percent(faults.loss) {
                    continue;
                }
                let mut delay = faults.delay;
                if self.rng.percent(faults.reorder) {
                    delay *= 3;
                }
                let sequence = self.sequence.replace(self.sequence.get() + 1);
                let mut bytes = self.spare.borrow_mut().pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(frame);
                self.in_flight.borrow_mut().insert((self.handle.now() + delay, sequence), (port, bytes));
            }
        }
        self.changed.notify();
    }

    pub fn set_link(&self, port: usize, link: Link) {
        let mut ports = self.ports.borrow_mut();
        ports[port].link = link;
        ports[port].line.fire();
    }

    /// A new port with a device for a stack.
    pub fn device(self: &Rc<Wire>, features: NetFeatures) -> (Box<FakeNic>, Rc<dyn Interrupt>) {
        let mut ports = self.ports.borrow_mut();
        let line = Rc::new(Line::default());
        let mac = MacAddress([2, 0, 0, 0, 0, ports.len() as u8 + 1]);
        let link = Link::Up(LinkSpeed(1000));
        ports.push(PortState { mac, inbox: VecDeque::new(), line: line.clone(), link });
        let nic = FakeNic {
            wire: self.clone(),
            port: ports.len() - 1,
            mac,
            features,
            ring: Vec::new(),
            used: 0,
            ring_size: 256,
            max_mtu: 9000,
            counters: NetCounters::default(),
        };
        (Box::new(nic), line)
    }
}

pub struct FakeNic {
    wire: Rc<Wire>,
    pub port: usize,
    mac: MacAddress,
    features: NetFeatures,
    ring: Vec<(Vec<u8>, TxOffload)>,
    used: usize,
    pub ring_size: usize,
    pub max_mtu: usize,
    counters: NetCounters,
}

impl NetDevice for FakeNic {
    fn driver(&self) -> &'static str {
        "fake"
    }
    fn mac(&self) -> MacAddress {
        self.mac
    }
    fn features(&self) -> NetFeatures {
        self.features
    }
    fn max_mtu(&self) -> usize {
        self.max_mtu
    }
    fn max_tso_frame(&self) -> usize {
        if self.features.contains(NetFeatures::TSO4) { 65_535 } else { 0 }
    }
    fn link(&mut self) -> Link {
        self.wire.ports.borrow()[self.port].link
    }
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        for n in 0..budget {
            let frame = self.wire.ports.borrow_mut()[self.port].inbox.pop_front();
            let Some(frame) = frame else { return n };
            self.counters.rx_packets += 1;
            self.counters.rx_bytes += frame.len() as u64;
            sink(&frame, RxMeta::default());
            self.wire.spare.borrow_mut().push(frame);
        }
        budget
    }
    fn transmit_room(&mut self) -> usize {
        self.ring_size - self.used
    }
    fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        if self.used == self.ring_size {
            return Err(TransmitError::Full);
        }
        if len > self.max_mtu + 14 && offload.segment_size.is_none() {
            return Err(TransmitError::TooLong);
        }
        if self.ring.len() == self.used {
            self.ring.push(Default::default());
        }
        let slot = &mut self.ring[self.used];
        slot.0.resize(len, 0xee);
        slot.1 = offload;
        fill(&mut slot.0);
        self.used += 1;
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += len as u64;
        Ok(())
    }
    fn flush(&mut self) {
        self.counters.doorbells += 1;
        for n in 0..self.used {
            let (frame, offload) = &mut self.ring[n];
            match (offload.segment_size, offload.checksum) {
                (Some(mss), Some(checksum)) => {
                    self.counters.tx_tso_packets += 1;
                    for segment in cut(frame, checksum.start.into(), mss.into()) {
                        self.wire.inject(self.port, &segment);
                    }
                }
                (Some(_), None) => panic!("segmentation without checksum"),
                (None, Some(checksum)) => {
                    let (start, offset) = (usize::from(checksum.start), usize::from(checksum.offset));
                    let sum = !sum(&frame[start..]);
                    frame[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
                    self.wire.inject(self.port, frame);
                }
                (None, None) => self.wire.inject(self.port, frame),
            }
        }
        self.used = 0;
    }
    fn arm(&mut self) -> bool {
        let ports = self.wire.ports.borrow();
        ports[self.port].line.armed.set(true);
        !ports[self.port].inbox.is_empty()
    }
    fn disarm(&mut self) {
        self.wire.ports.borrow()[self.port].line.armed.set(false);
    }
    fn set_multicast(&mut self, _: &[MacAddress]) {}
    fn counters(&self) -> NetCounters {
        self.counters
    }
}

/// One's complement sum, folded.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// TCP segmentation of an IPv4 frame as a device does it.
fn cut(frame: &[u8], start: usize, mss: usize) -> Vec<Vec<u8>> {
    let header = start + usize::from(frame[start + 12] >> 4) * 4;
    let seq = u32::from_be_bytes(frame[start + 4..start + 8].try_into().unwrap());
    let payload = &frame[header..];
    let count = payload.len().div_ceil(mss);
    let piece = |n: usize| {
        let bytes = &payload[n * mss..payload.len().min(n * mss + mss)];
        let mut segment = frame[..header].to_vec();
        segment.extend_from_slice(bytes);
        let total = (segment.len() - 14) as u16;
        segment[16..18].copy_from_slice(&total.to_be_bytes());
        segment[24..26].fill(0);
        let ip_sum = !sum(&segment[14..start]);
        segment[24..26].copy_from_slice(&ip_sum.to_be_bytes());
        segment[start + 4..start + 8].copy_from_slice(&(seq + (n * mss) as u32).to_be_bytes());
        if n + 1 < count {
            segment[start + 13] &= !0x09;
        }
        segment[start + 16..start + 18].fill(0);
        let mut pseudo = segment[26..34].to_vec();
        pseudo.extend_from_slice(&[0, 6]);
        pseudo.extend_from_slice(&((segment.len() - start) as u16).to_be_bytes());
        pseudo.extend_from_slice(&segment[start..]);
        let tcp_sum = !sum(&pseudo);
        segment[start + 16..start + 18].copy_from_slice(&tcp_sum.to_be_bytes());
        segment
    };
    (0..count).map(piece).collect()
}

/// An executor, a clock and a wire.
pub struct Lab {
    pub executor: Executor,
    pub clock: Rc<SimClock>,
    pub wire: Rc<Wire>,
    seed: Cell<u64>,
}

impl Lab {
    pub fn new(seed: u64, faults: Faults) -> Lab {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let wire = Wire::new(executor.handle(), seed, faults);
        Lab { executor, clock, wire, seed: Cell::new(seed) }
    }

    /// A stack with one interface at `addr` (`10.0.0.1/24`).
    pub fn host(&self, addr: &str, features: NetFeatures) -> (Stack, InterfaceId) {
        let config = InterfaceConfig { addresses: vec![addr.parse().unwrap()], ..InterfaceConfig::default() };
        self.host_with(&config, features)
    }

    pub fn host_with(&self, config: &InterfaceConfig, features: NetFeatures) -> (Stack, InterfaceId) {
        self.seed.set(self.seed.get() + 1);
        let entropy = Rc::new(Rng(Cell::new(self.seed.get() << 32)));
        let stack = Stack::new(self.executor.handle(), entropy);
        let (device, interrupt) = self.wire.device(features);
        let id = stack.attach("eth0", device, interrupt);
        stack.configure(id, config).unwrap();
        (stack, id)
    }

    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }

    pub fn run_for(&self, span: Duration) {
        let handle = self.executor.handle();
        self.run(async move { handle.sleep(span).await });
    }
}
