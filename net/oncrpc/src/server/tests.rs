//! The server against clients of all manners, over a network in memory and virtual time.

mod crowd;
mod repeated;

use super::*;
use crate::client::{CallError, DatagramClient, Patience, SharedDatagramClient, StreamClient, Target};
use crate::memory::{MemoryHost, MemoryNetwork, MemoryStream, read_to_end, write_raw};
use crate::message::{AcceptStat, ReplyError, RpcVersions};
use crate::service::{Call, Failure, Program, Repetition, Reply};
use crate::transport::{RpcNetwork, RpcStream};
use crate::xdr::{Decoder, Encoder};
use crate::{AuthStat, Credential};
use core::net::SocketAddr;
use keelson_exec::sim::SimClock;
use keelson_exec::{Executor, join};

/// Procedure 1 echoes an opaque, 2 answers that many bytes, 3 sleeps that many milliseconds, 4 is refused,
/// 5 answers too much, 6 adds up the bytes of an opaque. 7 sleeps that many milliseconds and answers how often it
/// was executed, which it must not be for a repetition; 8 does the same and answers 2 KiB, 9 is 7 for calls that overwrite.
struct Echo {
    handle: Handle,
    executed: Cell<u32>,
}

impl Service for Echo {
    fn programs(&self) -> &[Program] {
        &[Program { number: 77, versions: &[1, 3] }]
    }

    fn repetition(&self, call: &Call<'_>) -> Repetition {
        match call.procedure {
            7 | 8 => Repetition::Wrong,
            9 => Repetition::Overwrites,
            _ => Repetition::Harmless,
        }
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        match call.procedure {
            1 => {
                let data = input.opaque(1 << 20)?;
                reply.reserve(data.len() + 8).await?;
                reply.results().opaque(data);
            }
            2 => {
                let len = input.u32()? as usize;
                reply.reserve(len).await?;
                let place = reply.results().space(len).ok_or(Failure::SystemError)?;
                place.fill(0xa5);
                reply.results().advance(len);
            }
            3 => {
                let millis = input.u32()?;
                self.handle.sleep(Duration::from_millis(millis.into())).await;
                reply.results().u32(millis);
            }
            4 => return Err(Failure::Auth(AuthStat::TooWeak)),
            6 => {
                let data = input.opaque(1 << 20)?;
                reply.results().u32(data.iter().map(|byte| u32::from(*byte)).sum());
            }
            5 => reply.results().fixed(&[0; 8192]),
            7..=9 => {
                let millis = input.u32()?;
                self.executed.set(self.executed.get() + 1);
                let number = self.executed.get();
                self.handle.sleep(Duration::from_millis(millis.into())).await;
                reply.results().u32(number);
                if call.procedure == 8 {
                    reply.results().fixed(&[0; 2048]);
                }
            }
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

const SERVER: &str = "10.0.0.1:2049";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn target(procedure: u32) -> Target<'static> {
    Target { program: 77, version: 3, procedure, credential: Credential::None }
}

struct World {
    clock: Rc<SimClock>,
    executor: Executor,
    network: Rc<MemoryNetwork>,
    server: Rc<RpcServer>,
}

impl World {
    fn new(options: ServerOptions) -> World {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let network = MemoryNetwork::new();
        let server = Rc::new(RpcServer::new(executor.handle(), options));
        let service = Rc::new(Echo { handle: executor.handle(), executed: Cell::new(0) });
        server.serve_listener(network.listen(address(SERVER)), service.clone());
        server.serve_datagrams(network.bind(address(SERVER)), service);
        World { clock, executor, network, server }
    }

    fn connect(&self, from: &str) -> MemoryStream {
        self.network.connect(address(from), address(SERVER)).expect("a listener")
    }

    fn client(&self) -> StreamClient<crate::memory::PipeReader, crate::memory::PipeWriter> {
        let (reader, writer) = self.connect("10.0.0.2:900").split();
        StreamClient::new(reader, writer, 2 << 20, 1)
    }

    fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }
}

#[test]
fn every_refusal_reaches_the_client() {
    let world = World::new(ServerOptions::default());
    let mut client = world.client();
    world.run(async move {
        let null = client.call(target(0), |out| out.u32(7)).await.map(|results| results.remaining().len());
        assert_eq!(null, Ok(0));
        let mut refused = async |target, words: &[u32]| {
            let arguments = |out: &mut Encoder| words.iter().for_each(|word| out.u32(*word));
            match client.call(target, arguments).await {
                Err(CallError::Refused(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        let accepted = ReplyError::Accepted;
        let other = Target { program: 78, ..target(1) };
        assert_eq!(refused(other, &[]).await, accepted(AcceptStat::ProgramUnavailable));
        let versions = RpcVersions { lowest: 1, highest: 3 };
        let between = Target { version: 2, ..target(1) };
        assert_eq!(refused(between, &[]).await, accepted(AcceptStat::ProgramMismatch(versions)));
        assert_eq!(refused(target(99), &[]).await, accepted(AcceptStat::ProcedureUnavailable));
        assert_eq!(refused(target(1), &[]).await, accepted(AcceptStat::GarbageArguments));
        assert_eq!(refused(target(1), &[u32::MAX, 1]).await, accepted(AcceptStat::GarbageArguments));
        assert_eq!(refused(target(4), &[]).await, ReplyError::Auth(AuthStat::TooWeak as u32));
        assert_eq!(refused(target(5), &[]).await, accepted(AcceptStat::SystemError), "overflow");
    });
    assert_eq!(world.server.counters().refused.get(), 7);
}

#[test]
fn large_messages_go_both_ways_and_memory_stays_in_its_budget() {
    let world = World::new(ServerOptions::default());
    let mut client = world.client();
    world.run(async move {
        let data: Vec<u8> = (0..1_000_001u32).map(|at| at as u8).collect();
        for _ in 0..3 {
            let mut results = client.call(target(6), |out| out.opaque(&data)).await.expect("sum");
            assert_eq!(results.u32(), Ok(data.iter().map(|byte| u32::from(*byte)).sum()));
            assert_eq!(results.finish(), Ok(()));
            let both = client.call(target(1), |out| out.opaque(&data)).await.map(|_| ());
            let refused = CallError::Refused(ReplyError::Accepted(AcceptStat::SystemError));
            assert_eq!(both, Err(refused), "nobody holds two large buffers");
            let small = client.call(target(1), |out| out.opaque(&data[..3000])).await.map(|mut r| r.u32());
            assert_eq!(small, Ok(Ok(3000)));
            let results = client.call(target(2), |out| out.u32(1 << 20)).await.expect("bytes");
            assert_eq!(results.remaining().len(), 1 << 20);
        }
    });
    assert!(world.server.buffers().allocated() <= 3 << 20);
}

#[test]
fn calls_of_one_connection_run_at_once_up_to_the_limit() {
    let options = ServerOptions { calls_per_connection: 4, ..ServerOptions::default() };
    let world = World::new(options);
    let (mut reader, mut writer) = world.connect("10.0.0.2:900").split();
    let started = world.executor.handle().now();
    let handle = world.executor.handle();
    let took = world.run(async move {
        for xid in 0..8u32 {
            let words = [0x8000_002c, xid, 0, 2, 77, 3, 3, 0, 0, 0, 0, 1000];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert!(write_raw(&mut writer, &bytes).await);
        }
        let mut seen = [0; 8 * 32];
        embedded_io_async::Read::read_exact(&mut reader, &mut seen).await.expect("eight replies");
        handle.now() - started
    });
    // Eight calls of a second, four at once.
    assert_eq!(took, Duration::from_secs(2));
}

#[test]
fn garbage_closes_the_connection_and_nothing_else() {
    let world = World::new(ServerOptions::default());
    for bytes in [&[0x80, 0, 0, 4, 1, 2, 3, 4][..], &[0xff; 16], &[0x80, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]] {
        let (mut reader, mut writer) = world.connect("10.0.0.3:901").split();
        let left = world.run(async move {
            write_raw(&mut writer, bytes).await;
            read_to_end(&mut reader).await
        });
        assert_eq!(left, [0; 0]);
    }
    let mut client = world.client();
    assert!(world.run(async move { client.call(target(0), |_| ()).await.is_ok() }));
    let counters = world.server.counters();
    assert_eq!((counters.malformed.get(), counters.too_long.get()), (2, 1));
}

#[test]
fn idle_and_stalled_connections_are_closed() {
    let world = World::new(ServerOptions::default());
    let (mut idle, _idle_writer) = world.connect("10.0.0.3:901").split();
    let (mut stalled, mut stalled_writer) = world.connect("10.0.0.4:901").split();
    let handle = world.executor.handle();
    let (stalled_after, idle_after) = world.run(async move {
        write_raw(&mut stalled_writer, &[0x80, 0, 1, 0, 9]).await;
        read_to_end(&mut stalled).await;
        let stalled_after = handle.now().as_millis();
        read_to_end(&mut idle).await;
        (stalled_after, handle.now().as_millis())
    });
    assert!((60_000..=70_000).contains(&stalled_after), "{stalled_after}");
    assert!((360_000..=370_000).contains(&idle_after), "{idle_after}");
    let counters = world.server.counters();
    assert_eq!((counters.stalled.get(), counters.idle_closed.get()), (1, 1));
}

#[test]
fn a_host_at_its_limit_loses_its_quietest_connection() {
    let options = ServerOptions { connections_per_host: 2, ..ServerOptions::default() };
    let world = World::new(options);
    let (mut first, _w1) = world.connect("10.0.0.3:901").split();
    let (_r2, _w2) = world.connect("10.0.0.3:902").split();
    let (mut third, _w3) = world.connect("10.0.0.3:903").split();
    world.run(async move { read_to_end(&mut third).await });
    assert_eq!(world.server.counters().turned_away.get(), 1, "nobody was quiet long enough");
    let handle = world.executor.handle();
    world.run(async move { handle.sleep(Duration::from_secs(40)).await });
    let (_r4, _w4) = world.connect("10.0.0.3:904").split();
    world.run(async move { read_to_end(&mut first).await });
    assert_eq!(world.server.connections(), 2);
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let world = World::new(ServerOptions::default());
    let socket = world.network.bind(address("10.0.0.2:901"));
    let handle = world.executor.handle();
    let mut client = DatagramClient::new(handle.clone(), socket, address(SERVER), 4096, 1);
    world.network.lose_datagrams(2);
    world.run(async move {
        let mut results =
            client.call(target(1), Duration::from_secs(10), |out| out.opaque(b"x")).await.expect("echo");
        assert_eq!(results.opaque(8), Ok(&b"x"[..]));
        assert_eq!(handle.now().as_millis(), 3000);
    });
    assert_eq!(world.server.counters().datagrams.get(), 1);
}

#[test]
fn stopping_finishes_calls_in_execution() {
    let world = World::new(ServerOptions::default());
    let mut client = world.client();
    let server = world.server.clone();
    let handle = world.executor.handle();
    world.run(async move {
        let call = async { client.call(target(3), |out| out.u32(1000)).await.map(|_| ()) };
        let stop = async {
            handle.sleep(Duration::from_millis(100)).await;
            server.stop().await;
        };
        assert_eq!(join(call, stop).await.0, Ok(()));
    });
    assert_eq!(world.server.connections(), 0);
}

const PATIENCE: Patience = Patience { retry: Duration::from_secs(1), total: Duration::from_secs(10) };

#[test]
fn calls_over_one_socket_do_not_wait_for_each_other() {
    let world = World::new(ServerOptions::default());
    let host = MemoryHost { network: world.network.clone(), address: address("10.0.0.2:0").ip() };
    let socket = host.bind_reserved().expect("a port");
    let next = host.bind_reserved().expect("another port");
    assert!(world.network.connect(address("10.0.0.2:1"), address("10.0.0.9:1")).is_none());
    drop(next);
    let handle = world.executor.handle();
    let client = Rc::new(SharedDatagramClient::new(handle.clone(), socket, u32::MAX));
    let receiving = client.clone();
    handle.spawn("receive", async move { receiving.receive().await });
    let stranger = world.network.bind(address("10.0.0.3:2049"));
    world.network.lose_datagrams(1);
    world.run(async move {
        let sleep = async |millis: u32| {
            let words = millis.to_be_bytes();
            let results = client.call(None, address(SERVER), target(3), PATIENCE, &words).await;
            (results.map(|results| results == words), handle.now().as_millis())
        };
        let nobody = async {
            let (missing, args) = (address("10.0.0.7:1"), [0; 4]);
            (client.call(None, missing, target(3), PATIENCE, &args).await, handle.now().as_millis())
        };
        let forge = async {
            // A reply with the right number from the wrong host.
            let mut out = Encoder::new(crate::Buffer::unpooled(64), 0);
            crate::message::put_accepted(&mut out, 0, AcceptStat::Success);
            out.u32(99);
            let peer = address("10.0.0.2:1023");
            crate::RpcDatagrams::send(&stranger, None, peer, out.written()).await;
        };
        let ((slow, fast), (lost, ())) = join(join(sleep(800), sleep(200)), join(nobody, forge)).await;
        // The first datagram was lost and sent again after a second.
        assert_eq!(slow, (Ok(true), 1800));
        assert_eq!(fast, (Ok(true), 200));
        assert_eq!(lost, (Err(CallError::TimedOut), 10_000));
        assert_eq!(client.stray(), 1);
    });
}

#[test]
fn a_host_with_two_addresses_is_heard_at_both_and_answers_from_the_one_called() {
    let world = World::new(ServerOptions::default());
    world.network.alias(address("10.0.1.1:0").ip(), address(SERVER).ip());
    let host = MemoryHost { network: world.network.clone(), address: address("10.0.0.2:0").ip() };
    let client =
        Rc::new(SharedDatagramClient::new(world.executor.handle(), host.bind_reserved().expect("a port"), 1));
    let receiving = client.clone();
    world.executor.handle().spawn("receive", async move { receiving.receive().await });
    world.run(async move {
        // The reply would be taken for a stranger's if it came from the other address.
        let other = address("10.0.1.1:2049");
        assert_eq!(client.call(None, other, target(0), PATIENCE, &[]).await, Ok(Vec::new()));
        let stream = host.connect(Some(address("10.0.0.9:0").ip()), other).await.expect("connected");
        assert_eq!((stream.local(), stream.peer()), (address("10.0.0.9:1023"), other));
        let (reader, writer) = stream.split();
        let mut stream = StreamClient::new(reader, writer, 100, 1);
        assert!(stream.call(target(0), |_| ()).await.is_ok());
        assert!(host.connect(None, address("10.0.1.1:2050")).await.is_none());
    });
}
