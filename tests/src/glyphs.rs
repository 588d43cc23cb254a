//! Reading text off a picture: the kernel's characters on a framebuffer.

use font8x8::legacy::BASIC_LEGACY;
use keelson_qemu::Picture;

/// Size of a character in pixels.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;

/// The rows of text in a picture, without blanks at their ends. What is no character is read as U+FFFD.
pub fn rows(picture: &Picture) -> Vec<String> {
    let row = |row: usize| {
        let cells = (0..picture.width / WIDTH).map(|column| character(picture, column * WIDTH, row * HEIGHT));
        cells.collect::<String>().trim_end().to_string()
    };
    (0..picture.height / HEIGHT).map(row).collect()
}

/// The character whose upper left corner is there.
fn character(picture: &Picture, left: usize, top: usize) -> char {
    let is = |glyph: &[u8; 8]| {
        (0..HEIGHT)
            .all(|y| (0..WIDTH).all(|x| picture.is_lit(left + x, top + y) == (glyph[y / 2] >> x & 1 != 0)))
    };
    // Several control characters look as a blank does.
    let found = (b' '..=b'~').find(|byte| is(&BASIC_LEGACY[usize::from(*byte)]));
    found.map_or(char::REPLACEMENT_CHARACTER, char::from)
}
