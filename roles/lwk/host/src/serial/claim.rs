//! A port for one process alone.
//!
//! Whoever uses a port has bound its socket to an abstract address (unix(7)) that is made of the port's file: nobody else can bind
//! one to that. Linux gives the address back when the last descriptor of the socket is closed, whatever becomes of the process.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};

use super::ports::Port;
use super::{at, left};

/// A port that nobody else uses as long as the socket is open.
pub struct Claim {
    socket: OwnedFd,
    path: PathBuf,
}

impl Claim {
    /// Claims a port; `None` when somebody else has it.
    pub(super) fn of(port: &Port) -> io::Result<Option<Claim>> {
        let here = |error: Errno| at(&port.path, error);
        // No other program inherits it by accident.
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(here)?;
        let name = format!("lwk-port/{}-{}", port.file.0, port.file.1);
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(here)?;
        match bind(&socket, &address) {
            Ok(()) => Ok(Some(Claim { socket, path: port.path.clone() })),
            Err(Errno::ADDRINUSE) => Ok(None),
            Err(error) => Err(here(error)),
        }
    }

    /// One that another process made: its socket, which was inherited, and the port's path.
    pub fn inherited(socket: OwnedFd, path: PathBuf) -> Claim {
        Claim { socket, path }
    }

    /// The socket of the port.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connects: the claim is the stream's then. Returns the socket of the port with it.
    pub(super) fn connect(self, deadline: Instant) -> io::Result<(UnixStream, PathBuf)> {
        let here = |error: Errno| at(&self.path, error);
        let address = SocketAddrUnix::new(&self.path).map_err(here)?;
        loop {
            // It waits as long as others wait there who have not claimed it.
            set_socket_timeout(&self.socket, Timeout::Send, Some(left(deadline))).map_err(here)?;
            match connect(&self.socket, &address) {
                Ok(()) => return Ok((self.socket.into(), self.path)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(taken(&self.path)),
                Err(error) => return Err(here(error)),
            }
        }
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn taken(path: &Path) -> io::Error {
    let text = format!("{}: others wait for this port; end what uses it", path.display());
    io::Error::new(ErrorKind::TimedOut, text)
}
