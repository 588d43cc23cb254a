//! The power fails at every write and every flush.

use super::files::{Files, State, recover};
use super::{check, image, open};
use crate::dev::{Host, Kept, Seed, SimDisk, SlowDisk};
use std::rc::Rc;
use std::time::Duration;

/// A history of files on a disk: for each note on it the state that was safe.
pub struct History {
    pub disk: Rc<SimDisk>,
    pub states: Vec<State>,
    /// Numbers of states, by note.
    pub safe: Vec<usize>,
}

impl History {
    /// Records some steps.
    pub fn new(disk: Rc<SimDisk>, seed: u64, steps: usize) -> History {
        let host = Host::new(seed);
        let slow = SlowDisk::new(disk.clone(), host.handle(), seed, Duration::from_millis(3));
        let mounted = open(&host, slow);
        let (mut files, random) = (Files::new(&mounted, seed), Seed::new(seed + 1));
        let mut safe = vec![0];
        for _ in 0..steps {
            host.run(files.step());
            if random.below(3) == 0 {
                host.run(files.commit());
                safe.push(files.now());
                disk.mark(safe.len() - 1);
            }
        }
        // Cut off here, and not unmounted.
        let states = files.states;
        host.power_off();
        History { disk, states, safe }
    }

    /// What the disk holds after a cut; also the states that this may be.
    pub fn cut(&self, at: usize, mut kept: impl FnMut() -> Kept) -> (Vec<u8>, &[State]) {
        self.cut_by(at, |_| kept())
    }

    /// The same where what is kept depends on the position.
    pub fn cut_by(&self, at: usize, kept: impl FnMut(u64) -> Kept) -> (Vec<u8>, &[State]) {
        let (image, note) = self.disk.after_cut_by(at, kept);
        let note = note.unwrap_or(0);
        let newest = self.safe.get(note + 1).copied().unwrap_or(self.states.len() - 1);
        (image, &self.states[self.safe[note]..=newest])
    }
}

fn cut_everywhere(disk: Rc<SimDisk>, seed: u64, steps: usize) {
    let history = History::new(disk, seed, steps);
    let random = Seed::new(seed);
    let mut done = 0;
    for at in 1..=history.disk.events() {
        for manner in [Kept::All, Kept::Nothing, Kept::Torn] {
            let (image, states) = history.cut(at, || match manner {
                Kept::Torn => [Kept::All, Kept::Nothing, Kept::Torn][random.below(3) as usize],
                manner => manner,
            });
            let (found, image) = recover(image);
            assert!(
                states.contains(&found),
                "cut before event {at}, {manner:?}: {found:?} is none of {states:?}"
            );
            done += 1;
            if done % 16 == 0 {
                check(image).unwrap_or_else(|said| panic!("cut before event {at}, {manner:?}: {said}"));
            }
        }
    }
}

#[test]
fn with_checksums() {
    cut_everywhere(SimDisk::new(image(8, &["-b", "1024"]), true), 1, 40);
}

#[test]
fn without_checksums() {
    cut_everywhere(SimDisk::new(image(8, &["-b", "1024", "-O", "^metadata_csum,^64bit"]), true), 2, 40);
}

#[test]
fn with_write_through() {
    cut_everywhere(SimDisk::new(image(8, &["-b", "1024"]), true).with_write_through(), 3, 40);
}

/// Sectors of 512 bytes, of which a block has several.
#[test]
fn with_small_sectors() {
    cut_everywhere(SimDisk::new(image(12, &["-b", "4096"]), true).with_pieces(512), 4, 20);
}

/// Long enough for the log to go around, so that the cuts are in checkpoints and moves of the tail as well.
#[test]
fn where_the_log_goes_around() {
    let start = image(8, &["-b", "1024", "-J", "size=1"]);
    let superblock = position_of_journal(&start);
    let history = History::new(SimDisk::new(start, true), 6, 1500);
    let random = Seed::new(6);
    // Of what was not flushed only the journal's superblock arrives, and all but that: it must not say that something is
    // home which is not, nor be needed to find what is in the log.
    let mut moves = 0;
    for at in 1..=history.disk.events() {
        if !history.disk.is_write_to(at - 1, superblock) {
            continue;
        }
        moves += 1;
        for alone in [true, false] {
            let keep = |position| if (position == superblock) == alone { Kept::All } else { Kept::Nothing };
            let (image, states) = history.cut_by(at, keep);
            let (found, _) = recover(image);
            assert!(states.contains(&found), "cut before event {at}, journal superblock alone: {alone}");
        }
    }
    assert!(moves > 10, "the tail was moved {moves} times");
    for _ in 0..100 {
        let at = 1 + random.below(history.disk.events() as u64) as usize;
        let (image, states) =
            history.cut(at, || [Kept::All, Kept::Nothing, Kept::Torn][random.below(3) as usize]);
        let (found, image) = recover(image);
        assert!(states.contains(&found), "cut before event {at}");
        if random.below(10) == 0 {
            check(image).unwrap_or_else(|said| panic!("cut before event {at}: {said}"));
        }
    }
}

/// Where the journal's superblock is.
fn position_of_journal(image: &[u8]) -> u64 {
    let host = Host::new(1);
    let mounted = open(&host, SimDisk::new(image.to_vec(), false));
    let engine = mounted.shared.engine.borrow();
    let log = engine.journal.log.as_ref().expect("a journal");
    log.place(0).expect("its first block").0 * engine.geometry.block_size as u64
}
