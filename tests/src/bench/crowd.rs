//! Clients of the bench itself, as many as a row needs: each an address, a connection to the server's NFS and one to its
//! lock manager, and a file of its own. Each makes one call at a time.

use super::servers::{RANDOM_MIB, Side};
use crate::nfs3::{Handle, NFS_PORT, Procedure, Stable};
use crate::nlm::NLM;
use crate::rpc::{NFS, next_xid};
use keelson_exec::sync::Notify;
use keelson_net::{ConnectOptions, LocalPort, ReadHalf, TcpOptions, WriteHalf};
use keelson_oncrpc::client::{StreamClient, Target};
use keelson_oncrpc::{AuthSys, Credential, Decoder, Encoder};
use keelson_qemu::{Error, HostContext, Port, StackHost};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Most clients.
pub const MOST: usize = 64;
/// Bytes of a READ.
pub const READ: usize = 64 << 10;
/// Bytes of a small file.
const SMALL: usize = 4 << 10;
/// What each client reads again and again.
const OWN: usize = (RANDOM_MIB << 20) / MOST;

/// What each client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// GETATTR of its file.
    GetAttr,
    /// CREATE, WRITE of 4 KiB, COMMIT and REMOVE.
    Files,
    /// READ of 64 KiB.
    Read,
    /// LOCK and UNLOCK of its file (NLM version 4).
    Lock,
}

/// The clients of the last row; they are all of one thread.
pub struct Crowd(StackHost<RefCell<Vec<Member>>>);

/// What a client did, or what failed, as text.
type Outcome<T> = Result<T, String>;
type Calls = StreamClient<ReadHalf, WriteHalf>;

struct Member {
    number: usize,
    nfs: Calls,
    locks: Calls,
    /// Where files are made.
    folder: Handle,
    /// Its own file.
    file: Handle,
    /// The large file of all of them.
    large: Handle,
}

impl Crowd {
    /// Plugs them in: 10.0.0.100 and the following.
    pub fn start(port: &Port) -> keelson_qemu::Result<Crowd> {
        let addresses: Vec<_> =
            (0..MOST).map(|number| format!("{}/24", address(number)).parse().expect("an address")).collect();
        StackHost::start(port, &addresses, async |_, _| RefCell::default()).map(Crowd)
    }

    /// Connects `clients` of them to a server, where `large` is a file of [`RANDOM_MIB`], and makes their files.
    pub fn gather(&self, side: &Side, large: Handle, clients: usize) -> keelson_qemu::Result<()> {
        let (server, locks, folder) = (side.address, side.nlm_port, side.root.clone());
        let gathered = self.0.run(async move |host: HostContext<RefCell<Vec<Member>>>| {
            host.state.take();
            for number in 0..clients {
                let [nfs, locks] =
                    [NFS_PORT, locks].map(|port| connect(&host, number, (server, port).into()));
                let (nfs, locks) = (nfs.await?, locks.await?);
                let (folder, large) = (folder.clone(), large.clone());
                let mut member = Member { number, nfs, locks, folder, file: vec![], large };
                member.file = member.create("own").await?;
                host.state.borrow_mut().push(member);
            }
            Ok(())
        });
        gathered.map_err(failed)
    }

    /// All of them do a task `each` times at once; how long it took.
    pub fn work(&self, task: Task, each: usize) -> keelson_qemu::Result<Duration> {
        let took = self.0.run(async move |host: HostContext<RefCell<Vec<Member>>>| {
            let members = host.state.take();
            let (count, start) = (members.len(), Instant::now());
            let ended = Rc::new((RefCell::new(Vec::<Outcome<Member>>::new()), Notify::new()));
            for mut member in members {
                let ended = ended.clone();
                host.handle.spawn("client", async move {
                    let mut worked = Ok(());
                    for turn in 0..each {
                        worked = member.act(task, turn).await;
                        if worked.is_err() {
                            break;
                        }
                    }
                    ended.0.borrow_mut().push(worked.map(|()| member));
                    ended.1.notify();
                });
            }
            while ended.0.borrow().len() < count {
                ended.1.notified().await;
            }
            let time = start.elapsed();
            for member in ended.0.take() {
                host.state.borrow_mut().push(member?);
            }
            Ok(time)
        });
        took.map_err(failed)
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 100 + number as u8)
}

async fn connect<S>(host: &HostContext<S>, number: usize, server: SocketAddr) -> Outcome<Calls> {
    let options = ConnectOptions {
        local_port: LocalPort::Reserved,
        local_address: Some(IpAddr::V4(address(number))),
        tcp: TcpOptions { receive_buffer: 256 << 10, ..TcpOptions::default() },
        ..ConnectOptions::default()
    };
    let stream = host.stack.connect(server, options).await;
    let stream = stream.map_err(|error| format!("connect to {server}: {error}"))?;
    let (reader, writer) = stream.into_split();
    // Numbers of a connection are far from those of others, for caches of replies that go by them.
    Ok(StreamClient::new(reader, writer, READ + 4096, next_xid() << 16))
}

impl Member {
    async fn act(&mut self, task: Task, turn: usize) -> Outcome<()> {
        match task {
            Task::GetAttr => {
                let file = &self.file;
                nfs(&mut self.nfs, Procedure::GetAttr, |out| out.opaque(file)).await.map(drop)
            }
            Task::Files => self.small_file(turn).await,
            Task::Read => {
                let at = (self.number * OWN + turn * READ % OWN) as u64;
                let large = &self.large;
                let arguments = |out: &mut Encoder| {
                    out.opaque(large);
                    out.u64(at);
                    out.u32(READ as u32);
                };
                let mut results = nfs(&mut self.nfs, Procedure::Read, arguments).await?;
                // Attributes: whether they follow, and 84 bytes.
                let _ = results.bool().and_then(|follow| results.fixed(if follow { 84 } else { 0 }));
                match results.u32() {
                    Ok(count) if count as usize == READ => Ok(()),
                    other => Err(format!("{other:?} bytes at {at}")),
                }
            }
            Task::Lock => {
                self.lock(2, turn).await?;
                self.lock(4, turn).await
            }
        }
    }

    async fn create(&mut self, name: &str) -> Outcome<Handle> {
        let (folder, name) = (&self.folder, format!("client-{}-{name}", self.number));
        let arguments = |out: &mut Encoder| {
            out.opaque(folder);
            out.opaque(name.as_bytes());
            // UNCHECKED, and only a mode.
            [0, 1, 0o644, 0, 0, 0, 0, 0].into_iter().for_each(|word| out.u32(word));
        };
        let mut results = nfs(&mut self.nfs, Procedure::Create, arguments).await?;
        let handle = results.optional(|results| results.opaque(64).map(<[u8]>::to_vec));
        handle.ok().flatten().ok_or_else(|| format!("no handle of {name}"))
    }

    async fn small_file(&mut self, turn: usize) -> Outcome<()> {
        let name = turn.to_string();
        let file = self.create(&name).await?;
        let arguments = |out: &mut Encoder| {
            out.opaque(&file);
            out.u64(0);
            out.u32(SMALL as u32);
            out.u32(Stable::Unstable as u32);
            out.opaque(&[5; SMALL]);
        };
        nfs(&mut self.nfs, Procedure::Write, arguments).await?;
        let arguments = |out: &mut Encoder| {
            out.opaque(&file);
            out.u64(0);
            out.u32(0);
        };
        nfs(&mut self.nfs, Procedure::Commit, arguments).await?;
        let (folder, name) = (&self.folder, format!("client-{}-{name}", self.number));
        let arguments = |out: &mut Encoder| {
            out.opaque(folder);
            out.opaque(name.as_bytes());
        };
        nfs(&mut self.nfs, Procedure::Remove, arguments).await.map(drop)
    }

    /// LOCK (2) or UNLOCK (4) of the whole file.
    async fn lock(&mut self, procedure: u32, turn: usize) -> Outcome<()> {
        let (file, host) = (&self.file, format!("client{}", self.number));
        let cookie = turn.to_be_bytes();
        let arguments = |out: &mut Encoder| {
            out.opaque(&cookie);
            if procedure == 2 {
                // Without waiting, exclusive.
                out.bool(false);
                out.bool(true);
            }
            out.opaque(host.as_bytes());
            out.opaque(file);
            out.opaque(format!("1@{host}").as_bytes());
            out.u32(1);
            out.u64(0);
            out.u64(0);
            if procedure == 2 {
                // No reclaim, and the state number of a host that was never restarted.
                out.bool(false);
                out.u32(1);
            }
        };
        let mut results = call(&mut self.locks, [NLM, 4, procedure], arguments).await?;
        match (results.opaque(8), results.u32()) {
            (Ok(seen), Ok(0)) if seen == cookie => Ok(()),
            other => Err(format!("procedure {procedure} of NLM: {other:?}")),
        }
    }
}

/// A call that must succeed; what follows its status.
async fn nfs(
    calls: &mut Calls,
    procedure: Procedure,
    arguments: impl FnOnce(&mut Encoder),
) -> Outcome<Decoder<'_>> {
    let mut results = call(calls, [NFS, 3, procedure as u32], arguments).await?;
    match results.u32() {
        Ok(0) => Ok(results),
        other => Err(format!("{procedure:?}: {other:?}")),
    }
}

async fn call(
    calls: &mut Calls,
    [program, version, procedure]: [u32; 3],
    arguments: impl FnOnce(&mut Encoder),
) -> Outcome<Decoder<'_>> {
    let credential = Credential::Sys(AuthSys::new(b"bench", 0, 0, &[]));
    let target = Target { program, version, procedure, credential };
    calls.call(target, arguments).await.map_err(|error| format!("call {program} {procedure}: {error:?}"))
}

fn failed(error: String) -> Error {
    Error::Io { doing: "load the server with clients".into(), source: io::Error::other(error) }
}
