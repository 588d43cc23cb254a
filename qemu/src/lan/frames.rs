//! Frames on a byte stream, as QEMU's `-netdev stream` speaks: a big-endian 32-bit length, then the frame.

use std::io::{self, Read, Write};

/// Longest frame the bench carries. QEMU's own limit is 68 KiB; nothing here sends more than a full IP packet.
pub const MAX_FRAME: usize = 68 * 1024;

/// Takes whole frames out of a stream. One buffer, no allocation per frame.
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for FrameReader {
    /// A reader holding up to 256 KiB, so that one `read` brings many frames.
    fn default() -> FrameReader {
        FrameReader { buffer: vec![0; 256 * 1024], start: 0, end: 0 }
    }
}

impl FrameReader {
    /// Forgets a half-received frame: the other side is a new one.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// One `read`. `Ok(0)` is the end of the stream; `WouldBlock` passes through.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let n = from.read(&mut self.buffer[self.end..])?;
        self.end += n;
        Ok(n)
    }

    /// The next complete frame. An absurd length is an error: the stream can not be followed any further.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let held = &self.buffer[self.start..self.end];
        let Some(head) = held.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if len > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {len} bytes")));
        }
        if held.len() < 4 + len {
            return Ok(None);
        }
        let at = self.start + 4;
        self.start = at + len;
        Ok(Some(&self.buffer[at..at + len]))
    }
}

/// Bytes waiting to be written to a stream, bounded.
#[derive(Default)]
pub struct FrameWriter {
    buffer: Vec<u8>,
    written: usize,
}

impl FrameWriter {
    /// What may wait before frames are refused; generous, so that loss comes from impairment and not from here.
    const LIMIT: usize = 8 << 20;

    /// Appends a frame; false (and nothing appended) if too much is waiting already.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.waiting() + frame.len() > Self::LIMIT {
            return false;
        }
        self.buffer.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.buffer.extend_from_slice(frame);
        true
    }

    /// Appends a frame of `len` bytes, zeroes until `fill` has written them.
    pub fn push_with(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let at = self.buffer.len() + 4;
        self.buffer.extend_from_slice(&(len as u32).to_be_bytes());
        self.buffer.resize(at + len, 0);
        fill(&mut self.buffer[at..]);
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Drops everything: the other side is gone.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.written = 0;
    }

    /// Writes as much as the stream takes now.
    pub fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        while self.written < self.buffer.len() {
            match to.write(&self.buffer[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // Keep the buffer short, but do not move bytes for every small write.
                    if self.written > self.buffer.len() / 2 {
                        self.buffer.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_chopping(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..20),
            chop in 1usize..5000,
        ) {
            let mut writer = FrameWriter::default();
            for frame in &frames {
                prop_assert!(writer.push(frame));
            }
            let mut stream = Vec::new();
            writer.flush(&mut stream).unwrap();
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(chop) {
                let mut chunk = chunk;
                reader.fill(&mut chunk).unwrap();
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, frames);
        }
    }

    #[test]
    fn an_absurd_length_is_an_error() {
        let mut reader = FrameReader::default();
        reader.fill(&mut &[0xff, 0, 0, 0, 1][..]).unwrap();
        assert!(reader.next_frame().is_err());
    }
}
