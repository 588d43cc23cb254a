//! Options that all tools have.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Seconds that a node may take to answer, without `--timeout`.
const TIMEOUT: u64 = 10;

/// What `--help` says of them.
pub const HELP: &str = "  --conf=<file>          node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf
  --node=<name|index>    the node
  --timeout=<seconds>    for each answer of a node (10)
  --json                 output for programs
  -v  --version  --help";

/// Why there are no options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Usage {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// Everything else.
    Wrong(String),
}

/// The common options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Common {
    /// `--conf`
    pub conf: Option<PathBuf>,
    /// `--node`
    pub node: Option<String>,
    /// `--timeout`
    pub timeout: Duration,
    /// `--json`
    pub json: bool,
    /// `-v`
    pub verbose: bool,
}

/// What follows an option.
pub struct Value<'a> {
    option: &'a str,
    attached: Option<&'a str>,
    rest: &'a mut std::vec::IntoIter<String>,
    used: bool,
}

impl Value<'_> {
    /// The value of the option: behind its `=`, or the next word.
    pub fn take(&mut self) -> Result<String, Usage> {
        self.used = true;
        let value = self.attached.map(String::from).or_else(|| self.rest.next());
        value.ok_or_else(|| Usage::Wrong(format!("{}: a value must follow", self.option)))
    }

    /// The value as a number.
    pub fn number<N: std::str::FromStr>(&mut self, accepted: &str) -> Result<N, Usage> {
        let text = self.take()?;
        text.parse().map_err(|_| Usage::Wrong(format!("{}: {text}: accepted is {accepted}", self.option)))
    }
}

/// Reads a command line. `own` is asked first about each option; it says whether it is one of its own. What is left are
/// the words that are no options; with `verbs`, everything behind the second of them stays as it is.
pub fn parse(
    args: Vec<OsString>,
    verbs: bool,
    mut own: impl FnMut(&str, &mut Value<'_>) -> Result<bool, Usage>,
) -> Result<(Common, Vec<String>), Usage> {
    let mut common =
        Common { conf: None, node: None, timeout: Duration::from_secs(TIMEOUT), json: false, verbose: false };
    let mut words = Vec::new();
    let args: Result<Vec<String>, OsString> = args.into_iter().map(OsString::into_string).collect();
    let args = args.map_err(|word| Usage::Wrong(format!("{}: not UTF-8", word.display())))?;
    let mut rest = args.into_iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            words.extend(rest);
            break;
        }
        if !word.starts_with('-') || word == "-" || is_number(&word) {
            words.push(word);
            continue;
        }
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (word.as_str(), None),
        };
        let mut value = Value { option, attached, rest: &mut rest, used: false };
        // First, for tools whose `-v` is another one.
        let is_own = own(option, &mut value)?;
        match option {
            _ if is_own => {}
            "--help" => return Err(Usage::Help),
            "--version" => return Err(Usage::Version),
            "--conf" => common.conf = Some(value.take()?.into()),
            "--node" => common.node = Some(value.take()?),
            "--timeout" => match value.number("a number of seconds from 1")? {
                0u64 => {
                    return Err(Usage::Wrong("--timeout: 0: accepted is a number of seconds from 1".into()));
                }
                seconds => common.timeout = Duration::from_secs(seconds),
            },
            "--json" => common.json = true,
            "-v" => common.verbose = true,
            _ if !verbs || words.is_empty() => {
                return Err(Usage::Wrong(format!("{option}: no such option")));
            }
            _ => {
                words.push(word);
                continue;
            }
        }
        if attached.is_some() && !value.used {
            return Err(Usage::Wrong(format!("{option}: takes no value")));
        }
    }
    Ok((common, words))
}

fn is_number(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, verbs: bool) -> Result<(Common, Vec<String>, u32), Usage> {
        let mut every = 0;
        let args = line.split_whitespace().map(OsString::from).collect();
        let (common, words) = parse(args, verbs, |option, value| match option {
            "-i" => value.number("a number").map(|number| every = number).map(|()| true),
            _ => Ok(false),
        })?;
        Ok((common, words, every))
    }

    #[test]
    fn options_stand_anywhere() {
        let (common, words, every) =
            read("--node=n1 a --json -i 7 b --timeout 3 -v --conf c", false).unwrap();
        assert_eq!((common.node.as_deref(), common.json, common.verbose), (Some("n1"), true, true));
        assert_eq!((common.timeout, common.conf), (Duration::from_secs(3), Some("c".into())));
        assert_eq!((words, every), (vec!["a".to_string(), "b".into()], 7));
        let (_, words, _) = read("0 kmsg -f --after=5 --json", true).unwrap();
        assert_eq!(words, ["0", "kmsg", "-f", "--after=5"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, message) in [
            ("-x", "-x: no such option"),
            ("-i", "-i: a value must follow"),
            ("-i x", "-i: x: accepted is a number"),
            ("--timeout=0", "--timeout: 0: accepted is a number of seconds from 1"),
            ("--json=1", "--json: takes no value"),
        ] {
            assert_eq!(read(line, false), Err(Usage::Wrong(message.into())), "{line}");
        }
        assert_eq!(read("--help", true), Err(Usage::Help));
        assert_eq!(read("a --version", true), Err(Usage::Version));
    }
}
