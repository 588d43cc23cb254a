//! Names that fit a word with `*`, `?` or `[...]`.

use super::words::Word;
use crate::client::{Files, OpenFlags};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;

/// Names that one word may become.
const NAMES: usize = 1024;

/// A part of a pattern for one name.
enum Part {
    Char(char),
    Any,
    Star,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Part {
    fn has(&self, char: char) -> bool {
        match self {
            Part::Char(own) => *own == char,
            Part::Any => true,
            Part::Star => false,
            Part::Set { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&char)) != *negated
            }
        }
    }
}

/// All names that a word stands for, in order; itself, if it is no pattern or nothing fits. `cwd` is where relative
/// ones start. `E2BIG` if there are too many.
pub(super) async fn expand(files: &Files, cwd: &str, word: &Word) -> Result<Vec<String>, Errno> {
    let is_pattern = |(char, quoted): &(char, bool)| !quoted && matches!(char, '*' | '?' | '[');
    if !word.0.iter().any(is_pattern) {
        return Ok(vec![word.text()]);
    }
    let is_absolute = word.0.first().is_some_and(|(char, _)| *char == '/');
    // What has been found, as it will be printed.
    let mut found = vec![String::from(if is_absolute { "/" } else { "" })];
    for component in word.0.split(|(char, _)| *char == '/').filter(|component| !component.is_empty()) {
        if !component.iter().any(is_pattern) {
            let text: String = component.iter().map(|(char, _)| *char).collect();
            found.iter_mut().for_each(|path| push(path, &text));
            continue;
        }
        let pattern = parse(component);
        let mut next = Vec::new();
        for dir in &found {
            let path = crate::procs::absolute(cwd, dir);
            for name in fitting(files, &path, &pattern).await? {
                let mut path = dir.clone();
                push(&mut path, &name);
                next.push(path);
                if next.len() > NAMES {
                    return Err(Errno::E2BIG);
                }
            }
        }
        found = next;
    }
    // Behind the last pattern there may be names that are not there.
    let mut present = Vec::new();
    for path in found {
        let ends_in_pattern =
            word.0.rsplit(|(char, _)| *char == '/').next().is_some_and(|last| last.iter().any(is_pattern));
        if ends_in_pattern || files.lstat(&crate::procs::absolute(cwd, &path)).await.is_ok() {
            present.push(path);
        }
    }
    present.sort_unstable();
    Ok(if present.is_empty() { vec![word.text()] } else { present })
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(name);
}

/// Names in a directory; none where it cannot be read.
async fn fitting(files: &Files, path: &str, pattern: &[Part]) -> Result<Vec<String>, Errno> {
    let Ok(directory) = files.open(&format!("{path}/"), OpenFlags::READ).await else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    loop {
        let Ok(items) = directory.read_dir().await else { break };
        if items.is_empty() {
            break;
        }
        names.extend(items.into_iter().map(|item| item.name).filter(|name| fits(pattern, name)));
        if names.len() > NAMES {
            return Err(Errno::E2BIG);
        }
    }
    Ok(names)
}

fn parse(component: &[(char, bool)]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = component;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let part = match first {
            ('*', false) => Part::Star,
            ('?', false) => Part::Any,
            ('[', false) => match set(&mut rest) {
                Some(set) => set,
                None => Part::Char('['),
            },
            (char, _) => Part::Char(*char),
        };
        parts.push(part);
    }
    parts
}

/// What stands in brackets; `None`, with nothing taken, if they are not closed.
fn set(rest: &mut &[(char, bool)]) -> Option<Part> {
    let mut inner = *rest;
    let negated = matches!(inner, [('!' | '^', false), ..]);
    if negated {
        inner = inner.get(1..)?;
    }
    let mut ranges = Vec::new();
    loop {
        let ((first, quoted), behind) = inner.split_first()?;
        inner = behind;
        if *first == ']' && !quoted && !ranges.is_empty() {
            *rest = inner;
            return Some(Part::Set { negated, ranges });
        }
        match inner {
            [('-', false), (last, _), behind @ ..] if *last != ']' => {
                ranges.push((*first, *last));
                inner = behind;
            }
            _ => ranges.push((*first, *first)),
        }
    }
}

/// Of stars only the last one is gone back to: more would not find more.
fn fits(pattern: &[Part], name: &str) -> bool {
    // Names with a dot in front only fit patterns with one.
    if name.starts_with('.') && !matches!(pattern.first(), Some(Part::Char('.'))) {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(char) = name.get(at) {
        match pattern.get(place) {
            Some(Part::Star) => {
                star = Some((place, at));
                place += 1;
            }
            Some(part) if part.has(*char) => (at, place) = (at + 1, place + 1),
            _ => match star {
                Some((star_place, star_at)) => {
                    star = Some((star_place, star_at + 1));
                    (at, place) = (star_at + 1, star_place + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(place..).unwrap_or_default().iter().all(|part| matches!(part, Part::Star))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str) -> bool {
        let component: Vec<(char, bool)> = pattern.chars().map(|char| (char, false)).collect();
        fits(&parse(&component), name)
    }

    #[test]
    fn names_that_fit() {
        for (pattern, name) in [
            ("*", "beta"),
            ("b*a", "beta"),
            ("b?ta", "beta"),
            ("[a-c]eta", "beta"),
            ("[!a]*", "beta"),
            ("*a*b*c*", "xaxbxcx"),
            ("[", "["),
            ("[]]", "]"),
            (".*", ".profile"),
            ("*.txt", "a.b.txt"),
        ] {
            assert!(check(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*", ".hidden"),
            ("b?", "b"),
            ("[a-c]", "d"),
            ("[!a]*", "ab"),
            ("*b", "ba"),
            ("", "a"),
            ("?", "."),
        ] {
            assert!(!check(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn quoted_patterns_are_text() {
        assert!(!fits(&parse(&[('*', true)]), "a"));
        assert!(fits(&parse(&[('*', true)]), "*"));
    }

    #[test]
    fn time_is_bounded() {
        assert!(!check(&"*a".repeat(100), &"b".repeat(255)));
    }
}
