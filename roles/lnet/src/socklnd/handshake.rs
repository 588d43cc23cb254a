//! Reading and writing what comes before the first message, within limits of time.

use crate::lnd::LndNi;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_lnet_wire::LUSTRE_PID;
use keelson_lnet_wire::acceptor::{Refused, Request, RequestDecoder};
use keelson_lnet_wire::hello::{ConnType, Hello, HelloDecoder, HelloError, Received, Version};
use keelson_lnet_wire::nid::ProcessId;
use keelson_net::{TcpError, TcpStream};

/// Decoders that say how much they need, and take no more.
pub(super) trait Decoder: Default {
    type Value;
    type Error;
    fn need(&self) -> usize;
    fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Self::Value>, Self::Error>;
}

macro_rules! decoder {
    ($name:ident, $value:ident, $error:ident) => {
        impl Decoder for $name {
            type Value = $value;
            type Error = $error;

            fn need(&self) -> usize {
                $name::need(self)
            }

            fn feed(&mut self, input: &mut &[u8]) -> Result<Option<$value>, $error> {
                $name::feed(self, input)
            }
        }
    };
}
decoder!(RequestDecoder, Request, Refused);
decoder!(HelloDecoder, Received, HelloError);

/// Why nothing was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread<E> {
    /// Bytes failed to come for as long as a step may take.
    Silent,
    /// The peer closed or reset.
    Closed,
    /// What came is not what it should be.
    Malformed(E),
}

/// Reads one request or HELLO. Each step (magic, version, the rest) may take `limit` in all, however the peer
/// deals out the bytes.
pub(super) async fn read<D: Decoder>(
    handle: &Handle,
    stream: &TcpStream,
    limit: Duration,
) -> Result<D::Value, Unread<D::Error>> {
    let mut decoder = D::default();
    loop {
        match handle.timeout(limit, step(stream, &mut decoder)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Unread::Silent),
        }
    }
}

/// Reads what the decoder needs now.
async fn step<D: Decoder>(stream: &TcpStream, decoder: &mut D) -> Result<Option<D::Value>, Unread<D::Error>> {
    let mut left = decoder.need();
    loop {
        let take = |bytes: &mut [u8]| {
            let len = bytes.len().min(left);
            left -= len;
            (len, decoder.feed(&mut &bytes[..len]))
        };
        match stream.read_with(take).await {
            Ok(Some(Ok(None))) if left > 0 => {}
            Ok(Some(result)) => return result.map_err(Unread::Malformed),
            Ok(None) | Err(_) => return Err(Unread::Closed),
        }
    }
}

/// Writes all of `bytes`. They fit an empty send ring, so this does not wait in practice.
pub(super) async fn write(stream: &TcpStream, bytes: &[u8]) -> Result<(), TcpError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let put = |space: &mut [u8]| {
            let len = space.len().min(rest.len());
            space[..len].copy_from_slice(&rest[..len]);
            (len, len)
        };
        let written = stream.write_with(put).await?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// What an interface says of itself. Like Linux, a connector leaves the PID that nobody looks at 0, and an acceptor
/// repeats the one that came.
pub(super) fn hello(ni: &LndNi, version: Version, to: ProcessId, ctype: ConnType) -> Hello {
    Hello {
        version,
        src_nid: ni.nid,
        dst_nid: to.nid,
        src_pid: LUSTRE_PID,
        dst_pid: to.pid,
        src_incarnation: ni.incarnation,
        dst_incarnation: 0,
        ctype,
        ips: 0,
    }
}
