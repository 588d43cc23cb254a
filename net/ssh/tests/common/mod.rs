//! A server with a few commands, over sockets of the host or over bytes.

#![allow(dead_code, reason = "each test uses a part of it")]

use core::cell::{Cell, RefCell};
use embedded_io_async::{ErrorType, Read, Write};
use keelson_exec::{Either, select};
use keelson_hal::{Clock, Entropy, Instant, Park};
use keelson_ssh::{AuthorizedKey, Channel, Connection, Counters, End, Gone, HostKey, Limits, Request, Setup};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The host's clock; rests a little when there is nothing to do, and when tasks only ask whether something came.
pub struct HostTime(pub std::time::Instant);

impl Clock for HostTime {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap())
    }

    fn wall(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_is_known(&self) -> bool {
        false
    }
}

impl Park for HostTime {
    fn park(&self, _: Instant) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Numbers that are the same in every run: xorshift.
pub struct Numbers(Cell<u64>);

impl Numbers {
    pub fn new(seed: u64) -> Rc<Numbers> {
        Rc::new(Numbers(Cell::new(seed | 1)))
    }
}

impl Entropy for Numbers {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut x = self.0.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.0.set(x);
            *byte = x as u8;
        }
    }
}

/// A setup for `keys`, and quick limits.
pub fn setup(handle: &keelson_exec::Handle, keys: Vec<AuthorizedKey>, limits: Limits) -> Setup {
    Setup {
        host_key: HostKey::from_seed(&[7; 32]),
        keys,
        limits,
        handle: handle.clone(),
        entropy: Numbers::new(42),
        counters: Rc::new(Counters::default()),
    }
}

/// What a connection said about itself.
#[derive(Default)]
pub struct Heard {
    pub entered: RefCell<Vec<String>>,
    pub refused: RefCell<Vec<String>>,
}

/// Serves a connection with the commands below.
pub async fn serve<R: Read, W: Write>(setup: &Setup, heard: &Heard, reader: R, writer: W) -> End {
    let entered = |key: &AuthorizedKey| heard.entered.borrow_mut().push(key.name());
    let refused = |why: &str| heard.refused.borrow_mut().push(why.into());
    Connection::new(setup, reader, writer).serve(entered, refused, session::<W>).await
}

/// `echo TEXT`, `big BYTES`, `count` (the bytes of input), `wait` (until the peer goes); a shell answers with what was typed.
async fn session<W: Write>(request: Request, channel: &mut Channel<'_, '_, '_, W>) -> Result<u32, Gone> {
    let line = match request {
        Request::Shell => return shell(channel).await,
        Request::Exec(line) => line,
    };
    match line.split_once(' ').unwrap_or((&line, "")) {
        ("echo", text) => channel.write(format!("{text}\n").as_bytes()).await?,
        ("big", count) => {
            let piece: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
            let mut left: usize = count.parse().unwrap();
            while left > 0 {
                let now = left.min(piece.len());
                channel.write(&piece[..now]).await?;
                left -= now;
            }
        }
        ("count", _) => {
            let (mut sum, mut buffer) = (0, [0; 1000]);
            loop {
                let count = channel.read(&mut buffer).await?;
                sum += count;
                if count < buffer.len() {
                    break;
                }
            }
            channel.write(format!("{sum}\n").as_bytes()).await?;
        }
        ("wait", _) => {
            channel.write(b"waiting\n").await?;
            match select(channel.gone(), core::future::pending::<()>()).await {
                Either::First(()) => return Err(Gone),
                Either::Second(()) => {}
            }
        }
        (other, _) => {
            channel.write_error(format!("{other}: unknown\n").as_bytes()).await?;
            return Ok(1);
        }
    }
    Ok(0)
}

async fn shell<W: Write>(channel: &mut Channel<'_, '_, '_, W>) -> Result<u32, Gone> {
    let mut line = Vec::new();
    channel.write(b"> ").await?;
    loop {
        let mut byte = [0];
        if channel.read(&mut byte).await? == 0 {
            return Ok(0);
        }
        line.push(byte[0]);
        if byte == *b"\n" {
            if line == b"exit\n" {
                return Ok(3);
            }
            channel.write(&line).await?;
            channel.write(b"> ").await?;
            line.clear();
        }
    }
}

/// Half of a socket that does not block.
pub struct Socket(pub Rc<TcpStream>);

impl ErrorType for Socket {
    type Error = ErrorKindOnly;
}

/// An error of a socket.
#[derive(Debug)]
pub struct ErrorKindOnly;

impl core::fmt::Display for ErrorKindOnly {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("socket error")
    }
}

impl core::error::Error for ErrorKindOnly {}

impl embedded_io_async::Error for ErrorKindOnly {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        embedded_io_async::ErrorKind::Other
    }
}

/// Asks again and again.
async fn try_until<T>(mut attempt: impl FnMut() -> io::Result<T>) -> Result<T, ErrorKindOnly> {
    poll_fn(|cx| match attempt() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        other => Poll::Ready(other.map_err(|_| ErrorKindOnly)),
    })
    .await
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKindOnly> {
        try_until(|| io::Read::read(&mut &*self.0, buffer)).await
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKindOnly> {
        try_until(|| io::Write::write(&mut &*self.0, bytes)).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKindOnly> {
        Ok(())
    }
}
