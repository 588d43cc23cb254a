//! Characters on a framebuffer: a font of 8 by 8 dots, each dot one pixel wide and two high, on large screens more.

use super::grid::Place;
use crate::boot::Framebuffer;
use crate::mm::{self, Mmio};
use font8x8::legacy::BASIC_LEGACY;
use keelson_hal::Registers;

/// Size of a character in pixels, before it is enlarged.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;
/// Screens with so many lines of pixels have characters twice the size, for each of them.
const LINES_PER_SCALE: usize = 1440;

/// Light grey and white; on all layouts of colours the same.
const PLAIN: u32 = 0xaaaa_aaaa;
const BRIGHT: u32 = 0xffff_ffff;

/// How a picture lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    /// Bytes from a line to the next.
    pitch: usize,
    /// Bytes of a pixel.
    depth: usize,
    /// Pixels of the screen for each of a character.
    scale: usize,
    columns: usize,
    rows: usize,
}

impl Layout {
    /// `None` for what cannot be drawn on: other than 24 or 32 bits for a pixel, or lines that overlap.
    fn of(buffer: &Framebuffer) -> Option<Layout> {
        let depth = match buffer.bits {
            24 => 3,
            32 => 4,
            _ => return None,
        };
        let (width, height, pitch) = (buffer.width as usize, buffer.height as usize, buffer.pitch as usize);
        if width.checked_mul(depth)? > pitch {
            return None;
        }
        let scale = 1 + height / LINES_PER_SCALE;
        let (columns, rows) = (width / (WIDTH * scale), height / (HEIGHT * scale));
        (columns > 0 && rows > 0).then_some(Layout { pitch, depth, scale, columns, rows })
    }

    /// Calls `set` with the place of each byte or word of a character's pixels, and whether it is lit.
    fn draw(&self, at: Place, byte: u8, mut set: impl FnMut(usize, bool)) {
        let glyph = BASIC_LEGACY.get(usize::from(byte)).unwrap_or(&BASIC_LEGACY[usize::from(b'?')]);
        let (left, top) = (at.column * WIDTH * self.scale, at.row * HEIGHT * self.scale);
        for line in 0..HEIGHT * self.scale {
            let dots = glyph[line / self.scale * glyph.len() / HEIGHT];
            let start = (top + line) * self.pitch + left * self.depth;
            for pixel in 0..WIDTH * self.scale {
                set(start + pixel * self.depth, dots >> (pixel / self.scale) & 1 != 0);
            }
        }
    }
}

/// A screen of pixels.
pub struct Pixels {
    memory: Mmio,
    layout: Layout,
}

impl Pixels {
    /// Maps the framebuffer; `None` when it cannot be drawn on.
    pub fn open(buffer: &Framebuffer) -> Option<Pixels> {
        let layout = Layout::of(buffer)?;
        let memory = mm::map_picture(buffer.address, buffer.bytes()?).ok()?;
        Some(Pixels { memory, layout })
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.layout.columns, self.layout.rows)
    }

    /// Draws a character.
    pub fn draw(&mut self, at: Place, byte: u8, bright: bool) {
        if at.column >= self.layout.columns || at.row >= self.layout.rows {
            return;
        }
        let ink = if bright { BRIGHT } else { PLAIN };
        let memory = &self.memory;
        let is_word = self.layout.depth == 4;
        self.layout.draw(at, byte, |offset, lit| {
            let colour = if lit { ink } else { 0 };
            if is_word {
                memory.write32(offset, colour);
            } else {
                (0..3).for_each(|part| memory.write8(offset + part, colour as u8));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(width: u32, height: u32, pitch: u32, bits: u32) -> Framebuffer {
        Framebuffer { address: 0x8000_0000, width, height, pitch, bits }
    }

    #[test]
    fn layouts() {
        let size = |buffer: Framebuffer| Layout::of(&buffer).map(|l| (l.columns, l.rows, l.scale));
        assert_eq!(size(buffer(1280, 800, 5120, 32)), Some((160, 50, 1)));
        assert_eq!(size(buffer(1024, 768, 3072, 24)), Some((128, 48, 1)));
        assert_eq!(size(buffer(3840, 2160, 15360, 32)), Some((240, 67, 2)));
        assert_eq!(size(buffer(1280, 800, 5119, 32)), None, "lines overlap");
        assert_eq!(size(buffer(1280, 800, 5120, 16)), None);
        assert_eq!(size(buffer(7, 800, 5120, 32)), None);
        assert_eq!(size(buffer(u32::MAX, u32::MAX, u32::MAX, 32)), None);
    }

    #[test]
    fn characters_stay_within_their_cells() {
        for (width, height, bits) in [(64, 48, 32), (64, 48, 24), (32, 2880, 32)] {
            let pitch = width * bits / 8 + 12;
            let buffer = buffer(width, height, pitch, bits);
            let layout = Layout::of(&buffer).unwrap();
            let mut lit = std::collections::BTreeSet::new();
            let mut all = std::collections::BTreeSet::new();
            let at = Place { column: layout.columns - 1, row: layout.rows - 1 };
            layout.draw(at, b'A', |offset, is_lit| {
                assert!(all.insert(offset), "a pixel twice");
                if is_lit {
                    lit.insert(offset);
                }
            });
            assert_eq!(all.len(), WIDTH * HEIGHT * layout.scale * layout.scale);
            assert!(all.last().unwrap() + layout.depth <= buffer.bytes().unwrap());
            let dots: u32 = BASIC_LEGACY[usize::from(b'A')].iter().map(|row| row.count_ones()).sum();
            assert_eq!(lit.len(), 2 * layout.scale * layout.scale * dots as usize);
        }
    }
}
