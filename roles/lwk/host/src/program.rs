//! One program with many names: what it does is said by the name it was called by, or by its first argument.

use std::ffi::OsString;
use std::path::Path;

use crate::boot::{ihkconfig, mcreboot, mcstop};
use crate::tools::{eclair, ihkmond, ihkosctl, mcinspect, mcps, mcstat, vmcore2mckdump};
use crate::{mcexec, mpi_env, rsh};

/// A tool: its arguments without its name, its exit status.
type Tool = fn(Vec<OsString>) -> i32;

/// All tools.
const TOOLS: &[(&str, Tool)] = &[
    ("mcexec", mcexec::run),
    ("ihkconfig", ihkconfig::run),
    ("ihkosctl", ihkosctl::run),
    ("ihkmond", ihkmond::run),
    ("mcreboot", mcreboot::run),
    ("mcreboot.sh", mcreboot::run),
    ("mcstop+release", mcstop::run),
    ("mcstop+release.sh", mcstop::run),
    ("mcstat", mcstat::run),
    ("mcps", mcps::run),
    ("mcinspect", mcinspect::run),
    ("eclair", eclair::run),
    ("vmcore2mckdump", vmcore2mckdump::run),
    ("lwk-rsh", rsh::run),
    ("lwk-mpi-env", mpi_env::run),
];

/// Whether there is a tool with this name.
pub fn has(name: &str) -> bool {
    TOOLS.iter().any(|(tool, _)| *tool == name)
}

fn find(name: &OsString) -> Option<Tool> {
    let name = Path::new(name).file_name()?;
    TOOLS.iter().find(|(tool, _)| *tool == name).map(|(_, run)| *run)
}

/// Runs the tool that `args` name. Returns its exit status.
pub fn run(args: Vec<OsString>) -> i32 {
    let mut args = args.into_iter();
    let own = args.next().unwrap_or_default();
    if let Some(tool) = find(&own) {
        return tool(args.collect());
    }
    match args.next() {
        Some(name) if name == "--version" => {
            println!("lwkctl {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Some(name) if name == "--help" => {
            println!("{}", usage());
            0
        }
        Some(name) => match find(&name) {
            Some(tool) => tool(args.collect()),
            None => {
                eprintln!("lwkctl: {}: no such tool\n{}", name.display(), usage());
                2
            }
        },
        None => {
            eprintln!("{}", usage());
            2
        }
    }
}

fn usage() -> String {
    let names: Vec<&str> = TOOLS.iter().map(|(name, _)| *name).collect();
    format!("usage: lwkctl <tool> [arguments]   tools: {}", names.join(" "))
}
