//! Captures in the classic pcap format (the file header of libpcap's `savefile`, nanosecond variant).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes frames to a file that tcpdump and Wireshark read.
pub struct Pcap<W: Write> {
    out: W,
    /// Bytes kept of each frame.
    snap: usize,
    /// Bytes the file may still grow by; a long test does not fill the disk.
    room: u64,
}

impl Pcap<BufWriter<File>> {
    /// Creates `path`, keeping `snap` bytes of each frame.
    pub fn create(path: &Path, snap: usize) -> io::Result<Self> {
        Pcap::new(BufWriter::with_capacity(64 * 1024, File::create(path)?), snap, 256 << 20)
    }
}

impl<W: Write> Pcap<W> {
    /// Magic of a little-endian file with nanosecond time stamps.
    const MAGIC: u32 = 0xa1b2_3c4d;
    const LINKTYPE_ETHERNET: u32 = 1;

    /// Writes the file header; at most `room` bytes follow it.
    pub fn new(mut out: W, snap: usize, room: u64) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        header.extend(Self::MAGIC.to_le_bytes());
        header.extend(2u16.to_le_bytes());
        header.extend(4u16.to_le_bytes());
        header.extend([0; 8]); // time zone and accuracy: always 0
        header.extend((snap as u32).to_le_bytes());
        header.extend(Self::LINKTYPE_ETHERNET.to_le_bytes());
        out.write_all(&header)?;
        Ok(Pcap { out, snap, room })
    }

    /// Adds a frame seen at `at`. Silently nothing once the file is as large as it may be.
    pub fn record(&mut self, at: SystemTime, frame: &[u8]) -> io::Result<()> {
        let kept = &frame[..frame.len().min(self.snap)];
        let size = 16 + kept.len() as u64;
        if size > self.room {
            return Ok(());
        }
        self.room -= size;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut head = [0; 16];
        head[0..4].copy_from_slice(&(since.as_secs() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&since.subsec_nanos().to_le_bytes());
        head[8..12].copy_from_slice(&(kept.len() as u32).to_le_bytes());
        head[12..16].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(kept)
    }

    /// Brings everything recorded into the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bytes_are_as_libpcap_defines_them() {
        let mut file = Vec::new();
        let mut pcap = Pcap::new(&mut file, 4, 1000).unwrap();
        pcap.record(UNIX_EPOCH + Duration::new(1, 2), &[1, 2, 3, 4, 5, 6]).unwrap();
        #[rustfmt::skip]
        let expected = [
            0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0,
            1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 1, 2, 3, 4,
        ];
        assert_eq!(file, expected);
    }

    #[test]
    fn a_capture_stops_growing() {
        let mut file = Vec::new();
        let mut pcap = Pcap::new(&mut file, 1500, 200).unwrap();
        for _ in 0..10 {
            pcap.record(UNIX_EPOCH, &[0; 60]).unwrap();
        }
        assert_eq!(file.len(), 24 + 2 * 76);
    }
}
