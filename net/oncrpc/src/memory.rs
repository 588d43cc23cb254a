//! A network in memory: connections, listeners and datagram sockets for tests, without packets.

use crate::transport::{RpcDatagram, RpcDatagrams, RpcListener, RpcNetwork, RpcStream};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::net::{IpAddr, SocketAddr};
use embedded_io_async::{ErrorType, Read, Write};
use keelson_exec::sync::{Notify, Receiver, Sender, channel};

/// Bytes in flight in one direction of a connection.
const PIPE_CAPACITY: usize = 64 * 1024;

struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    ended: Cell<bool>,
    changed: Notify,
}

impl Pipe {
    fn take(&self, buf: &mut [u8]) -> usize {
        let mut bytes = self.bytes.borrow_mut();
        let count = buf.len().min(bytes.len());
        for (place, byte) in buf.iter_mut().zip(bytes.drain(..count)) {
            *place = byte;
        }
        count
    }

    fn put(&self, buf: &[u8]) -> usize {
        let mut bytes = self.bytes.borrow_mut();
        let count = buf.len().min(PIPE_CAPACITY - bytes.len());
        bytes.extend(buf.iter().take(count));
        count
    }
}

/// Receiving half of a connection.
pub struct PipeReader(Rc<Pipe>);

/// Sending half of a connection.
pub struct PipeWriter(Rc<Pipe>);

fn pipe() -> (PipeReader, PipeWriter) {
    let pipe = Rc::new(Pipe { bytes: RefCell::default(), ended: Cell::new(false), changed: Notify::new() });
    (PipeReader(pipe.clone()), PipeWriter(pipe))
}

impl ErrorType for PipeReader {
    type Error = Infallible;
}

impl ErrorType for PipeWriter {
    type Error = embedded_io_async::ErrorKind;
}

impl Read for PipeReader {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        loop {
            let changed = self.0.changed.notified();
            let count = self.0.take(buf);
            if count > 0 || buf.is_empty() {
                self.0.changed.notify();
                return Ok(count);
            }
            if self.0.ended.get() {
                return Ok(0);
            }
            changed.await;
        }
    }
}

impl Write for PipeWriter {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, embedded_io_async::ErrorKind> {
        loop {
            let changed = self.0.changed.notified();
            if self.0.ended.get() {
                return Err(embedded_io_async::ErrorKind::BrokenPipe);
            }
            let count = self.0.put(buf);
            if count > 0 || buf.is_empty() {
                self.0.changed.notify();
                return Ok(count);
            }
            changed.await;
        }
    }

    async fn flush(&mut self) -> Result<(), embedded_io_async::ErrorKind> {
        Ok(())
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.changed.notify();
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.changed.notify();
    }
}

/// One end of a connection.
pub struct MemoryStream {
    peer: SocketAddr,
    local: SocketAddr,
    reader: PipeReader,
    writer: PipeWriter,
}

impl RpcStream for MemoryStream {
    type Reader = PipeReader;
    type Writer = PipeWriter;

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn split(self) -> (PipeReader, PipeWriter) {
        (self.reader, self.writer)
    }
}

/// Accepts connections made with [`MemoryNetwork::connect`].
pub struct MemoryListener(Receiver<MemoryStream>);

impl RpcListener for MemoryListener {
    type Stream = MemoryStream;

    async fn accept(&mut self) -> Option<MemoryStream> {
        self.0.receive().await
    }
}

/// A datagram socket of a [`MemoryNetwork`].
pub struct MemoryDatagrams {
    network: Rc<MemoryNetwork>,
    local: SocketAddr,
    binding: u64,
    inbox: RefCell<Receiver<RpcDatagram>>,
}

impl RpcDatagrams for MemoryDatagrams {
    // One task waits at a time (see the trait), so the borrow is never contended.
    #[allow(clippy::await_holding_refcell_ref)]
    async fn receive(&self) -> Option<RpcDatagram> {
        self.inbox.borrow_mut().receive().await
    }

    async fn send(&self, local: Option<IpAddr>, peer: SocketAddr, payload: &[u8]) {
        match self.network.lose.get() {
            (0, 0) => {}
            (0, lost) => return self.network.lose.set((0, lost - 1)),
            (pass, lost) => self.network.lose.set((pass - 1, lost)),
        }
        let from = SocketAddr::new(local.unwrap_or(self.local.ip()), self.local.port());
        let datagram = RpcDatagram { peer: from, local: peer.ip(), payload: payload.to_vec() };
        if let Some((_, inbox)) = self.network.datagrams.borrow().get(&self.network.host(peer)) {
            // A full inbox loses the datagram, as a socket does.
            let _ = inbox.try_send(datagram);
        }
    }
}

impl Drop for MemoryDatagrams {
    fn drop(&mut self) {
        let mut datagrams = self.network.datagrams.borrow_mut();
        // Somebody else may have taken the port since.
        if datagrams.get(&self.local).is_some_and(|(binding, _)| *binding == self.binding) {
            datagrams.remove(&self.local);
        }
    }
}

/// Addresses and what listens there.
#[derive(Default)]
pub struct MemoryNetwork {
    listeners: RefCell<BTreeMap<SocketAddr, Sender<MemoryStream>>>,
    datagrams: RefCell<BTreeMap<SocketAddr, (u64, Sender<RpcDatagram>)>>,
    aliases: RefCell<BTreeMap<IpAddr, IpAddr>>,
    bindings: Cell<u64>,
    /// Datagrams that still arrive, and how many behind them do not.
    lose: Cell<(u32, u32)>,
}

/// Where the ports below 1024 end.
const RESERVED_END: u16 = 1024;

impl MemoryNetwork {
    /// A network without anybody.
    pub fn new() -> Rc<MemoryNetwork> {
        Rc::default()
    }

    /// Listens for connections.
    pub fn listen(&self, local: SocketAddr) -> MemoryListener {
        let (sender, receiver) = channel(64);
        self.listeners.borrow_mut().insert(local, sender);
        MemoryListener(receiver)
    }

    /// Connects `from` to a listener; `None` when nobody listens there.
    pub fn connect(&self, from: SocketAddr, to: SocketAddr) -> Option<MemoryStream> {
        let ((near_reader, far_writer), (far_reader, near_writer)) = (pipe(), pipe());
        let far = MemoryStream { peer: from, local: to, reader: far_reader, writer: far_writer };
        self.listeners.borrow().get(&self.host(to))?.try_send(far).ok()?;
        Some(MemoryStream { peer: to, local: from, reader: near_reader, writer: near_writer })
    }

    /// Binds a datagram socket.
    pub fn bind(self: &Rc<Self>, local: SocketAddr) -> MemoryDatagrams {
        let (sender, receiver) = channel(64);
        let binding = self.bindings.get();
        self.bindings.set(binding + 1);
        self.datagrams.borrow_mut().insert(local, (binding, sender));
        MemoryDatagrams { network: self.clone(), local, binding, inbox: RefCell::new(receiver) }
    }

    /// Gives the host at `of` another address. It hears what is sent there, and may send from it.
    pub fn alias(&self, alias: IpAddr, of: IpAddr) {
        self.aliases.borrow_mut().insert(alias, of);
    }

    /// Nobody listens for connections at `local` any more.
    pub fn close(&self, local: SocketAddr) {
        self.listeners.borrow_mut().remove(&local);
    }

    /// The main address of the host that has an address.
    fn host(&self, address: SocketAddr) -> SocketAddr {
        let ip = self.aliases.borrow().get(&address.ip()).copied().unwrap_or(address.ip());
        SocketAddr::new(ip, address.port())
    }

    /// Loses the next `count` datagrams.
    pub fn lose_datagrams(&self, count: u32) {
        self.lose.set((0, count));
    }

    /// Loses the datagram after the next, which is the reply to it.
    pub fn lose_next_reply(&self) {
        self.lose.set((1, 1));
    }
}

/// One address of a [`MemoryNetwork`].
pub struct MemoryHost {
    /// The network.
    pub network: Rc<MemoryNetwork>,
    /// The host's address.
    pub address: IpAddr,
}

impl RpcNetwork for MemoryHost {
    type Listener = MemoryListener;
    type Datagrams = MemoryDatagrams;

    fn listen(&self, port: u16) -> Option<MemoryListener> {
        Some(self.network.listen(SocketAddr::new(self.address, port)))
    }

    fn bind(&self, port: u16) -> Option<MemoryDatagrams> {
        Some(self.network.bind(SocketAddr::new(self.address, port)))
    }

    fn bind_reserved(&self) -> Option<MemoryDatagrams> {
        let address = |port| SocketAddr::new(self.address, port);
        let is_free = |port: &u16| !self.network.datagrams.borrow().contains_key(&address(*port));
        let port = (1..RESERVED_END).rev().find(is_free)?;
        self.bind(port)
    }

    async fn connect(&self, local: Option<IpAddr>, peer: SocketAddr) -> Option<MemoryStream> {
        let from = SocketAddr::new(local.unwrap_or(self.address), RESERVED_END - 1);
        self.network.connect(from, peer)
    }
}

/// Writes bytes as they are, for tests of malformed input.
pub async fn write_raw(writer: &mut PipeWriter, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match writer.write(bytes).await {
            Ok(count) => bytes = &bytes[count..],
            Err(_) => return false,
        }
    }
    true
}

/// Reads until the other end closes.
pub async fn read_to_end(reader: &mut PipeReader) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = [0; 256];
    loop {
        match reader.read(&mut piece).await {
            Ok(0) => return out,
            Ok(count) => out.extend_from_slice(&piece[..count]),
            Err(never) => match never {},
        }
    }
}
