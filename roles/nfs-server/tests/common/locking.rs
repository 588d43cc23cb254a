//! Clients that lock: their requests byte for byte, and hosts that answer what the server calls them for.

use super::{Args, Client, Results, SERVER, World};
use keelson_exec::Handle;
use keelson_nfs_server::{NLM_PROGRAM, NSM_PROGRAM};
use keelson_oncrpc::client::{CallError, DatagramClient, Target};
use keelson_oncrpc::memory::{MemoryHost, MemoryNetwork};
use keelson_oncrpc::{
    AuthSys, Call, Credential, Decoder, Failure, Program, Reply, RpcNetwork, RpcServer, ServerOptions,
    Service,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

pub const GRANTED: u32 = 0;
pub const DENIED: u32 = 1;
pub const DENIED_NOLOCKS: u32 = 2;
pub const BLOCKED: u32 = 3;
pub const DENIED_GRACE_PERIOD: u32 = 4;
pub const DEADLCK: u32 = 5;
pub const STALE_FH: u32 = 7;
pub const NLM_FBIG: u32 = 8;
pub const FAILED: u32 = 9;

pub const NLM_PORT: u16 = 32_803;
pub const STATD_PORT: u16 = 32_765;
/// Where hosts have their lock manager and their status monitor.
const HOST_LOCKD: u16 = 4001;
const HOST_STATD: u16 = 4002;

const UDP: u32 = 17;
const TCP: u32 = 6;

/// A request for a lock.
#[derive(Clone, Debug)]
pub struct Want {
    pub cookie: Vec<u8>,
    pub caller: Vec<u8>,
    pub file: Vec<u8>,
    pub owner: Vec<u8>,
    pub svid: u32,
    pub offset: u64,
    pub length: u64,
    pub exclusive: bool,
    pub block: bool,
    pub reclaim: bool,
    pub state: u32,
}

impl Want {
    /// The first ten bytes of a file, for writing, without waiting.
    pub fn of(file: &[u8], svid: u32) -> Want {
        Want {
            cookie: vec![1, 2, 3, svid as u8],
            caller: b"client".to_vec(),
            file: file.to_vec(),
            owner: format!("{svid}@client").into_bytes(),
            svid,
            offset: 0,
            length: 10,
            exclusive: true,
            block: false,
            reclaim: false,
            state: 1,
        }
    }

    pub fn range(self, offset: u64, length: u64) -> Want {
        Want { offset, length, ..self }
    }

    pub fn shared(self) -> Want {
        Want { exclusive: false, ..self }
    }

    pub fn blocking(self) -> Want {
        Want { block: true, ..self }
    }

    pub fn reclaim(self) -> Want {
        Want { reclaim: true, ..self }
    }

    pub fn state(self, state: u32) -> Want {
        Want { state, ..self }
    }

    /// `nlm_lock` or `nlm4_lock`.
    pub fn lock(&self, version: u32, args: Args) -> Args {
        let args = args.opaque(&self.caller).opaque(&self.file).opaque(&self.owner).u32(self.svid);
        match version {
            4 => args.u64(self.offset).u64(self.length),
            _ => args.u32(self.offset as u32).u32(self.length as u32),
        }
    }

    /// The arguments of a procedure: 1 to 4, their message forms, or NM_LOCK.
    pub fn args(&self, version: u32, procedure: u32) -> Args {
        let args = Args::default().opaque(&self.cookie);
        let bit = |args: Args, bit: bool| args.u32(bit.into());
        match procedure {
            1 | 5 | 6 | 10 => self.lock(version, bit(args, self.exclusive)),
            2 | 7 | 22 => {
                let args = bit(bit(args, self.block), self.exclusive);
                bit(self.lock(version, args), self.reclaim).u32(self.state)
            }
            3 | 8 => self.lock(version, bit(bit(args, self.block), self.exclusive)),
            4 | 9 => self.lock(version, args),
            other => panic!("no arguments for procedure {other}"),
        }
    }
}

/// Who is in the way, as TEST says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    pub exclusive: bool,
    pub svid: u32,
    pub owner: Vec<u8>,
    pub offset: u64,
    pub length: u64,
}

impl Client<'_> {
    pub fn nlm_call(&self, version: u32, procedure: u32, args: Args) -> Result<Results, CallError> {
        let client = Client { port: NLM_PORT, ..self.clone() };
        client.call([NLM_PROGRAM, version, procedure], args)
    }

    /// LOCK (2), CANCEL (3), UNLOCK (4) or NM_LOCK (22) of a version; the status.
    pub fn nlm(&self, version: u32, procedure: u32, want: &Want) -> u32 {
        let mut results = self.nlm_call(version, procedure, want.args(version, procedure)).expect("results");
        assert_eq!(results.opaque(), want.cookie);
        let status = results.u32();
        results.end();
        status
    }

    pub fn lock(&self, want: &Want) -> u32 {
        self.nlm(4, 2, want)
    }

    pub fn cancel(&self, want: &Want) -> u32 {
        self.nlm(4, 3, want)
    }

    pub fn unlock(&self, want: &Want) -> u32 {
        self.nlm(4, 4, want)
    }

    pub fn test(&self, version: u32, want: &Want) -> Result<Option<Holder>, u32> {
        let mut results = self.nlm_call(version, 1, want.args(version, 1)).expect("results");
        assert_eq!(results.opaque(), want.cookie);
        let found = test_result(version, &mut results);
        results.end();
        found
    }

    /// SHARE (20) or UNSHARE (21): the status.
    pub fn share(&self, procedure: u32, file: &[u8], owner: &str, deny: u32, access: u32) -> u32 {
        let args = Args::default().opaque("cookie").opaque("pc").opaque(file).opaque(owner);
        let args = args.u32(deny).u32(access).u32(0);
        let mut results = self.nlm_call(3, procedure, args).expect("results");
        assert_eq!(results.opaque(), b"cookie");
        let status = results.u32();
        assert_eq!(results.u32(), 0, "sequence");
        results.end();
        status
    }

    pub fn free_all(&self) {
        let args = Args::default().opaque("client").u32(3);
        self.nlm_call(4, 23, args).expect("results").end();
    }

    pub fn statd(&self, procedure: u32, args: Args) -> Result<Results, CallError> {
        let client = Client { port: STATD_PORT, ..self.clone() };
        client.call([NSM_PROGRAM, 1, procedure], args)
    }

    pub fn notify(&self, name: &str, state: u32) {
        self.statd(6, Args::default().opaque(name).u32(state)).expect("results").end();
    }

    /// The server's state number.
    pub fn server_state(&self) -> u32 {
        let mut results = self.statd(1, Args::default().opaque("10.0.0.2")).expect("results");
        assert_eq!(results.u32(), 0, "STAT_SUCC");
        results.u32()
    }

    /// A new file that anybody may lock.
    pub fn file(&self, name: &str) -> Vec<u8> {
        let root = self.mount("/").expect("mounted");
        self.make(8, &root, name, Args::default().u32(0).sattr(Some(0o666), None)).expect("made").0
    }
}

/// The results of TEST behind the cookie.
pub fn test_result(version: u32, results: &mut Results) -> Result<Option<Holder>, u32> {
    match results.u32() {
        GRANTED => Ok(None),
        DENIED => {
            let (exclusive, svid, owner) = (results.bool(), results.u32(), results.opaque());
            let (offset, length) = match version {
                4 => (results.u64(), results.u64()),
                _ => (results.u32().into(), results.u32().into()),
            };
            Ok(Some(Holder { exclusive, svid, owner, offset, length }))
        }
        status => Err(status),
    }
}

/// What a host does with GRANTED_MSG.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lockd {
    /// Takes the lock.
    Takes,
    /// Answers this status in GRANTED_RES.
    Answers(u32),
    /// Replies, and sends no GRANTED_RES.
    Forgets,
    /// Does not even reply.
    Silent,
    /// Knows no message form; takes the lock in the reply to GRANTED.
    SynchronousOnly,
}

/// A call that a host received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Milliseconds of virtual time.
    pub at: u64,
    pub from: SocketAddr,
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub args: Vec<u8>,
}

/// A host with rpcbind, a lock manager and a status monitor.
#[derive(Clone)]
pub struct Host {
    parts: Rc<Parts>,
    rpc: Rc<RpcServer>,
}

struct Parts {
    handle: Handle,
    network: Rc<MemoryNetwork>,
    address: IpAddr,
    lockd: Cell<Lockd>,
    /// rpcbind's list; none: it is silent.
    ports: RefCell<Option<BTreeMap<(u32, u32), u16>>>,
    heard: RefCell<Vec<Heard>>,
}

impl Host {
    pub fn new(world: &World, address: &str, lockd: Lockd) -> Host {
        let handle = world.executor.handle();
        let address: IpAddr = address.parse().expect("an address");
        let everywhere = [(NLM_PROGRAM, HOST_LOCKD), (NSM_PROGRAM, HOST_STATD)];
        let ports = everywhere
            .into_iter()
            .flat_map(|(program, port)| [((program, UDP), port), ((program, TCP), port)])
            .collect();
        let parts = Rc::new(Parts {
            handle: handle.clone(),
            network: world.network.clone(),
            address,
            lockd: Cell::new(lockd),
            ports: RefCell::new(Some(ports)),
            heard: RefCell::default(),
        });
        let rpc = Rc::new(RpcServer::new(
            handle,
            // Each silent call takes one for ever.
            ServerOptions { calls_per_socket: 64, ..ServerOptions::default() },
        ));
        for port in [111, HOST_LOCKD, HOST_STATD] {
            let at = SocketAddr::new(address, port);
            let service = || Rc::new(HostService(parts.clone()));
            rpc.serve_datagrams(world.network.bind(at), service());
            rpc.serve_listener(world.network.listen(at), service());
        }
        Host { parts, rpc }
    }

    pub fn lockd(&self, lockd: Lockd) {
        self.parts.lockd.set(lockd);
    }

    /// rpcbind does not know a program over a protocol any more.
    pub fn unregister(&self, program: u32, protocol: u32) {
        if let Some(ports) = self.parts.ports.borrow_mut().as_mut() {
            ports.remove(&(program, protocol));
        }
    }

    /// rpcbind is silent from now on.
    pub fn unplug(&self) {
        self.parts.ports.replace(None);
        for port in [111, HOST_LOCKD, HOST_STATD] {
            self.parts.network.close(SocketAddr::new(self.parts.address, port));
        }
        self.lockd(Lockd::Silent);
    }

    /// What was heard of a program and procedure.
    pub fn heard(&self, program: u32, procedure: u32) -> Vec<Heard> {
        let heard = self.parts.heard.borrow();
        heard.iter().filter(|call| (call.program, call.procedure) == (program, procedure)).cloned().collect()
    }

    /// The GRANTED_MSGs it got.
    pub fn callbacks(&self) -> Vec<Heard> {
        self.heard(NLM_PROGRAM, 10)
    }

    /// The seconds at which it was called back, from `since` on (in milliseconds).
    pub fn called_at(&self, since: u64) -> Vec<u64> {
        self.callbacks().iter().map(|call| (call.at - since) / 1000).collect()
    }
}

struct HostService(Rc<Parts>);

impl Service for HostService {
    fn programs(&self) -> &[Program] {
        &[
            Program { number: 100_000, versions: &[2, 4] },
            Program { number: NLM_PROGRAM, versions: &[1, 3, 4] },
            Program { number: NSM_PROGRAM, versions: &[1] },
        ]
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        let parts = &self.0;
        parts.heard.borrow_mut().push(Heard {
            at: parts.handle.now().as_millis(),
            from: call.origin.peer,
            program: call.program,
            version: call.version,
            procedure: call.procedure,
            args: input.remaining().to_vec(),
        });
        match (call.program, call.procedure) {
            (100_000, 3) if call.version == 4 => {
                let (program, _version, net_id) = (input.u32()?, input.u32()?, input.opaque(64)?);
                let protocol = if net_id == b"udp6" { UDP } else { TCP };
                let ports = parts.ports.borrow();
                let port = ports.as_ref().and_then(|ports| ports.get(&(program, protocol)).copied());
                let text = port.map(|port| format!("{}.{}.{}", parts.address, port >> 8, port & 255));
                reply.results().opaque(text.unwrap_or_default().as_bytes());
            }
            (100_000, 3) => {
                let (program, _version, protocol) = (input.u32()?, input.u32()?, input.u32()?);
                let port =
                    parts.ports.borrow().as_ref().map(|ports| ports.get(&(program, protocol)).copied());
                match port {
                    Some(port) => reply.results().u32(port.unwrap_or(0).into()),
                    None => silence(&parts.handle).await,
                }
            }
            (NLM_PROGRAM, 10) => match parts.lockd.get() {
                Lockd::Takes => answer(parts, call, input.opaque(1024)?, GRANTED),
                Lockd::Answers(status) => answer(parts, call, input.opaque(1024)?, status),
                Lockd::Forgets => {}
                Lockd::Silent => silence(&parts.handle).await,
                Lockd::SynchronousOnly => return Err(Failure::ProcedureUnavailable),
            },
            (NLM_PROGRAM, 5) => {
                let cookie = input.opaque(1024)?;
                reply.results().opaque(cookie);
                reply.results().u32(GRANTED);
            }
            (NLM_PROGRAM, 11..=15) => {}
            (NSM_PROGRAM, 6) => {}
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

/// The call is lost.
async fn silence(handle: &Handle) {
    handle.sleep(Duration::from_secs(1_000_000)).await;
}

/// Sends GRANTED_RES to where the callback came from.
fn answer(parts: &Rc<Parts>, call: &Call<'_>, cookie: &[u8], status: u32) {
    let (handle, version, cookie) = (parts.handle.clone(), call.version, cookie.to_vec());
    let host = MemoryHost { network: parts.network.clone(), address: parts.address };
    let server = SocketAddr::new(call.origin.peer.ip(), NLM_PORT);
    parts.handle.spawn("granted-res", async move {
        let socket = host.bind_reserved().expect("a port");
        let mut client = DatagramClient::new(handle, socket, server, 2048, 9);
        let credential = Credential::Sys(AuthSys::new(b"client", 0, 0, &[]));
        let target = Target { program: NLM_PROGRAM, version, procedure: 15, credential };
        let called = client.call(target, Duration::from_secs(5), |out| {
            out.opaque(&cookie);
            out.u32(status);
        });
        called.await.expect("GRANTED_RES is answered");
    });
}

/// The server's address, with a port.
pub fn server_at(port: u16) -> SocketAddr {
    SocketAddr::new(SERVER.parse().expect("an address"), port)
}
