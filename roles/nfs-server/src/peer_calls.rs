//! Calls to programs on clients: their lock managers and status monitors.
//!
//! The client's rpcbind says where the program is; the answer is remembered for a while. UDP is tried first,
//! since it costs no connection; a client that has the program on TCP only is called there, and one that does
//! not answer on one transport is tried on the other next time. Calls leave from the address that the client
//! knows us by, and from a port below 1024.

use crate::rpcbind::{RPCBIND_PROGRAM, parse_universal};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::time::Duration;
use keelson_exec::{Handle, TaskHandle};
use keelson_hal::Instant;
use keelson_oncrpc::client::{CallError, Patience, SharedDatagramClient, StreamClient, Target};
use keelson_oncrpc::{
    AcceptStat, AuthSys, Buffer, Credential, Decoder, Encoder, ReplyError, RpcListener, RpcNetwork, RpcStream,
};

/// The well-known port of rpcbind.
const RPCBIND_PORT: u16 = 111;
/// GETPORT of version 2, which every host has for IPv4, and GETADDR of version 4, the only one for IPv6.
const GETPORT: u32 = 3;
const GETADDR: u32 = 3;
/// Longest universal address: an IPv6 address and a port.
const MAX_UNIVERSAL: usize = 64;

/// Programs of clients whose ports are remembered.
const MAX_PORTS: usize = 4096;
/// How long a port is believed: a client that restarts has others.
const PORT_LIFE: Duration = Duration::from_secs(60);

/// Longest results: those of GRANTED, the only ones with content, have a cookie and a status.
const MAX_RESULTS: usize = 2048;

/// A call to a client.
#[derive(Clone, Debug)]
pub(crate) struct PeerCall {
    /// The client.
    pub peer: IpAddr,
    /// Our address that it knows.
    pub local: IpAddr,
    /// Program, version, procedure.
    pub target: [u32; 3],
    /// Encoded.
    pub arguments: Vec<u8>,
    /// For the call and for asking where the program is, each.
    pub patience: Patience,
    /// What to do with a transport that brought no answer.
    pub silence: Silence,
}

/// What silence of a client on one transport means for the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Silence {
    /// It may be heard on the other one.
    Switch,
    /// It is not up: UDP stays the first to try, which costs a client that is not there nothing.
    Stay,
}

/// Why a call to a client brought no results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerCallError {
    /// Its rpcbind did not answer. The call was not sent.
    NoRpcbind,
    /// Its rpcbind does not know the program. The call was not sent.
    NotRegistered,
    /// It did not accept a connection. The call was not sent.
    NotConnected,
    /// It did not answer. It may have executed the call.
    NoReply,
    /// It has no such procedure. It did not execute the call.
    NoProcedure,
    /// It refused the call, and did not execute it.
    Refused,
}

impl PeerCallError {
    /// The client cannot have seen the call.
    pub fn was_not_executed(self) -> bool {
        self != PeerCallError::NoReply
    }

    /// What to say of it.
    pub fn reason(self) -> &'static str {
        match self {
            PeerCallError::NoRpcbind => "its rpcbind (port 111) does not answer",
            PeerCallError::NotRegistered => "its rpcbind does not know the program",
            PeerCallError::NotConnected => "it does not accept connections",
            PeerCallError::NoReply => "it does not answer",
            PeerCallError::NoProcedure => "it does not have the procedure",
            PeerCallError::Refused => "it refuses the call",
        }
    }
}

/// Results of a call, still encoded.
pub(crate) type Called<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, PeerCallError>> + 'a>>;

/// Calls clients, whatever the network is.
pub(crate) trait PeerCalls {
    /// Finds the program and calls it.
    fn call(&self, call: PeerCall) -> Called<'_>;
}

/// What happened to calls.
#[derive(Clone, Default, Debug)]
pub struct PeerCallCounters {
    /// Calls tried.
    pub calls: Cell<u64>,
    /// Calls without results.
    pub failed: Cell<u64>,
    /// Questions to clients' rpcbinds.
    pub lookups: Cell<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Via {
    Udp,
    Tcp,
}

impl Via {
    fn other(self) -> Via {
        match self {
            Via::Udp => Via::Tcp,
            Via::Tcp => Via::Udp,
        }
    }

    /// The IP protocol's number.
    fn protocol(self) -> u32 {
        match self {
            Via::Udp => 17,
            Via::Tcp => 6,
        }
    }

    /// Its name for IPv6 (RFC 5665 section 4).
    fn net_id(self) -> &'static str {
        match self {
            Via::Udp => "udp6",
            Via::Tcp => "tcp6",
        }
    }
}

/// What is known of a program of a client.
#[derive(Clone, Copy)]
struct Place {
    /// The transport to use.
    via: Via,
    /// Its port there, while it is believed.
    port: Option<(u16, Instant)>,
}

/// A client, and a program and version of it.
type Program = (IpAddr, u32, u32);

/// Calls over an [`RpcNetwork`].
pub(crate) struct PeerCaller<T: RpcNetwork> {
    handle: Handle,
    network: Rc<T>,
    datagrams: Rc<SharedDatagramClient<T::Datagrams>>,
    receiver: TaskHandle,
    places: RefCell<BTreeMap<Program, Place>>,
    next_xid: Cell<u32>,
    counters: Rc<PeerCallCounters>,
}

impl<T: RpcNetwork + 'static> PeerCaller<T> {
    /// A caller with a socket of its own; `None` when there is no port. `xid` should be random.
    pub fn new(
        handle: Handle,
        network: Rc<T>,
        xid: u32,
        counters: Rc<PeerCallCounters>,
    ) -> Option<PeerCaller<T>> {
        let socket = network.bind_reserved()?;
        let datagrams = Rc::new(SharedDatagramClient::new(handle.clone(), socket, xid));
        let receiving = datagrams.clone();
        let receiver = handle.spawn("nfs-peer-replies", async move { receiving.receive().await });
        let next_xid = Cell::new(xid);
        Some(PeerCaller {
            handle,
            network,
            datagrams,
            receiver,
            places: RefCell::default(),
            next_xid,
            counters,
        })
    }

    async fn find_and_call(&self, call: &PeerCall) -> Result<Vec<u8>, PeerCallError> {
        let program = (call.peer, call.target[0], call.target[1]);
        let (via, port) = self.place(program, call).await?;
        let result =
            self.call_at(via, port, call.local, call.peer, call.target, call.patience, &call.arguments);
        let result = result.await;
        match result {
            Ok(_) | Err(PeerCallError::NoProcedure) => {}
            Err(_) => self.forget(program, via, call.silence),
        }
        result
    }

    /// Where the program is.
    async fn place(&self, program: Program, call: &PeerCall) -> Result<(Via, u16), PeerCallError> {
        let known = self.places.borrow().get(&program).copied();
        let now = self.handle.now();
        if let Some(Place { via, port: Some((port, until)) }) = known
            && now < until
        {
            return Ok((via, port));
        }
        let first = known.map_or(Via::Udp, |place| place.via);
        let mut via = first;
        loop {
            let port = match self.ask_rpcbind(via, call).await {
                Ok(port) => port,
                Err(error) => {
                    self.forget(program, first, call.silence);
                    return Err(error);
                }
            };
            if port != 0 {
                let until = self.handle.now() + PORT_LIFE;
                self.remember(program, Place { via, port: Some((port, until)) });
                return Ok((via, port));
            }
            via = via.other();
            if via == first {
                return Err(PeerCallError::NotRegistered);
            }
        }
    }

    async fn ask_rpcbind(&self, via: Via, call: &PeerCall) -> Result<u16, PeerCallError> {
        self.counters.lookups.set(self.counters.lookups.get() + 1);
        let question = if call.peer.is_ipv4() { getport(call, via) } else { getaddr(call, via) };
        let (target, arguments) = question;
        let asked = self.call_at(via, RPCBIND_PORT, call.local, call.peer, target, call.patience, &arguments);
        let results = asked.await.map_err(|_| PeerCallError::NoRpcbind)?;
        let mut input = Decoder::new(&results);
        if call.peer.is_ipv4() {
            let port = input.u32().map_err(|_| PeerCallError::NoRpcbind)?;
            return u16::try_from(port).map_err(|_| PeerCallError::NotRegistered);
        }
        let address = input.opaque(MAX_UNIVERSAL).map_err(|_| PeerCallError::NoRpcbind)?;
        Ok(parse_universal(address).map_or(0, |(_, port)| port))
    }

    #[allow(clippy::too_many_arguments)] // They are all of a call, and there are two callers.
    async fn call_at(
        &self,
        via: Via,
        port: u16,
        local: IpAddr,
        peer: IpAddr,
        [program, version, procedure]: [u32; 3],
        patience: Patience,
        arguments: &[u8],
    ) -> Result<Vec<u8>, PeerCallError> {
        let credential = match program {
            RPCBIND_PROGRAM => Credential::None,
            _ => Credential::Sys(AuthSys::new(b"keelson", 0, 0, &[])),
        };
        let target = Target { program, version, procedure, credential };
        let peer = SocketAddr::new(peer, port);
        let result = match via {
            Via::Udp => self.datagrams.call(Some(local), peer, target, patience, arguments).await,
            Via::Tcp => self.call_stream(local, peer, target, patience, arguments).await?,
        };
        result.map_err(|error| match error {
            CallError::Refused(ReplyError::Accepted(AcceptStat::ProcedureUnavailable)) => {
                PeerCallError::NoProcedure
            }
            // Results that do not decode are results of a call that was executed.
            CallError::Refused(ReplyError::Malformed(_)) => PeerCallError::NoReply,
            CallError::Refused(_) | CallError::ArgumentsTooLong => PeerCallError::Refused,
            CallError::Disconnected | CallError::TimedOut => PeerCallError::NoReply,
        })
    }

    /// One call on a connection of its own: callbacks to a client are rare.
    async fn call_stream(
        &self,
        local: IpAddr,
        peer: SocketAddr,
        target: Target<'_>,
        patience: Patience,
        arguments: &[u8],
    ) -> Result<Result<Vec<u8>, CallError>, PeerCallError> {
        let connect = self.network.connect(Some(local), peer);
        let connected = self.handle.timeout(patience.total, connect).await;
        let Ok(Some(stream)): Result<Option<<T::Listener as RpcListener>::Stream>, _> = connected else {
            return Err(PeerCallError::NotConnected);
        };
        let (reader, writer) = stream.split();
        let xid = self.next_xid.get();
        self.next_xid.set(xid.wrapping_add(1));
        let mut client = StreamClient::new(reader, writer, MAX_RESULTS.max(arguments.len()), xid);
        let call = async {
            let results = client.call(target, |out| out.fixed(arguments)).await;
            results.map(|results| results.remaining().to_vec())
        };
        Ok(self.handle.timeout(patience.total, call).await.unwrap_or(Err(CallError::TimedOut)))
    }

    fn remember(&self, program: Program, place: Place) {
        let mut places = self.places.borrow_mut();
        if places.len() >= MAX_PORTS && !places.contains_key(&program) {
            places.clear();
        }
        places.insert(program, place);
    }

    /// Asks again next time.
    fn forget(&self, program: Program, failed: Via, silence: Silence) {
        let via = match silence {
            Silence::Switch => failed.other(),
            Silence::Stay => Via::Udp,
        };
        self.remember(program, Place { via, port: None });
    }
}

/// Where a program is, of an IPv4 host.
fn getport(call: &PeerCall, via: Via) -> ([u32; 3], Vec<u8>) {
    let words = [call.target[0], call.target[1], via.protocol(), 0];
    ([RPCBIND_PROGRAM, 2, GETPORT], words.into_iter().flat_map(u32::to_be_bytes).collect())
}

/// Where a program is, of an IPv6 host (RFC 1833 section 2.2).
fn getaddr(call: &PeerCall, via: Via) -> ([u32; 3], Vec<u8>) {
    let mut out = Encoder::new(Buffer::unpooled(64), 0);
    out.u32(call.target[0]);
    out.u32(call.target[1]);
    out.opaque(via.net_id().as_bytes());
    // Address and owner: not ours to say.
    out.opaque(b"");
    out.opaque(b"");
    ([RPCBIND_PROGRAM, 4, GETADDR], out.written().to_vec())
}

impl<T: RpcNetwork + 'static> PeerCalls for PeerCaller<T> {
    fn call(&self, call: PeerCall) -> Called<'_> {
        Box::pin(async move {
            self.counters.calls.set(self.counters.calls.get() + 1);
            let result = self.find_and_call(&call).await;
            if result.is_err() {
                self.counters.failed.set(self.counters.failed.get() + 1);
            }
            result
        })
    }
}

impl<T: RpcNetwork> Drop for PeerCaller<T> {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}
