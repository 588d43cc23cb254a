//! The reader of a connection.
//!
//! ```text
//!   headers --NOOP--> cookies                       --> headers
//!      | LNET: arrived() (may wait: nothing is read meanwhile)
//!      +---Take---> payload into the message --> acknowledge, received() --> headers
//!      +---Skip---> payload thrown away      --> acknowledge             --> headers
//!      +---Fatal--> all connections of the peer are closed
//! ```

use super::Socklnd;
use super::connection::{Connection, Ending};
use super::counters::{add, count};
use super::frame::{Frame, Framer, Lost};
use crate::lnd::{Disposition, LndUpper, SendError};
use crate::message::Message;
use alloc::rc::Rc;
use core::convert::Infallible;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use keelson_lnet_wire::hello::{ConnType, Version};
use keelson_lnet_wire::ksock::{CRC32_INITIAL, KsockHeader, ZcAcks, crc32_update};
use keelson_lnet_wire::message::Header;

/// Why nothing more is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// The stream ended between messages.
    Eof,
    /// It ended within one.
    Truncated,
    Reset,
    /// We have ended the connection ourselves.
    Closed,
    Lost(Lost),
    Fatal(&'static str),
    Checksum,
    Acks,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Eof => f.write_str("closed by the peer"),
            Stop::Truncated => f.write_str("the peer closed in the middle of a message"),
            Stop::Closed => f.write_str("closed here"),
            Stop::Reset => f.write_str("reset by the peer, or the peer is silent"),
            Stop::Lost(Lost::Kind(kind)) => write!(f, "{kind}, expected 0xc0 (NOOP) or 0xc1 (LNET)"),
            Stop::Lost(Lost::Header(error)) => write!(f, "{error}"),
            Stop::Fatal(reason) => f.write_str(reason),
            Stop::Checksum => f.write_str("wrong checksum"),
            Stop::Acks => f.write_str("the peer does not take its zero-copy acknowledgements"),
        }
    }
}

/// Reads until the connection ends, and then ends it.
pub(super) async fn run<U: LndUpper>(lnd: Rc<Socklnd<U>>, conn: Rc<Connection<U>>) {
    let reader = Reader { lnd: &lnd, conn: &conn };
    let Err(stop) = reader.run().await;
    let counters = &lnd.counters;
    let failed = Ending::Failed(SendError::Broken);
    let (ending, reason) = match stop {
        Stop::Eof => (Ending::Orderly, &counters.closed_orderly),
        Stop::Truncated => (failed, &counters.closed_truncated),
        Stop::Reset => (failed, &counters.closed_reset),
        Stop::Closed => return,
        Stop::Lost(Lost::Kind(_)) => (failed, &counters.closed_kind),
        Stop::Lost(Lost::Header(_)) => (failed, &counters.closed_header),
        Stop::Fatal(_) => (failed, &counters.closed_fatal),
        Stop::Checksum => (failed, &counters.closed_checksum),
        Stop::Acks => (failed, &counters.closed_acks),
    };
    if stop == Stop::Eof {
        log::debug!(target: super::LOG, "LNet: {} closed its connections", conn.peer.key.nid);
    } else {
        lnd.warn(format_args!("LNet: closing the connections to {}: {stop}", conn.peer.key.nid));
    }
    lnd.close(&conn, ending, reason);
}

struct Reader<'a, U: LndUpper> {
    lnd: &'a Rc<Socklnd<U>>,
    conn: &'a Rc<Connection<U>>,
}

impl<U: LndUpper> Reader<'_, U> {
    async fn run(&self) -> Result<Infallible, Stop> {
        let mut framer = Framer::new(self.conn.version, self.conn.swapped);
        // LNet may close the connection while it takes a message: then nothing more is read.
        while !self.conn.is_closed() {
            let (ksock, header) = self.header(&mut framer).await?;
            self.message(ksock, header).await?;
        }
        Err(Stop::Closed)
    }

    /// Waits for the headers of a message; deals with the NOOPs before it.
    async fn header(&self, framer: &mut Framer) -> Result<(KsockHeader, Header), Stop> {
        loop {
            let framer = &mut *framer;
            let step = |bytes: &mut [u8]| {
                let mut input = &*bytes;
                let result = loop {
                    match framer.next(&mut input) {
                        Ok(Some(Frame::Lnet(ksock, header))) => break Ok(Some((ksock, header))),
                        Ok(Some(Frame::Noop(ksock))) => match self.noop(&ksock) {
                            Ok(()) if input.is_empty() => break Ok(None),
                            Ok(()) => {}
                            Err(stop) => break Err(stop),
                        },
                        Ok(None) => break Ok(None),
                        Err(lost) => break Err(Stop::Lost(lost)),
                    }
                };
                self.conn.inside.set(!framer.is_empty());
                let taken = bytes.len() - input.len();
                self.note(taken);
                (taken, result)
            };
            match self.conn.read.read_with(step).await {
                Ok(Some(Ok(Some(found)))) => return Ok(found),
                Ok(Some(Ok(None))) => {}
                Ok(Some(Err(stop))) => return Err(stop),
                Ok(None) if self.conn.inside.get() => return Err(Stop::Truncated),
                Ok(None) => return Err(Stop::Eof),
                Err(_) => return Err(Stop::Reset),
            }
        }
    }

    fn noop(&self, ksock: &KsockHeader) -> Result<(), Stop> {
        let counters = &self.lnd.counters;
        count(&counters.rx_noops);
        match ksock.zc_acks(self.conn.version) {
            ZcAcks::Nothing => {}
            ZcAcks::Keepalive => count(&counters.rx_keepalives),
            // We ask for none.
            _ => count(&counters.rx_unexpected_acks),
        }
        // The checksum covers the payload, of which a NOOP has none.
        if self.verifies(ksock) && ksock.csum != CRC32_INITIAL { Err(Stop::Checksum) } else { Ok(()) }
    }

    /// Lets LNet decide about a message and does so.
    async fn message(&self, ksock: KsockHeader, mut header: Header) -> Result<(), Stop> {
        let (conn, counters) = (self.conn, &self.lnd.counters);
        if ksock.zc_acks(conn.version) != ZcAcks::Nothing {
            count(&counters.rx_unexpected_acks);
        }
        if conn.peer.key.is_userspace() {
            header.src_nid = conn.peer.key.nid;
            header.src_pid = conn.peer.key.pid;
        }
        conn.inside.set(true);
        let length = header.payload_length as usize;
        let disposition = match self.disposition(&header).await {
            Disposition::Take(message) if message.payload.len() != length => {
                debug_assert!(false, "a message with room for {} of {length} bytes", message.payload.len());
                Disposition::Skip
            }
            other => other,
        };
        match disposition {
            Disposition::Take(mut message) => {
                let csum = self.payload(&mut message, self.verifies(&ksock)).await?;
                if self.verifies(&ksock) && csum != ksock.csum {
                    return Err(Stop::Checksum);
                }
                conn.inside.set(false);
                count(&counters.rx_messages);
                add(&counters.rx_bytes, length as u64);
                self.acknowledge(&ksock)?;
                self.lnd.upper.received(&conn.record, message);
            }
            Disposition::Skip => {
                self.skip(length).await?;
                conn.inside.set(false);
                count(&counters.rx_skipped);
                self.acknowledge(&ksock)?;
            }
            Disposition::Fatal(reason) => return Err(Stop::Fatal(reason)),
        }
        Ok(())
    }

    /// Asks LNet. The far end of our bulk-out sends acknowledgements there and never a message: what comes there
    /// nevertheless must not keep us from reading acknowledgements.
    async fn disposition(&self, header: &Header) -> Disposition {
        let conn = self.conn;
        let mut arrived = pin!(self.lnd.upper.arrived(&conn.record, header));
        if conn.kind == ConnType::BulkOut {
            let at_once = poll_fn(|cx| match arrived.as_mut().poll(cx) {
                Poll::Ready(disposition) => Poll::Ready(Some(disposition)),
                Poll::Pending => Poll::Ready(None),
            });
            return at_once.await.unwrap_or_else(|| {
                count(&self.lnd.counters.rx_would_wait);
                Disposition::Skip
            });
        }
        conn.parked.set(true);
        let disposition = arrived.await;
        conn.parked.set(false);
        disposition
    }

    /// Copies the payload out of the ring; returns its checksum where one is wanted.
    async fn payload(&self, message: &mut Message, verify: bool) -> Result<u32, Stop> {
        let length = message.payload.len();
        let (mut at, mut csum) = (0, CRC32_INITIAL);
        while at < length {
            let step = |bytes: &mut [u8]| {
                let mut taken = 0;
                while taken < bytes.len() && at < length {
                    let room = message.payload.from_mut(at);
                    let len = room.len().min(bytes.len() - taken);
                    let piece = &bytes[taken..taken + len];
                    room[..len].copy_from_slice(piece);
                    if verify {
                        csum = crc32_update(csum, piece);
                    }
                    taken += len;
                    at += len;
                }
                self.note(taken);
                (taken, ())
            };
            self.continued(self.conn.read.read_with(step).await)?;
        }
        Ok(csum)
    }

    async fn skip(&self, mut length: usize) -> Result<(), Stop> {
        while length > 0 {
            let step = |bytes: &mut [u8]| {
                let taken = bytes.len().min(length);
                length -= taken;
                self.note(taken);
                (taken, ())
            };
            self.continued(self.conn.read.read_with(step).await)?;
        }
        Ok(())
    }

    /// A stream that ends here ends within a message.
    fn continued(&self, read: Result<Option<()>, keelson_net::TcpError>) -> Result<(), Stop> {
        match read {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(Stop::Truncated),
            Err(_) => Err(Stop::Reset),
        }
    }

    /// Owes the sender its cookie, now that the whole payload is here.
    fn acknowledge(&self, ksock: &KsockHeader) -> Result<(), Stop> {
        match ksock.zc_request() {
            Some(cookie) if !self.conn.peer.acknowledge(cookie) => Err(Stop::Acks),
            _ => Ok(()),
        }
    }

    fn verifies(&self, ksock: &KsockHeader) -> bool {
        // Version 2 covers the headers too; nobody sends it.
        self.lnd.config.enable_csum && ksock.csum != 0 && self.conn.version >= Version::V3
    }

    fn note(&self, bytes: usize) {
        self.conn.received.set(self.conn.received.get() + bytes as u64);
    }
}
