//! What a machine's screen shows.

use std::fs;

use super::running::Machine;
use crate::error::{Error, Result};

/// Where a VGA has the characters of a text mode, and how many a screen has of them.
const TEXT_MEMORY: u64 = 0xb_8000;
const TEXT_COLUMNS: usize = 80;
const TEXT_ROWS: usize = 25;

/// A picture of a screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Pixels of a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Red, green and blue of each pixel, line by line.
    pub pixels: Vec<[u8; 3]>,
}

impl Machine {
    /// The rows of a screen in text mode, without blanks at their ends.
    pub fn text_screen(&self) -> Result<Vec<String>> {
        let len = TEXT_COLUMNS * TEXT_ROWS * 2;
        let bytes = self.captured("text", |file| {
            let arguments = format!("{{\"val\":{TEXT_MEMORY},\"size\":{len},\"filename\":\"{file}\"}}");
            self.qmp("pmemsave", &arguments)
        })?;
        let row = |cells: &[u8]| {
            let text: Vec<u8> = cells.chunks_exact(2).map(|cell| cell[0]).collect();
            String::from_utf8_lossy(&text).trim_end_matches([' ', '\0']).to_string()
        };
        Ok(bytes.chunks_exact(TEXT_COLUMNS * 2).map(row).collect())
    }

    /// What the screen shows, in whatever mode.
    pub fn picture(&self) -> Result<Picture> {
        let bytes =
            self.captured("picture", |file| self.qmp("screendump", &format!("{{\"filename\":\"{file}\"}}")))?;
        Picture::read(&bytes).ok_or_else(|| Error::machine(self.name(), "QEMU's picture is no PPM"))
    }

    /// What QEMU writes into a file of this kind.
    fn captured(&self, kind: &str, capture: impl FnOnce(&str) -> Result<String>) -> Result<Vec<u8>> {
        let file = self.file(&format!("{kind}.capture"));
        capture(&file.display().to_string())?;
        let bytes = fs::read(&file).map_err(Error::io(format!("read {}", file.display())));
        let _ = fs::remove_file(&file);
        bytes
    }
}

impl Picture {
    /// Reads a binary PPM without comments, of 256 steps for a colour, as QEMU writes it.
    fn read(bytes: &[u8]) -> Option<Picture> {
        let mut words = bytes.splitn(4, |byte| byte.is_ascii_whitespace());
        let mut number = |expected: Option<&str>| {
            let word = std::str::from_utf8(words.next()?).ok()?;
            match expected {
                Some(expected) => (word == expected).then_some(0),
                None => word.parse::<usize>().ok(),
            }
        };
        number(Some("P6"))?;
        let (width, height) = (number(None)?, number(None)?);
        let pixels = words.next()?.strip_prefix(b"255\n")?;
        let pixels: Vec<[u8; 3]> = pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
        (pixels.len() == width.checked_mul(height)?).then_some(Picture { width, height, pixels })
    }

    /// True when the pixel is brighter than not; dark outside of the picture.
    pub fn is_lit(&self, x: usize, y: usize) -> bool {
        let pixel = if x < self.width { self.pixels.get(y * self.width + x) } else { None };
        pixel.is_some_and(|[_, green, _]| *green >= 0x80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_read() {
        let picture = Picture::read(b"P6\n2 1\n255\n\x00\x00\x00\xaa\xaa\xaa").unwrap();
        assert_eq!((picture.width, picture.height), (2, 1));
        let lit = [(0, 0), (1, 0), (2, 0), (0, 1)].map(|(x, y)| picture.is_lit(x, y));
        assert_eq!(lit, [false, true, false, false]);
        assert_eq!(Picture::read(b"P6\n2 2\n255\n\x00\x00\x00"), None);
        assert_eq!(Picture::read(b"P5\n1 1\n255\n\x00\x00\x00"), None);
    }
}
