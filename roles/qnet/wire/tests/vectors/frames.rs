//! The frames as the specification prints them.

use std::sync::OnceLock;

/// Names and bytes of all frames, in order.
pub fn vectors() -> &'static [(String, Vec<u8>)] {
    static VECTORS: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let lines = include_str!("../vectors.txt").lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.map(|line| line.split_once(' ').unwrap());
        pairs.map(|(name, hex)| (name.to_string(), bytes(hex))).collect()
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { panic!("odd number of digits") };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(byte).collect()
}
