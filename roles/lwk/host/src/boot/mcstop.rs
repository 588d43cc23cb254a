//! `mcstop+release`: ends all nodes of this host and gives back what is theirs (section 6.5).

use std::ffi::OsString;

use super::place::Place;
use super::problem::{Problem, code, complain, end};
use super::stop::{self, Manner};
use super::words::{Item, Words, no_value};

const HELP: &str = "usage: mcstop+release [options]   ends all nodes of the table that this host boots, and releases what is theirs
  -f                     at once: programs are not asked to end
  --wait                 as always: it returns when they have ended
  --node=<name|index>    this one only
  --conf=<file>          node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf";

/// The tool.
const TOOL: &str = "mcstop+release";

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    end(TOOL, perform(args))
}

fn perform(args: Vec<OsString>) -> Result<String, Problem> {
    let mut words = Words::new(args)?;
    let (mut conf, mut wanted, mut manner, mut verbose) = (None, None, Manner::Orderly, false);
    while let Some(item) = words.item() {
        let (option, value) = match item {
            Item::Option(option, value) => (option, value),
            Item::Word(word) => {
                return Err(Problem::usage(word, "nothing may stand here; --help lists the options"));
            }
        };
        match option.as_str() {
            "--help" => return Ok(format!("{HELP}\n")),
            "--version" => return Ok(format!("{TOOL} {}\n", env!("CARGO_PKG_VERSION"))),
            "--conf" => conf = Some(words.value(&option, value)?.into()),
            "--node" => wanted = Some(words.value(&option, value)?),
            "-f" | "-v" | "--wait" => {
                no_value(&option, &value)?;
                match option.as_str() {
                    "-f" => manner = Manner::Forced,
                    "-v" => verbose = true,
                    _ => {}
                }
            }
            _ => return Err(Problem::usage(option, "no such option; --help lists them")),
        }
    }
    let place = Place::new(conf)?;
    let nodes = match wanted {
        Some(wanted) => vec![place.node(&wanted)?],
        None => place.nodes()?,
    };
    // One that does not end must not keep the others.
    let mut failed = None;
    for node in &nodes {
        if verbose {
            complain(TOOL, format!("node {}", node.name));
        }
        if let Err(problem) = stop::release(&place, node, manner)
            && let Some(earlier) = failed.replace(problem)
        {
            complain(TOOL, earlier);
        }
    }
    failed.map_or(Ok(String::new()), |problem| Err(Problem { code: code::FAILED, ..problem }))
}
