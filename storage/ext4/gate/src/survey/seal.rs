//! Makes the checksum of a piece right that was changed.

use super::journal::{MAGIC, be32};
use super::{Owner, Part, Survey, Target};
use crate::disk::Pages;
use keelson_ext4::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use keelson_ext4::layout::checksum::crc32c;
use keelson_ext4::layout::descriptor::{Descriptor, bitmap_checksum};

/// Makes the checksum of a piece what its content asks for, and those that depend on it.
pub fn seal(pages: &mut Pages, survey: &Survey, target: Target) {
    let mut raw = pages.bytes(target.position, target.length);
    let geometry = &survey.geometry;
    match target.part {
        Part::Superblock => {
            if geometry.checksum_seed.is_none() {
                return;
            }
            let sum = crc32c(!0, &raw[..0x3fc]);
            put_u32(&mut raw, 0x3fc, sum);
        }
        Part::Descriptor(group) => Descriptor::decode(&raw).encode(&mut raw, geometry, group),
        Part::BlockBitmap(group) | Part::InodeBitmap(group) => {
            let blocks = matches!(target.part, Part::BlockBitmap(_));
            let bits = if blocks { geometry.blocks_per_group } else { geometry.inodes_per_group };
            let Some(sum) = bitmap_checksum(&raw, bits, geometry) else { return };
            let place = survey.descriptor_target(group);
            let mut record = pages.bytes(place.position, place.length);
            let mut descriptor = Descriptor::decode(&record);
            match blocks {
                true => descriptor.block_bitmap_checksum = sum,
                false => descriptor.inode_bitmap_checksum = sum,
            }
            descriptor.encode(&mut record, geometry, group);
            pages.write(place.position, &record);
        }
        Part::Inode(ino) => inode(&mut raw, ino, survey),
        Part::Extents(owner) => {
            let place = 12 + 12 * usize::from(u16_at(&raw, 4));
            if place + 4 <= raw.len()
                && let Some(seed) = seed_of(survey, owner)
            {
                let sum = crc32c(seed, &raw[..place]);
                put_u32(&mut raw, place, sum);
            }
        }
        Part::Names(owner) => {
            let place = raw.len() - 12;
            if let Some(seed) = seed_of(survey, owner) {
                let sum = crc32c(seed, &raw[..place]);
                put_u32(&mut raw, place + 8, sum);
            }
        }
        Part::Index(owner) => index(&mut raw, owner, survey),
        Part::Attributes => {
            if let Some(seed) = geometry.checksum_seed {
                let block = target.position / geometry.block_size as u64;
                put_u32(&mut raw, 0x10, 0);
                let sum = crc32c(crc32c(seed, &block.to_le_bytes()), &raw);
                put_u32(&mut raw, 0x10, sum);
            }
        }
        Part::JournalSuperblock => {
            if !has_sums(&raw) {
                return;
            }
            raw[0xfc..0x100].fill(0);
            let sum = crc32c(!0, &raw[..0x400]);
            raw[0xfc..0x100].copy_from_slice(&sum.to_be_bytes());
        }
        Part::JournalRecord => journal_record(&mut raw, pages, survey),
        Part::JournalCopy => return,
    }
    pages.write(target.position, &raw);
}

fn seed_of(survey: &Survey, owner: Owner) -> Option<u32> {
    survey.geometry.inode_seed(owner.ino, owner.generation)
}

fn inode(raw: &mut [u8], ino: u32, survey: &Survey) {
    let Some(seed) = survey.geometry.inode_seed(ino, u32_at(raw, 0x64)) else { return };
    let high = raw.len() > 128 && u16_at(raw, 0x80) >= 4;
    put_u16(raw, 0x7c, 0);
    if high {
        put_u16(raw, 0x82, 0);
    }
    let sum = crc32c(seed, raw);
    put_u16(raw, 0x7c, sum as u16);
    if high {
        put_u16(raw, 0x82, (sum >> 16) as u16);
    }
}

/// Entries of the index begin behind `.` and `..`, or behind the one empty entry.
fn index(raw: &mut [u8], owner: Owner, survey: &Survey) {
    let Some(seed) = seed_of(survey, owner) else { return };
    let start = if u32_at(raw, 0) == 0 { 8 } else { 0x20 };
    let (limit, count) = (usize::from(u16_at(raw, start)), usize::from(u16_at(raw, start + 2)));
    let tail = start + limit * 8;
    if tail + 8 > raw.len() || count > limit {
        return;
    }
    let sum = crc32c(seed, &raw[..start + count * 8]);
    let sum = crc32c(crc32c(sum, &raw[tail..tail + 4]), &[0; 4]);
    put_u32(raw, tail + 4, sum);
}

/// True for a journal with `JBD2_FEATURE_INCOMPAT_CSUM_V2` or `_V3`.
fn has_sums(superblock: &[u8]) -> bool {
    be32(superblock, 0x28) & 0x18 != 0
}

/// Descriptor and revoke blocks have their checksum at the end, commit blocks in the middle.
fn journal_record(raw: &mut [u8], pages: &Pages, survey: &Survey) {
    let Some(&first) = survey.journal.first() else { return };
    let superblock = pages.bytes(first * survey.geometry.block_size as u64, 1024);
    let seed = crc32c(!0, &superblock[0x30..0x40]);
    if be32(raw, 0) != MAGIC || !has_sums(&superblock) {
        return;
    }
    let place = match be32(raw, 4) {
        1 | 5 => raw.len() - 4,
        2 => 0x10,
        _ => return,
    };
    raw[place..place + 4].fill(0);
    let sum = crc32c(seed, raw);
    raw[place..place + 4].copy_from_slice(&sum.to_be_bytes());
}
