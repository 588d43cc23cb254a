//! Connections to a node: `hi` for control and small calls, `bulk` for DATA to the node (section 5.2).
//!
//! All frames of an answer that streams travel on one connection: `bulk`, if there is one to be had. So its SYSRET cannot overtake
//! its DATA. Whatever else there is goes by `hi`, and so does everything from the node.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use keelson_hal::Entropy;
use keelson_lwk_wire::bytes::Writer;
use keelson_lwk_wire::channel::{Ahead, Channel, ChannelError, Identity, Key, Received, Receiver, Sender};
use keelson_lwk_wire::frame::{Frame, Header, TooLarge};
use keelson_lwk_wire::handshake::{Features, Grant, Hello, Modes, Purpose};
use keelson_lwk_wire::messages::{ByeReason, Message};

use crate::nodes::Address;
use crate::serial::{self, Claim, Traffic};

/// Time for a connection and its handshake.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// Connects within `time`. On a serial port the node has been met then.
    pub(crate) fn connect(address: &Address, traffic: Traffic, time: Duration) -> io::Result<Stream> {
        match address {
            Address::Unix(path) => serial::connect(path, traffic, time).map(Stream::Unix),
            Address::Tcp(address) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, time) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// The most that a read takes; then it fails with [`io::ErrorKind::WouldBlock`].
    pub(crate) fn limit_reads(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(time),
            Stream::Unix(stream) => stream.set_read_timeout(time),
        }
    }

    /// What this end can do on it. Below a serial port nothing checks what comes: frames keep their CRC-32C (section 5.2).
    fn features(&self) -> Features {
        match self {
            Stream::Tcp(_) => Features::AEAD | Features::NOCRC,
            Stream::Unix(_) => Features::AEAD,
        }
    }

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(into),
            Stream::Unix(stream) => (&*stream).read(into),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => (&*stream).write_all(bytes),
            Stream::Unix(stream) => (&*stream).write_all(bytes),
        }
    }

    /// Ends both directions; readers and writers return.
    pub fn shutdown(&self) {
        let both = std::net::Shutdown::Both;
        // It fails when the other side was first.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(both),
            Stream::Unix(stream) => stream.shutdown(both),
        };
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum LinkError {
    /// The node cannot be reached, or went away.
    Lost(io::Error),
    /// It does not accept the key.
    Auth(String),
    /// It speaks another version, or nonsense.
    Protocol(String),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        LinkError::Lost(error)
    }
}

impl From<ChannelError> for LinkError {
    fn from(error: ChannelError) -> LinkError {
        let text = error.to_string();
        match error {
            ChannelError::Auth | ChannelError::Mode => LinkError::Auth(text),
            ChannelError::Refused(bye) if matches!(bye.reason, ByeReason::Auth | ByeReason::Ticket) => {
                LinkError::Auth(text)
            }
            ChannelError::Refused(bye) if matches!(bye.reason, ByeReason::Shutdown | ByeReason::Busy) => {
                LinkError::Lost(io::Error::other(text))
            }
            _ => LinkError::Protocol(text),
        }
    }
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkError::Lost(error) => write!(f, "{error}"),
            LinkError::Auth(text) => write!(f, "authentication: {text}"),
            LinkError::Protocol(text) => write!(f, "protocol: {text}"),
        }
    }
}

/// The kernel's random numbers.
pub struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(got) => rest = rest.get_mut(got..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                // Without randomness there are no keys; no system that runs this lacks it.
                Err(error) => panic!("getrandom: {error}"),
            }
        }
    }
}

/// One connection after its handshake.
pub struct Lane {
    stream: Arc<Stream>,
    sending: Mutex<(Sender, Vec<u8>)>,
    receiving: Mutex<Receiving>,
    /// What can be done for the next records of both directions, where they are protected.
    ahead: [Option<Arc<Ahead>>; 2],
}

/// Bytes that have arrived and not been looked at: `buffer[start..end]`.
struct Receiving {
    receiver: Receiver,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// A connection, and what the node said.
pub struct Connected {
    /// The connection.
    pub lane: Lane,
    /// What it may do.
    pub grant: Grant,
    /// Who the node is.
    pub node: Hello,
}

impl Lane {
    /// Connects and proves the key. Without a key the link has no protection.
    pub fn connect(address: &Address, key: Option<&Key>, purpose: Purpose) -> Result<Connected, LinkError> {
        Lane::connect_within(address, key, purpose, HANDSHAKE_TIME)
    }

    /// The same with this time for the connection, and for each answer of the handshake.
    pub fn connect_within(
        address: &Address,
        key: Option<&Key>,
        purpose: Purpose,
        time: Duration,
    ) -> Result<Connected, LinkError> {
        let stream = Stream::connect(address, Traffic::of(&purpose), time)?;
        stream.limit_reads(Some(time))?;
        Lane::open(stream, key, purpose)
    }

    /// The same by a port that was claimed for it, where there are ports.
    pub fn connect_claimed(
        claim: Option<Claim>,
        address: &Address,
        key: Option<&Key>,
        purpose: Purpose,
    ) -> Result<Connected, LinkError> {
        let (Some(claim), Address::Unix(path)) = (claim, address) else {
            return Lane::connect(address, key, purpose);
        };
        let stream = serial::connect_claimed(claim, path, Traffic::Hi, HANDSHAKE_TIME)?;
        stream.set_read_timeout(Some(HANDSHAKE_TIME))?;
        Lane::open(Stream::Unix(stream), key, purpose)
    }

    /// From now on [`Lane::receive`] fails with [`io::ErrorKind::WouldBlock`] when nothing comes for so long; it can be called again.
    pub fn limit_reads(&self, time: Option<Duration>) -> io::Result<()> {
        self.stream.limit_reads(time)
    }

    /// The handshake on a connected socket.
    pub fn open(
        stream: impl Into<Arc<Stream>>,
        key: Option<&Key>,
        purpose: Purpose,
    ) -> Result<Connected, LinkError> {
        let stream = stream.into();
        let identity = Identity {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            build: format!("keelson {}", env!("CARGO_PKG_VERSION")),
            features: stream.features(),
            modes: key.map_or(Modes::NONE, |key| key.modes),
            boot_id: [0; 16],
        };
        let mut out = Vec::new();
        let mut channel = Channel::host(identity, key.cloned(), purpose, &HostEntropy, &mut out);
        let mut buffer = vec![0; 64 << 10];
        loop {
            stream.write_all(&out)?;
            out.clear();
            let got = stream.read(&mut buffer)?;
            if got == 0 {
                return Err(LinkError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut input = buffer.get(..got).unwrap_or_default();
            let received = channel.receive(&mut input, &mut out);
            if received.is_err() {
                // The node is told why, if it still listens.
                let _ = stream.write_all(&out);
            }
            if let Some(Received::Granted(grant)) = received? {
                let node = channel.peer().cloned().ok_or_else(|| LinkError::Protocol("no HELLO".into()))?;
                let (end, start) = (got, got - input.len());
                let (sender, receiver) =
                    channel.split().ok_or_else(|| LinkError::Protocol("handshake is not over".into()))?;
                stream.limit_reads(None)?;
                let lane = Lane {
                    stream,
                    ahead: [receiver.ahead(), sender.ahead()],
                    sending: Mutex::new((sender, Vec::new())),
                    receiving: Mutex::new(Receiving { receiver, buffer, start, end }),
                };
                return Ok(Connected { lane, grant, node });
            }
        }
    }

    /// Who is at the other end, where that is an address of the network.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &*self.stream {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Sends a frame.
    pub fn send<'a>(&self, header: &Header, message: &impl Message<'a>) -> io::Result<()> {
        self.send_with(header, |writer| message.write(writer))
    }

    /// Sends a frame whose payload `fill` writes.
    pub fn send_with(&self, header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> io::Result<()> {
        let mut sending = self.sending.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (sender, out) = &mut *sending;
        out.clear();
        sender
            .send_with(header, out, |writer| {
                fill(writer);
                Ok::<(), TooLarge>(())
            })
            .map_err(|_| io::Error::other("frame too large"))?;
        self.stream.write_all(out)
    }

    /// Waits for the next frame. For one thread.
    pub fn receive(&self) -> Result<Frame, LinkError> {
        let mut receiving = self.receiving.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Receiving { receiver, buffer, start, end } = &mut *receiving;
        loop {
            let mut input = buffer.get(*start..*end).unwrap_or_default();
            let frame = receiver.next(&mut input)?;
            *start = *end - input.len();
            if let Some(frame) = frame {
                return Ok(frame);
            }
            self.prepare();
            let got = loop {
                match self.stream.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            (*start, *end) = (0, got);
            if got == 0 {
                return Err(LinkError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Whoever is about to wait for the node makes what the next records are combined with: nobody waits for it then.
    fn prepare(&self) {
        for ahead in self.ahead.iter().flatten() {
            while ahead.prepare(0, 0, Waker::noop()) {}
        }
    }

    /// Ends it.
    pub fn shutdown(&self) {
        self.stream.shutdown();
    }
}
