//! Commands and their words.

use super::words::{Word, Words};
use super::{Options, UsageError, values};
use std::path::PathBuf;
use std::time::Duration;

/// What `pidin -n` reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PidinReport {
    /// Threads and their states.
    Threads,
    /// `arg`: names and arguments.
    Arguments,
    /// `mem`: loaded objects.
    Memory,
    /// `info`: the machine.
    Info,
}

/// What to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Entries of a directory.
    Ls {
        /// Which.
        path: String,
        /// With attributes; of `/net`: each node is asked.
        long: bool,
        /// How long nodes are listened for.
        wait: Duration,
        /// Nodes that are asked for.
        names: Vec<String>,
    },
    /// Content of files.
    Cat(Vec<String>),
    /// A file to somewhere else.
    Cp(String, String),
    /// Removes files.
    Rm(Vec<String>),
    /// Removes directories.
    Rmdir(Vec<String>),
    /// Makes directories.
    Mkdir(Vec<String>),
    /// Attributes.
    Stat(Vec<String>),
    /// One line for each node.
    PidinNet {
        /// How long nodes are listened for.
        wait: Duration,
    },
    /// Processes of a node.
    Pidin {
        /// Which.
        node: String,
        /// What of them.
        report: PidinReport,
    },
    /// Runs a command.
    On {
        /// Where.
        node: String,
        /// Program and arguments.
        words: Vec<String>,
        /// `-f`: its root is that node's own.
        is_root: bool,
    },
    /// Round trips.
    Ping {
        /// To whom.
        node: String,
        /// How many.
        count: u32,
    },
    /// A message.
    Send {
        /// To whom.
        node: String,
        /// Process.
        pid: u32,
        /// Channel.
        chid: u32,
        /// Bytes.
        data: Vec<u8>,
    },
    /// A pulse.
    Pulse {
        /// To whom.
        node: String,
        /// Process.
        pid: u32,
        /// Channel.
        chid: u32,
        /// Code.
        code: i8,
        /// Value.
        value: i32,
    },
    /// `/proc/qnetstats`.
    Stats(String),
    /// Frames as they pass.
    Sniff {
        /// Most of them.
        count: Option<u64>,
        /// How long.
        span: Option<Duration>,
    },
    /// Latency and throughput.
    Bench {
        /// Of whom.
        node: String,
        /// File that is written and read.
        file: Option<String>,
        /// Requests of each kind.
        count: u32,
    },
    /// A cable between two transports.
    Impair {
        /// How long.
        span: Option<Duration>,
    },
    /// Serves a directory.
    Serve(PathBuf),
}

impl Command {
    pub(super) fn parse(name: &str, words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
        Ok(match name {
            "ls" => ls(words, all)?,
            "cat" => Command::Cat(words.several(all, "a path")?),
            "cp" => {
                let from = words.required(all, "a path to copy from")?;
                let command = Command::Cp(from, words.required(all, "a path to copy to")?);
                words.end(all)?;
                command
            }
            "rm" => Command::Rm(words.several(all, "a path")?),
            "rmdir" => Command::Rmdir(words.several(all, "a path")?),
            "mkdir" => Command::Mkdir(words.several(all, "a path")?),
            "stat" => Command::Stat(words.several(all, "a path")?),
            "pidin" => pidin(words, all)?,
            "on" => on(words, all)?,
            "ping" => ping(words, all)?,
            "send" => send(words, all)?,
            "pulse" => pulse(words, all)?,
            "stats" => {
                let node = words.required(all, "a node")?;
                words.end(all)?;
                Command::Stats(node)
            }
            "sniff" => sniff(words, all)?,
            "bench" => bench(words, all)?,
            "impair" => impair(words, all)?,
            "serve" => {
                let directory = words.required(all, "a directory")?;
                words.end(all)?;
                Command::Serve(directory.into())
            }
            other => return Err(UsageError::new(format!("there is no command \"{other}\""))),
        })
    }

    /// How long it may take if nothing else is said; `None`: for ever.
    pub fn default_timeout(&self) -> Option<Duration> {
        match self {
            Command::On { .. }
            | Command::Serve(_)
            | Command::Sniff { .. }
            | Command::Impair { .. }
            | Command::Bench { .. }
            | Command::Cp(..) => None,
            Command::Ls { wait, .. } | Command::PidinNet { wait } => Some(*wait + Duration::from_secs(10)),
            Command::Ping { count, .. } => Some(Duration::from_secs(10 + u64::from(*count))),
            _ => Some(Duration::from_secs(10)),
        }
    }
}

/// Options of one command, and its operands.
fn each(
    words: &mut Words,
    all: &mut Options,
    mut option: impl FnMut(&str, &mut dyn FnMut() -> Result<String, UsageError>) -> Result<bool, UsageError>,
) -> Result<Vec<String>, UsageError> {
    let mut operands = Vec::new();
    while let Some(word) = words.next(all)? {
        match word {
            Word::Operand(word) => operands.push(word),
            Word::Option(name, inline) => {
                if !option(&name, &mut || words.value(&name, &inline))? {
                    return Err(UsageError::new(format!("there is no option \"{name}\" here")));
                }
            }
        }
    }
    Ok(operands)
}

/// Exactly so many operands.
fn exactly<const N: usize>(operands: Vec<String>, what: &str) -> Result<[String; N], UsageError> {
    let given = operands.len();
    operands.try_into().map_err(|_| UsageError::new(format!("{what} expected, {given} words given")))
}

const WAIT: Duration = Duration::from_secs(2);

fn ls(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let (mut long, mut wait, mut names) = (false, WAIT, Vec::new());
    let operands = each(words, all, |name, value| {
        match name {
            "-l" => long = true,
            "--wait" => wait = values::seconds(name, &value()?)?,
            "--names" => names = value()?.split(',').map(str::to_string).collect(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let [path] = exactly(operands, "one path is")?;
    Ok(Command::Ls { path, long, wait, names })
}

fn pidin(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let (mut node, mut wait) = (None, WAIT);
    let operands = each(words, all, |name, value| {
        match name {
            "-n" => node = Some(value()?),
            "--wait" => wait = values::seconds(name, &value()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let words: Vec<&str> = operands.iter().map(String::as_str).collect();
    let report = match words.as_slice() {
        ["net"] if node.is_none() => return Ok(Command::PidinNet { wait }),
        [] => PidinReport::Threads,
        ["arg" | "args"] => PidinReport::Arguments,
        ["mem"] => PidinReport::Memory,
        ["info"] => PidinReport::Info,
        _ => return Err(UsageError::new("pidin has the forms `net` and `-n NODE [arg|mem|info]`")),
    };
    let node = node
        .ok_or_else(|| UsageError::new("pidin needs -n NODE: this host's processes are no QNX processes"))?;
    Ok(Command::Pidin { node, report })
}

fn on(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let (mut node, mut is_root) = (None, true);
    let program = loop {
        match words.next(all)? {
            Some(Word::Option(name, inline)) if name == "-f" || name == "-n" => {
                is_root = name == "-f";
                node = Some(words.value(&name, &inline)?);
            }
            Some(Word::Option(name, _)) => {
                return Err(UsageError::new(format!("there is no option \"{name}\" here")));
            }
            Some(Word::Operand(program)) => break program,
            None => return Err(UsageError::new("a command to run is missing")),
        }
    };
    let node = node.ok_or_else(|| UsageError::new("on needs -f NODE before the command"))?;
    let mut command = vec![program];
    command.extend(words.rest());
    Ok(Command::On { node, words: command, is_root })
}

fn ping(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let mut count = 4;
    let operands = each(words, all, |name, value| {
        if name == "-c" {
            count = values::number(name, &value()?)?;
        }
        Ok(name == "-c")
    })?;
    let [node] = exactly(operands, "one node is")?;
    Ok(Command::Ping { node, count })
}

fn send(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let [node, pid, chid] = address(words, all)?;
    let (pid, chid) = (values::number("PID", &pid)?, values::number("CHID", &chid)?);
    let data = values::hex("HEX", &words.several(all, "the message")?.concat())?;
    Ok(Command::Send { node, pid, chid, data })
}

fn pulse(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let [node, pid, chid] = address(words, all)?;
    let (pid, chid) = (values::number("PID", &pid)?, values::number("CHID", &chid)?);
    let code = values::number("CODE", &words.required(all, "a code")?)?;
    let value = values::number("VALUE", &words.required(all, "a value")?)?;
    words.end(all)?;
    Ok(Command::Pulse { node, pid, chid, code, value })
}

fn address(words: &mut Words, all: &mut Options) -> Result<[String; 3], UsageError> {
    Ok([
        words.required(all, "a node")?,
        words.required(all, "a process id")?,
        words.required(all, "a channel id")?,
    ])
}

fn sniff(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let (mut count, mut span) = (None, None);
    let operands = each(words, all, |name, value| {
        match name {
            "-c" => count = Some(values::number(name, &value()?)?),
            "--for" => span = Some(values::seconds(name, &value()?)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let [] = exactly(operands, "nothing is")?;
    Ok(Command::Sniff { count, span })
}

fn impair(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let mut span = None;
    let operands = each(words, all, |name, value| {
        if name == "--for" {
            span = Some(values::seconds(name, &value()?)?);
        }
        Ok(name == "--for")
    })?;
    let [] = exactly(operands, "nothing is")?;
    Ok(Command::Impair { span })
}

fn bench(words: &mut Words, all: &mut Options) -> Result<Command, UsageError> {
    let (mut file, mut count) = (None, 1000);
    let operands = each(words, all, |name, value| {
        match name {
            "--file" => file = Some(value()?),
            "--count" => count = values::number(name, &value()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let [node] = exactly(operands, "one node is")?;
    if count == 0 {
        return Err(UsageError::new("--count: 0 requests measure nothing; give 1 or more"));
    }
    Ok(Command::Bench { node, file, count })
}
