//! What carries messages: a stream of records or datagrams, of a bench endpoint or of the host's own stack.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::time::{Duration, Instant};

use keelson_qemu::{TcpStream, UdpSocket};

use super::records::Records;

/// First wait before a datagram is sent again.
const RESEND: Duration = Duration::from_millis(500);

/// A way to the server and back.
pub(super) enum Wire {
    Stream(Box<dyn Stream>, Records),
    /// Datagrams, and the one received last.
    Datagrams(Box<dyn Datagrams>, Vec<u8>),
}

/// A TCP connection.
pub(super) trait Stream: Read + Write {
    /// How long one read may wait.
    fn wait_at_most(&self, timeout: Duration) -> io::Result<()>;
}

/// A UDP socket and where it sends to.
pub(super) trait Datagrams {
    fn send(&self, message: &[u8]) -> io::Result<()>;

    /// Replaces `message` by the next one of the server; `TimedOut` when there is none.
    fn receive(&self, message: &mut Vec<u8>, timeout: Duration) -> io::Result<()>;
}

impl Wire {
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Wire::Stream(stream, _) => stream.wait_at_most(timeout),
            Wire::Datagrams(..) => Ok(()),
        }
    }

    /// Sends a record. Its first four bytes are the mark, which datagrams go without.
    pub fn send(&mut self, record: &[u8]) -> io::Result<()> {
        match self {
            Wire::Stream(stream, _) => stream.write_all(record),
            Wire::Datagrams(socket, _) => socket.send(record.get(4..).unwrap_or_default()),
        }
    }

    /// Waits for the next message. A stream waits as long as [`Wire::set_timeout`] says.
    pub fn receive(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Wire::Stream(stream, records) => records.read(stream),
            Wire::Datagrams(socket, message) => socket.receive(message, timeout),
        }
    }

    /// The message received last.
    pub fn message(&self) -> &[u8] {
        match self {
            Wire::Stream(_, records) => records.record(),
            Wire::Datagrams(_, message) => message,
        }
    }

    /// Sends a record and waits for the reply to `xid`, passing over others. Datagrams are sent again, after waits
    /// that double.
    pub fn exchange(&mut self, record: &[u8], xid: u32, timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        let mut wait = if matches!(self, Wire::Datagrams(..)) { RESEND } else { timeout };
        loop {
            self.send(record)?;
            let again = (Instant::now() + wait).min(deadline);
            let silence = loop {
                match self.receive(again.saturating_duration_since(Instant::now())) {
                    Ok(()) if self.message().starts_with(&xid.to_be_bytes()) => return Ok(()),
                    Ok(()) => {}
                    Err(error) => break error,
                }
            };
            if silence.kind() != ErrorKind::TimedOut || Instant::now() >= deadline {
                return Err(silence);
            }
            wait *= 2;
        }
    }
}

impl Stream for TcpStream {
    fn wait_at_most(&self, timeout: Duration) -> io::Result<()> {
        self.set_timeout(timeout);
        Ok(())
    }
}

impl Stream for net::TcpStream {
    fn wait_at_most(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }
}

/// A socket of an endpoint, and the server.
pub(super) struct Socket(pub UdpSocket, pub SocketAddr);

impl Datagrams for Socket {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        self.0.send_to(message, self.1).map_err(io::Error::other)
    }

    fn receive(&self, message: &mut Vec<u8>, timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (bytes, from) = self.0.receive(left).map_err(|_| ErrorKind::TimedOut)?;
            if from == self.1 {
                *message = bytes;
                return Ok(());
            }
        }
    }
}

/// A socket of the host that is connected to the server.
impl Datagrams for net::UdpSocket {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        net::UdpSocket::send(self, message).map(drop)
    }

    fn receive(&self, message: &mut Vec<u8>, timeout: Duration) -> io::Result<()> {
        // None at all would mean for ever.
        self.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        message.resize(1 << 16, 0);
        let length = self.recv(message).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => error,
        })?;
        message.truncate(length);
        Ok(())
    }
}
