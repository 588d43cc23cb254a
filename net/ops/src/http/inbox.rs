//! What has come in on a connection and was not answered yet.

use super::request::{Refusal, is_token_byte};
use alloc::vec::Vec;

/// Most bytes of a head. Prometheus and curl send some hundred.
pub const HEAD_MAX: usize = 4096;
/// Most bytes of a request line.
pub const TARGET_MAX: usize = 1024;

/// Bytes of a connection: one head that is being received, and what came behind it. Looked at once each, however slowly they
/// come.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// In front of here there is no end of a head.
    scanned: usize,
    first_line_ended: bool,
}

impl Inbox {
    /// True when nothing of a request has come: no request is being waited for to its end.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes as much of `bytes` as fits, and says how much.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(HEAD_MAX - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        // Empty lines in front of a request mean nothing (RFC 9112 section 2.2).
        if self.scanned == 0 {
            let blank = self.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.bytes.drain(..blank);
        }
        taken
    }

    /// The length of the head in front, empty line included; `None` when it is not complete yet. Refuses what cannot become a
    /// request any more.
    pub fn head(&mut self) -> Result<Option<usize>, Refusal> {
        let bytes = &self.bytes;
        if bytes.first().is_some_and(|byte| !is_token_byte(*byte)) {
            return Err(Refusal::Malformed("this is not HTTP"));
        }
        loop {
            let found = bytes[self.scanned..].iter().position(|byte| *byte == b'\n');
            let line_end = self.scanned + found.unwrap_or(bytes.len() - self.scanned);
            if !self.first_line_ended && line_end > TARGET_MAX {
                return Err(Refusal::TargetTooLong);
            }
            self.scanned = line_end;
            if found.is_none() {
                break;
            }
            self.first_line_ended = true;
            match bytes[line_end + 1..] {
                [b'\n', ..] => return Ok(Some(line_end + 2)),
                [b'\r', b'\n', ..] => return Ok(Some(line_end + 3)),
                // What follows decides.
                [] | [b'\r'] => break,
                _ => self.scanned = line_end + 1,
            }
        }
        if bytes.len() >= HEAD_MAX { Err(Refusal::HeadTooLong) } else { Ok(None) }
    }

    /// The bytes of a head of this length.
    pub fn bytes(&self, head: usize) -> &[u8] {
        self.bytes.get(..head).unwrap_or_default()
    }

    /// Forgets a head that was answered; what came behind it is the beginning of the next.
    pub fn forget(&mut self, head: usize) {
        self.bytes.drain(..head.min(self.bytes.len()));
        (self.scanned, self.first_line_ended) = (0, false);
        self.push(&[]);
    }
}
