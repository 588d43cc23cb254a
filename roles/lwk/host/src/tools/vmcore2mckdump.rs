//! `vmcore2mckdump`: makes a dump of a node of what QEMU's `dump-guest-memory` wrote of its machine (section 6.6).

use std::ffi::OsString;
use std::path::Path;

use super::options::Usage;
use super::{Manual, Stop, code, options, print};
use crate::dump::qemu;
use crate::dump::writer::Writer;

const MANUAL: Manual = Manual {
    tool: "vmcore2mckdump",
    help: "usage: vmcore2mckdump <vmcore> <mckdump>
  <vmcore>    ELF file that QEMU's dump-guest-memory wrote, without paging
  <mckdump>   the dump, for eclair and gdb; must not be there yet
  --version  -h  --help",
};

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    MANUAL.run(args, |args| match extract(args) {
        // McKernel's tool ends with 1, and scripts know it.
        Err(Stop::Usage(Usage::Wrong(text))) => {
            eprintln!("{}: {text}\n{}", MANUAL.tool, MANUAL.help);
            Ok(code::FAILED)
        }
        other => other,
    })
}

fn extract(args: Vec<OsString>) -> Result<i32, Stop> {
    let (_, words) = options::parse(args, false, |option, _| match option {
        "-h" => Err(Usage::Help),
        _ => Ok(false),
    })?;
    let [from, to] = &words[..] else {
        return Err(Usage::Wrong(format!("{} files given; two are needed", words.len())).into());
    };
    qemu::convert(Path::new(from), Writer::create(Path::new(to))?)?;
    print(&format!("mcdump: {to} is extracted.\n"))?;
    Ok(code::OK)
}
