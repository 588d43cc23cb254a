//! QEMU's stream sockets: each frame behind its length, 32 bits, big-endian (`--qemu-stream`).

use super::error::TransportError;
use super::{DEFAULT_MTU, MAX_FRAME, Transport};
use crate::reactor::{Reactor, Source};
use keelson_exec::sync::Notify;
use keelson_qnet::link::LinkAddress;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind,
    connect, listen, recv, send, socket_with, sockopt,
};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// Bytes that may wait for the other end before there is no room.
const WAITING: usize = 256 << 10;
/// Bytes read at once.
const READ: usize = 128 << 10;

/// An address of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// TCP.
    Inet(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.fmt(f),
            Peer::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Frames through a stream.
pub struct Stream {
    name: String,
    mac: [u8; 6],
    reactor: Rc<Reactor>,
    changed: Rc<Notify>,
    state: RefCell<State>,
    /// Our unix socket, to be removed.
    path: Option<PathBuf>,
}

struct State {
    listener: Option<Rc<Source>>,
    stream: Option<Rc<Source>>,
    /// What has come and is not a whole frame, from `taken` on.
    read: Vec<u8>,
    taken: usize,
    /// What waits for the other end.
    write: Vec<u8>,
}

impl Stream {
    /// Connects to QEMU, which listens (`server=on`).
    pub fn connect(reactor: &Rc<Reactor>, peer: &Peer, mac: [u8; 6]) -> Result<Stream, TransportError> {
        let doing = format!("connect to {peer}");
        let remedy = "start the other end first, or let this one wait for it with listen:ADDRESS";
        let fd = open(peer, false).map_err(TransportError::of(doing, remedy))?;
        Ok(Stream::new(reactor, peer, mac, None, Some(fd)))
    }

    /// Waits for QEMU, which connects; when it goes, for the next one.
    pub fn listen(reactor: &Rc<Reactor>, peer: &Peer, mac: [u8; 6]) -> Result<Stream, TransportError> {
        let doing = format!("listen at {peer}");
        let fd = open(peer, true).map_err(TransportError::plain(doing))?;
        Ok(Stream::new(reactor, peer, mac, Some(fd), None))
    }

    fn new(
        reactor: &Rc<Reactor>,
        peer: &Peer,
        mac: [u8; 6],
        listener: Option<OwnedFd>,
        stream: Option<OwnedFd>,
    ) -> Stream {
        let changed = Rc::default();
        let path = match peer {
            Peer::Unix(path) if listener.is_some() => Some(path.clone()),
            _ => None,
        };
        let listener = listener.map(|fd| reactor.watch(fd, &changed));
        let stream = stream.map(|fd| reactor.watch(fd, &changed));
        let state = State { listener, stream, read: Vec::new(), taken: 0, write: Vec::new() };
        let state = RefCell::new(state);
        Stream { name: peer.to_string(), mac, reactor: reactor.clone(), changed, state, path }
    }

    /// Takes a new connection if there is none.
    fn accept(&self) {
        let mut state = self.state.borrow_mut();
        if state.stream.is_some() {
            return;
        }
        let Some(listener) = &state.listener else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        if let Ok((fd, _)) = acceptfrom_with(listener.fd(), flags) {
            let _ = sockopt::set_tcp_nodelay(&fd, true);
            state.stream = Some(self.reactor.watch(fd, &self.changed));
            (state.read, state.write, state.taken) = Default::default();
        }
    }
}

fn open(peer: &Peer, listens: bool) -> io::Result<OwnedFd> {
    let family = match peer {
        Peer::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
        Peer::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
        Peer::Unix(_) => AddressFamily::UNIX,
    };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match (peer, listens) {
        (Peer::Inet(address), false) => {
            connect(&fd, address)?;
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        (Peer::Inet(address), true) => {
            sockopt::set_socket_reuseaddr(&fd, true)?;
            bind(&fd, address)?;
        }
        (Peer::Unix(path), false) => connect(&fd, &SocketAddrUnix::new(path)?)?,
        (Peer::Unix(path), true) => bind(&fd, &SocketAddrUnix::new(path)?)?,
    }
    if listens {
        listen(&fd, 1)?;
    }
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

impl State {
    /// The other end has gone.
    fn hang_up(&mut self) {
        (self.read, self.write, self.taken) = Default::default();
        self.stream = None;
    }

    /// The next whole frame.
    fn frame(&mut self) -> Option<std::ops::Range<usize>> {
        let head: [u8; 4] = *self.read.get(self.taken..)?.first_chunk()?;
        let len = u32::from_be_bytes(head) as usize;
        if len > MAX_FRAME {
            self.hang_up();
            return None;
        }
        let start = self.taken + 4;
        if self.read.len() < start + len {
            return None;
        }
        self.taken = start + len;
        Some(start..start + len)
    }

    /// Reads once. False when there is nothing to read.
    fn fill(&mut self) -> bool {
        let Some(stream) = self.stream.clone() else { return false };
        self.read.drain(..self.taken);
        self.taken = 0;
        self.read.reserve(READ);
        match recv(stream.fd(), spare_capacity(&mut self.read), RecvFlags::empty()) {
            Ok((_, 0)) => self.hang_up(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.hang_up(),
            Ok(_) => return true,
        }
        false
    }

    /// Writes as much as the other end takes.
    fn drain(&mut self) {
        let Some(stream) = self.stream.clone() else { return };
        let mut done = 0;
        while let Some(rest) = self.write.get(done..).filter(|rest| !rest.is_empty()) {
            match send(stream.fd(), rest, SendFlags::NOSIGNAL) {
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    stream.set_clogged(true);
                    break;
                }
                Err(_) => return self.hang_up(),
            }
        }
        self.write.drain(..done);
    }
}

impl Transport for Stream {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        LinkAddress::Mac(self.mac)
    }

    fn mtu(&self) -> usize {
        DEFAULT_MTU
    }

    fn is_up(&self) -> bool {
        self.state.borrow().stream.is_some()
    }

    fn room(&self) -> usize {
        WAITING.saturating_sub(self.state.borrow().write.len()) / (DEFAULT_MTU + 18)
    }

    fn send(&self, frame: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        if state.stream.is_none() {
            // A cable that leads nowhere.
            return true;
        }
        if state.write.len() > WAITING {
            return false;
        }
        state.write.extend((frame.len() as u32).to_be_bytes());
        state.write.extend(frame);
        true
    }

    fn flush(&self) {
        let mut state = self.state.borrow_mut();
        if state.stream.as_ref().is_some_and(|stream| !stream.is_clogged()) {
            state.drain();
        }
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        self.accept();
        self.flush();
        let mut count = 0;
        while count < budget {
            let mut state = self.state.borrow_mut();
            let Some(range) = state.frame() else {
                if state.fill() {
                    continue;
                }
                break;
            };
            // What the sink does may come back here to send.
            let read = std::mem::take(&mut state.read);
            drop(state);
            sink(read.get(range).unwrap_or_default());
            let mut state = self.state.borrow_mut();
            if state.stream.is_some() {
                state.read = read;
            }
            count += 1;
        }
        count
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    fn has_ended(&self) -> bool {
        let state = self.state.borrow();
        state.stream.is_none() && state.listener.is_none()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
