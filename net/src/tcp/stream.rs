//! A connection as its owner sees it.

use super::connection::{Flow, Readable, Stage};
use super::table::ConnectionId;
use crate::stack::{Shared, State};
use alloc::rc::Rc;
use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Poll};
use embedded_io_async::{ErrorType, Read, Write};
use keelson_hal::Instant;

/// The connection is broken: the peer reset it, it timed out, or it was aborted here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpError {
    /// Reset by the peer, by a timeout, or because the local address went away.
    Reset,
    /// Written to after [`TcpStream::close`] or [`WriteHalf::shutdown`].
    Closed,
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TcpError::Reset => "connection reset or timed out",
            TcpError::Closed => "connection closed for writing",
        })
    }
}

impl core::error::Error for TcpError {}

impl embedded_io::Error for TcpError {
    fn kind(&self) -> embedded_io::ErrorKind {
        match self {
            TcpError::Reset => embedded_io::ErrorKind::ConnectionReset,
            TcpError::Closed => embedded_io::ErrorKind::BrokenPipe,
        }
    }
}

/// The one owner of a connection; the halves of a stream share it.
struct Owner {
    shared: Rc<Shared>,
    id: ConnectionId,
    flow: Flow,
}

impl Owner {
    fn poll_read<R>(
        &self,
        cx: &mut Context<'_>,
        f: &mut Option<impl FnOnce(&mut [u8]) -> (usize, R)>,
    ) -> Poll<Result<Option<R>, TcpError>> {
        let state = &mut *self.shared.state.borrow_mut();
        let State { net, tcp, .. } = state;
        let Some(connection) = tcp.get(self.id) else { return Poll::Ready(Err(TcpError::Reset)) };
        let outcome = connection.read_with(|bytes| match f.take() {
            Some(f) => {
                let (taken, result) = f(bytes);
                (taken.min(bytes.len()), Some(result))
            }
            None => (0, None),
        });
        match outcome {
            Readable::Data(result) => {
                // The window may have opened enough to tell the peer.
                let now = self.shared.handle.now();
                if connection.poll_at(now).is_some_and(|at| at <= now) {
                    tcp.make_ready(net, self.id.slot);
                }
                Poll::Ready(Ok(result))
            }
            Readable::End => Poll::Ready(Ok(None)),
            Readable::Broken => Poll::Ready(Err(TcpError::Reset)),
            Readable::Nothing => {
                connection.wake_on_read(cx.waker());
                Poll::Pending
            }
        }
    }

    fn poll_write<R>(
        &self,
        cx: &mut Context<'_>,
        f: &mut Option<impl FnOnce(&mut [u8]) -> (usize, R)>,
    ) -> Poll<Result<R, TcpError>> {
        let state = &mut *self.shared.state.borrow_mut();
        let State { net, tcp, .. } = state;
        let Some(connection) = tcp.get(self.id) else { return Poll::Ready(Err(TcpError::Reset)) };
        let outcome = connection.write_with(|space| match f.take() {
            Some(f) => {
                let (filled, result) = f(space);
                (filled.min(space.len()), Some(result))
            }
            None => (0, None),
        });
        match outcome {
            None if connection.is_closed() => Poll::Ready(Err(TcpError::Reset)),
            None => Poll::Ready(Err(TcpError::Closed)),
            Some(Some(Some(result))) => {
                tcp.make_ready(net, self.id.slot);
                Poll::Ready(Ok(result))
            }
            Some(_) => {
                connection.wake_on_write(cx.waker());
                Poll::Pending
            }
        }
    }

    async fn read_with<R>(&self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Result<Option<R>, TcpError> {
        let mut f = Some(f);
        poll_fn(|cx| self.poll_read(cx, &mut f)).await
    }

    async fn write_with<R>(&self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Result<R, TcpError> {
        let mut f = Some(f);
        poll_fn(|cx| self.poll_write(cx, &mut f)).await
    }

    async fn read(&self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let copy = |bytes: &mut [u8]| {
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            (len, len)
        };
        Ok(self.read_with(copy).await?.unwrap_or(0))
    }

    async fn write(&self, bytes: &[u8]) -> Result<usize, TcpError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let copy = |space: &mut [u8]| {
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            (len, len)
        };
        self.write_with(copy).await
    }

    /// Waits until everything written was acknowledged.
    async fn flush(&self) -> Result<(), TcpError> {
        poll_fn(|cx| {
            let state = &mut *self.shared.state.borrow_mut();
            let Some(connection) = state.tcp.get(self.id) else { return Poll::Ready(Err(TcpError::Reset)) };
            if connection.is_closed() && connection.send_queue() > 0 {
                return Poll::Ready(Err(TcpError::Reset));
            }
            if connection.send_queue() == 0 {
                return Poll::Ready(Ok(()));
            }
            connection.wake_on_write(cx.waker());
            Poll::Pending
        })
        .await
    }

    fn with(&self, f: impl FnOnce(&mut super::connection::Connection)) {
        let state = &mut *self.shared.state.borrow_mut();
        if let Some(connection) = state.tcp.get(self.id) {
            f(connection);
            state.tcp.make_ready(&mut state.net, self.id.slot);
        }
    }

    /// Waits until our FIN was acknowledged or the connection is gone.
    async fn finished(&self) {
        poll_fn(|cx| {
            let state = &mut *self.shared.state.borrow_mut();
            let Some(connection) = state.tcp.get(self.id) else { return Poll::Ready(()) };
            if connection.is_flushed() {
                return Poll::Ready(());
            }
            connection.wake_on_write(cx.waker());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let deadline = self.shared.handle.now();
        self.with(|connection| {
            connection.close();
            connection.stage = Stage::Orphaned;
            connection.deadline = deadline + connection.options.linger;
        });
    }
}

/// A TCP connection. Dropping it closes it gracefully in the background, within the linger time.
pub struct TcpStream {
    owner: Rc<Owner>,
}

/// The receiving half of a stream.
pub struct ReadHalf {
    owner: Rc<Owner>,
}

/// The sending half of a stream. The connection closes when both halves are dropped.
pub struct WriteHalf {
    owner: Rc<Owner>,
}

impl TcpStream {
    pub(crate) fn new(shared: Rc<Shared>, id: ConnectionId, flow: Flow) -> TcpStream {
        TcpStream { owner: Rc::new(Owner { shared, id, flow }) }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.owner.id
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.owner.flow.remote
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        self.owner.flow.local
    }

    /// When its first packet came or went: before there was a stream. `None` when it is over.
    pub fn begun(&self) -> Option<Instant> {
        let mut state = self.owner.shared.state.borrow_mut();
        state.tcp.get(self.owner.id).map(|connection| connection.born)
    }

    /// Two halves for two tasks.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf { owner: self.owner.clone() }, WriteHalf { owner: self.owner })
    }

    /// Waits for data and lends `f` the part of the receive ring that lies in one piece; `f` returns how
    /// many bytes it took, and a result. `None` at the end of the stream.
    pub async fn read_with<R>(&self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Result<Option<R>, TcpError> {
        self.owner.read_with(f).await
    }

    /// Waits for room and lends `f` the free part of the send ring that lies in one piece; `f` returns how
    /// many bytes it wrote, and a result.
    pub async fn write_with<R>(&self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Result<R, TcpError> {
        self.owner.write_with(f).await
    }

    /// Sends what was written and a FIN, and waits for their acknowledgement, no longer than the linger
    /// time.
    pub async fn close(self) {
        self.owner.with(|connection| connection.close());
        let linger = {
            let mut state = self.owner.shared.state.borrow_mut();
            state.tcp.get(self.owner.id).map(|connection| connection.options.linger)
        };
        let Some(linger) = linger else { return };
        // Beyond the linger time the drop at the end of this function resets the connection.
        if self.owner.shared.handle.timeout(linger, self.owner.finished()).await.is_err() {
            self.abort();
        }
    }

    /// Resets the connection.
    pub fn abort(self) {
        self.owner.with(|connection| connection.abort());
    }
}

impl ReadHalf {
    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.owner.flow.remote
    }

    /// See [`TcpStream::read_with`].
    pub async fn read_with<R>(&self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Result<Option<R>, TcpError> {
        self.owner.read_with(f).await
    }

    /// Resets the connection; the other half fails too.
    pub fn abort(&self) {
        self.owner.with(|connection| connection.abort());
    }
}

impl WriteHalf {
    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.owner.flow.remote
    }

    /// See [`TcpStream::write_with`].
    pub async fn write_with<R>(&self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Result<R, TcpError> {
        self.owner.write_with(f).await
    }

    /// Bytes written that the peer has not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        let mut state = self.owner.shared.state.borrow_mut();
        state.tcp.get(self.owner.id).map_or(0, |connection| connection.send_queue())
    }

    /// Ends the sending direction: the peer reads the end of the stream after what was written.
    pub fn shutdown(&self) {
        self.owner.with(|connection| connection.close());
    }

    /// Resets the connection; the other half fails too.
    pub fn abort(&self) {
        self.owner.with(|connection| connection.abort());
    }
}

macro_rules! error_type {
    ($($name:ident)*) => { $(impl ErrorType for $name { type Error = TcpError; })* };
}
error_type!(TcpStream ReadHalf WriteHalf);

macro_rules! reads {
    ($($name:ident)*) => { $(impl Read for $name {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
            self.owner.read(buffer).await
        }
    })* };
}
reads!(TcpStream ReadHalf);

macro_rules! writes {
    ($($name:ident)*) => { $(impl Write for $name {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
            self.owner.write(bytes).await
        }

        /// Waits until the peer has acknowledged everything written.
        async fn flush(&mut self) -> Result<(), TcpError> {
            self.owner.flush().await
        }
    })* };
}
writes!(TcpStream WriteHalf);
