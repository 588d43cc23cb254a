//! Operations by chance on one file, each checked against an image of it in memory.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::random::Random;
use super::sys;

/// Longest file.
const LONGEST: u64 = 256 << 10;
/// Longest transfer.
const WIDEST: u64 = 64 << 10;
const PAGE: u64 = 4096;
/// Operations that are told when something is wrong.
const TOLD: usize = 200;

/// Where, and how much.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: u64,
    length: u64,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Write(Span),
    Append(u64),
    Read(Span),
    MapRead(Span),
    MapWrite(Span),
    /// Shorter or longer.
    Truncate(u64),
    /// Shorter and as long as before again: zeros at the end.
    Punch(u64),
    Reopen,
    Sync,
    /// Written back, and read from the server next time.
    Forget,
}

/// A file and what should be in it.
struct Subject {
    path: PathBuf,
    file: File,
    image: Vec<u8>,
    random: Random,
}

/// Fuzzes until the time is over; prints how many operations it were.
pub fn fuzz(path: &Path, seed: u64, time: Duration) {
    let mut subject = Subject::new(path, seed);
    let mut log = VecDeque::new();
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        let operation = subject.choose();
        log.push_back((count, operation));
        if log.len() > TOLD {
            log.pop_front();
        }
        let wrong = match subject.carry_out(operation) {
            Ok(verdict) => verdict.err(),
            Err(error) => Some(Wrong(format!("{error}"))),
        };
        if let Some(wrong) = wrong {
            eprintln!("the last operations on {}, seed {seed}:", path.display());
            log.iter().for_each(|(number, operation)| eprintln!("{number:6} {operation:?}"));
            panic!("{wrong} after operation {count} of seed {seed}");
        }
        count += 1;
    }
    let last = subject.carry_out(Operation::Reopen).and_then(|_| {
        sys::forget_cached(&subject.file);
        std::fs::read(path)
    });
    assert!(last.expect("the file at the end") == subject.image, "the file differs at the end, seed {seed}");
    println!("{count}");
}

/// What is not as it should be.
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares what was read from `at`.
fn same(got: &[u8], image: &[u8], at: u64) -> std::result::Result<(), Wrong> {
    if got == image {
        return Ok(());
    }
    let Some(place) = got.iter().zip(image).position(|(got, wanted)| got != wanted) else {
        return Err(Wrong(format!("{} bytes at {at} instead of {}", got.len(), image.len())));
    };
    let differing = got.iter().zip(image).filter(|(got, wanted)| got != wanted).count();
    let (got, wanted) = (got[place], image[place]);
    let place = at + place as u64;
    Err(Wrong(format!("{got:#04x} instead of {wanted:#04x} at {place}, {differing} bytes differ")))
}

impl Subject {
    fn new(path: &Path, seed: u64) -> Subject {
        let _ = std::fs::remove_file(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("a new file");
        Subject { path: path.into(), file, image: vec![], random: Random::new(seed) }
    }

    fn length(&self) -> u64 {
        self.image.len() as u64
    }

    fn choose(&mut self) -> Operation {
        let length = self.length();
        let random = &mut self.random;
        // Small ones are as frequent as large ones.
        let scale = random.below(16);
        let width = 1 + random.below(WIDEST >> scale);
        let anywhere = random.below(LONGEST - width + 1);
        let inside = random.below(length.max(1));
        let span = Span { at: inside, length: width.min(length - inside.min(length)) };
        match random.below(100) {
            0..=24 => Operation::Write(Span { at: anywhere, length: width }),
            25..=29 => Operation::Append(width.min(LONGEST - length)),
            30..=49 => Operation::Read(span),
            50..=61 if span.length > 0 => Operation::MapRead(span),
            62..=73 if span.length > 0 => Operation::MapWrite(span),
            74..=81 => Operation::Truncate(random.below(LONGEST)),
            82..=87 => Operation::Punch(inside.min(length)),
            88..=93 => Operation::Reopen,
            94..=96 => Operation::Sync,
            97..=99 => Operation::Forget,
            _ => Operation::Truncate(anywhere),
        }
    }

    /// An error of the system, or what is wrong.
    fn carry_out(&mut self, operation: Operation) -> Result<std::result::Result<(), Wrong>> {
        match operation {
            Operation::Write(Span { at, length }) => {
                let data = self.data(length);
                self.file.write_all_at(&data, at)?;
                self.put(at, &data);
            }
            Operation::Append(length) => {
                let data = self.data(length);
                OpenOptions::new().append(true).open(&self.path)?.write_all(&data)?;
                self.put(self.length(), &data);
            }
            Operation::Read(Span { at, length }) => {
                let mut data = vec![0; length as usize];
                self.file.read_exact_at(&mut data, at)?;
                return Ok(same(&data, &self.image[at as usize..][..length as usize], at));
            }
            Operation::MapRead(span) => {
                let (page, skip, length) = pages(span);
                let data = sys::mapped(&self.file, page, skip + length, |bytes| bytes[skip..].to_vec())?;
                return Ok(same(&data, &self.image[span.at as usize..][..length], span.at));
            }
            Operation::MapWrite(span) => {
                let (page, skip, length) = pages(span);
                let data = self.data(span.length);
                sys::map_and_change(&self.file, page, skip + length, |bytes| {
                    bytes[skip..].copy_from_slice(&data);
                })?;
                self.put(span.at, &data);
            }
            Operation::Truncate(length) => {
                self.file.set_len(length)?;
                self.image.resize(length as usize, 0);
            }
            Operation::Punch(length) => {
                let before = self.length();
                self.file.set_len(length)?;
                self.file.set_len(before)?;
                self.image[length as usize..].fill(0);
            }
            Operation::Reopen => {
                // The old one is closed before the new one is opened: what was written is at the server by then.
                self.file = File::open("/dev/null")?;
                self.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
            }
            Operation::Sync => self.file.sync_all()?,
            Operation::Forget => {
                self.file.sync_all()?;
                sys::forget_cached(&self.file);
            }
        }
        let length = self.file.metadata()?.len();
        let wrong = || Wrong(format!("{length} bytes long instead of {}", self.image.len()));
        Ok(if length == self.length() { Ok(()) } else { Err(wrong()) })
    }

    fn data(&mut self, length: u64) -> Vec<u8> {
        let mut data = vec![0; length as usize];
        self.random.fill(&mut data);
        data
    }

    fn put(&mut self, at: u64, data: &[u8]) {
        let end = at as usize + data.len();
        if !data.is_empty() && end > self.image.len() {
            self.image.resize(end, 0);
        }
        if !data.is_empty() {
            self.image[at as usize..end].copy_from_slice(data);
        }
    }
}

/// The start of the page in which it begins, where it begins there, and how long it is.
fn pages(span: Span) -> (u64, usize, usize) {
    let skip = span.at % PAGE;
    (span.at - skip, skip as usize, span.length as usize)
}
