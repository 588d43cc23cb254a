//! A host on the link that knows one other: frames, ARP, and the datagrams between us and the server.

use crate::patience::Patience;
use crate::tftp::Message;
use crate::{PutError, Target};
use core::net::Ipv4Addr;
use core::time::Duration;
use keelson_hal::{Clock, Instant, Link, NetDevice, RxMeta, TransmitError, TxOffload};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, UDP_HEADER_LEN, UdpPacket, UdpRepr,
};

/// How long the link may take after the device was reset.
const LINK_WAIT: Duration = Duration::from_secs(10);
/// Frames looked at in one turn.
const BUDGET: usize = 64;
/// The ports of clients: the dynamic ones of RFC 6335, of which there are 2^14.
const FIRST_PORT: u16 = 49_152;
const IPV4_HEADER_LEN: usize = smoltcp::wire::IPV4_HEADER_LEN;
const ETHERNET_HEADER_LEN: usize = EthernetFrame::<&[u8]>::header_len();
/// Bytes of an IP packet in front of what UDP carries.
pub const OVERHEAD: usize = IPV4_HEADER_LEN + UDP_HEADER_LEN;

/// The device, and who we are on its link.
pub struct Station<'a> {
    device: &'a mut dyn NetDevice,
    clock: &'a dyn Clock,
    host: Host,
}

/// What frames are compared with, and what they teach.
struct Host {
    mac: EthernetAddress,
    address: Ipv4Addr,
    server: Ipv4Addr,
    next_hop: Ipv4Addr,
    /// Our port of this transfer.
    port: u16,
    /// Where the next host is.
    neighbour: Option<EthernetAddress>,
    /// Whether that was asked: what nobody asked for is not believed.
    asking: bool,
    /// Who asked where we are, and has not been told.
    caller: Option<(EthernetAddress, Ipv4Addr)>,
}

impl<'a> Station<'a> {
    /// A host that has yet to look around.
    pub fn new(device: &'a mut dyn NetDevice, clock: &'a dyn Clock, target: &Target) -> Station<'a> {
        // Not the same port at each start, lest a server confuses this transfer with the one before.
        let port = FIRST_PORT | (clock.now().as_micros() % (1 << 14)) as u16;
        let host = Host {
            mac: EthernetAddress(target.mac.0),
            address: target.address,
            server: target.server,
            next_hop: target.next_hop,
            port,
            neighbour: None,
            asking: false,
            caller: None,
        };
        Station { device, clock, host }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The server's address.
    pub fn server(&self) -> Ipv4Addr {
        self.host.server
    }

    /// Takes another port: what is sent to the one before is not for us any more.
    pub fn new_port(&mut self) {
        self.host.port = FIRST_PORT | self.host.port.wrapping_add(1);
    }

    /// Waits until the device has a link.
    pub fn wait_for_link(&mut self) -> Result<(), PutError> {
        let start = self.now();
        while self.device.link() == Link::Down {
            if self.now().saturating_since(start) >= LINK_WAIT {
                return Err(PutError::NoLink);
            }
            // A ring that was left full by the time before is of no use.
            self.poll(&mut |_, _| ());
        }
        Ok(())
    }

    /// Asks for the next host until it answers.
    pub fn resolve(&mut self) -> Result<(), PutError> {
        let mut patience = Patience::new(self.now());
        loop {
            self.poll(&mut |_, _| ());
            if self.host.neighbour.is_some() {
                return Ok(());
            }
            let now = self.now();
            if patience.is_over(now) {
                return Err(self.blame(PutError::NoNeighbour(self.host.next_hop)));
            }
            if patience.is_due(now) && self.solicit()? {
                patience.sent(now);
                patience.in_vain();
            }
        }
    }

    /// Asks where the next host is (now), and believes the answer. False if the device has no room.
    pub fn solicit(&mut self) -> Result<bool, PutError> {
        self.host.asking = true;
        let nobody = EthernetAddress([0; 6]);
        self.send_arp(ArpOperation::Request, EthernetAddress::BROADCAST, nobody, self.host.next_hop)
    }

    /// Looks at the frames that have come, and hands over what the server sent to our port: from which of its ports, and the
    /// datagram. Answers who asks where we are.
    pub fn poll(&mut self, take: &mut dyn FnMut(u16, &[u8])) {
        let Station { device, host, .. } = self;
        let count = device.receive(BUDGET, &mut |frame, meta| {
            if let Some((port, datagram)) = host.input(frame, meta) {
                take(port, datagram);
            }
        });
        if let Some((mac, address)) = self.host.caller.take() {
            // Without room they ask again.
            let _ = self.send_arp(ArpOperation::Reply, mac, mac, address);
        }
        if count == 0 {
            core::hint::spin_loop();
        }
    }

    /// Sends a datagram of `len` bytes to this port of the server. False if the device has no room for it now.
    pub fn send(&mut self, port: u16, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<bool, PutError> {
        let Host { address, server, .. } = self.host;
        let Some(neighbour) = self.host.neighbour else { return Ok(false) };
        let udp = UdpRepr { src_port: self.host.port, dst_port: port };
        let ip = Ipv4Repr {
            src_addr: address,
            dst_addr: server,
            next_header: IpProtocol::Udp,
            payload_len: UDP_HEADER_LEN + len,
            hop_limit: 64,
        };
        let checksums = ChecksumCapabilities::default();
        self.transmit(neighbour, EthernetProtocol::Ipv4, OVERHEAD + len, &mut |packet| {
            let mut packet = Ipv4Packet::new_unchecked(packet);
            ip.emit(&mut packet, &checksums);
            let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
            udp.emit(&mut datagram, &address.into(), &server.into(), len, &mut *fill, &checksums);
        })
    }

    /// Sends a request or an error to this port of the server, at once. False as for [`Station::send`].
    pub fn send_message(&mut self, port: u16, message: &Message) -> Result<bool, PutError> {
        let bytes = message.bytes();
        let sent = self.send(port, bytes.len(), &mut |datagram| datagram.copy_from_slice(bytes));
        self.flush();
        sent
    }

    /// Lets go what was sent.
    pub fn flush(&mut self) {
        self.device.flush();
    }

    /// What to say when nothing comes: the device's troubles are nobody else's.
    pub fn blame(&mut self, otherwise: PutError) -> PutError {
        if self.device.link() == Link::Down {
            PutError::NoLink
        } else if self.device.transmit_room() == 0 {
            PutError::Device
        } else {
            otherwise
        }
    }

    fn send_arp(
        &mut self,
        operation: ArpOperation,
        to: EthernetAddress,
        target_hardware_addr: EthernetAddress,
        target_protocol_addr: Ipv4Addr,
    ) -> Result<bool, PutError> {
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: self.host.mac,
            source_protocol_addr: self.host.address,
            target_hardware_addr,
            target_protocol_addr,
        };
        let sent = self.transmit(to, EthernetProtocol::Arp, arp.buffer_len(), &mut |packet| {
            arp.emit(&mut ArpPacket::new_unchecked(packet));
        });
        self.flush();
        sent
    }

    fn transmit(
        &mut self,
        to: EthernetAddress,
        ethertype: EthernetProtocol,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<bool, PutError> {
        if self.device.transmit_room() == 0 {
            return Ok(false);
        }
        let header = EthernetRepr { src_addr: self.host.mac, dst_addr: to, ethertype };
        let len = ETHERNET_HEADER_LEN + len;
        let sent = self.device.transmit(len, TxOffload::default(), &mut |buffer| {
            // It is of that length, or the driver is broken.
            let Some(buffer) = buffer.get_mut(..len) else { return };
            let mut frame = EthernetFrame::new_unchecked(buffer);
            header.emit(&mut frame);
            fill(frame.payload_mut());
        });
        match sent {
            Ok(()) => Ok(true),
            Err(TransmitError::Full) => Ok(false),
            Err(TransmitError::TooLong) => Err(PutError::Mtu(len - ETHERNET_HEADER_LEN)),
        }
    }
}

impl Host {
    /// Learns from a frame. What the server sent to our port is returned.
    fn input<'f>(&mut self, frame: &'f [u8], meta: RxMeta) -> Option<(u16, &'f [u8])> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let to_us = frame.dst_addr() == self.mac;
        match frame.ethertype() {
            EthernetProtocol::Arp if to_us || frame.dst_addr().is_broadcast() => {
                self.arp(&ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()?);
                None
            }
            EthernetProtocol::Ipv4 if to_us => self.datagram(frame.payload(), meta),
            _ => None,
        }
    }

    fn arp(&mut self, packet: &ArpRepr) {
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: mac,
            source_protocol_addr: address,
            target_protocol_addr,
            ..
        } = *packet
        else {
            return;
        };
        if !mac.is_unicast() || target_protocol_addr != self.address || address == self.address {
            return;
        }
        if self.asking && address == self.next_hop {
            (self.neighbour, self.asking) = (Some(mac), false);
        }
        if operation == ArpOperation::Request {
            self.caller = Some((mac, address));
        }
    }

    fn datagram<'f>(&self, packet: &'f [u8], meta: RxMeta) -> Option<(u16, &'f [u8])> {
        let checksums = ChecksumCapabilities::default();
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
        let ours =
            ip.src_addr == self.server && ip.dst_addr == self.address && ip.next_header == IpProtocol::Udp;
        // Fragments are refused above unless some other crate of the image asks smoltcp for reassembly.
        if !ours || packet.more_frags() || packet.frag_offset() != 0 {
            return None;
        }
        let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
        // A device that vouches for a checksum may hand over a frame whose checksum was never completed (virtio).
        let checked = meta.checksum_ok
            || datagram.checksum() == 0
            || datagram.verify_checksum(&ip.src_addr.into(), &ip.dst_addr.into());
        (checked && datagram.dst_port() == self.port).then(|| (datagram.src_port(), datagram.payload()))
    }
}
