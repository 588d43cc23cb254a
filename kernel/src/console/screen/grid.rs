//! What stands on a screen: characters that were written, and which of them have been drawn.
//!
//! Writing changes characters only and moves no pixel. Drawing goes round all cells and touches those whose character is another
//! than the one that was drawn there, so that it can be done in small lots, and lines that have scrolled past in between cost nothing.

#![forbid(unsafe_code)]

use alloc::vec::Vec;

/// Most cells of a row and rows of a screen: what does not fit stays black.
pub const COLUMNS_MAX: usize = 256;
/// See [`COLUMNS_MAX`].
pub const ROWS_MAX: usize = 128;
/// What is drawn in no cell.
const NOTHING: u8 = 0;
const BLANK: u8 = b' ';

/// A place on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// From the left.
    pub column: usize,
    /// From the top.
    pub row: usize,
}

/// The characters of a screen.
pub struct Grid {
    columns: usize,
    rows: usize,
    /// What should be seen; the row at the top is number `top`.
    wanted: Vec<u8>,
    top: usize,
    /// What is seen.
    shown: Vec<u8>,
    /// Where the next character goes. Its column may be one too many: a row that is full is left when more comes.
    cursor: Place,
    /// The first row leaves when there is no room for more at the bottom. Otherwise what comes then is not seen.
    scrolls: bool,
    /// Where drawing goes on, and how many cells it has to look at.
    next: usize,
    unseen: usize,
}

impl Grid {
    /// A blank screen of which nothing is drawn; `None` when it has no cells, or there is no memory.
    pub fn new(columns: usize, rows: usize) -> Option<Grid> {
        let (columns, rows) = (columns.min(COLUMNS_MAX), rows.min(ROWS_MAX));
        let cells = columns * rows;
        if cells == 0 {
            return None;
        }
        let filled = |with: u8| {
            let mut all = Vec::new();
            all.try_reserve_exact(cells).ok()?;
            all.resize(cells, with);
            Some(all)
        };
        let (wanted, shown) = (filled(BLANK)?, filled(NOTHING)?);
        let cursor = Place { column: 0, row: 0 };
        Some(Grid { columns, rows, wanted, top: 0, shown, cursor, scrolls: true, next: 0, unseen: cells })
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// The row that the next character goes to.
    pub fn row(&self) -> usize {
        self.cursor.row
    }

    /// Rows that lines take, together.
    pub fn rows_of(&self, text: &[u8]) -> usize {
        let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
        lines.map(|line| line.len().div_ceil(self.columns).max(1)).sum()
    }

    /// Writes text. Bytes that are no printable ASCII are shown as `?`, but for those that only move the cursor.
    pub fn write(&mut self, text: &[u8]) {
        for &byte in text {
            match byte {
                b'\n' => self.next_row(),
                b'\r' => self.cursor.column = 0,
                b'\t' => self.put(BLANK),
                b' '..=b'~' => self.put(byte),
                // Of a character beyond ASCII one byte counts.
                0x80..=0xbf => {}
                _ => self.put(b'?'),
            }
        }
        self.unseen = self.wanted.len();
    }

    /// Makes a report of the screen: all is blank and drawn anew, and what has no room below stays out from here on.
    pub fn begin_report(&mut self) {
        self.scrolls = false;
        self.top = 0;
        self.wanted.fill(BLANK);
        self.shown.fill(NOTHING);
        self.cursor = Place { column: 0, row: 0 };
        self.unseen = self.wanted.len();
    }

    /// Blanks a row, and writes there from now on.
    pub fn go_to(&mut self, row: usize) {
        let row = row.min(self.rows - 1);
        let start = self.index(row, 0);
        self.wanted[start..start + self.columns].fill(BLANK);
        self.cursor = Place { column: 0, row };
        self.unseen = self.wanted.len();
    }

    /// Calls `draw` for at most `most` cells that look otherwise than they should; false when there are no more.
    pub fn draw(&mut self, most: usize, mut draw: impl FnMut(Place, u8)) -> bool {
        let mut left = most;
        while self.unseen > 0 {
            let place = Place { column: self.next % self.columns, row: self.next / self.columns };
            let wanted = self.wanted[self.index(place.row, place.column)];
            if self.shown[self.next] != wanted {
                if left == 0 {
                    return true;
                }
                left -= 1;
                draw(place, wanted);
                self.shown[self.next] = wanted;
            }
            self.next = (self.next + 1) % self.shown.len();
            self.unseen -= 1;
        }
        false
    }

    /// Calls `draw` for all characters that are not seen, leaving what is to become blank to [`Grid::draw`].
    pub fn draw_text(&mut self, mut draw: impl FnMut(Place, u8)) {
        for row in 0..(self.cursor.row + 1).min(self.rows) {
            for column in 0..self.columns {
                let wanted = self.wanted[self.index(row, column)];
                let shown = &mut self.shown[row * self.columns + column];
                if wanted != BLANK && *shown != wanted {
                    draw(Place { column, row }, wanted);
                    *shown = wanted;
                }
            }
        }
    }

    fn index(&self, row: usize, column: usize) -> usize {
        (self.top + row) % self.rows * self.columns + column
    }

    fn put(&mut self, byte: u8) {
        if self.cursor.column == self.columns {
            self.next_row();
        }
        if self.cursor.row == self.rows {
            return;
        }
        let at = self.index(self.cursor.row, self.cursor.column);
        self.wanted[at] = byte;
        self.cursor.column += 1;
    }

    fn next_row(&mut self) {
        self.cursor.column = 0;
        if self.cursor.row + 1 < self.rows {
            self.cursor.row += 1;
        } else if self.scrolls {
            self.top = (self.top + 1) % self.rows;
            let start = self.index(self.cursor.row, 0);
            self.wanted[start..start + self.columns].fill(BLANK);
        } else {
            // Below the screen, for good.
            self.cursor.row = self.rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A screen that is drawn as the grid says.
    struct Screen(Grid, Vec<Vec<u8>>);

    impl Screen {
        fn new(columns: usize, rows: usize) -> Screen {
            Screen(Grid::new(columns, rows).unwrap(), vec![vec![b'#'; columns]; rows])
        }
        /// Draws all; how many cells that took.
        fn draw(&mut self) -> usize {
            let (mut count, picture) = (0, &mut self.1);
            while self.0.draw(3, |at, byte| {
                picture[at.row][at.column] = byte;
                count += 1;
            }) {}
            count
        }
        fn rows(&mut self) -> Vec<String> {
            self.draw();
            self.1.iter().map(|row| String::from_utf8_lossy(row).trim_end().to_string()).collect()
        }
    }

    #[test]
    fn lines_wrap_and_scroll() {
        let mut screen = Screen::new(5, 3);
        screen.0.write(b"one\nabcdefg");
        assert_eq!(screen.rows(), ["one", "abcde", "fg"]);
        screen.0.write(b"\nx\ty\x07\xc3\xa4\r\nend");
        assert_eq!(screen.rows(), ["fg", "x y??", "end"]);
        // A row that is just full is followed by one newline, not by two.
        screen.0.write(b"\n12345\n6");
        assert_eq!(screen.rows(), ["end", "12345", "6"]);
    }

    #[test]
    fn only_what_changes_is_drawn() {
        let mut screen = Screen::new(10, 4);
        assert_eq!(screen.draw(), 40, "the picture that was there before");
        screen.0.write(b"same same\n");
        assert_eq!(screen.draw(), 8, "a blank is a blank");
        assert_eq!(screen.draw(), 0);
        screen.0.write(b"\n\n");
        assert_eq!(screen.draw(), 0);
        // What comes and goes between two looks is never drawn.
        for n in 0..1000 {
            screen.0.write(format!("line {}\n", n % 10).as_bytes());
        }
        assert!(screen.draw() <= 40);
        assert_eq!(screen.rows(), ["line 7", "line 8", "line 9", ""]);
    }

    #[test]
    fn text_can_come_before_the_blanks_around_it() {
        let mut screen = Screen::new(4, 3);
        screen.0.write(b"a b\nc");
        let picture = &mut screen.1;
        screen.0.draw_text(|at, byte| picture[at.row][at.column] = byte);
        assert_eq!(screen.1, [*b"a#b#", *b"c###", *b"####"]);
        assert_eq!(screen.draw(), 9);
        assert_eq!(screen.rows(), ["a b", "c", ""]);
    }

    #[test]
    fn a_report_keeps_its_beginning() {
        let mut screen = Screen::new(6, 4);
        screen.0.write(b"log\nlog\nlog\nlog\nlog\nlog\nlog");
        screen.draw();
        screen.0.begin_report();
        screen.0.write(b"panic: long\n1\n2\n3\n4\n5\n6");
        assert_eq!(screen.rows(), ["panic:", " long", "1", "2"]);
        screen.0.go_to(3);
        screen.0.write(b"end");
        assert_eq!(screen.rows(), ["panic:", " long", "1", "end"]);
    }

    #[test]
    fn rows_are_counted() {
        let mut screen = Screen::new(4, 9);
        for (text, rows) in [("a\n", 1), ("a\nb\n", 2), ("abcd\n\nabcde\n", 4), ("abcdefgh", 2)] {
            assert_eq!(screen.0.rows_of(text.as_bytes()), rows, "{text:?}");
            screen.0.go_to(0);
            screen.0.write(text.trim_end().as_bytes());
            assert_eq!(screen.0.row() + 1, rows, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(Grid::new(0, 25).is_none() && Grid::new(80, 0).is_none());
        assert_eq!(Grid::new(usize::MAX, usize::MAX).unwrap().size(), (COLUMNS_MAX, ROWS_MAX));
    }

    proptest! {
        #[test]
        fn drawing_in_lots_ends_where_drawing_at_once_does(
            columns in 1..9usize, rows in 1..5usize,
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            lots in proptest::collection::vec(0..7usize, 6),
        ) {
            let (mut one, mut other) = (Screen::new(columns, rows), Screen::new(columns, rows));
            for (text, lot) in texts.iter().zip(lots) {
                one.0.write(text);
                other.0.write(text);
                let picture = &mut other.1;
                other.0.draw(lot, |at, byte| picture[at.row][at.column] = byte);
            }
            prop_assert_eq!(one.rows(), other.rows());
        }
    }
}
