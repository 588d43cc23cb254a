//! The stream of a connection as the protocol sees it: read ahead of, so that its end is noticed while nobody reads, and held
//! to what a stranger may send.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::pending;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use keelson_exec::sync::Notify;

/// Why there is no more of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamError {
    /// It broke.
    Broken,
    /// A stranger sent more than a login takes.
    Verbose,
    /// A stranger tried too many keys.
    Attempts,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamError::Broken => "connection lost",
            StreamError::Verbose => "too much was sent before a key",
            StreamError::Attempts => "too many keys were tried",
        })
    }
}

impl core::error::Error for StreamError {}

impl Error for StreamError {
    fn kind(&self) -> ErrorKind {
        match self {
            StreamError::Broken => ErrorKind::ConnectionReset,
            StreamError::Verbose | StreamError::Attempts => ErrorKind::PermissionDenied,
        }
    }
}

/// How the peer's half ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Closed,
    Broken,
}

/// What came in and was not read yet.
pub(crate) struct Inbox {
    bytes: RefCell<VecDeque<u8>>,
    most: usize,
    ended: Cell<Option<Ended>>,
    changed: Notify,
    /// What a stranger may still send; nothing is counted for somebody who is known.
    allowance: Cell<Option<usize>>,
    /// No more is read from a stranger who has tried too often.
    turned_away: Cell<bool>,
}

impl Inbox {
    /// Holds `most` bytes; `allowance` of them in all before [`Inbox::trust`].
    pub fn new(most: usize, allowance: usize) -> Rc<Inbox> {
        Rc::new(Inbox {
            bytes: RefCell::default(),
            most,
            ended: Cell::new(None),
            changed: Notify::new(),
            allowance: Cell::new(Some(allowance)),
            turned_away: Cell::new(false),
        })
    }

    /// Who sends is known.
    pub fn trust(&self) {
        self.allowance.set(None);
    }

    /// Reads no more once what is being answered has been answered.
    pub fn turn_away(&self) {
        self.turned_away.set(true);
    }

    /// Waits for the end of what the peer sends.
    pub async fn gone(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ended.get().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Reads ahead, for ever.
    pub async fn fill(&self, mut reader: impl Read) {
        let mut buffer = [0; 512];
        while self.ended.get().is_none() {
            let changed = self.changed.notified();
            let room = self.most.saturating_sub(self.bytes.borrow().len()).min(buffer.len());
            if room == 0 {
                changed.await;
                continue;
            }
            match reader.read(&mut buffer[..room]).await {
                Ok(0) => self.ended.set(Some(Ended::Closed)),
                Ok(count) => self.bytes.borrow_mut().extend(buffer.iter().take(count)),
                Err(_) => self.ended.set(Some(Ended::Broken)),
            }
            self.changed.notify();
        }
        pending().await
    }

    async fn read(&self, to: &mut [u8]) -> Result<usize, StreamError> {
        loop {
            let changed = self.changed.notified();
            if self.turned_away.get() {
                return Err(StreamError::Attempts);
            }
            let count = self.take(to)?;
            if count > 0 || to.is_empty() {
                self.changed.notify();
                return Ok(count);
            }
            match self.ended.get() {
                Some(Ended::Closed) => return Ok(0),
                Some(Ended::Broken) => return Err(StreamError::Broken),
                None => changed.await,
            }
        }
    }

    fn take(&self, to: &mut [u8]) -> Result<usize, StreamError> {
        let mut bytes = self.bytes.borrow_mut();
        let count = bytes.len().min(to.len());
        if let Some(allowance) = self.allowance.get() {
            self.allowance.set(Some(allowance.checked_sub(count).ok_or(StreamError::Verbose)?));
        }
        to.iter_mut().zip(bytes.drain(..count)).for_each(|(to, byte)| *to = byte);
        Ok(count)
    }
}

/// Both halves.
pub(crate) struct Stream<W> {
    pub inbox: Rc<Inbox>,
    pub writer: W,
}

impl<W> ErrorType for Stream<W> {
    type Error = StreamError;
}

impl<W: Write> Read for Stream<W> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        self.inbox.read(buffer).await
    }
}

impl<W: Write> Write for Stream<W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        self.writer.write(bytes).await.map_err(|_| StreamError::Broken)
    }

    /// Nothing is kept back. To wait for the client's acknowledgement, as the connection's own does, after every packet
    /// would be one packet in each round trip.
    async fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }
}
