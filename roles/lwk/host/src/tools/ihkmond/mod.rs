//! `ihkmond`: logs of nodes to syslog, and what happens there (section 6.7).
//!
//! One thread for each node. It may start before the nodes or after them, and before syslog.

mod options;
mod syslog;
mod watch;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::fs::{FlockOperation, flock};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Manual, Problem, Stop, code, remote};
use options::{Options, Wrong};
use syslog::Syslog;
use watch::Watch;

const MANUAL: Manual = Manual { tool: "ihkmond", help: options::HELP };

/// The exit code for a facility that is none, as McKernel's.
const UNKNOWN_FACILITY: i32 = 255;
/// In the environment of the daemon.
const DETACHED: &str = "LWK_IHKMOND_DETACHED";

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    match Options::parse(args.clone()) {
        Err(Wrong::Facility(name)) => {
            eprintln!(
                "ihkmond: {name}: no such facility; accepted are LOG_LOCAL0 to LOG_LOCAL7, LOG_DAEMON, ..."
            );
            UNKNOWN_FACILITY
        }
        Err(Wrong::Usage(usage)) => MANUAL.run(args, |_| Err(usage.into())),
        Ok(options) if options.foreground => MANUAL.run(args, |_| watch(&options)),
        Ok(_) => MANUAL.run(args, |args| Ok(detach(args)?)),
    }
}

/// Watches until a signal ends it.
fn watch(options: &Options) -> Result<i32, Stop> {
    let mut nodes = remote::table(&options.common)?;
    if let Some(wanted) = &options.common.node {
        nodes = vec![remote::find(nodes, wanted)?];
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Problem::new(code::FAILED, "signals", error))?;
    }
    let pidfile = options.pidfile.as_deref().map(PidFile::take).transpose()?;
    if std::env::var_os(DETACHED).is_some() {
        leave_terminal().map_err(|error| Problem::new(code::FAILED, "/dev/null", error))?;
    }
    let syslog = Syslog::new(options.syslog.clone(), options.facility);
    thread::scope(|scope| {
        for node in &nodes {
            let (syslog, stop) = (&syslog, &*stop);
            scope.spawn(move || Watch::new(node, options, syslog, stop).run());
        }
    });
    drop(pidfile);
    Ok(code::OK)
}

/// Starts itself as a daemon, and waits until that runs or says why it does not.
fn detach(args: Vec<OsString>) -> Result<i32, Problem> {
    let here = |error| Problem::new(code::FAILED, "daemon", error);
    let own = std::env::current_exe().map_err(here)?;
    let mut child = Command::new(own)
        .arg0("lwkctl")
        .args(["ihkmond", "--foreground"])
        .args(args)
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(here)?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // It ends when the daemon lets go of it, or is at its end.
        stderr.read_to_string(&mut said).map_err(here)?;
    }
    if said.is_empty() {
        return Ok(code::OK);
    }
    eprint!("{said}");
    Ok(child.wait().map_err(here)?.code().unwrap_or(code::FAILED))
}

/// Nobody's terminal ends it, and nobody waits for its output.
fn leave_terminal() -> std::io::Result<()> {
    // It fails for the leader of a group only, which a child of ours is not.
    let _ = rustix::process::setsid();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// A file with the process id, held as long as the process lives.
struct PidFile {
    path: PathBuf,
    _file: File,
}

impl PidFile {
    fn take(path: &Path) -> Result<PidFile, Problem> {
        let problem = |reason: String| Problem::new(code::FAILED, path.display(), reason);
        let here = |error: std::io::Error| problem(error.to_string());
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(here)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            // Who it is only makes the message better.
            let _ = file.read_to_string(&mut pid);
            let text = format!("an ihkmond has it already (process {})", pid.trim());
            return Err(Problem::new(code::STATE, path.display(), text));
        }
        file.set_len(0).map_err(here)?;
        writeln!(file, "{}", std::process::id()).map_err(here)?;
        Ok(PidFile { path: path.to_owned(), _file: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}
