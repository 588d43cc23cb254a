//! Directory entries, as `_IO_READ` of a directory returns them (section 13.5).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | serial number |
//! | 8 | 8 | position of this entry, counted in entries |
//! | 16 | 2 | length of the record, a multiple of eight |
//! | 18 | 2 | length of the name |
//! | 20 | | name, NUL, padding |

use crate::endian::Endian;
use crate::layout::{Short, layout, slice};
use crate::out::Out;
use core::fmt;

layout! {
    struct Fixed: 20, "directory entry" {
        0 ino: u64,
        8 offset: u64,
        16 reclen: u16,
        18 namelen: u16,
    }
}

/// Longest name.
const NAME_MAX: usize = 255;

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dirent<'a> {
    /// Serial number; in `/net` the node descriptor.
    pub ino: u64,
    /// Position of this entry, counted in entries.
    pub offset: u64,
    /// Name.
    pub name: &'a [u8],
}

impl Dirent<'_> {
    /// Length of the record.
    pub fn encoded_len(&self) -> usize {
        (Fixed::LEN + self.name.len().min(NAME_MAX) + 1).next_multiple_of(8)
    }
}

/// The next entry does not fit: this read ends before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirFull;

impl fmt::Display for DirFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the directory buffer is full")
    }
}

impl core::error::Error for DirFull {}

/// Fills a buffer with whole entries.
#[derive(Debug)]
pub struct DirWriter<'a> {
    room: &'a mut [u8],
    len: usize,
    endian: Endian,
}

impl<'a> DirWriter<'a> {
    /// Starts with an empty buffer.
    pub fn new(room: &'a mut [u8], endian: Endian) -> DirWriter<'a> {
        DirWriter { room, len: 0, endian }
    }

    /// Bytes written so far: the status of the reply.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry. A name is cut to 255 bytes.
    pub fn push(&mut self, entry: &Dirent<'_>) -> Result<(), DirFull> {
        let reclen = entry.encoded_len();
        let name = entry.name.get(..NAME_MAX).unwrap_or(entry.name);
        let room = self.room.get_mut(self.len..).unwrap_or_default();
        let mut out = Out::new(room, self.endian);
        // Both fit: a record is at most 280 bytes long.
        let (reclen16, namelen) = (reclen as u16, name.len() as u16);
        out.put(&Fixed { ino: entry.ino, offset: entry.offset, reclen: reclen16, namelen });
        out.bytes(name).zero_to(reclen).finish().map_err(|_| DirFull)?;
        self.len += reclen;
        Ok(())
    }
}

/// Why the rest of a directory's bytes is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirentError {
    /// They end within an entry.
    Short(Short),
    /// A record that is shorter than its name needs.
    Reclen {
        /// Length of the record.
        reclen: u16,
        /// Length of the name.
        namelen: u16,
    },
}

impl fmt::Display for DirentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirentError::Short(short) => short.fmt(f),
            DirentError::Reclen { reclen, namelen } => {
                write!(f, "directory record of {reclen} bytes cannot hold a name of {namelen}")
            }
        }
    }
}

impl core::error::Error for DirentError {}

/// The entries in the bytes of a read.
#[derive(Clone, Debug)]
pub struct Dirents<'a> {
    rest: &'a [u8],
    endian: Endian,
}

impl<'a> Dirents<'a> {
    /// Starts at the first entry.
    pub fn new(bytes: &'a [u8], endian: Endian) -> Dirents<'a> {
        Dirents { rest: bytes, endian }
    }

    fn entry(&mut self) -> Result<Dirent<'a>, DirentError> {
        let fixed = Fixed::decode(self.rest, self.endian).map_err(DirentError::Short)?;
        let reclen = usize::from(fixed.reclen);
        let record = slice("directory record", self.rest, 0, reclen).map_err(DirentError::Short)?;
        let too_short = DirentError::Reclen { reclen: fixed.reclen, namelen: fixed.namelen };
        let end = Fixed::LEN + usize::from(fixed.namelen);
        let name = record.get(Fixed::LEN..end).ok_or(too_short)?;
        self.rest = self.rest.get(reclen..).unwrap_or_default();
        Ok(Dirent { ino: fixed.ino, offset: fixed.offset, name })
    }
}

impl<'a> Iterator for Dirents<'a> {
    type Item = Result<Dirent<'a>, DirentError>;

    /// The next entry. An error is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_entries_only() {
        let mut room = [0xee; 71];
        let mut writer = DirWriter::new(&mut room, Endian::Little);
        let entry = |offset, name| Dirent { ino: 7, offset, name };
        assert_eq!(writer.push(&entry(0, b"abc")), Ok(()));
        assert_eq!(writer.push(&entry(1, b"abcd")), Ok(()));
        assert_eq!(writer.push(&entry(2, b"e")), Err(DirFull), "needs 24, 15 are left");
        let len = writer.len();
        assert_eq!((len, &room[20..24]), (24 + 32, &b"abc\0"[..]));
        let names: Vec<_> = Dirents::new(&room[..len], Endian::Little).map(Result::unwrap).collect();
        assert_eq!(names, [entry(0, b"abc"), entry(1, b"abcd")]);
    }

    #[test]
    fn damaged_records() {
        let mut room = [0; 24];
        DirWriter::new(&mut room, Endian::Little).push(&Dirent { ino: 1, offset: 0, name: b"a" }).unwrap();
        let with = |at: usize, value: u8| {
            let mut bytes = room;
            bytes[at] = value;
            Dirents::new(&bytes, Endian::Little).last().unwrap().map(|entry| entry.name.len())
        };
        assert_eq!(with(18, 4), Ok(4));
        assert_eq!(with(18, 5), Err(DirentError::Reclen { reclen: 24, namelen: 5 }));
        assert_eq!(with(16, 0), Err(DirentError::Reclen { reclen: 0, namelen: 1 }));
        assert!(matches!(with(16, 25), Err(DirentError::Short(_))));
    }
}
