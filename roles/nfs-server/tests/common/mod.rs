//! A server on a volume and a network in memory, and a client that speaks the protocols byte by byte.
#![allow(dead_code)] // Each test crate uses its part.

pub mod locking;

use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_hal::Entropy;
use keelson_nfs_server::{MOUNT_PROGRAM, NFS_PROGRAM, NfsServer, NoNames, ServerConfig};
use keelson_oncrpc::client::{CallError, DatagramClient, StreamClient, Target};
use keelson_oncrpc::memory::{MemoryDatagrams, MemoryHost, MemoryNetwork, PipeReader, PipeWriter};
use keelson_oncrpc::{AuthSys, Credential, Decoder, RpcStream};
use keelson_volume::memory::{MemoryOptions, MemoryVolume};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const OK: u32 = 0;
pub const PERM: u32 = 1;
pub const NOENT: u32 = 2;
pub const IO: u32 = 5;
pub const ACCES: u32 = 13;
pub const EXIST: u32 = 17;
pub const XDEV: u32 = 18;
pub const NOTDIR: u32 = 20;
pub const ISDIR: u32 = 21;
pub const INVAL: u32 = 22;
pub const FBIG: u32 = 27;
pub const NOSPC: u32 = 28;
pub const ROFS: u32 = 30;
pub const NAMETOOLONG: u32 = 63;
pub const NOTEMPTY: u32 = 66;
pub const DQUOT: u32 = 69;
pub const STALE: u32 = 70;
pub const BADHANDLE: u32 = 10_001;
pub const NOT_SYNC: u32 = 10_002;
pub const NOTSUPP: u32 = 10_004;
pub const TOOSMALL: u32 = 10_005;
pub const BADTYPE: u32 = 10_007;
pub const JUKEBOX: u32 = 10_008;

pub const SERVER: &str = "10.0.0.1";

/// The number of the next call: no two calls have the same, or the second would be taken for a repetition.
static NEXT_XID: AtomicU32 = AtomicU32::new(77);

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

pub struct World {
    pub clock: Rc<SimClock>,
    pub executor: Rc<Executor>,
    pub network: Rc<MemoryNetwork>,
    pub volume: Rc<MemoryVolume>,
    pub server: Rc<NfsServer<MemoryVolume, NoNames>>,
}

impl World {
    pub fn new(exports: &str) -> World {
        World::with(
            ServerConfig { exports: exports.into(), ..ServerConfig::default() },
            MemoryOptions::default(),
        )
    }

    pub fn with(config: ServerConfig, options: MemoryOptions) -> World {
        let clock = SimClock::new();
        let volume = Rc::new(MemoryVolume::new(clock.clone(), options));
        World::on(clock, volume, config)
    }

    /// A server on a volume with these files in `/.keelson`.
    pub fn with_files(config: ServerConfig, files: &[(&'static str, &[u8])]) -> World {
        let clock = SimClock::new();
        let volume = Rc::new(MemoryVolume::new(clock.clone(), MemoryOptions::default()));
        let executor = Executor::new(clock.clone(), None);
        for (name, content) in files {
            put_file(&executor, &clock, &volume, name, content.to_vec());
        }
        World::on(clock, volume, config)
    }

    /// A server on a volume that exists, as after a restart.
    pub fn on(clock: Rc<SimClock>, volume: Rc<MemoryVolume>, config: ServerConfig) -> World {
        let executor = Rc::new(Executor::new(clock.clone(), None));
        let network = MemoryNetwork::new();
        let host = MemoryHost { network: network.clone(), address: SERVER.parse().unwrap() };
        let (handle, served) = (executor.handle(), volume.clone());
        let server = executor.block_on(&*clock, async move {
            let started =
                NfsServer::start(handle, Rc::new(host), Rc::new(NoNames), served, &Fixed, &config).await;
            Rc::new(started.unwrap_or_else(|error| panic!("{error}")))
        });
        World { clock, executor, network, volume, server }
    }

    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.executor.block_on(&*self.clock, future)
    }

    /// Stops the server and starts one on the same volume.
    pub fn restart(self, exports: &str) -> World {
        let server = self.server.clone();
        self.run(async move { server.stop().await });
        World::on(
            self.clock,
            self.volume,
            ServerConfig { exports: exports.into(), ..ServerConfig::default() },
        )
    }

    /// Cuts the power, and starts a server on what the volume kept.
    pub fn crash(self, config: ServerConfig) -> World {
        self.volume.power_cut();
        self.executor.abort_all();
        World::on(self.clock, self.volume, config)
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: u64) {
        let handle = self.executor.handle();
        self.run(async move { handle.sleep(Duration::from_secs(seconds)).await });
    }

    /// `exportfs` with these words and no second disk.
    pub fn exportfs(&self, words: &[&str]) -> String {
        self.exportfs_with(words, None)
    }

    pub fn exportfs_with(&self, words: &[&str], disk: Option<Result<Vec<u8>, String>>) -> String {
        let (server, words) =
            (self.server.clone(), words.iter().map(ToString::to_string).collect::<Vec<_>>());
        self.run(async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            server.exportfs(&words, disk).await
        })
    }

    /// Puts a file into `/.keelson`, as an administrator does on Linux while the server is off.
    pub fn put_file(&self, name: &'static str, content: impl Into<Vec<u8>>) {
        put_file(&self.executor, &self.clock, &self.volume, name, content.into());
    }

    /// A client at a privileged port of 10.0.0.2.
    pub fn client(&self, uid: u32) -> Client<'_> {
        self.client_at("10.0.0.2:900", uid)
    }

    pub fn client_at(&self, from: &str, uid: u32) -> Client<'_> {
        Client { world: self, from: from.parse().unwrap(), uid, gid: uid, groups: Vec::new(), port: 2049 }
    }
}

fn put_file(
    executor: &Executor,
    clock: &Rc<SimClock>,
    volume: &Rc<MemoryVolume>,
    name: &'static str,
    content: Vec<u8>,
) {
    let volume = volume.clone();
    executor.block_on(&**clock, async move {
        keelson_volume::Volume::write_state(&*volume, name, &content).await.expect("stored");
    });
}

/// Makes each call on a connection of its own.
#[derive(Clone)]
pub struct Client<'a> {
    pub world: &'a World,
    pub from: SocketAddr,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub port: u16,
}

/// Arguments under construction.
#[derive(Clone, Default)]
pub struct Args(pub Vec<u8>);

impl Args {
    pub fn u32(mut self, value: u32) -> Args {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Args {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn fixed(mut self, bytes: &[u8]) -> Args {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn opaque(self, bytes: impl AsRef<[u8]>) -> Args {
        self.u32(bytes.as_ref().len() as u32).fixed(bytes.as_ref())
    }

    /// sattr3: mode, and size if given.
    pub fn sattr(self, mode: Option<u32>, size: Option<u64>) -> Args {
        let args = match mode {
            Some(mode) => self.u32(1).u32(mode),
            None => self.u32(0),
        };
        let args = args.u32(0).u32(0);
        let args = match size {
            Some(size) => args.u32(1).u64(size),
            None => args.u32(0),
        };
        args.u32(0).u32(0)
    }
}

/// Results being read; panics when they do not decode.
pub struct Results(pub Vec<u8>, usize);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fattr {
    pub file_type: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub used: u64,
    pub rdev: (u32, u32),
    pub fsid: u64,
    pub fileid: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
}

/// Seconds and nanoseconds.
pub type Time = (u32, u32);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wcc {
    /// Size, mtime, ctime.
    pub before: Option<(u64, Time, Time)>,
    pub after: Option<Fattr>,
}

impl Results {
    pub fn of(bytes: &[u8]) -> Results {
        Results(bytes.to_vec(), 0)
    }

    fn take<T>(&mut self, item: impl FnOnce(&mut Decoder<'_>) -> T) -> T {
        let mut input = Decoder::new(&self.0[self.1..]);
        let value = item(&mut input);
        self.1 = self.0.len() - input.remaining().len();
        value
    }

    pub fn u32(&mut self) -> u32 {
        self.take(|input| input.u32().unwrap())
    }

    pub fn u64(&mut self) -> u64 {
        self.take(|input| input.u64().unwrap())
    }

    pub fn bool(&mut self) -> bool {
        self.take(|input| input.bool().unwrap())
    }

    pub fn opaque(&mut self) -> Vec<u8> {
        self.take(|input| input.opaque(1 << 21).unwrap().to_vec())
    }

    pub fn text(&mut self) -> String {
        String::from_utf8(self.opaque()).unwrap()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(|input| input.array::<N>().unwrap())
    }

    pub fn time(&mut self) -> Time {
        (self.u32(), self.u32())
    }

    pub fn fattr(&mut self) -> Fattr {
        Fattr {
            file_type: self.u32(),
            mode: self.u32(),
            nlink: self.u32(),
            uid: self.u32(),
            gid: self.u32(),
            size: self.u64(),
            used: self.u64(),
            rdev: (self.u32(), self.u32()),
            fsid: self.u64(),
            fileid: self.u64(),
            atime: self.time(),
            mtime: self.time(),
            ctime: self.time(),
        }
    }

    pub fn post_op(&mut self) -> Option<Fattr> {
        self.bool().then(|| self.fattr())
    }

    pub fn wcc(&mut self) -> Wcc {
        let before = self.bool().then(|| (self.u64(), self.time(), self.time()));
        Wcc { before, after: self.post_op() }
    }

    pub fn end(self) {
        assert_eq!(self.1, self.0.len(), "bytes after the results");
    }
}

impl Client<'_> {
    /// Calls a program; the results as bytes.
    pub fn call(&self, program: [u32; 3], args: Args) -> Result<Results, CallError> {
        self.call_as(NEXT_XID.fetch_add(1, Ordering::Relaxed), program, args)
    }

    /// Calls a program under a number; the results as bytes. The same number again makes it a repetition.
    pub fn call_as(&self, xid: u32, program: [u32; 3], args: Args) -> Result<Results, CallError> {
        let to = SocketAddr::new(SERVER.parse::<IpAddr>().unwrap(), self.port);
        let stream = self.world.network.connect(self.from, to).expect("the server listens");
        let (reader, writer) = stream.split();
        let mut client = StreamClient::<PipeReader, PipeWriter>::new(reader, writer, 2 << 20, xid);
        let (uid, gid, groups) = (self.uid, self.gid, self.groups.clone());
        let [program, version, procedure] = program;
        self.world.run(async move {
            let credential = Credential::Sys(AuthSys::new(b"client", uid, gid, &groups));
            let target = Target { program, version, procedure, credential };
            let results = client.call(target, |out| out.fixed(&args.0)).await?;
            Ok(Results(results.remaining().to_vec(), 0))
        })
    }

    pub fn nfs(&self, procedure: u32, args: Args) -> Results {
        self.call([NFS_PROGRAM, 3, procedure], args).expect("results")
    }

    pub fn mountd(&self, version: u32, procedure: u32, args: Args) -> Results {
        let client = Client { port: 20_048, ..self.clone() };
        client.call([MOUNT_PROGRAM, version, procedure], args).expect("results")
    }

    pub fn mount(&self, path: &str) -> Result<Vec<u8>, u32> {
        let mut results = self.mountd(3, 1, Args::default().opaque(path));
        match results.u32() {
            OK => {
                let handle = results.opaque();
                assert_eq!((results.u32(), results.u32()), (1, 1), "AUTH_SYS");
                results.end();
                Ok(handle)
            }
            status => Err(status),
        }
    }

    pub fn getattr(&self, handle: &[u8]) -> Result<Fattr, u32> {
        let mut results = self.nfs(1, Args::default().opaque(handle));
        match results.u32() {
            OK => Ok(results.fattr()),
            status => Err(status),
        }
    }

    /// SETATTR with the given sattr3 and guard; the status and the wcc.
    pub fn setattr(&self, handle: &[u8], sattr: Args, guard: Option<(u32, u32)>) -> (u32, Wcc) {
        let args = Args::default().opaque(handle);
        let args = Args([args.0, sattr.0].concat());
        let args = match guard {
            Some((seconds, nanos)) => args.u32(1).u32(seconds).u32(nanos),
            None => args.u32(0),
        };
        let mut results = self.nfs(2, args);
        let answer = (results.u32(), results.wcc());
        results.end();
        answer
    }

    pub fn lookup(&self, dir: &[u8], name: impl AsRef<[u8]>) -> Result<(Vec<u8>, Fattr), u32> {
        let mut results = self.nfs(3, Args::default().opaque(dir).opaque(name));
        match results.u32() {
            OK => {
                let found = (results.opaque(), results.post_op().unwrap());
                assert!(results.post_op().is_some());
                results.end();
                Ok(found)
            }
            status => {
                let _dir = results.post_op();
                results.end();
                Err(status)
            }
        }
    }

    /// Any of CREATE, MKDIR, SYMLINK, MKNOD with everything after the name.
    pub fn make(
        &self,
        procedure: u32,
        dir: &[u8],
        name: impl AsRef<[u8]>,
        rest: Args,
    ) -> Result<(Vec<u8>, Fattr, Wcc), u32> {
        let args = Args::default().opaque(dir).opaque(name);
        let mut results = self.nfs(procedure, Args([args.0, rest.0].concat()));
        match results.u32() {
            OK => {
                assert!(results.bool());
                let made = (results.opaque(), results.post_op().unwrap(), results.wcc());
                results.end();
                Ok(made)
            }
            status => {
                results.wcc();
                results.end();
                Err(status)
            }
        }
    }

    /// CREATE, UNCHECKED with mode 0644.
    pub fn create(&self, dir: &[u8], name: impl AsRef<[u8]>) -> Result<Vec<u8>, u32> {
        self.make(8, dir, name, Args::default().u32(0).sattr(Some(0o644), None)).map(|made| made.0)
    }

    pub fn mkdir(&self, dir: &[u8], name: impl AsRef<[u8]>) -> Result<Vec<u8>, u32> {
        self.make(9, dir, name, Args::default().sattr(Some(0o755), None)).map(|made| made.0)
    }

    /// WRITE: bytes written, how stable, verifier.
    pub fn write(
        &self,
        handle: &[u8],
        offset: u64,
        stable: u32,
        data: &[u8],
    ) -> Result<(u32, u32, [u8; 8]), u32> {
        let args = Args::default().opaque(handle).u64(offset).u32(data.len() as u32).u32(stable).opaque(data);
        let mut results = self.nfs(7, args);
        let status = results.u32();
        results.wcc();
        match status {
            OK => Ok((results.u32(), results.u32(), results.array())),
            status => Err(status),
        }
    }

    /// READ: the data and eof.
    pub fn read(&self, handle: &[u8], offset: u64, count: u32) -> Result<(Vec<u8>, bool), u32> {
        let mut results = self.nfs(6, Args::default().opaque(handle).u64(offset).u32(count));
        let status = results.u32();
        assert!(results.post_op().is_some() || status != OK);
        match status {
            OK => {
                let (count, eof) = (results.u32(), results.bool());
                let data = results.opaque();
                assert_eq!(data.len(), count as usize);
                results.end();
                Ok((data, eof))
            }
            status => Err(status),
        }
    }

    pub fn commit(&self, handle: &[u8]) -> Result<[u8; 8], u32> {
        let mut results = self.nfs(21, Args::default().opaque(handle).u64(0).u32(0));
        let status = results.u32();
        results.wcc();
        if status == OK { Ok(results.array()) } else { Err(status) }
    }

    /// REMOVE (12) or RMDIR (13).
    pub fn remove(&self, procedure: u32, dir: &[u8], name: impl AsRef<[u8]>) -> u32 {
        let mut results = self.nfs(procedure, Args::default().opaque(dir).opaque(name));
        let status = results.u32();
        results.wcc();
        results.end();
        status
    }

    pub fn rename(&self, from: &[u8], from_name: &str, to: &[u8], to_name: &str) -> u32 {
        let args = Args::default().opaque(from).opaque(from_name).opaque(to).opaque(to_name);
        let mut results = self.nfs(14, args);
        let status = results.u32();
        results.wcc();
        results.wcc();
        results.end();
        status
    }

    pub fn link(&self, object: &[u8], dir: &[u8], name: &str) -> u32 {
        let mut results = self.nfs(15, Args::default().opaque(object).opaque(dir).opaque(name));
        let status = results.u32();
        results.post_op();
        results.wcc();
        results.end();
        status
    }

    pub fn access(&self, handle: &[u8], asked: u32) -> Result<u32, u32> {
        let mut results = self.nfs(4, Args::default().opaque(handle).u32(asked));
        let status = results.u32();
        results.post_op();
        if status == OK { Ok(results.u32()) } else { Err(status) }
    }
}

/// A datagram client of a port of the server.
pub fn datagram_client(world: &World, port: u16) -> Rc<RefCell<DatagramClient<MemoryDatagrams>>> {
    let socket = world.network.bind("10.0.0.2:901".parse().unwrap());
    let to = SocketAddr::new(SERVER.parse::<IpAddr>().unwrap(), port);
    Rc::new(RefCell::new(DatagramClient::new(
        world.executor.handle(),
        socket,
        to,
        1 << 16,
        NEXT_XID.fetch_add(1, Ordering::Relaxed),
    )))
}

/// A call over UDP.
pub fn call_datagram(world: &World, port: u16, program: [u32; 3], args: Args) -> Result<Results, CallError> {
    let client = datagram_client(world, port);
    let [program, version, procedure] = program;
    #[allow(clippy::await_holding_refcell_ref)] // Nobody else has it.
    world.run(async move {
        let credential = Credential::Sys(AuthSys::new(b"client", 0, 0, &[]));
        let target = Target { program, version, procedure, credential };
        let mut client = client.borrow_mut();
        let results = client.call(target, Duration::from_secs(20), |out| out.fixed(&args.0)).await?;
        Ok(Results(results.remaining().to_vec(), 0))
    })
}
