//! A LNet that does what a test says, nodes with an LND, and a peer that speaks bytes.
#![allow(dead_code)] // Each test crate uses its part.

use keelson_exec::Handle;
use keelson_exec::sync::Notify;
use keelson_hal::{Instant, NetFeatures};
use keelson_lnet::buffers::{Payload, Pieces};
use keelson_lnet::lnd::{Disposition, Lnd, LndNi, LndUpper, NiId, SendError};
use keelson_lnet::message::Message;
use keelson_lnet::socklnd::{Socklnd, SocklndConfig};
use keelson_lnet_wire::acceptor::Request;
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, Received, Version};
use keelson_lnet_wire::ksock::KsockHeader;
use keelson_lnet_wire::message::{Header, Kind};
use keelson_lnet_wire::nid::{LUSTRE_PID, Nid, ProcessId};
use keelson_net::{ConnectOptions, LocalPort, Stack, TcpOptions, TcpStream};
use keelson_net_sim::{Faults, Lab};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

pub const NI: NiId = NiId(1);
/// Incarnation of the LND under test.
pub const LIFE: u64 = 0x17b0_0000_0000_0002;
/// Incarnation of the played peer.
pub const PEER_LIFE: u64 = 0x17a0_0000_0000_0001;

pub fn nid(text: &str) -> Nid {
    text.parse().unwrap()
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The header of a PUT whose match bits are `n`.
pub fn put(n: u64, from: Nid, to: Nid, len: usize) -> Header {
    let mut body = [0; Header::BODY];
    body[16..24].copy_from_slice(&n.to_le_bytes());
    let payload_length = len as u32;
    let (dest_pid, src_pid, kind) = (LUSTRE_PID, LUSTRE_PID, Kind::Put);
    Header { dest_nid: to, src_nid: from, dest_pid, src_pid, kind, payload_length, body }
}

pub fn number(header: &Header) -> u64 {
    u64::from_le_bytes(header.body[16..24].try_into().unwrap())
}

/// What message `n` contains.
pub fn content(n: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (n.wrapping_mul(31) ^ at ^ at >> 8) as u8).collect()
}

pub fn message(n: u64, from: Nid, to: Nid, len: usize) -> Message {
    Message::new(put(n, from, to, len), Payload::from_bytes(&content(n, len)))
}

/// What an LND told its LNet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Up(Nid),
    Down(Nid, bool),
    Finished(u64, Result<(), SendError>),
}

pub struct Fake {
    pub handle: Handle,
    pub pieces: Rc<Pieces>,
    pub told: RefCell<Vec<(Instant, Told)>>,
    /// Number, times, and how many of these were damaged.
    pub received: RefCell<BTreeMap<u64, u32>>,
    pub order: RefCell<Vec<u64>>,
    pub headers: RefCell<Vec<Header>>,
    pub damaged: Cell<u32>,
    pub sent: Cell<u64>,
    pub lost: Cell<u64>,
    /// Whether messages may come in; with a limit, only those of more than this many bytes wait.
    pub closed: Cell<Option<usize>>,
    pub opened: Notify,
    /// Messages with these numbers are not wanted.
    pub unwanted: Cell<fn(u64) -> bool>,
    pub fatal: Cell<bool>,
    pub refuses_peers: Cell<bool>,
    /// Content is looked at.
    pub checks: Cell<bool>,
    /// Headers and events are kept.
    pub keeps: Cell<bool>,
    /// What is received is sent back this way.
    pub echo: RefCell<Option<Rc<dyn Lnd>>>,
}

impl Fake {
    pub fn new(handle: Handle) -> Rc<Fake> {
        Rc::new(Fake {
            handle,
            pieces: Pieces::new(),
            told: RefCell::default(),
            received: RefCell::default(),
            order: RefCell::default(),
            headers: RefCell::default(),
            damaged: Cell::default(),
            sent: Cell::default(),
            lost: Cell::default(),
            closed: Cell::default(),
            opened: Notify::new(),
            unwanted: Cell::new(|_| false),
            fatal: Cell::default(),
            refuses_peers: Cell::default(),
            checks: Cell::new(true),
            keeps: Cell::new(true),
            echo: RefCell::default(),
        })
    }

    fn tell(&self, told: Told) {
        if self.keeps.get() {
            self.told.borrow_mut().push((self.handle.now(), told));
        }
    }

    pub fn open(&self) {
        self.closed.set(None);
        self.opened.notify();
    }

    pub fn events(&self) -> Vec<Told> {
        self.told.borrow().iter().map(|(_, told)| told.clone()).collect()
    }

    pub fn result(&self, n: u64) -> Option<Result<(), SendError>> {
        let told = self.told.borrow();
        told.iter().find_map(|(_, told)| match told {
            Told::Finished(number, result) if *number == n => Some(*result),
            _ => None,
        })
    }

    pub fn total(&self) -> usize {
        self.received.borrow().len()
    }
}

impl LndUpper for Fake {
    type Peer = (NiId, Nid);

    fn peer(&self, ni: NiId, nid: Nid) -> Option<(NiId, Nid)> {
        Some((ni, nid)).filter(|_| !self.refuses_peers.get())
    }

    async fn arrived(&self, _: &(NiId, Nid), header: &Header) -> Disposition {
        let len = header.payload_length as usize;
        while self.closed.get().is_some_and(|limit| len >= limit) {
            self.opened.notified().await;
        }
        if self.fatal.get() {
            return Disposition::Fatal("said the test");
        }
        if self.unwanted.get()(number(header)) {
            return Disposition::Skip;
        }
        Disposition::Take(Message::new(*header, self.pieces.payload(len)))
    }

    fn received(&self, peer: &(NiId, Nid), message: Message) {
        let n = number(&message.header);
        if self.checks.get() {
            let bytes: Vec<u8> = message.payload.slices().flatten().copied().collect();
            if bytes != content(n, message.header.payload_length as usize) {
                self.damaged.set(self.damaged.get() + 1);
            }
        }
        if self.keeps.get() {
            *self.received.borrow_mut().entry(n).or_default() += 1;
            self.order.borrow_mut().push(n);
            self.headers.borrow_mut().push(message.header);
        }
        let echo = self.echo.borrow().clone();
        if let Some(lnd) = echo {
            lnd.send(peer.0, peer.1, message);
        }
    }

    fn finished(&self, _: NiId, _: Nid, message: Message, result: Result<(), SendError>) {
        match result {
            Ok(()) => self.sent.set(self.sent.get() + 1),
            Err(_) => self.lost.set(self.lost.get() + 1),
        }
        self.tell(Told::Finished(number(&message.header), result));
    }

    fn peer_up(&self, _: NiId, ProcessId { nid, .. }: ProcessId) {
        self.tell(Told::Up(nid));
    }

    fn peer_down(&self, _: NiId, nid: Nid, failed: bool) {
        self.tell(Told::Down(nid, failed));
    }
}

/// A node with an LND and one interface.
#[derive(Clone)]
pub struct Router {
    pub lnd: Rc<Socklnd<Fake>>,
    pub upper: Rc<Fake>,
    pub nid: Nid,
    pub stack: Stack,
}

impl Router {
    /// On a stack that has the address of `at`.
    pub fn start(handle: Handle, stack: Stack, at: &str, life: u64, config: SocklndConfig) -> Router {
        let upper = Fake::new(handle.clone());
        let lnd = Socklnd::new(stack.clone(), handle, upper.clone(), config);
        lnd.add_ni(LndNi { id: NI, nid: nid(at), incarnation: life, conns_per_peer: 1 });
        Router { lnd, upper, nid: nid(at), stack }
    }

    pub fn send(&self, n: u64, to: Nid, len: usize) {
        self.lnd.send(NI, to, message(n, self.nid, to, len));
    }

    /// Types of the connections, sorted.
    pub fn kinds(&self) -> String {
        let mut kinds: Vec<char> = self.lnd.connections().iter().map(|conn| conn.kind).collect();
        kinds.sort_unstable();
        kinds.into_iter().collect()
    }
}

/// The LND under test at 10.1.0.1@tcp, and a played peer at 10.1.0.9.
pub struct Bench {
    pub lab: Lab,
    pub router: Router,
    pub peer: Stack,
    /// Receive ring of the played peer's next connections.
    pub ring: Cell<usize>,
}

pub const HERE: &str = "10.1.0.1@tcp";
pub const THERE: &str = "10.1.0.9@tcp";

impl Bench {
    pub fn new(config: SocklndConfig) -> Bench {
        let lab = Lab::new(1, Faults::default());
        let (stack, _) = lab.host("10.1.0.1/24", NetFeatures::empty());
        let (peer, _) = lab.host("10.1.0.9/24", NetFeatures::empty());
        let router = Router::start(lab.handle(), stack, HERE, LIFE, config);
        // The acceptor starts to listen.
        lab.run_for(Duration::from_millis(1));
        Bench { lab, router, peer, ring: Cell::new(1 << 20) }
    }

    /// A TCP connection from the played peer's `port`.
    pub fn connect(&self, port: u16) -> Wire {
        self.connect_to(port, "10.1.0.1".parse().unwrap()).expect("connected")
    }

    pub fn connect_to(&self, port: u16, to: IpAddr) -> Option<Wire> {
        let options = ConnectOptions {
            local_port: LocalPort::Exact(port),
            // The engine takes keepalive probes for silence: the played peer must not give up on its own.
            tcp: TcpOptions {
                receive_buffer: self.ring.get(),
                send_buffer: 1 << 20,
                timeout: None,
                ..TcpOptions::default()
            },
            ..ConnectOptions::default()
        };
        let stack = self.peer.clone();
        let stream = self.lab.run(async move { stack.connect(SocketAddr::new(to, 988), options).await });
        Some(Wire { stream: Rc::new(stream.ok()?), handle: self.lab.handle() })
    }

    /// A connection that has been accepted, of a type as the played peer sees it.
    pub fn establish(&self, port: u16, ctype: ConnType) -> Wire {
        self.establish_as(port, hello(Version::V3, ctype))
    }

    pub fn establish_as(&self, port: u16, hello: Hello) -> Wire {
        let wire = self.connect(port);
        self.say(&wire, &[request(HERE), bytes(&hello)].concat());
        let reply = self.hello(&wire).expect("a HELLO");
        assert_eq!(reply.hello.ctype.inverse(), hello.ctype);
        wire
    }

    pub fn say(&self, wire: &Wire, bytes: &[u8]) {
        let (wire, bytes) = (wire.clone(), bytes.to_vec());
        self.lab.run(async move { wire.say(&bytes).await });
    }

    /// The next HELLO.
    pub fn hello(&self, wire: &Wire) -> Option<Received> {
        let wire = wire.clone();
        self.lab.run(async move { wire.hello().await })
    }

    /// Everything up to the end of the stream, or what came within `limit`.
    pub fn rest(&self, wire: &Wire, limit: Duration) -> (Vec<u8>, bool) {
        let wire = wire.clone();
        self.lab.run(async move { wire.rest(limit).await })
    }

    /// What comes within a tenth of a second.
    pub fn heard(&self, wire: &Wire) -> Vec<u8> {
        self.rest(wire, Duration::from_millis(100)).0
    }

    pub fn is_closed(&self, wire: &Wire) -> bool {
        self.rest(wire, Duration::from_millis(100)).1
    }

    pub fn wait(&self, span: Duration) {
        self.lab.run_for(span);
    }
}

/// One end of a TCP connection that a test speaks over.
#[derive(Clone)]
pub struct Wire {
    pub stream: Rc<TcpStream>,
    pub handle: Handle,
}

impl Wire {
    pub async fn say(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let put = |space: &mut [u8]| {
                let len = space.len().min(rest.len());
                space[..len].copy_from_slice(&rest[..len]);
                (len, len)
            };
            let Ok(len) = self.stream.write_with(put).await else { return };
            rest = &rest[len..];
        }
    }

    pub async fn hear(&self, len: usize) -> Option<Vec<u8>> {
        let mut heard = Vec::new();
        while heard.len() < len {
            let take = |bytes: &mut [u8]| {
                let len = bytes.len().min(len - heard.len());
                heard.extend_from_slice(&bytes[..len]);
                (len, ())
            };
            self.stream.read_with(take).await.ok()??;
        }
        Some(heard)
    }

    pub async fn hello(&self) -> Option<Received> {
        let mut decoder = HelloDecoder::new();
        loop {
            let need = decoder.need();
            let bytes = self.hear(need).await?;
            if let Some(received) = decoder.feed(&mut &bytes[..]).ok()? {
                return Some(received);
            }
        }
    }

    pub async fn rest(&self, limit: Duration) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let deadline = self.handle.now() + limit;
        loop {
            let left = deadline - self.handle.now();
            match self
                .handle
                .timeout(left, self.stream.read_with(|bytes| (bytes.len(), bytes.to_vec())))
                .await
            {
                Ok(Ok(Some(bytes))) => all.extend(bytes),
                Ok(Ok(None) | Err(_)) => return (all, true),
                Err(_) => return (all, false),
            }
        }
    }
}

pub fn request(to: &str) -> Vec<u8> {
    Request { nid: nid(to) }.encode(&mut [0; Request::MAX_LEN]).to_vec()
}

/// The played peer's HELLO.
pub fn hello(version: Version, ctype: ConnType) -> Hello {
    Hello {
        version,
        src_nid: nid(THERE),
        dst_nid: nid(HERE),
        src_pid: LUSTRE_PID,
        dst_pid: 0,
        src_incarnation: PEER_LIFE,
        dst_incarnation: 0,
        ctype,
        ips: 0,
    }
}

pub fn bytes(hello: &Hello) -> Vec<u8> {
    hello.encode(&mut [0; Hello::MAX_LEN]).unwrap().to_vec()
}

/// A whole message as it is on a wire of version 2 or 3.
pub fn wired(ksock: KsockHeader, header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut small = [0; Header::SMALL];
    header.encode_small(&mut small).unwrap();
    [&ksock.encode()[..], &small, payload].concat()
}

/// PUT `n` from the played peer, with a zero-copy cookie or 0.
pub fn from_peer(n: u64, len: usize, cookie: u64) -> Vec<u8> {
    let ksock = KsockHeader { cookies: [cookie, 0], ..KsockHeader::lnet() };
    wired(ksock, &put(n, nid(THERE), nid(HERE), len), &content(n, len))
}
