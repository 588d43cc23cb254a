//! Replaying: whatever is in the log, and cut short itself.

use super::everywhere::History;
use super::files::{recover, state_of};
use super::{check, image, open};
use crate::MountError;
use crate::dev::{Host, Kept, Seed, SimDisk};
use crate::mount::{Options, mount};
use std::rc::Rc;

/// A power cut during the replay, at every write and every flush of it, and then once more.
#[test]
fn a_replay_that_is_cut_is_done_again() {
    for (seed, arguments) in [(1, &["-b", "1024"][..]), (2, &["-b", "1024", "-O", "^metadata_csum,^64bit"])] {
        let history = History::new(SimDisk::new(image(8, arguments), true), seed, 30);
        let random = Seed::new(seed);
        let (dirty, _) = history.cut(history.disk.events(), || Kept::Nothing);
        let (expected, _) = recover(dirty.clone());
        let disk = SimDisk::new(dirty, true);
        assert_eq!(state_of(&disk, disk.clone()), expected);
        assert!(disk.events() > 6, "something was replayed");
        for at in 1..=disk.events() {
            for manner in [Kept::All, Kept::Nothing, Kept::Torn] {
                let (again, _) = disk.after_cut(at, || match manner {
                    Kept::Torn => [Kept::All, Kept::Nothing, Kept::Torn][random.below(3) as usize],
                    manner => manner,
                });
                let (found, image) = recover(again);
                assert_eq!(found, expected, "cut before event {at} of the replay, {manner:?}");
                if at % 8 == 0 {
                    check(image).expect("e2fsck");
                }
            }
        }
    }
}

/// Where the journal lies, in bytes.
fn journal_of(image: &[u8]) -> Vec<(usize, usize)> {
    let host = Host::new(1);
    let mounted = open(&host, SimDisk::new(image.to_vec(), false));
    let engine = mounted.shared.engine.borrow();
    let log = engine.journal.log.as_ref().expect("a journal");
    let size = engine.geometry.block_size;
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some((block, count)) = log.place(at) {
        runs.push((block as usize * size, count as usize * size));
        at += count;
    }
    runs
}

/// Bytes that are wrong anywhere in the journal: with checksums nothing wrong is replayed, and without nothing panics.
#[test]
fn hostile_journals() {
    let random = Seed::new(1);
    for (seed, arguments) in [(1, &["-b", "1024"][..]), (2, &["-b", "1024", "-O", "^metadata_csum,^64bit"])] {
        let has_checksums = seed == 1;
        let history = History::new(SimDisk::new(image(8, arguments), true), seed, 30);
        let (dirty, _) = history.cut(history.disk.events(), || Kept::All);
        let journal = journal_of(&dirty);
        let magics: Vec<usize> = journal
            .iter()
            .flat_map(|&(start, length)| (start..start + length).step_by(1024))
            .filter(|&at| dirty[at..at + 4] == [0xc0, 0x3b, 0x39, 0x98])
            .collect();
        let (mut good, mut bad) = (0, 0);
        for _ in 0..250 {
            let mut image = dirty.clone();
            for _ in 0..1 + random.below(3) {
                let block = magics[random.below(magics.len() as u64) as usize];
                let at = block + [random.below(64), random.below(1024)][random.below(2) as usize] as usize;
                image[at] = random.below(256) as u8;
            }
            let host = Host::new(1);
            let entropy = host.entropy();
            let disk = SimDisk::new(image, false);
            let mounted =
                host.run(async { mount(disk, host.handle(), &*entropy, &Options::default()).await });
            match mounted {
                Ok(mounted) => {
                    good += 1;
                    host.power_off();
                    drop(mounted);
                }
                Err(MountError::Damaged(_) | MountError::Corrupt(_)) => bad += 1,
                Err(MountError::Feature { .. } | MountError::UnknownFeature { .. }) => bad += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
        if has_checksums {
            // A state that there was, or none: a committed transaction that is damaged must not be taken for the end.
            let (complete, _) = recover(dirty.clone());
            let (mut refused, mut older) = (0, 0);
            for &block in magics.iter().skip(1) {
                let mut image = dirty.clone();
                image[block + 700] ^= 1;
                let host = Host::new(1);
                let entropy = host.entropy();
                let disk = SimDisk::new(image, false);
                let device: Rc<SimDisk> = disk.clone();
                let mounted =
                    host.run(async { mount(device, host.handle(), &*entropy, &Options::default()).await });
                host.power_off();
                match mounted {
                    Ok(_) => {
                        let found = state_of(&disk, disk.clone());
                        assert!(history.states.contains(&found), "a state that never was");
                        check(disk.image()).expect("e2fsck");
                        older += usize::from(found != complete);
                    }
                    Err(error) => {
                        assert!(matches!(error, MountError::Damaged(_)), "{error:?}");
                        refused += 1;
                    }
                }
            }
            // The last commit itself looks like one that was never finished.
            assert!(older <= 1 && refused > 5, "{older} cost something, {refused} were refused");
        }
    }
}
