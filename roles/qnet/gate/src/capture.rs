//! What stations put on a wire, for a dissector: a pcap file for each wire of each world, in the directory that
//! `KEELSON_QNET_CAPTURE` names.
//!
//! Frames are taken where they leave their station: what the wire does to them is no fault of the nodes.

use keelson_hal::Instant;
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::pcap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// EtherType of Qnet and the padding behind it (section 2.1).
const TYPE_AND_PAD: [u8; 4] = [0x82, 0x04, 0, 0];

/// A file that is being written.
pub struct Capture {
    path: PathBuf,
    file: File,
}

impl Capture {
    /// A new file, if somebody wants one.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn wanted() -> Option<Capture> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let directory = PathBuf::from(std::env::var_os("KEELSON_QNET_CAPTURE")?);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{}-{number}.pcap", std::process::id()));
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let capture = Capture { path, file };
        capture.write(&[&pcap::file_header(pcap::ETHERNET)]);
        Some(capture)
    }

    /// Adds a frame; `None` is everybody.
    pub fn frame(&self, at: Instant, from: LinkAddress, to: Option<LinkAddress>, lwl4: &[u8]) {
        let mac = |address| match address {
            LinkAddress::Mac(mac) => mac,
            LinkAddress::Ipv4(address) => panic!("{address} on a wire of the gate"),
        };
        let (to, from) = (to.map_or([0xff; 6], mac), mac(from));
        let len = (to.len() + from.len() + TYPE_AND_PAD.len() + lwl4.len()) as u32;
        self.write(&[&pcap::record_header(at.as_nanos(), len), &to, &from, &TYPE_AND_PAD, lwl4]);
    }

    fn write(&self, parts: &[&[u8]]) {
        // At once: a world ends with its process, and nobody would write what is still in a buffer.
        let written = (&self.file).write_all(&parts.concat());
        written.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }
}
