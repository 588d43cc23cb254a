//! The wire: carries frames between ports, and does to them what its faults say.

use crate::nic::{Line, NicModel, SimNic};
use crate::rng::Rng;
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, select};
use keelson_hal::{Instant, Interrupt, Link, LinkSpeed, MacAddress};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Frames a NIC holds for a stack that does not fetch them; more are lost.
const INBOX: usize = 1024;
/// How much later the latest of frames that are late arrive: longer than many exchanges take, and short beside what
/// anybody waits for.
pub const LATEST: Duration = Duration::from_millis(80);
/// With a bandwidth: how long a frame may have to wait for its turn; one that had to wait longer is lost.
const LONGEST_QUEUE: Duration = Duration::from_millis(100);

/// A port of a [`Wire`]: ports are numbered in the order in which NICs were plugged in.
pub type PortId = usize;

/// Sees frames as they are sent: port, bytes.
pub type Tap = Box<dyn FnMut(PortId, &[u8])>;

/// What a wire does to frames. May change at any time ([`Wire::faults`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults {
    /// From sender to receiver.
    pub delay: Duration,
    /// Percent of frames lost.
    pub loss: u32,
    /// Percent of frames that arrive twice.
    pub duplicate: u32,
    /// Percent of frames that take three times the delay, and so are overtaken.
    pub reorder: u32,
    /// Percent of frames that take up to [`LATEST`] longer.
    pub late: u32,
    /// Bytes that each port receives in a second; unlimited without. A queue of 100 ms forms, then frames
    /// are lost.
    pub bandwidth: Option<u64>,
}

impl Default for Faults {
    /// A good wire: 50 µs, nothing lost.
    fn default() -> Faults {
        Faults {
            delay: Duration::from_micros(50),
            loss: 0,
            duplicate: 0,
            reorder: 0,
            late: 0,
            bandwidth: None,
        }
    }
}

pub(crate) struct Port {
    pub mac: MacAddress,
    pub model: NicModel,
    pub inbox: VecDeque<Vec<u8>>,
    pub line: Rc<Line>,
    pub link: Link,
    /// Frames to and from here vanish although the carrier is there.
    pub cut: bool,
    /// Counts devices taken out for this port: only the latest one works.
    pub generation: u64,
    /// With a bandwidth: when the last frame of the queue will have arrived.
    free_at: Instant,
}

impl Port {
    /// Whether frames get out of, or into, the device of this generation.
    fn passes(&self, generation: u64) -> bool {
        self.generation == generation && self.link != Link::Down && !self.cut
    }
}

/// Arrival and sequence number; receiving port, its generation, and the frame.
type InFlight = BTreeMap<(Instant, u64), (PortId, u64, Vec<u8>)>;

/// A broadcast medium: every frame reaches every other port that it is addressed to.
pub struct Wire {
    handle: Handle,
    rng: Rng,
    number: u8,
    /// What happens to frames sent from now on.
    pub faults: Cell<Faults>,
    /// Frames sent so far.
    pub frames: Cell<u64>,
    /// Sees every frame that was sent, before anything happens to it.
    pub tap: RefCell<Option<Tap>>,
    pub(crate) ports: RefCell<Vec<Port>>,
    by_mac: RefCell<HashMap<MacAddress, PortId>>,
    in_flight: RefCell<InFlight>,
    /// Buffers of frames that were delivered, to be used again.
    pub(crate) spare: RefCell<Vec<Vec<u8>>>,
    sequence: Cell<u64>,
    changed: Notify,
}

impl Wire {
    /// A wire whose carrier runs on `handle`'s executor. `number` makes MAC addresses differ between wires.
    pub(crate) fn new(handle: Handle, seed: u64, number: u8, faults: Faults) -> Rc<Wire> {
        let wire = Rc::new(Wire {
            handle: handle.clone(),
            rng: Rng::new(seed),
            number,
            faults: Cell::new(faults),
            frames: Cell::new(0),
            tap: RefCell::default(),
            ports: RefCell::default(),
            by_mac: RefCell::default(),
            in_flight: RefCell::default(),
            spare: RefCell::default(),
            sequence: Cell::new(0),
            changed: Notify::new(),
        });
        let carrier = wire.clone();
        handle.spawn("wire", async move { carrier.run().await });
        wire
    }

    /// Adds a port. Its MAC address is `02:00:00:<wire>:<port + 1, two bytes>`.
    pub fn add_port(&self, model: NicModel) -> PortId {
        let mut ports = self.ports.borrow_mut();
        let [high, low] =
            u16::try_from(ports.len() + 1).expect("at most 65535 ports on a wire").to_be_bytes();
        let mac = MacAddress([2, 0, 0, self.number, high, low]);
        self.by_mac.borrow_mut().insert(mac, ports.len());
        ports.push(Port {
            mac,
            model,
            inbox: VecDeque::new(),
            line: Rc::default(),
            link: Link::Up(LinkSpeed(1000)),
            cut: false,
            generation: 0,
            free_at: Instant::ZERO,
        });
        ports.len() - 1
    }

    /// The device in a port, for [`Stack::attach`](keelson_net::Stack::attach). A device that was taken out
    /// for this port before is dead from now on: it sends and receives nothing.
    pub fn device(self: &Rc<Wire>, port: PortId) -> (Box<SimNic>, Rc<dyn Interrupt>) {
        self.silence(port);
        let ports = self.ports.borrow();
        let Port { mac, model, generation, line, .. } = &ports[port];
        (Box::new(SimNic::new(self.clone(), port, *generation, *mac, *model)), line.clone())
    }

    /// Makes the device in a port dead, as when its machine loses power; frames under way to it are lost.
    pub fn silence(&self, port: PortId) {
        let port = &mut self.ports.borrow_mut()[port];
        port.generation += 1;
        port.inbox.clear();
        port.line = Rc::default();
    }

    /// The MAC address of a port.
    pub fn mac(&self, port: PortId) -> MacAddress {
        self.ports.borrow()[port].mac
    }

    /// Takes the carrier of a port away or gives it back: the NIC's driver notices.
    pub fn set_link(&self, port: PortId, link: Link) {
        let mut ports = self.ports.borrow_mut();
        ports[port].link = link;
        ports[port].line.fire();
    }

    /// Loses everything to and from a port while its carrier stays, as behind a broken switch: nobody
    /// notices but by silence.
    pub fn set_cut(&self, port: PortId, cut: bool) {
        self.ports.borrow_mut()[port].cut = cut;
    }

    /// Puts a frame on the wire as if port `from` had sent it, whatever the state of that port.
    pub fn inject(&self, from: PortId, frame: &[u8]) {
        self.frames.set(self.frames.get() + 1);
        if let Some(tap) = &mut *self.tap.borrow_mut() {
            tap(from, frame);
        }
        let Some(to) = frame.first_chunk().map(|mac| MacAddress(*mac)) else { return };
        if to.is_multicast() {
            let count = self.ports.borrow().len();
            (0..count).filter(|port| *port != from).for_each(|port| self.carry(port, frame));
        } else if let Some(port) = self.by_mac.borrow().get(&to).copied().filter(|port| *port != from) {
            self.carry(port, frame);
        }
        self.changed.notify();
    }

    /// What a device sends: nothing gets out of a port without carrier or behind a cut.
    pub(crate) fn send(&self, from: PortId, generation: u64, frame: &[u8]) {
        if self.ports.borrow()[from].passes(generation) {
            self.inject(from, frame);
        }
    }

    /// Decides what becomes of a frame on its way to one port.
    fn carry(&self, to: PortId, frame: &[u8]) {
        let faults = self.faults.get();
        let copies = if self.rng.percent(faults.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.percent(faults.loss) {
                continue;
            }
            let delay = if self.rng.percent(faults.reorder) { faults.delay * 3 } else { faults.delay };
            // Without late frames, chances are what they were before there were any.
            let is_late = faults.late > 0 && self.rng.percent(faults.late);
            let delay = if is_late { delay + LATEST * (self.rng.next() % 100) as u32 / 100 } else { delay };
            let Some(sent) = self.through_queue(to, frame.len(), faults.bandwidth) else { continue };
            let sequence = self.sequence.replace(self.sequence.get() + 1);
            let mut bytes = self.spare.borrow_mut().pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(frame);
            let generation = self.ports.borrow()[to].generation;
            self.in_flight.borrow_mut().insert((sent + delay, sequence), (to, generation, bytes));
        }
    }

    /// When a frame for `to` has left the queue before it; `None` when that is too long.
    fn through_queue(&self, to: PortId, len: usize, bandwidth: Option<u64>) -> Option<Instant> {
        let now = self.handle.now();
        let Some(bandwidth) = bandwidth else { return Some(now) };
        let port = &mut self.ports.borrow_mut()[to];
        let begins = port.free_at.max(now);
        if begins > now + LONGEST_QUEUE {
            return None;
        }
        port.free_at = begins + Duration::from_nanos(len as u64 * 1_000_000_000 / bandwidth.max(1));
        Some(port.free_at)
    }

    /// Delivers frames when their time has come.
    async fn run(&self) {
        loop {
            self.deliver(self.handle.now());
            let next = self.in_flight.borrow().first_key_value().map(|((at, _), _)| *at);
            let changed = self.changed.notified();
            match next {
                Some(at) => {
                    select(changed, self.handle.sleep_until(at)).await;
                }
                None => changed.await,
            }
        }
    }

    fn deliver(&self, now: Instant) {
        let mut in_flight = self.in_flight.borrow_mut();
        let mut ports = self.ports.borrow_mut();
        while let Some(first) = in_flight.first_entry().filter(|first| first.key().0 <= now) {
            let (port, generation, frame) = first.remove();
            let port = &mut ports[port];
            if port.passes(generation) && port.inbox.len() < INBOX {
                port.inbox.push_back(frame);
                port.line.fire();
            }
        }
    }
}
