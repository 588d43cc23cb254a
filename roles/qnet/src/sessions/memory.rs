//! Sessions between nodes of one program, for tests and examples: messages arrive whole, in order and after a delay;
//! connections break and nodes crash when they are told to.
//!
//! Each node has its own numbers for the others, as real ones do: node `j` is number `j - i` (modulo their count) on
//! node `i`.

use super::{Body, Interest, NodeNr, Qos, RxId, RxMessage, SessionEvent, Sessions, TxId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, select};
use keelson_hal::Instant;
use keelson_qnet_wire::names::Policy;
use keelson_qnet_wire::{Errno, Nd};

/// How a network behaves.
#[derive(Clone, Copy, Debug)]
pub struct NetworkSettings {
    /// Shortest and longest delay of a message. Without any, messages arrive while they are sent.
    pub delay: (Duration, Duration),
    /// How long it takes until a node finds out that a peer or a connection is gone.
    pub detection: Duration,
    /// Messages of one connection that may be sent and not taken.
    pub window: usize,
    /// Where random numbers start.
    pub seed: u64,
}

impl Default for NetworkSettings {
    fn default() -> NetworkSettings {
        let delay = (Duration::ZERO, Duration::ZERO);
        NetworkSettings { delay, detection: Duration::ZERO, window: 64, seed: 1 }
    }
}

/// Some nodes, each of which can reach each other.
#[derive(Clone)]
pub struct Network(Rc<Shared>);

struct Shared {
    executor: Handle,
    settings: NetworkSettings,
    nodes: RefCell<Vec<Rc<MemorySessions>>>,
    connections: RefCell<BTreeMap<TxId, Connection>>,
    schedule: RefCell<BTreeMap<(Instant, u64), Action>>,
    scheduled: Notify,
    next: Cell<u64>,
    random: Cell<u64>,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// One direction between two nodes.
struct Connection {
    from: Rc<MemorySessions>,
    to: Rc<MemorySessions>,
    qos: Qos,
    rx: RxId,
    in_flight: VecDeque<Vec<u8>>,
    /// Sent and not taken.
    outstanding: usize,
    /// The receiver has seen it.
    arrived: bool,
    /// Nothing gets through any more.
    broken: bool,
    /// The sender knows, and will use another one.
    told: bool,
    /// When its last message arrives.
    last: Instant,
}

enum Action {
    Deliver(TxId),
    TellSender(TxId, Errno),
    TellReceiver(TxId),
}

/// One node from its boot to its crash.
pub struct MemorySessions {
    /// Weak, as it has all nodes: whoever drops the [`Network`] and its executor's tasks has dropped everything.
    network: Weak<Shared>,
    index: usize,
    up: Cell<bool>,
    events: RefCell<VecDeque<SessionEvent>>,
    changed: Rc<Notify>,
    interest: RefCell<BTreeMap<NodeNr, Interest>>,
    /// Messages that were taken and not released.
    held: Cell<usize>,
}

impl Network {
    /// A network of nodes that are up.
    pub fn new(executor: &Handle, nodes: usize, settings: NetworkSettings) -> Network {
        let shared = Rc::new(Shared {
            executor: executor.clone(),
            settings,
            nodes: RefCell::new(Vec::new()),
            connections: RefCell::new(BTreeMap::new()),
            schedule: RefCell::new(BTreeMap::new()),
            scheduled: Notify::new(),
            next: Cell::new(1),
            random: Cell::new(settings.seed),
            spare: RefCell::new(Vec::new()),
        });
        for index in 0..nodes {
            let sessions = MemorySessions::boot(&shared, index);
            shared.nodes.borrow_mut().push(sessions);
        }
        executor.spawn("network", run(shared.clone()));
        Network(shared)
    }

    /// Sessions of a node since it booted.
    ///
    /// # Panics
    ///
    /// Like all that takes the index of a node, when there is none with it.
    pub fn sessions(&self, node: usize) -> Rc<MemorySessions> {
        self.0.nodes.borrow()[node].clone()
    }

    /// The number that node `on` has for another.
    pub fn number(&self, of: usize, on: usize) -> NodeNr {
        self.0.number(of, on)
    }

    /// The descriptor that node `on` has for another.
    pub fn nd(&self, of: usize, on: usize) -> Nd {
        Nd::new(self.number(of, on).0, 0)
    }

    /// Breaks the connections from one node to another. What is on its way is lost.
    pub fn cut(&self, from: usize, to: usize) {
        let fits = |connection: &Connection| (connection.from.index, connection.to.index) == (from, to);
        self.0.break_where(fits, Errno::EHOSTDOWN);
    }

    /// Switches a node off. What it has sent and what was sent to it is lost.
    pub fn crash(&self, node: usize) {
        let sessions = self.sessions(node);
        sessions.up.set(false);
        sessions.held.set(0);
        sessions.events.borrow_mut().clear();
        self.0.break_where(|connection| connection.from.index == node, Errno::EHOSTDOWN);
        self.0.abandon_where(|connection| connection.to.index == node);
    }

    /// Switches a node on again, or off and on: others may notice at once, or only after the detection time.
    pub fn reboot(&self, node: usize) -> Rc<MemorySessions> {
        self.crash(node);
        let sessions = MemorySessions::boot(&self.0, node);
        self.0.nodes.borrow_mut()[node] = sessions.clone();
        sessions
    }

    /// Messages that were sent and are neither released nor lost.
    pub fn outstanding(&self) -> usize {
        let connections = self.0.connections.borrow();
        let open = connections.values().filter(|connection| !connection.broken && connection.to.up.get());
        let held = self.0.nodes.borrow().iter().map(|node| node.held.get()).sum::<usize>();
        open.map(|open| open.outstanding).sum::<usize>() + held
    }
}

impl MemorySessions {
    fn boot(network: &Rc<Shared>, index: usize) -> Rc<MemorySessions> {
        Rc::new(MemorySessions {
            network: Rc::downgrade(network),
            index,
            up: Cell::new(true),
            events: RefCell::new(VecDeque::new()),
            changed: Rc::new(Notify::new()),
            interest: RefCell::new(BTreeMap::new()),
            held: Cell::new(0),
        })
    }

    /// What the kernel of this node has to do with another.
    pub fn interest(&self, node: NodeNr) -> Interest {
        self.interest.borrow().get(&node).copied().unwrap_or_default()
    }

    fn network(&self) -> Option<Rc<Shared>> {
        self.network.upgrade()
    }

    fn tell(&self, event: SessionEvent) {
        if self.up.get() {
            self.events.borrow_mut().push_back(event);
            self.changed.notify();
        }
    }
}

impl Sessions for MemorySessions {
    fn send(&self, to: NodeNr, qos: Qos, _: u8, head: &[u8], body: Body<'_>) -> Result<TxId, Errno> {
        let network = self.network().filter(|_| self.up.get()).ok_or(Errno::ENETDOWN)?;
        network.send(self, to, qos, head, body)
    }

    fn take_event(&self) -> Option<SessionEvent> {
        let event = self.events.borrow_mut().pop_front();
        if let Some(SessionEvent::Message { rx, .. }) = &event {
            self.held.set(self.held.get() + 1);
            if let Some(network) = self.network() {
                network.taken(*rx);
            }
        }
        event
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    fn release(&self, _: RxId, message: RxMessage) {
        self.held.set(self.held.get() - 1);
        if let Some(network) = self.network() {
            network.spare.borrow_mut().extend(message.into_bytes());
        }
    }

    fn close_rx(&self, _: NodeNr, rx: RxId) {
        if let Some(network) = self.network() {
            network.break_where(|connection| connection.rx == rx, Errno::ESRCH);
        }
    }

    fn qos(&self, nd: Nd) -> Result<Qos, Errno> {
        let network = self.network().ok_or(Errno::ENETDOWN)?;
        let count = network.nodes.borrow().len();
        let known = (1..count).contains(&usize::from(nd.node()));
        match nd.qos_idx() {
            0 if known => Ok(Qos::default()),
            index @ 1..=3 if known => Ok(Qos { policy: Policy::Preferred, index }),
            _ => Err(Errno::ESRCH),
        }
    }

    fn remote_nd_for_us(&self, node: NodeNr) -> Nd {
        let Some(network) = self.network() else { return Nd::LOCAL };
        let count = network.nodes.borrow().len();
        Nd::new(network.number(self.index, (self.index + usize::from(node.0)) % count).0, 0)
    }

    fn set_interest(&self, node: NodeNr, interest: Interest) {
        self.interest.borrow_mut().insert(node, interest);
    }
}

impl Shared {
    fn number(&self, of: usize, on: usize) -> NodeNr {
        let count = self.nodes.borrow().len();
        NodeNr(((of + count - on) % count) as u16)
    }

    fn send(
        &self,
        from: &MemorySessions,
        to: NodeNr,
        qos: Qos,
        head: &[u8],
        body: Body<'_>,
    ) -> Result<TxId, Errno> {
        let count = self.nodes.borrow().len();
        if to.0 == 0 || usize::from(to.0) >= count {
            return Err(Errno::ENOENT);
        }
        let index = (from.index + usize::from(to.0)) % count;
        let tx = self.connection(from.index, index, qos);
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = connections.get_mut(&tx) else { return Err(Errno::EIO) };
        if connection.broken {
            return Ok(tx);
        }
        if connection.outstanding >= self.settings.window {
            return Err(Errno::EAGAIN);
        }
        let mut bytes = self.spare.borrow_mut().pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(head);
        body.append_to(&mut bytes);
        connection.in_flight.push_back(bytes);
        connection.outstanding += 1;
        let due = connection.last.max(self.executor.now() + self.delay());
        connection.last = due;
        drop(connections);
        self.act(due, Action::Deliver(tx));
        Ok(tx)
    }

    /// The open connection between two nodes, or a new one.
    fn connection(&self, from: usize, to: usize, qos: Qos) -> TxId {
        let mut connections = self.connections.borrow_mut();
        let nodes = self.nodes.borrow();
        let (from, to) = (nodes[from].clone(), nodes[to].clone());
        let open = connections.iter().find(|(_, open)| {
            !open.told && Rc::ptr_eq(&open.from, &from) && open.to.index == to.index && open.qos == qos
        });
        if let Some((tx, _)) = open {
            return *tx;
        }
        let tx = TxId(self.take_number());
        from.tell(SessionEvent::TxUp { node: self.number(to.index, from.index), tx });
        let connection = Connection {
            from,
            to,
            qos,
            rx: RxId(self.take_number()),
            in_flight: VecDeque::new(),
            outstanding: 0,
            arrived: false,
            broken: false,
            told: false,
            last: Instant::ZERO,
        };
        connections.insert(tx, connection);
        tx
    }

    /// There is room for another message.
    fn taken(&self, rx: RxId) {
        let mut connections = self.connections.borrow_mut();
        if let Some(connection) = connections.values_mut().find(|connection| connection.rx == rx) {
            let was_full = connection.outstanding >= self.settings.window;
            connection.outstanding = connection.outstanding.saturating_sub(1);
            if was_full {
                connection.from.changed.notify();
            }
        }
    }

    fn break_where(&self, fits: impl Fn(&Connection) -> bool, errno: Errno) {
        let broken: Vec<TxId> = {
            let mut connections = self.connections.borrow_mut();
            let fitting = connections.iter_mut().filter(|(_, open)| !open.broken && fits(open));
            fitting
                .map(|(tx, connection)| {
                    connection.broken = true;
                    connection.in_flight.clear();
                    *tx
                })
                .collect()
        };
        for tx in broken {
            let at = self.executor.now() + self.settings.detection;
            self.act(at, Action::TellSender(tx, errno));
            self.act(at, Action::TellReceiver(tx));
        }
    }

    /// The receiver is gone: the sender goes on sending until it finds out.
    fn abandon_where(&self, fits: impl Fn(&Connection) -> bool) {
        let connections = self.connections.borrow();
        let fitting = connections.iter().filter(|(_, open)| !open.broken && fits(open));
        let abandoned: Vec<TxId> = fitting.map(|(tx, _)| *tx).collect();
        drop(connections);
        for tx in abandoned {
            let at = self.executor.now() + self.settings.detection;
            self.act(at, Action::TellSender(tx, Errno::EHOSTDOWN));
        }
    }

    /// At once when it is due.
    fn act(&self, due: Instant, action: Action) {
        if due <= self.executor.now() {
            return self.perform(action);
        }
        self.schedule.borrow_mut().insert((due, self.take_number()), action);
        self.scheduled.notify();
    }

    fn perform(&self, action: Action) {
        match action {
            Action::Deliver(tx) => self.deliver(tx),
            Action::TellSender(tx, errno) => {
                let mut connections = self.connections.borrow_mut();
                let Some(connection) = connections.get_mut(&tx) else { return };
                connection.broken = true;
                connection.in_flight.clear();
                if core::mem::replace(&mut connection.told, true) {
                    return;
                }
                let Connection { from, to, .. } = connection;
                from.tell(SessionEvent::TxDown { node: self.number(to.index, from.index), tx, errno });
            }
            Action::TellReceiver(tx) => {
                let mut connections = self.connections.borrow_mut();
                let Some(connection) = connections.get_mut(&tx) else { return };
                if core::mem::take(&mut connection.arrived) {
                    let Connection { from, to, rx, .. } = connection;
                    to.tell(SessionEvent::RxDown { node: self.number(from.index, to.index), rx: *rx });
                }
            }
        }
    }

    fn deliver(&self, tx: TxId) {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = connections.get_mut(&tx) else { return };
        let Some(bytes) = connection.in_flight.pop_front() else { return };
        let (from, to, rx, is_new) =
            (connection.from.clone(), connection.to.clone(), connection.rx, !connection.arrived);
        if !to.up.get() {
            drop(connections);
            let at = self.executor.now() + self.settings.detection;
            return self.act(at, Action::TellSender(tx, Errno::EHOSTDOWN));
        }
        connection.arrived = true;
        if is_new {
            // A peer that opens a connection anew has ended the one before.
            let qos = connection.qos;
            let before = connections.values_mut().filter(|old| {
                old.broken && old.arrived && Rc::ptr_eq(&old.to, &to) && old.from.index == from.index
            });
            for old in before.filter(|old| old.qos == qos) {
                old.arrived = false;
                let node = self.number(from.index, to.index);
                to.tell(SessionEvent::RxDown { node, rx: old.rx });
            }
        }
        drop(connections);
        let from = self.number(from.index, to.index);
        to.tell(SessionEvent::Message { from, rx, message: RxMessage::new(bytes) });
    }

    fn delay(&self) -> Duration {
        let (shortest, longest) = self.settings.delay;
        let span = longest.saturating_sub(shortest).as_nanos() as u64;
        if span == 0 {
            return shortest;
        }
        let next =
            self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.set(next);
        shortest + Duration::from_nanos((next >> 33) % span)
    }

    fn take_number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }
}

/// Does what is due.
async fn run(network: Rc<Shared>) {
    loop {
        let scheduled = network.scheduled.notified();
        let next = network.schedule.borrow().first_key_value().map(|((due, _), _)| *due);
        let now = network.executor.now();
        if next.is_some_and(|due| due <= now) {
            let action = network.schedule.borrow_mut().pop_first();
            if let Some((_, action)) = action {
                network.perform(action);
            }
            continue;
        }
        let sleep = network.executor.sleep_until(next.unwrap_or(Instant::FAR_FUTURE));
        select(scheduled, sleep).await;
    }
}
