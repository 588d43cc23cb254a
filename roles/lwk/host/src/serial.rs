//! Connections over the serial ports of a virtual machine (section 5.2): a port of one's own, and then a meeting with the node.
//!
//! ```text
//!   ports     which there are, and for what
//!   claim     one for this process alone
//!   meeting   what both ends say before the handshake
//! ```
//!
//! QEMU makes a Unix socket of each port, and serves one client of it at a time: a second one would wait for the first to go. So
//! who wants a port claims it before. Who claims the same port through another network namespace is not seen: such a client waits
//! until its time is over.

mod claim;
mod meeting;
mod ports;

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub use claim::Claim;
pub use ports::Traffic;

use crate::link::HostEntropy;

/// What connections fail with when other processes have all ports, or there are none for this traffic.
pub const NONE_FREE: ErrorKind = ErrorKind::ResourceBusy;

/// Connects to the node behind `path`, a socket or a directory of them, within `time`.
pub fn connect(path: &Path, traffic: Traffic, time: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now() + time;
    let (stream, socket) = choose(path, traffic, |claim| claim.connect(deadline))?;
    meet(stream, &socket, deadline)
}

/// The same with a port that is claimed already. When nobody listens there any more it is one of the others.
pub fn connect_claimed(
    claim: Claim,
    path: &Path,
    traffic: Traffic,
    time: Duration,
) -> io::Result<UnixStream> {
    let deadline = Instant::now() + time;
    match claim.connect(deadline) {
        Ok((stream, socket)) => meet(stream, &socket, deadline),
        Err(error) if is_stale(&error) => connect(path, traffic, time),
        Err(error) => Err(error),
    }
}

/// Claims a port without a connection, for another process.
pub fn claim(path: &Path, traffic: Traffic) -> io::Result<Claim> {
    choose(path, traffic, Ok)
}

/// The first port that is free, and of which `using` makes something. What is left of a machine that is gone is passed over.
fn choose<T>(path: &Path, traffic: Traffic, mut using: impl FnMut(Claim) -> io::Result<T>) -> io::Result<T> {
    let ports = ports::list(path, traffic)?;
    let (mut used, mut stale) = (0, None);
    for port in &ports {
        let Some(claim) = Claim::of(port)? else {
            used += 1;
            continue;
        };
        match using(claim) {
            Err(error) if is_stale(&error) => stale = stale.or(Some(error)),
            other => return other,
        }
    }
    Err(stale.filter(|_| used == 0).unwrap_or_else(|| none_free(path, traffic, used)))
}

/// Nobody listens on this socket, or it is not there any more.
fn is_stale(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound)
}

fn none_free(path: &Path, traffic: Traffic, used: usize) -> io::Error {
    let path = path.display();
    let more = "give the node more (virtserialport, or ports= in the node table)";
    let text = match (traffic, used) {
        (Traffic::Bulk, 0) => format!("{path}: no ports for bulk; {more}"),
        (_, 1) => format!("the only port at {path} is in use; {more}"),
        _ => format!("all {used} ports in {path} are in use; {more}"),
    };
    io::Error::new(NONE_FREE, text)
}

fn meet(stream: UnixStream, socket: &Path, deadline: Instant) -> io::Result<UnixStream> {
    meeting::meet(&stream, socket, &HostEntropy, deadline)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

/// What is left of the time; never nothing, since that would be forever.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// An error that names the socket.
fn at(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
