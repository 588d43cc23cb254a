//! What lies where in an image: an independent reader of the disk format, for images that are sound.
//!
//! It finds the targets for damage, tells journal, metadata and data apart, and makes checksums right again after
//! damage was done, so that the damage is believed.

mod files;
mod journal;
mod seal;

pub use seal::seal;

use crate::disk::Pages;
use keelson_ext4::layout::Geometry;
use keelson_ext4::layout::descriptor::Descriptor;
use keelson_ext4::layout::superblock::{LENGTH, POSITION, Superblock};
use std::collections::BTreeSet;

/// What a piece of the disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The primary superblock.
    Superblock,
    /// A group's descriptor.
    Descriptor(u32),
    /// Which blocks of a group are in use.
    BlockBitmap(u32),
    /// Which inodes of a group are in use.
    InodeBitmap(u32),
    /// An inode's record.
    Inode(u32),
    /// A block of an extent tree.
    Extents(Owner),
    /// A block of names.
    Names(Owner),
    /// A block of a hash tree's index, the root included.
    Index(Owner),
    /// A block of extended attributes.
    Attributes,
    /// The journal's superblock.
    JournalSuperblock,
    /// A block of the journal that describes: descriptor, commit, revoke.
    JournalRecord,
    /// A copy of a block in the journal.
    JournalCopy,
}

/// Whose block it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Inode number.
    pub ino: u32,
    /// Its generation, which is part of checksums.
    pub generation: u32,
}

/// A piece of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// What it is.
    pub part: Part,
    /// Where it begins, in bytes.
    pub position: u64,
    /// Bytes.
    pub length: usize,
}

/// What an image holds.
pub struct Survey {
    /// Sizes and places.
    pub geometry: Geometry,
    /// Everything that means something.
    pub targets: Vec<Target>,
    /// Blocks of the journal, in its order.
    pub journal: Vec<u64>,
    /// Blocks that no file may have: superblocks, descriptors, bitmaps, inode tables.
    pub fixed: BTreeSet<u64>,
}

impl Survey {
    /// Looks through an image.
    pub fn of(pages: &Pages) -> Result<Survey, String> {
        let mut raw = [0; LENGTH];
        pages.read(POSITION, &mut raw);
        let superblock = Superblock::parse(&raw, pages.len()).map_err(|error| error.to_string())?;
        let mut survey = Survey {
            geometry: superblock.geometry,
            targets: vec![Target { part: Part::Superblock, position: POSITION, length: LENGTH }],
            journal: Vec::new(),
            fixed: BTreeSet::new(),
        };
        survey.groups(pages);
        for ino in survey.used_inodes(pages) {
            survey.file(pages, ino);
        }
        survey.read_journal(pages);
        Ok(survey)
    }

    /// A group's descriptor.
    pub fn descriptor(&self, pages: &Pages, group: u32) -> Descriptor {
        let target = self.descriptor_target(group);
        Descriptor::decode(&pages.bytes(target.position, target.length))
    }

    /// Where a group's descriptor is.
    pub fn descriptor_target(&self, group: u32) -> Target {
        let (block, offset) = self.geometry.descriptor_place(group);
        let position = block * self.geometry.block_size as u64 + offset as u64;
        Target { part: Part::Descriptor(group), position, length: self.geometry.descriptor_size }
    }

    fn groups(&mut self, pages: &Pages) {
        let geometry = self.geometry;
        let size = geometry.block_size;
        let table = (geometry.groups as usize * geometry.descriptor_size).div_ceil(size) as u64;
        let inode_blocks = (geometry.inodes_per_group as usize * geometry.inode_size / size) as u64;
        for group in 0..geometry.groups {
            let target = self.descriptor_target(group);
            let descriptor = self.descriptor(pages, group);
            self.targets.push(target);
            for (part, block) in [
                (Part::BlockBitmap(group), descriptor.block_bitmap),
                (Part::InodeBitmap(group), descriptor.inode_bitmap),
            ] {
                self.targets.push(Target { part, position: block * size as u64, length: size });
                self.fixed.insert(block);
            }
            self.fixed.extend(descriptor.inode_table..descriptor.inode_table + inode_blocks);
            if has_copy(&geometry, group) {
                let start = geometry.group_start(group);
                self.fixed.extend(start..=start + table);
            }
        }
        // With blocks of 4096 bytes, the boot block and the superblock share the first.
        self.fixed.insert(geometry.superblock_place().0);
    }

    fn used_inodes(&self, pages: &Pages) -> Vec<u32> {
        let geometry = &self.geometry;
        let mut used = Vec::new();
        for group in 0..geometry.groups {
            let descriptor = self.descriptor(pages, group);
            if descriptor.flags & keelson_ext4::layout::descriptor::INODE_UNINIT != 0 {
                continue;
            }
            let bitmap =
                pages.bytes(descriptor.inode_bitmap * geometry.block_size as u64, geometry.block_size);
            for index in 0..geometry.inodes_per_group {
                if bitmap[index as usize / 8] >> (index % 8) & 1 != 0 {
                    used.push(group * geometry.inodes_per_group + index + 1);
                }
            }
        }
        used
    }

    /// Where an inode's record is.
    pub fn inode_target(&self, pages: &Pages, ino: u32) -> Option<Target> {
        let (group, index) = self.geometry.locate_inode(ino)?;
        let table = self.descriptor(pages, group).inode_table;
        let length = self.geometry.inode_size;
        let position = table * self.geometry.block_size as u64 + u64::from(index) * length as u64;
        Some(Target { part: Part::Inode(ino), position, length })
    }

    /// Places whose writes change what everything else means: the superblocks of filesystem and journal.
    pub fn hot_places(&self) -> Vec<u64> {
        let journal = self.journal.first().map(|block| block * self.geometry.block_size as u64);
        std::iter::once(POSITION).chain(journal).collect()
    }

    /// Tells whether a byte of the disk is in the journal.
    pub fn in_journal(&self) -> impl Fn(u64) -> bool + 'static {
        let blocks: BTreeSet<u64> = self.journal.iter().copied().collect();
        let size = self.geometry.block_size as u64;
        move |position| blocks.contains(&(position / size))
    }

    /// Tells whether a byte of the disk is in a place for data and what belongs to files.
    pub fn in_files(&self) -> impl Fn(u64) -> bool + 'static {
        let (in_journal, fixed) = (self.in_journal(), self.fixed.clone());
        let size = self.geometry.block_size as u64;
        move |position| !in_journal(position) && !fixed.contains(&(position / size))
    }
}

/// True for groups that begin with a copy of superblock and descriptors (`sparse_super`).
fn has_copy(geometry: &Geometry, group: u32) -> bool {
    let power = |base: u32| {
        let mut power = base;
        while power < group {
            power = power.saturating_mul(base);
        }
        power == group
    };
    !geometry.sparse_super || group <= 1 || power(3) || power(5) || power(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, Linux};
    use crate::model::{Course, Limits, generate};
    use crate::random::Random;
    use crate::tools::{Image, may_mount};

    /// What Linux wrote has right checksums: ours must be the same.
    #[test]
    fn sums_are_those_of_linux() {
        if !may_mount() {
            return;
        }
        for arguments in
            [&["-b", "1024"][..], &["-b", "4096"], &["-b", "4096", "-O", "^metadata_csum,uninit_bg"]]
        {
            let image = Image::make(16, arguments);
            let mut linux = Linux::mount(image.path(), "noatime").expect("mount");
            let mut course = Course::begin(&mut linux).expect("begin");
            let limits = Limits {
                bytes: 4 << 20,
                file: 1 << 20,
                directories: 3,
                objects: 500,
                wrong: false,
                xattrs: true,
                everything: false,
            };
            let mut random = Random::new(3);
            for _ in 0..900 {
                let step = generate(&course.tree, course.bytes, &mut random, &limits);
                course.step(&mut linux, &step).expect("step");
            }
            Box::new(linux).finish().expect("unmount");
            let pages = Pages::load(image.path());
            let survey = Survey::of(&pages).expect("survey");
            let mut kinds = BTreeSet::new();
            for &target in &survey.targets {
                let mut sealed = pages.clone();
                seal(&mut sealed, &survey, target);
                let before = pages.bytes(target.position, target.length);
                assert!(sealed.bytes(target.position, target.length) == before, "{arguments:?} {target:?}");
                kinds.insert(format!("{:?}", target.part).split('(').next().unwrap_or_default().to_string());
            }
            assert!(kinds.len() >= 10, "{kinds:?}");
        }
    }
}
