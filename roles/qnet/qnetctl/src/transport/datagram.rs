//! QEMU's datagram sockets: each datagram is a frame (`--qemu-dgram`).

use super::error::TransportError;
use super::{DEFAULT_MTU, MAX_FRAME, Transport};
use crate::reactor::{Reactor, Source};
use keelson_exec::sync::Notify;
use keelson_qnet::link::LinkAddress;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recv, send,
    sendto, socket_with, sockopt,
};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Frames that are sent before the socket is asked again.
const BURST: usize = 256;

/// Where datagrams go between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ends {
    /// UDP: our address and QEMU's.
    Inet(SocketAddr, SocketAddr),
    /// Unix sockets: our path and QEMU's.
    Unix(PathBuf, PathBuf),
    /// A multicast group: `-netdev socket,mcast=`.
    Group(SocketAddrV4),
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ends::Inet(local, remote) => write!(f, "{local},{remote}"),
            Ends::Unix(local, remote) => write!(f, "{},{}", local.display(), remote.display()),
            Ends::Group(group) => write!(f, "{group}"),
        }
    }
}

/// Where a frame is sent.
enum To {
    /// The socket is connected.
    Peer,
    Group(SocketAddrV4),
    /// Connected as soon as the other end is there.
    Path(SocketAddrUnix, Cell<bool>),
}

/// Frames as datagrams.
pub struct Datagrams {
    name: String,
    mac: [u8; 6],
    to: To,
    source: Rc<Source>,
    /// What frames are sent by.
    out: Rc<Source>,
    changed: Rc<Notify>,
    buffer: RefCell<Vec<u8>>,
    /// Our unix socket, to be removed.
    path: Option<PathBuf>,
}

impl Datagrams {
    /// Opens our end. It does not matter which end is opened first.
    pub fn open(reactor: &Reactor, ends: &Ends, mac: [u8; 6]) -> Result<Datagrams, TransportError> {
        let doing = format!("open the datagram socket {ends}");
        let remedy = "the first address is this end's and must be free, the second is QEMU's";
        let (fd, out, to) = open(ends).map_err(TransportError::of(doing, remedy))?;
        let changed = Rc::default();
        let source = reactor.watch(fd, &changed);
        let out = out.map_or_else(|| source.clone(), |fd| reactor.watch(fd, &changed));
        let path = match ends {
            Ends::Unix(local, _) => Some(local.clone()),
            _ => None,
        };
        let buffer = RefCell::new(vec![0; MAX_FRAME]);
        Ok(Datagrams { name: ends.to_string(), mac, to, source, out, changed, buffer, path })
    }
}

/// A socket, and another one if what is sent needs one of its own.
fn open(ends: &Ends) -> io::Result<(OwnedFd, Option<OwnedFd>, To)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match ends {
        Ends::Inet(local, remote) => {
            let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let fd = socket_with(family, SocketType::DGRAM, flags, None)?;
            bind(&fd, local)?;
            connect(&fd, remote)?;
            Ok((fd, None, To::Peer))
        }
        Ends::Group(group) => {
            let fd = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
            // Every member of the group on this host has the port.
            sockopt::set_socket_reuseaddr(&fd, true)?;
            bind(&fd, group)?;
            sockopt::set_ip_add_membership(&fd, group.ip(), &Ipv4Addr::UNSPECIFIED)?;
            sockopt::set_ip_multicast_loop(&fd, true)?;
            Ok((fd, None, To::Group(*group)))
        }
        Ends::Unix(local, remote) => {
            let remote = SocketAddrUnix::new(remote)?;
            remove_stale(local);
            let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
            bind(&fd, &SocketAddrUnix::new(local)?)?;
            // A connected socket is told when the other end takes more, and hears nobody else: whoever comes after the
            // present other end could not be heard.
            let out = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
            Ok((fd, Some(out), To::Path(remote, Cell::new(false))))
        }
    }
}

/// Removes what a process left that was killed.
fn remove_stale(path: &Path) {
    let probe = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    if probe.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        let _ = std::fs::remove_file(path);
    }
}

impl Datagrams {
    fn try_send(&self, frame: &[u8]) -> Result<usize, Errno> {
        match &self.to {
            To::Peer => send(self.out.fd(), frame, SendFlags::empty()),
            To::Group(group) => sendto(self.out.fd(), frame, SendFlags::empty(), group),
            To::Path(path, connected) => {
                if !connected.get() {
                    connect(self.out.fd(), path)?;
                    connected.set(true);
                }
                let sent = send(self.out.fd(), frame, SendFlags::empty());
                connected.set(matches!(sent, Ok(_) | Err(Errno::AGAIN)));
                sent
            }
        }
    }
}

impl Transport for Datagrams {
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
        true
    }

    fn room(&self) -> usize {
        if self.out.is_clogged() { 0 } else { BURST }
    }

    fn send(&self, frame: &[u8]) -> bool {
        // Other errors: nobody is there, as with a cable that leads nowhere.
        let full = self.try_send(frame) == Err(Errno::AGAIN);
        self.out.set_clogged(full);
        !full
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut buffer = self.buffer.borrow_mut();
        for count in 0..budget {
            match recv(self.source.fd(), &mut buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => sink(buffer.get(..len).unwrap_or_default()),
                // What was sent before found nobody: no frame, and not the end.
                Err(Errno::CONNREFUSED | Errno::CONNRESET) => {}
                Err(_) => return count,
            }
        }
        budget
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
