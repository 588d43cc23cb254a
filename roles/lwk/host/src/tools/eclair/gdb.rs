//! The debugger, started with what it needs, and fed by a stub over a socket that nobody else can reach.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::stub::Stub;
use crate::problem::Problem;

/// The program.
const PROGRAM: &str = "gdb";
/// How often it is looked whether it has come, or gone.
const LOOK: Duration = Duration::from_millis(20);

/// What the debugger is to do.
pub enum Session<'a> {
    /// Somebody sits in front of it.
    Interactive,
    /// These commands, and no more.
    Batch(&'a [String]),
}

/// Runs the debugger with the symbols of `image`; its exit code.
pub fn run(image: &Path, stub: &mut Stub<'_>, session: &Session<'_>) -> Result<i32, Problem> {
    let place = Place::new()?;
    let here = |error: std::io::Error| Problem::failed(place.socket.display(), error);
    let listener = UnixListener::bind(&place.socket).map_err(here)?;
    listener.set_nonblocking(true).map_err(here)?;
    // Ctrl-C is for the debugger.
    let ignored = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)));
    ignored.map_err(here)?;
    let mut child = command(image, &place.socket, session).spawn().map_err(|error| {
        Problem::failed(PROGRAM, format!("{error}; install it (Debian package gdb) for bt and x"))
    })?;
    while let Some(stream) = accept(&listener, &mut child).map_err(here)? {
        // A debugger that goes away in the middle is no problem of the stub's.
        let _ = stream.set_nonblocking(false).and_then(|()| stub.serve(&stream, &stream));
    }
    let status = child.wait().map_err(here)?;
    Ok(status.code().unwrap_or(1))
}

/// The debugger's next connection; `None` when it has ended.
fn accept(listener: &UnixListener, child: &mut Child) -> std::io::Result<Option<UnixStream>> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(Some(stream)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if child.try_wait()?.is_some() {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn command(image: &Path, socket: &Path, session: &Session<'_>) -> Command {
    let mut command = Command::new(PROGRAM);
    // What somebody has set up for programs of their own is not for a kernel.
    command.args(["-nx", "-q"]);
    let mut execute = |line: &str| {
        command.args(["-ex", line]);
    };
    execute("set confirm off");
    execute("set pagination off");
    // There is nobody to ask for the sources' servers, and frames end where the stacks do.
    execute("set debuginfod enabled off");
    execute("set backtrace past-main on");
    execute(&format!("target remote {}", socket.display()));
    match session {
        Session::Interactive => {
            execute("set pagination on");
            execute("set prompt (eclair) ");
            execute("info threads");
        }
        Session::Batch(lines) => lines.iter().for_each(|line| execute(line)),
    }
    if let Session::Batch(_) = session {
        command.args(["-batch"]).stdin(Stdio::null());
    }
    command.arg(image);
    command
}

/// A directory of our own for the socket.
struct Place {
    directory: PathBuf,
    socket: PathBuf,
}

impl Place {
    fn new() -> Result<Place, Problem> {
        let directory = std::env::temp_dir().join(format!("eclair-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|error| Problem::failed(directory.display(), error))?;
        Ok(Place { socket: directory.join("gdb"), directory })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What remains is a socket that nobody listens to.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
