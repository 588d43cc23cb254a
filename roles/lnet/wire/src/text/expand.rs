//! Words whose bracket lists stand for several names: `tcp[1-3]`, `10.0.[0-1].[1-4]@tcp`.

use super::{MAX_EXPANSION, NumberList, Problem};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Every name that `word` stands for, the last list counting fastest.
pub(super) fn expand(word: &str) -> Result<Vec<String>, Problem> {
    let mut names = Vec::from([String::new()]);
    let mut rest = word;
    while let Some((literal, list)) = rest.split_once('[') {
        let (inner, after) = list.split_once(']').ok_or(Problem::Bracket)?;
        if literal.contains(']') {
            return Err(Problem::Bracket);
        }
        let numbers = NumberList::parse(inner, u32::MAX)?;
        if names.len().saturating_mul(numbers.count()) > MAX_EXPANSION {
            return Err(Problem::TooMany(MAX_EXPANSION));
        }
        names = names
            .iter()
            .flat_map(|name| numbers.iter().map(move |number| append(name, literal, number)))
            .collect();
        rest = after;
    }
    if rest.contains(']') {
        return Err(Problem::Bracket);
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

fn append(name: &str, literal: &str, number: u32) -> String {
    let mut longer = String::from(name);
    longer.push_str(literal);
    // Writing to a string cannot fail.
    let _ = write!(longer, "{number}");
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_multiply() {
        assert_eq!(expand("tcp").unwrap(), ["tcp"]);
        assert_eq!(expand("tcp[1-3]").unwrap(), ["tcp1", "tcp2", "tcp3"]);
        assert_eq!(expand("o2ib[0-6/3,9]").unwrap(), ["o2ib0", "o2ib3", "o2ib6", "o2ib9"]);
        assert_eq!(expand("a[1,2]b[3,4]c").unwrap(), ["a1b3c", "a1b4c", "a2b3c", "a2b4c"]);
    }

    #[test]
    fn what_cannot_be_expanded() {
        for word in ["a[1", "a]", "a]b[1]", "[1]]"] {
            assert_eq!(expand(word), Err(Problem::Bracket), "{word}");
        }
        assert_eq!(expand("[[1]]"), Err(Problem::Number(u32::MAX)));
        assert_eq!(expand("a[0-4095]").unwrap().len(), MAX_EXPANSION);
        assert_eq!(expand("a[0-4096]"), Err(Problem::TooMany(MAX_EXPANSION)));
        assert_eq!(expand("[0-4294967295][0-4294967295]"), Err(Problem::TooMany(MAX_EXPANSION)));
        assert_eq!(expand("[0-99][0-99]"), Err(Problem::TooMany(MAX_EXPANSION)));
    }
}
