//! What both ends say before the handshake: see [`keelson_lwk_wire::serial`].

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use keelson_hal::Entropy;
use keelson_lwk_wire::serial::{Mark, Search, TOKEN};

use super::{at, left};

/// How often the node is called while it does not answer.
const AGAIN: Duration = Duration::from_millis(200);

/// Calls the node until it answers, and begins the connection. Nothing behind that is taken from the stream.
pub(super) fn meet(
    stream: &UnixStream,
    socket: &Path,
    entropy: &impl Entropy,
    deadline: Instant,
) -> io::Result<()> {
    let mut token = [0; TOKEN];
    entropy.fill(&mut token);
    let mut meeting = Meeting { stream, deadline, search: Search::default() };
    meeting.begin(token).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => silent(socket),
        _ => at(socket, error),
    })
}

fn silent(socket: &Path) -> io::Error {
    let text = format!(
        "nobody answers on {}; the node may not be up, or not listen there (listen=serial:NAME)",
        socket.display()
    );
    io::Error::new(ErrorKind::TimedOut, text)
}

struct Meeting<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
    search: Search,
}

impl Meeting<'_> {
    fn begin(&mut self, token: [u8; TOKEN]) -> io::Result<()> {
        let (call, go) = (Mark::Call(token), Mark::Go(token));
        loop {
            self.say(call)?;
            if self.comes(call, self.deadline.min(Instant::now() + AGAIN))? {
                break;
            }
        }
        self.say(go)?;
        while !self.comes(go, self.deadline)? {}
        Ok(())
    }

    fn say(&mut self, mark: Mark) -> io::Result<()> {
        self.stream.set_write_timeout(Some(left(self.deadline)))?;
        self.stream.write_all(&mark.bytes())
    }

    /// Throws away what comes before a mark; false when that does not come by then.
    fn comes(&mut self, mark: Mark, until: Instant) -> io::Result<bool> {
        while Instant::now() < until {
            self.stream.set_read_timeout(Some(left(until)))?;
            match self.stream.read(self.search.space()) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) if self.search.filled(len) == Some(mark) => return Ok(true),
                Err(error) if !is_pause(&error) => return Err(error),
                _ => {}
            }
        }
        if until < self.deadline { Ok(false) } else { Err(ErrorKind::TimedOut.into()) }
    }
}

/// Nothing came, for now.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
