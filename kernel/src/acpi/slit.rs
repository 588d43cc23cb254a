//! How far apart proximity domains are (SLIT, section 5.2.17).

use super::bytes::u64_at;
use super::tables::Table;

/// Offset of the matrix: header, number of its rows.
const MATRIX: usize = 44;
/// Most rows that are believed.
const MAX_ROWS: u64 = 1024;
/// What stands for a domain and itself; between two it is more.
const LOCAL: u8 = 10;

/// The matrix, one row after the other.
#[derive(Clone, Copy, Debug)]
pub struct Slit<'a> {
    matrix: &'a [u8],
    rows: usize,
}

impl<'a> Slit<'a> {
    /// Reads a table with the signature `SLIT`; `None` for one that is too short, or says that a domain is nearer to another than
    /// to itself: some firmware fills it with anything.
    pub fn parse(table: Table<'a>) -> Option<Slit<'a>> {
        let rows = u64_at(table.bytes, 36).filter(|rows| *rows <= MAX_ROWS)? as usize;
        let matrix = table.bytes.get(MATRIX..MATRIX + rows * rows)?;
        let slit = Slit { matrix, rows };
        let sound =
            |from, to| slit.distance(from, to).is_some_and(|it| (it > LOCAL) == (from != to) && it >= LOCAL);
        (0..rows as u32).all(|from| (0..rows as u32).all(|to| sound(from, to))).then_some(slit)
    }

    /// The distance from one domain to another, if the table has it.
    pub fn distance(&self, from: u32, to: u32) -> Option<u8> {
        let (from, to) = (from as usize, to as usize);
        (from < self.rows && to < self.rows).then(|| self.matrix.get(from * self.rows + to).copied())?
    }
}
