//! The network lock manager, version 4, as a test speaks it (X/Open XNFS chapter 10; RFC 1813 appendix II): the synchronous
//! calls, results as they came.

use std::io;
use std::net::IpAddr;

use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use keelson_qemu::Endpoint;

use crate::rpc::{RpcClient, RpcError, tcp_port};

/// The program of the lock manager.
pub const NLM: u32 = 100_021;

/// `nlm4_stats`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Status {
    Granted,
    Denied,
    DeniedNoLocks,
    Blocked,
    DeniedGracePeriod,
    Deadlock,
    ReadOnly,
    StaleHandle,
    TooBig,
    Failed,
    /// None of the protocol's.
    Other(u32),
}

/// Whether a lock lasts, and what the server may do about one that was there before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// A lock as usual.
    New,
    /// One that was held before the server restarted.
    Reclaim,
}

/// A range to lock in a file: first byte and length, 0 for all that follows.
pub type Range = (u64, u64);

/// A lock owner at a host of the test, and its connection to a server's lock manager.
pub struct Nlm {
    rpc: RpcClient,
    /// Number of the owner at the client.
    pub owner: i32,
    cookie: u32,
}

impl Nlm {
    /// Connects to whatever port the server's port mapper names.
    pub fn connect(from: &Endpoint, server: IpAddr, owner: i32) -> io::Result<Nlm> {
        let port = tcp_port(from, server, NLM, 4)?;
        let rpc = RpcClient::tcp(from, (server, port).into()).map_err(io::Error::other)?;
        Ok(Nlm { rpc, owner, cookie: 0 })
    }

    /// LOCK for this owner alone, without waiting.
    pub fn lock(&mut self, file: &[u8], range: Range, claim: Claim) -> Result<Status, RpcError> {
        self.call(2, |nlm, out| {
            out.bool(false);
            out.bool(true);
            nlm.put_lock(out, file, range);
            out.bool(claim == Claim::Reclaim);
            // The client's NSM state: this host was never restarted.
            out.u32(1);
        })
    }

    /// UNLOCK.
    pub fn unlock(&mut self, file: &[u8], range: Range) -> Result<Status, RpcError> {
        self.call(4, |nlm, out| nlm.put_lock(out, file, range))
    }

    fn call(
        &mut self,
        procedure: u32,
        arguments: impl FnOnce(&Caller, &mut Encoder),
    ) -> Result<Status, RpcError> {
        self.cookie += 1;
        let cookie = self.cookie.to_be_bytes();
        let caller = Caller { owner: self.owner };
        let reply = self.rpc.call([NLM, 4, procedure], |out| {
            out.opaque(&cookie);
            arguments(&caller, out);
        })?;
        parse(reply, &cookie).map_err(|error| RpcError::Malformed(format!("{error:?} in {reply:02x?}")))
    }
}

/// Who asks.
struct Caller {
    owner: i32,
}

impl Caller {
    /// `nlm4_lock`.
    fn put_lock(&self, out: &mut Encoder, file: &[u8], (start, length): Range) {
        out.opaque(b"host");
        out.opaque(file);
        out.opaque(format!("{}@host", self.owner).as_bytes());
        out.u32(self.owner as u32);
        out.u64(start);
        out.u64(length);
    }
}

fn parse(reply: &[u8], cookie: &[u8]) -> Result<Status, DecodeError> {
    let mut input = Decoder::new(reply);
    assert_eq!(input.opaque(1024)?, cookie, "the answer is to another question");
    Ok(match input.u32()? {
        0 => Status::Granted,
        1 => Status::Denied,
        2 => Status::DeniedNoLocks,
        3 => Status::Blocked,
        4 => Status::DeniedGracePeriod,
        5 => Status::Deadlock,
        6 => Status::ReadOnly,
        7 => Status::StaleHandle,
        8 => Status::TooBig,
        9 => Status::Failed,
        other => Status::Other(other),
    })
}
