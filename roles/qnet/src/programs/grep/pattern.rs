//! Basic regular expressions, as far as they need no groups: `.`, `*`, `[a-z]`, `[^a-z]`, `^`, `$`, `\`.
//!
//! All places of the pattern that a line may have got to are followed at once, so that the time is bounded by the
//! length of the line times that of the pattern, whatever both are.

use alloc::vec;
use alloc::vec::Vec;

/// Longest pattern.
const PATTERN_MAX: usize = 256;

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    at_start: bool,
    at_end: bool,
}

/// A set of bytes, once or any number of times.
#[derive(Debug)]
struct Part {
    bytes: [u64; 4],
    repeats: bool,
}

impl Part {
    fn of(bytes: &[u8]) -> Part {
        let mut part = Part { bytes: [0; 4], repeats: false };
        bytes.iter().for_each(|byte| part.add(*byte));
        part
    }

    fn add(&mut self, byte: u8) {
        if let Some(word) = self.bytes.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    fn has(&self, byte: u8) -> bool {
        self.bytes.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 != 0)
    }

    fn ignore_case(&mut self) {
        for byte in b'a'..=b'z' {
            let upper = byte.to_ascii_uppercase();
            if self.has(byte) || self.has(upper) {
                self.add(byte);
                self.add(upper);
            }
        }
    }
}

impl Pattern {
    /// Understands a pattern; `None` when a bracket or a backslash has no end, or it is too long.
    pub fn new(text: &[u8], ignore_case: bool) -> Option<Pattern> {
        if text.len() > PATTERN_MAX {
            return None;
        }
        let mut rest = text;
        let at_start = take(&mut rest, b'^');
        let mut pattern = Pattern { parts: Vec::new(), at_start, at_end: false };
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            let mut part = match first {
                b'$' if rest.is_empty() => {
                    pattern.at_end = true;
                    break;
                }
                b'.' => Part { bytes: [u64::MAX; 4], repeats: false },
                b'[' => set(&mut rest)?,
                b'\\' => {
                    let (quoted, behind) = rest.split_first()?;
                    rest = behind;
                    Part::of(&[*quoted])
                }
                // A star with nothing to repeat is itself.
                byte => Part::of(&[*byte]),
            };
            while take(&mut rest, b'*') {
                part.repeats = true;
            }
            if ignore_case {
                part.ignore_case();
            }
            pattern.parts.push(part);
        }
        Some(pattern)
    }

    /// Whether a part of the line fits.
    pub fn fits(&self, line: &[u8]) -> bool {
        let end = self.parts.len();
        let mut places = vec![false; end + 1];
        self.enter(&mut places, 0);
        let mut next = places.clone();
        for byte in line {
            if places.last() == Some(&true) && !self.at_end {
                return true;
            }
            next.fill(false);
            for (place, part) in self.parts.iter().enumerate() {
                if places.get(place) == Some(&true) && part.has(*byte) {
                    self.enter(&mut next, if part.repeats { place } else { place + 1 });
                }
            }
            if !self.at_start {
                self.enter(&mut next, 0);
            }
            core::mem::swap(&mut places, &mut next);
        }
        places.last() == Some(&true)
    }

    /// Gets to a place, and to those behind parts that may be there no times.
    fn enter(&self, places: &mut [bool], place: usize) {
        for place in place..places.len() {
            if let Some(entered) = places.get_mut(place) {
                *entered = true;
            }
            if !self.parts.get(place).is_some_and(|part| part.repeats) {
                break;
            }
        }
    }
}

fn take(rest: &mut &[u8], byte: u8) -> bool {
    let behind = rest.strip_prefix(&[byte]);
    if let Some(behind) = behind {
        *rest = behind;
    }
    behind.is_some()
}

/// What stands in brackets; a closing one that comes first is part of it.
fn set(rest: &mut &[u8]) -> Option<Part> {
    let is_negated = take(rest, b'^');
    let mut part = Part::of(&[]);
    let mut is_first = true;
    loop {
        let (first, behind) = rest.split_first()?;
        *rest = behind;
        if *first == b']' && !is_first {
            break;
        }
        is_first = false;
        match *rest {
            [b'-', last, behind @ ..] if *last != b']' => {
                *rest = behind;
                (*first..=*last).for_each(|byte| part.add(byte));
            }
            _ => part.add(*first),
        }
    }
    if is_negated {
        part.bytes = part.bytes.map(|word| !word);
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, line: &str) -> bool {
        Pattern::new(pattern.as_bytes(), false).unwrap().fits(line.as_bytes())
    }

    #[test]
    fn what_fits() {
        for (pattern, line) in [
            ("", ""),
            ("ok", "txd ok   930"),
            ("^txd", "txd ok"),
            ("930$", "txd ok 930"),
            ("^$", ""),
            ("a.c", "xabcx"),
            ("ab*c", "ac"),
            ("ab*c", "abbbc"),
            (".*x", "yyx"),
            ("[0-9][0-9]*", "a7"),
            ("[^a]", "ab"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("*", "a*"),
            ("a\\*b", "a*b"),
            ("$x", "a$x"),
            ("x^", "x^"),
        ] {
            assert!(fits(pattern, line), "{pattern:?} {line:?}");
        }
    }

    #[test]
    fn what_does_not() {
        for (pattern, line) in [
            ("ok", "txd o k"),
            ("^xd", "txd"),
            ("93$", "930"),
            ("^$", "x"),
            ("a.c", "ac"),
            ("[0-9]", "abc"),
            ("[^a]", "aa"),
            ("a\\.b", "axb"),
            ("OK", "ok"),
        ] {
            assert!(!fits(pattern, line), "{pattern:?} {line:?}");
        }
        assert!(Pattern::new(b"OK", true).unwrap().fits(b"is ok"));
        assert!(Pattern::new(b"[a-c]", true).unwrap().fits(b"B"));
        for text in ["[", "[a", "\\", "[]"] {
            assert!(Pattern::new(text.as_bytes(), false).is_none(), "{text}");
        }
        assert!(Pattern::new(&[b'a'; 257], false).is_none());
    }

    /// What takes others for ever.
    #[test]
    fn time_is_bounded() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!fits(&pattern, &"a".repeat(5000)));
    }
}
