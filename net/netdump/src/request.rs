//! The request to write, its options, and what the server makes of them.

use crate::patience::Patience;
use crate::station::{OVERHEAD, Station};
use crate::tftp::{
    Answer, BAD_OPTIONS, DATA_HEADER, DEFAULT_BLOCK, LARGEST_BLOCK, Message, SMALLEST_BLOCK, error_text,
    number, options,
};
use crate::{PutError, Target};
use core::time::Duration;
use keelson_hal::Instant;

/// What every host of IPv4 takes (RFC 791); blocks of 512 bytes, which cannot be refused, fit.
const SMALLEST_MTU: usize = 576;
/// Of Ethernet without jumbo frames.
const COMMON_MTU: usize = 1500;
/// Blocks in flight that are asked for at most.
const WINDOW: usize = 16;
/// Bytes in them. A server's socket holds some 200 KiB of memory (net.core.rmem_default), of which a jumbo frame may take twice
/// its size, and what is lost at the end of a window costs a second.
const WINDOW_BYTES: usize = 64 << 10;
/// How long a request that was doubled on the way may come after the one that was answered.
const SETTLE: Duration = Duration::from_millis(200);

/// What the server is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// `None`: nothing, as in RFC 1350. Else the size of a block.
    block_size: Option<usize>,
}

/// A transfer that the server has begun.
pub struct Session {
    /// The server's port.
    pub port: u16,
    /// Bytes of a block.
    pub block_size: usize,
    /// Blocks in flight.
    pub window: u16,
    /// Before then, another copy of the request may start.
    pub settled: Instant,
}

/// What was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Granted {
    block_size: usize,
    window: u16,
}

/// Nothing: RFC 1350.
const PLAIN: Granted = Granted { block_size: DEFAULT_BLOCK, window: 1 };

/// How many blocks of this size are asked for.
fn window(block_size: usize) -> usize {
    (WINDOW_BYTES / block_size).clamp(1, WINDOW)
}

impl Ask {
    /// As much as packets of `mtu` bytes hold.
    pub fn new(mtu: usize) -> Result<Ask, PutError> {
        if mtu < SMALLEST_MTU {
            return Err(PutError::Mtu(mtu));
        }
        Ok(Ask { block_size: Some(LARGEST_BLOCK.min(mtu - OVERHEAD - DATA_HEADER)) })
    }

    /// What to ask for after this error; `None` if that would not help.
    pub fn less(&self, error: &PutError) -> Option<Ask> {
        let common = COMMON_MTU - OVERHEAD - DATA_HEADER;
        match (error, self.block_size) {
            // The server wants no options, or not these. RFC 2347 lets it say so instead of leaving them out.
            (PutError::Refused { code: BAD_OPTIONS, acknowledged: 0, .. }, Some(_)) => {
                Some(Ask { block_size: None })
            }
            // Somebody on the way has no jumbo frames.
            (PutError::Silent { acknowledged: 0, .. }, Some(size)) if size > common => {
                Some(Ask { block_size: Some(common) })
            }
            _ => None,
        }
    }

    fn request(&self, file: &str, size: u64) -> Message {
        match self.block_size {
            Some(block) => {
                let window = window(block) as u64;
                Message::request(file, &[("blksize", block as u64), ("windowsize", window), ("tsize", size)])
            }
            None => Message::request(file, &[]),
        }
    }

    /// Reads the options of an OACK. `None` if they are not what was asked for: RFC 2347 wants the transfer ended then.
    fn granted(&self, bytes: &[u8]) -> Option<Granted> {
        let mut granted = PLAIN;
        let asked = self.block_size?;
        for (name, value) in options(bytes) {
            if name.eq_ignore_ascii_case(b"blksize") {
                granted.block_size = number(value).filter(|size| (SMALLEST_BLOCK..=asked).contains(size))?;
            } else if name.eq_ignore_ascii_case(b"windowsize") {
                let granted_window = number(value).filter(|blocks| (1..=window(asked)).contains(blocks))?;
                granted.window = u16::try_from(granted_window).ok()?;
            } else if !name.eq_ignore_ascii_case(b"tsize") {
                // The size itself is for the server; some answer with what is left of it in 32 bits.
                return None;
            }
        }
        Some(granted)
    }
}

/// Asks until the server begins.
pub fn open(station: &mut Station, target: &Target, size: u64, ask: &Ask) -> Result<Session, PutError> {
    let request = ask.request(&target.file, size);
    let start = station.now();
    let (mut patience, mut last) = (Patience::new(start), start);
    loop {
        let mut answer = None;
        station.poll(&mut |port, datagram| {
            answer = answer.take().or_else(|| match Answer::parse(datagram)? {
                Answer::Ack(0) => Some(Ok((port, Some(PLAIN)))),
                Answer::Oack(bytes) => Some(Ok((port, ask.granted(bytes)))),
                Answer::Error(code, text) => {
                    Some(Err(PutError::Refused { code, text: error_text(text), acknowledged: 0 }))
                }
                Answer::Ack(_) => None,
            });
        });
        match answer.transpose()? {
            Some((port, Some(Granted { block_size, window }))) => {
                // A request that was repeated so long after the first may be answered as long after the first answer.
                let settled = station.now() + last.saturating_since(start) + SETTLE;
                return Ok(Session { port, block_size, window, settled });
            }
            Some((port, None)) => {
                let _ = station.send_message(port, &Message::error(BAD_OPTIONS, "not what was asked for"));
                return Err(PutError::Options);
            }
            None => {}
        }
        let now = station.now();
        if patience.is_over(now) {
            return Err(station.blame(PutError::NoServer(target.server, target.port)));
        }
        if patience.is_due(now) {
            if patience.tries > 1 {
                station.solicit()?;
            }
            if station.send_message(target.port, &request)? {
                patience.sent(now);
                patience.in_vain();
                last = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_fills_a_packet() {
        let asked = |mtu| Ask::new(mtu).map(|ask| ask.block_size);
        assert_eq!(asked(1500), Ok(Some(1468)));
        assert_eq!(asked(9000), Ok(Some(8968)));
        assert_eq!(asked(usize::MAX), Ok(Some(65_464)));
        assert_eq!(asked(575), Err(PutError::Mtu(575)));
    }

    #[test]
    fn no_more_is_taken_than_was_asked_for() {
        let ask = Ask::new(1500).unwrap();
        let granted = |bytes: &[u8]| ask.granted(bytes).map(|granted| (granted.block_size, granted.window));
        assert_eq!(granted(b""), Some((512, 1)));
        assert_eq!(granted(b"BLKSIZE\x001468\0WindowSize\x0016\0TSIZE\x00-5\0"), Some((1468, 16)));
        assert_eq!(granted(b"blksize\x008\0"), Some((8, 1)));
        for bad in [
            &b"blksize\x007\0"[..],
            b"blksize\x001469\0",
            b"blksize\0\0",
            b"windowsize\x000\0",
            b"windowsize\x0017\0",
            b"windowsize\x0065537\0",
            b"timeout\x001\0",
        ] {
            assert_eq!(granted(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(Ask { block_size: None }.granted(b"blksize\x00512\0"), None);
    }
}
