//! The content of a disk in memory: copied in an instant, shared where it is the same.

use crate::tools::{Image, fresh_image_path};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Unit of sharing, and what power cuts write wholly or not at all: the physical sector of today's disks.
pub const PAGE: usize = 4096;

type Page = Arc<[u8; PAGE]>;

/// Bytes of a disk. Pages of zeros take no memory.
#[derive(Clone)]
pub struct Pages {
    pages: Vec<Option<Page>>,
}

impl Pages {
    /// Zeros.
    pub fn zeros(bytes: u64) -> Pages {
        Pages { pages: vec![None; bytes.div_ceil(PAGE as u64) as usize] }
    }

    /// What a file holds.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn load(path: &Path) -> Pages {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let length = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
        let mut pages = Pages::zeros(length);
        let mut buffer = vec![0; 1 << 20];
        for start in (0..length).step_by(buffer.len()) {
            let count = buffer.len().min((length - start) as usize);
            file.read_exact_at(&mut buffer[..count], start).expect("read an image");
            pages.write(start, &buffer[..count]);
        }
        pages
    }

    /// Writes it into a new file.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn save(&self) -> Image {
        let path = fresh_image_path();
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.set_len(self.len()).expect("set the length of an image");
        for (index, page) in self.pages.iter().enumerate() {
            if let Some(page) = page {
                file.write_all_at(&page[..], (index * PAGE) as u64).expect("write an image");
            }
        }
        Image::adopt(path)
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    /// True for a disk of no bytes.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Makes it longer, with zeros.
    pub fn extend(&mut self, bytes: u64) {
        self.pages.resize(self.pages.len() + bytes.div_ceil(PAGE as u64) as usize, None);
    }

    /// True when the bytes are all within.
    pub fn holds(&self, position: u64, length: usize) -> bool {
        position.checked_add(length as u64).is_some_and(|end| end <= self.len())
    }

    /// Reads bytes that are within.
    pub fn read(&self, position: u64, buffer: &mut [u8]) {
        for_each_piece(position, buffer.len(), |page, within, range| {
            let place = &mut buffer[range];
            match &self.pages[page] {
                Some(bytes) => place.copy_from_slice(&bytes[within..within + place.len()]),
                None => place.fill(0),
            }
        });
    }

    /// The bytes from `position` on.
    pub fn bytes(&self, position: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        self.read(position, &mut buffer);
        buffer
    }

    /// Writes bytes that are within.
    pub fn write(&mut self, position: u64, data: &[u8]) {
        for_each_piece(position, data.len(), |page, within, range| {
            let piece = &data[range];
            let place = &mut self.pages[page];
            if place.is_none() && piece.iter().all(|&byte| byte == 0) {
                return;
            }
            let bytes = place.get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[within..within + piece.len()].copy_from_slice(piece);
        });
    }
}

/// Calls `visit` with the page, the place in it and the range of the buffer.
fn for_each_piece(position: u64, length: usize, mut visit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = position + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (length - done).min(PAGE - within);
        visit((at / PAGE as u64) as usize, within, done..done + count);
        done += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_apart() {
        let mut one = Pages::zeros(3 * PAGE as u64);
        one.write(4000, &[7; 200]);
        let mut two = one.clone();
        two.write(4100, &[8; 10]);
        assert_eq!(one.bytes(4095, 12), [7; 12]);
        assert_eq!(two.bytes(4099, 12), [&[7][..], &[8; 10], &[7]].concat());
        let saved = two.save();
        assert_eq!(Pages::load(saved.path()).bytes(0, 3 * PAGE), two.bytes(0, 3 * PAGE));
    }
}
