//! A server on a volume in memory, with some files and some exports, in virtual time.

use crate::input::Input;
use keelson_exec::sim::SimClock;
use keelson_exec::{Executor, Handle};
use keelson_hal::Entropy;
use keelson_nfs_server::exports::parse_exports;
use keelson_nfs_server::handle::{self, HandleCodec};
use keelson_nfs_server::{Counters, HostTable, NfsServer, NoNames, ServerConfig, SimulatedCrash};
use keelson_oncrpc::memory::{MemoryDatagrams, MemoryHost, MemoryNetwork, write_raw};
use keelson_oncrpc::{BufferPool, RecordReader, RpcDatagrams, RpcStream};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use keelson_volume::{ClearSetid, FileId, NewObject, ObjectKind, SetTime, Volume};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// The server.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Two hosts that the exports name.
pub const FRIENDS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3))];
/// A host that no export names.
pub const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 7));

const EXPORTS: &str = "/ 10.0.0.2(rw,no_root_squash,async) 10.0.0.3(rw);/ro 10.0.0.0/24(ro,insecure,sec=none);\
                       /dir 10.0.0.2(rw,all_squash,uquota=64K:20,gquota=1000=1M);/gone 10.0.0.2(rw)";

/// Every byte of randomness, so that handles are the same in every run.
const RANDOM: u8 = 0x5a;

/// Longest wait for a reply: all that a call can wait for is far quicker.
const PATIENCE: Duration = Duration::from_secs(300);

/// Longest reply that is read.
const MAX_REPLY: usize = 2 << 20;

/// Space on the volume, so that inputs run out of it and not of memory.
const CAPACITY: u64 = 4 << 20;

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(RANDOM);
    }
}

/// The server and its surroundings.
pub struct World {
    clock: Rc<SimClock>,
    executor: Executor,
    /// All hosts' wires.
    pub network: Rc<MemoryNetwork>,
    server: Rc<NfsServer<MemoryVolume, NoNames>>,
    /// Handles that clients know: at first of what there is, later also those of replies.
    pub handles: Vec<Vec<u8>>,
}

impl World {
    /// Starts the server.
    pub fn new() -> World {
        let clock = SimClock::new();
        let executor = Executor::new(clock.clone(), None);
        let options = MemoryOptions { capacity: CAPACITY, inodes: 200, ..MemoryOptions::default() };
        let volume = Rc::new(MemoryVolume::new(clock.clone(), options));
        let network = MemoryNetwork::new();
        let host = Rc::new(MemoryHost { network: network.clone(), address: SERVER });
        let config = ServerConfig {
            exports: EXPORTS.into(),
            hosts: HostTable::parse("10.0.0.2=client,10.0.0.3=other").expect("a table"),
            netgroups: "all (client,,) (other,,)".into(),
            simulated_crash: SimulatedCrash::Allowed,
            ..ServerConfig::default()
        };
        let handle = executor.handle();
        let (server, objects) = executor.block_on(&*clock, {
            let volume = volume.clone();
            async move {
                let objects = furnish(&volume).await;
                let names = Rc::new(NoNames);
                let server = NfsServer::start(handle, host, names, volume, &Fixed, &config).await;
                (Rc::new(server.unwrap_or_else(|error| panic!("{error}"))), objects)
            }
        });
        let handles = handles(volume.id(), volume.root(), &objects);
        World { clock, executor, network, server, handles }
    }

    /// For tasks of peers.
    pub fn handle(&self) -> Handle {
        self.executor.handle()
    }

    /// Runs a future along with all tasks.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: u64) {
        self.run(self.handle().sleep(Duration::from_secs(seconds)));
    }

    /// Sends a record over a connection of its own; the record that comes back.
    pub fn call_stream(&self, from: SocketAddr, port: u16, record: Vec<u8>) -> Option<Vec<u8>> {
        let stream = self.network.connect(from, SocketAddr::new(SERVER, port))?;
        let (mut reader, mut writer) = stream.split();
        let handle = self.handle();
        self.run(async move {
            let mark = (0x8000_0000 | record.len() as u32).to_be_bytes();
            let sent = write_raw(&mut writer, &mark).await && write_raw(&mut writer, &record).await;
            let mut reply = RecordReader::new(BufferPool::new(0, MAX_REPLY), MAX_REPLY);
            let read = handle.timeout(PATIENCE, reply.read(&mut reader, |_| ())).await;
            (sent && matches!(read, Ok(Ok(())))).then(|| reply.record().to_vec())
        })
    }

    /// Sends a datagram; the one that comes back.
    pub fn call_datagram(&self, from: SocketAddr, port: u16, message: Vec<u8>) -> Option<Vec<u8>> {
        let socket: MemoryDatagrams = self.network.bind(from);
        let handle = self.handle();
        self.run(async move {
            socket.send(None, SocketAddr::new(SERVER, port), &message).await;
            let reply = handle.timeout(PATIENCE, socket.receive()).await;
            reply.ok().flatten().map(|datagram| datagram.payload)
        })
    }

    /// The server's counters.
    pub fn counters(&self) -> Counters {
        self.server.counters()
    }

    /// `exportfs` with these words.
    pub fn exportfs(&self, words: Vec<String>, disk: Option<Vec<u8>>) -> String {
        let server = self.server.clone();
        self.run(async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            server.exportfs(&words, disk.map(Ok)).await
        })
    }

    /// What the administrator can list.
    pub fn listings(&self) -> [String; 2] {
        [self.server.locks(), self.server.lock_hosts()]
    }

    /// Remembers handles that a reply has.
    pub fn learn(&mut self, reply: &[u8]) {
        const MOST: usize = 32;
        let mut rest = Input::new(reply);
        while rest.rest().len() > handle::HANDLE_LEN {
            let found = rest.rest();
            if found.starts_with(&[0, 0, 0, handle::HANDLE_LEN as u8, 0x31])
                && let Some(bytes) = found.get(4..4 + handle::HANDLE_LEN)
                && self.handles.len() < MOST
                && !self.handles.iter().any(|known| known == bytes)
            {
                self.handles.push(bytes.to_vec());
            }
            rest.bytes(4);
        }
    }

    /// Everybody goes; what must then be true.
    pub fn finish(self) {
        // Long enough for the server to notice, and to free twice what nobody needs.
        self.pass(60);
        let counters = self.counters();
        assert_eq!(counters.connections, 0, "connections are left");
        assert_eq!(counters.buffer_bytes, 0, "message buffers were not given back");
        let server = self.server.clone();
        self.run(async move { server.stop().await });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold the executor; without this nothing of it would ever be freed.
        self.executor.abort_all();
    }
}

/// Makes some objects; those that clients know from the start.
async fn furnish(volume: &MemoryVolume) -> Vec<FileId> {
    let root = volume.root();
    let new =
        |kind, mode, uid| NewObject { kind, mode, uid, gid: uid, atime: SetTime::Now, mtime: SetTime::Now };
    let mut made = Vec::new();
    let mut make = async |dir, name: &[u8], kind, mode, uid| {
        let created = volume.create(dir, name, new(kind, mode, uid)).await.expect("created");
        made.push(created.object.id);
        created.object.id
    };
    let dir = make(root, b"dir", ObjectKind::Directory, 0o777, 0).await;
    let file = make(root, b"file", ObjectKind::Regular, 0o666, 1000).await;
    make(root, b"link", ObjectKind::Symlink(b"dir/file"), 0o777, 0).await;
    let ro = make(root, b"ro", ObjectKind::Directory, 0o755, 0).await;
    make(dir, b"private", ObjectKind::Regular, 0o600, 1000).await;
    make(ro, b"file", ObjectKind::Regular, 0o444, 0).await;
    make(dir, b"sub", ObjectKind::Directory, 0o755, 1000).await;
    make(root, b"pipe", ObjectKind::Fifo, 0o644, 0).await;
    volume.write(file, 0, &[b'x'; 9000], ClearSetid::No).await.expect("written");
    made
}

/// The handles of objects through each export.
fn handles(volume: keelson_volume::VolumeId, root: FileId, objects: &[FileId]) -> Vec<Vec<u8>> {
    let codec = HandleCodec::new([RANDOM; 16], volume);
    let (exports, problems) = parse_exports(EXPORTS);
    assert!(problems.is_empty(), "{problems:?}");
    let whole = exports.iter().find(|export| export.path == "/").expect("exported");
    let of = |export, id, is_root| codec.encode(handle::Handle { export, id, is_root }).to_vec();
    let mut handles = vec![of(whole.id, root, true)];
    handles.extend(objects.iter().map(|id| of(whole.id, *id, false)));
    // A root below, one of a read-only export, and an object through another export than its own.
    for (path, object) in [("/dir", 0), ("/ro", 3), ("/ro", 1)] {
        let export = exports.iter().find(|export| export.path == path).expect("exported");
        handles.push(of(export.id, objects[object], true));
    }
    handles
}
