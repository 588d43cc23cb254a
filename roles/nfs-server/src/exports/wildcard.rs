//! Host name patterns: `*`, `?` and `[set]`.

use super::WildcardDots;

/// Whether all of `name` matches `pattern`. Takes at most pattern × name steps.
pub(super) fn matches_pattern(pattern: &str, name: &str, dots: WildcardDots) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let wild = |byte: u8| dots == WildcardDots::Match || byte != b'.';
    let (mut p, mut n) = (0, 0);
    // Where to go on when the text after the last star does not match.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'?') if wild(name[n]) => {
                p += 1;
                n += 1;
                continue;
            }
            Some(b'[') => {
                // A bracket that does not close stands for itself.
                let (matches, after) = set(&pattern[p..], name[n]).unwrap_or((name[n] == b'[', 1));
                if matches {
                    p += after;
                    n += 1;
                    continue;
                }
            }
            Some(byte) if *byte == name[n] && *byte != b'?' => {
                p += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        // The last star takes one byte more, if it may.
        match star {
            Some((at, taken)) if wild(name[taken]) => {
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether `byte` is in the set at the front of `pattern`, and the length of the set's text. `None` when
/// the bracket does not close.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let end = pattern.iter().skip(2).position(|byte| *byte == b']')? + 2;
    let members = &pattern[1..end];
    let (negated, members) = match members.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, members),
    };
    let mut found = false;
    let mut at = 0;
    while at < members.len() {
        match members[at..] {
            [low, b'-', high, ..] => {
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            [member, ..] => {
                found |= member == byte;
                at += 1;
            }
            [] => break,
        }
    }
    Some((found != negated && byte != b'.', end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_separate() {
        let table = [
            ("*.flying.com.cn", "ftp01.flying.com.cn", true),
            ("*.flying.com.cn", "backup.ftp01.flying.com.cn", false),
            ("*.*.flying.com.cn", "backup.ftp01.flying.com.cn", true),
            ("*.*.flying.com.cn", "ftp01.flying.com.cn", false),
            ("ftp??.flying.com.cn", "ftp01.flying.com.cn", true),
            ("ftp??.flying.com.cn", "ftp1.flying.com.cn", false),
            ("ftp??.flying.com.cn", "ftp001.flying.com.cn", false),
            ("ftp?.a", "ftp..a", false),
            ("*", "host", true),
            ("*", "host.domain", false),
            ("node[0-3]", "node2", true),
            ("node[0-3]", "node4", false),
            ("node[!0-3]", "node4", true),
            ("node[a]", "nodea", true),
            ("node[", "node[", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
            ("**", "", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches_pattern(pattern, name, WildcardDots::Separate), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn dots_match_when_configured() {
        assert!(matches_pattern("*.flying.com.cn", "backup.ftp01.flying.com.cn", WildcardDots::Match));
        assert!(matches_pattern("ftp?a", "ftp.a", WildcardDots::Match));
    }

    #[test]
    fn no_pattern_is_expensive() {
        let pattern = "*a".repeat(100);
        assert!(!matches_pattern(&pattern, &"a".repeat(99), WildcardDots::Match));
    }
}
