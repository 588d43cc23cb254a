//! The command line of mcreboot: McKernel's letters, and words of ours (section 6.4).

use std::path::PathBuf;
use std::time::Duration;

use keelson_lwk::options::cpulist;

use super::super::kargs;
use super::super::memory::Memory;
use super::super::problem::Problem;
use super::super::record::Record;
use super::super::words::{Item, Words, no_value};

/// `--help`.
pub const HELP: &str = "usage: mcreboot [options]   boots a node, again if it runs; what is not given stays as it was
  -c <cpulist>           its processors for programs: 1-4,7
  -m <size@numa,...>     its memory (512M@0), by NUMA nodes of this host
  -r <list>:<cpu>+...    which service core carries whose messages
  -o <user>[:<group>]    owner of its key file, its control socket and its serial ports
  -O                     more threads than processors
  -e <string>            further kernel arguments
  -h                     processors without work halt at once (idle=halt)
  -T 0|1                 time sharing
  -t                     turbo
  -d <level>             dump level
  -q <vector>            by which its cores call each other: 64 to 239, one that no device has
  -k 0|1                 whether its ihkmond sends the log to syslog (0)
  -i <seconds>|-1        how often its ihkmond looks for cores that hang (-1)
  -f <facility>          of the log in syslog (LOG_LOCAL6)
  -s                     ignored
  -R                     forget processors, memory and map of before
  --image=<file>         its boot file; otherwise $LWK_IMAGE
  --wait=<seconds>       for it to run (60)
  --print                only show the commands
  --node=<name|index>    otherwise $LWK_NODE, or 0
  --conf=<file>  -v  --version  --help
exit codes: 0 the node runs; 1 failed, nothing is left of it; 2 usage; 6 it did not run in time, nothing is left of it";

/// How long a node may take to run (section 6.4).
const WAIT: u64 = 60;
/// A day.
const LONGEST: u64 = 86_400;

/// A command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `--conf`
    pub conf: Option<PathBuf>,
    /// `--node`
    pub node: Option<String>,
    /// `-v`
    pub verbose: bool,
    /// `--print`
    pub print: bool,
    /// `--wait`
    pub wait: Duration,
    cpus: Option<Vec<usize>>,
    memory: Option<Memory>,
    ikc_map: Option<String>,
    owner: Option<String>,
    image: Option<PathBuf>,
    afresh: bool,
    /// Kernel arguments; none given when empty.
    kargs: Vec<String>,
    log: Option<bool>,
    interval: Option<Option<u64>>,
    facility: Option<String>,
}

/// A command line, or what to print instead.
pub enum Parsed {
    /// Do this.
    Options(Box<Options>),
    /// `--help`, `--version`
    Print(String),
}

impl Options {
    /// Reads the words.
    pub fn parse(mut words: Words) -> Result<Parsed, Problem> {
        let mut options = Options { wait: Duration::from_secs(WAIT), ..Options::default() };
        while let Some(item) = words.item() {
            let (option, value) = match item {
                Item::Option(option, value) => (option, value),
                Item::Word(word) => {
                    return Err(Problem::usage(word, "nothing may stand here; --help lists the options"));
                }
            };
            match option.as_str() {
                "--help" => return Ok(Parsed::Print(format!("{HELP}\n"))),
                "--version" => return Ok(Parsed::Print(format!("mcreboot {}\n", env!("CARGO_PKG_VERSION")))),
                "-O" | "-h" | "-t" | "-s" | "-R" | "-v" | "--print" => {
                    no_value(&option, &value)?;
                    options.flag(&option);
                }
                _ => {
                    if !KNOWN.contains(&option.as_str()) {
                        return Err(Problem::usage(option, "no such option; --help lists them"));
                    }
                    let value = words.value(&option, value)?;
                    options.value(&option, value)?;
                }
            }
        }
        Ok(Parsed::Options(Box::new(options)))
    }

    fn flag(&mut self, option: &str) {
        match option {
            "-O" => self.kargs.push("allow_oversubscribe".into()),
            "-t" => self.kargs.push("turbo".into()),
            "-h" => self.kargs.push("idle=halt".into()),
            "-R" => self.afresh = true,
            "-v" => self.verbose = true,
            "--print" => self.print = true,
            _ => {}
        }
    }

    fn value(&mut self, option: &str, value: String) -> Result<(), Problem> {
        let wrong = |reason: String| Problem::usage(option, reason);
        let accepted = |what: &str| Problem::usage(option, format!("{value}: accepted is {what}"));
        match option {
            "--conf" => self.conf = Some(value.into()),
            "--node" => self.node = Some(value),
            "--image" => self.image = Some(value.into()),
            "--wait" => match value.parse() {
                Ok(seconds @ 1..=LONGEST) => self.wait = Duration::from_secs(seconds),
                _ => return Err(accepted("a number of seconds from 1")),
            },
            "-c" => self.cpus = Some(cpulist::parse(&value).map_err(wrong)?),
            "-m" => self.memory = Some(Memory::parse(&value).map_err(wrong)?),
            "-r" => {
                kargs::check_ikc_map(&value).map_err(|problem| wrong(problem.reason))?;
                self.ikc_map = Some(value);
            }
            "-o" => self.owner = Some(value),
            "-e" => self.kargs.push(value),
            "-T" if value == "0" || value == "1" => self.kargs.push(format!("time_sharing={value}")),
            "-T" => return Err(accepted("0 or 1")),
            "-d" if value == "0" || value == "24" => self.kargs.push(format!("dump_level={value}")),
            "-d" => return Err(accepted("0 or 24")),
            "-q" => match value.parse() {
                Ok(vector @ 64..=239u8) => self.kargs.push(format!("ikc_vector={vector}")),
                _ => return Err(accepted("an interrupt vector from 64 to 239")),
            },
            "-k" => match value.parse::<i64>() {
                Ok(number) => self.log = Some(number != 0),
                Err(_) => return Err(accepted("0 or 1")),
            },
            "-i" => match value.parse::<i64>() {
                Ok(-1) => self.interval = Some(None),
                Ok(seconds) if (1..=LONGEST as i64).contains(&seconds) => {
                    self.interval = Some(Some(seconds.unsigned_abs()));
                }
                _ => return Err(accepted("a number of seconds from 1, or -1")),
            },
            "-f" if is_facility(&value) => self.facility = Some(value),
            "-f" => return Err(accepted("LOG_LOCAL0 to LOG_LOCAL7")),
            _ => return Err(wrong("no such option; --help lists them".into())),
        }
        Ok(())
    }

    /// What is recorded of the node from now on.
    pub fn record(&self, before: &Record) -> Record {
        let mut record = before.clone();
        if self.afresh {
            record = Record { image: record.image, made: record.made, ..Record::default() };
        }
        if let Some(cpus) = &self.cpus {
            record.cpus.clone_from(cpus);
        }
        if let Some(memory) = &self.memory {
            record.memory.clone_from(memory);
        }
        if let Some(map) = &self.ikc_map {
            record.ikc_map.clone_from(map);
        }
        record.owner = self.owner.clone().or(record.owner);
        record.image = self.image.clone().or(record.image);
        if !self.kargs.is_empty() || record.kargs.is_none() {
            record.kargs = Some(
                ["hidos"]
                    .into_iter()
                    .chain(self.kargs.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
        if self.log.is_some() || self.interval.is_some() {
            record.monitor = self.monitor();
        }
        record
    }

    /// Options of ihkmond; empty when it has nothing to do.
    fn monitor(&self) -> String {
        let (log, interval) = (self.log.unwrap_or(false), self.interval.flatten());
        if !log && interval.is_none() {
            return String::new();
        }
        let facility = self.facility.as_deref().unwrap_or("LOG_LOCAL6");
        let interval = interval.map_or("-1".into(), |seconds| seconds.to_string());
        format!("-f {facility} -k {} -i {interval}", u8::from(log))
    }
}

/// Options with a value.
const KNOWN: &[&str] = &[
    "-c", "-m", "-r", "-o", "-e", "-T", "-d", "-q", "-k", "-i", "-f", "--conf", "--node", "--image", "--wait",
];

/// `LOG_LOCAL0` to `LOG_LOCAL7`, or `local0` to `local7`.
fn is_facility(text: &str) -> bool {
    let number = text.strip_prefix("LOG_LOCAL").or_else(|| text.strip_prefix("local"));
    number.is_some_and(|number| matches!(number.as_bytes(), [b'0'..=b'7']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn parse(line: &str) -> Result<Options, Problem> {
        let words = Words::new(line.split_whitespace().map(OsString::from).collect())?;
        match Options::parse(words)? {
            Parsed::Options(options) => Ok(*options),
            Parsed::Print(text) => Err(Problem::failed("printed", text)),
        }
    }

    #[test]
    fn options_become_a_record() {
        let record = parse("-c 1-2 -m 512M@0 -O -h -T 0 -k 1 -e log=debug --image /i --wait=5")
            .unwrap()
            .record(&Record::default());
        assert_eq!(record.cpus, [1, 2]);
        assert_eq!(record.memory, Memory::of_first(512 << 20));
        assert_eq!(
            record.kargs.as_deref(),
            Some("hidos allow_oversubscribe idle=halt time_sharing=0 log=debug")
        );
        assert_eq!(record.monitor, "-f LOG_LOCAL6 -k 1 -i -1");
        assert_eq!(record.image, Some("/i".into()));
    }

    #[test]
    fn what_is_not_given_stays() {
        let before = parse("-c 3 -m 1G -O -i 5 -f local3 -r 3:0").unwrap().record(&Record::default());
        assert_eq!(parse("").unwrap().record(&before), before);
        assert_eq!(parse("-s").unwrap().record(&before), before);
        let after = parse("-c 4 -i -1").unwrap().record(&before);
        assert_eq!((after.cpus.clone(), after.monitor.as_str()), (vec![4], ""));
        assert_eq!((after.memory, after.kargs), (before.memory.clone(), before.kargs.clone()));
        let afresh = parse("-R -c 4").unwrap().record(&before);
        assert_eq!(afresh, Record { cpus: vec![4], kargs: Some("hidos".into()), ..Record::default() });
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("-c 4-1", "-c: 4-1 runs backwards; write 1-4"),
            ("-c", "-c: a value must follow"),
            ("-m 1K", "-m: \"1K\" is nothing; the least is 2M"),
            ("-d 7", "-d: 7: accepted is 0 or 24"),
            ("-T 2", "-T: 2: accepted is 0 or 1"),
            ("-q 63", "-q: 63: accepted is an interrupt vector from 64 to 239"),
            ("-i 0", "-i: 0: accepted is a number of seconds from 1, or -1"),
            ("-f LOG_LOCAL8", "-f: LOG_LOCAL8: accepted is LOG_LOCAL0 to LOG_LOCAL7"),
            ("-r 1:3", "-r: 1:3: service core 0 carries the messages of all cores; 3 cannot"),
            ("--wait=0", "--wait: 0: accepted is a number of seconds from 1"),
            ("-z", "-z: no such option; --help lists them"),
            ("-O5", "-O: takes no value, but \"5\" stands behind it"),
            ("node", "node: nothing may stand here; --help lists the options"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message, "{line}");
        }
    }

    #[test]
    fn what_they_tell_the_kernel_it_understands() {
        let options = parse("-t -h -T 1 -O -d 24 -q 239").unwrap();
        assert_eq!(
            options.kargs,
            [
                "turbo",
                "idle=halt",
                "time_sharing=1",
                "allow_oversubscribe",
                "dump_level=24",
                "ikc_vector=239"
            ]
        );
        for word in options.kargs {
            assert!(kargs::declared(word.split('=').next().unwrap()), "{word}");
        }
    }
}
