//! The layout of a crash record, and how it is written and read.
//!
//! ```text
//!   0  magic "KEELCRSH"     8  version     12  1 when it was told     16  CRC-32C of what follows
//!  20  lengths of the four parts: headline, image, backtrace, log     36  the parts, UTF-8
//! ```
//!
//! Numbers are little-endian. What a loader or a firmware wrote into any byte of it between two boots shows in the checksum.

#![forbid(unsafe_code)]

use alloc::string::String;
use core::fmt;
use crc::{CRC_32_ISCSI, Crc, NoTable};

const MAGIC: [u8; 8] = *b"KEELCRSH";
const VERSION: u32 = 1;

const TOLD: usize = 12;
const SUM: usize = 16;
const LENGTHS: usize = 20;
const PARTS: usize = 36;

/// Most bytes of the headline, of the image's line and of the backtrace; the log gets the rest.
const LIMITS: [usize; 3] = [1024, 256, 8 << 10];

/// Without a table: it is computed twice in a machine's life.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// What a kernel said when it gave up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Why.
    pub headline: String,
    /// Role, version, when it was built, when it failed.
    pub image: String,
    /// Functions, a line each, innermost first.
    pub backtrace: String,
    /// The log's last lines.
    pub log: String,
    /// An earlier boot has told of it.
    pub told: bool,
}

/// Text that is cut where its room ends, between characters.
pub(super) struct Cut<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut len = text.len().min(self.room.len() - self.len);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.room[self.len..self.len + len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// Writes a record, part by part, into the place where it stays. Takes no memory.
pub(super) struct Writer<'a> {
    place: &'a mut [u8],
    part: usize,
    at: usize,
}

impl<'a> Writer<'a> {
    /// Begins one: what was there is no record any more.
    pub fn new(place: &'a mut [u8]) -> Writer<'a> {
        place[..PARTS].fill(0);
        Writer { place, part: 0, at: PARTS }
    }

    /// The next of headline, image and backtrace.
    pub fn text(&mut self, write: impl FnOnce(&mut Cut<'_>)) {
        let end = self.place.len().min(self.at + LIMITS.get(self.part).copied().unwrap_or(0));
        let mut cut = Cut { room: &mut self.place[self.at..end], len: 0 };
        write(&mut cut);
        let len = cut.len;
        self.finish_part(len);
    }

    /// The log, in two pieces of which the end is kept, whole lines of it; and the record is one.
    pub fn log(mut self, first: &[u8], second: &[u8]) {
        self.part = LIMITS.len();
        let room = self.place.len() - self.at;
        let all = || first.iter().chain(second).copied();
        let total = first.len() + second.len();
        let skipped = total.saturating_sub(room);
        let torn = match skipped {
            0 => 0,
            // If the room begins with a line, the byte before it is the end of another.
            _ => all().skip(skipped - 1).position(|byte| byte == b'\n').unwrap_or(room),
        };
        let kept = all().skip(skipped + torn);
        let len = self.place[self.at..].iter_mut().zip(kept).map(|(to, byte)| *to = byte).count();
        self.finish_part(len);
        let sum = CRC.checksum(&self.place[LENGTHS..self.at]);
        self.place[SUM..LENGTHS].copy_from_slice(&sum.to_le_bytes());
        self.place[8..TOLD].copy_from_slice(&VERSION.to_le_bytes());
        self.place[..8].copy_from_slice(&MAGIC);
    }

    fn finish_part(&mut self, len: usize) {
        let at = LENGTHS + 4 * self.part;
        self.place[at..at + 4].copy_from_slice(&(len as u32).to_le_bytes());
        self.part += 1;
        self.at += len;
    }
}

/// Reads what is at the place; `None` when it is no record, or a damaged one.
pub(super) fn read(place: &[u8]) -> Option<Record> {
    let number = |at: usize| Some(u32::from_le_bytes(place.get(at..at + 4)?.try_into().ok()?));
    if place.get(..8)? != MAGIC || number(8)? != VERSION {
        return None;
    }
    let mut lengths = [0; 4];
    for (part, len) in lengths.iter_mut().enumerate() {
        *len = usize::try_from(number(LENGTHS + 4 * part)?).ok()?;
    }
    let end = lengths.iter().try_fold(PARTS, |end, len| end.checked_add(*len))?;
    if number(SUM)? != CRC.checksum(place.get(LENGTHS..end)?) {
        return None;
    }
    let mut at = PARTS;
    let [headline, image, backtrace, log] = lengths.map(|len| {
        at += len;
        String::from_utf8_lossy(&place[at - len..at]).into_owned()
    });
    Some(Record { headline, image, backtrace, log, told: number(TOLD)? != 0 })
}

/// Notes that the record at the place was told.
pub(super) fn mark_told(place: &mut [u8]) {
    place[TOLD..SUM].copy_from_slice(&1u32.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use proptest::prelude::*;

    fn written(place: &mut [u8], texts: [&str; 3], first: &str, second: &str) {
        let mut writer = Writer::new(place);
        for text in texts {
            writer.text(|cut| cut.write_str(text).unwrap());
        }
        writer.log(first.as_bytes(), second.as_bytes());
    }

    #[test]
    fn what_was_written_is_read_until_another_one_is() {
        let mut place = vec![0xa5; 64 << 10];
        assert_eq!(read(&place), None);
        written(&mut place, ["panic: why", "role", " 0 f\n 1 g\n"], "[ 1] a\n", "[ 2] b\n");
        let record = read(&place).unwrap();
        assert_eq!((record.headline.as_str(), record.image.as_str()), ("panic: why", "role"));
        assert_eq!((record.backtrace.as_str(), record.log.as_str()), (" 0 f\n 1 g\n", "[ 1] a\n[ 2] b\n"));
        assert!(!record.told);
        mark_told(&mut place);
        assert_eq!(read(&place), Some(Record { told: true, ..record }));
        // One that was begun and not finished.
        Writer::new(&mut place).text(|cut| cut.write_str("panic").unwrap());
        assert_eq!(read(&place), None);
    }

    #[test]
    fn the_logs_end_is_kept_and_long_texts_are_cut() {
        let mut place = vec![0; 16 << 10];
        let lines = |range: std::ops::Range<u32>| range.map(|n| format!("line {n:05}\n")).collect::<String>();
        let long = "ä".repeat(9000);
        written(&mut place, [&long, "role", &long], &lines(0..2000), &lines(2000..3000));
        let record = read(&place).unwrap();
        assert_eq!((record.headline.len(), record.backtrace.len()), (LIMITS[0], LIMITS[2]));
        let kept = record.log.lines().count() as u32;
        assert_eq!(record.log, lines(3000 - kept..3000));
        let room = place.len() - PARTS - LIMITS[0] - 4 - LIMITS[2];
        assert!((room - 10..=room).contains(&record.log.len()), "{} of {room}", record.log.len());
        // Lines of ten and one bytes that fit exactly are all there; and one line that is too long is left out.
        let room = room - room % 11;
        let mut place = vec![0; PARTS + room];
        written(&mut place, ["", "", ""], &lines(0..3000), "");
        assert_eq!(read(&place).unwrap().log.len(), room);
        written(&mut place, ["", "", ""], &"x".repeat(1 << 20), "");
        assert_eq!(read(&place).unwrap().log, "");
    }

    proptest! {
        #[test]
        fn any_damage_is_noticed(at in 0usize..200, bit in 0u8..8, texts in any::<[u8; 3]>()) {
            let mut place = vec![0; 200];
            let texts = texts.map(|len| "t".repeat(usize::from(len) % 20));
            written(&mut place, texts.each_ref().map(String::as_str), "[ 1] a\n", "");
            let before = read(&place).unwrap();
            place[at] ^= 1 << bit;
            let used = PARTS + texts.iter().map(String::len).sum::<usize>() + 7;
            match read(&place) {
                None => prop_assert!(at < used),
                Some(after) => prop_assert!(after == before && at >= used || (TOLD..SUM).contains(&at)),
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut place in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
            if magic && place.len() > 12 {
                place[..8].copy_from_slice(&MAGIC);
                place[8..12].copy_from_slice(&VERSION.to_le_bytes());
            }
            let _ = read(&place);
        }
    }
}
