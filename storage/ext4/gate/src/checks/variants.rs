//! What mke2fs can make: what must work, and what must be refused with the name of the feature and a remedy.

use super::runs::Run;
use super::{Result, Setting, Subject};
use crate::backend::own;
use crate::disk::{Pages, SimDisk};
use crate::tools::{Image, tune2fs};
use crate::world::World;

/// Filesystems that must work.
pub const GOOD: &[&[&str]] = &[
    &["-b", "4096"],
    &["-b", "1024"],
    &["-b", "2048"],
    &["-b", "4096", "-O", "^64bit"],
    &["-b", "1024", "-O", "^64bit"],
    &["-b", "4096", "-O", "^has_journal"],
    &["-b", "1024", "-O", "^has_journal"],
    &["-b", "4096", "-O", "^metadata_csum,uninit_bg"],
    &["-b", "1024", "-O", "^metadata_csum,uninit_bg"],
    &["-b", "4096", "-O", "^metadata_csum,^uninit_bg"],
    &["-b", "4096", "-O", "metadata_csum_seed"],
    &["-b", "4096", "-O", "orphan_file"],
    &["-b", "4096", "-O", "metadata_csum_seed,orphan_file"],
    &["-b", "4096", "-O", "fast_commit"],
    &["-b", "1024", "-J", "size=1"],
    &["-b", "4096", "-J", "size=4"],
    &["-b", "4096", "-O", "^flex_bg"],
    &["-b", "1024", "-O", "^flex_bg"],
    &["-b", "4096", "-G", "64"],
    &["-b", "4096", "-O", "^dir_index"],
    &["-b", "1024", "-O", "^dir_index"],
    &["-b", "4096", "-O", "^resize_inode"],
    &["-b", "4096", "-O", "^sparse_super,^resize_inode"],
    &["-b", "4096", "-O", "sparse_super2"],
    &["-b", "4096", "-O", "^huge_file"],
    &["-b", "4096", "-O", "^dir_nlink"],
    &["-b", "4096", "-O", "^extra_isize"],
    &["-b", "4096", "-O", "^large_file"],
    &["-b", "4096", "-O", "^ext_attr"],
    &["-b", "4096", "-I", "512"],
    &["-b", "4096", "-I", "1024"],
    &["-b", "1024", "-I", "1024"],
    &["-b", "4096", "-g", "1024"],
    &["-b", "1024", "-g", "8192", "-N", "4096"],
    &["-b", "4096", "-i", "4096"],
    &["-b", "4096", "-m", "0"],
    &["-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    &["-b", "4096", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
    &["-b", "4096", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef"],
    &["-b", "4096", "-E", "packed_meta_blocks=1"],
];

/// Filesystems that must be refused, and the word that the message must have.
pub const REFUSED: &[(&[&str], &str)] = &[
    (&["-b", "4096", "-O", "inline_data"], "inline_data"),
    (&["-b", "4096", "-O", "bigalloc"], "bigalloc"),
    (&["-b", "4096", "-O", "quota"], "quota"),
    (&["-b", "4096", "-O", "quota,project"], "quota"),
    (&["-b", "4096", "-O", "casefold"], "casefold"),
    (&["-b", "4096", "-O", "ea_inode"], "ea_inode"),
    (&["-b", "4096", "-O", "large_dir"], "large_dir"),
    (&["-b", "4096", "-O", "encrypt"], "encrypt"),
    (&["-b", "4096", "-O", "meta_bg,^resize_inode"], "meta_bg"),
    (&["-b", "4096", "-O", "verity"], "verity"),
    (&["-b", "4096", "-O", "mmp"], "mmp"),
    (&["-b", "4096", "-I", "128"], "128 bytes"),
];

/// Runs a course on the `seed`-th kind of filesystem; a summary.
pub fn good(seed: u64, steps: usize) -> Result<String> {
    let arguments = GOOD[seed as usize % GOOD.len()];
    let said = arguments.join(" ");
    for tuned in [None, Some(["-E", "hash_alg=tea"]), Some(["-E", "hash_alg=legacy"])] {
        let seed = seed * 3 + tuned.map_or(0, |tuned| tuned[1].len() as u64);
        let run = Run {
            subject: Subject::Own(Setting::of(seed)),
            mke2fs: arguments.iter().map(|word| (*word).to_string()).collect(),
            ..Run::own(seed, steps, 50, 64)
        };
        // Another hash for some kinds is enough.
        match tuned {
            Some(tuned) if arguments.len() == 2 => {
                let image = Image::make(64, arguments);
                tune2fs(image.path(), &tuned)?;
                run.carry_out_on(image).map_err(|wrong| format!("{said} {tuned:?}: {wrong}"))?;
            }
            Some(_) => {}
            None => run.carry_out().map_err(|wrong| format!("{said}: {wrong}"))?,
        }
    }
    Ok(said)
}

/// All kinds that must be refused are, with words that help; a summary.
pub fn refused() -> Result<String> {
    let mut skipped = 0;
    for (arguments, word) in REFUSED {
        let Ok(image) = Image::try_make(64, arguments) else {
            // This mke2fs does not know it.
            skipped += 1;
            continue;
        };
        let world = World::new(1);
        let disk = SimDisk::new(Pages::load(image.path()));
        let before = disk.counts();
        match own::mount(&world, disk.clone(), own::Memory::Ample) {
            Ok(_) => return Err(format!("{arguments:?} was mounted")),
            Err(said) if !said.contains(word) || !said.contains("2fs") => {
                return Err(format!("{arguments:?}: {said:?} names no {word:?} or no remedy"));
            }
            Err(_) if disk.counts().since(before).writes > 0 => {
                return Err(format!("{arguments:?} was written to and then refused"));
            }
            Err(_) => {}
        }
    }
    Ok(format!("{} kinds refused, {skipped} unknown to this mke2fs", REFUSED.len() - skipped))
}
