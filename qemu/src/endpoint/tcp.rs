//! TCP as tests know it from `std::net`: streams that read and write, listeners that accept.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};

use super::Endpoint;
use super::stack::{Shared, Stack};
use crate::error::{Error, Result};

/// Buffer of a connection in each direction.
const BUFFER: usize = 256 * 1024;

/// A TCP connection. Clones (by [`TcpStream::clone`]) share it; dropping the last one closes it in an orderly way.
#[derive(Clone)]
pub struct TcpStream(Arc<Connection>);

struct Connection {
    shared: Arc<Shared>,
    handle: SocketHandle,
    peer: SocketAddr,
    local: SocketAddr,
    timeout: Mutex<Duration>,
}

impl Endpoint {
    /// Connects to `to` from a port of the dynamic range.
    pub fn tcp_connect(&self, to: SocketAddr, timeout: Duration) -> Result<TcpStream> {
        self.tcp_connect_from(0, to, timeout)
    }

    /// Connects from a given local port (0: any). NFS servers trust ports below 1024 only.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when this endpoint has a connection from that port to the same peer, also one that has just ended: two
    /// connections with the same ends would break each other.
    pub fn tcp_connect_from(&self, port: u16, to: SocketAddr, timeout: Duration) -> Result<TcpStream> {
        let error = |kind: ErrorKind, what: &str| Error::Io {
            doing: format!("connect to {to} from endpoint {}", self.port().name()),
            source: io::Error::new(kind, what.to_string()),
        };
        let failed = |what: &str| error(ErrorKind::ConnectionRefused, what);
        let handle = self.shared.with(|stack| {
            let port = if port == 0 { stack.ephemeral_port() } else { port };
            if stack.is_connected(port, to) {
                return Err(error(ErrorKind::AddrInUse, &format!("port {port} has a connection there")));
            }
            let handle = stack.sockets.add(new_socket());
            let socket = stack.sockets.get_mut::<Socket>(handle);
            match socket.connect(stack.iface.context(), to, port) {
                Ok(()) => Ok(handle),
                Err(e) => {
                    stack.sockets.remove(handle);
                    Err(failed(&e.to_string()))
                }
            }
        })?;
        let outcome = self.shared.wait(timeout, |stack| {
            let socket = stack.sockets.get::<Socket>(handle);
            match socket.state() {
                State::SynSent | State::SynReceived => None,
                State::Closed => Some(None),
                _ => Some(socket.local_endpoint()),
            }
        });
        let give_up = |stack: &mut Stack| {
            stack.sockets.get_mut::<Socket>(handle).abort();
            stack.abandon(handle);
        };
        match outcome {
            Some(Some(local)) => Ok(TcpStream::new(&self.shared, handle, to, local.into())),
            Some(None) => {
                self.shared.with(give_up);
                Err(failed("the peer refused the connection"))
            }
            None => {
                self.shared.with(give_up);
                Err(Error::Timeout {
                    waiting_for: format!("a TCP connection to {to}"),
                    after: timeout,
                    seen: "no answer to SYN".into(),
                })
            }
        }
    }

    /// Accepts connections to `port`.
    pub fn tcp_listen(&self, port: u16) -> Result<TcpListener> {
        const BACKLOG: usize = 8;
        let waiting = self.shared.with(|stack| (0..BACKLOG).map(|_| listen(stack, port)).collect());
        Ok(TcpListener { shared: self.shared.clone(), port, waiting: Mutex::new(waiting) })
    }
}

fn new_socket() -> Socket<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
    socket.set_nagle_enabled(false);
    socket
}

fn listen(stack: &mut Stack, port: u16) -> SocketHandle {
    let mut socket = new_socket();
    // Fails only for port 0; then nothing ever connects.
    let _ = socket.listen(port);
    stack.sockets.add(socket)
}

/// A listening TCP port.
pub struct TcpListener {
    shared: Arc<Shared>,
    port: u16,
    waiting: Mutex<Vec<SocketHandle>>,
}

impl TcpListener {
    /// The next connection.
    pub fn accept(&self, timeout: Duration) -> Result<TcpStream> {
        let mut waiting = self.waiting.lock().expect("listener");
        let port = self.port;
        let accepted = self.shared.wait(timeout, |stack| {
            for slot in waiting.iter_mut() {
                let socket = stack.sockets.get::<Socket>(*slot);
                let ready = matches!(socket.state(), State::Established | State::CloseWait);
                if let (true, Some(peer), Some(local)) =
                    (ready, socket.remote_endpoint(), socket.local_endpoint())
                {
                    let handle = *slot;
                    *slot = listen(stack, port);
                    return Some((handle, peer, local));
                }
                if socket.state() == State::Closed {
                    stack.sockets.remove(*slot);
                    *slot = listen(stack, port);
                }
            }
            None
        });
        let (handle, peer, local) = accepted.ok_or_else(|| Error::Timeout {
            waiting_for: format!("a TCP connection to port {port}"),
            after: timeout,
            seen: "nobody connected".into(),
        })?;
        Ok(TcpStream::new(&self.shared, handle, peer.into(), local.into()))
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("listener"));
        self.shared.with(|stack| {
            for handle in waiting {
                stack.sockets.get_mut::<Socket>(handle).abort();
                stack.abandon(handle);
            }
        });
    }
}

impl TcpStream {
    fn new(shared: &Arc<Shared>, handle: SocketHandle, peer: SocketAddr, local: SocketAddr) -> TcpStream {
        let timeout = Mutex::new(Duration::from_secs(30));
        TcpStream(Arc::new(Connection { shared: shared.clone(), handle, peer, local, timeout }))
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// This end.
    pub fn local(&self) -> SocketAddr {
        self.0.local
    }

    /// How long a read or write may wait (30 s unless said) before it fails with `TimedOut`.
    pub fn set_timeout(&self, timeout: Duration) {
        *self.0.timeout.lock().expect("timeout") = timeout;
    }

    /// Says that nothing more will be sent (FIN); the peer's data can still be read.
    pub fn shutdown_write(&self) {
        self.0.with(|socket| socket.close());
    }

    /// Breaks the connection with a reset.
    pub fn reset(&self) {
        self.0.with(|socket| socket.abort());
    }

    /// True once everything written has been acknowledged by the peer.
    pub fn is_flushed(&self) -> bool {
        self.0.with(|socket| socket.send_queue() == 0)
    }

    /// Reads without `&mut`, for clones on several threads.
    fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.wait(|socket| {
            if socket.can_recv() {
                return Some(socket.recv_slice(buffer).map_err(|_| ErrorKind::ConnectionReset.into()));
            }
            if socket.may_recv() || matches!(socket.state(), State::SynSent | State::SynReceived) {
                return None;
            }
            Some(match socket.recv_slice(buffer) {
                Err(RecvError::Finished) => Ok(0),
                Err(RecvError::InvalidState) if socket.state() == State::Closed => {
                    Err(ErrorKind::ConnectionReset.into())
                }
                other => Ok(other.unwrap_or(0)),
            })
        })
    }

    fn write_some(&self, data: &[u8]) -> io::Result<usize> {
        self.0.wait(|socket| {
            if socket.can_send() {
                return Some(socket.send_slice(data).map_err(|_| ErrorKind::BrokenPipe.into()));
            }
            (!socket.may_send()).then(|| Err(ErrorKind::BrokenPipe.into()))
        })
    }
}

impl Connection {
    fn with<T>(&self, action: impl FnOnce(&mut Socket) -> T) -> T {
        self.shared.with(|stack| action(stack.sockets.get_mut::<Socket>(self.handle)))
    }

    fn wait<T>(&self, mut action: impl FnMut(&mut Socket) -> Option<io::Result<T>>) -> io::Result<T> {
        let timeout = *self.timeout.lock().expect("timeout");
        let start = Instant::now();
        let done = self.shared.wait(timeout, |stack| action(stack.sockets.get_mut::<Socket>(self.handle)));
        done.unwrap_or_else(|| {
            let text = format!("{} did not answer within {:?}", self.peer, start.elapsed());
            Err(io::Error::new(ErrorKind::TimedOut, text))
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.with(|stack| {
            stack.sockets.get_mut::<Socket>(self.handle).close();
            stack.abandon(self.handle);
        });
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() { Ok(0) } else { self.read_some(buffer) }
    }
}

impl Write for TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() { Ok(0) } else { self.write_some(data) }
    }

    /// Data is on its way as soon as it is written; nothing to do.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
