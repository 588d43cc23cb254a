//! Nodes, wires between them, and time.

use super::Rng;
use super::ledger::{Ledger, Life};
use super::port::SimPort;
use crate::l4::Event;
use crate::l4::{Body, Occupancy, Options, Transport};
use crate::link::{LinkAddress, LinkId};
use crate::nodes::Identity;
use crate::sessions::{NodeNr, Qos, SessionEvent, TxId};
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::l4::Packet;
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::{Errno, Nd};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

/// What a wire does to frames.
#[derive(Clone, Copy)]
pub struct Impair {
    /// Of 1000 frames.
    pub loss: u32,
    pub duplicate: u32,
    pub corrupt: u32,
    /// One-way delay, evenly distributed.
    pub delay_us: (u64, u64),
}

impl Default for Impair {
    fn default() -> Impair {
        Impair { loss: 0, duplicate: 0, corrupt: 0, delay_us: (50, 50) }
    }
}

/// A frame on a wire, for tests that look at them.
pub struct Seen<'a> {
    pub at: Instant,
    pub wire: usize,
    pub from: usize,
    pub packet: Option<Packet<'a>>,
}

/// What a test does with a frame.
#[derive(PartialEq, Eq)]
pub enum Fate {
    Pass,
    Drop,
}

type Judge = Box<dyn FnMut(&Seen) -> Fate>;

struct Delivery {
    wire: usize,
    node: usize,
    from: LinkAddress,
    broadcast: bool,
    bytes: Vec<u8>,
}

pub struct Node {
    pub transport: Transport,
    pub ports: Vec<Rc<SimPort>>,
    pub boot: u32,
    pub alive: bool,
    pub events: Vec<Event>,
    deadline: Option<Instant>,
    identity: Identity,
    options: Options,
    nic: u8,
}

pub struct World {
    pub now: Instant,
    pub rng: Rng,
    pub nodes: Vec<Node>,
    pub wires: Vec<Impair>,
    pub ledger: Ledger,
    pub judge: Option<Judge>,
    /// Frames put on wires.
    pub frames: u64,
    /// Whether events other than messages are kept in `Node::events`.
    pub keep_events: bool,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    deliveries: HashMap<u64, Delivery>,
    made: u64,
}

pub fn mac(node: u8, link: u8) -> LinkAddress {
    LinkAddress::Mac([2, 0, 0, 0, link, node + 1])
}

impl Node {
    /// Other adapters at the next start.
    pub fn other_adapters(&mut self, nic: u8) {
        self.nic = nic;
    }

    /// Another name at the next start.
    pub fn options_name(&mut self, name: &str) {
        self.identity = Identity::new(name, "").unwrap();
    }
}

impl World {
    /// A world with so many wires.
    pub fn new(seed: u64, wires: usize) -> World {
        World {
            now: Instant::ZERO + Duration::from_secs(1),
            rng: Rng::new(seed.wrapping_mul(0x1_0001).wrapping_add(7)),
            nodes: Vec::new(),
            wires: vec![Impair::default(); wires],
            ledger: Ledger::default(),
            judge: None,
            frames: 0,
            keep_events: true,
            queue: BinaryHeap::new(),
            deliveries: HashMap::new(),
            made: 0,
        }
    }

    /// Two nodes, alpha and beta, on one wire, which know each other.
    pub fn pair(seed: u64) -> World {
        World::pair_with(seed, 1, Options::default())
    }

    pub fn pair_with(seed: u64, wires: usize, options: Options) -> World {
        let mut world = World::new(seed, wires);
        for name in ["alpha", "beta"] {
            world.add(name, "", options.clone());
        }
        world.announce();
        world.run(Duration::from_millis(20));
        world
    }

    /// The same, with a connection each way.
    pub fn connected(seed: u64, wires: usize, options: Options) -> World {
        let mut world = World::pair_with(seed, wires, options);
        for (from, to) in [(0, "beta"), (1, "alpha")] {
            let to = world.nr(from, to);
            world.send(from, to, Qos::default(), 8).unwrap();
            assert!(world.drain(Duration::from_secs(1)));
        }
        world
    }

    /// All nodes say who they are.
    pub fn announce(&mut self) {
        for number in 0..self.nodes.len() {
            self.with(number, |transport, now| {
                transport.now = now;
                transport.announce();
            });
        }
    }

    /// Adds a node with an adapter on each wire.
    pub fn add(&mut self, name: &str, domain: &str, options: Options) -> usize {
        let number = self.nodes.len();
        let identity = Identity::new(name, domain).unwrap();
        let transport = Transport::new(options.clone(), identity.clone(), &self.rng, None, self.now);
        let nic = number as u8;
        self.nodes.push(Node {
            transport,
            ports: Vec::new(),
            boot: 0,
            alive: true,
            events: Vec::new(),
            deadline: None,
            identity,
            options,
            nic,
        });
        self.attach(number);
        number
    }

    fn attach(&mut self, number: usize) {
        let now = self.now;
        let node = &mut self.nodes[number];
        node.ports = (0..self.wires.len() as u8)
            .map(|link| Rc::new(SimPort::new(&format!("en{link}"), mac(node.nic, link))))
            .collect();
        for (link, port) in node.ports.iter().enumerate() {
            assert!(node.transport.add_link(now, LinkId(link as u8), port.clone()));
        }
        self.settle(number);
    }

    /// A node stops without a word.
    pub fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.alive = false;
        node.deadline = None;
        node.ports.iter().for_each(|port| port.sent.borrow_mut().clear());
    }

    /// A node starts anew, knowing nothing.
    pub fn boot(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.boot += 1;
        node.alive = true;
        let (options, identity) = (node.options.clone(), node.identity.clone());
        node.transport = Transport::new(options, identity, &self.rng, None, self.now);
        self.attach(number);
    }

    pub fn life(&self, number: usize) -> Life {
        (number, self.nodes[number].boot)
    }

    /// The number that one node has for another.
    pub fn nr(&self, of: usize, name: &str) -> NodeNr {
        self.nodes[of].transport.node_named(name, "").unwrap_or_else(|| panic!("{name} is unknown to {of}"))
    }

    /// Sends a message of at least 8 bytes, half of it in the head if it is short.
    pub fn send(&mut self, from: usize, to: NodeNr, qos: Qos, len: usize) -> Result<TxId, Errno> {
        let bytes = self.ledger.message(len);
        let head = (bytes.len() / 2).min(100);
        let body = Body::from(bytes[head..].to_vec());
        let priority = (len % 64) as u8;
        let now = self.now;
        let sent = self.nodes[from].transport.send(now, to, qos, priority, &bytes[..head], body);
        if let Ok((tx, _)) = sent {
            let life = self.life(from);
            self.ledger.sent(life, tx, bytes.len());
        }
        self.settle(from);
        sent.map(|(tx, _)| tx)
    }

    /// Does something with a node's transport.
    pub fn with<T>(&mut self, number: usize, act: impl FnOnce(&mut Transport, Instant) -> T) -> T {
        let now = self.now;
        let result = act(&mut self.nodes[number].transport, now);
        self.settle(number);
        result
    }

    /// Finds a node by name, in at most a minute.
    pub fn look_up(&mut self, number: usize, path: &str) -> Result<Nd, Errno> {
        let path = NodePath::parse(path).unwrap();
        let request = self.with(number, |transport, now| transport.look_up(now, &path))?;
        self.answer(number, request).map(Nd)
    }

    pub fn verify(&mut self, number: usize, node: NodeNr) -> Result<u32, Errno> {
        let request = self.with(number, |transport, now| transport.verify(now, node))?;
        self.answer(number, request)
    }

    pub fn answer(&mut self, number: usize, request: crate::nodes::RequestId) -> Result<u32, Errno> {
        for _ in 0..60_000 {
            if let Some(result) = self.with(number, |transport, _| transport.poll_request(request, None)) {
                return result;
            }
            self.run(Duration::from_millis(1));
        }
        panic!("no answer");
    }

    /// Polls a node, takes its events and puts its frames on the wires.
    fn settle(&mut self, number: usize) {
        let now = self.now;
        let life = self.life(number);
        let node = &mut self.nodes[number];
        if !node.alive {
            return;
        }
        // Taking messages makes room; frames taken by the wire make room.
        node.deadline = node.transport.poll(now);
        while let Some(event) = node.transport.take_event() {
            match event {
                SessionEvent::Message { from, rx, message } => {
                    self.ledger.received(life, rx, from, message.bytes());
                    continue;
                }
                SessionEvent::TxDown { tx, errno, .. } => self.ledger.tx_down(life, tx, errno),
                SessionEvent::RxDown { rx, .. } => self.ledger.rx_down(life, rx),
                SessionEvent::TxUp { .. } => {}
            }
            if self.keep_events {
                node.events.push(event);
            }
        }
        let mut frames = Vec::new();
        for (wire, port) in node.ports.iter().enumerate() {
            let from = port.address;
            frames.extend(std::iter::from_fn(|| port.take()).map(|frame| (wire, from, frame)));
        }
        if frames.is_empty() {
            return;
        }
        for (wire, from, (to, bytes)) in frames {
            self.carry(number, wire, from, to, bytes);
        }
        // What found no room may go now.
        self.settle(number);
    }

    fn carry(
        &mut self,
        sender: usize,
        wire: usize,
        from: LinkAddress,
        to: Option<LinkAddress>,
        bytes: Vec<u8>,
    ) {
        self.frames += 1;
        let seen = Seen { at: self.now, wire, from: sender, packet: Packet::decode(&bytes).ok() };
        if self.judge.as_mut().is_some_and(|judge| judge(&seen) == Fate::Drop) {
            return;
        }
        let impair = self.wires[wire];
        for number in 0..self.nodes.len() {
            let there = self.nodes[number].ports.get(wire).map(|port| port.address);
            if number == sender || to.is_some_and(|to| there != Some(to)) {
                continue;
            }
            if self.rng.permille(impair.loss) {
                continue;
            }
            let copies = 1 + u32::from(self.rng.permille(impair.duplicate));
            for _ in 0..copies {
                let mut bytes = bytes.clone();
                if self.rng.permille(impair.corrupt) {
                    let at = self.rng.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << self.rng.below(8);
                }
                let (low, high) = impair.delay_us;
                let delay = Duration::from_micros(low + self.rng.below(high - low + 1));
                let delivery = Delivery { wire, node: number, from, broadcast: to.is_none(), bytes };
                self.made += 1;
                self.queue.push(Reverse((self.now + delay, self.made)));
                self.deliveries.insert(self.made, delivery);
            }
        }
    }

    /// Puts a frame on a wire as a stranger would.
    pub fn inject(&mut self, to: usize, wire: usize, from: LinkAddress, broadcast: bool, bytes: &[u8]) {
        let now = self.now;
        let node = &mut self.nodes[to];
        node.transport.input(now, LinkId(wire as u8), from, broadcast, bytes);
        self.settle(to);
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let frame = self.queue.peek().map(|Reverse((at, _))| *at);
            let timer = self.nodes.iter().filter_map(|node| node.deadline).min();
            let Some(next) = frame.into_iter().chain(timer).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if frame == Some(next) {
                let Some(Reverse((_, key))) = self.queue.pop() else { break };
                let delivery = self.deliveries.remove(&key).unwrap();
                let node = &mut self.nodes[delivery.node];
                let port = node.ports.get(delivery.wire);
                if node.alive && port.is_some_and(|port| port.up.get()) {
                    let link = LinkId(delivery.wire as u8);
                    node.transport.input(self.now, link, delivery.from, delivery.broadcast, &delivery.bytes);
                    self.settle(delivery.node);
                }
            } else {
                for number in 0..self.nodes.len() {
                    if self.nodes[number].deadline.is_some_and(|at| at <= self.now) {
                        let before = self.nodes[number].deadline;
                        self.settle(number);
                        assert_ne!(self.nodes[number].deadline, before, "a timer that does not move");
                    }
                }
            }
        }
        self.now = end;
    }

    /// Runs until nothing waits to be sent or put together, or the time is over.
    pub fn drain(&mut self, at_most: Duration) -> bool {
        let end = self.now + at_most;
        while self.now < end {
            let busy = self.nodes.iter().filter(|node| node.alive).any(|node| {
                let occupancy = node.transport.occupancy();
                occupancy.outbound_messages > 0 || occupancy.buffers > 0
            });
            if !busy {
                return true;
            }
            self.run(Duration::from_millis(5));
        }
        false
    }

    /// All messages accounted for, all memory given back.
    pub fn finish(&self) {
        self.ledger.finish(|(number, boot)| self.nodes[number].alive && self.nodes[number].boot == boot);
        for node in self.nodes.iter().filter(|node| node.alive) {
            let Occupancy { tx, rx, nodes, .. } = node.transport.occupancy();
            let nothing = Occupancy { tx, rx, nodes, ..Occupancy::default() };
            assert_eq!(node.transport.occupancy(), nothing);
        }
    }
}
