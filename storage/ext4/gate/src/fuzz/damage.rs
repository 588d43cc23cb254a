//! One damage.

use super::FILL;
use crate::disk::Pages;
use crate::random::Random;
use crate::survey::{Part, Survey, Target, seal};
use std::fmt;

/// What is done to a piece of the disk.
#[derive(Clone, Debug)]
enum Act {
    /// Bytes become these.
    Put(usize, Vec<u8>),
    /// A bit becomes the other.
    Flip(usize, u8),
    /// A field goes up or down a little; in this order of bytes.
    Add(usize, usize, i64, Order),
    /// All bytes from here on become this.
    Fill(usize, u8),
    /// The piece becomes a copy of another of its length.
    Copy(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Little,
    Big,
}

/// A damage.
#[derive(Clone, Debug)]
pub struct Damage {
    target: Target,
    act: Act,
    sealed: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = if self.sealed { ", sealed" } else { "" };
        write!(f, "{:?} {:?} at {}{sealed}", self.target.part, self.act, self.target.position)
    }
}

impl Damage {
    /// Chooses one.
    pub fn choose(survey: &Survey, random: &mut Random) -> Damage {
        let target = choose_target(survey, random);
        let order = match target.part {
            Part::JournalSuperblock | Part::JournalRecord => Order::Big,
            _ => Order::Little,
        };
        let fields = fields(target.part);
        let (offset, width) = match random.below(4) {
            0 => (random.index(target.length / 4) * 4, *random.pick(&[1, 2, 4])),
            _ if !fields.is_empty() => *random.pick(fields),
            // Behind the header lie entries; most are near the start.
            _ => (random.index(target.length.min(256) / 2) * 2, *random.pick(&[1, 2, 4])),
        };
        let offset = offset.min(target.length - width);
        let act = match random.below(12) {
            0 => Act::Flip(random.index(target.length), 1 << random.below(8)),
            1..7 => Act::Put(offset, value(survey, width, order, random)),
            7..9 => Act::Add(offset, width, *random.pick(&[1, -1, 2, -2, 4, -4, 8, 12, 256]), order),
            9 => {
                // Not the mark of file content: where that is found, file content was written.
                let any = match random.number() as u8 {
                    FILL => !FILL,
                    any => any,
                };
                Act::Fill(random.index(target.length), *random.pick(&[0, 0xff, any]))
            }
            10 => {
                let length = 1 + random.index(16);
                Act::Put(offset, random.bytes(length))
            }
            _ => {
                let same: Vec<&Target> =
                    survey.targets.iter().filter(|other| other.length == target.length).collect();
                Act::Copy(random.pick(&same).position)
            }
        };
        Damage { target, act, sealed: !random.once_in(5) }
    }

    /// What is damaged.
    pub fn part(&self) -> Part {
        self.target.part
    }

    /// Does it.
    pub fn apply(&self, pages: &mut Pages, survey: &Survey) {
        let mut raw = pages.bytes(self.target.position, self.target.length);
        match &self.act {
            Act::Put(offset, bytes) => {
                let end = raw.len().min(offset + bytes.len());
                raw[*offset..end].copy_from_slice(&bytes[..end - offset]);
            }
            Act::Flip(offset, bit) => raw[*offset] ^= bit,
            Act::Add(offset, width, amount, order) => {
                let field = &mut raw[*offset..offset + width];
                if *order == Order::Big {
                    field.reverse();
                }
                let mut wide = [0; 8];
                wide[..*width].copy_from_slice(field);
                let sum = i64::from_le_bytes(wide).wrapping_add(*amount).to_le_bytes();
                field.copy_from_slice(&sum[..*width]);
                if *order == Order::Big {
                    field.reverse();
                }
            }
            Act::Fill(offset, byte) => raw[*offset..].fill(*byte),
            Act::Copy(from) => raw = pages.bytes(*from, self.target.length),
        }
        pages.write(self.target.position, &raw);
        if self.sealed {
            seal(pages, survey, self.target);
        }
    }
}

/// Each kind of piece is as likely as the others, however many there are of it.
fn choose_target(survey: &Survey, random: &mut Random) -> Target {
    let kind = |target: &Target| std::mem::discriminant(&target.part);
    let mut kinds = Vec::new();
    for target in &survey.targets {
        if !kinds.contains(&kind(target)) {
            kinds.push(kind(target));
        }
    }
    let wanted = *random.pick(&kinds);
    let mut among: Vec<&Target> = survey.targets.iter().filter(|target| kind(target) == wanted).collect();
    // The root and the journal are what everything goes through.
    let central: Vec<&Target> =
        among.iter().copied().filter(|target| matches!(target.part, Part::Inode(2 | 8))).collect();
    if !central.is_empty() && random.once_in(4) {
        among = central;
    }
    **random.pick(&among)
}

/// A value that may hurt.
fn value(survey: &Survey, width: usize, order: Order, random: &mut Random) -> Vec<u8> {
    let geometry = &survey.geometry;
    let size = geometry.block_size as u64;
    let other = random.pick(&survey.targets).position / size;
    let any = [random.number(), random.below(geometry.blocks), random.below(u64::from(geometry.inodes) + 2)];
    let of = [
        0,
        1,
        2,
        3,
        7,
        0xff,
        0x100,
        0x7fff,
        0x8000,
        0x8001,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        size,
        size - 1,
        size / 4,
        geometry.blocks,
        geometry.blocks - 1,
        geometry.inodes.into(),
        u64::from(geometry.inodes) + 1,
        other,
        other,
        survey.journal.first().copied().unwrap_or(5),
        any[0],
        any[1],
        any[2],
    ];
    let mut bytes = random.pick(&of).to_le_bytes()[..width].to_vec();
    if order == Order::Big {
        bytes.reverse();
    }
    bytes
}

/// Places and widths of fields that decide something.
fn fields(part: Part) -> &'static [(usize, usize)] {
    match part {
        Part::Superblock => &[
            (0x0, 4),
            (0x4, 4),
            (0x8, 4),
            (0xc, 4),
            (0x10, 4),
            (0x14, 4),
            (0x18, 4),
            (0x20, 4),
            (0x28, 4),
            (0x3a, 2),
            (0x4c, 4),
            (0x54, 4),
            (0x58, 2),
            (0x5c, 4),
            (0x60, 4),
            (0x64, 4),
            (0xce, 2),
            (0xe0, 4),
            (0xe8, 4),
            (0xfc, 1),
            (0xfe, 2),
            (0x150, 4),
            (0x15c, 2),
            (0x160, 4),
            (0x174, 1),
            (0x175, 1),
            (0x270, 4),
        ],
        Part::Descriptor(_) => &[
            (0x0, 4),
            (0x4, 4),
            (0x8, 4),
            (0xc, 2),
            (0xe, 2),
            (0x10, 2),
            (0x12, 2),
            (0x1c, 2),
            (0x20, 4),
            (0x24, 4),
            (0x28, 4),
            (0x2c, 2),
            (0x2e, 2),
            (0x32, 2),
        ],
        Part::BlockBitmap(_) | Part::InodeBitmap(_) => &[],
        Part::Inode(_) => &[
            (0x0, 2),
            (0x4, 4),
            (0x14, 4),
            (0x1a, 2),
            (0x1c, 4),
            (0x20, 4),
            (0x28, 2),
            (0x2a, 2),
            (0x2c, 2),
            (0x2e, 2),
            (0x34, 4),
            (0x38, 2),
            (0x38, 4),
            (0x3a, 2),
            (0x3c, 4),
            (0x40, 4),
            (0x44, 2),
            (0x46, 2),
            (0x48, 4),
            (0x64, 4),
            (0x68, 4),
            (0x6c, 4),
            (0x74, 2),
            (0x76, 2),
            (0x80, 2),
            (0xa0, 4),
            (0xa4, 1),
            (0xa5, 1),
            (0xa6, 2),
            (0xa8, 4),
            (0xac, 4),
        ],
        Part::Extents(_) => &[
            (0x0, 2),
            (0x2, 2),
            (0x4, 2),
            (0x6, 2),
            (0xc, 4),
            (0x10, 2),
            (0x10, 4),
            (0x12, 2),
            (0x14, 4),
            (0x18, 4),
            (0x1c, 2),
            (0x20, 4),
            (0x24, 4),
            (0x28, 2),
        ],
        Part::Names(_) => &[
            (0x0, 4),
            (0x4, 2),
            (0x6, 1),
            (0x7, 1),
            (0xc, 4),
            (0x10, 2),
            (0x12, 1),
            (0x13, 1),
            (0x18, 4),
            (0x1c, 2),
            (0x1e, 1),
            (0x1f, 1),
        ],
        Part::Index(_) => &[
            (0x0, 4),
            (0x4, 2),
            (0x8, 2),
            (0xa, 2),
            (0xc, 4),
            (0x10, 2),
            (0x18, 4),
            (0x1c, 1),
            (0x1d, 1),
            (0x1e, 1),
            (0x1f, 1),
            (0x20, 2),
            (0x22, 2),
            (0x24, 4),
            (0x28, 4),
            (0x2c, 4),
            (0x30, 4),
            (0x34, 4),
        ],
        Part::Attributes => &[
            (0x0, 4),
            (0x4, 4),
            (0x8, 4),
            (0xc, 4),
            (0x20, 1),
            (0x21, 1),
            (0x22, 2),
            (0x24, 4),
            (0x28, 4),
            (0x2c, 4),
            (0x30, 1),
            (0x32, 2),
            (0x38, 4),
        ],
        Part::JournalSuperblock => &[
            (0x0, 4),
            (0x4, 4),
            (0xc, 4),
            (0x10, 4),
            (0x14, 4),
            (0x18, 4),
            (0x1c, 4),
            (0x20, 4),
            (0x24, 4),
            (0x28, 4),
            (0x2c, 4),
            (0x40, 4),
            (0x50, 1),
            (0x54, 4),
            (0x58, 4),
        ],
        Part::JournalRecord => &[
            (0x0, 4),
            (0x4, 4),
            (0x8, 4),
            (0xc, 4),
            (0x10, 4),
            (0x14, 4),
            (0x18, 4),
            (0x1c, 4),
            (0x20, 4),
            (0x24, 4),
            (0x30, 4),
            (0x34, 4),
            (0x38, 4),
        ],
        Part::JournalCopy => &[],
    }
}
