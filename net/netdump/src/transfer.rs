//! Blocks out, acknowledgements in: a window over a source (RFC 7440; with a window of one, RFC 1350).

use crate::patience::Patience;
use crate::request::Session;
use crate::station::Station;
use crate::tftp::{Answer, DATA_HEADER, Message, data_header, error_text};
use crate::{PutError, Sent, Source};

/// The first block whose number is 0 again.
const FIRST_ZERO: u64 = 1 << 16;

/// Which blocks the server has, which are on the way, and which is next. Blocks count from 1.
struct Window {
    /// Blocks of the file.
    blocks: u64,
    /// The server has all up to this one.
    acked: u64,
    /// The last one that was sent in this turn.
    sent: u64,
    /// The last one that was ever sent.
    highest: u64,
    /// The last one that had been sent when it was gone back for the last time: what comes for blocks up to it may be due to
    /// copies of them.
    doubtful: u64,
    /// How many may be on the way.
    size: u64,
}

impl Window {
    /// The block to send now.
    ///
    /// At the first turn of the numbers the one whose number is 0 has to be acknowledged before another follows. A server that
    /// counts on from 1 would skip it and take the next in its place, and agree with us on all numbers from there.
    fn next(&self) -> Option<u64> {
        let unsure = self.sent == FIRST_ZERO && self.acked < FIRST_ZERO;
        (self.sent < self.blocks.min(self.acked + self.size) && !unsure).then_some(self.sent + 1)
    }

    /// That block was sent; true if not for the first time.
    fn was_sent(&mut self) -> bool {
        self.sent += 1;
        let again = self.sent <= self.highest;
        self.highest = self.highest.max(self.sent);
        again
    }

    /// The server has all blocks up to the one whose number ends in these 16 bits; false if that is not news.
    ///
    /// An acknowledgement from the middle of a window means that the next block got lost, since all that follows it was thrown
    /// away: all is sent again from there. But a server acknowledges where it is for a copy of a block that it has, too. If each
    /// of those made us go back, the blocks sent for it would be the next copies, and all would be sent twice to the end of the
    /// file. So until what was sent before the last time is acknowledged nobody goes back, except after a time of silence.
    ///
    /// One that repeats the last number means that the first block of a window got lost, or is a duplicate. Nothing is sent for it
    /// either, and time shows.
    fn acknowledge(&mut self, number: u16) -> bool {
        let ahead = u64::from(number.wrapping_sub(self.acked as u16));
        let news = ahead > 0 && ahead <= self.highest - self.acked;
        if news {
            self.acked += ahead;
            if self.acked >= self.sent {
                self.sent = self.acked;
            } else if self.acked >= self.doubtful {
                self.go_back();
            }
        }
        news
    }

    /// Sends all again that was not acknowledged.
    fn go_back(&mut self) {
        self.sent = self.acked;
        self.doubtful = self.highest;
    }
}

/// Sends all blocks.
pub fn run(
    station: &mut Station,
    session: &Session,
    source: &mut dyn Source,
    progress: &mut dyn FnMut(u64),
) -> Result<Sent, PutError> {
    let (size, block_size) = (source.size(), session.block_size as u64);
    // The last block is shorter than the others, and empty if need be. A block has 8 bytes at least: no overflow.
    let blocks = size / block_size + 1;
    let mut window =
        Window { blocks, acked: 0, sent: 0, highest: 0, doubtful: 0, size: session.window.into() };
    let mut resent = 0;
    let mut patience = Patience::new(session.settled);
    while window.acked < blocks {
        let (before, mut error) = (window.acked, None);
        station.poll(&mut |port, datagram| {
            if port != session.port {
                return;
            }
            match Answer::parse(datagram) {
                Some(Answer::Ack(number)) => {
                    window.acknowledge(number);
                }
                // Some versions of tftpd-hpa repeat their OACK where they mean ACK 0, each time that numbers begin anew.
                Some(Answer::Oack(_)) => {
                    window.acknowledge(0);
                }
                Some(Answer::Error(code, text)) => error = Some((code, error_text(text))),
                None => {}
            }
        });
        let acknowledged = size.min(window.acked.saturating_mul(block_size));
        let now = station.now();
        if window.acked > before {
            progress(acknowledged);
            patience = Patience::new(now);
        }
        // Even after the last block: what the server says it could not store, it has not.
        if let Some((code, text)) = error {
            return Err(PutError::Refused { code, text, acknowledged });
        }
        if window.acked == blocks {
            break;
        }
        if now < session.settled {
            continue;
        }
        if patience.is_over(now) {
            // Whoever is there after all need not wait for more, nor keep the file locked. Twice, since one may get lost.
            for _ in 0..2 {
                let _ = station.send_message(session.port, &Message::error(0, "no acknowledgement"));
            }
            let silent = PutError::Silent { server: station.server(), acknowledged, of: size };
            return Err(station.blame(silent));
        }
        if window.sent > window.acked && patience.is_due(now) && window.next().is_none() {
            patience.in_vain();
            if patience.tries > 1 {
                station.solicit()?;
            }
            window.go_back();
        }
        let mut any = false;
        while let Some(block) = window.next() {
            let offset = (block - 1) * block_size;
            let len = (size - offset).min(block_size) as usize;
            let sent = station.send(session.port, DATA_HEADER + len, &mut |datagram| {
                if let Some(data) = data_header(block, datagram) {
                    source.read(offset, data);
                }
            })?;
            if !sent {
                break;
            }
            resent += u64::from(window.was_sent());
            any = true;
        }
        if any {
            patience.sent(now);
            station.flush();
        }
    }
    Ok(Sent { bytes: size, block_size: session.block_size, window: session.window, resent })
}
