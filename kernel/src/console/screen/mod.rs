//! The screen: the end of the log as text, where the machine has one and somebody set it up, and the whole of a panic's report.
//!
//! The log never waits for it: a task takes lines from the ring and draws them a few characters at a time ([`show_more`]). A report
//! is drawn at once, with everything else stopped. There is no keyboard: a screen shows, and that is all.

mod grid;
mod pixels;
mod text;

use crate::boot::BootInfo;
use crate::sync::SpinLock;
use core::fmt;
use grid::{Grid, Place};
use pixels::Pixels;
use text::TextMode;

/// Bytes of the log that are taken at a time.
const CHUNK: usize = 512;
/// Bytes that are taken before something is drawn.
const CHUNKS_PER_TURN: usize = 8;
/// Characters that are drawn at a time: 16 KiB of pixels, some ten microseconds.
const CELLS_PER_TURN: usize = 32;

/// The screen, once it is found.
static SCREEN: SpinLock<Option<Screen>> = SpinLock::new(None);

struct Screen {
    surface: Surface,
    grid: Grid,
    /// Bytes of the log that were taken, counted from boot.
    position: u64,
    /// Brighter than the log.
    is_report: bool,
}

enum Surface {
    Text(TextMode),
    Pixels(Pixels),
}

/// What a screen is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    /// Characters of a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// It shows pixels, and not characters by itself.
    pub is_graphical: bool,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_graphical { "framebuffer" } else { "VGA text mode" };
        write!(f, "{kind} with {} columns and {} rows", self.columns, self.rows)
    }
}

/// Finds the screen; once, when memory can be had. The firmware's picture stays until something is shown.
pub(crate) fn init(boot: &BootInfo) {
    let surface = match &boot.framebuffer {
        Some(buffer) if boot.is_memory(buffer.address, buffer.bytes()) => None,
        Some(buffer) => Pixels::open(buffer).map(Surface::Pixels),
        None if boot.has_bios() => TextMode::find().map(Surface::Text),
        None => None,
    };
    let Some(surface) = surface else { return };
    let (columns, rows) = surface.size();
    let grid = Grid::new(columns, rows);
    *SCREEN.lock() = grid.map(|grid| Screen { surface, grid, position: 0, is_report: false });
}

/// What screen the machine has.
pub fn description() -> Option<Description> {
    SCREEN.lock().as_ref().map(|screen| {
        let (columns, rows) = screen.grid.size();
        Description { columns, rows, is_graphical: matches!(screen.surface, Surface::Pixels(_)) }
    })
}

/// Shows a bit more of what the log has; true when there is still more.
pub fn show_more() -> bool {
    SCREEN.lock().as_mut().is_some_and(|screen| {
        let is_all = screen.take_log(CHUNKS_PER_TURN);
        screen.draw(CELLS_PER_TURN) || !is_all
    })
}

/// Shows the characters that the log has so far, before drivers start: one that hangs keeps everything else from its turn.
pub fn show_first() {
    if let Some(screen) = SCREEN.lock().as_mut() {
        screen.take_log(CHUNKS_PER_TURN);
        let Screen { surface, grid, .. } = screen;
        grid.draw_text(|at, byte| surface.draw(at, byte, false));
    }
}

/// Shows all that the log has, which may take milliseconds: before the machine goes.
pub fn show_all() {
    if let Some(screen) = SCREEN.lock().as_mut() {
        while !screen.take_log(CHUNKS_PER_TURN) {}
        screen.draw(usize::MAX);
    }
}

/// See [`super::break_locks`].
///
/// # Safety
/// As [`SpinLock::break_lock`].
pub(super) unsafe fn break_lock() {
    // SAFETY: a screen that was being drawn on is drawn anew by the report.
    unsafe { SCREEN.break_lock() };
}

/// Clears the screen for a report: it begins at the top, and what has no room is cut.
pub(crate) fn begin_report() {
    if let Some(screen) = SCREEN.lock().as_mut() {
        screen.is_report = true;
        screen.grid.begin_report();
        screen.draw(usize::MAX);
    }
}

/// Adds to a report.
pub(crate) fn report(text: &[u8]) {
    if let Some(screen) = SCREEN.lock().as_mut()
        && screen.is_report
    {
        screen.grid.write(text);
        // Looking at all cells for each word would take long.
        if text.contains(&b'\n') {
            screen.draw(usize::MAX);
        }
    }
}

/// Adds as many of the log's last lines to a report as there is room for above the last row.
pub(crate) fn report_log() {
    let Some(room) = SCREEN.lock().as_ref().map(|screen| {
        let (_, rows) = screen.grid.size();
        rows.saturating_sub(screen.grid.row() + 1)
    }) else {
        return;
    };
    for lines in (1..=room).rev() {
        let mut fits = false;
        super::log::with_last_lines(lines, |first, second| {
            // Where the two pieces meet one row may be counted twice.
            fits = rows_of(first) + rows_of(second) <= room;
            if fits {
                report(first);
                report(second);
            }
        });
        if fits {
            return;
        }
    }
}

fn rows_of(text: &[u8]) -> usize {
    if text.is_empty() {
        return 0;
    }
    SCREEN.lock().as_ref().map_or(0, |screen| screen.grid.rows_of(text))
}

/// What follows of a report goes to the last row.
pub(crate) fn report_end() {
    if let Some(screen) = SCREEN.lock().as_mut() {
        screen.grid.go_to(usize::MAX);
    }
}

impl Screen {
    /// Takes what the log has; false when there may be more.
    fn take_log(&mut self, chunks: usize) -> bool {
        let mut buffer = [0; CHUNK];
        for _ in 0..chunks {
            let (count, next) = super::log::copy_from(self.position, &mut buffer);
            self.position = next;
            if count == 0 {
                return true;
            }
            self.grid.write(&buffer[..count]);
        }
        false
    }

    fn draw(&mut self, most: usize) -> bool {
        let Screen { surface, grid, is_report, .. } = self;
        grid.draw(most, |at, byte| surface.draw(at, byte, *is_report))
    }
}

impl Surface {
    fn draw(&mut self, at: Place, byte: u8, bright: bool) {
        match self {
            Surface::Text(text) => text.draw(at, byte, bright),
            Surface::Pixels(pixels) => pixels.draw(at, byte, bright),
        }
    }

    fn size(&self) -> (usize, usize) {
        match self {
            Surface::Text(text) => text.size(),
            Surface::Pixels(pixels) => pixels.size(),
        }
    }
}
