//! The node's end of connections, and hosts that do it right and wrong.

use super::*;
use crate::delegate::Delegate;
use crate::testing::system;
use core::cell::RefCell;
use core::convert::Infallible;
use core::time::Duration;
use embedded_io_async::{ErrorType, Read, Write};
use keelson_exec::sync::Notify;
use keelson_exec::{Executor, sim::SimClock};
use keelson_hal::Entropy;
use keelson_lwk_wire::channel::{Channel, Identity, Key, KeyRing, Received, Receiver, Sender};
use keelson_lwk_wire::frame::{Flags, Frame, FrameType, Header, MAX_SESSIONS};
use keelson_lwk_wire::handshake::{Features, Modes, Purpose, Roles};
use keelson_lwk_wire::layout::SigInfo;
use keelson_lwk_wire::messages::{
    Ctrl, CtrlAnswer, CtrlReply, Data, Fork, ForkOk, LaunchAck, Message as Payload, SideReply, Syscall,
    Sysret, Ticket,
};
use keelson_lwk_wire::serial::{Mark, Search, TOKEN};
use std::collections::VecDeque;
use std::rc::Rc;

/// One direction of a connection.
#[derive(Clone, Default)]
struct Pipe(Rc<Bytes>);

#[derive(Default)]
struct Bytes {
    state: RefCell<(VecDeque<u8>, bool)>,
    changed: Notify,
}

impl Pipe {
    fn close(&self) {
        self.0.state.borrow_mut().1 = true;
        self.0.changed.notify();
    }
}

impl ErrorType for Pipe {
    type Error = Infallible;
}

impl Read for Pipe {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        loop {
            let changed = self.0.changed.notified();
            let (len, closed) = {
                let mut state = self.0.state.borrow_mut();
                let len = into.len().min(state.0.len());
                into.iter_mut().zip(state.0.drain(..len)).for_each(|(to, from)| *to = from);
                (len, state.1)
            };
            if len > 0 || closed {
                return Ok(len);
            }
            changed.await;
        }
    }
}

impl Write for Pipe {
    async fn write(&mut self, from: &[u8]) -> Result<usize, Infallible> {
        self.0.state.borrow_mut().0.extend(from);
        self.0.changed.notify();
        Ok(from.len())
    }
    /// The other end acknowledges nothing: nobody should wait for that.
    async fn flush(&mut self) -> Result<(), Infallible> {
        core::future::pending().await
    }
}

struct Ring;

impl KeyRing for Ring {
    fn find(&self, id: &str) -> Option<[u8; 32]> {
        ["default", "watcher"].contains(&id).then_some([7; 32])
    }

    fn roles(&self, id: &str) -> Roles {
        if id == "watcher" { Roles::MONITOR } else { Roles::all() }
    }
}

/// A node that notes what it was asked.
#[derive(Default)]
struct Noting(Rc<RefCell<Vec<String>>>, Rc<RefCell<Option<Arc<Session>>>>);

impl Programs for Noting {
    fn launch(&self, launch: messages::Launch, session: Arc<Session>) -> Answer<LaunchAck> {
        self.0.borrow_mut().push(format!("launch {}", launch.pid));
        *self.1.borrow_mut() = Some(session);
        Box::pin(async { LaunchAck::Started { cores: vec![0, 1], memory: 5 } })
    }
    fn signal(&self, pid: u32, tid: u32, _info: SigInfo) {
        self.0.borrow_mut().push(format!("signal {pid} {tid}"));
    }
    fn lost(&self, pid: u32) {
        self.0.borrow_mut().push(format!("lost {pid}"));
    }
    fn control(&self, tool: Tool, ctrl: Ctrl) -> Answer<()> {
        let text = format!("{} {:?} {:?}", ctrl.verb, ctrl.args, tool.roles);
        Box::pin(async move {
            // More than fits into one part.
            if ctrl.verb == "long" {
                tool.text(&"é".repeat(200_000));
            }
            tool.text(&text);
        })
    }
}

fn identity(modes: Modes) -> Identity {
    Identity { name: "n".into(), build: "b".into(), features: Features::AEAD, modes, boot_id: [1; 16] }
}

/// The host's end.
struct Peer {
    sender: Sender,
    receiver: Receiver,
    reader: Pipe,
    writer: Pipe,
    input: Vec<u8>,
    /// Lets its second connection in.
    bulk: Ticket,
}

impl Peer {
    async fn connect(world: &World, secret: u8, purpose: Purpose) -> Result<Peer, String> {
        Peer::connect_as(world, "default", secret, purpose).await
    }

    async fn connect_as(world: &World, id: &str, secret: u8, purpose: Purpose) -> Result<Peer, String> {
        let (reader, writer) = world.connection(server::Peer::Tcp("host".into()));
        let key = Key { id: id.into(), secret: [secret; 32], modes: Modes::AEAD };
        Peer::over(world, reader, writer, Some(key), purpose).await
    }

    /// A connection without a key if there is none.
    async fn over(
        world: &World,
        mut reader: Pipe,
        mut writer: Pipe,
        key: Option<Key>,
        purpose: Purpose,
    ) -> Result<Peer, String> {
        let mut out = Vec::new();
        let own = identity(if key.is_some() { Modes::AEAD } else { Modes::NONE });
        let mut channel = Channel::host(own, key, purpose, &*world.entropy, &mut out);
        let mut buffer = [0; 512];
        loop {
            writer.write_all(&out).await.unwrap();
            out.clear();
            let len = reader.read(&mut buffer).await.unwrap();
            let mut input = &buffer[..len];
            match channel.receive(&mut input, &mut out) {
                Ok(Some(Received::Granted(grant))) => {
                    let (sender, receiver) = channel.split().unwrap();
                    let (input, bulk) = (input.to_vec(), grant.bulk);
                    return Ok(Peer { sender, receiver, reader, writer, input, bulk });
                }
                Ok(_) if len > 0 => {}
                Ok(_) => return Err("closed".into()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn send<'a, M: Payload<'a>>(&mut self, header: Header, message: &M) {
        let mut out = Vec::new();
        self.sender.send(&header, message, &mut out).unwrap();
        self.writer.write_all(&out).await.unwrap();
    }

    async fn frame(&mut self) -> Frame {
        loop {
            let mut input = &self.input[..];
            let frame = self.receiver.next(&mut input).unwrap();
            self.input = input.to_vec();
            if let Some(frame) = frame {
                return frame;
            }
            let mut buffer = [0; 4096];
            let len = self.reader.read(&mut buffer).await.unwrap();
            assert!(len > 0, "closed");
            self.input.extend_from_slice(&buffer[..len]);
        }
    }
}

struct World {
    server: Rc<Server>,
    handle: keelson_exec::Handle,
    entropy: Arc<dyn Entropy + Send + Sync>,
    tickets: Arc<Tickets>,
    asked: Rc<RefCell<Vec<String>>>,
    session: Rc<RefCell<Option<Arc<Session>>>>,
}

impl World {
    /// Both directions of a connection that the node serves.
    fn connection(&self, peer: server::Peer) -> (Pipe, Pipe) {
        let (reader, writer) = (Pipe::default(), Pipe::default());
        self.handle.spawn("served", self.server.clone().serve(writer.clone(), reader.clone(), peer));
        (reader, writer)
    }
}

fn run<T: 'static, F: Future<Output = T> + 'static>(test: impl FnOnce(World) -> F) -> T {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let entropy = system().0.entropy.clone();
    let (noting, tickets) = (Noting::default(), Arc::new(Tickets::default()));
    let (asked, session) = (noting.0.clone(), noting.1.clone());
    let (handle, node) = (executor.handle(), identity(Modes::AEAD));
    let server =
        Server::new(handle.clone(), entropy.clone(), node, Arc::new(Ring), Rc::new(noting), tickets.clone());
    let world = World { server, handle, entropy, tickets, asked, session };
    executor.block_on(&*clock, test(world))
}

/// As processes hold it.
fn host(session: &Arc<Session>) -> Host {
    let hub = Hub {
        system: system().0,
        tickets: Arc::default(),
        changes: attributes::Changes::default(),
        calls: Default::default(),
    };
    Host::new(session.clone(), Arc::new(hub))
}

async fn launched(world: &World) -> Peer {
    let mut peer = Peer::connect(world, 7, Purpose::Launch).await.unwrap();
    peer.send(Header::new(FrameType::Launch), &launch()).await;
    let ack = peer.frame().await;
    assert!(matches!(LaunchAck::decode(&ack.payload), Ok(LaunchAck::Started { memory: 5, .. })));
    peer
}

fn launch() -> messages::Launch {
    messages::Launch {
        executable: 1,
        path: b"/bin/true".to_vec(),
        argv: vec![b"true".to_vec()],
        envp: vec![],
        cwd: b"/".to_vec(),
        pid: 42,
        ppid: 1,
        pgid: 42,
        sid: 1,
        uids: [0; 3],
        gids: [0; 3],
        groups: vec![],
        rlimits: Default::default(),
        umask: 0o22,
        blocked: 0,
        ignored: 0,
        rank: Default::default(),
        helpers: None,
        wall: 0,
        entropy: [0; 32],
        fds: vec![],
        options: Default::default(),
    }
}

#[test]
fn a_program_is_launched_and_its_calls_are_answered() {
    run(|world| async move {
        let mut peer = launched(&world).await;
        let session = world.session.borrow().clone().unwrap();
        let waiting = host(&session).call(long_read());
        let frame = peer.frame().await;
        assert_eq!((frame.header.kind, frame.header.code, frame.header.pid), (FrameType::Syscall, 0, 42));
        assert_eq!(Syscall::decode(&frame.payload).unwrap().args[..3], [9, 1, 1 << 20]);
        let answer = frame.header.reply(FrameType::Sysret).with(Flags::MORE);
        for part in 0..4u64 {
            let data = Data { offset: part * 1000, bytes: &[part as u8; 1000] };
            peer.send(frame.header.reply(FrameType::Data), &data).await;
        }
        peer.send(answer, &Sysret::plain(4000)).await;
        let reply = waiting.await;
        assert_eq!((reply.result, reply.output[0].1.len(), reply.output[0].1[3999]), (4000, 4000, 3));
        for _ in 0..4 {
            assert_eq!(peer.frame().await.header.kind, FrameType::Credit);
        }
        // A large write goes in pieces of its own.
        let write = Call { tid: 42, number: 1, arguments: [9, 0, 300_000, 0, 0, 0], ..Call::default() };
        let waiting = host(&session).call(Call { input: vec![(1, vec![5; 300_000])], ..write });
        let frame = peer.frame().await;
        assert!(frame.header.flags.contains(Flags::MORE));
        let mut got = 0;
        loop {
            let data = peer.frame().await;
            let piece = Data::decode(&data.payload).unwrap();
            assert_eq!(piece.offset, got);
            got += piece.bytes.len() as u64;
            if data.header.flags.contains(Flags::LAST) {
                break;
            }
        }
        peer.send(frame.header.reply(FrameType::Sysret), &Sysret::plain(got as i64)).await;
        assert_eq!(waiting.await.result, 300_000);
        peer.writer.close();
        world.handle.sleep(Duration::from_millis(1)).await;
        assert_eq!(*world.asked.borrow(), ["launch 42", "lost 42"]);
    });
}

fn long_read() -> Call {
    let read = Call { tid: 42, number: 0, arguments: [9, 0, 1 << 20, 0, 0, 0], ..Call::default() };
    Call { output: vec![(1, 1 << 20)], ..read }
}

/// Answers a long read by a second connection that comes only now; its host is at `peer`. Returns that connection.
async fn answered_by_a_second(world: &World, peer: &mut Peer, session: &Arc<Session>) -> Peer {
    let waiting = host(session).call(long_read());
    let call = peer.frame().await;
    assert_eq!(call.header.kind, FrameType::Syscall);
    let mut bulk = Peer::connect(world, 7, Purpose::Bulk(peer.bulk)).await.unwrap();
    for part in 0..3u64 {
        let data = Data { offset: part * 1000, bytes: &[part as u8; 1000] };
        bulk.send(call.header.reply(FrameType::Data), &data).await;
        // What the node says about it comes by the first.
        assert_eq!(peer.frame().await.header.kind, FrameType::Credit);
    }
    bulk.send(call.header.reply(FrameType::Sysret).with(Flags::MORE), &Sysret::plain(3000)).await;
    let reply = waiting.await;
    assert_eq!((reply.result, reply.output[0].1.len(), reply.output[0].1[2999]), (3000, 3000, 2));
    assert!(bulk.input.is_empty() && bulk.reader.0.state.borrow().0.is_empty());
    bulk
}

#[test]
fn there_are_so_many_sessions_and_tools_beside_them() {
    run(|world| async move {
        let mut peers = Vec::new();
        for _ in 0..MAX_SESSIONS {
            peers.push(Peer::connect(&world, 7, Purpose::Launch).await.unwrap());
        }
        for peer in &peers {
            // Not counted as one.
            Peer::connect(&world, 7, Purpose::Bulk(peer.bulk)).await.unwrap();
        }
        let refused = Peer::connect(&world, 7, Purpose::Launch).await.err().unwrap();
        assert!(refused.contains("256 sessions"), "{refused}");
        assert_eq!(world.server.counters().busy, 1);
        let tool = Peer::connect(&world, 7, Purpose::Control(Roles::MONITOR)).await;
        tool.unwrap().writer.close();
        peers.pop().unwrap().writer.close();
        world.handle.sleep(Duration::from_millis(1)).await;
        assert!(Peer::connect(&world, 7, Purpose::Launch).await.is_ok());
    });
}

#[test]
fn a_second_connection_comes_whenever_it_likes_and_once() {
    run(|world| async move {
        let mut peer = launched(&world).await;
        let session = world.session.borrow().clone().unwrap();
        // Most never have one.
        let waiting = host(&session).call(Call { tid: 42, number: 8, arguments: [9; 6], ..Call::default() });
        let call = peer.frame().await;
        peer.send(call.header.reply(FrameType::Sysret), &Sysret::plain(5)).await;
        assert_eq!(waiting.await.result, 5);
        world.handle.sleep(100 * server::PATIENCE).await;
        let bulk = answered_by_a_second(&world, &mut peer, &session).await;
        let again = Peer::connect(&world, 7, Purpose::Bulk(peer.bulk)).await;
        assert!(again.err().unwrap().contains("no session has that ticket"));
        let counters = world.server.counters();
        assert_eq!((counters.late, counters.violations), (1, 0), "that happens");
        // A child's is its own.
        let (tickets, handle) = (world.tickets.clone(), world.handle.clone());
        let parent = session.clone();
        let forked = async move { fork(&parent, &tickets, [3; 16], 42, handle.sleep(TICKET_LIFE)).await };
        let its_host = async {
            let fork = peer.frame().await;
            let ticket = Fork::decode(&fork.payload).unwrap().ticket;
            let child = Peer::connect(&world, 7, Purpose::Fork(ticket)).await.unwrap();
            peer.send(fork.header.reply(FrameType::ForkOk), &ForkOk { pid: 77 }).await;
            child
        };
        let (forked, mut child) = keelson_exec::join(forked, its_host).await;
        let (_, forked) = forked.unwrap();
        let _its_bulk = answered_by_a_second(&world, &mut child, &forked).await;
        // The end of the second is not that of the session: its host says what is.
        bulk.writer.close();
        world.handle.sleep(Duration::from_millis(1)).await;
        assert!(session.is_alive() && forked.is_alive());
    });
}

#[test]
fn a_second_connection_to_a_session_that_ends() {
    run(|world| async move {
        // Before it comes.
        let peer = launched(&world).await;
        peer.writer.close();
        world.handle.sleep(Duration::from_millis(1)).await;
        let late = Peer::connect(&world, 7, Purpose::Bulk(peer.bulk)).await;
        assert!(late.err().unwrap().contains("no session has that ticket"));
        // In the middle of an answer.
        let mut peer = launched(&world).await;
        let session = world.session.borrow().clone().unwrap();
        let waiting = host(&session).call(long_read());
        let call = peer.frame().await;
        let mut bulk = Peer::connect(&world, 7, Purpose::Bulk(peer.bulk)).await.unwrap();
        bulk.send(call.header.reply(FrameType::Data), &Data { offset: 0, bytes: &[1; 1000] }).await;
        world.handle.sleep(Duration::from_millis(1)).await;
        peer.writer.close();
        assert_eq!(waiting.await.result, Errno::EIO.as_result());
        bulk.send(call.header.reply(FrameType::Data), &Data { offset: 1000, bytes: &[1; 1000] }).await;
        bulk.writer.close();
        world.handle.sleep(Duration::from_millis(1)).await;
        assert_eq!(*world.asked.borrow(), ["launch 42", "lost 42", "launch 42", "lost 42"]);
    });
}

#[test]
fn a_core_file_goes_part_by_part_until_the_host_has_enough() {
    run(|world| async move {
        let mut peer = launched(&world).await;
        let session = world.session.borrow().clone().unwrap();
        let part = |offset, len| CorePart { size: 1_000_000, offset, bytes: vec![1; len] };
        let node = async {
            let host = host(&session);
            assert!(host.core_file(part(0, 300_000)).await);
            assert!(host.core_file(part(999_000, 1000)).await);
            assert!(!host.core_file(part(0, 0)).await);
        };
        let proxy = async {
            let expected = [
                (FrameType::DumpHeader, Flags::empty(), 0),
                (FrameType::DumpData, Flags::MORE, 0),
                (FrameType::DumpData, Flags::LAST, 0),
                (FrameType::DumpHeader, Flags::empty(), -28),
            ];
            for (kind, flags, result) in expected {
                let frame = peer.frame().await;
                assert_eq!((frame.header.kind, frame.header.flags), (kind, flags));
                // Nothing more is sent before the answer.
                world.handle.sleep(Duration::from_millis(1)).await;
                assert!(session.try_outgoing().is_none() && peer.input.is_empty());
                peer.send(frame.header.reply(FrameType::SideReply), &SideReply { result }).await;
            }
        };
        keelson_exec::join(node, proxy).await;
    });
}

#[test]
fn a_child_comes_with_its_ticket_and_only_once() {
    run(|world| async move {
        let mut peer = launched(&world).await;
        let parent = world.session.borrow().clone().unwrap();
        let (tickets, handle) = (world.tickets.clone(), world.handle.clone());
        let forked = async move { fork(&parent, &tickets, [3; 16], 42, handle.sleep(TICKET_LIFE)).await };
        let host = async {
            let frame = peer.frame().await;
            let ticket = Fork::decode(&frame.payload).unwrap().ticket;
            let child = Peer::connect(&world, 7, Purpose::Fork(ticket)).await.unwrap();
            peer.send(frame.header.reply(FrameType::ForkOk), &ForkOk { pid: 77 }).await;
            let again = Peer::connect(&world, 7, Purpose::Fork(ticket)).await;
            assert!(again.is_err());
            child
        };
        let (forked, _child) = keelson_exec::join(forked, host).await;
        assert_eq!(forked.map(|(pid, _)| pid), Ok(77));
    });
}

#[test]
fn a_fork_that_no_host_follows_is_given_up() {
    run(|world| async move {
        let _peer = launched(&world).await;
        let parent = world.session.borrow().clone().unwrap();
        let forked = fork(&parent, &world.tickets, [3; 16], 42, world.handle.sleep(TICKET_LIFE)).await;
        assert_eq!(forked.map(|(pid, _)| pid), Err(Errno::EAGAIN));
        assert!(Peer::connect(&world, 7, Purpose::Fork([3; 16])).await.is_err());
    });
}

#[test]
fn strangers_tools_and_nonsense() {
    run(|world| async move {
        assert!(Peer::connect(&world, 8, Purpose::Launch).await.is_err(), "another key");
        let mut tool = Peer::connect(&world, 7, Purpose::Control(Roles::MONITOR)).await.unwrap();
        let ctrl = Ctrl { verb: "get".into(), args: vec!["status".into()] };
        tool.send(Header::new(FrameType::Ctrl).id(5), &ctrl).await;
        let answer = tool.frame().await;
        assert_eq!(answer.header.id, 5);
        let CtrlAnswer::Text(text) = CtrlReply::decode(&answer.payload).unwrap().answer else { panic!() };
        assert_eq!(text, "get [\"status\"] Roles(MONITOR)");
        // A tool is no program's host.
        tool.send(Header::new(FrameType::Launch), &launch()).await;
        assert_eq!(tool.frame().await.header.kind, FrameType::Bye);
        // An answer that nobody waits for.
        let mut peer = launched(&world).await;
        peer.send(Header::new(FrameType::Sysret).id(99), &Sysret::plain(0)).await;
        assert_eq!(peer.frame().await.header.kind, FrameType::Bye);
        let counters = world.server.counters();
        assert_eq!((counters.connections, counters.auth_refused, counters.violations), (3, 1, 2));
    });
}

#[test]
fn a_key_is_good_for_its_roles_only() {
    run(|world| async move {
        let watcher = |purpose| Peer::connect_as(&world, "watcher", 7, purpose);
        for purpose in [
            Purpose::Launch,
            Purpose::Control(Roles::ADMIN),
            Purpose::Control(Roles::ADMIN | Roles::MONITOR),
            Purpose::Control(Roles::empty()),
        ] {
            let refused = watcher(purpose).await.err().unwrap_or_default();
            assert!(refused.contains("its key is not for") && refused.contains("(Auth)"), "{refused:?}");
        }
        assert!(watcher(Purpose::Control(Roles::MONITOR)).await.is_ok());
        let both = Purpose::Control(Roles::ADMIN | Roles::MONITOR);
        assert!(Peer::connect(&world, 7, both).await.is_ok());
    });
}

#[test]
fn a_long_answer_comes_in_parts() {
    run(|world| async move {
        let mut tool = Peer::connect(&world, 7, Purpose::Control(Roles::MONITOR)).await.unwrap();
        tool.send(Header::new(FrameType::Ctrl).id(5), &Ctrl { verb: "long".into(), args: vec![] }).await;
        let mut text = String::new();
        loop {
            let frame = tool.frame().await;
            let CtrlAnswer::Text(part) = CtrlReply::decode(&frame.payload).unwrap().answer else { panic!() };
            text += &part;
            if !frame.header.flags.contains(Flags::MORE) {
                break;
            }
        }
        assert_eq!(text, "é".repeat(200_000));
    });
}

/// Reads until the node says this, and nothing behind it.
async fn search(reader: &mut Pipe, wanted: Mark) {
    let mut search = Search::default();
    loop {
        let len = reader.read(search.space()).await.unwrap();
        if search.filled(len) == Some(wanted) {
            return;
        }
    }
}

#[test]
fn a_serial_port_is_searched_for_the_beginning_of_a_connection() {
    run(|world| async move {
        let (mut reader, mut writer) = world.connection(server::Peer::Serial("lwk.hi.0".into()));
        // What others left: of a frame, of a call that was given up, of a host that the node took for gone.
        let old = Mark::Call([1; TOKEN]);
        let own = Mark::Call([2; TOKEN]);
        for bytes in [&b"LWKD and so on"[..], &old.bytes(), &Mark::Go([9; TOKEN]).bytes(), &own.bytes()] {
            writer.write_all(bytes).await.unwrap();
        }
        search(&mut reader, own).await;
        // Nobody answered in time.
        writer.write_all(&own.bytes()).await.unwrap();
        writer.write_all(&Mark::Go([2; TOKEN]).bytes()).await.unwrap();
        search(&mut reader, Mark::Go([2; TOKEN])).await;
        // Then all is as over TCP. Whoever has the other end of the port needs no key.
        let mut peer = Peer::over(&world, reader, writer, None, Purpose::Launch).await.unwrap();
        peer.send(Header::new(FrameType::Launch), &launch()).await;
        assert_eq!(peer.frame().await.header.kind, FrameType::LaunchAck);
        assert_eq!(*world.asked.borrow(), ["launch 42"]);
        assert_eq!(
            world.server.counters(),
            ServerCounters { connections: 1, skipped: 14, ..Default::default() }
        );
    });
}

#[test]
fn over_the_network_nobody_goes_without_a_key() {
    run(|world| async move {
        let (reader, writer) = world.connection(server::Peer::Tcp("host".into()));
        assert!(Peer::over(&world, reader, writer, None, Purpose::Launch).await.is_err());
        assert_eq!(world.server.counters().auth_refused, 1);
    });
}

#[test]
fn a_port_without_a_host_serves_nobody() {
    run(|world| async move {
        let (mut reader, mut writer) = world.connection(server::Peer::Serial("lwk".into()));
        writer.write_all(&Mark::Call([3; TOKEN]).bytes()).await.unwrap();
        search(&mut reader, Mark::Call([3; TOKEN])).await;
        writer.close();
        keelson_exec::yield_now().await;
        assert_eq!(world.server.counters(), ServerCounters::default());
    });
}
