//! Command lines of the tools: options that can stand in one word with their value or in two.

use std::ffi::OsString;

use super::problem::Problem;

/// The words of a command line, one after the other.
pub struct Words {
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
}

/// An option, or a word that is none.
#[derive(PartialEq, Eq, Debug)]
pub enum Item {
    /// `-c`, `--wait`, and what stands behind `=`, or behind the letter.
    Option(String, Option<String>),
    /// Anything else.
    Word(String),
}

impl Words {
    /// From the arguments of a tool.
    pub fn new(args: Vec<OsString>) -> Result<Words, Problem> {
        let words: Result<Vec<String>, OsString> = args.into_iter().map(OsString::into_string).collect();
        let words = words.map_err(|word| Problem::usage(word.display(), "not UTF-8"))?;
        Ok(Words { words: words.into_iter().peekable() })
    }

    /// The next one. A short option with more than a letter is the option and its value.
    pub fn item(&mut self) -> Option<Item> {
        let word = self.words.next()?;
        if word.starts_with("--") && word.len() > 2 {
            return Some(match word.split_once('=') {
                Some((option, value)) => Item::Option(option.to_owned(), Some(value.to_owned())),
                None => Item::Option(word, None),
            });
        }
        let second = word.strip_prefix('-').and_then(|rest| rest.chars().next());
        let Some(letter) = second.filter(|letter| letter.is_ascii_alphabetic()) else {
            return Some(Item::Word(word));
        };
        let value = word.get(2..).filter(|value| !value.is_empty()).map(str::to_owned);
        Some(Item::Option(format!("-{letter}"), value))
    }

    /// The value of an option: what was in its word, or the next word.
    pub fn value(&mut self, option: &str, attached: Option<String>) -> Result<String, Problem> {
        attached.or_else(|| self.words.next()).ok_or_else(|| Problem::usage(option, "a value must follow"))
    }
}

/// Refuses a value behind an option that takes none.
pub fn no_value(option: &str, attached: &Option<String>) -> Result<(), Problem> {
    match attached {
        None => Ok(()),
        Some(value) => Err(Problem::usage(option, format!("takes no value, but {value:?} stands behind it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_with_and_without_values() {
        let args = ["-c", "1-2", "-m512M", "--wait=5", "-i", "-1", "0", "-", "-O"];
        let mut words = Words::new(args.iter().map(OsString::from).collect()).unwrap();
        let option =
            |name: &str, value: Option<&str>| Some(Item::Option(name.into(), value.map(String::from)));
        assert_eq!(words.item(), option("-c", None));
        assert_eq!(words.value("-c", None).unwrap(), "1-2");
        assert_eq!(words.item(), option("-m", Some("512M")));
        assert_eq!(words.item(), option("--wait", Some("5")));
        assert_eq!(words.item(), option("-i", None));
        assert_eq!(words.value("-i", None).unwrap(), "-1");
        assert_eq!(words.item(), Some(Item::Word("0".into())));
        assert_eq!(words.item(), Some(Item::Word("-".into())));
        assert_eq!(words.item(), option("-O", None));
        assert_eq!(words.value("-O", None).unwrap_err().to_string(), "-O: a value must follow");
    }
}
