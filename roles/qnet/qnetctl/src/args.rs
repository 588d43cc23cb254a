//! The command line: words become an [`Invocation`].
//!
//! Options may stand anywhere before the words of a remote command. `--name value` and `--name=value` are the same.

mod commands;
mod options;
mod values;
mod words;

#[cfg(test)]
mod tests;

pub use commands::{Command, PidinReport};
pub use options::{Options, TransportSpec};

use std::fmt;
use words::Words;

/// What the program is to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Invocation {
    /// Be a node, and do this.
    Run(Box<Options>, Command),
    /// Print how it is used.
    Help,
}

/// What is wrong with the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageError(pub String);

impl UsageError {
    pub(crate) fn new(message: impl Into<String>) -> UsageError {
        UsageError(message.into())
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; `qnetctl help` lists commands and options", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the words behind the program's name.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Invocation, UsageError> {
    let mut words = Words::new(words);
    let mut options = Options::default();
    let Some(name) = words.operand(&mut options)? else {
        return if words.asked_for_help() {
            Ok(Invocation::Help)
        } else {
            Err(UsageError::new("a command is missing"))
        };
    };
    if name == "help" || words.asked_for_help() {
        return Ok(Invocation::Help);
    }
    let command = Command::parse(&name, &mut words, &mut options);
    // Whoever asks for help may leave out what else is needed.
    if words.asked_for_help() {
        return Ok(Invocation::Help);
    }
    let command = command?;
    options.check(&command)?;
    Ok(Invocation::Run(Box::new(options), command))
}

/// What `qnetctl help` prints.
pub const HELP: &str = "\
qnetctl: a Qnet node on this host, and what it does

usage: qnetctl TRANSPORT... [OPTION...] COMMAND [WORD...]

transports; the first is link en0, the next en1, ...
  --if INTERFACE           Ethernet frames of an interface, bridge or tap (CAP_NET_RAW)
  --qemu-stream ADDRESS    QEMU's -netdev stream: HOST:PORT or PATH; listen:ADDRESS waits for QEMU to connect
  --qemu-dgram OURS,QEMUS  QEMU's -netdev dgram: HOST:PORT,HOST:PORT or PATH,PATH; one multicast address:
                           -netdev socket,mcast=
  --ip ADDRESS             IPv4 protocol 106 from an address of this host (CAP_NET_RAW)
  --replay FILE            frames of a pcap file

options
  --write FILE             everything sent and received, as pcap
  --name NAME              this node's name (host<pid>)
  --domain DOMAIN          its domain (none)
  --uid N, --gid N         who its commands are (whoever runs it)
  --mac MAC                address of QEMU's transports (random)
  --host NAME=ADDRESS      address of a node with --ip; others are asked of the host's resolver
  --crc                    frames carry a CRC
  --timeout SECONDS        how long a command may take (10; for ever: on, serve, sniff, impair, bench, cp)
  --json                   one JSON object a line
  --loss P --dup P --reorder P --corrupt P --delay MS
                           make the links worse; P is a probability (0.01) or a percentage (1%)
  --seed N                 of their dice (1)

commands; PATH begins with /net/NODE, other paths are this host's
  ls [-l] [--wait SECONDS] [--names A,B] PATH
                           entries of a directory; of /net: nodes heard of within --wait (2) or answering to --names;
                           -l asks each
  cat PATH...              content of files
  cp FROM TO               a file, from or to this host or between nodes
  rm PATH...               removes files
  rmdir PATH...            removes empty directories; of /net/NODE: forgets the node
  mkdir PATH...            makes directories
  stat PATH...             attributes
  pidin net                one line for each node
  pidin -n NODE [arg|mem|info]
                           processes of a node
  on -f NODE WORD...       runs a command there, with the input and output of this one; -n: from here
  ping [-c N] NODE         round trips (4)
  send NODE PID CHID HEX   a message, its status and reply
  pulse NODE PID CHID CODE VALUE
                           a pulse
  stats NODE               /proc/qnetstats
  sniff [-c N] [--for SECONDS]
                           frames as they pass, and at the end what nodes were seen to do
  bench [--file PATH] [--count N] NODE
                           latency of _IO_STAT, throughput of reads, and of writes to PATH
  impair [--for SECONDS]   a cable between two transports, with the faults of --loss, --dup, ...
  serve DIRECTORY          the directory's files, to be read by other nodes

exit status: 0 done, 1 a node refused (QNX's errno is printed), 2 usage, 3 no such node, 4 timeout;
of `on`: that of the remote command, 128 + N when signal N ended it
";
