//! Options among words, as getopt_long reads them: `--net tcp1`, `--net=tcp1`, `-n tcp1`, `-ntcp1`; `--` ends
//! them. A long name may be cut short while it stays unique.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Whether an option has a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// It has none.
    None,
    /// It must have one.
    Needed,
    /// It may have one: attached to it, or the next word if that is a number.
    Number,
}

/// An option that a command has.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Behind two dashes.
    pub long: &'static str,
    /// Behind one dash; blank if there is none.
    pub short: char,
    /// Its value.
    pub value: Value,
}

impl Opt {
    /// An option with a value.
    pub const fn value(long: &'static str, short: char) -> Opt {
        Opt { long, short, value: Value::Needed }
    }

    /// An option without.
    pub const fn flag(long: &'static str, short: char) -> Opt {
        Opt { long, short, value: Value::None }
    }

    /// `-v [LEVEL]`.
    pub const VERBOSE: Opt = Opt { long: "verbose", short: 'v', value: Value::Number };
}

/// What the words said.
#[derive(Debug, Default)]
pub struct Args<'a> {
    options: Vec<(&'static str, Option<&'a str>)>,
    /// Words that are no options.
    pub rest: Vec<&'a str>,
}

/// Reads the words of a command.
///
/// # Errors
///
/// What is wrong, in words.
pub fn parse<'a>(words: &[&'a str], known: &[Opt]) -> Result<Args<'a>, String> {
    let mut args = Args::default();
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            args.rest.extend(words.by_ref());
            break;
        }
        let (opt, mut value) = if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            (find_long(name, known)?, value)
        } else if let Some(short) = word.strip_prefix('-').filter(|short| starts_with_letter(short)) {
            let letter = short.chars().next().unwrap_or(' ');
            let opt = known.iter().find(|opt| opt.short == letter && letter != ' ');
            let opt = opt.ok_or_else(|| format!("-{letter} is no option here{}", accepted(known)))?;
            let value = short.get(letter.len_utf8()..).filter(|value| !value.is_empty());
            (*opt, value.map(|value| value.strip_prefix('=').unwrap_or(value)))
        } else {
            args.rest.push(word);
            continue;
        };
        match (opt.value, value) {
            (Value::None, Some(_)) => return Err(format!("--{} has no value", opt.long)),
            (Value::Needed, None) => {
                value = Some(words.next().ok_or_else(|| format!("--{} needs a value", opt.long))?);
            }
            (Value::Number, None) => {
                value = words.next_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
            }
            _ => {}
        }
        args.options.push((opt.long, value));
    }
    Ok(args)
}

fn starts_with_letter(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn find_long(name: &str, known: &[Opt]) -> Result<Opt, String> {
    // Underscores and hyphens are the same: Lustre's own options have both.
    let plain = |text: &str| text.replace('_', "-");
    let name_plain = plain(name);
    if let Some(opt) = known.iter().find(|opt| plain(opt.long) == name_plain) {
        return Ok(*opt);
    }
    let mut begin = known.iter().filter(|opt| plain(opt.long).starts_with(&name_plain));
    match (begin.next(), begin.next()) {
        (Some(opt), None) if !name.is_empty() => Ok(*opt),
        (Some(_), Some(_)) => Err(format!("--{name} can mean several options{}", accepted(known))),
        _ => Err(format!("--{name} is no option here{}", accepted(known))),
    }
}

fn accepted(known: &[Opt]) -> String {
    let mut text = String::from(if known.is_empty() { "; there are none" } else { "; accepted:" });
    for opt in known {
        text.push_str(" --");
        text.push_str(opt.long);
    }
    text
}

impl<'a> Args<'a> {
    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The last value of an option.
    pub fn get(&self, long: &str) -> Option<&'a str> {
        self.all(long).last()
    }

    /// All values of an option.
    pub fn all(&self, long: &str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(name, _)| *name == long).filter_map(|(_, value)| *value)
    }

    /// The value of an option, read.
    ///
    /// # Errors
    ///
    /// The option and its value, when that is not what it must be.
    pub fn read<T: core::str::FromStr>(&self, long: &str, wanted: &str) -> Result<Option<T>, String> {
        self.get(long).map(|text| read(long, text, wanted)).transpose()
    }

    /// The same, of an option that must be given.
    pub fn need<T: core::str::FromStr>(&self, long: &str, wanted: &str) -> Result<T, String> {
        self.read(long, wanted)?.ok_or_else(|| format!("--{long} is missing: {wanted}"))
    }

    /// The level of `-v`: 0 without, 1 without a number.
    pub fn detail(&self) -> Result<u32, String> {
        Ok(match self.read("verbose", "a level, 0 to 4")? {
            Some(level) => level,
            None => u32::from(self.has("verbose")),
        })
    }

    /// There must be no words besides options.
    pub fn no_rest(&self) -> Result<(), String> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(format!("'{word}' was not expected")),
        }
    }
}

/// Reads a value.
pub fn read<T: core::str::FromStr>(what: &str, text: &str, wanted: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{what} '{text}': expected is {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Opt] = &[
        Opt::value("net", 'n'),
        Opt::value("peer-credits", 'c'),
        Opt::value("peer-timeout", 't'),
        Opt::flag("all", 'a'),
        Opt::VERBOSE,
    ];

    #[test]
    fn every_spelling() {
        for words in
            [["--net", "tcp1"].as_slice(), &["--net=tcp1"], &["-n", "tcp1"], &["-ntcp1"], &["--ne", "tcp1"]]
        {
            assert_eq!(parse(words, KNOWN).unwrap().get("net"), Some("tcp1"), "{words:?}");
        }
        let args = parse(&["-v", "2", "x", "--peer_credits", "7", "-a", "--", "-n"], KNOWN).unwrap();
        assert_eq!((args.detail(), args.get("peer-credits"), args.has("all")), (Ok(2), Some("7"), true));
        assert_eq!(args.rest, ["x", "-n"]);
        assert_eq!(parse(&["-v"], KNOWN).unwrap().detail(), Ok(1));
        assert_eq!(parse(&["-v3"], KNOWN).unwrap().detail(), Ok(3));
        assert_eq!(parse(&[], KNOWN).unwrap().detail(), Ok(0));
        assert_eq!(parse(&["-1"], KNOWN).unwrap().rest, ["-1"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, says) in [
            (["--nid", "x"].as_slice(), "--nid is no option here; accepted: --net"),
            (&["--peer", "8"], "several"),
            (&["-x"], "-x is no option"),
            (&["--net"], "--net needs a value"),
            (&["--all=1"], "--all has no value"),
        ] {
            let error = parse(words, KNOWN).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
        let args = parse(&["-c", "many"], KNOWN).unwrap();
        assert_eq!(
            args.read::<u32>("peer-credits", "a number").unwrap_err(),
            "peer-credits 'many': expected is a number"
        );
        assert_eq!(args.need::<u32>("net", "tcp1").unwrap_err(), "--net is missing: tcp1");
    }
}
