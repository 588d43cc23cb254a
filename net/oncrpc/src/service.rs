//! Programs: what a service implements, and what is answered in its place.

use crate::auth::{AuthStat, Credential};
use crate::buffer::{Buffer, BufferPool, SMALL_BUFFER};
use crate::message::{
    AcceptStat, CallRefused, RpcVersions, parse_call, put_accepted, put_auth_error, put_rpc_mismatch,
};
use crate::record::mark;
use crate::server::ServerCounters;
use crate::server::replies::{Fate, Replies};
use crate::xdr::{DecodeError, Decoder, Encoder, Overflow};
use alloc::rc::Rc;
use core::net::{IpAddr, SocketAddr};

/// A program that a service answers for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    /// Program number.
    pub number: u32,
    /// Versions, ascending.
    pub versions: &'static [u32],
}

impl Program {
    fn range(&self) -> RpcVersions {
        RpcVersions {
            lowest: self.versions.first().copied().unwrap_or_default(),
            highest: self.versions.last().copied().unwrap_or_default(),
        }
    }
}

/// How a call arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A byte stream.
    Tcp,
    /// A datagram, and so must the reply fit one.
    Udp,
}

/// Where a call came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The client.
    pub peer: SocketAddr,
    /// Our address it called.
    pub local: IpAddr,
    /// How.
    pub transport: Transport,
}

/// A call of a program and version that the service answers for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where it came from.
    pub origin: Origin,
    /// The client's number for it.
    pub xid: u32,
    /// Program number.
    pub program: u32,
    /// Program version.
    pub version: u32,
    /// Procedure number; 0 is answered before the service is asked.
    pub procedure: u32,
    /// Who the client says it is.
    pub credential: Credential<'a>,
}

/// Why a call has no results. Everything written to the reply is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The version has no such procedure.
    ProcedureUnavailable,
    /// The arguments do not decode.
    GarbageArguments,
    /// The server failed, or the results do not fit.
    SystemError,
    /// The credential is not accepted for this call.
    Auth(AuthStat),
}

impl From<DecodeError> for Failure {
    fn from(_: DecodeError) -> Failure {
        Failure::GarbageArguments
    }
}

impl From<Overflow> for Failure {
    fn from(_: Overflow) -> Failure {
        Failure::SystemError
    }
}

/// What it would do to execute a call a second time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repetition {
    /// Nothing: the reply is the same, and so is everything else.
    Harmless,
    /// Nothing at once, but it would undo what its client did since. Such calls come in masses (WRITE): their replies
    /// do not take the places of others.
    Overwrites,
    /// It fails, or does something else.
    Wrong,
}

/// One or more programs behind a port.
pub trait Service: 'static {
    /// What it answers for.
    fn programs(&self) -> &[Program];

    /// What it would do to execute a call again when it comes again: its client did not get the reply, or the network
    /// delivered it twice. Unless that is harmless, the server keeps the reply (the duplicate request cache) and repeats
    /// it.
    fn repetition(&self, _call: &Call<'_>) -> Repetition {
        Repetition::Harmless
    }

    /// Executes a call other than procedure 0 and writes the results to `reply`.
    async fn call(&self, call: &Call<'_>, arguments: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure>;
}

/// The reply under construction: small until [`Reply::reserve`] asks for more.
#[derive(Debug)]
pub struct Reply {
    out: Encoder,
    /// The worker's own buffer, while a large one is in use.
    own: Option<Buffer>,
    pool: Rc<BufferPool>,
    growth: Growth,
}

/// Whether a reply may take a large buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Growth {
    Allowed,
    /// The call holds a large request: waiting for a second large buffer could block every worker for ever.
    Refused,
}

/// Bytes before the reply message: the record mark.
const MARK: usize = 4;

impl Reply {
    /// An empty reply.
    pub fn new(pool: Rc<BufferPool>) -> Reply {
        let out = Encoder::new(Buffer::unpooled(SMALL_BUFFER), MARK);
        Reply { out, own: None, pool, growth: Growth::Allowed }
    }

    /// Where the results go.
    pub fn results(&mut self) -> &mut Encoder {
        &mut self.out
    }

    /// Makes room for `len` more bytes of results, waiting for a buffer of the pool when they are many.
    /// Fails when no buffer is that large, and when the call holds another large buffer that it cannot give
    /// back: reserve once, before the results.
    pub async fn reserve(&mut self, len: usize) -> Result<(), Overflow> {
        let needed = self.out.position().saturating_add(len);
        if needed <= self.out.capacity() {
            return Ok(());
        }
        if self.growth == Growth::Refused {
            return Err(Overflow);
        }
        if self.own.as_ref().is_some_and(|own| self.out.position() > own.len()) {
            // It would have to be held while a larger one is waited for.
            return Err(Overflow);
        }
        self.give_back();
        let buffer = self.pool.acquire(needed).await.ok_or(Overflow)?;
        self.own = Some(self.out.move_to(buffer));
        Ok(())
    }

    /// The reply as one record, mark included.
    pub fn record(&mut self) -> &[u8] {
        let len = self.message().len();
        self.out.patch_u32(0, mark(len));
        self.out.written()
    }

    /// The reply as a datagram.
    pub fn message(&self) -> &[u8] {
        self.out.written().get(MARK..).unwrap_or_default()
    }

    /// A reply that was sent before, in place of what is here.
    fn repeat(&mut self, message: &[u8]) {
        self.reset();
        if let Some(place) = self.out.space(message.len()) {
            place.copy_from_slice(message);
            self.out.advance(message.len());
        }
    }

    /// Starts over. A large buffer goes back to the pool.
    pub fn reset(&mut self) {
        self.give_back();
        self.out.rewind(MARK);
    }

    /// Returns a large buffer. What was written beyond the worker's own one is lost.
    fn give_back(&mut self) {
        if let Some(own) = self.own.take() {
            drop(self.out.move_to(own));
        }
    }
}

/// What to do after [`answer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Send the reply.
    Send,
    /// The message was no call: drop the datagram, or close the connection.
    Drop,
    /// The reply will come without this repetition of the call.
    Ignore,
}

/// Executes one message and leaves the reply, results or refusal, in `reply`.
pub(crate) async fn answer<S: Service>(
    service: &S,
    origin: Origin,
    message: &[u8],
    reply: &mut Reply,
    counters: &ServerCounters,
    replies: &Replies,
) -> Outcome {
    reply.reset();
    let holds_large_buffer = origin.transport == Transport::Tcp && message.len() > SMALL_BUFFER;
    reply.growth = if holds_large_buffer { Growth::Refused } else { Growth::Allowed };
    let (header, arguments) = match parse_call(message) {
        Ok(parts) => parts,
        Err(refused) => {
            ServerCounters::count(&counters.malformed);
            let out = reply.results();
            match refused {
                CallRefused::NotACall => return Outcome::Drop,
                CallRefused::WrongRpcVersion { xid } => put_rpc_mismatch(out, xid),
                CallRefused::BadHeader { xid, auth: Some(status) } => put_auth_error(out, xid, status),
                CallRefused::BadHeader { xid, auth: None } => {
                    put_accepted(out, xid, AcceptStat::GarbageArguments)
                }
            }
            return Outcome::Send;
        }
    };
    ServerCounters::count(&counters.calls);
    let xid = header.xid;
    let refuse = |reply: &mut Reply, status| {
        ServerCounters::count(&counters.refused);
        reply.reset();
        put_accepted(reply.results(), xid, status);
        Outcome::Send
    };
    let Some(program) = service.programs().iter().find(|program| program.number == header.program) else {
        return refuse(reply, AcceptStat::ProgramUnavailable);
    };
    if !program.versions.contains(&header.version) {
        return refuse(reply, AcceptStat::ProgramMismatch(program.range()));
    }
    put_accepted(reply.results(), xid, AcceptStat::Success);
    if header.procedure == 0 {
        // NULL takes any credential and any arguments (RFC 5531 section 12.1 by convention).
        return Outcome::Send;
    }
    let mut promise = None;
    let result = match Credential::parse(header.flavor, header.credential) {
        Ok(credential) => {
            let call = Call {
                origin,
                xid,
                program: header.program,
                version: header.version,
                procedure: header.procedure,
                credential,
            };
            let replies = match service.repetition(&call) {
                Repetition::Harmless => None,
                Repetition::Overwrites => Some(&replies.overwriting),
                Repetition::Wrong => Some(&replies.wrong),
            };
            if let Some(replies) = replies {
                match replies.begin(&origin, xid, message, |kept| reply.repeat(kept)).await {
                    Fate::Execute(begun) => promise = Some(begun),
                    Fate::Repeat => return Outcome::Send,
                    Fate::Drop => return Outcome::Ignore,
                }
            }
            service.call(&call, arguments, reply).await
        }
        Err(status) => Err(Failure::Auth(status)),
    };
    let outcome = match result {
        Ok(()) if !reply.results().overflowed() => Outcome::Send,
        Ok(()) | Err(Failure::SystemError) => refuse(reply, AcceptStat::SystemError),
        Err(Failure::ProcedureUnavailable) => refuse(reply, AcceptStat::ProcedureUnavailable),
        Err(Failure::GarbageArguments) => refuse(reply, AcceptStat::GarbageArguments),
        Err(Failure::Auth(status)) => {
            ServerCounters::count(&counters.refused);
            reply.reset();
            put_auth_error(reply.results(), xid, status);
            Outcome::Send
        }
    };
    if let Some(promise) = promise {
        promise.keep(reply.message());
    }
    outcome
}
