//! The endpoint's network card: frames to and from the switch, with IPv4 fragmentation underneath smoltcp.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Instant as Time;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::dhcp::{DhcpConfig, DhcpServer, Lease};
use super::fragment::{Reassembler, clamp_mss, fragment};
use crate::lan::{FrameReader, FrameWriter};

/// IP MTU of the switch's links.
pub const MTU: usize = 1500;
const ETHERNET_HEADER: usize = 14;
/// What smoltcp may hand down in one piece; everything above [`MTU`] is fragmented.
const LARGEST_PACKET: usize = 65_000;

pub struct Wire {
    stream: UnixStream,
    reader: FrameReader,
    out: Outlet,
    reassembler: Reassembler,
    taps: Vec<(Option<u16>, mpsc::Sender<Vec<u8>>)>,
    dhcp: Option<DhcpServer>,
    unplugged: bool,
}

/// The sending half.
struct Outlet {
    writer: FrameWriter,
    scratch: Vec<u8>,
    next_id: u16,
}

impl Wire {
    pub fn new(stream: UnixStream) -> Wire {
        Wire {
            stream,
            reader: FrameReader::default(),
            out: Outlet { writer: FrameWriter::default(), scratch: Vec::new(), next_id: 1 },
            reassembler: Reassembler::default(),
            taps: Vec::new(),
            dhcp: None,
            unplugged: false,
        }
    }

    /// Reads once; true if there may be more.
    pub fn fill(&mut self) -> bool {
        match self.reader.fill(&mut self.stream) {
            Ok(0) => {
                self.unplugged = true;
                false
            }
            Ok(_) => true,
            Err(e) => {
                self.unplugged |= !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
                false
            }
        }
    }

    pub fn flush(&mut self) {
        self.unplugged |= self.out.writer.flush(&mut self.stream).is_err();
    }

    pub fn wants_to_write(&self) -> bool {
        !self.out.writer.is_empty()
    }

    pub fn unplugged(&self) -> bool {
        self.unplugged
    }

    pub fn send_raw(&mut self, frame: &[u8]) {
        self.out.writer.push(frame);
    }

    pub fn tap(&mut self, ether_type: Option<u16>, tap: mpsc::Sender<Vec<u8>>) {
        self.taps.push((ether_type, tap));
    }

    pub fn serve_dhcp(&mut self, config: DhcpConfig, mac: [u8; 6]) {
        self.dhcp = Some(DhcpServer::new(config, mac));
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.dhcp.as_ref().map(DhcpServer::leases).unwrap_or_default()
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = loop {
            let frame = match self.reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(_) => {
                    self.unplugged = true;
                    return None;
                }
            };
            if !self.taps.is_empty() {
                let of_type = frame.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
                self.taps.retain(|(wanted, tap)| {
                    (wanted.is_some() && *wanted != of_type) || tap.send(frame.to_vec()).is_ok()
                });
            }
            if let Some(reply) = self.dhcp.as_mut().and_then(|dhcp| dhcp.answer(frame)) {
                self.out.writer.push(&reply);
                continue;
            }
            if let Some(frame) = self.reassembler.accept(frame, Time::now()) {
                break frame.into_owned();
            }
        };
        Some((Received(frame), Sending(&mut self.out)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + LARGEST_PACKET;
        capabilities
    }
}

pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Sending<'a>(&'a mut Outlet);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let out = self.0;
        out.scratch.clear();
        out.scratch.resize(len, 0);
        let result = f(&mut out.scratch);
        clamp_mss(&mut out.scratch, MTU);
        if len <= ETHERNET_HEADER + MTU {
            out.writer.push(&out.scratch);
        } else {
            out.next_id = out.next_id.wrapping_add(1);
            let writer = &mut out.writer;
            fragment(&out.scratch, MTU, out.next_id, |piece| {
                writer.push(piece);
            });
        }
        result
    }
}
