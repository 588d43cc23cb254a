//! Lists of processors as Linux and McKernel write them: `3`, `1,2`, `1-4,7` (section 2).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Most processors that a list can name: what the kernel uses.
pub const MAX_CORES: usize = 64;

/// Reads a list. The order is kept: it becomes the numbering that programs see.
///
/// # Errors
///
/// In words: an empty list, a number that is none or too large, a range backwards, a processor twice.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(part, first)?, number(part, last)?),
            None => (number(part, part)?, number(part, part)?),
        };
        if first > last {
            return Err(format!("{part} runs backwards; write {last}-{first}"));
        }
        for core in first..=last {
            if cores.contains(&core) {
                return Err(format!("processor {core} is named twice"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

fn number(part: &str, digits: &str) -> Result<usize, String> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(core) if is_number && core < MAX_CORES => Ok(core),
        _ => Err(format!("{part:?} is not a processor from 0 to {} or a range of them", MAX_CORES - 1)),
    }
}

/// Writes a list, with ranges where they save something.
pub fn format(cores: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let Some((&first, _)) = rest.split_first() {
        let run = rest.iter().enumerate().take_while(|(index, core)| **core == first + index).count();
        let comma = if text.is_empty() { "" } else { "," };
        text += &match run {
            1 => format!("{comma}{first}"),
            _ => format!("{comma}{first}-{}", first + run - 1),
        };
        rest = &rest[run..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_order() {
        assert_eq!(parse("3"), Ok(vec![3]));
        assert_eq!(parse("7,1-4"), Ok(vec![7, 1, 2, 3, 4]));
        assert_eq!(format(&[7, 1, 2, 3, 4]), "7,1-4");
        assert_eq!(format(&[]), "");
        for list in ["0", "0-63", "5,4,3", "2-3,9"] {
            assert_eq!(format(&parse(list).unwrap()), list);
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse("4-1").unwrap_err(), "4-1 runs backwards; write 1-4");
        assert_eq!(parse("1,1").unwrap_err(), "processor 1 is named twice");
        for bad in ["", ",", "1,", "a", "1-", "-1", "64", "1-64", "+1", "1 2", "99999999999999999999"] {
            assert!(parse(bad).unwrap_err().contains("is not a processor"), "{bad}");
        }
    }
}
