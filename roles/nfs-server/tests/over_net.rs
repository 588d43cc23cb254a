//! The whole role on keelson-net under virtual time: simulated clients on a wire that loses frames.

use keelson_exec::Handle;
use keelson_hal::NetFeatures;
use keelson_net::{ConnectOptions, LocalPort, Stack, UdpOptions};
use keelson_net_sim::{Faults, Lab, Rng};
use keelson_nfs_server::{
    MOUNT_PROGRAM, NFS_PROGRAM, NLM_PROGRAM, NfsServer, NoNames, RPCBIND_PROGRAM, ServerConfig,
};
use keelson_oncrpc::client::{DatagramClient, StreamClient, Target};
use keelson_oncrpc::{
    AuthSys, Call, Credential, Decoder, Encoder, Failure, Program, Reply, RpcNetwork, RpcServer, RpcStream,
    ServerOptions, Service, StackNetwork,
};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

fn target(program: u32, version: u32, procedure: u32) -> Target<'static> {
    Target { program, version, procedure, credential: Credential::Sys(AuthSys::new(b"sim", 0, 0, &[])) }
}

fn server_port(port: u16) -> SocketAddr {
    format!("10.0.0.1:{port}").parse().unwrap()
}

type Server = NfsServer<MemoryVolume, NoNames>;

/// A server at 10.0.0.1.
fn serve(lab: &Lab) -> Rc<Server> {
    let (stack, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
    let volume = Rc::new(MemoryVolume::new(lab.clock(), MemoryOptions::default()));
    let handle = lab.handle();
    lab.run(async move {
        let config =
            ServerConfig { exports: "/ 10.0.0.0/24(rw,no_root_squash)".into(), ..Default::default() };
        let entropy = Rng::new(1);
        let network = StackNetwork::new(stack);
        let started =
            NfsServer::start(handle, Rc::new(network), Rc::new(NoNames), volume, &entropy, &config).await;
        Rc::new(started.unwrap_or_else(|error| panic!("{error}")))
    })
}

async fn datagram<T>(
    handle: &Handle,
    stack: &Stack,
    port: u16,
    target: Target<'_>,
    arguments: impl FnOnce(&mut Encoder),
    results: impl FnOnce(Decoder<'_>) -> T,
) -> T {
    let socket = stack.bind_udp(800, UdpOptions::default()).expect("a port");
    let mut client = DatagramClient::new(handle.clone(), socket, server_port(port), 64 << 10, 1);
    results(client.call(target, Duration::from_secs(120), arguments).await.expect("results"))
}

fn pattern(client: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 9) ^ client) as u8
}

/// Mounts over UDP, then over TCP creates a file, writes and commits it in pieces and reads it back.
async fn simulate(handle: Handle, stack: Stack, client: usize, size: usize) {
    let found = |mut results: Decoder<'_>| results.u32().expect("a port");
    let lookup = |program: u32, version: u32| {
        move |out: &mut Encoder| [program, version, 6, 0].into_iter().for_each(|word| out.u32(word))
    };
    let getport = target(RPCBIND_PROGRAM, 2, 3);
    assert_eq!(datagram(&handle, &stack, 111, getport, lookup(NFS_PROGRAM, 3), found).await, 2049);
    let root = datagram(
        &handle,
        &stack,
        20_048,
        target(MOUNT_PROGRAM, 3, 1),
        |out| out.opaque(b"/"),
        |mut r| {
            assert_eq!(r.u32(), Ok(0));
            r.opaque(64).expect("a handle").to_vec()
        },
    )
    .await;

    let options = ConnectOptions {
        local_port: LocalPort::Reserved,
        timeout: Duration::from_secs(60),
        ..ConnectOptions::default()
    };
    let stream = stack.connect(server_port(2049), options).await.expect("connected");
    let (reader, writer) = RpcStream::split(stream);
    let mut nfs = StreamClient::new(reader, writer, 300 << 10, 1);
    nfs.call(target(NFS_PROGRAM, 3, 0), |_| ()).await.expect("NULL");
    let name = format!("file-{client}");
    let mut made = nfs
        .call(target(NFS_PROGRAM, 3, 8), |out| {
            out.opaque(&root);
            out.opaque(name.as_bytes());
            // GUARDED; mode 0644; nothing else.
            [1, 1, 0o644, 0, 0, 0, 0, 0].into_iter().for_each(|word| out.u32(word));
        })
        .await
        .expect("results");
    assert_eq!((made.u32(), made.bool()), (Ok(0), Ok(true)));
    let file = made.opaque(64).expect("a handle").to_vec();

    let data: Vec<u8> = (0..size).map(|at| pattern(client, at)).collect();
    const PIECE: usize = 256 << 10;
    for (index, piece) in data.chunks(PIECE).enumerate() {
        let mut written = nfs
            .call(target(NFS_PROGRAM, 3, 7), |out| {
                out.opaque(&file);
                out.u64((index * PIECE) as u64);
                out.u32(piece.len() as u32);
                out.u32(0);
                out.opaque(piece);
            })
            .await
            .expect("results");
        assert_eq!(written.u32(), Ok(0));
    }
    let mut committed = nfs
        .call(target(NFS_PROGRAM, 3, 21), |out| {
            out.opaque(&file);
            out.u64(0);
            out.u32(0);
        })
        .await
        .expect("results");
    assert_eq!(committed.u32(), Ok(0));
    let mut read = Vec::new();
    while read.len() < size {
        let mut results = nfs
            .call(target(NFS_PROGRAM, 3, 6), |out| {
                out.opaque(&file);
                out.u64(read.len() as u64);
                out.u32(PIECE as u32);
            })
            .await
            .expect("results");
        assert_eq!(results.u32(), Ok(0));
        // Attributes, count, eof.
        results.fixed(4 + 84 + 8).expect("a head");
        read.extend_from_slice(results.opaque(PIECE).expect("data"));
    }
    assert!(read == data, "client {client}");
}

/// Virtual time that `clients` need, and the server.
fn run(seed: u64, faults: Faults, clients: usize, size: usize) -> (Duration, Rc<Server>) {
    let lab = Lab::new(seed, faults);
    let server = serve(&lab);
    let done = Rc::new(Cell::new(0));
    let handle = lab.handle();
    let started = handle.now();
    for client in 0..clients {
        let (stack, _) = lab.host(&format!("10.0.0.{}/24", client + 2), NetFeatures::empty());
        let (inner, done) = (handle.clone(), done.clone());
        handle.spawn("client", async move {
            simulate(inner, stack, client, size).await;
            done.set(done.get() + 1);
        });
    }
    let finished = done.clone();
    assert!(lab.run_until(Duration::from_secs(3600), || finished.get() == clients), "not after an hour");
    (handle.now() - started, server)
}

#[test]
fn one_client_on_a_clean_wire() {
    let (took, server) = run(1, Faults::default(), 1, 2 << 20);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let counters = server.counters();
    assert_eq!(counters.nfs.bytes_written.get(), 2 << 20);
    assert_eq!(
        (counters.rpc.malformed.get(), counters.rpc.refused.get(), counters.nfs.failed.get()),
        (0, 0, 0)
    );
}

#[test]
fn several_clients_on_a_lossy_wire() {
    for seed in 1..4 {
        let faults = Faults { loss: 2, duplicate: 2, reorder: 5, ..Faults::default() };
        let (_, server) = run(seed, faults, 4, 300_000);
        assert_eq!(server.counters().nfs.calls[21].get(), 4);
    }
}

/// What a client's host answers: where its lock manager is, and whatever that is called for.
struct LockHost(Rc<Cell<u32>>);

impl Service for LockHost {
    fn programs(&self) -> &[Program] {
        &[
            Program { number: RPCBIND_PROGRAM, versions: &[2] },
            Program { number: NLM_PROGRAM, versions: &[4] },
        ]
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        if call.program == RPCBIND_PROGRAM {
            let (_program, _version, protocol) = (input.u32()?, input.u32()?, input.u32()?);
            // On TCP only, so that the server connects.
            reply.results().u32(if protocol == 6 { 4045 } else { 0 });
        } else {
            assert_eq!(call.procedure, 10, "GRANTED_MSG");
            assert_eq!(call.origin.peer.ip(), server_port(0).ip());
            assert!(call.origin.peer.port() < 1024, "{}", call.origin.peer);
            self.0.set(self.0.get() + 1);
        }
        Ok(())
    }
}

#[test]
fn callbacks_go_over_the_stack() {
    let lab = Lab::new(1, Faults { loss: 1, ..Faults::default() });
    let server = serve(&lab);
    let (stack, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let (other, _) = lab.host("10.0.0.3/24", NetFeatures::empty());
    let called = Rc::new(Cell::new(0));
    let rpc = RpcServer::new(lab.handle(), ServerOptions::default());
    let network = StackNetwork::new(other.clone());
    for port in [111, 4045] {
        rpc.serve_listener(network.listen(port).expect("a port"), Rc::new(LockHost(called.clone())));
        rpc.serve_datagrams(network.bind(port).expect("a port"), Rc::new(LockHost(called.clone())));
    }
    let (handle, timer) = (lab.handle(), lab.handle());
    lab.run(async move {
        let mount = |out: &mut Encoder| out.opaque(b"/");
        let root = datagram(&handle, &stack, 20_048, target(MOUNT_PROGRAM, 3, 1), mount, |mut results| {
            assert_eq!(results.u32(), Ok(0));
            results.opaque(64).expect("a handle").to_vec()
        });
        let root = root.await;
        let create = |out: &mut Encoder| {
            out.opaque(&root);
            out.opaque(b"f");
            [1, 1, 0o644, 0, 0, 0, 0, 0].into_iter().for_each(|word| out.u32(word));
        };
        let file = datagram(&handle, &stack, 2049, target(NFS_PROGRAM, 3, 8), create, |mut results| {
            assert_eq!((results.u32(), results.bool()), (Ok(0), Ok(true)));
            results.opaque(64).expect("a handle").to_vec()
        });
        let file = file.await;
        let lock = |out: &mut Encoder, head: &[u32], tail: &[u32]| {
            out.opaque(b"cookie");
            head.iter().for_each(|word| out.u32(*word));
            out.opaque(b"host");
            out.opaque(&file);
            out.opaque(b"owner");
            out.u32(7);
            out.u64(0);
            out.u64(0);
            tail.iter().for_each(|word| out.u32(*word));
        };
        let status = |mut results: Decoder<'_>| {
            results.opaque(1024).expect("a cookie");
            results.u32().expect("a status")
        };
        let [ask, free] = [2, 4].map(|procedure| target(NLM_PROGRAM, 4, procedure));
        let wanted = |out: &mut Encoder| lock(out, &[1, 1], &[0, 1]);
        assert_eq!(datagram(&handle, &stack, 32_803, ask, wanted, status).await, 0);
        assert_eq!(datagram(&handle, &other, 32_803, ask, wanted, status).await, 3, "BLOCKED");
        assert_eq!(datagram(&handle, &stack, 32_803, free, |out| lock(out, &[], &[]), status).await, 0);
        // The host forgets to send its result, so it is called again.
        timer.sleep(Duration::from_secs(100)).await;
    });
    assert!((2..5).contains(&called.get()), "{}", called.get());
    assert_eq!(server.counters().locks.locks, 1);
}

#[test]
fn large_datagrams_go_both_ways() {
    let lab = Lab::new(1, Faults::default());
    let _server = serve(&lab);
    let (stack, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
    let handle = lab.handle();
    lab.run(async move {
        let root = datagram(
            &handle,
            &stack,
            20_048,
            target(MOUNT_PROGRAM, 3, 1),
            |out| out.opaque(b"/"),
            |mut r| {
                assert_eq!(r.u32(), Ok(0));
                r.opaque(64).expect("a handle").to_vec()
            },
        )
        .await;
        let create = |out: &mut Encoder| {
            out.opaque(&root);
            out.opaque(b"f");
            [1, 1, 0o644, 0, 0, 0, 0, 0].into_iter().for_each(|word| out.u32(word));
        };
        let file = datagram(&handle, &stack, 2049, target(NFS_PROGRAM, 3, 8), create, |mut r| {
            assert_eq!((r.u32(), r.bool()), (Ok(0), Ok(true)));
            r.opaque(64).expect("a handle").to_vec()
        })
        .await;
        let data: Vec<u8> = (0..32 << 10).map(|at| pattern(0, at)).collect();
        let write = |out: &mut Encoder| {
            out.opaque(&file);
            out.u64(0);
            out.u32(data.len() as u32);
            out.u32(2);
            out.opaque(&data);
        };
        datagram(&handle, &stack, 2049, target(NFS_PROGRAM, 3, 7), write, |mut r| assert_eq!(r.u32(), Ok(0)))
            .await;
        let read = |out: &mut Encoder| {
            out.opaque(&file);
            out.u64(0);
            out.u32(1 << 20);
        };
        datagram(&handle, &stack, 2049, target(NFS_PROGRAM, 3, 6), read, |mut r| {
            assert_eq!(r.u32(), Ok(0));
            r.fixed(4 + 84 + 8).expect("a head");
            assert!(r.opaque(1 << 20) == Ok(&data[..]));
        })
        .await;
    });
}
