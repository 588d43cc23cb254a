//! A pcap file as a transport (`--replay`): its frames come as fast as they are taken; what is sent goes nowhere.

use super::error::TransportError;
use super::{DEFAULT_MTU, Transport};
use keelson_exec::sync::Notify;
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::pcap::{self, Reader};
use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

/// Frames of a file.
pub struct Replay {
    name: String,
    address: LinkAddress,
    file: Vec<u8>,
    /// Where its frames are.
    frames: Vec<Range<usize>>,
    next: Cell<usize>,
    changed: Rc<Notify>,
}

impl Replay {
    /// Reads a file of Ethernet frames or IP packets. The node that hears them has this address, or none of IP's.
    pub fn open(path: &Path, mac: [u8; 6]) -> Result<Replay, TransportError> {
        let doing = format!("replay \"{}\"", path.display());
        let remedy = "it must be a pcap (not pcapng) file of Ethernet frames or IP packets";
        let file = std::fs::read(path).map_err(TransportError::plain(&doing))?;
        let (frames, is_ip) = index(&file).map_err(TransportError::of(doing, remedy))?;
        let address = if is_ip { LinkAddress::Ipv4(Ipv4Addr::UNSPECIFIED) } else { LinkAddress::Mac(mac) };
        let name = path.display().to_string();
        Ok(Replay { name, address, file, frames, next: Cell::new(0), changed: Rc::default() })
    }
}

fn index(file: &[u8]) -> io::Result<(Vec<Range<usize>>, bool)> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let reader = Reader::new(file).map_err(|error| invalid(error.to_string()))?;
    let is_ip = match reader.link_type() {
        pcap::ETHERNET => false,
        pcap::RAW_IP => true,
        other => return Err(invalid(format!("link type {other} is neither Ethernet (1) nor IP (101)"))),
    };
    let mut frames = Vec::new();
    // Behind the file's header and each record's.
    let mut at = 24;
    for record in reader {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        at += 16;
        frames.push(at..at + record.bytes.len());
        at += record.bytes.len();
    }
    Ok((frames, is_ip))
}

impl Transport for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        self.address
    }

    fn mtu(&self) -> usize {
        DEFAULT_MTU
    }

    fn is_up(&self) -> bool {
        true
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn send(&self, _: &[u8]) -> bool {
        true
    }

    fn receive(&self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let from = self.next.get();
        let batch = self.frames.iter().skip(from).take(budget);
        let mut count = 0;
        for range in batch {
            count += 1;
            sink(self.file.get(range.clone()).unwrap_or_default());
        }
        self.next.set(from + count);
        count
    }

    fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    fn has_ended(&self) -> bool {
        self.next.get() >= self.frames.len()
    }
}
