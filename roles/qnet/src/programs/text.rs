//! What programs have in common: options, and lines of text.

use crate::procs::{Exit, Process, Stream};
use alloc::format;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;

/// Options as POSIX has them: `-a -b`, `-ab`, `-o value`, `-ovalue`, `--` ahead of the rest.
pub(super) struct Options<'a> {
    flags: Vec<char>,
    values: Vec<(char, &'a str)>,
    /// Operands.
    pub rest: Vec<&'a str>,
}

impl<'a> Options<'a> {
    /// `flags` are letters without a value, `valued` those with one. Others are an error.
    pub async fn parse(process: &'a Process, flags: &str, valued: &str) -> Result<Options<'a>, Exit> {
        match Options::split(process.args().iter().map(|arg| arg.as_str()), flags, valued) {
            Ok(options) => Ok(options),
            Err(Unfit::Unknown(letter)) => Err(process.usage(&format!("unknown option -- {letter}")).await),
            Err(Unfit::NoValue(letter)) => {
                Err(process.usage(&format!("option -{letter} needs an argument")).await)
            }
        }
    }

    fn split(args: impl Iterator<Item = &'a str>, flags: &str, valued: &str) -> Result<Options<'a>, Unfit> {
        let mut options = Options { flags: Vec::new(), values: Vec::new(), rest: Vec::new() };
        let mut args = args;
        while let Some(arg) = args.next() {
            let letters = match arg.strip_prefix('-') {
                Some("-") => break,
                Some(letters) if !letters.is_empty() => letters,
                _ => {
                    options.rest.push(arg);
                    break;
                }
            };
            for (at, letter) in letters.char_indices() {
                if flags.contains(letter) {
                    options.flags.push(letter);
                } else if valued.contains(letter) {
                    let behind = letters.get(at + letter.len_utf8()..).filter(|value| !value.is_empty());
                    let value = behind.or_else(|| args.next()).ok_or(Unfit::NoValue(letter))?;
                    options.values.push((letter, value));
                    break;
                } else {
                    return Err(Unfit::Unknown(letter));
                }
            }
        }
        options.rest.extend(args);
        Ok(options)
    }

    pub fn has(&self, letter: char) -> bool {
        self.flags.contains(&letter)
    }

    /// The last value of an option.
    pub fn value(&self, letter: char) -> Option<&'a str> {
        self.values(letter).last()
    }

    /// All values of an option.
    pub fn values(&self, letter: char) -> impl DoubleEndedIterator<Item = &'a str> {
        self.values.iter().filter(move |(other, _)| *other == letter).map(|(_, value)| *value)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unfit {
    Unknown(char),
    NoValue(char),
}

/// Longest line; a longer one is taken for several.
pub(super) const LINE_MAX: usize = 16_384;

/// Lines of an input.
pub(super) struct Lines {
    input: Rc<dyn Stream>,
    buffer: Vec<u8>,
    start: usize,
    is_over: bool,
}

impl Lines {
    pub fn new(input: Rc<dyn Stream>) -> Lines {
        Lines { input, buffer: Vec::new(), start: 0, is_over: false }
    }

    /// The next line, without its newline; `None` at the end.
    pub async fn next(&mut self, process: &Process) -> Result<Result<Option<&[u8]>, Errno>, Exit> {
        let (end, taken) = loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                break (end, end + 1);
            }
            if rest.len() >= LINE_MAX || self.is_over && !rest.is_empty() {
                break (rest.len().min(LINE_MAX), rest.len().min(LINE_MAX));
            }
            if self.is_over {
                return Ok(Ok(None));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let len = self.buffer.len();
            let mut piece = vec![0; LINE_MAX];
            match process.read(&*self.input, &mut piece).await? {
                Ok(0) => self.is_over = true,
                Ok(more) => self.buffer.extend_from_slice(piece.get(..more).unwrap_or_default()),
                Err(errno) => return Ok(Err(errno)),
            }
            debug_assert!(self.buffer.len() <= len + LINE_MAX);
        };
        let start = self.start;
        self.start += taken;
        Ok(Ok(Some(self.buffer.get(start..start + end).unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let options =
            Options::split(["-ie", "A", "-eB", "-n", "--", "-x", "f"].into_iter(), "in", "e").unwrap();
        assert!(options.has('i') && options.has('n'));
        assert_eq!(options.values('e').collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!((options.value('e'), options.rest), (Some("B"), vec!["-x", "f"]));
        assert_eq!(Options::split(["-x"].into_iter(), "", "").err(), Some(Unfit::Unknown('x')));
        assert_eq!(Options::split(["-e"].into_iter(), "", "e").err(), Some(Unfit::NoValue('e')));
        // What is behind the first operand is an operand, and so is a lone dash.
        let options = Options::split(["-", "-n"].into_iter(), "n", "").unwrap();
        assert_eq!(options.rest, ["-", "-n"]);
    }
}
