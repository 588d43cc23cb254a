//! The hash of a name, by which a hash tree orders its entries (Linux
//! `Documentation/filesystems/ext4/directory.rst`, "Hash Tree Directories"; constants: RFC 1320 for half MD4).

use crate::layout::Geometry;

/// What the hash starts with when the superblock has no seed (RFC 1320 section 3.3).
const NO_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// Numbers that half MD4 adds in its second and third round (RFC 1320 section 3.4).
const SQRT_2: u32 = 0x5a82_7999;
const SQRT_3: u32 = 0x6ed9_eba1;
/// What TEA adds in each of its rounds.
const GOLDEN_RATIO: u32 = 0x9e37_79b9;
/// A hash that no name has: where Linux ends a listing (`EXT4_HTREE_EOF_32BIT`, doubled).
const END: u32 = 0xffff_fffe;

/// How names are hashed: `hash_version` of a tree's root, 0 to 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// 0.
    Legacy,
    /// 1.
    HalfMd4,
    /// 2.
    Tea,
}

impl Version {
    /// By its number.
    pub fn from_code(code: u8) -> Option<Version> {
        match code {
            0 => Some(Version::Legacy),
            1 => Some(Version::HalfMd4),
            2 => Some(Version::Tea),
            _ => None,
        }
    }

    /// Its number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// That of new trees of a filesystem. What is not known is never written.
    pub fn of_new(geometry: &Geometry) -> Version {
        Version::from_code(geometry.hash_version).unwrap_or(Version::HalfMd4)
    }
}

/// Where a name belongs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hash {
    /// Its place in the tree; even.
    pub major: u32,
    /// Its place among names with the same `major`, for listings only.
    pub minor: u32,
}

/// Hashes the names of one directory.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    version: Version,
    unsigned: bool,
    seed: [u32; 4],
}

impl Hasher {
    /// With the filesystem's seed and its idea of characters.
    pub fn new(version: Version, geometry: &Geometry) -> Hasher {
        let seed = if geometry.hash_seed == [0; 4] { NO_SEED } else { geometry.hash_seed };
        Hasher { version, unsigned: geometry.hash_unsigned, seed }
    }

    /// Which hash it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where a name is in the tree.
    pub fn major(&self, name: &[u8]) -> u32 {
        let major = match self.version {
            Version::Legacy => self.legacy(name),
            Version::HalfMd4 => self.half_md4(name).0,
            Version::Tea => self.tea(name),
        };
        clip(major)
    }

    /// Where a name is in the tree and in listings.
    ///
    /// The second is always a half MD4. The legacy hash has nothing for it, and with TEA anybody can make names that
    /// are the same in all bits: flipping the highest bits of two words of its key changes nothing.
    pub fn hash(&self, name: &[u8]) -> Hash {
        let (major, minor) = self.half_md4(name);
        let major = if self.version == Version::HalfMd4 { clip(major) } else { self.major(name) };
        Hash { major, minor }
    }

    /// A character as the number that C makes of it.
    fn character(&self, byte: u8) -> u32 {
        if self.unsigned { u32::from(byte) } else { i32::from(byte as i8) as u32 }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut last, mut before) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for &byte in name {
            let mut next = before.wrapping_add(last ^ self.character(byte).wrapping_mul(7_152_373));
            if next & 0x8000_0000 != 0 {
                next = next.wrapping_sub(0x7fff_ffff);
            }
            (before, last) = (last, next);
        }
        last << 1
    }

    fn half_md4(&self, name: &[u8]) -> (u32, u32) {
        let mut state = self.seed;
        for (index, piece) in name.chunks(32).enumerate() {
            half_md4_round(&mut state, &self.words::<8>(piece, name.len() - 32 * index));
        }
        (state[1], state[2])
    }

    fn tea(&self, name: &[u8]) -> u32 {
        let mut state = self.seed;
        for (index, piece) in name.chunks(16).enumerate() {
            tea_rounds(&mut state, &self.words::<4>(piece, name.len() - 16 * index));
        }
        state[0]
    }

    /// A piece of a name as words, first character highest, filled up with its length (that of all that is left).
    fn words<const N: usize>(&self, piece: &[u8], left: usize) -> [u32; N] {
        let filler = (left as u32 & 0xff).wrapping_mul(0x0101_0101);
        let mut words = [filler; N];
        for (word, bytes) in words.iter_mut().zip(piece.chunks(4)) {
            // Four characters that have no sign are a number as they stand.
            if let Ok(four) = <[u8; 4]>::try_from(bytes)
                && four.is_ascii()
            {
                *word = u32::from_be_bytes(four);
                continue;
            }
            for &byte in bytes {
                *word = self.character(byte).wrapping_add(*word << 8);
            }
        }
        words
    }
}

/// A hash of the tree: even, and none that nobody may have.
fn clip(hash: u32) -> u32 {
    match hash & !1 {
        END => END - 2,
        hash => hash,
    }
}

/// MD4 with 8 steps a round instead of 16.
fn half_md4_round(state: &mut [u32; 4], words: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), SQRT_2, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, SQRT_3, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, add, order, turns) in ROUNDS {
        for (step, &word) in order.iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(words[word]).wrapping_add(add);
            (a, b, c, d) = (d, sum.rotate_left(turns[step % 4]), b, c);
        }
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(change);
    }
}

/// The Tiny Encryption Algorithm, 16 rounds, the words as its key.
fn tea_rounds(state: &mut [u32; 4], key: &[u32; 4]) {
    let (mut left, mut right, mut sum) = (state[0], state[1], 0u32);
    let half = |other: u32, sum: u32, first: u32, second: u32| {
        (other << 4).wrapping_add(first) ^ other.wrapping_add(sum) ^ (other >> 5).wrapping_add(second)
    };
    for _ in 0..16 {
        sum = sum.wrapping_add(GOLDEN_RATIO);
        left = left.wrapping_add(half(right, sum, key[0], key[1]));
        right = right.wrapping_add(half(left, sum, key[2], key[3]));
    }
    state[0] = state[0].wrapping_add(left);
    state[1] = state[1].wrapping_add(right);
}
