//! "Did you mean": the known names nearest to a mistyped one.

use alloc::vec::Vec;

/// Longest name that is compared; longer ones are not typing mistakes, and the work grows with the square.
const MAX_LEN: usize = 64;

/// At most three of `known` that a typing mistake could have turned into `name`, nearest first.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if name.len() > MAX_LEN {
        return Vec::new();
    }
    // One mistake in a short name, up to three in a long one.
    let tolerated = (name.len() / 3).clamp(1, 3);
    // The right name under the wrong prefix (`exports.path` for `nfs.path`) helps too, after the others.
    let leaf =
        |full: &str| full.rsplit('.').next().map(str::len).filter(|&len| len > 2).map(|len| full.len() - len);
    let distance = |candidate: &str| match (leaf(name), leaf(candidate)) {
        (Some(a), Some(b)) if a > 0 || b > 0 => {
            let same_leaf = name[a..] == candidate[b..];
            edits(name, candidate).min(if same_leaf { tolerated } else { usize::MAX })
        }
        _ => edits(name, candidate),
    };
    let mut found: Vec<(usize, &str)> =
        known.map(|candidate| (distance(candidate), candidate)).filter(|(d, _)| *d <= tolerated).collect();
    found.sort();
    found.truncate(3);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
/// alignment distance, over bytes).
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = core::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: [&str; 5] = ["log", "panic", "nfs.export", "nfs.lease", "ip"];

    #[test]
    fn typing_mistakes_are_recognised() {
        assert_eq!(nearest("nfs.exprot", KNOWN.into_iter()), ["nfs.export"]);
        assert_eq!(nearest("nsf.export", KNOWN.into_iter()), ["nfs.export"]);
        assert_eq!(nearest("export", KNOWN.into_iter()), ["nfs.export"]);
        assert_eq!(nearest("lgo", KNOWN.into_iter()), ["log"]);
        assert!(nearest("quiet", KNOWN.into_iter()).is_empty());
    }

    #[test]
    fn distances() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("ab", "ba"), 1);
    }

    proptest! {
        #[test]
        fn any_name_is_compared(name in any::<String>()) {
            nearest(&name, KNOWN.into_iter());
        }
    }
}
