//! The bytes of TFTP: what is sent is written into the frame, what comes is looked at where it lies.

use crate::error::ErrorText;
use core::fmt::{self, Write};

/// Opcodes of RFC 1350, section 5, and RFC 2347.
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;
/// Opcode and number of the block, in front of the data.
pub const DATA_HEADER: usize = 4;
/// The size of a block without options.
pub const DEFAULT_BLOCK: usize = 512;
/// Limits of the option, RFC 2348.
pub const SMALLEST_BLOCK: usize = 8;
/// See [`SMALLEST_BLOCK`].
pub const LARGEST_BLOCK: usize = 65_464;
/// "Terminate transfer due to option negotiation", RFC 2347.
pub const BAD_OPTIONS: u16 = 8;

/// What a server says. `text` and the options are as they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// All blocks up to this one have arrived.
    Ack(u16),
    /// The request is granted, with these options.
    Oack(&'a [u8]),
    /// It is over.
    Error(u16, &'a [u8]),
}

impl<'a> Answer<'a> {
    /// Reads a datagram. `None` for what a server has no reason to send.
    pub fn parse(datagram: &'a [u8]) -> Option<Answer<'a>> {
        let (opcode, rest) = split_u16(datagram)?;
        match opcode {
            ACK => Some(Answer::Ack(split_u16(rest)?.0)),
            OACK => Some(Answer::Oack(rest)),
            ERROR => split_u16(rest).map(|(code, text)| Answer::Error(code, text)),
            _ => None,
        }
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(first, rest)| (u16::from_be_bytes(*first), rest))
}

/// The pairs of an OACK, up to one that is not complete or has no name.
pub fn options(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    core::iter::from_fn(move || {
        let name = until_nul(&mut bytes).filter(|name| !name.is_empty())?;
        Some((name, until_nul(&mut bytes)?))
    })
}

fn until_nul<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at_checked(end)?;
    *bytes = rest.get(1..)?;
    Some(text)
}

/// A decimal number, and nothing else.
pub fn number(text: &[u8]) -> Option<usize> {
    let digits = Some(text).filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit))?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// The text of an error, fit for a console.
pub fn error_text(text: &[u8]) -> ErrorText {
    let mut shown = ErrorText::new();
    for byte in text.iter().copied().take_while(|byte| *byte != 0) {
        let plain = (byte.is_ascii_graphic() || byte == b' ') && byte != b'\\';
        let room = if plain {
            shown.push(char::from(byte)).is_ok()
        } else {
            write!(shown, "{}", core::ascii::escape_default(byte)).is_ok()
        };
        if !room {
            break;
        }
    }
    shown
}

/// Writes DATA's header; the data follow it.
pub fn data_header(block: u64, into: &mut [u8]) -> Option<&mut [u8]> {
    let (header, data) = into.split_first_chunk_mut::<DATA_HEADER>()?;
    // The number's lowest 16 bits: 0 follows 65,535.
    let [.., high, low] = block.to_be_bytes();
    *header = [0, DATA as u8, high, low];
    Some(data)
}

/// A request or an error: short, and of a length that has to be known before a frame is made of it.
pub struct Message(heapless::Vec<u8, 320>);

impl Message {
    /// Asks to write `file`, with these options.
    pub fn request(file: &str, options: &[(&str, u64)]) -> Message {
        let mut message = Message::new(WRQ);
        // There is room: 128 bytes for the name, 36 for each of three options.
        let _ = write!(message, "{file}\0octet\0");
        for (name, value) in options {
            let _ = write!(message, "{name}\0{value}\0");
        }
        message
    }

    /// Ends a transfer.
    pub fn error(code: u16, text: &str) -> Message {
        let mut message = Message::new(ERROR);
        let _ = message.0.extend_from_slice(&code.to_be_bytes());
        let _ = write!(message, "{text}\0");
        message
    }

    fn new(opcode: u16) -> Message {
        Message(opcode.to_be_bytes().into_iter().collect())
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_errors_are_what_the_rfcs_say() {
        let request = Message::request("core", &[("blksize", 1468), ("tsize", u64::MAX)]);
        assert_eq!(request.bytes(), b"\0\x02core\0octet\0blksize\x001468\0tsize\x0018446744073709551615\0");
        assert_eq!(Message::error(8, "no").bytes(), b"\0\x05\0\x08no\0");
        let name = core::str::from_utf8(&[b'x'; 128]).unwrap();
        let longest = [("blksize", 65464), ("windowsize", 65535), ("tsize", u64::MAX)];
        let longest = Message::request(name, &longest);
        assert!(longest.bytes().ends_with(b"tsize\x0018446744073709551615\0"));
    }

    #[test]
    fn answers_are_read_as_far_as_they_go() {
        assert_eq!(Answer::parse(b"\0\x04\xff\xfe"), Some(Answer::Ack(0xfffe)));
        assert_eq!(Answer::parse(b"\0\x04\xff"), None);
        assert_eq!(Answer::parse(b"\0\x05\0\x03full"), Some(Answer::Error(3, b"full")));
        assert_eq!(Answer::parse(b"\0\x05\0"), None);
        assert_eq!(Answer::parse(b"\0"), None);
        assert_eq!(Answer::parse(b"\0\x03\0\x01"), None);
        let Some(Answer::Oack(bytes)) = Answer::parse(b"\0\x06blksize\x008\0tsize\x00") else { panic!() };
        assert!(options(bytes).eq([(&b"blksize"[..], &b"8"[..])]));
        assert_eq!(options(b"a\0b").count(), 0);
        assert_eq!(options(b"\0\0a\0b\0").count(), 0);
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number(b"1468"), Some(1468));
        for text in [&b""[..], b"+1", b"-1", b" 1", b"0x1", b"99999999999999999999999", b"\xff"] {
            assert_eq!(number(text), None);
        }
    }

    #[test]
    fn the_text_of_an_error_is_escaped_and_bounded() {
        assert_eq!(error_text(b"can't: No space\x1b[2J\\\xff\0rest"), "can't: No space\\x1b[2J\\\\\\xff");
        assert!(error_text(&[b'\x01'; 4096]).len() <= 96);
        assert_eq!(error_text(&[b'a'; 4096]).len(), 96);
    }
}
