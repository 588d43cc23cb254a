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
