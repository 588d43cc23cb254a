//! A client's device, a link with faults, and a TFTP server, in virtual time; by seed.
//!
//! Frames are written and read by hand here, so that nothing of the crate under test vouches for itself.
#![allow(dead_code)] // Each test file uses its part.

mod frames;
mod server;

#[allow(unused_imports)]
pub use frames::{arp, ip_udp, udp};
pub use server::{Options, Server};

use keelson_hal::{
    Clock, Instant, Link, LinkSpeed, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta, TransmitError,
    TxOffload,
};
use keelson_net_sim::Rng;
use keelson_netdump::{PutError, Sent, Source, TFTP_PORT, Target};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const MILLI: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLI;

/// Time that only the device moves.
#[derive(Clone, Default)]
pub struct Time(Rc<Cell<u64>>);

impl Time {
    pub fn nanos(&self) -> u64 {
        self.0.get()
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }
}

/// What happens to frames, in percent.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub loss: u32,
    pub duplicate: u32,
    /// Frames that take up to 20 ms more.
    pub late: u32,
    /// Frames with a byte changed, checksums wrong.
    pub corrupt: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// Whether a frame of the client is lost.
pub type Loss = Box<dyn FnMut(&[u8]) -> bool>;

/// What somebody does when a frame for the client is about to arrive: frames to deliver instead.
pub type Middle = Box<dyn FnMut(&[u8], &Rng) -> Vec<Vec<u8>>>;

/// The client's NIC, and all the world behind it.
pub struct World {
    pub time: Time,
    pub rng: Rng,
    pub faults: Faults,
    pub server: Server,
    /// When the link comes up, and when it goes down.
    pub link: (u64, u64),
    /// Frames larger than this do not arrive.
    pub path: usize,
    pub middle: Option<Middle>,
    pub lose: Option<Loss>,
    /// Frames that the client sent, as it sent them.
    pub sent: Vec<Vec<u8>>,
    /// Whether to keep those.
    pub keep: bool,
    /// Slots of the transmit ring, and how many frames leave it in a flush; none do if it is 0.
    pub ring: usize,
    pub drains: usize,
    pub max_mtu: usize,
    /// Vouches for the checksums of what it receives.
    pub vouches: bool,
    queued: VecDeque<Vec<u8>>,
    on_the_way: BTreeMap<(u64, u64), (End, Vec<u8>)>,
    count: u64,
    mac: [u8; 6],
}

impl World {
    pub fn new(seed: u64, options: Options) -> World {
        World {
            time: Time::default(),
            rng: Rng::new(seed),
            faults: Faults::default(),
            server: Server::new(options),
            link: (0, u64::MAX),
            path: usize::MAX,
            middle: None,
            lose: None,
            sent: vec![],
            keep: false,
            ring: 256,
            drains: 256,
            max_mtu: 9000,
            vouches: false,
            queued: VecDeque::new(),
            on_the_way: BTreeMap::new(),
            count: 0,
            mac: CLIENT_MAC,
        }
    }

    /// Sends `source` to the server with packets of 1500 bytes.
    pub fn put(&mut self, source: &mut Pattern) -> Result<Sent, PutError> {
        self.put_to(&target(), source)
    }

    pub fn put_to(&mut self, target: &Target, source: &mut Pattern) -> Result<Sent, PutError> {
        let (clock, mut last) = (self.time.clone(), 0);
        let size = source.0;
        let mut sum = 0;
        let outcome = keelson_netdump::put(self, &clock, target, source, &mut |bytes| {
            assert!(bytes >= last && bytes <= size, "progress from {last} to {bytes} of {size}");
            (last, sum) = (bytes, sum + 1);
        });
        if let Ok(sent) = &outcome {
            assert_eq!((sent.bytes, last), (size, size));
        }
        outcome
    }

    /// The property: what was stored is the source, or there was an error.
    pub fn check(&mut self, size: u64) -> Result<Sent, PutError> {
        let outcome = self.put(&mut Pattern(size));
        if outcome.is_ok() {
            self.assert_stored(size);
        }
        outcome
    }

    pub fn assert_stored(&self, size: u64) {
        assert!(
            self.server.file.as_ref().is_some_and(|file| *file == Pattern(size).all()),
            "stored something else"
        );
    }

    /// DATA that the client sent: numbers of blocks. Needs `keep`.
    pub fn data_sent(&self) -> Vec<u16> {
        let datagrams = self.sent.iter().filter_map(|frame| udp(frame));
        datagrams
            .filter(|datagram| datagram.payload.starts_with(&[0, 3]))
            .map(|datagram| u16::from_be_bytes([datagram.payload[2], datagram.payload[3]]))
            .collect()
    }

    /// Lets everything else go on for so long after the client is done.
    pub fn linger(&mut self, nanos: u64) {
        let end = self.time.nanos() + nanos;
        while self.time.nanos() < end {
            self.receive(64, &mut |_, _| ());
        }
    }

    fn carry(&mut self, to: End, frame: Vec<u8>) {
        let Faults { loss, duplicate, late, corrupt } = self.faults;
        let up = (self.link.0..self.link.1).contains(&self.time.nanos());
        if !up || frame.len() > self.path || self.rng.percent(loss) {
            return;
        }
        for _ in 0..1 + u32::from(self.rng.percent(duplicate)) {
            let mut delay = 20_000;
            if self.rng.percent(late) {
                delay += self.rng.next() % (20 * MILLI);
            }
            let mut frame = frame.clone();
            if self.rng.percent(corrupt) {
                let at = self.rng.next() as usize % frame.len();
                frame[at] ^= 1 << (self.rng.next() % 8);
            }
            self.count += 1;
            self.on_the_way.insert((self.time.nanos() + delay, self.count), (to, frame));
        }
    }

    fn serve(&mut self) {
        for frame in self.server.turn(self.time.nanos()) {
            self.carry(End::Client, frame);
        }
    }
}

impl NetDevice for World {
    fn driver(&self) -> &'static str {
        "model"
    }

    fn mac(&self) -> MacAddress {
        MacAddress(self.mac)
    }

    fn features(&self) -> NetFeatures {
        NetFeatures::empty()
    }

    fn max_mtu(&self) -> usize {
        self.max_mtu
    }

    fn max_tso_frame(&self) -> usize {
        0
    }

    fn link(&mut self) -> Link {
        match (self.link.0..self.link.1).contains(&self.time.nanos()) {
            true => Link::Up(LinkSpeed(1000)),
            false => Link::Down,
        }
    }

    /// With nothing to do, time goes on to what happens next, or by a millisecond.
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        let mut count = 0;
        while let Some(entry) = self.on_the_way.first_entry() {
            if entry.key().0 > self.time.nanos() || count == budget {
                break;
            }
            let (end, frame) = entry.remove();
            if end == End::Server {
                for answer in self.server.input(&frame, self.time.nanos()) {
                    self.carry(End::Client, answer);
                }
                continue;
            }
            let frames = match &mut self.middle {
                Some(middle) => middle(&frame, &self.rng),
                None => vec![frame],
            };
            for frame in frames {
                sink(&frame, RxMeta { checksum_ok: self.vouches });
                count += 1;
            }
        }
        self.serve();
        if count == 0 {
            let next = self.on_the_way.first_key_value().map_or(u64::MAX, |((at, _), _)| *at);
            let now = self.time.nanos();
            self.time.0.set(next.clamp(now + 1_000, now + MILLI));
        }
        count
    }

    fn transmit_room(&mut self) -> usize {
        self.ring - self.queued.len()
    }

    fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        assert_eq!(offload, TxOffload::default());
        if len > self.max_mtu + 14 {
            return Err(TransmitError::TooLong);
        }
        if self.transmit_room() == 0 {
            return Err(TransmitError::Full);
        }
        let mut frame = vec![0xa5; len];
        fill(&mut frame);
        self.queued.push_back(frame);
        Ok(())
    }

    fn flush(&mut self) {
        for _ in 0..self.drains.min(self.queued.len()) {
            if let Some(frame) = self.queued.pop_front() {
                if self.keep {
                    self.sent.push(frame.clone());
                }
                if !self.lose.as_mut().is_some_and(|lose| lose(&frame)) {
                    self.carry(End::Server, frame);
                }
            }
        }
    }

    fn arm(&mut self) -> bool {
        panic!("nobody takes interrupts any more");
    }

    fn disarm(&mut self) {}

    fn set_multicast(&mut self, _groups: &[MacAddress]) {}

    fn counters(&self) -> NetCounters {
        NetCounters::default()
    }
}

/// So many bytes, each of which tells its offset.
pub struct Pattern(pub u64);

impl Pattern {
    fn byte(offset: u64) -> u8 {
        (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    pub fn all(&self) -> Vec<u8> {
        (0..self.0).map(Pattern::byte).collect()
    }
}

impl Source for Pattern {
    fn size(&self) -> u64 {
        self.0
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) {
        assert!(offset + into.len() as u64 <= self.0, "{} bytes from {offset} of {}", into.len(), self.0);
        for (at, byte) in into.iter_mut().enumerate() {
            *byte = Pattern::byte(offset + at as u64);
        }
    }
}

/// The server next door.
pub fn target() -> Target {
    Target {
        mac: MacAddress(CLIENT_MAC),
        address: CLIENT,
        next_hop: SERVER,
        server: SERVER,
        port: TFTP_PORT,
        mtu: 1500,
        file: "core".try_into().unwrap(),
    }
}
