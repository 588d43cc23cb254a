//! A host of the test process on a switch port: clients and servers written in the test itself.
//!
//! An [`Endpoint`] runs smoltcp on a thread of its own and offers a blocking interface: [`Endpoint::ping`],
//! [`Endpoint::tcp_connect`], [`Endpoint::udp`], and whole Ethernet frames in and out for everything unusual.
//! IPv4 datagrams of any size are fragmented and reassembled here, below smoltcp, so that a peer's fragments
//! meet an implementation that is not its own. IPv6 datagrams are not fragmented.

mod dhcp;
mod fragment;
mod ping;
mod stack;
mod tcp;
mod udp;
mod wire;

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use dhcp::{DhcpConfig, Lease};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;

use crate::error::{Error, Result};
use crate::lan::Port;
use stack::Shared;

/// An address with its prefix length, as in `10.0.0.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that the link's hosts have in common.
    pub prefix: u8,
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Address, ()> {
        let (ip, prefix) = text.split_once('/').ok_or(())?;
        let (ip, prefix): (IpAddr, u8) = (ip.parse().map_err(drop)?, prefix.parse().map_err(drop)?);
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        if prefix > longest { Err(()) } else { Ok(Address { ip, prefix }) }
    }
}

/// A host on a switch port. Dropping it unplugs it.
pub struct Endpoint {
    shared: Arc<Shared>,
    port: Port,
    mac: [u8; 6],
}

impl Endpoint {
    /// Plugs a host into `port`, with the port's default MAC address.
    pub fn new(port: Port, addresses: &[Address]) -> Result<Endpoint> {
        let mac = port.default_mac();
        let shared = Shared::start(port.connect()?, port.name(), mac, addresses)?;
        Ok(Endpoint { shared, port, mac })
    }

    /// The switch port: impair, cut, count.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// The MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sets the router for everything that is not on the link.
    pub fn set_gateway(&self, gateway: IpAddr) {
        self.shared.with(|stack| stack.set_gateway(gateway));
    }

    /// Sends one ICMP (or ICMPv6) echo request with `size` bytes of data and returns the round-trip time.
    pub fn ping(&self, to: IpAddr, size: usize, timeout: Duration) -> Result<Duration> {
        ping::ping(&self.shared, to, size, timeout)
    }

    /// Pings every 50 ms until there is an answer: waits for a host to come up.
    pub fn wait_for(&self, host: IpAddr, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.ping(host, 56, Duration::from_millis(200)) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() >= deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Sends a raw Ethernet frame, exactly as given.
    pub fn send_frame(&self, frame: &[u8]) {
        self.shared.with(|stack| stack.wire.send_raw(frame));
    }

    /// Copies of all frames received from now on; of one EtherType, or all with `None`.
    pub fn frames(&self, ether_type: Option<u16>) -> Frames {
        let (tap, frames) = mpsc::channel();
        self.shared.with(|stack| stack.wire.tap(ether_type, tap));
        Frames(frames)
    }

    /// Answers DHCP requests on this link from now on.
    pub fn serve_dhcp(&self, config: DhcpConfig) {
        self.shared.with(|stack| stack.wire.serve_dhcp(config, self.mac));
    }

    /// Leases given so far.
    pub fn leases(&self) -> Vec<Lease> {
        self.shared.with(|stack| stack.wire.leases())
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Frames arriving at an [`Endpoint`].
pub struct Frames(mpsc::Receiver<Vec<u8>>);

impl Frames {
    /// The next frame.
    pub fn receive(&self, timeout: Duration) -> Result<Vec<u8>> {
        self.0.recv_timeout(timeout).map_err(|_| Error::Timeout {
            waiting_for: "a frame".into(),
            after: timeout,
            seen: "none".into(),
        })
    }
}

#[cfg(test)]
mod tests;
