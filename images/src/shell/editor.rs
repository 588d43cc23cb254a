//! One line of input at a time from a terminal: echo, backspace, Ctrl-C, Ctrl-U. Nothing more.

use alloc::string::String;

/// Longest line. A longer one is not taken at all: half a command may be another command.
pub const LINE_MAX: usize = 1024;

/// What became of one byte of input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Send this back to the terminal.
    Echo(&'static [u8]),
    /// Send the byte back to the terminal.
    EchoByte(u8),
    /// A line is complete.
    Line(String),
    /// The line was given up: show a new prompt.
    Cancelled,
    /// The line that was just ended was too long.
    TooLong,
    /// Nothing to show.
    Nothing,
}

/// The line being typed.
#[derive(Default)]
pub struct Editor {
    line: String,
    too_long: bool,
    after_return: bool,
}

impl Editor {
    /// Takes one byte. Bytes beyond ASCII are ignored.
    pub fn feed(&mut self, byte: u8) -> Outcome {
        // Terminals send CR, CR LF or LF.
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => Outcome::Nothing,
            b'\r' | b'\n' => {
                let line = core::mem::take(&mut self.line);
                if core::mem::take(&mut self.too_long) { Outcome::TooLong } else { Outcome::Line(line) }
            }
            0x08 | 0x7f => match self.line.pop() {
                Some(_) => Outcome::Echo(b"\x08 \x08"),
                None => Outcome::Nothing,
            },
            0x03 | 0x15 => {
                self.line.clear();
                self.too_long = false;
                Outcome::Cancelled
            }
            // Tabs indent in documents.
            b'\t' | b' '..=b'~' if self.line.len() >= LINE_MAX => {
                self.too_long = true;
                Outcome::Nothing
            }
            b'\t' | b' '..=b'~' => {
                self.line.push(byte.into());
                Outcome::EchoByte(byte)
            }
            _ => Outcome::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<String> {
        let mut editor = Editor::default();
        let line = |byte| match editor.feed(byte) {
            Outcome::Line(line) => Some(line),
            _ => None,
        };
        input.iter().copied().filter_map(line).collect()
    }

    #[test]
    fn every_kind_of_line_end_ends_one_line() {
        assert_eq!(lines(b"a\rb\r\nc\nd\n\n"), ["a", "b", "c", "d", ""]);
    }

    #[test]
    fn editing() {
        assert_eq!(lines(b"ab\x7fc\r"), ["ac"]);
        assert_eq!(lines(b"\x08\x08x\r"), ["x"]);
        assert_eq!(lines(b"rm -rf\x15ls\r"), ["ls"]);
        assert_eq!(lines(b"a\x1b\xff\x00b\r"), ["ab"]);
    }

    #[test]
    fn long_lines_are_not_taken() {
        let mut input = vec![b'x'; LINE_MAX + 1];
        input.extend(b"\rshort\r");
        assert_eq!(lines(&input), ["short"]);
        let mut input = vec![b'x'; LINE_MAX];
        input.extend(b"\r");
        assert_eq!(lines(&input)[0].len(), LINE_MAX);
    }
}
