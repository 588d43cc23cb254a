//! All connections: slots, the flow hash, the ready list, the deadlines.

use super::connection::{Awaits, BURST, Birth, Connection, Flow, Sent, Stage};
use super::parking::{Parked, Parking};
use super::timers::TimerHeap;
use crate::hash::{Key, KeyedMap};
use crate::ip::{Net, Path};
use crate::tcp::{TcpOptions, TcpStatus};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::task::Waker;
use core::time::Duration;
use keelson_hal::{Entropy, Instant};

/// Connections of a stack, half-open ones included.
pub(crate) const MAX_CONNECTIONS: usize = 16_384;
/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection that is ready but cannot make progress looks again after this.
const STALLED: Duration = Duration::from_millis(10);
/// A connection whose next hop is being looked for looks again after this, in case it is looked for no longer.
const HELD: Duration = Duration::from_secs(1);

/// Segments that a connection may send in its turn, however many wait for theirs: enough for a small reply.
const LEAST_BURST: usize = 8;

/// Smallest ring a connection gets when memory is short: a few segments.
const RING_MIN: usize = 8 << 10;
/// One new connection may take this part of the ring memory, divided by the number of connections: the first
/// get what they ask for, and thousands still find room.
const RING_SHARE: usize = 8;

/// Names a connection; the generation tells a slot's successive tenants apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnectionId {
    pub slot: usize,
    pub generation: u64,
}

/// A port that accepts connections.
pub(crate) struct Listener {
    pub options: TcpOptions,
    /// Half-open connections in order of their SYNs; may name some that have moved on.
    pub half_open: VecDeque<ConnectionId>,
    pub half_open_count: usize,
    /// Connections for `accept`.
    pub queue: VecDeque<ConnectionId>,
    pub waker: Option<Waker>,
}

pub(crate) struct Tcp {
    pub entropy: Rc<dyn Entropy>,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    next_generation: u64,
    pub flows: KeyedMap<Flow, usize>,
    pub listeners: KeyedMap<u16, Listener>,
    /// Half-open connections that made way.
    pub parking: Parking,
    ready: VecDeque<usize>,
    timers: TimerHeap,
    /// Bytes that all rings together may take, and take now.
    pub ring_limit: usize,
    ring_bytes: usize,
    /// Connections that wait for their next hop to be known: at most so many.
    awaiting: usize,
}

impl Tcp {
    pub fn new(entropy: Rc<dyn Entropy>, key: Key) -> Tcp {
        Tcp {
            entropy,
            slots: Vec::new(),
            free: Vec::new(),
            next_generation: 0,
            flows: KeyedMap::with_hasher(key),
            listeners: KeyedMap::with_hasher(key),
            parking: Parking::new(key),
            ready: VecDeque::new(),
            timers: TimerHeap::default(),
            ring_limit: usize::MAX,
            ring_bytes: 0,
            awaiting: 0,
        }
    }

    /// All connections.
    pub fn status(&self, now: Instant) -> impl Iterator<Item = TcpStatus> + '_ {
        self.slots.iter().flatten().map(move |connection| connection.status(now))
    }

    /// Number of connections, whatever their state.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// One more connection: rings as asked for, or its share where that is less.
    pub fn birth(&self, mut options: TcpOptions) -> Birth {
        let share = (self.ring_limit / RING_SHARE / (self.len() + 1)).max(2 * RING_MIN);
        options.receive_buffer = options.receive_buffer.min(share / 2);
        options.send_buffer = options.send_buffer.min(share / 2);
        Birth { seed: self.entropy.next_u64(), options }
    }

    /// Makes a connection and enters it in the flow table; `None` when there are too many.
    pub fn create(
        &mut self,
        net: &mut Net,
        now: Instant,
        path: Path,
        flow: Flow,
        stage: Stage,
        birth: Birth,
    ) -> Option<ConnectionId> {
        let rings = birth.options.rings();
        if self.len() >= MAX_CONNECTIONS || self.ring_bytes.saturating_add(rings) > self.ring_limit {
            return None;
        }
        self.ring_bytes += rings;
        let mut connection = Connection::new(net, now, path, flow, stage, birth);
        connection.deadline = now + HANDSHAKE;
        let generation = self.next_generation;
        self.next_generation += 1;
        connection.generation = generation;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(Box::new(connection));
        self.ready.reserve(self.slots.len().saturating_sub(self.ready.len()));
        self.timers.reserve(self.slots.len());
        self.free.reserve(self.slots.len().saturating_sub(self.free.len()));
        self.flows.insert(flow, slot);
        Some(ConnectionId { slot, generation })
    }

    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.at(id.slot).filter(|connection| connection.generation == id.generation)
    }

    pub fn at(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    /// Frees the slot and the flow.
    pub fn remove(&mut self, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.ring_bytes -= connection.options.rings();
        self.timers.set(slot, None);
        self.free.push(slot);
        if connection.routed {
            self.flows.remove(&connection.flow);
        }
        if let Stage::HalfOpen(port) = connection.stage
            && let Some(listener) = self.listeners.get_mut(&port)
        {
            listener.half_open_count -= 1;
        }
    }

    /// Frees a half-open connection, but keeps what it takes to make it again when its client answers.
    pub fn park(&mut self, slot: usize) {
        let Some(connection) = self.at(slot) else { return };
        let (flow, trace, until) = (connection.flow, connection.trace, connection.deadline);
        // What was not answered cannot be acknowledged.
        if let Some(opening) = connection.opening.take().filter(|_| trace.started) {
            self.parking.put(flow, Parked { opening, trace, until });
        }
        self.remove(slot);
    }

    /// Takes the connection out of the flow table, so that its 4-tuple is free.
    pub fn unroute(&mut self, slot: usize) {
        if let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && connection.routed
        {
            connection.routed = false;
            self.flows.remove(&connection.flow);
        }
    }

    /// Puts a connection on the ready list and wakes a task to serve it.
    pub fn make_ready(&mut self, net: &mut Net, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if !connection.queued {
            connection.queued = true;
            self.ready.push_back(slot);
        }
        // Every interface's task serves all connections; the way itself is looked for where a packet takes it.
        let nic = match net.nics.get(connection.nic) {
            Some(nic) if nic.attached => connection.nic,
            _ => net
                .path(connection.flow.remote.ip(), Some(connection.flow.local.ip()))
                .map_or(0, |path| path.nic),
        };
        if let Some(nic) = net.nics.get_mut(nic) {
            nic.kick();
        }
    }

    /// Puts a connection on the ready list from within the task that serves it.
    pub fn queue(&mut self, slot: usize) {
        if let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(slot);
        }
    }

    /// When the next deadline is.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// True while connections are on the ready list.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Serves the connections that are ready now, and those whose deadline has come. True when some of
    /// them made progress and are ready again.
    ///
    /// The more there are, the less each may send in one go: a small reply waits for a part of what a crowd of bulk
    /// transfers has to say, not for all of it.
    pub fn turn(&mut self, net: &mut Net, now: Instant) -> bool {
        while let Some(slot) = self.timers.pop_due(now) {
            self.queue(slot);
        }
        let ready = self.ready.len();
        let burst = (BURST / ready.max(1)).max(LEAST_BURST);
        let mut again = false;
        for behind in (0..ready).rev() {
            let Some(slot) = self.ready.pop_front() else { break };
            again |= self.serve(net, now, slot, burst, behind == 0);
        }
        again
    }

    /// Lets one connection send, then decides when and whether to come back to it.
    fn serve(&mut self, net: &mut Net, now: Instant, slot: usize, burst: usize, last: bool) -> bool {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return false };
        connection.queued = false;
        net.counters.tcp_polls += 1;
        if now >= connection.deadline.min(connection.gives_up_at(now)) && !connection.is_closed() {
            if let Stage::HalfOpen(_) = connection.stage {
                net.counters.tcp_half_open_expired += 1;
                self.remove(slot);
                return false;
            }
            net.counters.tcp_timed_out += 1;
            connection.abort();
        }
        let sent = connection.trace.next;
        let result = connection.transmit(net, now, burst);
        let progress = connection.trace.next != sent;
        if last {
            // The doorbell for all of them: what is decided now has time while frames are on their way.
            net.flush();
        }
        self.settle(net, slot);
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return false };
        match result {
            Sent::All => {}
            Sent::Part => {
                self.queue(slot);
                return progress;
            }
            Sent::Held => {
                self.awaiting += usize::from(connection.awaits.is_none());
                connection.awaits = connection.awaits.or(Some(Awaits::Sending));
            }
        }
        let deadline = if connection.is_closed() {
            Instant::FAR_FUTURE
        } else {
            connection.deadline.min(connection.gives_up_at(now))
        };
        let wanted = match result {
            Sent::Held => Some(now + HELD),
            // "At once" after everything was sent means that the engine waits for something it cannot name.
            _ => connection.poll_at(now).map(|at| if at <= now { now + STALLED } else { at }),
        };
        let next = wanted.unwrap_or(Instant::FAR_FUTURE).min(deadline);
        self.timers.set(slot, (next != Instant::FAR_FUTURE).then_some(next));
        false
    }

    /// Ends the handshakes that wait for these neighbours: they did not answer.
    pub fn unreachable(&mut self, net: &mut Net, nic: usize, silent: &[IpAddr]) {
        if silent.is_empty() {
            return;
        }
        for slot in 0..self.slots.len() {
            let Some(connection) = self.at(slot).filter(|connection| connection.is_connecting()) else {
                continue;
            };
            let flow = connection.flow;
            let path = net.path(flow.remote.ip(), Some(flow.local.ip()));
            if path.is_some_and(|path| path.nic == nic && silent.contains(&path.next_hop)) {
                connection.unreachable = true;
                connection.abort();
                self.make_ready(net, slot);
            }
        }
    }

    /// The link of an interface is back: what its connections sent in vain is sent again, as soon as their next
    /// hops are known again. Rare: walks over all of them.
    pub fn link_returned(&mut self, net: &mut Net, now: Instant, nic: usize) {
        for connection in self.slots.iter_mut().flatten() {
            let flow = connection.flow;
            let path = net.path(flow.remote.ip(), Some(flow.local.ip())).filter(|path| path.nic == nic);
            if let Some(path) = path
                && connection.owes()
            {
                // Not at once: what waits for a next hop is a few packets, and the rest of it would be lost again.
                net.look_for(now, path);
                self.awaiting += usize::from(connection.awaits.is_none());
                connection.awaits = Some(Awaits::Repeating);
            }
        }
    }

    /// Next hops have been found: whoever waits for one of them sends.
    pub fn neighbours_found(&mut self, net: &mut Net) {
        if self.awaiting == 0 {
            return;
        }
        let mut left = 0;
        for slot in 0..self.slots.len() {
            let Some(connection) = self.slots[slot].as_mut() else { continue };
            let Some(awaits) = connection.awaits else { continue };
            let flow = connection.flow;
            let path = net.path(flow.remote.ip(), Some(flow.local.ip()));
            if path.is_some_and(|path| !net.nics[path.nic].neighbours.knows(path.next_hop)) {
                left += 1;
                continue;
            }
            connection.awaits = None;
            match awaits {
                Awaits::Sending => self.queue(slot),
                Awaits::Repeating if connection.owes() => {
                    connection.hurry();
                    net.counters.tcp_link_returned += 1;
                    self.queue(slot);
                }
                // Its timer came first.
                Awaits::Repeating => {}
            }
        }
        self.awaiting = left;
    }

    /// Moves a connection to its next stage after its state may have changed.
    pub fn settle(&mut self, net: &mut Net, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let id = ConnectionId { slot, generation: connection.generation };
        match connection.stage {
            Stage::HalfOpen(port) if connection.is_established() => {
                connection.stage = Stage::Waiting(port);
                connection.opening = None;
                connection.deadline = Instant::FAR_FUTURE;
                net.counters.tcp_passive_opens += 1;
                if let Some(listener) = self.listeners.get_mut(&port) {
                    listener.half_open_count -= 1;
                    listener.queue.push_back(id);
                    if let Some(waker) = listener.waker.take() {
                        waker.wake();
                    }
                } else {
                    connection.abort();
                    connection.stage = Stage::Orphaned;
                    self.queue(slot);
                }
            }
            Stage::HalfOpen(_) if connection.is_closed() => self.remove(slot),
            Stage::Owned | Stage::Waiting(_) if connection.is_finished() => self.unroute(slot),
            Stage::Orphaned if connection.is_finished() => self.remove(slot),
            _ => {}
        }
    }

    /// Ends every connection from an address that is ours no longer. Rare: walks over all of them.
    pub fn address_removed(&mut self, net: &mut Net, addr: IpAddr) {
        for slot in 0..self.slots.len() {
            let Some(connection) = self.slots[slot].as_mut() else { continue };
            if connection.flow.local.ip() == addr {
                connection.abort();
                self.make_ready(net, slot);
            }
        }
    }
}
