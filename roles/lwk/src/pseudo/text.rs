//! Text that is as long as what programs made is much.

use crate::{Errno, room};
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Bytes of a piece: short, so that long texts need no memory in one place, and none of them is copied when it grows.
const PIECE: usize = 16 << 10;

/// The text of a file, as far as there is memory for it: ENOMEM else. For `write!` and `writeln!`.
#[derive(Default)]
pub struct Text {
    /// All but the last one are full.
    pieces: Vec<Vec<u8>>,
}

impl Text {
    /// These bytes.
    pub fn of(bytes: &[u8]) -> Result<Text, Errno> {
        let mut text = Text::default();
        text.put(bytes)?;
        Ok(text)
    }

    /// What `write!` calls.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), Errno> {
        Formatted(self).write_fmt(text).map_err(|_| Errno::ENOMEM)
    }

    /// Adds bytes that need not be UTF-8.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let last = match self.pieces.last_mut() {
                Some(last) if last.len() < PIECE => last,
                _ => {
                    room::push(&mut self.pieces, Vec::new())?;
                    continue;
                }
            };
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - last.len()));
            room::extend(last, now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        let full = self.pieces.len().saturating_sub(1) * PIECE;
        full + self.pieces.last().map_or(0, Vec::len)
    }

    /// All of it, for who needs it in one place.
    pub fn joined(&self) -> Result<Vec<u8>, Errno> {
        let mut bytes = room::with_room(self.len())?;
        self.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        Ok(bytes)
    }

    /// What follows a place, in parts.
    pub fn from(&self, at: usize) -> impl Iterator<Item = &[u8]> {
        let first = self.pieces.get(at / PIECE).and_then(|piece| piece.get(at % PIECE..));
        let others = self.pieces.get(at / PIECE + 1..).unwrap_or_default();
        first.into_iter().chain(others.iter().map(|piece| &piece[..]))
    }
}

struct Formatted<'a>(&'a mut Text);

impl Write for Formatted<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.0.put(piece.as_bytes()).map_err(|_| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_in_any_parts() {
        let (mut text, mut whole) = (Text::default(), Vec::new());
        assert_eq!((text.len(), text.from(0).count()), (0, 0));
        for number in 0..20_000 {
            write!(text, "{number} ").unwrap();
            whole.extend_from_slice(format!("{number} ").as_bytes());
        }
        text.put(&[7; 3 * PIECE]).unwrap();
        whole.extend_from_slice(&[7; 3 * PIECE]);
        assert_eq!(text.len(), whole.len());
        assert_eq!(text.joined().unwrap(), whole);
        for at in [0, 1, PIECE - 1, PIECE, 5 * PIECE + 17, whole.len() - 1, whole.len()] {
            assert_eq!(text.from(at).flatten().copied().collect::<Vec<_>>(), whole[at..], "{at}");
        }
        assert_eq!(text.from(whole.len() + PIECE).count(), 0);
    }
}
