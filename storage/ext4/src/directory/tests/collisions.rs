//! Names with the same hash.

use super::super::hash::{Hasher, Version};
use super::*;
use crate::directory::CHAIN_MOST;
use crate::directory::index::CONTINUED;
use crate::layout::inode::INDEXED;
use std::collections::HashMap;

/// Name `number` of many with the same TEA hash: flipping the highest bits of both halves of a half key changes
/// nothing, whatever the seed.
pub(super) fn twin(number: usize, length: usize) -> Vec<u8> {
    let mut name = vec![b'k'; length];
    for bit in 0..length / 8 {
        if bit < 16 && number >> bit & 1 != 0 {
            name[8 * bit] ^= 0x80;
            name[8 * bit + 4] ^= 0x80;
        }
    }
    name
}

/// A filesystem whose directories use TEA.
pub(super) fn with_tea(mebibytes: u64) -> Fixture {
    let mut image = made(mebibytes, &["-b", "1024", "-N", "64", "-O", "^metadata_csum"]);
    // s_def_hash_version
    image[1024 + 0xfc] = 2;
    Fixture::of(image)
}

#[test]
fn many_names_of_one_hash() {
    let mut fixture = with_tea(16);
    let geometry = fixture.bench.engine.geometry;
    let hasher = Hasher::new(Version::Tea, &geometry);
    assert_eq!(hasher.major(&twin(0, 200)), hasher.major(&twin(12_345, 200)));
    for number in 0..300 {
        fixture.insert(&twin(number, 200));
        fixture.insert(format!("other {number}").as_bytes());
    }
    fixture.compare();
    fixture.check();
    for number in (0..300).step_by(3) {
        fixture.remove(&twin(number, 200));
    }
    for number in 300..400 {
        fixture.insert(&twin(number, 130));
    }
    fixture.compare();
    fixture.check();
}

#[test]
fn a_chain_has_an_end() {
    let mut fixture = with_tea(16);
    let mut refused = None;
    for number in 0..CHAIN_MOST * 5 {
        if let Err(error) = fixture.try_insert(&twin(number, 255)) {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused, Some(VolumeError::NoSpace));
    assert!(fixture.model.len() > CHAIN_MOST, "{} names", fixture.model.len());
    // Others still find room.
    for number in 0..500 {
        fixture.insert(&name(number));
    }
    fixture.compare();
    fixture.check();
}

/// Two names with the same half MD4, between others so that the middle of the first division is between them: they
/// stay together.
#[test]
fn a_division_keeps_names_of_one_hash_together() {
    let mut fixture =
        Fixture::new(8, &["-b", "1024", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef"]);
    let hasher = Hasher::new(Version::HalfMd4, &fixture.bench.engine.geometry);
    let numbered = |number: u32| format!("collision-{number:08}").into_bytes();
    let mut known = HashMap::new();
    let (one, two) = (0..)
        .find_map(|number| known.insert(hasher.major(&numbered(number)), number).map(|other| (other, number)))
        .expect("any two of many");
    let major = hasher.major(&numbered(one));
    let below: Vec<_> = (0..).map(numbered).filter(|name| hasher.major(name) < major).take(20).collect();
    let above: Vec<_> = (0..).map(numbered).filter(|name| hasher.major(name) > major).take(20).collect();
    let mut names: Vec<_> = below.into_iter().zip(above).flat_map(|(low, high)| [low, high]).collect();
    names.splice(8..8, [numbered(one), numbered(two)]);
    for name in names {
        fixture.insert(&name);
        let inode = fixture.inode();
        if inode.flags & INDEXED != 0 {
            let next = fixture.bench.run(|engine| {
                let root = engine.tree_root(&inode)?;
                let path = engine.tree_descend(&inode, &root, 0)?;
                engine.tree_next_hash(&inode, &path)
            });
            // None as long as all names are in one block.
            let Some(next) = next.expect("look at the index") else { continue };
            assert_eq!(next & CONTINUED, 0);
            assert!(next.abs_diff(major) < 1 << 29, "the division was far away from the two");
        }
        fixture.compare();
    }
    assert_eq!(fixture.inode().size, 3 * 1024);
    fixture.check();
    let listed = fixture.list(1);
    let is_one = |name: &[u8]| name == numbered(one) || name == numbered(two);
    let cookies: Vec<u64> =
        listed.iter().filter(|(_, (name, _))| is_one(name)).map(|(&cookie, _)| cookie).collect();
    assert_eq!([cookies[0] >> 32, cookies[1] >> 32], [u64::from(major >> 1); 2]);
}
