//! Record marking on byte streams (RFC 5531 section 11): the reading side.

use std::io::{self, ErrorKind, Read};

use super::LONGEST;

/// Bit of a record mark that says "last fragment".
pub const LAST: u32 = 1 << 31;
/// Room for what comes in one go; it grows when a record is longer.
const ROOM: usize = 64 << 10;

/// Reads records, whatever fragments they come in, in a buffer that is kept. As much as there is is read at once: a
/// read of an endpoint costs far more than the bytes it brings.
#[derive(Default)]
pub struct Records {
    /// The record read last is before `start`; what has come and is not used yet is `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Length of the record read last.
    length: usize,
}

impl Records {
    /// Reads the next record. After an error the stream is of no more use.
    pub fn read(&mut self, stream: &mut impl Read) -> io::Result<()> {
        self.length = 0;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        // Fragments are joined at `start`: the first one by stepping over its mark, later ones by closing the gap.
        let mut joined = 0;
        loop {
            self.fetch(joined + 4, stream)?;
            let at = self.start + joined;
            let mark = u32::from_be_bytes(std::array::from_fn(|byte| self.bytes[at + byte]));
            let fragment = (mark & !LAST) as usize;
            if joined + fragment > LONGEST {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("a fragment of {fragment} bytes"),
                ));
            }
            if joined == 0 {
                self.start += 4;
            } else {
                self.bytes.copy_within(at + 4..self.end, at);
                self.end -= 4;
            }
            joined += fragment;
            self.fetch(joined, stream)?;
            if mark & LAST != 0 {
                self.start += joined;
                self.length = joined;
                return Ok(());
            }
        }
    }

    /// The record read last.
    pub fn record(&self) -> &[u8] {
        &self.bytes[self.start - self.length..self.start]
    }

    /// Reads until `count` unused bytes are there.
    fn fetch(&mut self, count: usize, stream: &mut impl Read) -> io::Result<()> {
        while self.end - self.start < count {
            if self.bytes.len() - self.start < count {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
                self.bytes.resize(self.bytes.len().max(count).max(ROOM), 0);
            }
            match stream.read(&mut self.bytes[self.end..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives at most `piece` bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn fragment(mark: u32, body: &[u8]) -> Vec<u8> {
        [&(mark | body.len() as u32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn records_come_whole_however_they_are_cut() {
        let large: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
        let stream = [
            fragment(LAST, b"one"),
            fragment(0, b""),
            fragment(0, b"t"),
            fragment(0, b"w"),
            fragment(LAST, b"o"),
            fragment(LAST, b""),
            fragment(0, &large[..77]),
            fragment(LAST, &large[77..]),
            fragment(LAST, b"end"),
        ]
        .concat();
        for piece in [1, 2, 3, 5, 1000, usize::MAX] {
            let (mut records, mut stream) = (Records::default(), Pieces(&stream, piece));
            for expected in [&b"one"[..], b"two", b"", &large, b"end"] {
                records.read(&mut stream).unwrap();
                assert!(records.record() == expected, "in pieces of {piece}");
            }
            assert_eq!(records.read(&mut stream).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn absurd_lengths_are_errors() {
        for stream in [fragment(u32::MAX, b""), [fragment(0, &[0; 9000]), fragment(1 << 20, b"")].concat()] {
            let error = Records::default().read(&mut &stream[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
    }
}
