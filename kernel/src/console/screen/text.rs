//! The text mode of VGA: characters and colours as words at B8000h (IBM VGA Technical Reference; the registers are the same on
//! everything that calls itself VGA).

use super::grid::Place;
use crate::arch::port;
use crate::mm;

/// Where the characters are.
const MEMORY: u64 = 0xb_8000;
const MEMORY_LEN: usize = 0x8000;

const MISC_OUTPUT_READ: u16 = 0x3cc;
const GRAPHICS: u16 = 0x3ce;
const CRTC: u16 = 0x3d4;

const GRAPHICS_MISC: u8 = 6;
/// Graphics instead of text.
const GRAPHICS_MISC_GRAPHICS: u8 = 1 << 0;
/// Which addresses the memory is at: this for 32 KiB at B8000h.
const GRAPHICS_MISC_MAP: u8 = 3 << 2;
/// The registers of the CRTC are at 3Dxh, not at 3Bxh.
const MISC_OUTPUT_COLOUR: u8 = 1 << 0;

const CRTC_COLUMNS: u8 = 0x01;
const CRTC_OVERFLOW: u8 = 0x07;
const CRTC_CELL_HEIGHT: u8 = 0x09;
const CRTC_CURSOR_START: u8 = 0x0a;
const CRTC_START_HIGH: u8 = 0x0c;
const CRTC_START_LOW: u8 = 0x0d;
const CRTC_LINES: u8 = 0x12;
const CURSOR_OFF: u8 = 1 << 5;

/// Light grey and white on black.
const PLAIN: u16 = 0x07;
const BRIGHT: u16 = 0x0f;

/// A screen in text mode.
pub struct TextMode {
    columns: usize,
    rows: usize,
}

/// The registers that a mode is read from.
#[derive(Clone, Copy, Debug)]
struct Registers {
    misc_output: u8,
    graphics_misc: u8,
    columns: u8,
    overflow: u8,
    cell_height: u8,
    lines: u8,
}

impl Registers {
    /// Columns and rows, where this is a colour text mode at B8000h. Ports without a device behind them read as all ones.
    fn text_mode(self) -> Option<(usize, usize)> {
        let is_text = self.misc_output != 0xff
            && self.misc_output & MISC_OUTPUT_COLOUR != 0
            && self.graphics_misc & (GRAPHICS_MISC_GRAPHICS | GRAPHICS_MISC_MAP) == GRAPHICS_MISC_MAP;
        let bit = |mask: u8, number: u32| usize::from(self.overflow & mask != 0) << number;
        let lines = usize::from(self.lines) + bit(1 << 1, 8) + bit(1 << 6, 9) + 1;
        let rows = lines / (usize::from(self.cell_height & 0x1f) + 1);
        let columns = usize::from(self.columns) + 1;
        let fits =
            (40..=132).contains(&columns) && (12..=60).contains(&rows) && columns * rows * 2 <= MEMORY_LEN;
        (is_text && fits).then_some((columns, rows))
    }
}

impl TextMode {
    /// Looks whether there is a VGA that shows text. Only for a machine that a BIOS started: elsewhere nobody says that the
    /// registers are VGA's.
    pub fn find() -> Option<TextMode> {
        // SAFETY: 1. the ports belong to a VGA or to nothing; 2. only the first one changes nothing at all, so the others are looked
        // at when it reads as a VGA's; they change which register is selected, and nobody else uses them.
        let registers = unsafe {
            let misc_output = port::read8(MISC_OUTPUT_READ);
            if misc_output == 0xff || misc_output & MISC_OUTPUT_COLOUR == 0 {
                return None;
            }
            Registers {
                misc_output,
                graphics_misc: indexed(GRAPHICS, GRAPHICS_MISC),
                columns: indexed(CRTC, CRTC_COLUMNS),
                overflow: indexed(CRTC, CRTC_OVERFLOW),
                cell_height: indexed(CRTC, CRTC_CELL_HEIGHT),
                lines: indexed(CRTC, CRTC_LINES),
            }
        };
        let (columns, rows) = registers.text_mode()?;
        // SAFETY: a VGA's CRTC, as just seen: shows its memory from the beginning, without a cursor.
        unsafe {
            set_indexed(CRTC, CRTC_START_HIGH, 0);
            set_indexed(CRTC, CRTC_START_LOW, 0);
            set_indexed(CRTC, CRTC_CURSOR_START, CURSOR_OFF);
        }
        Some(TextMode { columns, rows })
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Draws a character.
    pub fn draw(&mut self, at: Place, byte: u8, bright: bool) {
        if at.column >= self.columns || at.row >= self.rows {
            return;
        }
        let colours = if bright { BRIGHT } else { PLAIN };
        let cells = mm::phys_to_virt(MEMORY) as *mut u16;
        // SAFETY: inside of the VGA's memory, as checked here and when the mode was read; the direct map shows the first megabyte.
        unsafe {
            cells.add(at.row * self.columns + at.column).write_volatile(colours << 8 | u16::from(byte))
        };
    }
}

/// # Safety
/// `port` is that of a pair of index and data registers of a VGA.
unsafe fn indexed(port: u16, index: u8) -> u8 {
    // SAFETY: the caller's promise.
    unsafe {
        port::write8(port, index);
        port::read8(port + 1)
    }
}

/// # Safety
/// As [`indexed`].
unsafe fn set_indexed(port: u16, index: u8, value: u8) {
    // SAFETY: the caller's promise.
    unsafe {
        port::write8(port, index);
        port::write8(port + 1, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mode 3 as a BIOS sets it: 400 lines of which 16 make a row.
    const MODE_3: Registers = Registers {
        misc_output: 0x67,
        graphics_misc: 0x0e,
        columns: 79,
        overflow: 0x1f,
        cell_height: 0x4f,
        lines: 0x8f,
    };

    #[test]
    fn text_modes_are_told_from_others() {
        assert_eq!(MODE_3.text_mode(), Some((80, 25)));
        assert_eq!(Registers { cell_height: 0x47, ..MODE_3 }.text_mode(), Some((80, 50)));
        for (what, other) in [
            ("graphics", Registers { graphics_misc: 0x05, ..MODE_3 }),
            ("monochrome memory", Registers { graphics_misc: 0x0a, ..MODE_3 }),
            ("monochrome", Registers { misc_output: 0x66, ..MODE_3 }),
            ("no cells", Registers { lines: 0, overflow: 0, ..MODE_3 }),
        ] {
            assert_eq!(other.text_mode(), None, "{what}");
        }
        let nobody = Registers {
            misc_output: 0xff,
            graphics_misc: 0xff,
            columns: 0xff,
            overflow: 0xff,
            cell_height: 0xff,
            lines: 0xff,
        };
        assert_eq!(nobody.text_mode(), None);
    }
}
