//! Clients: one call at a time over a connection, or over datagrams with retransmission; and many calls at
//! once over one socket.
//!
//! The first two keep their buffers from call to call and are made for callbacks (NLM, NSM) and for test benches, not
//! for bulk transfer.

mod shared;

pub use shared::{Patience, SharedDatagramClient};

use crate::auth::Credential;
use crate::buffer::{Buffer, BufferPool};
use crate::message::{ReplyError, parse_reply, put_call};
use crate::record::{RecordReader, mark};
use crate::transport::{RpcDatagram, RpcDatagrams};
use crate::xdr::{Decoder, Encoder};
use alloc::rc::Rc;
use core::net::SocketAddr;
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_exec::{Either, Handle, select};

/// What to call, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Program number.
    pub program: u32,
    /// Program version.
    pub version: u32,
    /// Procedure number.
    pub procedure: u32,
    /// The caller's identity.
    pub credential: Credential<'a>,
}

/// Why a call brought no results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The arguments are longer than the client's buffer.
    ArgumentsTooLong,
    /// The connection ended or failed.
    Disconnected,
    /// No reply in time.
    TimedOut,
    /// The server answered without results.
    Refused(ReplyError),
}

/// Time to the first retransmission of a datagram; doubled for each one after.
const FIRST_RETRY: Duration = Duration::from_millis(1000);

/// Calls over a TCP connection.
pub struct StreamClient<R, W> {
    reader: R,
    writer: W,
    record: RecordReader,
    out: Encoder,
    xid: u32,
}

impl<R: Read, W: Write> StreamClient<R, W> {
    /// A client on a connection. Arguments and results have at most `largest` bytes; `xid` is the number of
    /// the first call.
    pub fn new(reader: R, writer: W, largest: usize, xid: u32) -> StreamClient<R, W> {
        let limit = largest.saturating_add(1024);
        let pool: Rc<BufferPool> = BufferPool::new(0, limit);
        StreamClient {
            reader,
            writer,
            record: RecordReader::new(pool, limit),
            out: Encoder::new(Buffer::unpooled(limit), 4),
            xid,
        }
    }

    /// Calls and waits for the results, as long as the connection lasts.
    pub async fn call(
        &mut self,
        target: Target<'_>,
        arguments: impl FnOnce(&mut Encoder),
    ) -> Result<Decoder<'_>, CallError> {
        let xid = self.xid;
        self.xid = xid.wrapping_add(1);
        put_arguments(&mut self.out, xid, target, arguments)?;
        self.out.patch_u32(0, mark(self.out.position() - 4));
        let mut rest = self.out.written();
        while !rest.is_empty() {
            match self.writer.write(rest).await {
                Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                _ => return Err(CallError::Disconnected),
            }
        }
        loop {
            self.record.read(&mut self.reader, |_| ()).await.map_err(|_| CallError::Disconnected)?;
            if matches!(parse_reply(self.record.record()), Ok((found, _)) if found == xid) {
                break;
            }
        }
        results(self.record.record())
    }
}

/// Calls over UDP.
pub struct DatagramClient<D> {
    handle: Handle,
    socket: D,
    server: SocketAddr,
    out: Encoder,
    reply: Option<RpcDatagram>,
    xid: u32,
}

impl<D: RpcDatagrams> DatagramClient<D> {
    /// A client of one server. Arguments have at most `largest` bytes; `xid` is the number of the first
    /// call and should be random, so that replies of an earlier life are not taken for this one's.
    pub fn new(handle: Handle, socket: D, server: SocketAddr, largest: usize, xid: u32) -> DatagramClient<D> {
        let out = Encoder::new(Buffer::unpooled(largest.saturating_add(1024)), 4);
        DatagramClient { handle, socket, server, out, reply: None, xid }
    }

    /// Calls, repeating the same message after 1, 2, 4, ... seconds until a reply comes or `patience` is over.
    pub async fn call(
        &mut self,
        target: Target<'_>,
        patience: Duration,
        arguments: impl FnOnce(&mut Encoder),
    ) -> Result<Decoder<'_>, CallError> {
        let xid = self.xid;
        self.xid = xid.wrapping_add(1);
        put_arguments(&mut self.out, xid, target, arguments)?;
        let deadline = self.handle.now() + patience;
        let mut wait = FIRST_RETRY;
        while self.handle.now() < deadline {
            let message = self.out.written().get(4..).unwrap_or_default();
            self.socket.send(None, self.server, message).await;
            let retry = (self.handle.now() + wait).min(deadline);
            wait *= 2;
            match select(self.receive(xid), self.handle.sleep_until(retry)).await {
                Either::First(Some(reply)) => {
                    let reply = self.reply.insert(reply);
                    return results(&reply.payload);
                }
                Either::First(None) => return Err(CallError::Disconnected),
                Either::Second(()) => {}
            }
        }
        Err(CallError::TimedOut)
    }

    /// The reply to `xid` from the server; everything else is ignored.
    async fn receive(&self, xid: u32) -> Option<RpcDatagram> {
        loop {
            let datagram = self.socket.receive().await?;
            let found = parse_reply(&datagram.payload).map(|(found, _)| found);
            if datagram.peer == self.server && found == Ok(xid) {
                return Some(datagram);
            }
        }
    }
}

fn put_arguments(
    out: &mut Encoder,
    xid: u32,
    target: Target<'_>,
    arguments: impl FnOnce(&mut Encoder),
) -> Result<(), CallError> {
    out.rewind(4);
    put_call(out, xid, [target.program, target.version, target.procedure], &target.credential);
    arguments(out);
    if out.overflowed() { Err(CallError::ArgumentsTooLong) } else { Ok(()) }
}

fn results(record: &[u8]) -> Result<Decoder<'_>, CallError> {
    match parse_reply(record) {
        Ok((_, body)) => body.map_err(CallError::Refused),
        Err(error) => Err(CallError::Refused(ReplyError::Malformed(error))),
    }
}
