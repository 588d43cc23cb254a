//! AF_PACKET: frames of a network interface, tap or bridge (`--if`).
//!
//! Safe Rust has no way to write the kernel's packet address, so smoltcp opens and binds the socket, and a duplicate of its
//! descriptor is used from there on. It receives every frame of the interface.

use super::error::TransportError;
use super::{MAX_FRAME, Transport, interface};
use crate::reactor::{Reactor, Source};
use keelson_exec::sync::Notify;
use keelson_qnet::link::LinkAddress;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use smoltcp::phy::{Medium, RawSocket};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// Frames that are sent before the socket is asked again.
const BURST: usize = 256;

/// Frames of an interface.
pub struct Packet {
    name: String,
    interface: interface::Interface,
    source: Rc<Source>,
    changed: Rc<Notify>,
    is_up: Cell<bool>,
    buffer: RefCell<Vec<u8>>,
}

impl Packet {
    /// Opens an interface by its name. Needs CAP_NET_RAW.
    pub fn open(reactor: &Reactor, name: &str) -> Result<Packet, TransportError> {
        let doing = format!("find interface \"{name}\"");
        let remedy = "`ip link` lists what there is; Qnet needs an Ethernet interface";
        let interface = interface::find(name).map_err(TransportError::of(doing, remedy))?;
        let doing = format!("open a packet socket on \"{name}\"");
        let remedy = "run as root, or with CAP_NET_RAW";
        let fd = socket(name).map_err(TransportError::of(doing, remedy))?;
        let changed = Rc::default();
        let source = reactor.watch(fd, &changed);
        let buffer = RefCell::new(vec![0; MAX_FRAME]);
        Ok(Packet { name: name.into(), interface, source, changed, is_up: Cell::new(true), buffer })
    }
}

fn socket(name: &str) -> io::Result<OwnedFd> {
    let bound = RawSocket::new(name, Medium::Ethernet)?;
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    // The duplicate is closed on exec, and shares the mode that smoltcp set: it never waits.
    Ok(pidfd_getfd(&this, bound.as_raw_fd(), PidfdGetfdFlags::empty())?)
}

impl Transport for Packet {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        LinkAddress::Mac(self.interface.mac.0)
    }

    fn mtu(&self) -> usize {
        self.interface.mtu
    }

    fn is_up(&self) -> bool {
        self.is_up.get()
    }

    fn room(&self) -> usize {
        if self.source.is_clogged() { 0 } else { BURST }
    }

    fn send(&self, frame: &[u8]) -> bool {
        match send(self.source.fd(), frame, SendFlags::empty()) {
            // The interface's own queue is full. It does not say when it is not.
            Err(Errno::NOBUFS) => return false,
            Err(Errno::AGAIN) => {
                self.source.set_clogged(true);
                return false;
            }
            Err(Errno::NETDOWN) => self.is_up.set(false),
            // Too long, or gone: like a cable that is not there.
            Err(_) => {}
            Ok(_) => self.is_up.set(true),
        }
        true
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut buffer = self.buffer.borrow_mut();
        for count in 0..budget {
            match recv(self.source.fd(), &mut buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => {
                    self.is_up.set(true);
                    sink(buffer.get(..len).unwrap_or_default());
                }
                Err(Errno::NETDOWN) => self.is_up.set(false),
                Err(_) => return count,
            }
        }
        budget
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }
}
