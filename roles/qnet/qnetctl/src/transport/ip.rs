//! IPv4 protocol 106 (`--ip`): a raw socket, for which the kernel makes the header of what is sent.

use super::error::TransportError;
use super::{DEFAULT_MTU, MAX_FRAME, Transport};
use crate::reactor::{Reactor, Source};
use keelson_exec::sync::Notify;
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::ipv4::{HEADER_LEN, Ipv4, PROTOCOL};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Frames that are sent before the socket is asked again.
const BURST: usize = 256;

/// Packets of an address of this host.
pub struct Ip {
    name: String,
    address: Ipv4Addr,
    source: Rc<Source>,
    changed: Rc<Notify>,
    buffer: RefCell<Vec<u8>>,
}

impl Ip {
    /// Sends from and receives at an address that this host has. Needs CAP_NET_RAW.
    pub fn open(reactor: &Reactor, address: Ipv4Addr) -> Result<Ip, TransportError> {
        let doing = format!("open a raw socket at {address}");
        let remedy = "run as root or with CAP_NET_RAW, and give an address that this host has";
        let fd = socket(address).map_err(TransportError::of(doing, remedy))?;
        let changed = Rc::default();
        let source = reactor.watch(fd, &changed);
        let buffer = RefCell::new(vec![0; MAX_FRAME]);
        Ok(Ip { name: address.to_string(), address, source, changed, buffer })
    }
}

fn socket(address: Ipv4Addr) -> io::Result<OwnedFd> {
    let protocol = NonZeroU32::new(PROTOCOL.into()).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::INET, SocketType::RAW, flags, protocol)?;
    bind(&fd, &SocketAddrV4::new(address, 0))?;
    Ok(fd)
}

impl Transport for Ip {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        LinkAddress::Ipv4(self.address)
    }

    fn mtu(&self) -> usize {
        DEFAULT_MTU
    }

    fn is_up(&self) -> bool {
        true
    }

    fn room(&self) -> usize {
        if self.source.is_clogged() { 0 } else { BURST }
    }

    fn send(&self, frame: &[u8]) -> bool {
        let Ok((header, _)) = Ipv4::decode(frame) else { return true };
        let payload = frame.get(HEADER_LEN..).unwrap_or_default();
        let to = SocketAddrV4::new(header.dst, 0);
        // Other errors: no route, or an ICMP message about an earlier packet.
        let full = sendto(self.source.fd(), payload, SendFlags::empty(), &to) == Err(Errno::AGAIN);
        self.source.set_clogged(full);
        !full
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut buffer = self.buffer.borrow_mut();
        for count in 0..budget {
            match recv(self.source.fd(), &mut buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => sink(buffer.get(..len).unwrap_or_default()),
                Err(Errno::AGAIN) => return count,
                // An ICMP message about an earlier packet.
                Err(_) => {}
            }
        }
        budget
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }
}
