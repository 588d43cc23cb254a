//! The tools that look after nodes (section 6), and what they have in common: options, exit codes, how they say what is wrong.
//!
//! ```text
//!   options     --conf --node --timeout --json -v --version --help
//!   remote      a node, asked over a connection of its own
//!   json        strings for --json
//!   ihkosctl    one verb for one node
//!   mcps        programs and threads of all nodes
//!   mcstat      memory, time and threads, line by line
//!   ihkmond     logs of all nodes to syslog, and what happens there
//!   dump        a verb of ihkosctl: memory of a kernel in a file
//!   eclair      looks into such a file, by itself and with gdb
//!   mcinspect   looks into the memory of a node that runs
//!   vmcore2mckdump   makes such a file of one of QEMU's
//!   time        dates, for messages and names
//! ```

mod dump;
pub mod eclair;
pub mod ihkmond;
pub mod ihkosctl;
pub(crate) mod json;
pub mod mcinspect;
pub mod mcps;
pub mod mcstat;
pub mod options;
pub mod remote;
pub mod time;
pub mod vmcore2mckdump;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};

pub use crate::problem::{Problem, code};
use options::Usage;

/// What `--help` and a wrong command line say.
struct Manual {
    tool: &'static str,
    help: &'static str,
}

impl Manual {
    /// Runs a tool to its exit code.
    fn run(&self, args: Vec<OsString>, tool: impl FnOnce(Vec<OsString>) -> Result<i32, Stop>) -> i32 {
        match tool(args) {
            Ok(code) => code,
            Err(Stop::Usage(Usage::Help)) => {
                println!("{}", self.help);
                code::OK
            }
            Err(Stop::Usage(Usage::Version)) => {
                println!("{} {}", self.tool, env!("CARGO_PKG_VERSION"));
                code::OK
            }
            Err(Stop::Usage(Usage::Wrong(text))) => {
                eprintln!("{}: {text}   (--help says more)", self.tool);
                code::USAGE
            }
            Err(Stop::Problem(problem)) => {
                self.complain(&problem);
                problem.code
            }
            Err(Stop::Unheard) => code::OK,
        }
    }

    fn complain(&self, problem: &Problem) {
        // Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "{}: {problem}", self.tool);
    }
}

/// Why a tool ends early.
enum Stop {
    Usage(Usage),
    Problem(Problem),
    /// Whoever read the output has enough.
    Unheard,
}

impl From<Usage> for Stop {
    fn from(usage: Usage) -> Stop {
        Stop::Usage(usage)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Problem(problem)
    }
}

/// Writes to standard output, at once.
fn print(text: &str) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Stop::Unheard,
        _ => Problem::new(code::FAILED, "standard output", error).into(),
    })
}
