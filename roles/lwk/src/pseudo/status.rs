//! Pieces of text that many files have.

use super::text::Text;
use crate::Errno;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

/// Clock ticks, of which there are 100 a second (USER_HZ).
pub fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_millis() / 10).unwrap_or(u64::MAX)
}

/// A line `name:   amount kB`.
pub fn kilobytes(out: &mut Text, name: &str, bytes: u64) -> Result<(), Errno> {
    writeln!(out, "{:<15} {:>8} kB", format!("{name}:"), bytes >> 10)
}

/// The list format of sets: `0-3,7`.
pub fn list(numbers: &[usize]) -> String {
    let mut sorted: Vec<usize> = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut out = String::new();
    let mut rest = &sorted[..];
    while let Some(&first) = rest.first() {
        let run = rest.iter().enumerate().take_while(|(index, number)| **number == first + index).count();
        let comma = if out.is_empty() { "" } else { "," };
        let _ = match run {
            1 => write!(out, "{comma}{first}"),
            _ => write!(out, "{comma}{first}-{}", first + run - 1),
        };
        rest = &rest[run..];
    }
    out
}

/// The mask format of sets: groups of 32 bits, the highest first, of which there are enough for `count`.
pub fn mask(numbers: &[usize], count: usize) -> String {
    let groups = count.div_ceil(32).max(1);
    let mut words = alloc::vec![0u32; groups];
    for number in numbers {
        if let Some(word) = words.get_mut(number / 32) {
            *word |= 1 << (number % 32);
        }
    }
    let width = |index: usize| {
        if index == groups - 1 && !count.is_multiple_of(32) { (count % 32).div_ceil(4) } else { 8 }
    };
    let text: Vec<String> = words
        .iter()
        .enumerate()
        .rev()
        .map(|(index, word)| format!("{word:0w$x}", w = width(index)))
        .collect();
    text.join(",")
}
