//! Text that is as long as what programs made is much.

use crate::{Errno, room};
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// The text of a file, as far as there is memory for it: ENOMEM else. For `write!` and `writeln!`.
#[derive(Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// What `write!` calls.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), Errno> {
        Pieces(&mut self.0).write_fmt(text).map_err(|_| Errno::ENOMEM)
    }

    /// Adds bytes that need not be UTF-8.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        room::extend(&mut self.0, bytes)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The whole text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

struct Pieces<'a>(&'a mut Vec<u8>);

impl Write for Pieces<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        room::extend(self.0, piece.as_bytes()).map_err(|_| fmt::Error)
    }
}
