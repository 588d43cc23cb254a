//! A message as RFC 5424 section 6 has it.

use crate::civil::Timestamp;
use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;
use keelson_hal::Instant;

/// Bytes of a datagram at most: every receiver takes 480, and should take 2,048 (RFC 5424 section 6.1); between them lies what
/// arrives unfragmented and is taken whole by what is in use.
pub const LONGEST: usize = 1024;
/// At the end of a message that was cut.
pub const CUT: &str = "[...]";
/// In front of a message in UTF-8 (section 6.4).
const BOM: char = '\u{feff}';
/// Longest host name, application name and kind of message (section 6).
const HOST: usize = 255;
const APP: usize = 48;
const KIND: usize = 32;

/// What is said, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Facility, 0 to 23.
    pub facility: u8,
    /// Severity, 0 to 7.
    pub severity: u8,
    /// The time of day, since 1970; `None` while nobody knows it.
    pub wall: Option<Duration>,
    /// The time since boot.
    pub since_boot: Instant,
    /// This host; empty when it has no name.
    pub host: &'a str,
    /// The application: the role.
    pub app: &'a str,
    /// The kind of message: the log's target.
    pub kind: &'a str,
    /// Counts the messages of this boot, from 1 on.
    pub sequence: u32,
    /// What.
    pub text: &'a str,
}

impl Message<'_> {
    /// Writes the message into an empty string: at most [`LONGEST`] bytes, which are UTF-8 without control characters.
    pub fn write(&self, out: &mut String) {
        out.clear();
        let priority = u32::from(self.facility) * 8 + u32::from(self.severity.min(7));
        // Writing to a string cannot fail.
        let _ = write!(out, "<{priority}>1 ");
        match self.wall {
            Some(wall) => drop(write!(out, "{}", Timestamp(wall))),
            None => out.push('-'),
        }
        for (field, longest) in [(self.host, HOST), (self.app, APP)] {
            push_field(out, field, longest);
        }
        out.push_str(" -");
        push_field(out, self.kind, KIND);
        // Section 7.3: what a receiver orders by, and hundredths of a second since boot, which tell the time where no clock does.
        let hundredths = self.since_boot.as_millis() / 10 % (1 << 31);
        let _ = write!(out, " [meta sequenceId=\"{}\" sysUpTime=\"{hundredths}\"] ", self.sequence);
        if !self.text.is_ascii() {
            out.push(BOM);
        }
        self.push_text(out);
    }

    fn push_text(&self, out: &mut String) {
        let mut cut = out.len();
        for char in self.text.chars() {
            // Section 6.4: what receivers show is no place for escape sequences.
            let char = if char.is_control() { ' ' } else { char };
            if out.len() + char.len_utf8() > LONGEST {
                out.truncate(cut);
                out.push_str(CUT);
                return;
            }
            out.push(char);
            // How much stays if there is more than has room.
            if out.len() + CUT.len() <= LONGEST {
                cut = out.len();
            }
        }
    }
}

/// A blank, and what of `field` may stand in a field of the header; `-` if nothing may.
fn push_field(out: &mut String, field: &str, longest: usize) {
    out.push(' ');
    let start = out.len();
    out.extend(field.chars().filter(char::is_ascii_graphic).take(longest));
    if out.len() == start {
        out.push('-');
    }
}

/// The number after `sequence` (section 7.3.1).
pub fn next(sequence: u32) -> u32 {
    if sequence >= i32::MAX as u32 { 1 } else { sequence + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syslog::received;
    use proptest::prelude::*;

    fn message(text: &str) -> Message<'_> {
        Message {
            facility: 22,
            severity: 6,
            wall: Some(Duration::from_micros(1_709_210_096_000_007)),
            since_boot: Instant::from_nanos(12_345_678_000),
            host: "node 1",
            app: "lnet-router",
            kind: "lnet::router",
            sequence: 17,
            text,
        }
    }

    fn written(message: &Message<'_>) -> String {
        let mut out = String::from("what was before");
        message.write(&mut out);
        out
    }

    #[test]
    fn a_message_is_written_as_the_standard_says() {
        let said = message("tcp1:\tup");
        let expected = "<182>1 2024-02-29T12:34:56.000007Z node1 lnet-router - lnet::router \
                        [meta sequenceId=\"17\" sysUpTime=\"1234\"] tcp1: up";
        assert_eq!(written(&said), expected);
        let unknown = Message { wall: None, host: "", kind: "ä", severity: 9, ..said };
        assert!(written(&unknown).starts_with("<183>1 - - lnet-router - - [meta "));
        assert!(written(&message("für")).ends_with("] \u{feff}für"));
    }

    #[test]
    fn long_lines_are_cut_between_characters_and_marked() {
        let room = LONGEST - written(&message("")).len();
        let whole = "x".repeat(room);
        assert!(written(&message(&whole)).ends_with("xxx"));
        let longer = written(&message(&(whole + "x")));
        assert_eq!((longer.len(), longer.ends_with("xx[...]")), (LONGEST, true));
        // The byte order mark takes three bytes, and a character two.
        let wide = written(&message(&"ä".repeat(room)));
        assert!(wide.ends_with("ä[...]") && (LONGEST - 1..=LONGEST).contains(&wide.len()));
    }

    #[test]
    fn numbers_begin_anew_before_they_are_too_large() {
        assert_eq!(
            (next(0), next(1), next(i32::MAX as u32 - 1), next(i32::MAX as u32)),
            (1, 2, 2_147_483_647, 1)
        );
    }

    proptest! {
        #[test]
        fn whatever_is_said_receivers_can_read_it(
            (facility, severity, sequence) in (0u8..24, any::<u8>(), 1u32..=2_147_483_647),
            wall in prop::option::of(any::<u64>()),
            nanos in any::<u64>(),
            (host, app, kind) in (".{0,300}", ".{0,60}", ".{0,40}"),
            text in prop_oneof![".{0,1500}", "(\\PC|[\\x00-\\x20]){0,40}"],
        ) {
            let said = Message {
                facility, severity, sequence,
                wall: wall.map(Duration::from_micros),
                since_boot: Instant::from_nanos(nanos),
                host: &host, app: &app, kind: &kind, text: &text,
            };
            let bytes = written(&said);
            prop_assert!(bytes.len() <= LONGEST);
            let read = received::parse(bytes.as_bytes()).map_err(TestCaseError::fail)?;
            prop_assert_eq!((read.facility, read.severity), (facility, severity.min(7)));
            prop_assert_eq!(read.sequence(), Some(sequence));
            prop_assert_eq!(read.timestamp.is_some(), wall.is_some());
            let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            match read.text.strip_suffix(CUT) {
                Some(start) if read.text != shown => {
                    prop_assert!(shown.starts_with(start) && bytes.len() > LONGEST - 4 - CUT.len());
                }
                _ => prop_assert_eq!(&read.text, &shown),
            }
        }
    }
}
