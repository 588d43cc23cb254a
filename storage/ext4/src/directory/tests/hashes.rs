//! Hashes are those of e2fsprogs.

use super::super::hash::{Hasher, Version};
use super::name;
use crate::dev::Scratch;
use crate::testing::Bench;
use std::fs;
use std::process::Command;

const SEED: &str = "01234567-89ab-cdef-0213-456789abcde5";
const SEED_WORDS: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x6745_1302, 0xe5cd_ab89];

/// The hashes that debugfs makes of names in UTF-8 without spaces.
fn judged(version: u8, seed: Option<&str>, names: &[String]) -> Vec<(u32, u32)> {
    let commands = Scratch::new();
    let seed = seed.map(|seed| format!("-s {seed} ")).unwrap_or_default();
    let lines: String = names.iter().map(|name| format!("dx_hash -h {version} {seed}{name}\n")).collect();
    fs::write(commands.path(), lines).expect("write commands");
    let output =
        Command::new("/usr/sbin/debugfs").arg("-f").arg(commands.path()).output().expect("run debugfs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |text: &str| {
        let hexadecimal = text.trim_start_matches("0x").trim_end_matches(')');
        u32::from_str_radix(hexadecimal, 16).expect("a hexadecimal number")
    };
    let hashes: Vec<(u32, u32)> = said
        .lines()
        .filter_map(|line| line.rsplit_once(" is ")?.1.split_once(" (minor "))
        .map(|(major, minor)| (number(major), number(minor)))
        .collect();
    assert_eq!(hashes.len(), names.len(), "{said}");
    hashes
}

#[test]
fn all_versions_with_and_without_seed() {
    let mut names: Vec<String> = (0..60)
        .map(|number| String::from_utf8_lossy(&name(number)[..name(number).len() - 1]).into_owned())
        .collect();
    names.extend((1..=255).step_by(5).map(|length| "x".repeat(length)));
    names.extend((1..60).map(|length| "ä".repeat(length)));
    names.extend((1..40).map(|length| "z€ß".repeat(length).chars().take(60).collect()));
    let mut geometry = Bench::new(8, &["-b", "1024"]).engine.geometry;
    for (seed, words) in [(None, [0; 4]), (Some(SEED), SEED_WORDS)] {
        for (number, version) in [Version::Legacy, Version::HalfMd4, Version::Tea].into_iter().enumerate() {
            for unsigned in [false, true] {
                (geometry.hash_seed, geometry.hash_unsigned) = (words, unsigned);
                let hasher = Hasher::new(version, &geometry);
                let code = number as u8 + if unsigned { 3 } else { 0 };
                for (name, (major, minor)) in names.iter().zip(judged(code, seed, &names)) {
                    let hash = hasher.hash(name.as_bytes());
                    assert_eq!(hash.major, major, "{version:?} {unsigned} {name}");
                    assert_eq!(hasher.major(name.as_bytes()), major);
                    if version == Version::HalfMd4 {
                        assert_eq!(hash.minor, minor, "{version:?} {unsigned} {name}");
                    }
                }
            }
        }
    }
}
