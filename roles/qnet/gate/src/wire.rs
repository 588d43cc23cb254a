//! Ethernet: stations on a broadcast medium that loses, doubles, delays and damages frames.
//!
//! What a station was given goes out when its doorbell rings, one frame after the other at the speed of the link; until
//! then it takes up room. So a sender that forgets the doorbell, or does not wait for room, is found.

use crate::capture::Capture;
use crate::ledger::Ledger;
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, select};
use keelson_ext4_gate::random::Random;
use keelson_hal::Instant;
use keelson_qnet::link::{LinkAddress, LinkPort};
use keelson_qnet_wire::kif::KifMessage;
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer, Packet};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Bytes behind the Ethernet header.
pub const MTU: usize = 1500;
/// Padding before the LwL4 header (section 2.1).
const PAD: usize = 2;
/// Time that a byte takes at 1 Gb/s.
const BYTE: Duration = Duration::from_nanos(8);
/// Ethernet header, checksum, preamble and gap.
const AROUND: u32 = 38;

/// What a wire does to frames.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Of 1000 frames.
    pub loss: u32,
    /// Of 1000 frames.
    pub duplicate: u32,
    /// Of 1000 frames, one bit of which is turned over.
    pub corrupt: u32,
    /// Shortest and longest delay, in microseconds: frames overtake each other when they differ by much.
    pub delay: (u64, u64),
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { loss: 0, duplicate: 0, corrupt: 0, delay: (50, 60) }
    }
}

/// A frame as it is put on the wire.
pub struct Seen<'a> {
    /// Number of the station that sent it.
    pub from: usize,
    /// What it is, if it can be decoded.
    pub packet: Option<Packet<'a>>,
}

/// Says of each frame whether it gets through.
type Judge = Box<dyn FnMut(&Seen<'_>) -> bool>;
type Receiver = Rc<dyn Fn(LinkAddress, bool, &[u8])>;

struct Delivery {
    to: usize,
    from: LinkAddress,
    broadcast: bool,
    bytes: Rc<[u8]>,
}

/// A medium and its stations.
pub struct Wire {
    handle: Handle,
    random: RefCell<Random>,
    faults: Cell<Faults>,
    stations: RefCell<Vec<Rc<Station>>>,
    schedule: RefCell<BTreeMap<(Instant, u64), Delivery>>,
    scheduled: Notify,
    made: Cell<u64>,
    judge: RefCell<Option<Judge>>,
    capture: Option<Capture>,
    ledger: Rc<Ledger>,
    frames: Cell<u64>,
    damaged: Cell<u64>,
}

/// A place on a wire.
pub struct Station {
    number: usize,
    address: Cell<LinkAddress>,
    receiver: RefCell<Option<Receiver>>,
    carrier: Cell<bool>,
    cut: Cell<bool>,
}

impl Wire {
    /// A wire without stations.
    pub fn new(handle: &Handle, ledger: &Rc<Ledger>, seed: u64, faults: Faults) -> Rc<Wire> {
        let wire = Rc::new(Wire {
            handle: handle.clone(),
            ledger: ledger.clone(),
            random: RefCell::new(Random::new(seed)),
            faults: Cell::new(faults),
            stations: RefCell::default(),
            schedule: RefCell::default(),
            scheduled: Notify::new(),
            made: Cell::new(0),
            judge: RefCell::default(),
            capture: Capture::wanted(),
            frames: Cell::new(0),
            damaged: Cell::new(0),
        });
        handle.spawn("wire", wire.clone().run());
        wire
    }

    /// Adds a station, without power.
    pub fn station(&self, address: LinkAddress) -> Rc<Station> {
        let mut stations = self.stations.borrow_mut();
        let station = Rc::new(Station {
            number: stations.len(),
            address: Cell::new(address),
            receiver: RefCell::default(),
            carrier: Cell::new(true),
            cut: Cell::new(false),
        });
        stations.push(station.clone());
        station
    }

    /// From now on it does this.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
    }

    /// What it does.
    pub fn faults(&self) -> Faults {
        self.faults.get()
    }

    /// From now on `judge` says which frames get through.
    pub fn set_judge(&self, judge: impl FnMut(&Seen<'_>) -> bool + 'static) {
        *self.judge.borrow_mut() = Some(Box::new(judge));
    }

    /// All frames get through again.
    pub fn clear_judge(&self) {
        *self.judge.borrow_mut() = None;
    }

    /// Frames put on it so far.
    pub fn frames(&self) -> u64 {
        self.frames.get()
    }

    /// Frames that it damaged.
    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// A frame of a stranger.
    pub fn inject(&self, to: usize, from: LinkAddress, broadcast: bool, frame: &[u8]) {
        self.schedule(self.handle.now(), Delivery { to, from, broadcast, bytes: frame.into() });
    }

    fn schedule(&self, at: Instant, delivery: Delivery) {
        self.made.set(self.made.get() + 1);
        let key = (at, self.made.get());
        let mut schedule = self.schedule.borrow_mut();
        let is_first = schedule.first_key_value().is_none_or(|(first, _)| key < *first);
        schedule.insert(key, delivery);
        drop(schedule);
        if is_first {
            self.scheduled.notify();
        }
    }

    fn carry(&self, sender: &Station, departs: Instant, to: Option<LinkAddress>, bytes: &[u8]) {
        self.frames.set(self.frames.get() + 1);
        let seen = Seen { from: sender.number, packet: Packet::decode(bytes).ok() };
        self.ledger.note(|| format!("en: station {} to {to:02x?}: {}", sender.number, told(seen.packet)));
        if let Some(capture) = &self.capture {
            capture.frame(departs, sender.address.get(), to, bytes);
        }
        let passes = self.judge.borrow_mut().as_mut().is_none_or(|judge| judge(&seen));
        if !passes || !sender.is_connected() {
            return;
        }
        let stations = self.stations.borrow().clone();
        let bytes: Rc<[u8]> = bytes.into();
        let faults = self.faults.get();
        for station in stations.iter().filter(|station| station.number != sender.number) {
            if to.is_some_and(|to| to != station.address.get()) {
                continue;
            }
            let mut random = self.random.borrow_mut();
            let mut permille = |often: u32| random.below(1000) < u64::from(often);
            if permille(faults.loss) {
                continue;
            }
            for _ in 0..1 + u32::from(permille(faults.duplicate)) {
                let mut bytes = bytes.clone();
                if random.below(1000) < u64::from(faults.corrupt) {
                    bytes = damaged(&bytes, &mut random);
                    self.damaged.set(self.damaged.get() + 1);
                }
                let (least, most) = faults.delay;
                let delay = Duration::from_micros(least + random.below(most - least + 1));
                let delivery = Delivery {
                    to: station.number,
                    from: sender.address.get(),
                    broadcast: to.is_none(),
                    bytes,
                };
                self.schedule(departs + delay, delivery);
            }
        }
    }

    async fn run(self: Rc<Wire>) {
        loop {
            let scheduled = self.scheduled.notified();
            let now = self.handle.now();
            let next = self.schedule.borrow().first_key_value().map(|((at, _), _)| *at);
            if next.is_some_and(|at| at <= now) {
                let first = self.schedule.borrow_mut().pop_first();
                if let Some((_, delivery)) = first {
                    self.deliver(&delivery);
                }
                continue;
            }
            let sleep = self.handle.sleep_until(next.unwrap_or(Instant::FAR_FUTURE));
            select(scheduled, sleep).await;
        }
    }

    fn deliver(&self, delivery: &Delivery) {
        let station = self.stations.borrow().get(delivery.to).cloned();
        let Some(station) = station.filter(|station| station.is_connected()) else { return };
        let receiver = station.receiver.borrow().clone();
        if let Some(receiver) = receiver {
            receiver(delivery.from, delivery.broadcast, &delivery.bytes);
        }
    }
}

/// A frame for people.
fn told(packet: Option<Packet<'_>>) -> String {
    let Some(Packet { header, payload, .. }) = packet else { return "noise".into() };
    let Header { kind, layer, src_conn_id, dst_conn_id, seq, offset, length, flags, .. } = header;
    let is_first = flags.contains(Flags::FIRST) && kind == Kind::User && layer == Layer::Kif;
    let kif = KifMessage::decode_front(payload, payload.len()).ok().filter(|_| is_first);
    let kif = kif.map(|kif| format!(" {:?}", kif.message.kind())).unwrap_or_default();
    format!("{kind:?} {layer:?} {src_conn_id:x}>{dst_conn_id:x} #{seq} {offset}+{length}{kif}")
}

fn damaged(bytes: &[u8], random: &mut Random) -> Rc<[u8]> {
    let mut bytes = bytes.to_vec();
    let at = random.index(bytes.len());
    bytes[at] ^= 1 << random.below(8);
    bytes.into()
}

impl Station {
    /// Number on its wire.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its address.
    pub fn address(&self) -> LinkAddress {
        self.address.get()
    }

    /// Another adapter, for the next node that is started here.
    pub fn set_address(&self, address: LinkAddress) {
        self.address.set(address);
    }

    /// Power: who is told of frames. `None` takes it away.
    pub fn power(&self, receiver: Option<Receiver>) {
        *self.receiver.borrow_mut() = receiver;
    }

    /// Whether somebody is told of frames.
    pub fn has_power(&self) -> bool {
        self.receiver.borrow().is_some()
    }

    /// Takes the carrier away or gives it back: the node sees it.
    pub fn set_carrier(&self, carrier: bool) {
        self.carrier.set(carrier);
    }

    /// Cuts it off, or mends that: only the silence tells.
    pub fn set_cut(&self, cut: bool) {
        self.cut.set(cut);
    }

    fn is_connected(&self) -> bool {
        self.carrier.get() && !self.cut.get() && self.receiver.borrow().is_some()
    }
}

/// How a node's NIC behaves besides.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Bell {
    /// What is sent goes out when the doorbell rings.
    #[default]
    Works,
    /// A planted defect: every third ring is not heard.
    Sticks,
}

/// A node's NIC, from its boot to its end.
pub struct Port {
    name: String,
    wire: Rc<Wire>,
    station: Rc<Station>,
    capacity: usize,
    bell: Bell,
    rings: Cell<u32>,
    /// Given and not on their way.
    waiting: RefCell<VecDeque<(Option<LinkAddress>, Vec<u8>)>>,
    /// When those on their way have left.
    leaving: RefCell<VecDeque<Instant>>,
}

impl Port {
    /// A NIC that holds so many frames.
    pub fn new(name: &str, wire: &Rc<Wire>, station: &Rc<Station>, capacity: usize, bell: Bell) -> Rc<Port> {
        Rc::new(Port {
            name: name.into(),
            wire: wire.clone(),
            station: station.clone(),
            capacity,
            bell,
            rings: Cell::new(0),
            waiting: RefCell::default(),
            leaving: RefCell::default(),
        })
    }
}

impl LinkPort for Port {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        self.station.address.get()
    }

    fn mtu(&self) -> usize {
        MTU
    }

    fn is_up(&self) -> bool {
        self.station.carrier.get()
    }

    fn room(&self) -> usize {
        let now = self.wire.handle.now();
        let mut leaving = self.leaving.borrow_mut();
        while leaving.front().is_some_and(|at| *at <= now) {
            leaving.pop_front();
        }
        self.capacity.saturating_sub(leaving.len() + self.waiting.borrow().len())
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        assert!(self.is_up() && self.room() > 0, "{} was given a frame without room", self.name);
        let bytes = [&head[..], &payload.concat()].concat();
        assert!(bytes.len() + PAD <= MTU, "a frame of {} bytes", bytes.len());
        self.waiting.borrow_mut().push_back((to, bytes));
        true
    }

    fn flush(&self) {
        self.rings.set(self.rings.get() + 1);
        if self.bell == Bell::Sticks && self.rings.get().is_multiple_of(3) {
            return;
        }
        let mut departs =
            self.leaving.borrow().back().copied().unwrap_or(Instant::ZERO).max(self.wire.handle.now());
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some((to, bytes)) = next else { return };
            departs += BYTE * (bytes.len() as u32 + AROUND);
            self.leaving.borrow_mut().push_back(departs);
            self.wire.carry(&self.station, departs, to, &bytes);
        }
    }
}
