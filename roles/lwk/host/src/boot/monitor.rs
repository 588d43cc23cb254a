//! The ihkmond of a node: started and ended by mcreboot, known by its pid file.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::place::{Place, remove_file};
use super::problem::Problem;
use super::process::Process;
use super::qemu::Files;
use crate::nodes::Node;
use crate::program;

/// How long it may take to end.
const END: Duration = Duration::from_secs(5);
/// The tool.
const TOOL: &str = "ihkmond";

/// Whether this program has an ihkmond.
pub fn there() -> Result<(), Problem> {
    match program::has(TOOL) {
        true => Ok(()),
        false => Err(Problem::usage(
            "-k, -i",
            "this build has no ihkmond to take logs or to look for hangs; leave them out",
        )),
    }
}

/// Starts it for a node, with these options. It comes back when the daemon runs.
pub fn start(place: &Place, node: &Node, files: &Files, options: &str) -> Result<(), Problem> {
    there()?;
    let here = |error: std::io::Error| Problem::failed(TOOL, error);
    let mut command = Command::new(std::env::current_exe().map_err(here)?);
    command.arg0("lwkctl").arg(TOOL).arg("--conf").arg(&place.conf);
    command.args(["--node", &node.index.to_string(), "--pidfile"]).arg(&files.monitor);
    command.args(options.split_whitespace().map(OsString::from));
    let output = command.stdin(Stdio::null()).output().map_err(here)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Problem::failed(TOOL, said.trim().trim_start_matches("ihkmond: ")))
}

/// Ends it, if it runs.
pub fn stop(files: &Files) -> Result<(), Problem> {
    let Some(process) = Process::of(&files.monitor, &files.monitor) else {
        remove_file(&files.monitor);
        return Ok(());
    };
    process.terminate();
    if !process.ends_within(END) {
        process.kill();
        if !process.ends_within(END) {
            return Err(Problem::failed(TOOL, format!("process {} does not end", process.pid)));
        }
    }
    remove_file(&files.monitor);
    Ok(())
}
