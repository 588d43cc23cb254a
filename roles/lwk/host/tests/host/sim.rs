//! A node without a machine: it plans calls with the wire crate, as a real one does, over memory that is a buffer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use keelson_lwk_host::link::{HostEntropy, Lane, Stream};
use keelson_lwk_host::nodes::Address;
use keelson_lwk_host::proxy::confine::Rules;
use keelson_lwk_host::proxy::handles::{Handle, Handles};
use keelson_lwk_host::proxy::{Dial, Events, Proxy, Settings};
use keelson_lwk_wire::calls::{self, Access, Memory, Plan, plan};
use keelson_lwk_wire::channel::{Channel, Identity, Key, KeyRing, Received, Receiver, Sender};
use keelson_lwk_wire::frame::{DATA_PIECE, Flags, Frame, FrameType, Header, TooLarge};
use keelson_lwk_wire::handshake::{Features, Grant, Modes, Purpose, Roles};
use keelson_lwk_wire::layout::Rusage;
use keelson_lwk_wire::messages::{ByeReason, Credit, Data, Exit, Hint, Message, Ping, Pong, Sysret};
use rustix::event::{PollFd, PollFlags};

/// No test waits longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const SECRET: [u8; 32] = [0x5a; 32];
pub const GRANT: Grant = Grant { session: 7, roles: Roles::LAUNCH, bulk: [9; 16] };

pub struct Ring;

impl KeyRing for Ring {
    fn find(&self, id: &str) -> Option<[u8; 32]> {
        (id == "default").then_some(SECRET)
    }
}

pub fn key() -> Key {
    Key { id: "default".into(), secret: SECRET, modes: Modes::AEAD }
}

/// A socket of either kind.
pub trait Socket: Read + Write + Send {
    fn another(&self) -> Box<dyn Socket>;
}

impl Socket for TcpStream {
    fn another(&self) -> Box<dyn Socket> {
        Box::new(self.try_clone().unwrap())
    }
}

impl Socket for UnixStream {
    fn another(&self) -> Box<dyn Socket> {
        Box::new(self.try_clone().unwrap())
    }
}

/// What turns its bytes into frames, bytes that came early, and where more come from.
type Receiving = (Receiver, Vec<u8>, Box<dyn Socket>);

/// The node's end of a connection.
pub struct NodeLane {
    pub purpose: Purpose,
    sender: Mutex<(Sender, Box<dyn Socket>)>,
    receiver: Mutex<Option<Receiving>>,
}

impl NodeLane {
    pub fn accept(socket: Box<dyn Socket>, modes: Modes) -> Option<NodeLane> {
        NodeLane::greet(socket, modes, None)
    }

    /// Turns a host away at the end of the handshake.
    pub fn refuse(socket: impl Socket + 'static, reason: ByeReason) {
        assert!(NodeLane::greet(Box::new(socket), Modes::AEAD, Some(reason)).is_none());
    }

    fn greet(mut socket: Box<dyn Socket>, modes: Modes, refused: Option<ByeReason>) -> Option<NodeLane> {
        let identity = Identity {
            name: "sim".into(),
            build: "test".into(),
            features: Features::AEAD,
            modes,
            boot_id: [1; 16],
        };
        let mut out = Vec::new();
        let mut channel = Channel::node(identity, Arc::new(Ring), &HostEntropy, &mut out);
        let mut buffer = [0; 4096];
        loop {
            socket.write_all(&out).ok()?;
            out.clear();
            let got = socket.read(&mut buffer).ok().filter(|got| *got > 0)?;
            let mut input = &buffer[..got];
            match channel.receive(&mut input, &mut out) {
                Ok(None) => {}
                Ok(Some(Received::Asked(_))) if let Some(reason) = refused => {
                    channel.refuse(reason, "refused", &mut out);
                    socket.write_all(&out).ok()?;
                    return None;
                }
                Ok(Some(Received::Asked(purpose))) => {
                    channel.admit(GRANT, &mut out).unwrap();
                    socket.write_all(&out).ok()?;
                    let (sender, receiver) = channel.split().unwrap();
                    let reading = socket.another();
                    return Some(NodeLane {
                        purpose,
                        sender: Mutex::new((sender, socket)),
                        receiver: Mutex::new(Some((receiver, input.to_vec(), reading))),
                    });
                }
                other => {
                    socket.write_all(&out).ok();
                    eprintln!("sim: {other:?}");
                    return None;
                }
            }
        }
    }

    pub fn send<'a>(&self, header: &Header, message: &impl Message<'a>) {
        self.send_with(header, |writer| message.write(writer));
    }

    pub fn send_with(&self, header: &Header, fill: impl FnOnce(&mut keelson_lwk_wire::bytes::Writer<'_>)) {
        let mut sender = self.sender.lock().unwrap();
        let (sender, socket) = &mut *sender;
        let mut out = Vec::new();
        sender
            .send_with(header, &mut out, |writer| {
                fill(writer);
                Ok::<(), TooLarge>(())
            })
            .unwrap();
        // The host may be gone already.
        let _ = socket.write_all(&out);
    }

    pub fn frames(&self) -> impl Iterator<Item = Frame> + use<> {
        let (mut receiver, mut pending, mut socket) = self.receiver.lock().unwrap().take().unwrap();
        let mut buffer = vec![0; 64 << 10];
        std::iter::from_fn(move || {
            loop {
                let mut input = &pending[..];
                let frame = receiver.next(&mut input).expect("the host sent nonsense");
                pending = input.to_vec();
                if frame.is_some() {
                    return frame;
                }
                let got = socket.read(&mut buffer).ok().filter(|got| *got > 0)?;
                pending.extend_from_slice(&buffer[..got]);
            }
        })
    }
}

/// Memory of a program: from `BASE` on.
pub struct Space(RefCell<Vec<u8>>);

const BASE: u64 = 0x1_0000;

impl Memory for Space {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), usize> {
        let good = self.accessible(at, into.len() as u64, Access::Read) as usize;
        if good > 0 {
            let from = (at - BASE) as usize;
            into[..good].copy_from_slice(&self.0.borrow()[from..from + good]);
        }
        if good == into.len() { Ok(()) } else { Err(good) }
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), usize> {
        let good = self.accessible(at, from.len() as u64, Access::Write) as usize;
        if good > 0 {
            let to = (at - BASE) as usize;
            self.0.borrow_mut()[to..to + good].copy_from_slice(&from[..good]);
        }
        if good == from.len() { Ok(()) } else { Err(good) }
    }

    fn accessible(&self, at: u64, len: u64, _: Access) -> u64 {
        let end = BASE + self.0.borrow().len() as u64;
        if at < BASE || at >= end { 0 } else { len.min(end - at) }
    }
}

/// An argument.
pub enum A<'a> {
    N(u64),
    P(&'a str),
    In(&'a [u8]),
    Out(usize),
    Io(&'a [u8]),
    /// A vector of buffers, with this content or of these sizes.
    Iov(&'a [&'a [u8]]),
    /// A msghdr: name, data, control.
    Msg(&'a [u8], &'a [u8], &'a [u8]),
}

pub use A::{In, Io, Iov, Msg, N, Out, P};

pub const CWD: A<'static> = N(calls::AT_FDCWD);

/// What a call gave.
#[derive(Debug)]
pub struct Ret {
    pub result: i64,
    /// What is in the memory of each pointer argument afterwards.
    pub memory: Vec<Vec<u8>>,
    pub hint: Option<Hint>,
    pub revents: u32,
}

impl Ret {
    /// The memory of argument `index`, which must be a pointer.
    pub fn at(&self, index: usize) -> &[u8] {
        &self.memory[index]
    }

    pub fn ok(&self) -> u64 {
        assert!(self.result >= 0, "{:?}", keelson_lwk_wire::Errno::from_result(self.result));
        self.result as u64
    }

    pub fn error(&self) -> &'static str {
        keelson_lwk_wire::Errno::from_result(self.result).map_or("success", |error| error.name())
    }
}

#[derive(Default)]
struct Under {
    data: Vec<u8>,
    sysret: Option<Frame>,
    credit: u64,
    /// The connection of its DATA.
    way: Option<Way>,
}

/// Which connection a frame came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Hi,
    Bulk,
}

/// A call under way.
pub struct Pending {
    pub id: u64,
    plan: Plan,
    space: Space,
    places: Vec<(usize, usize)>,
}

/// Calls under way, and that something about them changed.
type Calls = Arc<(Mutex<HashMap<u64, Under>>, Condvar)>;

/// As a node: it sends everything on the first connection, and takes the second when it comes.
pub struct Sim {
    pub hi: Arc<NodeLane>,
    next: AtomicU64,
    under: Calls,
    /// Frames that are no answers to calls.
    pub other: Mutex<mpsc::Receiver<Frame>>,
}

impl Sim {
    pub fn new(hi: NodeLane) -> Sim {
        let (others, other) = mpsc::channel();
        let (hi, under) = (Arc::new(hi), Calls::default());
        let (frames, calls, first) = (hi.frames(), under.clone(), hi.clone());
        thread::spawn(move || {
            for frame in frames {
                take(frame, Way::Hi, &calls, &others, &first);
            }
            calls.1.notify_all();
        });
        Sim { hi, next: AtomicU64::new(100), under, other: Mutex::new(other) }
    }

    /// The program ends, with a status as of wait(2).
    pub fn exit(&self, status: u32) {
        let exit = Exit { status, rusage: Rusage::default(), audit: vec![], core: None, said: vec![] };
        self.hi.send(&Header::new(FrameType::Exit), &exit);
    }

    /// Takes the second connection of the session.
    pub fn join(&self, bulk: &NodeLane) {
        assert_eq!(bulk.purpose, Purpose::Bulk(GRANT.bulk));
        let (frames, under, hi) = (bulk.frames(), self.under.clone(), self.hi.clone());
        // Nothing comes there but answers.
        let (others, _) = mpsc::channel();
        thread::spawn(move || frames.for_each(|frame| take(frame, Way::Bulk, &under, &others, &hi)));
    }

    /// The next frame of this type that is no answer to a call.
    pub fn expect(&self, kind: FrameType) -> Frame {
        let other = self.other.lock().unwrap();
        loop {
            let frame = other.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {kind:?}"));
            if frame.header.kind == kind {
                return frame;
            }
        }
    }

    pub fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    pub fn start(&self, nr: u32, args: &[A<'_>]) -> Pending {
        self.start_with(nr, args, Flags::empty())
    }

    pub fn start_with(&self, nr: u32, args: &[A<'_>], flags: Flags) -> Pending {
        let (numbers, space, places) = lay_out(args);
        let plan = plan(calls::call(nr).unwrap(), &numbers, &space, false).unwrap();
        let id = self.next_id();
        self.under.0.lock().unwrap().insert(id, Under { credit: 4 << 20, ..Under::default() });
        let mut header = Header { code: nr, ..Header::new(FrameType::Syscall) }.id(id).with(flags);
        if plan.streams {
            header = header.with(Flags::MORE);
        }
        self.hi.send_with(&header, |writer| plan.write(writer, &space).unwrap());
        let pending = Pending { id, plan, space, places };
        if pending.plan.streams {
            self.stream(&pending);
        }
        pending
    }

    fn stream(&self, pending: &Pending) {
        let total = u64::from(pending.plan.data_len());
        let mut sent = 0;
        while sent < total {
            let len = (total - sent).min(DATA_PIECE as u64);
            {
                let (under, changed) = &*self.under;
                let mut under = under.lock().unwrap();
                loop {
                    let Some(call) = under.get_mut(&pending.id) else { return };
                    if call.sysret.is_some() {
                        return;
                    }
                    if call.credit >= len {
                        call.credit -= len;
                        break;
                    }
                    let (next, timeout) = changed.wait_timeout(under, PATIENCE).unwrap();
                    assert!(!timeout.timed_out(), "no CREDIT");
                    under = next;
                }
            }
            let mut bytes = vec![0; len as usize];
            pending.plan.read_data(&pending.space, sent, &mut bytes).unwrap();
            let header = Header::new(FrameType::Data).id(pending.id);
            let header = if sent + len == total { header.with(Flags::LAST) } else { header };
            self.hi.send(&header, &Data { offset: sent, bytes: &bytes });
            sent += len;
        }
    }

    pub fn cancel(&self, id: u64) {
        self.hi.send(&Header::new(FrameType::Cancel).id(id), &keelson_lwk_wire::messages::Cancel);
    }

    pub fn is_answered(&self, id: u64) -> bool {
        self.under.0.lock().unwrap()[&id].sysret.is_some()
    }

    pub fn wait(&self, pending: Pending) -> Ret {
        self.wait_by(pending).0
    }

    /// The same, and the connection that it streamed by, if it did.
    pub fn wait_by(&self, pending: Pending) -> (Ret, Option<Way>) {
        let (under, changed) = &*self.under;
        let mut under = under.lock().unwrap();
        let (frame, data, way) = loop {
            if under[&pending.id].sysret.is_some() {
                let call = under.remove(&pending.id).unwrap();
                break (call.sysret.unwrap(), call.data, call.way);
            }
            let (next, timeout) = changed.wait_timeout(under, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "call {} is not answered", pending.id);
            under = next;
        };
        drop(under);
        let sysret = Sysret::decode(&frame.payload).unwrap();
        if frame.header.flags.contains(Flags::MORE) {
            assert_eq!(data.len() as i64, sysret.result);
            pending.plan.write_data(&pending.space, 0, &data).unwrap();
        } else {
            assert!(data.is_empty());
        }
        let result = pending.plan.commit(&sysret, &pending.space, &mut |_| ()).unwrap();
        let memory = pending.space.0.borrow();
        let memory = pending.places.iter().map(|(at, len)| memory[*at..at + len].to_vec()).collect();
        (Ret { result, memory, hint: sysret.hint, revents: sysret.revents }, way)
    }

    pub fn call(&self, nr: u32, args: &[A<'_>]) -> Ret {
        self.wait(self.start(nr, args))
    }
}

/// Takes a frame. All of an answer must come by one connection, and everything else by the first.
fn take(
    frame: Frame,
    way: Way,
    under: &(Mutex<HashMap<u64, Under>>, Condvar),
    others: &mpsc::Sender<Frame>,
    hi: &NodeLane,
) {
    let id = frame.header.id;
    let (table, changed) = under;
    let streams = matches!(frame.header.kind, FrameType::Sysret | FrameType::Data);
    assert!(way == Way::Hi || streams, "{:?} by the second connection", frame.header.kind);
    match frame.header.kind {
        FrameType::Sysret => {
            if let Some(call) = table.lock().unwrap().get_mut(&id) {
                assert_eq!(way, call.way.unwrap_or(Way::Hi), "an answer apart from its DATA");
                assert!(call.sysret.replace(frame).is_none(), "answered twice");
            }
        }
        FrameType::Data => {
            let data = Data::decode(&frame.payload).unwrap();
            let mut table = table.lock().unwrap();
            let call = table.get_mut(&id).unwrap();
            assert_eq!(data.offset, call.data.len() as u64);
            assert_eq!(way, *call.way.get_or_insert(way), "DATA by two connections");
            call.data.extend_from_slice(data.bytes);
            drop(table);
            hi.send(&Header::new(FrameType::Credit).id(id), &Credit { bytes: data.bytes.len() as u32 });
        }
        FrameType::Credit => {
            if let Some(call) = table.lock().unwrap().get_mut(&id) {
                call.credit += u64::from(Credit::decode(&frame.payload).unwrap().bytes);
            }
        }
        FrameType::Ping => {
            let ping = Ping::decode(&frame.payload).unwrap();
            hi.send(
                &frame.header.reply(FrameType::Pong),
                &Pong { echo: ping.monotonic, own: Ping::default() },
            );
        }
        // Nobody may be interested.
        _ => drop(others.send(frame)),
    }
    changed.notify_all();
}

fn lay_out(args: &[A<'_>]) -> ([u64; 6], Space, Vec<(usize, usize)>) {
    let (mut numbers, mut memory, mut places) = ([0; 6], Vec::new(), Vec::new());
    for (number, arg) in numbers.iter_mut().zip(args) {
        let add = |memory: &mut Vec<u8>, bytes: &[u8]| {
            let at = memory.len();
            memory.extend_from_slice(bytes);
            // Between buffers there is something that must stay.
            memory.resize(at + bytes.len() + 16, 0xa5);
            (at, bytes.len())
        };
        let address = |(at, _): (usize, usize)| BASE + at as u64;
        let place = match arg {
            N(value) => {
                *number = *value;
                places.push((0, 0));
                continue;
            }
            P(path) => add(&mut memory, &[path.as_bytes(), b"\0"].concat()),
            In(bytes) | Io(bytes) => add(&mut memory, bytes),
            Out(len) => add(&mut memory, &vec![0xee; *len]),
            Iov(parts) => {
                let parts: Vec<(usize, usize)> = parts.iter().map(|part| add(&mut memory, part)).collect();
                let entries: Vec<u8> = parts
                    .iter()
                    .flat_map(|part| [address(*part).to_le_bytes(), (part.1 as u64).to_le_bytes()].concat())
                    .collect();
                let vector = add(&mut memory, &entries);
                *number = address(vector);
                let start = parts.first().map_or(0, |part| part.0);
                places.push((start, vector.0 - start));
                continue;
            }
            Msg(name, data, control) => {
                let (name, data, control) =
                    (add(&mut memory, name), add(&mut memory, data), add(&mut memory, control));
                let iov =
                    add(&mut memory, &[address(data).to_le_bytes(), (data.1 as u64).to_le_bytes()].concat());
                let header = keelson_lwk_wire::layout::Msghdr {
                    name: if name.1 == 0 { 0 } else { address(name) },
                    namelen: name.1 as u32,
                    iov: address(iov),
                    iovlen: 1,
                    control: if control.1 == 0 { 0 } else { address(control) },
                    controllen: control.1 as u64,
                    flags: 0,
                };
                let header = add(&mut memory, &header.to_bytes());
                *number = address(header);
                // Name, data and control in a row (with 16 bytes after each), then the header's bytes.
                places.push((name.0, header.0 + header.1 - name.0));
                continue;
            }
        };
        *number = address(place);
        places.push(place);
    }
    (numbers, Space(RefCell::new(memory)), places)
}

/// A proxy in this process, and the node that uses it.
pub struct Bench {
    pub sim: Arc<Sim>,
    pub proxy: Arc<Proxy>,
    pub events: Events,
}

pub fn bench() -> Bench {
    bench_with(Rules::default())
}

pub fn bench_with(rules: Rules) -> Bench {
    let listener = listen();
    let bench = bench_at(rules, listener.local_addr().unwrap());
    let sim = Arc::downgrade(&bench.sim);
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let bulk = NodeLane::accept(Box::new(socket), Modes::AEAD).unwrap();
        if let Some(sim) = sim.upgrade() {
            sim.join(&bulk);
        }
    });
    bench
}

/// One whose second connection goes to `address`.
pub fn bench_at(rules: Rules, address: SocketAddr) -> Bench {
    bench_to(rules, Address::Tcp(address.to_string()))
}

/// The same with an address of either kind.
pub fn bench_to(rules: Rules, address: Address) -> Bench {
    let (host, node) = UnixStream::pair().unwrap();
    let node = thread::spawn(move || NodeLane::accept(Box::new(node), Modes::AEAD).unwrap());
    let hi = Lane::open(Stream::Unix(host), Some(&key()), Purpose::Launch).ok().unwrap();
    let dial = Dial { address, key: Some(key()), ticket: hi.grant.bulk };
    let settings = Settings { rules, workers: 2, core_pattern: None, family: None, bulk: Some(dial) };
    let (proxy, events) = Proxy::start(hi.lane, Handles::new(), settings).ok().unwrap();
    Bench { sim: Arc::new(Sim::new(node.join().unwrap())), proxy, events }
}

impl Bench {
    pub fn handle(&self, fd: impl Into<OwnedFd>) -> u64 {
        self.proxy.handles.add(Handle::new(fd.into())).unwrap()
    }
}

/// What a proxy says on its standard error.
pub struct Complaints {
    said: std::io::PipeReader,
    errors: u64,
}

impl Complaints {
    /// From now on.
    pub fn of(bench: &Bench) -> Complaints {
        let (said, errors) = std::io::pipe().unwrap();
        let errors = bench.handle(OwnedFd::from(errors));
        bench.proxy.handles.complain_to(errors);
        Complaints { said, errors }
    }

    /// All of it; nobody can complain afterwards.
    pub fn all(mut self, bench: &Bench) -> String {
        bench.proxy.handles.close(self.errors).unwrap().unwrap();
        let mut text = String::new();
        self.said.read_to_string(&mut text).unwrap();
        text
    }
}

/// Where a node listens for mcexec.
pub fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Who connects next. Panics when mcexec ended instead, and nobody does.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let timeout = rustix::event::Timespec::try_from(PATIENCE).unwrap();
    let mut listening = [PollFd::new(listener, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut listening, Some(&timeout)), Ok(1), "mcexec does not connect");
    listener.accept().unwrap().0
}

/// The next connection whose handshake succeeds.
pub fn accept_lane(listener: &TcpListener) -> NodeLane {
    loop {
        let socket = accept(listener);
        if let Some(lane) = NodeLane::accept(Box::new(socket), Modes::AEAD) {
            return lane;
        }
    }
}

/// Takes the first connection of a session.
pub fn accept_session(listener: &TcpListener) -> Sim {
    let hi = accept_lane(listener);
    assert!(matches!(hi.purpose, Purpose::Launch | Purpose::Fork(_)), "{:?}", hi.purpose);
    Sim::new(hi)
}

/// True when a connection waits to be accepted.
pub fn somebody_comes(listener: &TcpListener) -> bool {
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    rustix::event::poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)) != Ok(0)
}

/// A directory that goes away.
pub struct Scratch(pub std::path::PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("lwk-host-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
