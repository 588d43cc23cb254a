//! Cuts the byte stream into messages (lnet specification section 3.8): headers are read where they lie in the
//! receive ring, and put together only when the ring or a segment ends within one.

use keelson_lnet_wire::hello::Version;
use keelson_lnet_wire::ksock::{KsockHeader, KsockKind, UnknownKind};
use keelson_lnet_wire::message::{Header, HeaderError};

/// The longest pair of headers.
pub(super) const LONGEST: usize = KsockHeader::LEN + Header::LARGE;

/// What stands at the front of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    Noop(KsockHeader),
    /// A message, whose payload follows.
    Lnet(KsockHeader, Header),
}

/// The stream cannot be followed any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    Kind(UnknownKind),
    Header(HeaderError),
}

/// Reads headers.
pub(super) struct Framer {
    version: Version,
    swapped: bool,
    bytes: [u8; LONGEST],
    have: usize,
}

impl Framer {
    pub fn new(version: Version, swapped: bool) -> Framer {
        Framer { version, swapped, bytes: [0; LONGEST], have: 0 }
    }

    /// True when nothing of a header has been read.
    pub fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Takes bytes from the front of `input` up to the end of the next pair of headers; `None` when all were
    /// taken and more are needed.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Lost> {
        if self.have == 0 {
            match self.decode(input)? {
                Some((frame, len)) => {
                    *input = input.get(len..).unwrap_or_default();
                    return Ok(Some(frame));
                }
                None => self.gather(input, self.prefix()),
            }
        }
        loop {
            let gathered = self.bytes.get(..self.have).unwrap_or_default();
            if let Some((frame, _)) = self.decode(gathered)? {
                self.have = 0;
                return Ok(Some(frame));
            }
            if input.is_empty() {
                return Ok(None);
            }
            let target = if self.have < self.prefix() { self.prefix() } else { self.full() };
            self.gather(input, target);
        }
    }

    /// Length of the first header; version 1 has none.
    fn prefix(&self) -> usize {
        if self.version == Version::V1 { 0 } else { KsockHeader::LEN }
    }

    fn full(&self) -> usize {
        self.prefix() + self.version.header_len()
    }

    fn gather(&mut self, input: &mut &[u8], target: usize) {
        let (taken, rest) = input.split_at(target.saturating_sub(self.have).min(input.len()));
        if let Some(room) = self.bytes.get_mut(self.have..self.have + taken.len()) {
            room.copy_from_slice(taken);
            self.have += taken.len();
        }
        *input = rest;
    }

    /// The frame at the front of `bytes`, if it is all there, and its length.
    fn decode(&self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Lost> {
        let (ksock, rest) = if self.version == Version::V1 {
            (KsockHeader::lnet(), bytes)
        } else {
            let Some((first, rest)) = bytes.split_first_chunk() else { return Ok(None) };
            (KsockHeader::decode(first, self.swapped).map_err(Lost::Kind)?, rest)
        };
        if ksock.kind == KsockKind::Noop {
            return Ok(Some((Frame::Noop(ksock), KsockHeader::LEN)));
        }
        let header = if self.version == Version::V4 {
            rest.first_chunk().map(Header::decode_large)
        } else {
            rest.first_chunk().map(Header::decode_small)
        };
        match header {
            Some(header) => Ok(Some((Frame::Lnet(ksock, header.map_err(Lost::Header)?), self.full()))),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lnet_wire::ksock::ZcAcks;
    use keelson_lnet_wire::message::Kind;
    use keelson_lnet_wire::nid::Nid;
    use proptest::prelude::*;

    fn header(n: u64) -> Header {
        let nid = Nid::from_nid4(0x0002_0000_0a00_0001);
        let mut body = [0; Header::BODY];
        body[..8].copy_from_slice(&n.to_le_bytes());
        let (dest_pid, src_pid, kind) = (12345, 12345, Kind::Get);
        Header { dest_nid: nid, src_nid: nid, dest_pid, src_pid, kind, payload_length: 0, body }
    }

    fn encode(version: Version, frame: &Frame) -> Vec<u8> {
        let (ksock, header) = match frame {
            Frame::Noop(ksock) => (ksock, None),
            Frame::Lnet(ksock, header) => (ksock, Some(header)),
        };
        let mut bytes = if version == Version::V1 { vec![] } else { ksock.encode().to_vec() };
        match header {
            Some(header) if version == Version::V4 => {
                let mut large = [0; Header::LARGE];
                header.encode_large(&mut large);
                bytes.extend(large);
            }
            Some(header) => {
                let mut small = [0; Header::SMALL];
                header.encode_small(&mut small).unwrap();
                bytes.extend(small);
            }
            None => {}
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_survive_any_cuts(
            kinds in prop::collection::vec(any::<bool>(), 0..20),
            cuts in prop::collection::vec(1usize..130, 0..60),
            version in 1u32..5,
        ) {
            let version = [Version::V1, Version::V2, Version::V3, Version::V4][version as usize - 1];
            let frame = |(n, noop): (usize, &bool)| match noop {
                true if version != Version::V1 => {
                    Frame::Noop(KsockHeader::noop(ZcAcks::Two(n as u64 + 9, 3)))
                }
                _ => Frame::Lnet(KsockHeader::lnet(), header(n as u64)),
            };
            let sent: Vec<Frame> = kinds.iter().enumerate().map(frame).collect();
            let stream: Vec<u8> = sent.iter().flat_map(|frame| encode(version, frame)).collect();
            let mut framer = Framer::new(version, false);
            let mut received = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (mut piece, tail) = rest.split_at(cut.min(rest.len()));
                rest = tail;
                while !piece.is_empty() {
                    received.extend(framer.next(&mut piece).unwrap());
                }
            }
            prop_assert!(framer.is_empty());
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn no_bytes_panic_and_all_are_taken_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..400), swapped in any::<bool>(),
        ) {
            for version in [Version::V1, Version::V2, Version::V3, Version::V4] {
                let mut framer = Framer::new(version, swapped);
                let mut input = &bytes[..];
                while let Ok(Some(_)) = framer.next(&mut input) {}
            }
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused_as_early_as_possible() {
        let mut framer = Framer::new(Version::V3, false);
        assert_eq!(framer.next(&mut &[0xc2; 24][..]), Err(Lost::Kind(UnknownKind(0xc2c2_c2c2))));
        let mut wrong = encode(Version::V3, &Frame::Lnet(KsockHeader::lnet(), header(0)));
        wrong[24 + 28] = 1;
        let error = HeaderError::UnexpectedPayload(Kind::Get, 1);
        assert_eq!(framer.next(&mut &wrong[..]), Err(Lost::Header(error)));
    }
}
