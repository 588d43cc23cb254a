//! Starts an actor for each connection, here or for a scenario that is played in another guest.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use super::PORT;

/// Serves until killed; returns at once if somebody else does already.
pub fn serve() {
    let Ok(listener) = TcpListener::bind(("0.0.0.0", PORT)) else { return };
    for stream in listener.incoming().flatten() {
        thread::spawn(move || attend(stream));
    }
}

/// The first line is the file; all that follow are the actor's. When it has ended, and with it its locks, the line
/// `gone` is said.
fn attend(stream: TcpStream) -> Option<()> {
    let duplicate = || stream.try_clone().map(OwnedFd::from).map(Stdio::from).ok();
    let mut reader = BufReader::with_capacity(1, stream.try_clone().ok()?);
    let mut file = String::new();
    reader.read_line(&mut file).ok()?;
    let program = std::env::current_exe().ok()?;
    let mut actor = Command::new(program);
    actor.arg("actor").arg(file.trim_end()).stdin(duplicate()?).stdout(duplicate()?);
    actor.spawn().ok()?.wait().ok()?;
    (&stream).write_all(b"gone\n").ok()
}
