//! The command line of ihkmond.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::syslog::Facility;
use crate::tools::options::{self, Common, Usage};

/// `--help`.
pub const HELP: &str = "usage: ihkmond [options]   logs of nodes to syslog, and what happens there
  -f <facility>          LOG_LOCAL6; others as syslog(3) names them
  -k 0|1                 whether the log goes to syslog (1)
  -i <seconds>|-1        how often it is looked for cores that hang (600); -1: never
  --on-event=<command>   run by sh at HUNGUP, PANIC and OOM, with LWK_EVENT LWK_NODE LWK_INDEX LWK_TEXT
  --syslog=<socket>      where syslog listens (/dev/log)
  --foreground           do not become a daemon
  --pidfile=<file>       its process id; only one can have it
  --conf=<file>          node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf
  --node=<name|index>    this node only; otherwise all of the table
  --timeout=<seconds>    for each answer of a node (10)
  -v  --version  --help";

/// Seconds between two looks for cores that hang (McKernel's).
const INTERVAL: u64 = 600;
/// A day.
const LONGEST: u64 = 86_400;

/// Why there are no options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// As with all tools.
    Usage(Usage),
    /// `-f` with something that is none: exit code 255, as McKernel's.
    Facility(String),
}

impl From<Usage> for Wrong {
    fn from(usage: Usage) -> Wrong {
        Wrong::Usage(usage)
    }
}

/// A command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What all tools have.
    pub common: Common,
    /// `-f`
    pub facility: Facility,
    /// `-k`
    pub log: bool,
    /// `-i`
    pub interval: Option<Duration>,
    /// `--on-event`
    pub on_event: Option<String>,
    /// `--syslog`
    pub syslog: PathBuf,
    /// `--foreground`
    pub foreground: bool,
    /// `--pidfile`
    pub pidfile: Option<PathBuf>,
}

impl Options {
    /// Reads the words.
    pub fn parse(args: Vec<OsString>) -> Result<Options, Wrong> {
        let (mut facility, mut log, mut interval) = (None::<String>, true, Some(INTERVAL));
        let (mut on_event, mut syslog, mut foreground, mut pidfile) = (None, "/dev/log".into(), false, None);
        let (common, words) = options::parse(args, false, |option, value| {
            match option {
                "-f" => facility = Some(value.take()?),
                "-k" => match value.number("0 or 1")? {
                    number @ (0u32 | 1) => log = number == 1,
                    other => return Err(Usage::Wrong(format!("-k: {other}: accepted is 0 or 1"))),
                },
                "-i" => match value.number::<i64>("a number of seconds, or -1")? {
                    -1 => interval = None,
                    seconds => match u64::try_from(seconds) {
                        Ok(seconds @ 1..=LONGEST) => interval = Some(seconds),
                        _ => {
                            let text = format!("-i: {seconds}: accepted are 1 to {LONGEST} seconds, or -1");
                            return Err(Usage::Wrong(text));
                        }
                    },
                },
                "--on-event" => on_event = Some(value.take()?),
                "--syslog" => syslog = value.take()?.into(),
                "--foreground" => foreground = true,
                "--pidfile" => pidfile = Some(value.take()?.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if let Some(word) = words.first() {
            return Err(Usage::Wrong(format!("{word}: nothing may stand here")).into());
        }
        let facility = match facility {
            None => Facility::LOCAL6,
            Some(name) => Facility::parse(&name).ok_or(Wrong::Facility(name))?,
        };
        let interval = interval.map(Duration::from_secs);
        Ok(Options { common, facility, log, interval, on_event, syslog, foreground, pidfile })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, Wrong> {
        Options::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn defaults_are_mckernels() {
        let options = read("").unwrap();
        assert_eq!((options.facility, options.log), (Facility::LOCAL6, true));
        assert_eq!(options.interval, Some(Duration::from_secs(600)));
        assert_eq!((options.syslog, options.foreground), ("/dev/log".into(), false));
    }

    #[test]
    fn what_is_said_is_done() {
        let options =
            read("-f local0 -k 0 -i -1 --foreground --pidfile=p --syslog s --on-event=true").unwrap();
        assert_eq!(
            (options.facility, options.log, options.interval),
            (Facility::parse("LOG_LOCAL0").unwrap(), false, None)
        );
        assert_eq!((options.pidfile, options.on_event), (Some("p".into()), Some("true".into())));
        assert_eq!(read("-f local9"), Err(Wrong::Facility("local9".into())));
        for wrong in ["-k 2", "-i 0", "-i -2", "-i 86401", "word", "--foreground=1"] {
            assert!(matches!(read(wrong), Err(Wrong::Usage(Usage::Wrong(_)))), "{wrong}");
        }
    }
}
