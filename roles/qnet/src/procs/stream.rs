//! What a descriptor of a process is: a file, a pipe, a terminal, or nothing.

use crate::client::File;
use crate::io::{Io, Terminal, now};
use alloc::boxed::Box;
use alloc::rc::Rc;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::io::Dcmd;

/// End of input, when it is typed first: Ctrl-D.
const END_OF_INPUT: u8 = 0x04;

/// `DCMD_CHR_ISATTY` as a 32-bit client sends it.
const ISATTY: Dcmd = Dcmd(0x4004_0318);

/// An open descriptor. It is closed when nobody holds it any more.
pub trait Stream {
    /// Reads what there is, and waits if there is nothing; 0 at the end.
    fn read<'a>(&'a self, _room: &'a mut [u8]) -> Io<'a, usize> {
        now(Err(Errno::EBADF))
    }

    /// Writes as much as there is room for, and waits for that; `EPIPE` when nobody will ever read it.
    fn write<'a>(&'a self, _data: &'a [u8]) -> Io<'a, usize> {
        now(Err(Errno::EBADF))
    }

    /// Whether somebody sits in front of it.
    fn is_terminal(&self) -> Io<'_, bool> {
        now(Ok(false))
    }

    /// Told by its last holder before it is dropped, where somebody else is to know that in time.
    fn close(&self) -> Io<'_, ()> {
        now(Ok(()))
    }
}

/// Writes everything.
pub async fn write_all(stream: &dyn Stream, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match stream.write(data).await? {
            0 => return Err(Errno::EIO),
            len => data = data.get(len..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// `/dev/null`: takes everything, has nothing.
pub struct NullStream;

impl Stream for NullStream {
    fn read<'a>(&'a self, _: &'a mut [u8]) -> Io<'a, usize> {
        now(Ok(0))
    }

    fn write<'a>(&'a self, data: &'a [u8]) -> Io<'a, usize> {
        now(Ok(data.len()))
    }
}

/// A descriptor that is not open.
pub(crate) struct Closed;

impl Stream for Closed {}

/// A file of any node, at its own position.
pub struct FileStream(pub File);

impl Stream for FileStream {
    fn read<'a>(&'a self, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(self.0.read(room))
    }

    fn write<'a>(&'a self, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(self.0.write(data))
    }

    fn is_terminal(&self) -> Io<'_, bool> {
        Box::pin(async move {
            let mut answer = [0; 4];
            match self.0.devctl(ISATTY, &[], &mut answer).await {
                // Some have it in the status, some in the data.
                Ok((status, _)) => Ok(status != 0 || answer != [0; 4]),
                Err(Errno::ENOTTY | Errno::ENOSYS) => Ok(false),
                Err(errno) => Err(errno),
            }
        })
    }

    fn close(&self) -> Io<'_, ()> {
        Box::pin(self.0.tell_closed())
    }
}

/// A terminal of this machine.
pub struct TerminalStream(pub Rc<dyn Terminal>);

impl Stream for TerminalStream {
    fn read<'a>(&'a self, room: &'a mut [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            let changed = self.0.changed();
            loop {
                let wait = changed.notified();
                let len = self.0.read(room);
                let typed = room.get(..len).unwrap_or_default();
                match typed.iter().position(|byte| *byte == END_OF_INPUT) {
                    // What was typed behind it is lost, as nobody reads on.
                    Some(end) => return Ok(end),
                    None if len > 0 || room.is_empty() => return Ok(len),
                    None => wait.await,
                }
            }
        })
    }

    fn write<'a>(&'a self, data: &'a [u8]) -> Io<'a, usize> {
        Box::pin(async move {
            let changed = self.0.changed();
            loop {
                let wait = changed.notified();
                let len = self.0.write(data);
                if len > 0 || data.is_empty() {
                    return Ok(len);
                }
                wait.await;
            }
        })
    }

    fn is_terminal(&self) -> Io<'_, bool> {
        now(Ok(true))
    }
}
