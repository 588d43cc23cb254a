//! Cutting a command line into words, as Linux does it.

use core::fmt;

/// One word of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word<'a> {
    /// What stands before the first `=`, or the whole word. Not empty unless the word was `""`.
    pub key: &'a str,
    /// What stands after it, without the quotes around it; `None` when the word has no `=`.
    pub value: Option<&'a str>,
}

/// The words of `line` up to a bare `--`.
///
/// A double quote starts or ends a stretch in which blanks do not separate. Quotes around a whole word or
/// around a whole value are removed; others stay, and there is no escape, so that a value cannot contain
/// both a blank and a quote in any other place. A quote that is never closed reaches to the end of the line.
pub fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    raw_words(line).map(Word::parse)
}

/// The same words as they stand in the line, quotes included.
pub(crate) fn raw_words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    core::iter::from_fn(move || {
        rest = rest.trim_start_matches(is_blank);
        let (word, tail) = rest.split_at(word_end(rest));
        rest = tail;
        (!word.is_empty() && word != "--").then_some(word)
    })
    .fuse()
}

/// True when two keys name the same option: `-` and `_` are equal, as in Linux.
pub fn same_key(a: &str, b: &str) -> bool {
    let dash = |byte: u8| if byte == b'-' { b'_' } else { byte };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(x, y)| dash(x) == dash(y))
}

/// What C calls a space in the "C" locale.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Length in bytes of the word that `text` starts with.
fn word_end(text: &str) -> usize {
    let mut quoted = false;
    text.find(|c| {
        quoted ^= c == '"';
        !quoted && is_blank(c)
    })
    .unwrap_or(text.len())
}

impl<'a> Word<'a> {
    pub(crate) fn parse(raw: &'a str) -> Word<'a> {
        let word = unquote(raw);
        match word.find('=') {
            // A word that starts with `=` has no key: keep it whole, as a bare word.
            None | Some(0) => Word { key: word, value: None },
            Some(at) => {
                let value = &word[at + 1..];
                // `"key=value"` lost its quotes above; `key="value"` loses them here.
                let value = if word.len() == raw.len() { unquote(value) } else { value };
                Word { key: &word[..at], value: Some(value) }
            }
        }
    }
}

/// Removes the quotes around `text`, also when the closing one is missing.
fn unquote(text: &str) -> &str {
    match text.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => text,
    }
}

impl fmt::Display for Word<'_> {
    /// Writes the word so that [`words`] reads it back, unless key or value contain a quote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Word { key, value } = *self;
        let quote = |text: &str| text.contains(is_blank) || text.is_empty();
        match value {
            None if quote(key) => write!(f, "\"{key}\""),
            None => f.write_str(key),
            Some(value) if key.contains(is_blank) => write!(f, "\"{key}={value}\""),
            Some(value) if quote(value) => write!(f, "{key}=\"{value}\""),
            Some(value) => write!(f, "{key}={value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(line: &str) -> Vec<(&str, Option<&str>)> {
        words(line).map(|word| (word.key, word.value)).collect()
    }

    #[test]
    fn splits_like_linux() {
        assert_eq!(
            pairs(" a  b=1\tc=\"x y\" \"d=z w\" e= \"f g\" h=a=b"),
            [
                ("a", None),
                ("b", Some("1")),
                ("c", Some("x y")),
                ("d", Some("z w")),
                ("e", Some("")),
                ("f g", None),
                ("h", Some("a=b")),
            ]
        );
    }

    #[test]
    fn two_dashes_end_the_line() {
        assert_eq!(pairs("a -- b=1"), [("a", None)]);
        assert_eq!(pairs("a --b"), [("a", None), ("--b", None)]);
    }

    #[test]
    fn odd_quotes() {
        assert_eq!(pairs("a=\"b c"), [("a", Some("b c"))]);
        assert_eq!(pairs("a=\""), [("a", Some(""))]);
        assert_eq!(pairs("a=x\"y z\" b"), [("a", Some("x\"y z\"")), ("b", None)]);
        assert_eq!(pairs("=x"), [("=x", None)]);
    }

    #[test]
    fn dash_equals_underscore() {
        assert!(same_key("nfs.max-read", "nfs.max_read"));
        assert!(!same_key("nfs.max-read", "nfs.maxread"));
        assert!(!same_key("Log", "log"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(line in any::<String>()) {
            for word in words(&line) {
                prop_assert!(line.contains(word.key));
            }
        }

        #[test]
        fn written_words_read_back(
            list in prop::collection::vec(("[^=\"]{1,8}", prop::option::of("[^\"]{0,12}")), 0..8)
        ) {
            let list: Vec<Word> =
                list.iter().map(|(key, value)| Word { key, value: value.as_deref() }).collect();
            prop_assume!(list.iter().all(|word| word.value.is_some() || word.key != "--"));
            let line = list.iter().map(|word| word.to_string()).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&line).collect::<Vec<_>>(), list);
        }
    }
}
